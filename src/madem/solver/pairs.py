"""The kernel for two layers, where the package was built with a compiler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from madem.native import kernels
from madem.solver.relax import Rest


@runtime_checkable
class Nodes(Protocol):
    """A layer that only clips: ``s = clip(ease (drive + pulls), low, high)``."""

    drive: Tensor

    @property
    def arrays(self) -> tuple[Any, ...]:
        """Drive, ease, low and high as arrays."""


@runtime_checkable
class Pair(Protocol):
    """Two layers that only clip, and the matrix ``(upper, lower)`` between them.

    ``nudge``: a current into the upper layer, one nudge's samples after another's; ``stiffness``:
    what each nudge adds to its load. Where ``at`` is given, states are displacements from it, at
    rest without a nudge.
    """

    weight: Tensor
    lower: Nodes
    upper: Nodes
    nudge: Tensor
    stiffness: tuple[float, ...]
    at: tuple[Tensor, ...]


def relax_pair(
    pair: Pair | None,
    start: Sequence[Tensor] | None,
    tolerance: float,
    budget: int,
    instructions: str = "",
) -> list[Rest]:
    """Return where two layers come to rest under each nudge, nothing where the kernel cannot say.

    As ``relax`` with block coordinate descent, but every sample stops on its own. ``start``, of one
    nudge alone, is where both layers begin, ``(batch, units)`` each; zeros by default.
    ``instructions`` names an instruction set, by default the best of the processor.
    """
    if pair is None or pair.weight.shape[0] > kernels.most_upper or not len(pair.lower.drive):
        return []
    lower, upper = pair.lower.arrays, pair.upper.arrays
    samples, kind = lower[0].shape[0], lower[0].dtype
    rows = samples * len(pair.stiffness)
    # arrays, not tensors: each of so many small steps costs less than in PyTorch
    s, y = (np.empty((rows, units), kind) for units in reversed(pair.weight.shape))
    if start is not None:
        s[:], y[:] = (state.detach().numpy() for state in start)
    sweeps, residual = np.empty(rows, np.int32), np.empty(rows, kind)
    at: list[Any] = [state.detach().contiguous().numpy() for state in pair.at] or [None, None]
    kernels.relax_pair(
        pair.weight.detach().numpy(),
        lower,
        upper,
        pair.nudge.detach().contiguous().numpy(),
        pair.stiffness,
        *at,
        start is not None,
        s,
        y,
        sweeps,
        residual,
        tolerance,
        budget,
        instructions,
    )
    found = s, y, sweeps, residual, residual <= (tolerance or np.inf)
    rests = []
    for first in range(0, rows, samples):
        own = [torch.from_numpy(part[first : first + samples]) for part in found]
        rests.append(Rest((own[0], own[1]), *own[2:]))
    return rests
