"""A network bound to its parameters and to one input: the energy that comes to its minimum.

States are absolute, or displacements from a given state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from madem.errors import InputError
from madem.network.couplings import Coupling, Shape, displaced
from madem.network.laws import Curvature, Law, Mover, across, along, mover, overridden
from madem.network.nudges import Nudge

Product = Callable[[list[Tensor]], list[Tensor]]
"""The product of a matrix with one vector a layer."""


@dataclass(frozen=True)
class Site:
    """A layer's place: its law and shape, and the ``(joint, end)`` that reach it."""

    law: Law
    shape: Shape
    ends: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Problem:
    """What comes to rest: sites, their couplings, the clamped input ``x``.

    ``fixed``: currents that never change, of the shape of every state; ``loads``: curvatures.
    Layers are indexed from 0 here, without the input. Where ``at`` is given, states are
    displacements from it, in which relative precision survives however small a nudge is;
    ``origin`` is then the problem that was at rest there. ``drawn``: whether couplings hold
    numbers that were drawn for every sample.
    """

    sites: tuple[Site, ...]
    couplings: tuple[Coupling, ...]
    ends: tuple[tuple[int, ...], ...]
    x: Tensor
    fixed: tuple[Tensor, ...]
    loads: tuple[Curvature, ...]
    at: tuple[Tensor, ...] = ()
    origin: Problem | None = None
    drawn: bool = False

    @cached_property
    def zeros(self) -> tuple[Tensor, ...]:
        """The states at the start: a pull of states that are still these tensors is skipped."""
        return tuple(torch.zeros_like(part) for part in self.fixed)

    @cached_property
    def movers(self) -> tuple[Mover, ...]:
        """How every layer moves away from the states displaced from; nothing at zero."""
        if self.origin is None:
            return ()
        movers = []
        for i, (site, s) in enumerate(zip(self.sites, self.at, strict=True)):
            loaded = site.law.loaded
            excess = self.origin.drive(i, self.at) - self.loads[i] * s if loaded else s
            movers.append(mover(site.law, s, excess))
        return tuple(movers)

    @property
    def order(self) -> tuple[int, ...]:
        """Layers in the order in which they move: listeners, then every other layer, then the rest.

        In a chain, layers of one parity do not feel each other, so this is the published order.
        """
        loaded = [site.law.loaded for site in self.sites]
        return tuple(sorted(range(len(self.sites)), key=lambda i: (loaded[i], i % 2)))

    @cached_property
    def reach(self) -> int:
        """How many couplings a displacement crosses from the outputs to the farthest layer.

        1 in absolute states, which do not start from nothing.
        """
        if not self.at:
            return 1
        met, crossed = {len(self.sites)}, 0
        while True:
            joined = {e for ends in self.ends if met & set(ends) for e in ends if e} - met
            if not joined:
                return max(1, crossed)
            met |= joined
            crossed += 1

    @property
    def direct(self) -> bool:
        """Whether one pass is exact, since at most one layer feels another that moves."""
        moving = [i + 1 for i, site in enumerate(self.sites) if site.law.loaded]
        felt = [
            ends[k]
            for coupling, ends in zip(self.couplings, self.ends, strict=True)
            for end, layer in enumerate(ends) if layer in moving
            for k in coupling.felt(end)
        ]  # fmt: skip
        return len(moving) <= 1 and not set(felt) & set(moving)

    @property
    def batch(self) -> torch.Size:
        """The axes in front of a layer's own: chips and samples."""
        return self.fixed[0].shape[: self.fixed[0].dim() - len(self.sites[0].shape)]

    @property
    def separable(self) -> bool:
        """Whether samples can be taken out.

        Not where chips come first, nor of displacements, nor of what was drawn sample by sample.
        """
        return len(self.batch) == 1 and not self.at and not self.drawn

    def drive(self, index: int, states: Sequence[Tensor]) -> Tensor:
        """Return the current into layer ``index`` from its neighbours and its biases."""
        total = None if self.at else self.fixed[index]
        for joint, end in self.sites[index].ends:
            ends, coupling = self.ends[joint], self.couplings[joint]
            felt = coupling.felt(end)
            if not any(ends[k] for k in felt):
                continue  # of the clamped input alone: in ``fixed``
            still = all(self._still(ends[k], states) for k in felt)
            if still and (self.at or end not in felt):
                continue  # of zeros: nothing
            pull = _pull(coupling, end, [self._state(e, states) for e in ends])
            total = pull if total is None else total + pull
        return self.zeros[index] if total is None else total

    def _state(self, end: int, states: Sequence[Tensor]) -> Tensor:
        """Return the state at ``end``, of a clamped input as a displacement too: none."""
        if end:
            return states[end - 1]
        return torch.zeros_like(self.x) if self.at else self.x

    def _still(self, end: int, states: Sequence[Tensor]) -> bool:
        """Return whether a state is still the zero of the start."""
        return bool(self.at) if end == 0 else states[end - 1] is self.zeros[end - 1]

    def respond(self, index: int, drive: Tensor, nudge: Nudge | None) -> Tensor:
        """Return the exact minimiser of the energy in layer ``index`` under ``drive``."""
        law, load = self.sites[index].law, self.loads[index]
        last = index + 1 == len(self.sites)
        if not law.loaded:
            if nudge and nudge.stiffness:
                raise InputError(
                    "a readout outside the energy is nudged by a current, which needs no state of "
                    f"its own, not by a {type(nudge).__name__}: use currents"
                )
            load, drive = 0.0, torch.zeros_like(drive)
        if self.at:
            move, at = self.movers[index], self.at[index]
            if not (last and nudge):
                return move(load, drive)
            if self.origin and overridden(nudge, "rest", "move"):
                at_rest = self.origin.drive(index, self.at) if law.loaded else 0.0
                return nudge.rest(law, load, at_rest + drive) - at
            return nudge.move(law, move, load, drive, at)
        return nudge.rest(law, load, drive) if last and nudge else law.rest(load, drive)

    def rest(self, index: int, states: Sequence[Tensor], nudge: Nudge | None) -> Tensor:
        """Return the minimiser of the energy in layer ``index``, the others fixed."""
        drive = self.drive(index, states) if self.sites[index].law.loaded else self.zeros[index]
        still = bool(self.at) and drive is self.zeros[index] and states[index] is drive
        if still and not (nudge and index + 1 == len(self.sites)):
            return drive
        return self.respond(index, drive, nudge)

    def output(self, states: Sequence[Tensor]) -> Tensor:
        """Return what the output lines carry: the state, or what a readout senses."""
        last = len(self.sites) - 1
        law = self.sites[last].law
        return states[last] if law.loaded else law.rest(0.0, self.drive(last, states))

    def reaction(self, states: Sequence[Tensor]) -> Tensor:
        """Return what pulls on the clamped input: minus ``dE/dx``, but for the input's own load."""
        total = torch.zeros_like(self.x)
        for coupling, ends in zip(self.couplings, self.ends, strict=True):
            for end, layer in enumerate(ends):
                if layer == 0:
                    total = total + _pull(coupling, end, [self._state(e, states) for e in ends])
        return total

    def displaced(self, states: Sequence[Tensor]) -> Problem:
        """Return the problem of displacements from ``states``, which must be at rest."""
        ends = [[self._state(e, states) for e in ends] for ends in self.ends]
        moved = tuple(displaced(c, s) for c, s in zip(self.couplings, ends, strict=True))
        return replace(self, couplings=moved, at=tuple(states), origin=self)

    def linearised(
        self, states: Sequence[Tensor], nudge: Nudge | None
    ) -> tuple[list[Tensor], list[Tensor], Product, Product, Product]:
        """Return which nodes are free, the force on them, and products with three matrices.

        ``B^T H B`` with ``H = d2E/ds2``, then ``B`` and ``B^T``: displacements of units that
        compete are ``B v`` for any ``v``, others are ``v``. Nodes held by their limits, and
        readouts, neither feel nor move.
        """
        leaves = [s.detach().requires_grad_() for s in states]
        with torch.enable_grad():
            drives = [self.drive(i, leaves) for i in range(len(leaves))]
        stiff, force = [], []
        for i, (site, s) in enumerate(zip(self.sites, states, strict=True)):
            drive, load = drives[i].detach(), self.loads[i]
            load = load.detach() if isinstance(load, Tensor) else load
            slope = load + site.law.slope(s.detach(), drive - load * s.detach())
            if nudge and i + 1 == len(states):
                slope = slope + nudge.stiffness
            stiff.append(slope)
            step = self.respond(i, drive, nudge).detach() - s.detach()
            force.append(torch.where(torch.isfinite(slope), slope * step, 0.0))
        free = [torch.isfinite(slope) for slope in stiff]
        felt = [i for i, drive in enumerate(drives) if drive.requires_grad]

        places = [(site.law, s.detach()) for site, s in zip(self.sites, states, strict=True)]

        def spread(v: list[Tensor]) -> list[Tensor]:
            return [along(*place, u) for place, u in zip(places, v, strict=True)]

        def gather(force: list[Tensor]) -> list[Tensor]:
            return [across(*place, f) for place, f in zip(places, force, strict=True)]

        def stiffness(v: list[Tensor]) -> list[Tensor]:
            v = [torch.where(f, u, 0.0) for f, u in zip(free, spread(v), strict=True)]
            pulls: Sequence[Tensor | None] = [None] * len(v)
            if felt:
                pulls = torch.autograd.grad(
                    [drives[i] for i in felt], leaves, [v[i] for i in felt],
                    retain_graph=True, allow_unused=True,
                )  # fmt: skip
            return gather([
                torch.where(f, k * u - (0 if p is None else p), 0.0)
                for f, k, u, p in zip(free, stiff, v, pulls, strict=True)
            ])  # fmt: skip

        return free, force, stiffness, spread, gather

    def take(self, rows: Tensor) -> Problem:
        """Return the problem of the samples ``rows`` alone; there must be no chips in front."""
        return replace(self, x=self.x[rows], fixed=tuple(part[rows] for part in self.fixed))

    def energy(self, states: Sequence[Tensor]) -> Tensor:
        """Return the energy of each sample, shape ``(*chips, batch)``.

        >>> from madem.network import Free, Layer, Matrix, Network
        >>> net = Network(1, (Layer(1, Free()),))
        >>> problem = net.bind([Matrix(torch.tensor([[2.0]]))], torch.tensor([[3.0]]))
        >>> problem.energy([torch.tensor([[6.0]])]).item()  # 36 / 2 - 6 * 6
        -18.0
        """
        total = self.x.new_zeros(())
        for site, state in zip(self.sites, states, strict=True):
            total = total + site.law.energy(state).flatten(-len(site.shape)).sum(-1)
        for coupling, ends in zip(self.couplings, self.ends, strict=True):
            total = total + coupling.energy([self._state(e, states) for e in ends])
        return total


def _pull(coupling: Coupling, end: int, states: list[Tensor]) -> Tensor:
    """Return the pull; of complex states (a holomorphic nudge) part by part, being linear."""
    if not any(s.is_complex() for s in states):
        return coupling.pull(end, states)
    real = coupling.pull(end, [s.real for s in states])
    imaginary = [s.imag if s.is_complex() else torch.zeros_like(s) for s in states]
    return torch.complex(real, coupling.pull(end, imaginary))
