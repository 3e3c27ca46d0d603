"""The bridge to PyTorch: forward is the free phase, backward the nudged ones."""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from madem.errors import InputError, shown
from madem.learn.cells import Cells, outside
from madem.learn.estimators import Contrast, centred, currents
from madem.learn.strengths import RelativeMove
from madem.machine import Machine, Observed, Simulated
from madem.machine.strength import largest
from madem.network import Current, Network
from madem.network.couplings import wide
from madem.network.joints import Limits
from madem.randomness import stream
from madem.solver import Solver, Sweep


class Equilibrium(nn.Module):
    """An energy-based network as an ordinary module.

    ``forward(x)``, ``(batch, *inputs)``, lets the network settle and returns its outputs,
    ``(batch, *outputs)``; ``backward`` lets it settle nudged by the gradient that arrives, and
    fills ``.grad`` of the parameters and of ``x`` by contrasts: any loss and any optimiser will do.
    Each sample is nudged by its own gradient divided by the largest number in it, so that the
    strength ``beta`` of the ``estimator`` is that of every sample, and none depends on its batch.
    The default is ``centred(RelativeMove())``, exact whatever the units, and ``centred(1.0)`` on a
    machine whose reads fluctuate or are converted. Second derivatives are refused.

    An ideal machine computes with the parameters. On a chip they are the values that are *wanted*:
    it computes with what its cells hold until ``commit()`` writes them. ``state_dict`` then holds
    the cells, their static draw, write counts and generators too, under ``chip._extra_state``.
    Under ``torch.distributed`` every rank draws read noise of its own.

    ``dtype`` may be float64, float32, bfloat16 or float16, on a chip float64 or float32; under
    autocast the network computes in the type of its parameters. ``metrics`` counts the samples
    ``settled`` and ``unsettled``; what misses the tolerance is warned of once.

    >>> from madem.network import Box, Free, Layer
    >>> module = Equilibrium(Network(4, (Layer(3, Box(0.0, 1.0)), Layer(2, Free()))))
    >>> module(torch.rand(5, 4)).square().sum().backward()
    >>> sorted(name for name, p in module.named_parameters() if p.grad is not None)
    ['1_bias', '1_weight', '2_bias', '2_weight']
    """

    def __init__(
        self,
        network: Network | Machine,
        estimator: Contrast | None = None,
        solver: Solver | None = None,
        seed: int = 0,
    ) -> None:
        """Make a module of a ``network``, with parameters drawn from ``seed``, or of a machine."""
        super().__init__()
        machine: Machine
        if isinstance(network, type) or not isinstance(network, Network | Machine):
            raise InputError(f"network must be a Network or a Machine, but is {_kind(network)}")
        if not isinstance(network, Network):
            if solver is not None:
                raise InputError("solver: a machine has its own; give it to the machine")
            machine = network
        else:
            drawn = network.initial(stream(seed, "parameters"))
            machine = Simulated.ideal(network, drawn, solver or Sweep(1e-4, 300))
        usual = centred(RelativeMove() if machine.exact else 1.0)
        self.estimator = usual if estimator is None else estimator
        if not isinstance(self.estimator, Contrast) or self.estimator.pushing is not currents:
            raise InputError(
                "estimator: a module nudges by the gradient that arrives, so it must be a Contrast "
                f"by currents, as centred(RelativeMove()), but is {str(self.estimator)[:80]}"
            )
        self.machine = machine
        self.metrics = {"settled": 0, "unsettled": 0}
        self.clamped: dict[str, tuple[Tensor, int]] = {}
        self.labels = [name.replace(".", "_") for name in machine.names]
        for label, value in zip(self.labels, machine.parameters, strict=True):
            self.register_parameter(label, nn.Parameter(value.detach().clone()))
        self.chip = None if machine.bare else Cells(machine, self.estimator)

    @property
    def network(self) -> Network:
        """The physics."""
        return self.machine.network

    def forward(self, x: Tensor, start: Sequence[Tensor] | None = None) -> Tensor:
        """Return the outputs at rest, ``(batch, *outputs)``, from states ``start`` where given.

        Raises ``InputError`` where ``x`` or ``start`` has another shape, dtype or device than the
        network's, or is not finite.
        """
        held = self._held()
        x, start = self._given(x, start, held)
        if self.chip is not None:
            self.chip.heed(held)
        try:
            with _plain(x):
                output: Tensor = _Settle.apply(self, x, start, *held)
        except RuntimeError as error:
            if not re.search("setup_context|jvp", str(error)):  # what torch.func asks for
                raise
            raise InputError(
                "an Equilibrium cannot be transformed by torch.func (vmap, grad, jvp): its "
                "samples settle together, and its gradient is measured. Give it x of the shape "
                "(batch, *inputs), and call backward()"
            ) from None
        return output

    def settle(self, x: Tensor, start: Sequence[Tensor] | None = None) -> Observed:
        """Return what the machine shows of the free phase; a simulated one, its sweeps too."""
        self._renew()
        x, start = self._given(x, start, self._held())
        with torch.no_grad(), _plain(x):
            settled = self.machine.settle(x, start=start)
        self._count()
        return settled

    def commit(self, threshold: float = 0.0) -> None:
        """Write the parameters, as an optimiser left them, into the machine's cells.

        Cells are written, as well as they can be, where a parameter differs from what they stand
        for by more than ``threshold``, in its own unit; what they then stand for becomes the
        parameter. Smaller differences stay in the parameter, a digital memory, until they have
        grown. What is computed from other parameters (pruned, weight-normed) keeps its value. An
        ideal machine has nothing to do. Raises ``InputError``, and has written nothing, where a
        parameter is not finite.
        """
        if not (isinstance(threshold, int | float) and 0 <= threshold < math.inf):
            raise InputError(f"threshold must be zero or positive, but is {shown(threshold)}")
        self._renew()
        wanted = self._held()
        if self.chip is None:
            return
        for label, p in zip(self.labels, wanted, strict=True):
            if not bool(torch.isfinite(p).all()):
                raise InputError(f"parameter {label} holds NaN or infinity: nothing was written")
        new = self.chip.write([p.detach() for p in wanted], threshold)
        with torch.no_grad():
            for p, value in zip(wanted, new, strict=True):
                if isinstance(p, nn.Parameter):
                    p.copy_(value)
        self._renew()
        self.chip.ask(self._held())

    def extra_repr(self) -> str:
        """Return layers, machine, solver, cells and estimator."""
        first, *shapes = ("x".join(map(str, shape)) for shape in self.network.state_shapes)
        laws = (type(layer.law).__name__ for layer in self.network.layers)
        layers = [first, *(f"{shape} {law}" for shape, law in zip(shapes, laws, strict=True))]
        state = {} if self.chip is None else self.machine.state()
        cells = sum(held.numel() for name, held in state.items() if name.endswith("cells"))
        return "\n".join((
            f"layers={' -> '.join(layers)}",
            f"machine={self.machine}",
            f"cells={cells or 'none: parameters are numbers'}",
            f"estimator={self.estimator}",
        ))  # fmt: skip

    def _given(
        self, x: Tensor, start: Sequence[Tensor] | None, held: Sequence[Tensor]
    ) -> tuple[Tensor, Sequence[Tensor] | None]:
        """Return what was given, under autocast in the type of the parameters, or refuse it."""
        if not isinstance(x, Tensor):
            raise InputError(f"x must be a tensor, but is {_kind(x)}")
        if x.layout != torch.strided or x.is_nested or x.is_meta:
            kind = "on meta" if x.is_meta else f"nested or {x.layout}"
            raise InputError(f"x must be a dense tensor of numbers, but is {kind}")
        if start is not None:
            self._check_start(x, start)
        if torch.is_autocast_enabled(x.device.type) and x.is_floating_point() and held:
            x = x.to(held[0].dtype)
            start = None if start is None else [state.to(held[0].dtype) for state in start]
        for label, p in zip(self.labels, held, strict=True):
            if p.dtype != x.dtype or p.device != x.device:
                raise InputError(
                    f"x is {x.dtype} on {x.device}, but parameter {label} is {p.dtype} on "
                    f"{p.device}: move one with .to()"
                )
        return x, start

    def _check_start(self, x: Tensor, start: Sequence[Tensor]) -> None:
        """Refuse states that are not one per layer, finite, for every sample of ``x``."""
        inputs, *layers = self.network.state_shapes
        batch = tuple(x.shape[: max(x.dim() - len(inputs), 0)])
        wanted = [(*batch, *shape) for shape in layers]
        listed = isinstance(start, list | tuple) and all(isinstance(s, Tensor) for s in start)
        found = [tuple(state.shape) for state in start] if listed else _kind(start)
        if found != wanted:
            raise InputError(f"start must be states of the shapes {wanted}, but is {found}")
        if not all(bool(torch.isfinite(state).all()) for state in start):
            raise InputError("start must be finite, but holds NaN or infinity")

    def _held(self) -> list[Tensor]:
        """Return the parameters, within their limits, and put them into stores of numbers."""
        limits = self.machine.limits
        held = [self._within(*each) for each in zip(self.labels, limits, strict=True)]
        self.machine.load([p.detach() for p in held])
        return held

    def _renew(self) -> None:
        """Compute what is pruned or normalised anew, as a call of the module does."""
        for hook in self._forward_pre_hooks.values():
            if type(hook).__module__.startswith("torch.nn.utils."):
                hook(self, ())

    def _within(self, label: str, limits: Limits | None) -> Tensor:
        """Return a parameter, within ``limits`` where there are some."""
        p: Tensor = getattr(self, label)
        if limits is None or limits == (-math.inf, math.inf):
            return p
        if not isinstance(p, nn.Parameter):
            return p.clamp(*limits)
        last, version = self.clamped.get(label, (None, 0))
        if last is not p or version != p._version:
            with torch.no_grad():
                p.clamp_(*limits)
            self.clamped[label] = p, p._version
        return p

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Equilibrium:
        """Move the cells with the parameters."""
        if self.chip is not None:
            self.chip.check(fn)
        super()._apply(fn, recurse)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Load the cells before the parameters: what is refused has then changed nothing."""
        key = f"{prefix}chip._extra_state"
        if self.chip is not None and key in state_dict:
            self.chip.set_extra_state(state_dict[key])
        super()._load_from_state_dict(state_dict, prefix, *others)

    def _count(self) -> None:
        """Take over the machine's count, and warn when the first samples did not settle."""
        first = self.metrics["unsettled"] == 0 and self.machine.unsettled > 0
        self.metrics["settled"] = self.machine.settled
        self.metrics["unsettled"] = self.machine.unsettled
        if first:
            warnings.warn(
                f"{self.machine.unsettled} of {self.machine.settled} samples did not settle to the "
                f"tolerance ({self.machine}): their gradients are not exact. Raise the budget, "
                "choose another solver, weaken the couplings, or let the outputs be a readout "
                "(equilibrium(..., readout=True)); module.metrics counts on",
                RuntimeWarning,
                stacklevel=outside(),
            )


class _Settle(torch.autograd.Function):
    """Free phase forward, nudged phases backward."""

    @staticmethod
    def forward(
        ctx: Any, module: Equilibrium, x: Tensor, start: Sequence[Tensor] | None, *held: Tensor
    ) -> Tensor:
        ctx.module, ctx.count = module, len(held)
        ctx.cells = () if module.chip is None else module.chip.cells
        # saved, so that autograd refuses what changes before backward
        ctx.save_for_backward(x, *held, *ctx.cells)
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
        held = ctx.saved_tensors[1 : 1 + ctx.count]
        (slope,) = slopes
        module, free, wants_x = ctx.module, ctx.free, ctx.needs_input_grad[1]
        if module.chip is not None and not module.chip.holds(ctx.cells):
            raise RuntimeError(
                "cells of the chip were written between forward and backward: the nudged phases "
                "would contrast another chip with the free one. Call backward before commit()"
            )
        axes = free.converged.dim()
        size = largest(slope, axes)
        most = float(size.max()) if size.numel() else 0.0
        if not math.isfinite(most):
            where = (~torch.isfinite(size)).nonzero().squeeze(-1)
            raise InputError(
                "the gradient that arrives at the outputs holds NaN or infinity in "
                f"{len(where)} of {size.numel()} samples, the first of them {where[0].tolist()}"
            )
        if not most:
            parts = [torch.zeros_like(p) for p in held]
            by_x = torch.zeros_like(free.states[0]) if wants_x else None
            return None, by_x, None, *parts
        unit = slope / wide(torch.where(size > 0, size, 1.0), slope)
        with _plain(slope):
            gradient = module.estimator.measure(
                module.machine, free, lambda beta: Current(beta, unit), size, wants_x
            )
        module._count()
        return None, gradient.x, None, *gradient.weights


def _plain(x: Tensor) -> Any:
    """Return a context in which nothing is computed in fewer digits than its tensors have."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return contextlib.nullcontext()


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
