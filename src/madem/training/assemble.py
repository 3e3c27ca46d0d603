"""Machines from a plan: the ideal network, chips, and the same network as a circuit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from madem.circuit import Timing
from madem.device import Cell
from madem.device.fluctuation import Spectrum, White
from madem.errors import InputError
from madem.machine import (
    Asked,
    CircuitMachine,
    Exact,
    FastSlow,
    Lines,
    Partial,
    Periphery,
    Placement,
    SignedPair,
    Simulated,
    Spread,
    Store,
    Train,
    Wired,
    draw_lines,
    lay_on,
    verified,
)
from madem.machine.base import Listener, silent
from madem.machine.clock import Clock, Times
from madem.machine.writing import Writing
from madem.network import Amplified, Dense, Joint, Network, Wires
from madem.randomness import stream
from madem.solver import Solver, Sweep, Timed
from madem.training.plan import Plan, spread_over

Weights = Sequence[Sequence[Tensor]]
"""Parameters of a network, a list per joint, chips first where there are any."""


@dataclass(frozen=True)
class Ideal:
    """One network in exact numbers, settled by ``solver``.

    >>> Ideal().ensemble
    ()
    """

    ensemble: ClassVar[tuple[int, ...]] = ()
    solver: Solver = Sweep()

    def assemble(
        self, plan: Plan, weights: Weights | None = None, listener: Listener = silent
    ) -> Simulated:
        """Return the ideal machine, its parameters drawn where ``weights`` are not given."""
        del listener
        return Simulated.ideal(plan.network, weights or first_weights(plan), self.solver)


@dataclass(frozen=True)
class OnCircuit:
    """One network as a circuit, at rest by Kirchhoff's laws; ``wires`` are of resistive ones."""

    ensemble: ClassVar[tuple[int, ...]] = ()
    wires: Wires | None = None

    def assemble(
        self, plan: Plan, weights: Weights | None = None, listener: Listener = silent
    ) -> CircuitMachine:
        """Return the circuit, its parameters drawn where ``weights`` are not given.

        Raises ``InputError`` where the network has no circuit.
        """
        del listener
        held = zip(plan.network.joints, weights or first_weights(plan), strict=True)
        return CircuitMachine(plan.network, [Exact(j, p) for j, p in held], self.wires)


@dataclass(frozen=True)
class Cells:
    """What the arrays of a chip are made of, and how they are laid out and wired.

    ``base``: conductance around which a weight is programmed, S; ``units``: conductance of weight
    one of every joint, S, or one for all; ``arrays`` of ``lines`` by ``lines``; ``wires``: None
    where they are ideal; ``seen``: whether the rule multiplies the voltages of the cells, instead
    of those at the terminals; ``sum_limit``: range of the converters of each tile's sum, in units
    of the state, None where tiles of one layer add their currents.
    """

    cell: Cell
    base: float
    units: tuple[float, ...]
    arrays: int = 2
    lines: int = 64
    wires: Wires | None = None
    seen: bool = False
    sum_limit: float | None = None

    def unit(self, index: int, joints: int) -> float:
        """Return the conductance of weight one of joint ``index`` of ``joints``, S."""
        return spread_over(self.units, joints, "machine.units")[index]


Holding = Callable[[Plan, int, SignedPair, Tensor], Store]
"""What holds a joint: from the plan, its index, the pairs that are programmed, and its weights."""


@dataclass(frozen=True)
class Pairs:
    """One differential pair of cells for every weight."""

    def __call__(self, plan: Plan, index: int, pairs: SignedPair, weight: Tensor) -> Store:
        """Return the pairs."""
        del plan, index, weight
        return pairs


@dataclass(frozen=True)
class AsAsked:
    """One pair of cells for every weight, whose parameter is what it was asked to hold.

    ``absolute``: whether a cell in question is programmed to its whole weight where writes are
    verified, instead of moved by the change.
    """

    absolute: bool = True

    def __call__(self, plan: Plan, index: int, pairs: SignedPair, weight: Tensor) -> Store:
        """Return the pairs with what they were asked to hold."""
        del plan, index
        return Asked(pairs, weight, self.absolute and pairs.writing is verified)


@dataclass(frozen=True)
class FastInFront:
    """A second array in front of each, which is written instead: the Tiki-Taka family.

    ``gain``: of what is handed on, one line every ``every`` writes; ``threshold``: what has to add
    up before the slow array is written, S; ``pulses``: of a train, at most. The fast array is
    programmed to the conductance where its pulses balance.
    """

    gain: float = 1.0
    every: int = 1
    threshold: float = 15e-6
    pulses: int = 20

    def __call__(self, plan: Plan, index: int, pairs: SignedPair, weight: Tensor) -> Store:
        """Return both arrays."""
        del weight
        shape, asymmetry = pairs.weight.shape, 0.0
        if isinstance(pairs.writing, Train):
            asymmetry = pairs.writing.asymmetry
        fast = SignedPair(
            pairs.cell, torch.zeros_like(pairs.weight), pairs.unit,
            pairs.cell.high / (2 - asymmetry),
            stream(plan.seed, "fast chips", index, *shape),
            stream(plan.seed, plan.name, "fast writes", index),
            Train(self.pulses, stochastic=True, asymmetry=asymmetry),
        )  # fmt: skip
        return FastSlow(fast, pairs, self.every, self.gain, self.threshold / pairs.unit)


@dataclass(frozen=True)
class OnChips:
    """``chips`` chips, each of which holds the network's dense joints on its own arrays.

    Other joints stay exact. ``spread``: how much lines and neurons differ; ``timing``: what takes
    time; ``read_sigmas``: of each chip, how much every cell of it fluctuates, S, where that is not
    as its device has it; ``spectrum``: how that is spread over frequencies; ``phases``: how long
    the free phase and a nudged one last, s, where they end before all is at rest. The static draw
    of an array depends on seed and shape alone, so that all plans that use an array of one shape
    meet the same chips.
    """

    chips: int
    cells: Cells
    periphery: Periphery = Periphery()
    writing: Writing = verified
    solver: Solver = Sweep()
    spread: Spread = Spread()
    holding: Holding = Pairs()
    timing: Timing = Timing()
    read_sigmas: tuple[float, ...] = ()
    phases: tuple[float, float] | None = None
    spectrum: Spectrum = White()

    @property
    def ensemble(self) -> tuple[int, ...]:
        """The axis of the chips."""
        return (self.chips,)

    def placements(self, network: Network) -> tuple[Placement, ...]:
        """Return where every dense joint lies; raise ``InputError`` where one does not fit."""
        shapes = [lines for joint in network.joints if (lines := lines_of(joint)) is not None]
        return tuple(lay_on(shapes, self.cells.arrays, self.cells.lines))

    def assemble(
        self, plan: Plan, weights: Weights | None = None, listener: Listener = silent
    ) -> Simulated:
        """Return the chips with ``weights`` programmed onto them, drawn where none are given."""
        places = iter(self.placements(plan.network))
        held = first_weights(plan) if weights is None else weights
        stores, lines = list[Store](), list[Lines]()
        partial = list[Partial | None]()
        for index, (joint, mine) in enumerate(zip(plan.network.joints, held, strict=True)):
            if lines_of(joint) is None:
                stores.append(Exact(joint, mine))
                lines.append(Lines())
                partial.append(None)
                continue
            place, whole = next(places), torch.cat([mine[0], *(b[..., None] for b in mine[1:])], -1)
            stores.append(self._store(plan, index, whole, place))
            named = stream(plan.seed, "lines", index, *whole.shape)
            lines.append(draw_lines(self.spread, whole.shape, named, len(mine) > 1))
            tiles = place.tiles
            limit = self.cells.sum_limit if tiles else None
            partial.append(Partial(tiles.rows, tiles.columns, limit) if tiles and limit else None)
        periphery = self.periphery
        if self.spread != Spread():
            periphery = replace(periphery, lines=tuple(lines))
        if any(partial):
            periphery = replace(periphery, partial=tuple(partial))
        noise, clock = stream(plan.seed, plan.name, "noise"), None
        if self.spectrum.bands is not None:
            times = Times.of(plan.network, self.timing.tau, self.phases)
            clock = Clock(self.spectrum.bands, times, stores, noise, self.ensemble)
        return Simulated(plan.network, self._solver, stores, periphery, noise, listener, clock)

    @property
    def _solver(self) -> Solver:
        if self.phases is None:
            return self.solver
        free, nudged = (phase / self.timing.tau for phase in self.phases)
        return Timed(free=free, nudged=nudged)

    def _store(self, plan: Plan, index: int, weight: Tensor, place: Placement) -> Store:
        cells, wired = self.cells, None
        if cells.wires is not None:
            lines = {"lines": cells.lines} if place.tiles else {}
            wired = Wired(cells.wires, place.side, cells.seen, **lines)
        pairs = SignedPair(
            cells.cell, weight, cells.unit(index, len(plan.network.joints)), cells.base,
            stream(plan.seed, "chips", index, *weight.shape),
            stream(plan.seed, plan.name, "writes", index),
            self.writing, wired,
        )  # fmt: skip
        if self.read_sigmas:
            pairs.fluctuate(torch.tensor(self.read_sigmas)[:, None, None])
        return self.holding(plan, index, pairs, weight)


def chips_of(plan: Plan) -> OnChips:
    """Return the chips of ``plan``; raise ``InputError`` where it has none."""
    if not isinstance(plan.making, OnChips):
        raise InputError(f"{plan.name}: this is about chips, but this network lies on none "
                         "(machine.kind is not chip)")  # fmt: skip
    return plan.making


def lines_of(joint: Joint) -> tuple[int, int] | None:
    """Return the lines ``(post, pre)`` of a joint on an array, bias included; None if on none.

    >>> lines_of(Dense((4,), 3))
    (3, 5)
    """
    inner = joint.joint if isinstance(joint, Amplified) else joint
    if type(inner) is not Dense:
        return None
    (post, pre), *bias = inner.parameters.values()
    return post, pre + len(bias)


def cells_in(plan: Plan) -> int:
    """Return how many memristors each chip of ``plan`` uses, 0 where it has none."""
    shapes = [lines_of(joint) for joint in plan.network.joints]
    many = 2 * sum(shape[0] * shape[1] for shape in shapes if shape is not None)
    return many if plan.ensemble else 0


def first_weights(plan: Plan) -> list[list[Tensor]]:
    """Draw the parameters to start from, each chip its own."""
    draws = stream(plan.seed, plan.name, "initial")
    if not plan.ensemble:
        return plan.network.initial(draws)
    drawn = [plan.network.initial(draws) for _ in range(*plan.ensemble)]
    return [
        [torch.stack(each) for each in zip(*mine, strict=True)] for mine in zip(*drawn, strict=True)
    ]


def chained(network: Network) -> bool:
    """Return whether ``network`` is a chain of dense joints, whose lines the ledger can count."""
    try:
        return bool(network.shapes)
    except InputError:
        return False
