"""How well a mean over chips and test words is known.

Chips and test words are both drawn: another draw of either would give another mean. Decisions are
a table of chips by words, and both ways of drawing count (two crossed random factors).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error, and the parts of it: over test words, and over chips."""

    mean: float
    error: float
    words: float
    chips: float


def measured(values: Tensor) -> Estimate:
    """Return mean and standard error of a table ``(chips, words)`` of numbers.

    ``Var(mean) = (M_c + M_w - M_r) / (C W)`` with the mean squares of an analysis of variance
    without replication: between chips, between words and what is left (Searle, Casella and
    McCulloch, *Variance Components*, 1992, chapter 4). One chip alone says nothing about others:
    there the error is that over words. ``words`` and ``chips`` are the errors that other words on
    the same chips, and other chips on the same words, would make.

    >>> import torch
    >>> table = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    >>> round(measured(table).error, 4)  # sqrt(p (1 - p) / (n - 1))
    0.2887
    """
    table = values.double()
    chips, words = table.shape
    mean = table.mean()
    by_word = float(table.mean(0).var() / words) if words > 1 else 0.0
    if chips == 1:
        return Estimate(float(mean), by_word**0.5, by_word**0.5, 0.0)
    by_chip = float(table.mean(1).var() / chips)
    left = table - table.mean(0) - table.mean(1, keepdim=True) + mean
    rest = float(left.square().sum()) / ((chips - 1) * max(1, words - 1) * chips * words)
    both = max(by_word + by_chip - rest, by_word, by_chip)
    return Estimate(float(mean), both**0.5, by_word**0.5, by_chip**0.5)


def redrawn(
    tables: Sequence[NDArray[np.float64]], count: int, draws: np.random.Generator
) -> NDArray[np.float64]:
    """Return ``count`` bootstrap means of every row of ``tables``, ``(count, rows)``.

    ``tables``: one a draw of whatever is drawn first (a seed, a writer), of as many rows each,
    ``(rows, columns)``. Tables are drawn with replacement, and columns in each, anew for each
    copy of a table; all rows share both draws, so that differences of rows are paired.

    >>> redrawn([np.ones((2, 5)), np.ones((2, 3))], 4, np.random.default_rng(0)).shape
    (4, 2)
    """
    means = []
    for table in tables:
        columns = table.shape[1]
        drawn = draws.multinomial(columns, np.full(columns, 1 / columns), count)
        means.append(drawn @ table.T / columns)
    chosen = draws.integers(len(tables), size=(count, len(tables)))
    found: NDArray[np.float64] = each_anew(np.stack(means, 1), chosen).mean(1)
    return found


def each_anew(samples: NDArray[np.float64], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return what was ``chosen``, ``(count, places)``, each place from another of the samples.

    ``samples``: ``(count, tables, ...)``; the first place takes its own row, the next the one
    after it, so that no two copies of a table in one row are the same sample.

    >>> each_anew(np.array([[1.0], [2.0], [3.0]]), np.zeros((3, 2), int)).tolist()
    [[1.0, 2.0], [2.0, 3.0], [3.0, 1.0]]
    """
    count, places = chosen.shape
    rows = (np.arange(count)[:, None] + np.arange(places)) % count
    found: NDArray[np.float64] = samples[rows, chosen]
    return found
