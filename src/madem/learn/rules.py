"""Rules: from a gradient to the change that is wanted. They know nothing of devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import hardshrink

from madem.errors import InputError
from madem.randomness import uniform

State = tuple[Tensor, ...]
"""What a rule remembers, one tensor a coupling after another."""


@dataclass(frozen=True)
class Descent:
    """Plain descent: the wanted change is ``-rate * gradient``, at every step.

    >>> Descent().update((), (torch.ones(1, 2),), (0.5,))[0][0].tolist()
    [[-0.5, -0.5]]
    """

    def init(self, weights: Sequence[Tensor]) -> State:
        """Return no memory."""
        del weights
        return ()

    def update(
        self, state: State, gradient: Sequence[Tensor], rates: Sequence[float]
    ) -> tuple[tuple[Tensor, ...], State]:
        """Return the wanted changes and the memory after them."""
        return tuple(-rate * part for part, rate in zip(gradient, rates, strict=True)), state


@dataclass(frozen=True)
class Accumulate:
    """Descent in a digital memory: a change is asked for once it has grown past ``thresholds``.

    One threshold a coupling, in units of weight. What has been asked for leaves the memory.

    >>> rule = Accumulate((0.15,))
    >>> wanted, memory = rule.update((torch.zeros(1, 1),), (torch.full((1, 1), -0.1),), (1.0,))
    >>> wanted[0].item()
    0.0
    >>> round(rule.update(memory, (torch.full((1, 1), -0.1),), (1.0,))[0][0].item(), 6)
    0.2
    """

    thresholds: tuple[float, ...]

    def init(self, weights: Sequence[Tensor]) -> State:
        """Return an empty memory of the shapes of ``weights``."""
        return tuple(torch.zeros_like(weight) for weight in weights)

    def update(
        self, state: State, gradient: Sequence[Tensor], rates: Sequence[float]
    ) -> tuple[tuple[Tensor, ...], State]:
        """Return the wanted changes, zero where none is due, and the memory after them."""
        grown = [
            memory - rate * part for memory, part, rate in zip(state, gradient, rates, strict=True)
        ]
        due = [
            hardshrink(memory, threshold)
            for memory, threshold in zip(grown, self.thresholds, strict=True)
        ]
        return tuple(due), tuple(g - d for g, d in zip(grown, due, strict=True))


@dataclass(frozen=True)
class Sparse:
    """Stochastic sparse writes without a memory: a small change is asked for whole, or not at all.

    A change below ``thresholds`` becomes one of the size of the threshold with the probability
    ``|change| / threshold``, else none, so that its mean is right; a larger one is asked for as it
    is (the idea of EaPU, Nature Communications 2025, doi 10.1038/s41467-025-66240-7). One
    threshold a coupling, in units of weight; ``draws`` decides.

    >>> rule = Sparse((1.0,), torch.Generator().manual_seed(0))
    >>> wanted, _ = rule.update((), (torch.full((1000,), -0.1),), (1.0,))
    >>> sorted(set(wanted[0].tolist())), 0.08 < float(wanted[0].mean()) < 0.12
    ([0.0, 1.0], True)
    """

    thresholds: tuple[float, ...]
    draws: Generator

    def __post_init__(self) -> None:
        """Refuse a threshold that is none."""
        if not all(threshold > 0 for threshold in self.thresholds):
            raise InputError(f"thresholds must be positive, but are {self.thresholds}")

    def init(self, weights: Sequence[Tensor]) -> State:
        """Return no memory."""
        del weights
        return ()

    def update(
        self, state: State, gradient: Sequence[Tensor], rates: Sequence[float]
    ) -> tuple[tuple[Tensor, ...], State]:
        """Return the wanted changes, zero almost everywhere, and no memory."""
        wanted = []
        for part, rate, threshold in zip(gradient, rates, self.thresholds, strict=True):
            change = -rate * part
            share = change.abs() / threshold
            drawn = uniform(share.shape, self.draws, share.device) < share
            whole = torch.where(share >= 1, change, threshold * change.sign())
            wanted.append(torch.where(drawn, whole, torch.zeros_like(change)))
        return tuple(wanted), state
