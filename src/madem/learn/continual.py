"""Learning beside a stream: first a verdict, then what labels teach, and never the other way round.

Labels come late. What they teach is replayed from a reservoir with as much room for either class,
so that a class that has become rare is not forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from madem.errors import InputError
from madem.learn.estimators import Estimator
from madem.learn.rules import Rule
from madem.machine import Machine
from madem.machine.base import Listener, silent
from madem.network import Cost
from madem.randomness import rewind, streams, uniform


class Kept(NamedTuple):
    """What a reservoir holds: ``(classes, room, features)``, and how many each class has seen."""

    samples: Tensor
    seen: Tensor


@dataclass(frozen=True)
class Reservoir:
    """A memory of labelled samples with ``room`` for so many of each of ``classes``.

    Where a class's room is full, a new sample takes the place of one drawn at random: always, where
    it is ``fading``, so that samples are forgotten at one rate; else with the probability ``room /
    seen``, so that all ever seen are as likely to be held (Vitter, ACM TOMS 11, 37, 1985).

    >>> reservoir, draws = Reservoir(room=2), torch.Generator().manual_seed(0)
    >>> kept = reservoir.add(reservoir.init(1), torch.zeros(5, 1), torch.zeros(5).long(), draws)
    >>> kept.seen.tolist(), reservoir.draw(kept, (3,), draws)[1].tolist()
    ([5, 0], [0, 0, 0])
    """

    room: int = 200
    fading: bool = True
    classes: int = 2

    def __post_init__(self) -> None:
        """Refuse a reservoir without room."""
        if self.room < 1 or self.classes < 1:
            raise InputError("room and classes must be at least 1, but are "
                             f"{self.room} and {self.classes}")  # fmt: skip

    def init(self, features: int) -> Kept:
        """Return an empty one, for samples of so many ``features``."""
        empty = torch.zeros(self.classes, self.room, features)
        return Kept(empty, torch.zeros(self.classes, dtype=torch.long))

    def add(self, kept: Kept, x: Tensor, label: Tensor, draws: Generator) -> Kept:
        """Return the reservoir after samples ``(n, features)`` of classes ``(n,)``, in order."""
        samples, seen = kept.samples.clone(), kept.seen.clone()
        for one, kind in zip(x, label.tolist(), strict=True):
            before = int(seen[kind])
            seen[kind] += 1
            place = before
            if before >= self.room:
                among = self.room if self.fading else before + 1
                place = int(uniform((), draws) * among)
            if place < self.room:
                samples[kind, place] = one
        return Kept(samples, seen)

    def draw(self, kept: Kept, shape: tuple[int, ...], draws: Generator) -> tuple[Tensor, Tensor]:
        """Return samples ``(*shape, features)`` and their classes ``(*shape,)``, with replacement.

        Each class that there is comes as often as the others. Raises ``InputError`` where there is
        nothing.
        """
        there = kept.seen.nonzero()[:, 0]
        if not len(there):
            raise InputError("the reservoir is empty: no label has come yet")
        kind = there[(uniform(shape, draws) * len(there)).long()]
        held = kept.seen.clamp(max=self.room)[kind]
        return kept.samples[kind, (uniform(shape, draws) * held).long()], kind


@dataclass(frozen=True)
class Labels:
    """How labels come: for a ``share`` of the frames, ``delay`` s late, a share ``wrong``."""

    share: float = 1.0
    delay: float = 10.0
    wrong: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no labels can be."""
        if not (0 <= self.share <= 1 and 0 <= self.wrong < 0.5 and self.delay >= 0):
            raise InputError(
                "labels: share must be from 0 to 1, wrong below 0.5, delay not negative, but are "
                f"{self.share}, {self.wrong} and {self.delay}"
            )

    def given(self, truth: Tensor, draws: Generator, classes: int = 2) -> tuple[Tensor, Tensor]:
        """Return which frames get a label, ``(frames,)``, and what it says.

        A wrong one names any of the other ``classes``, as likely.
        """
        asked = uniform((len(truth),), draws) < self.share
        flipped = uniform((len(truth),), draws) < self.wrong
        other = truth + 1 + (uniform((len(truth),), draws) * (classes - 1)).long()
        return asked, torch.where(flipped, other % classes, truth)


def arrivals(
    time: Tensor, asked: Tensor, delay: float, block: int
) -> Iterator[tuple[slice, Tensor]]:
    """Yield every block of frames, and the numbers of the frames whose labels come after it.

    ``time``: of each frame, s, rising; ``asked``: whether it gets a label; a label that comes
    ``delay`` s after its frame is there once a whole ``block`` was judged that ends no sooner.

    >>> time, asked = torch.arange(6.0), torch.tensor([True, True, False, True, True, True])
    >>> [came.tolist() for _, came in arrivals(time, asked, 1.5, 2)]
    [[], [0, 1], [3]]
    """
    next_one = 0
    for first in range(0, len(time), block):
        part = slice(first, min(first + block, len(time)))
        ready = int((time[: part.stop] + delay <= time[part.stop - 1]).sum())
        came = torch.arange(next_one, max(ready, next_one))
        next_one = max(ready, next_one)
        yield part, came[asked[came]]


@dataclass(frozen=True)
class Teaching:
    """How a machine learns beside the stream: so many ``updates`` of ``batch`` samples a block.

    ``rate``: of every parameter; ``decay``: what is added of each to its gradient. Without a
    ``reservoir`` it learns from those labels alone that just came.
    """

    updates: int = 10
    batch: int = 32
    rate: float = 0.12
    decay: float = 0.02
    reservoir: Reservoir | None = Reservoir()

    def __post_init__(self) -> None:
        """Refuse what teaches nothing."""
        right = self.updates >= 0 and self.batch >= 1 and 0 <= self.decay < 1
        if not right or not self.rate > 0:
            raise InputError(
                "updates must not be negative, batch at least 1, rate above 0 and decay a share, "
                f"but are {self.updates}, {self.batch}, {self.rate} and {self.decay}"
            )


class Learner:
    """A machine that judges frames, and learns from the labels that come later.

    A label is the number of an output, plus as many times the number of outputs as is liked: what
    is learned is the same, but a reservoir of more ``classes`` keeps as much room for each group.
    ``estimator``, ``rule`` and ``cost``: how it learns; ``draws``: of what it replays, and of what
    fluctuates when its cells are read; ``memory``: of the rule; ``kept``: in the reservoir;
    ``written``: cells, each chip. ``judging`` and ``learning`` hear what its hardware does for
    either.
    """

    def __init__(
        self,
        machine: Machine,
        estimator: Estimator,
        rule: Rule,
        cost: Cost,
        teaching: Teaching,
        draws: Generator,
        judging: Listener = silent,
        learning: Listener = silent,
    ) -> None:
        """Begin with ``machine`` as it is, and an empty reservoir."""
        self.machine, self.estimator, self.rule, self.cost = machine, estimator, rule, cost
        self.teaching, self.draws = teaching, draws
        self.judging, self.learning = judging, learning
        self.memory = rule.init(machine.parameters)
        self.chips = tuple(machine.parameters[0].shape[:-2])
        (features,) = machine.network.state_shapes[0]
        self.kept = (teaching.reservoir or Reservoir(1)).init(features)
        self.written = torch.zeros(self.chips, dtype=torch.float64)

    def judge(self, x: Tensor) -> Tensor:
        """Return how much each frame ``(n, features)`` looks like a hit, ``(*chips, n)``.

        The difference of two outputs: the logarithm of the odds where the cost is cross-entropy.
        """
        output = self.outputs(x)
        return output[..., 1] - output[..., 0]

    def outputs(self, x: Tensor) -> Tensor:
        """Return the outputs for frames ``(n, features)``, ``(*chips, n, outputs)``."""
        machine = self.machine.watched(self.draws, self.judging)
        return machine.settle(x.expand(*self.chips, *x.shape)).output

    def remember(self, x: Tensor, label: Tensor) -> None:
        """Put labelled frames into the reservoir, where there is one."""
        if self.teaching.reservoir is not None:
            self.kept = self.teaching.reservoir.add(self.kept, x, label, self.draws)

    def learn(self, x: Tensor, label: Tensor, chips: Tensor | None = None) -> None:
        """Learn from frames whose labels have come, and from what is remembered.

        ``chips``: which of them learn, ``(*chips,)``; all by default. Nothing is learned where
        there is no label, and without a reservoir where all are of one class.
        """
        self.remember(x, label)
        alone = self.teaching.reservoir is None and len(label.unique()) < 2
        if alone or not len(label):
            return
        machine = self.machine.watched(self.draws, _for_some(self.learning, chips))
        shape = (*self.chips, self.teaching.batch)
        rates = [self.teaching.rate] * len(machine.parameters)
        for _ in range(self.teaching.updates):
            shown, goal = self._drawn(x, label, shape)
            slopes = self.estimator(machine, shown, goal, self.cost).weights
            held, decay = machine.parameters, self.teaching.decay
            slopes = tuple(g + decay * p for g, p in zip(slopes, held, strict=True))
            if chips is not None:
                slopes = tuple(g * chips.view(-1, *[1] * (g.dim() - 1)) for g in slopes)
            wanted, self.memory = self.rule.update(self.memory, slopes, rates)
            self.write(machine, wanted)

    def write(self, machine: Machine, wanted: Sequence[Tensor]) -> None:
        """Write ``wanted`` changes, and count the cells."""
        for each in machine.write(wanted):
            if each is not None:
                self.written = self.written + each.cells

    def _drawn(self, x: Tensor, label: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        (outputs,) = self.machine.network.state_shapes[-1]
        if self.teaching.reservoir is not None:
            shown, group = self.teaching.reservoir.draw(self.kept, shape, self.draws)
            return shown, group % outputs
        rows = (uniform(shape, self.draws) * len(label)).long()
        return x[rows], label[rows] % outputs

    def state(self) -> dict[str, Tensor]:
        """Return all that is needed to go on bit for bit."""
        held = {f"machine.{name}": tensor for name, tensor in self.machine.state().items()}
        held |= {f"memory.{i}": tensor for i, tensor in enumerate(self.memory)}
        held |= {f"kept.{name}": tensor for name, tensor in self.kept._asdict().items()}
        return held | streams(self.draws, self.estimator, self.rule) | {"written": self.written}

    def restore(self, held: Mapping[str, Tensor]) -> None:
        """Go back to where ``state`` was taken."""
        mine = {k.removeprefix("machine."): t for k, t in held.items() if k.startswith("machine.")}
        self.machine.restore(mine)
        self.memory = tuple(held[f"memory.{i}"].view_as(each) for i, each in enumerate(self.memory))
        self.kept = Kept(*(held[f"kept.{name}"] for name in Kept._fields))
        rewind(held, self.draws, self.estimator, self.rule)
        self.written = held["written"]


def _for_some(listener: Listener, chips: Tensor | None) -> Listener:
    """Return what lets ``listener`` hear what ``chips`` alone do."""
    if chips is None or listener is silent:
        return listener

    def heard(event: Any) -> None:
        listener(replace(event, count=event.count * chips, watts=event.watts * chips))

    return heard
