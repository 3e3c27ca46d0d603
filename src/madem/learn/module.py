"""The bridge to PyTorch: forward is the free phase, backward the nudged ones."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from madem.errors import InputError
from madem.learn.estimators import Contrast, centred
from madem.learn.yardsticks import names
from madem.machine import Settled, Simulated
from madem.network import Current, Network
from madem.randomness import stream
from madem.solver import Solver, Sweep


class Equilibrium(nn.Module):
    """An energy-based network as an ordinary module.

    ``forward(x)``, ``(batch, *inputs)``, lets the network settle and returns its outputs;
    ``backward`` lets it settle nudged by the gradient that arrives, and fills ``.grad`` of the
    parameters and of ``x`` by contrasts: any loss and any optimiser will do. The nudge is
    ``beta`` for the largest gradient of the batch. ``dtype`` may be float32, float64 or bfloat16.
    Second derivatives are refused. ``metrics`` counts the samples ``settled`` and ``unsettled``;
    what misses the tolerance is warned of once.

    >>> from madem.network import Box, Free, Layer
    >>> module = Equilibrium(Network(4, (Layer(3, Box(0.0, 1.0)), Layer(2, Free()))))
    >>> module(torch.rand(5, 4)).square().sum().backward()
    >>> sorted(name for name, p in module.named_parameters() if p.grad is not None)
    ['1_bias', '1_weight', '2_bias', '2_weight']
    """

    def __init__(
        self,
        network: Network | Simulated,
        estimator: Contrast | None = None,
        solver: Solver | None = None,
        seed: int = 0,
    ) -> None:
        """Make a module of a ``network``, with parameters drawn from ``seed``, or of a machine."""
        super().__init__()
        if isinstance(network, Simulated):
            machine = network
        else:
            machine = Simulated.ideal(
                network, network.initial(stream(seed, "parameters")), solver or Sweep(1e-4, 300)
            )
        self.machine = machine
        self.estimator = estimator or centred(1e-3)
        self.metrics = {"settled": 0, "unsettled": 0}
        self.versions: dict[int, int] = {}
        self.labels = [name.replace(".", "_") for name in names(machine)]
        for label, value in zip(self.labels, machine.parameters, strict=True):
            self.register_parameter(label, nn.Parameter(value))

    @property
    def network(self) -> Network:
        """The physics."""
        return self.machine.network

    def forward(self, x: Tensor, start: Sequence[Tensor] | None = None) -> Tensor:
        """Return the outputs at rest, ``(batch, *outputs)``, from states ``start`` where given."""
        output: Tensor = _Settle.apply(self, x, start, *self._held())
        return output

    def settle(self, x: Tensor, start: Sequence[Tensor] | None = None) -> Settled:
        """Return the whole record of the free phase: states, sweeps, residual, energy."""
        self._held()
        with torch.no_grad():
            settled = self.machine.settle(x, start=start)
        self._count()
        return settled

    def commit(self) -> None:
        """Write the parameters, as an optimiser left them, into the machine's cells.

        What the cells then stand for becomes the parameters. An ideal machine has nothing to do.
        """
        held = self.machine.parameters
        wanted = [p.detach() - h for p, h in zip(self._held(), held, strict=True)]
        self.machine.write(wanted)
        with torch.no_grad():
            for p, h in zip(self._held(), self.machine.parameters, strict=True):
                p.copy_(h)

    def _held(self) -> list[Tensor]:
        """Return the parameters, within their limits, and put them into an ideal machine."""
        mine = [self._parameters[label] for label in self.labels]
        left = [p for p in mine if p is not None]
        parameters: list[Tensor] = list(left)
        for store in self.machine.stores:
            held = [left.pop(0) for _ in store.parameters]
            joint = getattr(store, "joint", None)
            if joint is None:
                continue
            for name, p in zip(joint.parameters, held, strict=True):
                if name in joint.limits and self.versions.get(id(p)) != p._version:
                    with torch.no_grad():
                        p.clamp_(*joint.limits[name])
                    self.versions[id(p)] = p._version
            store.parameters[:] = [p.detach() for p in held]
        return parameters

    def _count(self) -> None:
        """Take over the machine's count, and warn when the first samples did not settle."""
        first = self.metrics["unsettled"] == 0 and self.machine.unsettled > 0
        self.metrics["settled"] = self.machine.settled
        self.metrics["unsettled"] = self.machine.unsettled
        if first:
            solver = self.machine.solver
            warnings.warn(
                f"{self.machine.unsettled} of {self.machine.settled} samples did not settle to the "
                f"tolerance {solver.tolerance:g} within {solver.budget} sweeps: their gradients "
                "are not exact. Raise the budget, choose another solver, or weaken the couplings; "
                "module.metrics counts on",
                RuntimeWarning,
                stacklevel=4,
            )


class _Settle(torch.autograd.Function):
    """Free phase forward, nudged phases backward."""

    @staticmethod
    def forward(
        ctx: Any, module: Equilibrium, x: Tensor, start: Sequence[Tensor] | None, *held: Tensor
    ) -> Tensor:
        for label, p in zip(module.labels, held, strict=True):
            if p.dtype != x.dtype or p.device != x.device:
                raise InputError(
                    f"x is {x.dtype} on {x.device}, but parameter {label} is {p.dtype} on "
                    f"{p.device}: move one with .to()"
                )
        ctx.save_for_backward(x, *held)  # so that autograd refuses when they change before backward
        ctx.module = module
        ctx.free = module.machine.settle(x, start=start)
        module._count()
        output: Tensor = ctx.free.output.clone()
        return output

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise InputError(
                "an Equilibrium has no second derivative: its backward is a measurement, so "
                "create_graph=True cannot be used through it"
            )
        _, *held = ctx.saved_tensors
        (slope,) = slopes
        module, free = ctx.module, ctx.free
        size = float(slope.abs().max())
        if not size:
            parts = [torch.zeros_like(p) for p in held]
            by_x = torch.zeros_like(free.states[0]) if ctx.needs_input_grad[1] else None
            return None, by_x, None, *parts
        unit = slope / size
        gradient = module.estimator.measure(
            module.machine, free, lambda beta: Current(beta, unit), size, ctx.needs_input_grad[1]
        )
        module._count()
        return None, gradient.x, None, *gradient.weights
