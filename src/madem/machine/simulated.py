"""The simulated machine: settle, contrast, write, over an ensemble of chips at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from madem.ledger import Event
from madem.machine.periphery import Periphery
from madem.machine.stores import Store, Written
from madem.network import Coupling, Network, Problem, dense_contrast, with_bias
from madem.solver import Rest, Sweep


@dataclass(frozen=True)
class Nudge:
    """A current ``beta * gradient`` drawn from the outputs, ``gradient`` being ``dC/d output``."""

    beta: float
    gradient: Tensor


@dataclass(frozen=True)
class Settled:
    """A machine at rest, and what was seen of it.

    ``states``: the converted activities of the clamped input and of every layer, each
    ``(*chips, batch, units)``; ``output``: what the output lines read; ``rest``: the solver's
    report; ``problem``: what was bound, to be reused by the phases that start from here.
    """

    states: tuple[Tensor, ...]
    output: Tensor
    rest: Rest
    problem: Problem


@dataclass(frozen=True)
class Fluctuating:
    """A coupling whose weights differ a little in every settling, and not within one.

    Independent fluctuations of ``sigma`` a weight add to a read of ``s`` a normal current of
    ``sigma |s|``, which is drawn instead of every cell's own: the distribution is the same.
    ``draws`` keeps what was drawn, so that all sweeps of one settling feel the same chip.
    """

    coupling: Coupling
    sigma: float
    generator: Generator
    draws: dict[str, Tensor] = field(default_factory=dict)

    def forward(self, pre: Tensor) -> Tensor:
        """Return the pull on the layer above, with the fluctuation."""
        return self.disturb("forward", self.coupling.forward(pre), pre, 1.0)

    def backward(self, post: Tensor) -> Tensor:
        """Return the pull on the layer below, with the fluctuation."""
        return self.disturb("backward", self.coupling.backward(post), post, 0.0)

    def disturb(self, way: str, pull: Tensor, driven: Tensor, bias: float) -> Tensor:
        """Return ``pull`` with the fluctuation that lines ``driven`` (and a bias line) add."""
        if way not in self.draws:
            self.draws[way] = torch.randn(pull.shape, dtype=pull.dtype, generator=self.generator)
        scale = (driven.square().sum(-1, keepdim=True) + bias).sqrt()
        return pull + self.sigma * scale * self.draws[way]

    def energy(self, pre: Tensor, post: Tensor) -> Tensor:
        """Return the energy of the mean coupling."""
        return self.coupling.energy(pre, post)


def silent(event: Event) -> None:
    """Hear an event, and forget it."""
    del event


class Simulated:
    """A machine of ``network`` and ``solver`` whose weights lie in ``stores``.

    Exact stores and an ideal periphery make it the ideal network; pairs of cells and
    converters, a chip. Reads fluctuate by draws from ``noise``; ``listener`` hears every event.

    >>> from madem.machine import Exact
    >>> from madem.network import Free, Layer
    >>> machine = Simulated(Network(1, (Layer(1, Free()),)), Sweep(),
    ...                     [Exact(torch.tensor([[2.0, 0.5]]))])
    >>> machine.settle(torch.tensor([[1.0]])).output.item()
    2.5
    """

    def __init__(
        self,
        network: Network,
        solver: Sweep,
        stores: Sequence[Store],
        periphery: Periphery | None = None,
        noise: Generator | None = None,
        listener: Callable[[Event], None] = silent,
    ) -> None:
        """Assemble the machine."""
        self.network = network
        self.solver = solver
        self.stores = tuple(stores)
        self.periphery = periphery or Periphery()
        self.noise = noise or torch.Generator()
        self.listener = listener
        self.unsettled = 0

    def settle(
        self,
        x: Float[Tensor, "... inputs"],
        nudge: Nudge | None = None,
        start: Settled | None = None,
    ) -> Settled:
        """Let the machine come to rest with ``x`` on its input lines.

        Free without ``nudge``; from ``start`` where given, reusing what was bound there, so
        ``x`` must be the same. Counts in ``unsettled`` the settlings that missed the tolerance.
        """
        if start is None:
            couplings = [store.coupling() for store in self.stores]
            problem = self.network.bind(couplings, self.periphery.drive(x))
        else:
            problem = start.problem
        current = None if nudge is None else nudge.beta * self.periphery.drive(nudge.gradient)
        phase = self._fluctuate(problem)
        rest = self.solver.settle(phase, current, start.rest.states if start else None)
        self.unsettled += not rest.converged
        settled = self._sense(phase, rest, free=nudge is None)
        self._tell_settled(settled, free=nudge is None)
        return replace(settled, problem=problem)

    def contrast(self, high: Settled, low: Settled) -> tuple[Tensor, ...]:
        """Return ``dE/d[W b]`` at ``high`` minus at ``low``, one a coupling, batch mean."""
        pairs = list(zip(high.states, low.states, strict=True))
        samples = high.output.shape[-2]
        weights = sum(post * pre for post, pre in self.network.shapes)
        for item in ("activity product", "accumulator access"):
            self.listener(Event(item, float(samples * weights)))
        self.listener(Event("output gradient", float(samples * high.output.shape[-1])))
        return tuple(dense_contrast(pre, post) for pre, post in pairwise(pairs))

    def write(self, changes: Sequence[Tensor]) -> tuple[Written | None, ...]:
        """Change each coupling's weights by ``changes``, as well as its store can."""
        written = tuple(
            store.write(change) for store, change in zip(self.stores, changes, strict=True)
        )
        for each in written:
            if each is not None:
                self.listener(Event("verified write" if each.verified else "pulse", each.cells))
        return written

    def _fluctuate(self, problem: Problem) -> Problem:
        """Return the problem as it is during one settling."""
        if not any(store.fluctuation for store in self.stores):
            return problem
        couplings = tuple(
            Fluctuating(coupling, store.fluctuation, self.noise)
            for coupling, store in zip(problem.couplings, self.stores, strict=True)
        )
        clamped = couplings[0].disturb("forward", problem.clamped, problem.x, 1.0)
        return replace(problem, couplings=couplings, clamped=clamped)

    def _sense(self, phase: Problem, rest: Rest, free: bool) -> Settled:
        """Convert what the lines carry at rest."""
        bounds = [layer.law.bound for layer in phase.layers]
        states = [
            self.periphery.sense(state, bound)
            for state, bound in zip(rest.states, bounds, strict=True)
        ]
        last = phase.layers[-1].law
        if last.loaded:
            output = states[-1]
        else:
            states[-1] = rest.states[-1]  # driven, not sensed
            output = states[-1]
            if free:
                output = self.periphery.sense(phase.output(rest.states), last.bound)
        return Settled((phase.x, *states), output, rest, phase)

    def _tell_settled(self, settled: Settled, free: bool) -> None:
        """Tell the listener what this settling took: every number is a count a chip."""
        if self.listener is silent:
            return
        samples = settled.output.shape[-2]
        watts = torch.zeros(())
        for index, store in enumerate(self.stores):
            pre = with_bias(settled.states[index]).square().sum(-2)
            post = settled.states[index + 1].square().sum(-2)
            forward = free or self.network.layers[index].law.loaded
            watts = watts + store.dissipation(
                pre if forward else torch.zeros_like(pre),
                post if index else torch.zeros_like(post),
            )
        *_, last = self.network.layers
        moving = sum(layer.units for layer in self.network.layers if layer.law.loaded)
        sensed = moving + (last.units if free and not last.law.loaded else 0)
        driven = self.network.inputs + (0 if free else last.units)
        for item, count in (
            ("input conversion", driven),
            ("neuron settling", moving),
            ("output conversion", sensed),
        ):
            self.listener(Event(item, float(samples * count)))
        self.listener(Event("array read", float(samples), watts))
