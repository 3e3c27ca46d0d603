"""How strong a nudge must be to move an exact machine a little, in any unit."""

from __future__ import annotations

import math
from functools import reduce

import torch
from torch import Tensor

from madem.network import Problem
from madem.network.amplifiers import Amplifier
from madem.network.couplings import Offset
from madem.network.laws import Curvature


def relative(moved: Problem, current: Tensor, share: float | None) -> Tensor:
    """Return the strength at which ``current`` moves each sample by about ``share`` of its size.

    ``(*chips, batch)``; 1 where no current is drawn. ``moved``: the problem of displacements from
    the free states. The size of a sample is its largest state (where all are zero, which keep every
    digit of a displacement, the rounding of 1). ``share`` None is 1e-5, or more where that would be
    lost: 0.008 in float16, whose smallest numbers end there, and the cube root of the precision
    (0.005 in float32) where a coupling subtracts two pulls, as a user's own energy does.
    """
    axes = len(moved.batch)
    step = _response(moved, current, axes)
    size = reduce(torch.maximum, (largest(state, axes) for state in moved.at))
    usual, least = _least(moved, size.dtype)
    far = (share or usual) * torch.where(size > 0, size, least)
    return torch.where(step > 0, far / step, 1.0)


def largest(value: Tensor, axes: int) -> Tensor:
    """Return the largest magnitude of each sample, which ``axes`` axes in front number."""
    return value.abs().flatten(axes).amax(-1)


def _response(moved: Problem, current: Tensor, axes: int) -> Tensor:
    """Return how far each sample moves at most under ``current``, each node by itself.

    The outputs; a readout's and the layers' below it, which nothing else would hold back.
    """

    def stiffness(i: int) -> Curvature:
        """Return that of a layer's nodes off their limits, its neighbours held."""
        law, at = moved.sites[i].law, moved.at[i]
        infinite = torch.full_like(at, math.inf)
        return moved.loads[i] + torch.minimum(law.slope(at, infinite), law.slope(at, -infinite))

    last = len(moved.sites) - 1
    if moved.sites[last].law.loaded:
        return largest(current / stiffness(last), axes)
    states = list(moved.zeros)
    states[last] = moved.movers[last](0.0, current)
    step = largest(states[last], axes)
    for i in range(last):
        drive = moved.drive(i, states)
        if drive is not moved.zeros[i]:
            step = torch.maximum(step, largest(drive / stiffness(i), axes))
    return step


def _least(moved: Problem, dtype: torch.dtype) -> tuple[float, float]:
    """Return the share at which displacements keep their precision, and the size of zero states."""
    info = torch.finfo(dtype)
    inner = (c.coupling if isinstance(c, Amplifier) else c for c in moved.couplings)
    if any(isinstance(coupling, Offset) for coupling in inner):
        return math.cbrt(info.eps), 1.0
    return max(1e-5, math.sqrt(info.tiny)), info.eps if dtype != torch.float16 else 1.0
