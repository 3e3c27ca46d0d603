"""The share of hits that is missed where a share of all other frames is rejected."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
Places = NDArray[np.int_]


def misses(own: Array, others: Array, rejected: float) -> Array:
    """Return the chance with which each hit is missed, ``(hits,)``.

    ``own``: scores of hits; ``others``: of other frames, of which the share ``rejected`` is
    rejected, the lowest scores first. Frames that tie at the cut are drawn: as large a share of
    them is rejected as is left to reject, and a hit that ties with them is missed with that chance.

    >>> misses(np.array([0.0, 3.0]), np.array([0.0, 0.0, 0.0, 1.0]), 0.5)
    array([0.66666667, 0.        ])
    """
    ordered, wanted = np.sort(others), rejected * len(others)
    cut = ordered[max(0, math.ceil(wanted - 1e-9) - 1)]
    below, up_to = (np.searchsorted(ordered, cut, side) for side in ("left", "right"))
    share = (wanted - below) / (up_to - below)
    found: Array = np.where(own == cut, share, own < cut)
    return found


def missed_at(score: Tensor, hit: Tensor, rejected: float) -> Tensor:
    """Return the share of hits that each chip misses where that share of other frames is rejected.

    ``score``: ``(chips, frames)``; ties at the cut are drawn (``misses``).

    >>> score = torch.tensor([[1.0, 2.0, 2.0, 2.0, 5.0]])
    >>> missed_at(score, torch.tensor([False, False, True, False, False]), 0.5).tolist()
    [0.5]
    """
    held, known = score.double().numpy(), hit.numpy()
    each = [misses(own[known], own[~known], rejected).mean() for own in held]
    return torch.tensor(each, dtype=torch.float64)


def resampled(
    score: Array, hit: NDArray[np.bool_], rejected: float, times: Array, block: Places
) -> Array:
    """Return the share missed, mean over chips, for each bootstrap sample of blocks of frames.

    ``times``: how often each block is drawn, ``(count, blocks)``; ``block``: of every frame. It is
    the mean of ``misses`` with these weights, by sums over blocks and a bisection for the cut.

    >>> score, hit = np.arange(10.0)[None], np.arange(10) % 2 == 0
    >>> resampled(score, hit, 0.9, np.ones((1, 10)), np.arange(10)).tolist()
    [1.0]
    """
    total, blocks = np.zeros(len(times)), times.shape[1]
    hits = np.maximum(times @ np.bincount(block[hit], minlength=blocks), 1)
    for each in score:
        levels, place = np.unique(each[~hit], return_inverse=True)
        others = _until(block[~hit], place + 1, blocks, len(levels))
        below = _until(block[hit], np.searchsorted(levels, each[hit], "right"), blocks, len(levels))
        up_to = _until(block[hit], np.searchsorted(levels, each[hit], "left"), blocks, len(levels))
        wanted = rejected * (times @ others[-1])
        cut, high = (np.full(len(times), end) for end in (0, len(levels) - 1))
        while (cut < high).any():
            middle = (cut + high) // 2
            short = _drawn(times, others[middle + 1]) < wanted - 1e-9
            cut, high = np.where(short, middle + 1, cut), np.where(short, high, middle)
        less = _drawn(times, others[cut])
        tied = _drawn(times, others[cut + 1]) - less
        missed = _drawn(times, below[cut])
        share = (wanted - less) / np.maximum(tied, 1e-9)
        total += (missed + share * (_drawn(times, up_to[cut]) - missed)) / hits
    found: Array = total / len(score)
    return found


def _until(block: Places, place: Places, blocks: int, levels: int) -> Array:
    """Return of how many of each block the ``place`` is at most each, ``(levels + 1, blocks)``."""
    found = np.zeros((levels + 1, blocks))
    np.add.at(found, (place, block), 1)
    return found.cumsum(0)


def _drawn(times: Array, counts: Array) -> Array:
    """Return the sum over blocks of ``counts``, ``(count, blocks)``, as often as each was drawn."""
    found: Array = np.einsum("rb,rb->r", times, counts)
    return found
