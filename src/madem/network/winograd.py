"""Convolutions by kernels of 3 x 3 in fewer multiplications: Winograd's ``F(4 x 4, 3 x 3)``.

``z = A^T [(G g G^T) . (B^T x B)] A`` for every tile of 4 x 4 pixels: 36 multiplications a tile and
pair of channels, where the direct form has 144 (Lavin and Gray, arXiv 1509.09308). In float32 the
relative error is twice that of the direct form. ``native/convolve.inl`` does it, on one thread;
where it cannot, and where autograd listens, a convolution is PyTorch's. Images it returns have
their channels last in memory, the order in which pooling is fast as well; what goes back through a
maximum keeps it so.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    from madem import _native  # type: ignore[attr-defined]
except ImportError:  # built without a compiler
    _native = None

ENDS = ((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24))
"""``24 G``: what three numbers of a kernel become at the points 0, 1, -1, 2, -2 and infinity."""

TRANSFORM = 24
"""Multiplications that a number on its way into or out of a tile costs (ours, measured)."""


def fits(kernel: Tensor, padding: int, x: Tensor) -> bool:
    """Return whether ``pack`` and ``convolve`` can turn ``x`` by ``kernel``, and save work.

    ``x``: ``(batch, in, height, width)``; ``kernel``: ``(out, in, 3, 3)``. Both counts of channels
    must be multiples of 16.
    """
    post, pre = kernel.shape[:2]
    if _native is None or kernel.shape[2:] != (3, 3) or post % 16 or pre % 16:
        return False
    if not 0 <= padding <= 2:
        return False
    if x.dim() != 4 or not _plain(x, kernel):
        return False
    rows, columns = (n + 2 * padding - 2 for n in x.shape[-2:])
    tiles = -(-rows // 4) * -(-columns // 4)
    ours = 36 * tiles * (pre * post + TRANSFORM * (pre + post))
    return ours < 9 * rows * columns * pre * post


def pack(kernel: Tensor) -> Tensor:
    """Return ``G g G^T`` of a kernel as the planes and panels of channels that are multiplied.

    >>> pack(torch.zeros(32, 16, 3, 3)).shape
    torch.Size([36, 2, 16, 16])
    """
    post, pre = kernel.shape[:2]
    ends = torch.tensor(ENDS, dtype=torch.float64) / 24
    panel = 64 // kernel.element_size()
    panels = kernel.detach().reshape(post // panel, panel, pre, 9).permute(3, 0, 2, 1)
    planes = torch.kron(ends, ends).to(kernel) @ panels.reshape(9, -1)
    return planes.view(36, post // panel, pre, panel)


def convolve(x: Tensor, packed: Tensor, padding: int, instructions: str = "") -> Tensor:
    """Return the convolution of ``x`` by a packed kernel, stride 1, ``padding`` of 0 to 2 pixels.

    ``instructions`` names an instruction set, by default the best of the processor.
    """
    count, _, height, width = x.shape
    post = packed.shape[1] * packed.shape[3]
    pixels = x.detach().permute(0, 2, 3, 1).contiguous()
    z = x.new_empty(count, height + 2 * padding - 2, width + 2 * padding - 2, post)
    _native.convolve(pixels.numpy(), packed.numpy(), z.numpy(), padding, instructions)
    return z.permute(0, 3, 1, 2)


def scatter(post: Tensor, places: Tensor, image: tuple[int, int]) -> Tensor:
    """Return ``post`` on the pixels of an ``image`` that it was pooled from, zeros elsewhere.

    ``post``, ``places``: ``(batch, channels, height, width)``, as of ``max_pool2d``.

    >>> places = torch.tensor([[[[1]]]])
    >>> scatter(torch.ones(1, 1, 1, 1), places, (1, 3)).tolist()
    [[[[0.0, 1.0, 0.0]]]]
    """
    rows, columns = image
    if _native is None or not _plain(post) or post.dim() != 4:
        blank = post.new_zeros(*post.shape[:-2], rows * columns)
        filled = blank.scatter(-1, places.flatten(-2), post.flatten(-2))
        return filled.view(*post.shape[:-2], rows, columns)
    z = post.new_empty(post.shape[0], rows, columns, post.shape[1])
    last = (part.detach().permute(0, 2, 3, 1).contiguous().numpy() for part in (post, places))
    _native.scatter(*last, z.numpy())
    return z.permute(0, 3, 1, 2)


def _plain(*parts: Tensor) -> bool:
    """Return whether kernels take these tensors, and autograd listens to none of them."""
    if torch.is_grad_enabled() and any(part.requires_grad for part in parts):
        return False
    types = (torch.float32, torch.float64)
    return all(part.device.type == "cpu" and part.dtype in types for part in parts)
