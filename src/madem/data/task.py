"""What is learned: samples to train on, and sets to look at and to test with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional

from madem.errors import InputError
from madem.network import Cost, CrossEntropy
from madem.randomness import stream

Samples = tuple[Tensor, Tensor]
"""Inputs ``(*shape, *inputs)`` and their targets: class numbers ``shape``, or outputs."""

Part = Literal["training", "validation", "test"]
"""The sets of a task."""


@runtime_checkable
class Task(Protocol):
    """Samples with their targets. Nothing is remembered: the same arguments give the same data."""

    @property
    def inputs(self) -> tuple[int, ...]:
        """Return the shape of one sample."""

    @property
    def outputs(self) -> int:
        """Return how many outputs the task asks for."""

    @property
    def cost(self) -> Cost:
        """Return what training reduces."""

    def epoch(self, batch: int) -> int | None:
        """Return how many batches one pass through the training set has, None where it is endless.

        Raises ``InputError`` where not even one batch can be filled.
        """

    def batches(
        self, shape: tuple[int, ...], draws: Generator, seed: int, step: int = 0
    ) -> Iterator[Samples]:
        """Return an iterator, without end, over the batches of training from number ``step`` on.

        Args:
            shape: of a batch, ``(batch,)`` or ``(chips, batch)``; inputs are ``(*shape, *inputs)``.
            draws: what endless tasks draw from. It is where the last batch left it, so that a
                training that goes on restores it and asks for the ``step`` it had come to.
            seed: what the order of a finite set depends on, and nothing else.
            step: batches that were taken before.
        """

    def held(self, part: Part, draws: Generator) -> Samples:
        """Return a set, inputs ``(samples, *inputs)``; endless tasks draw it from ``draws``.

        A training set of each chip's own is ``(chips, samples, *inputs)``.
        """


@dataclass(frozen=True, eq=False)
class Finite:
    """Sets of samples that are given; training walks through its own in epochs.

    Each epoch has an order that depends on ``seed`` and epoch alone, and what does not fill a batch
    at its end is left out. All chips see the same batch.

    Attributes:
        training: inputs ``(samples, *inputs)`` and targets; or ``(chips, samples, *inputs)`` for a
            training set of each chip's own.
        validation: what training never sees, to look at while it goes on.
        test: what is tested on at the end.
        outputs: how many outputs there are: the number of classes, or of columns to predict.
        cost: what training reduces.
        shift: whenever a training image ``(channels, rows, columns)`` is shown it is moved at
            random by up to so many pixels each way.
        drawn: draw samples with replacement, for each chip by itself, in place of epochs.
        names: of the outputs: the classes, or the columns to predict; empty where unknown.
        spreads: of the columns to predict, the standard deviations that count as one, in their own
            units; empty for classes.

    >>> sets = [(torch.arange(n).float()[:, None], torch.zeros(n).long()) for n in (5, 2, 2)]
    >>> batches = Finite(*sets, outputs=2).batches((3, 2), torch.Generator(), seed=0)
    >>> [next(batches)[0].shape for _ in range(3)]
    [torch.Size([3, 2, 1]), torch.Size([3, 2, 1]), torch.Size([3, 2, 1])]
    """

    training: Samples
    validation: Samples
    test: Samples
    outputs: int
    cost: Cost = CrossEntropy()
    shift: int = 0
    drawn: bool = False
    names: tuple[str, ...] = ()
    spreads: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a shift that no image has room for."""
        if not 0 <= self.shift <= 1024:
            raise InputError(f"shift must be from 0 to 1024, but is {self.shift}")

    @property
    def inputs(self) -> tuple[int, ...]:
        """Return the shape of one sample."""
        return tuple(self.test[0].shape[1:])

    @property
    def _own(self) -> bool:
        """Whether each chip has a training set of its own."""
        return self.training[0].dim() > self.test[0].dim()

    @property
    def _count(self) -> int:
        return self.training[0].shape[int(self._own)]

    def epoch(self, batch: int) -> int:
        """Return how many batches one epoch has; raises ``InputError`` where that is none."""
        if batch > self._count and not self.drawn:
            raise InputError(f"batch must be at most {self._count}, the number of samples to train "
                             f"on, but is {batch}")  # fmt: skip
        return max(1, self._count // batch)

    def batches(
        self, shape: tuple[int, ...], draws: Generator, seed: int, step: int = 0
    ) -> Iterator[Samples]:
        """Return an iterator, without end, over the batches of training from number ``step`` on."""
        self.epoch(shape[-1])
        rows = self._drawn(shape, draws) if self.drawn else self._walk(shape[-1], seed, step)
        return self._shown(rows, shape, seed, step)

    def held(self, part: Part, draws: Generator) -> Samples:
        """Return a set; it is the same whatever the draws."""
        del draws
        samples: Samples = getattr(self, part)
        return samples

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Finite:
        """Return the task with its inputs changed, those of every set alike."""
        (x, target), (seen, goal), (asked, truth) = self.training, self.validation, self.test
        return replace(
            self,
            training=(change(x), target),
            validation=(change(seen), goal),
            test=(change(asked), truth),
        )

    def _walk(self, batch: int, seed: int, step: int) -> Iterator[Tensor]:
        """Yield the rows of every batch, ``(batch,)``."""
        each = self.epoch(batch)
        epoch, first = divmod(step, each)
        while True:
            order = torch.randperm(self._count, generator=stream(seed, "e", epoch))
            yield from order[first * batch : each * batch].split(batch)
            epoch, first = epoch + 1, 0

    def _drawn(self, shape: tuple[int, ...], draws: Generator) -> Iterator[Tensor]:
        """Yield the rows of every batch, of ``shape``."""
        while True:
            yield torch.randint(self._count, shape, generator=draws)

    def _shown(
        self, rows: Iterator[Tensor], shape: tuple[int, ...], seed: int, step: int
    ) -> Iterator[Samples]:
        """Yield the samples of every batch."""
        x, target = self.training
        goals = target.shape[1 + self._own :]
        for number, taken in enumerate(rows, step):
            at = (torch.arange(len(x))[:, None], taken) if self._own else (taken,)
            seen = x[at]
            if self.shift:
                draws = stream(seed, "shift", number)
                seen = shifted(seen.flatten(0, -4), self.shift, draws).view(seen.shape)
            yield seen.expand(*shape, *self.inputs), target[at].expand(*shape, *goals)


@dataclass(frozen=True)
class Flat:
    """Another ``task``, each of whose samples is one line of numbers.

    >>> sets = [(torch.zeros(n, 1, 8, 8), torch.zeros(n).long()) for n in (5, 2, 2)]
    >>> Flat(Finite(*sets, outputs=2)).inputs
    (64,)
    """

    task: Task

    @property
    def inputs(self) -> tuple[int, ...]:
        """Return the shape of one sample, ``(numbers,)``."""
        return (math.prod(self.task.inputs),)

    @property
    def outputs(self) -> int:
        """Return how many outputs the task asks for."""
        return self.task.outputs

    @property
    def cost(self) -> Cost:
        """Return what training reduces."""
        return self.task.cost

    def epoch(self, batch: int) -> int | None:
        """Return how many batches one pass through the training set has."""
        return self.task.epoch(batch)

    def batches(
        self, shape: tuple[int, ...], draws: Generator, seed: int, step: int = 0
    ) -> Iterator[Samples]:
        """Return an iterator over the batches of training from number ``step`` on."""
        return map(self._flat, self.task.batches(shape, draws, seed, step))

    def held(self, part: Part, draws: Generator) -> Samples:
        """Return a set."""
        return self._flat(self.task.held(part, draws))

    def _flat(self, samples: Samples) -> Samples:
        x, target = samples
        return x.flatten(x.dim() - len(self.task.inputs)), target


def shifted(
    images: Float[Tensor, "batch channels rows columns"], most: int, draws: Generator
) -> Float[Tensor, "batch channels rows columns"]:
    """Return every image moved by up to ``most`` pixels each way, at random; zeros follow it.

    >>> shifted(torch.ones(1, 1, 2, 2), 0, torch.Generator()).sum().item()
    4.0
    """
    batch, _, rows, columns = images.shape
    moves = torch.randint(2 * most + 1, (2, batch, 1), generator=draws)
    down, along = moves[0] + torch.arange(rows), moves[1] + torch.arange(columns)
    padded = functional.pad(images, [most] * 4)
    samples = torch.arange(batch)[:, None, None]
    return padded[samples, :, down[:, :, None], along[:, None, :]].movedim(-1, 1)
