"""Ways of writing: how wanted changes of pairs of cells become pulses, and what that does to them.

A way of writing is a value, ``writing(store, index, change) -> Written``: it moves ``store.cells``
at the weights ``index`` by ``change``, S, as well as it can, and says what that took. Ways that do
something besides (disturb, wear) hold another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

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
    """What a write took: ``cells`` touched on each chip, and the ``events`` that the ledger hears.

    ``places``: the cells written, ``(half, *chip, post, pre)``; ``amounts``: for each the number of
    pulses, negative downwards, or its target, S, where it was verified.
    """

    cells: Tensor
    events: tuple[Event, ...]
    places: Index = ()
    amounts: Tensor = field(default_factory=lambda: torch.zeros(0))
    verified: bool = False


@runtime_checkable
class Pairs(Protocol):
    """What a way of writing needs of a store."""

    cell: Cell
    cells: Tensor
    static: Static
    writes: Generator
    counts: Tensor | None


Writing = Callable[[Pairs, Index, Tensor], Written]
"""How a change is written: (store, places of the weights, changes in S) -> what it took."""


def verified(store: Pairs, index: Index, change: Tensor) -> Written:
    """Write by program-and-verify: read both cells, move one of them.

    The opposite cell is lowered where it has room, else the cell's own is raised, which keeps
    the pair's common conductance, and so its power, low. A cell that verification has shown to
    be stuck is left, and its partner moved instead.
    """
    pairs = [(torch.full_like(index[0], sign), *index) for sign in (0, 1)]
    seen = [read(store.cell, store.cells[pair], store.writes) for pair in pairs]
    stuck = [store.static.stuck[pair] for pair in pairs]
    up = change > 0
    lowers = torch.where(up, seen[1], seen[0]) >= change.abs()
    minus = torch.where(stuck[0] == stuck[1], up == lowers, stuck[0])
    place = (minus.long(), *index)
    target = torch.where(minus, seen[1] - change, seen[0] + change)
    store.cells = store.cells.index_put(
        place, program(store.cell, target, store.static.at(place), store.writes)
    )
    touched = count(store, index)
    return Written(touched, (Event("verified write", touched),), place, target, verified=True)


def single_pulse(store: Pairs, index: Index, change: Tensor) -> Written:
    """Write open-loop: one pulse to each cell of the pair, in opposite directions, no read."""
    up = change > 0
    place, both = _halves(index), torch.cat([up, ~up])
    static = store.static.at(place)
    moved = pulse(store.cell, store.cells[place], both, static, store.writes)
    store.cells = store.cells.index_put(place, moved)
    touched = 2 * count(store, index)
    return Written(touched, (Event("pulse", touched),), place, torch.where(both, 1.0, -1.0))


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

    def __call__(self, store: Pairs, index: Index, change: Tensor) -> Written:
        """Write ``change``; weights that get no whole pulse are left."""
        steps = change.abs() / store.cell.pulse_step
        lift = uniform(steps.shape, store.writes, steps.device) if self.stochastic else 0.5
        number = (steps + lift).floor().clamp_max(self.most)
        kept = (number > 0).nonzero()[:, 0]
        index, number, up = tuple(i[kept] for i in index), number[kept], change[kept] > 0
        place, both = _halves(index), torch.cat([up, ~up])
        trains = torch.cat([number, number])
        self._send(store, place, both, trains)
        pulses = 2 * count(store, index, number)
        signed = torch.where(both, trains, -trains)
        return Written(2 * count(store, index), (Event("pulse", pulses),), place, signed)

    def _send(self, store: Pairs, place: Index, up: Tensor, number: Tensor) -> None:
        """Send ``number`` pulses to each cell at ``place``, one after another.

        The longest trains come first, so that every next pulse goes to fewer of the first cells.
        """
        number, order = number.int().sort(descending=True, stable=True)
        cell, up = _flat(place, store.cells.shape)[order], up[order]
        static, now = store.static.flat.at((cell,)), store.cells.flatten()[cell]
        share = torch.where(up, 1.0, 1.0 - self.asymmetry)
        for sent in range(int(number[0]) if number.numel() else 0):
            first = slice(0, int((number > sent).sum()))
            here = now[first]
            moved = pulse(store.cell, here, up[first], static.at((first,)), store.writes)
            now[first] = here + share[first] * (moved - here) if self.asymmetry else moved
        store.cells = store.cells.flatten().index_copy(0, cell, now).view_as(store.cells)


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

    def __call__(self, store: Pairs, index: Index, change: Tensor) -> Written:
        """Write, then disturb."""
        before = store.cells
        written = self.writing(store, index, change)
        moved = self.share * (store.cells - before)
        near = torch.zeros_like(moved)
        for axis in (-2, -1):
            size = moved.shape[axis] - 1
            near.narrow(axis, 0, size).add_(moved.narrow(axis, 1, size))
            near.narrow(axis, 1, size).add_(moved.narrow(axis, 0, size))
        disturbed = (store.cells + near).clamp_min(0).minimum(store.static.high)
        free = (near != 0) & ~store.static.stuck
        store.cells = torch.where(free, disturbed, store.cells)
        return written


@dataclass(frozen=True)
class Enduring:
    """Another way of ``writing`` that wears cells: after ``cycles`` writes a cell is stuck.

    It stays where its last write left it. The store's ``counts`` holds how often each cell was
    written; a train of pulses is one write.
    """

    writing: Writing
    cycles: int

    def __post_init__(self) -> None:
        """Refuse an endurance that is none."""
        if self.cycles < 1:
            raise InputError(f"cycles must be at least 1, but is {self.cycles}")

    def __call__(self, store: Pairs, index: Index, change: Tensor) -> Written:
        """Write what can still be written, and count."""
        counts = torch.zeros_like(store.cells) if store.counts is None else store.counts
        dead = (counts >= self.cycles) & ~store.static.stuck
        if bool(dead.any()):
            store.static = replace(
                store.static,
                stuck=store.static.stuck | dead,
                level=torch.where(dead, store.cells, store.static.level),
            )
        written = self.writing(store, index, change)
        one = torch.ones_like(counts[written.places])
        store.counts = counts.index_put(written.places, one, accumulate=True)
        return written


def count(store: Pairs, index: Index, each: Tensor | None = None) -> Tensor:
    """Return how many weights ``index`` names on each chip, each counting ``each`` times."""
    chips = store.cells.shape[1:-2]
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
