"""Mirrored lines of few samples, by the kernels of ``native/mirrored.inl``.

Memory limits them, so that one pass over the conductances is faster than PyTorch's three.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from madem.fast.native import kernels, takes
from madem.network.couplings import Moves, States
from madem.network.resistors import Mirrored

FEW = 8
"""Samples up to which the kernels are faster (ours, measured)."""


@dataclass(frozen=True, kw_only=True)
class Few(Mirrored):
    """Mirrored lines that carry ``x``, of which ``drive`` and ``load`` have been read."""

    x: Tensor
    drive: Tensor
    load: Tensor

    displaced = Mirrored.displaced  # a pull of the input, which is clamped, has none

    def pull(self, end: int, states: States) -> Tensor:
        """Return what was read of the input, and any other pull anew."""
        return self.drive if end == 1 and states[0] is self.x else super().pull(end, states)

    def curvature(self, end: int) -> Tensor:
        """Return what was read, and the load of the lower layer anew."""
        return self.load if end == 1 else super().curvature(end)

    def contrast(self, moves: Moves) -> tuple[Tensor, ...]:
        """Return the contrasts of the conductances and of the bias, where there is one."""
        pre, post = moves
        change = post.change
        if (
            pre.change is not None
            or change is None
            or not _few(self.g, change, pre.middle, post.middle)
        ):
            return super().contrast(moves)
        g = torch.empty_like(self.g)
        parts = (part.detach().contiguous() for part in (change, post.middle, pre.middle))
        kernels.contrast_mirrored(*(p.numpy() for p in parts), float(self.gain), g.numpy(), "")
        return (g,) if self.bias is None else (g, -change.sum(-2))


def read(coupling: Mirrored, x: Tensor) -> Mirrored:
    """Return mirrored lines that have read the input ``x``, ``(batch, pre)``, where a kernel can.

    >>> found = read(Mirrored(torch.tensor([[3.0, 1.0]]), None, 10.0), torch.tensor([[1.0]]))
    >>> found.pull(1, [torch.tensor([[1.0]]), torch.zeros(1, 1)]).item(), found.curvature(1).item()
    (20.0, 4.0)
    """
    g, gain = coupling.g, float(coupling.gain)
    if g.requires_grad or x.requires_grad or not g.is_contiguous() or not _few(g, x):
        return coupling
    drive, load = x.new_empty(len(x), len(g)), x.new_empty(len(g))
    arrays = (part.detach().numpy() for part in (g, x.contiguous()))
    kernels.read_mirrored(*arrays, gain, drive.numpy(), load.numpy(), "")
    return Few(g, coupling.bias, gain, x=x, drive=drive, load=load)


def _few(g: Tensor, *parts: Tensor) -> bool:
    """Return whether the kernels take these samples, and are faster than PyTorch."""
    few = all(p.dim() == 2 and len(p) <= FEW and p.dtype == g.dtype for p in parts)
    return few and takes(g, *parts)
