"""The share of hits that is missed where a share of all other frames is rejected."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def misses(own: Array, others: Array, rejected: float, weights: Array) -> Array:
    """Return the chance with which each hit is missed, ``(count, hits)``.

    ``own``: scores of hits; ``others``: of other frames, which count as often as ``weights`` say,
    ``(count, others)``, and of which the share ``rejected`` is rejected, the lowest scores first.
    Frames that tie at the cut are drawn: as large a share of them is rejected as is left to
    reject, and a hit that ties with them is missed with that chance.

    >>> misses(np.array([0.0, 3.0]), np.array([0.0, 0.0, 0.0, 1.0]), 0.5, np.ones((1, 4)))[0]
    array([0.66666667, 0.        ])
    """
    order = np.argsort(others, kind="stable")
    ordered = others[order]
    summed = np.concatenate([np.zeros((len(weights), 1)), weights[:, order].cumsum(1)], 1)
    wanted = rejected * summed[:, -1]
    reached = (summed[:, 1:] < wanted[:, None] - 1e-9).sum(1).clip(max=len(others) - 1)
    cut, rows = ordered[reached], np.arange(len(weights))
    below = summed[rows, np.searchsorted(ordered, cut, "left")]
    tied = summed[rows, np.searchsorted(ordered, cut, "right")] - below
    share = (wanted - below) / np.maximum(tied, 1e-9)
    found: Array = np.where(own == cut[:, None], share[:, None], own < cut[:, None])
    return found


def missed_at(score: Tensor, hit: Tensor, rejected: float) -> Tensor:
    """Return the share of hits that each chip misses where that share of other frames is rejected.

    ``score``: ``(chips, frames)``; ties at the cut are drawn (``misses``).

    >>> score = torch.tensor([[1.0, 2.0, 2.0, 2.0, 5.0]])
    >>> missed_at(score, torch.tensor([False, False, True, False, False]), 0.5).tolist()
    [0.5]
    """
    held, known = score.double().numpy(), hit.numpy()
    even = np.ones((1, int((~known).sum())))
    each = [misses(own[known], own[~known], rejected, even).mean() for own in held]
    return torch.tensor(each, dtype=torch.float64)


def resampled(score: Array, hit: NDArray[np.bool_], rejected: float, weights: Array) -> Array:
    """Return the share missed, mean over chips, for bootstrap ``weights``, ``(count, frames)``.

    Weights of frames say how often each was drawn; the cut moves with them.

    >>> score, hit = np.arange(10.0)[None], np.arange(10) % 2 == 0
    >>> resampled(score, hit, 0.9, np.ones((1, 10))).tolist()  # the cut is 9
    [1.0]
    """
    drawn, found = weights[:, ~hit], weights[:, hit]
    each = [(misses(own[hit], own[~hit], rejected, drawn) * found).sum(1) for own in score]
    share: Array = np.mean(each, 0) / np.maximum(found.sum(1), 1)
    return share
