"""Rules: from a gradient to the change that is wanted. They know nothing of devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import hardshrink

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
