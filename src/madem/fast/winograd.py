"""Convolutions by kernels of 3 x 3 in fewer multiplications: Winograd's ``F(4 x 4, 3 x 3)``.

``z = A^T [(G g G^T) . (B^T x B)] A`` for every tile of 4 x 4 pixels: 36 multiplications a tile and
pair of channels, where the direct form has 144 (Lavin and Gray, arXiv 1509.09308). In float32 the
relative error is twice that of the direct form. ``native/convolve.inl`` does it, on one thread.
The derivative by the kernel of ``m . z`` is ``G^T [sum_tiles (A m A^T) . (B^T x B)] G``, as cheap,
and in float32 one to three times as far from the exact one as PyTorch's. Images it returns have
their channels last in memory, the order in which pooling is fast as well; what goes back through a
maximum keeps it so.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from madem.fast.native import kernels, takes
from madem.network.pooling import Pooled

TRANSFORM = 24
"""Multiplications that a number on its way into or out of a tile costs (ours, measured)."""

TURN = 400
"""Multiplications that a pair of channels costs from tiles to a kernel (ours, measured)."""


def fits(kernel: Tensor, padding: int, x: Tensor, size: int = 1) -> bool:
    """Return whether ``pack`` and ``convolve`` can turn ``x`` by ``kernel``, and save work.

    ``x``: ``(batch, in, height, width)``, pooled from windows of ``size``; ``kernel``: ``(out, in,
    3, 3)``. Both counts of channels must be multiples of 16.
    """
    if x.dim() != 4 or x.dtype != kernel.dtype or not takes(x, kernel):
        return False
    return _saves(tuple(kernel.shape), tuple(x.shape[-2:]), padding, size)


@cache
def _saves(kernel: tuple[int, ...], image: tuple[int, ...], padding: int, size: int) -> bool:
    post, pre, *window = kernel
    if window != [3, 3] or post % 16 or pre % 16 or not 0 <= padding <= 2:
        return False
    rows, columns = (size * n + 2 * padding - 2 for n in image)
    tiles = _tiles(rows, columns)
    ours = 36 * tiles * (pre * post + TRANSFORM * (pre + post))
    return ours < 9 * rows * columns * pre * post


def _tiles(rows: int, columns: int) -> int:
    return -(-rows // 4) * -(-columns // 4)


def pack(kernel: Tensor, turned: bool = False, instructions: str = "") -> Tensor:
    """Return ``G g G^T`` of a kernel as the planes and panels of channels that are multiplied.

    ``kernel``: ``(out, in, 3, 3)``, float32 or float64, channels in multiples of 16. Returns ``(36,
    out / panel, in, panel)``, a panel being 64 bytes of channels. ``turned``: that of the way back,
    from ``out`` to ``in`` channels by kernels turned by half a turn. ``instructions`` as in
    ``convolve``. Like ``convolve`` and ``weigh`` it needs the compiled kernels: ask ``fits`` first.

    >>> pack(torch.zeros(32, 16, 3, 3)).shape
    torch.Size([36, 2, 16, 16])
    """
    lines = kernel.detach().contiguous().numpy()
    pre, post = kernel.shape[:2] if turned else kernel.shape[1::-1]
    panel = 64 // kernel.element_size()
    # not torch.empty: numpy asks the system for large pages, which all products read faster
    planes = np.empty((36, post // panel, pre, panel), lines.dtype)
    kernels.pack(lines, planes, turned, instructions)
    return torch.from_numpy(planes)


def convolve(x: Tensor | Pooled, packed: Tensor, padding: int, instructions: str = "") -> Tensor:
    """Return the convolution of ``x`` by a packed kernel, stride 1, ``padding`` of 0 to 2 pixels.

    ``x`` may be pooled from windows of 2 x 2. ``instructions`` names an instruction set, by
    default the best of the processor.
    """
    size = 2 if isinstance(x, Pooled) else 1
    parts = _parts(x) if isinstance(x, Pooled) else [_last(x), None, None, None]
    rows, columns = (size * n + 2 * padding - 2 for n in parts[0].shape[1:3])
    z = _blank(parts[0], rows, columns, packed)
    kernels.convolve(*parts, packed.numpy(), z, None, None, padding, instructions)
    return _first(z)


def convolve_largest(
    x: Tensor, packed: Tensor, padding: int, offset: Tensor | None = None, instructions: str = ""
) -> Pooled:
    """Return the largest of every 2 x 2 pixels of the convolution plus ``offset``.

    The convolution must have an even number of rows and of columns.
    """
    pixels = _last(x)
    rows, columns = (n // 2 + padding - 1 for n in pixels.shape[1:3])
    z, corner = (_blank(pixels, rows, columns, packed) for _ in range(2))
    added = None if offset is None else _last(offset)
    kernels.convolve(
        pixels, None, None, None, packed.numpy(), z, corner, added, padding, instructions
    )
    return Pooled(_first(z), _first(corner))


def fits_weigh(kernel: Tensor, padding: int, pre: Tensor, image: Tensor) -> bool:
    """Return whether ``weigh`` can take the derivative by ``kernel``, and saves work.

    It works on the tiles of the convolution itself, ``pre`` and ``image`` as in ``weigh``.
    """
    if image.dtype != pre.dtype or not takes(image) or not fits(kernel, padding, pre):
        return False
    rows, columns = image.shape[-2:]
    tiles = len(pre) * _tiles(rows, columns)
    return 36 * tiles + TURN < 9 * len(pre) * rows * columns


def weigh(pre: Tensor, image: Tensor, padding: int, instructions: str = "") -> Tensor:
    """Return the derivative of ``image . (kernel * pre)`` by a kernel of 3 x 3, in tiles.

    ``pre``: ``(batch, in, height, width)``; ``image``: ``(batch, out, rows, columns)``, of the
    size of the convolution and of the same type. Returns ``(out, in, 3, 3)``.

    >>> weigh(torch.ones(1, 16, 4, 4), torch.ones(1, 16, 4, 4), 1)[0, 0].round().tolist()
    [[9.0, 12.0, 9.0], [12.0, 16.0, 12.0], [9.0, 12.0, 9.0]]
    """
    kernel = pre.new_empty(image.shape[1], pre.shape[1], 3, 3)
    kernels.weigh(_last(pre), _last(image), kernel.numpy(), padding, instructions)
    return kernel


def scatter(post: Tensor, corner: Tensor, size: int, image: tuple[int, int]) -> Tensor:
    """Return ``post`` on those pixels of windows of ``size x size`` that ``corner`` counts."""
    values = _last(post)
    z = np.empty((len(values), *image, post.shape[1]), values.dtype)
    kernels.scatter(values, _last(corner), z, size)
    return _first(z)


def _parts(pooled: Pooled | None) -> list[Any]:
    """Return the arrays for a kernel, channels last: values and corner, those at rest or None."""
    if pooled is None or pooled.corner is None:
        return [None, None]
    return [_last(pooled.values), _last(pooled.corner), *_parts(pooled.rest)[:2]]


def _last(image: Tensor) -> Any:
    """Return an image as an array with its channels last."""
    array = image.detach().numpy().transpose(0, 2, 3, 1)
    if array.flags.c_contiguous:
        return array
    last = image.detach().contiguous(memory_format=torch.channels_last)
    return np.ascontiguousarray(last.numpy().transpose(0, 2, 3, 1))


def _first(image: Any) -> Tensor:
    """Return an array with its channels last as an image."""
    return torch.from_numpy(image.transpose(0, 3, 1, 2))


def _blank(like: Any, rows: int, columns: int, packed: Tensor) -> Any:
    """Return an array for a convolution by ``packed``, channels last."""
    return np.empty((like.shape[0], rows, columns, packed.shape[1] * packed.shape[3]), like.dtype)
