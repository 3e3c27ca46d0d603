"""Ways of writing: how wanted changes of pairs of cells become pulses, and what that does to them.

A way of writing is a pure function, ``writing(pairs, index, change, draws) -> (pairs, written)``:
it returns the pairs with the weights at ``index`` moved by ``change``, S, as well as it can, by
what it draws from ``draws``, and what that took. Ways that do something besides (disturb, wear)
hold another one. Stores alone keep what is returned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Generator, Tensor

from madem.device import Cell, program, pulse, read
from madem.device.cell import Static
from madem.errors import InputError
from madem.ledger import Event
from madem.randomness import uniform

Index = tuple[Tensor, ...]
"""Places, one tensor an axis: ``(*chip, post, pre)`` of weights, the half first of cells."""


@dataclass(frozen=True)
class Written:
    """What a write took: how many ``cells`` were touched per chip, and the ``events`` of it.

    ``index``: the cells written, ``(half, *chip, post, pre)``, or with ``pairs`` the weights, both
    of whose cells were, first halves first; ``amounts``: for each cell the number of pulses,
    negative downwards, or its target, S, where it was verified.
    """

    cells: Tensor
    events: tuple[Event, ...]
    index: Index = ()
    amounts: Tensor = field(default_factory=lambda: torch.zeros(0))
    verified: bool = False
    pairs: bool = False

    @cached_property
    def places(self) -> Index:
        """The cells written, ``(half, *chip, post, pre)``."""
        return _halves(self.index) if self.pairs else self.index


@dataclass(frozen=True)
class Pairs:
    """Pairs of cells as they stand: ``cells``, S, ``(2, *chips, post, pre)``, and their draw.

    ``counts``: how often each cell was written, where a way of writing counts.
    """

    cell: Cell
    cells: Tensor
    static: Static
    counts: Tensor | None = None


Outcome = tuple[Pairs, Written]
"""The pairs after a write, and what it took."""

Writing = Callable[[Pairs, Index, Tensor, Generator], Outcome]
"""How a change is written: (pairs, places of the weights, changes in S, draws) -> the outcome.
Places come in order, each once."""


def verified(held: Pairs, index: Index, change: Tensor, draws: Generator) -> Outcome:
    """Write by program-and-verify: read both cells, move one of them.

    The opposite cell is lowered where it has room, else the cell's own is raised, which keeps
    the pair's common conductance, and so its power, low. A cell that verification has shown to
    be stuck is left, and its partner moved instead.
    """
    pairs = [(torch.full_like(index[0], sign), *index) for sign in (0, 1)]
    seen = [read(held.cell, held.cells[pair], draws) for pair in pairs]
    stuck = [held.static.stuck[pair] for pair in pairs]
    up = change > 0
    lowers = torch.where(up, seen[1], seen[0]) >= change.abs()
    minus = torch.where(stuck[0] == stuck[1], up == lowers, stuck[0])
    place = (minus.long(), *index)
    target = torch.where(minus, seen[1] - change, seen[0] + change)
    reached = program(held.cell, target, held.static.at(place), draws)
    touched = count(held, index)
    written = Written(touched, (Event("verified write", touched),), place, target, verified=True)
    return replace(held, cells=held.cells.index_put(place, reached)), written


def single_pulse(held: Pairs, index: Index, change: Tensor, draws: Generator) -> Outcome:
    """Write open-loop: one pulse to each cell of the pair, in opposite directions, no read."""
    up = change > 0
    both, cells = torch.cat([up, ~up]), held.cells.flatten()
    if len(both) == len(cells):  # all of them, in order
        cells = pulse(held.cell, cells, both, held.static.flat, draws)
    else:
        weight = _flat(index, held.cells.shape[1:])
        cell = torch.cat([weight, weight + len(cells) // 2])
        static = held.static.flat.at((cell,))
        cells = cells.index_copy(0, cell, pulse(held.cell, cells[cell], both, static, draws))
    touched = 2 * count(held, index)
    signs = torch.where(both, 1.0, -1.0)
    written = Written(touched, (Event("pulse", touched),), index, signs, pairs=True)
    return replace(held, cells=cells.view_as(held.cells)), written


@dataclass(frozen=True)
class Train:
    """Write open-loop by trains of equal pulses: as many as the change is steps, at most ``most``.

    Both cells of a pair get the train, in opposite directions, so that the pair moves by about the
    device's ``pulse_step`` a pulse. The driver rounds to whole pulses: to the nearest, or, where it
    is ``stochastic``, up with the probability that makes the mean right. ``asymmetry``: a pulse
    down moves ``1 - asymmetry`` of what the device says, as if its two directions differed.

    >>> Train(0)
    Traceback (most recent call last):
    ...
    madem.errors.InputError: most must be at least 1 pulse, but is 0
    """

    most: int
    stochastic: bool = False
    asymmetry: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a train that cannot be."""
        if self.most < 1:
            raise InputError(f"most must be at least 1 pulse, but is {self.most}")
        if not 0 <= self.asymmetry < 1:
            raise InputError(f"asymmetry must be at least 0 and below 1, but is {self.asymmetry}")

    def __call__(self, held: Pairs, index: Index, change: Tensor, draws: Generator) -> Outcome:
        """Write ``change``; weights that get no whole pulse are left."""
        steps = change.abs() / held.cell.pulse_step
        lift = uniform(steps.shape, draws, steps.device) if self.stochastic else 0.5
        number = (steps + lift).floor().clamp_max(self.most)
        kept = (number > 0).nonzero()[:, 0]
        index, number, up = tuple(i[kept] for i in index), number[kept], change[kept] > 0
        place, both = _halves(index), torch.cat([up, ~up])
        trains = torch.cat([number, number])
        after = self._send(held, place, both, trains, draws)
        pulses = 2 * count(held, index, number)
        signed = torch.where(both, trains, -trains)
        written = Written(2 * count(held, index), (Event("pulse", pulses),), place, signed)
        return after, written

    def _send(
        self, held: Pairs, place: Index, up: Tensor, number: Tensor, draws: Generator
    ) -> Pairs:
        """Return the cells after ``number`` pulses to each at ``place``, one after another.

        The longest trains come first, so that every next pulse goes to fewer of the first cells.
        """
        number, order = number.int().sort(descending=True, stable=True)
        cell, up = _flat(place, held.cells.shape)[order], up[order]
        static, now = held.static.flat.at((cell,)), held.cells.flatten()[cell]
        share = torch.where(up, 1.0, 1.0 - self.asymmetry)
        for sent in range(int(number[0]) if number.numel() else 0):
            first = slice(0, int((number > sent).sum()))
            here = now[first]
            moved = pulse(held.cell, here, up[first], static.at((first,)), draws)
            now[first] = here + share[first] * (moved - here) if self.asymmetry else moved
        cells = held.cells.flatten().index_copy(0, cell, now).view_as(held.cells)
        return replace(held, cells=cells)


@dataclass(frozen=True)
class Disturbed:
    """Another way of ``writing`` whose pulses also move the nearest cells of the same lines.

    Each of the up to four neighbours of a written cell, along its row and its column, moves by
    ``share`` of what the cell itself moved. Neighbours are those of the same half of the pairs.
    """

    writing: Writing
    share: float

    def __post_init__(self) -> None:
        """Refuse a share that is none."""
        if not 0 <= self.share < 1:
            raise InputError(f"share must be at least 0 and below 1, but is {self.share}")

    def __call__(self, held: Pairs, index: Index, change: Tensor, draws: Generator) -> Outcome:
        """Write, then disturb."""
        before = held.cells
        held, written = self.writing(held, index, change, draws)
        moved = self.share * (held.cells - before)
        near = torch.zeros_like(moved)
        for axis in (-2, -1):
            size = moved.shape[axis] - 1
            near.narrow(axis, 0, size).add_(moved.narrow(axis, 1, size))
            near.narrow(axis, 1, size).add_(moved.narrow(axis, 0, size))
        disturbed = (held.cells + near).clamp_min(0).minimum(held.static.high)
        free = (near != 0) & ~held.static.stuck
        return replace(held, cells=torch.where(free, disturbed, held.cells)), written


@dataclass(frozen=True)
class Enduring:
    """Another way of ``writing`` that wears cells: after ``cycles`` writes a cell is stuck.

    It stays where its last write left it. The held's ``counts`` holds how often each cell was
    written; a train of pulses is one write.
    """

    writing: Writing
    cycles: int

    def __post_init__(self) -> None:
        """Refuse an endurance that is none."""
        if self.cycles < 1:
            raise InputError(f"cycles must be at least 1, but is {self.cycles}")

    def __call__(self, held: Pairs, index: Index, change: Tensor, draws: Generator) -> Outcome:
        """Write what can still be written, and count."""
        counts = torch.zeros_like(held.cells) if held.counts is None else held.counts
        dead = (counts >= self.cycles) & ~held.static.stuck
        if bool(dead.any()):
            level = torch.where(dead, held.cells, held.static.level)
            static = replace(held.static, stuck=held.static.stuck | dead, level=level)
            held = replace(held, static=static)
        held, written = self.writing(held, index, change, draws)
        one = torch.ones_like(counts[written.places])
        counted = counts.index_put(written.places, one, accumulate=True)
        return replace(held, counts=counted), written


def count(held: Pairs, index: Index, each: Tensor | None = None) -> Tensor:
    """Return how many weights ``index`` names on each chip, each counting ``each`` times."""
    chips = held.cells.shape[1:-2]
    if not chips:
        return torch.tensor(float(index[0].numel())) if each is None else each.sum()
    weights = None if each is None else each.double()
    return torch.bincount(index[0], weights, minlength=chips[0]).double()


def _flat(place: Index, shape: torch.Size) -> Tensor:
    """Return places as one number each: indexing by four costs three times as much."""
    found = place[0]
    for axis, size in zip(place[1:], shape[1:], strict=True):
        found = found * size + axis
    return found


def _halves(index: Index) -> Index:
    """Return the places of both cells of the weights at ``index``, first halves first."""
    half = torch.tensor([0, 1], device=index[0].device).repeat_interleave(len(index[0]))
    return half, *(axis.repeat(2) for axis in index)
