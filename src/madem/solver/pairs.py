"""The kernel for two layers, where the package was built with a compiler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

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

    ``nudge``: a current into the upper layer, and ``stiffness``, what it adds to its load. Where
    ``at`` is given, states are displacements from it, at rest without the nudge.
    """

    weight: Tensor
    lower: Nodes
    upper: Nodes
    nudge: Tensor
    stiffness: float
    at: tuple[Tensor, ...]


def relax_pair(
    pair: Pair | None,
    start: Sequence[Tensor] | None,
    tolerance: float,
    budget: int,
    instructions: str = "",
) -> Rest | None:
    """Return where two layers come to rest by sweeps, or None where the kernel cannot say.

    As ``relax`` with block coordinate descent, but every sample stops on its own. ``instructions``
    names an instruction set, by default the best of the processor.
    """
    if kernels is None or pair is None or pair.weight.shape[0] > kernels.most_upper:
        return None
    like = pair.lower.drive
    if like.device.type != "cpu" or like.dtype not in (torch.float32, torch.float64):
        return None
    if start is None:
        s, y = torch.empty_like(like), like.new_empty(like.shape[0], pair.weight.shape[0])
    else:
        s, y = (state.detach().clone(memory_format=torch.contiguous_format) for state in start)
    sweeps = torch.empty(s.shape[0], dtype=torch.int32)
    residual = s.new_empty(s.shape[0])
    at: list[Any] = [state.detach().contiguous().numpy() for state in pair.at] or [None, None]
    kernels.relax_pair(
        pair.weight.detach().numpy(),
        pair.lower.arrays,
        pair.upper.arrays,
        pair.nudge.detach().contiguous().numpy(),
        pair.stiffness,
        *at,
        start is not None,
        *(array.numpy() for array in (s, y, sweeps, residual)),
        tolerance,
        budget,
        instructions,
    )
    return Rest((s, y), sweeps, residual, residual <= (tolerance or torch.inf))
