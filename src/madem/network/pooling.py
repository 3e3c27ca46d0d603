"""Pooling: how neighbouring pixels become one unit, and how a unit's state goes back to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

Image = tuple[int, int]


@runtime_checkable
class Pool(Protocol):
    """How neighbouring outputs of a convolution become one unit, and how its state goes back."""

    @property
    def size(self) -> int:
        """How many pixels side by side become one."""

    @property
    def linear(self) -> bool:
        """Whether the pooling is linear."""

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the pooled image, and which pixel it was taken from where that matters."""

    def spread(self, post: Tensor, corner: Tensor | None, image: Image) -> Tensor:
        """Return ``post`` on the pixels of an ``image`` (height, width) that it was pooled from."""


@dataclass(frozen=True)
class Average:
    """The mean of ``size x size`` neighbours; with size 1, no pooling.

    >>> Average(2)(torch.ones(1, 1, 2, 2))[0].item()
    1.0
    """

    size: int = 1
    linear: bool = True

    def __call__(self, z: Tensor) -> tuple[Tensor, None]:
        """Return the means."""
        return (z if self.size == 1 else functional.avg_pool2d(z, self.size)), None

    def spread(self, post: Tensor, corner: Tensor | None, image: Image) -> Tensor:
        """Return every unit's share on all of its pixels."""
        del corner
        if self.size == 1:
            return post
        wide = post.repeat_interleave(self.size, -1).repeat_interleave(self.size, -2)
        missing = (0, image[1] - wide.shape[-1], 0, image[0] - wide.shape[-2])
        return functional.pad(wide, missing) / self.size**2


@dataclass(frozen=True)
class Maximum:
    """The largest of ``size x size`` neighbours; a unit's state goes back to that one.

    Its pixel is counted by rows within the window, in the type of the image.

    >>> Maximum(2)(torch.tensor([[[[1.0, 2.0], [3.0, 0.0]]]]))
    (tensor([[[[3.]]]]), tensor([[[[2.]]]]))
    """

    size: int = 2
    linear: bool = False

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maxima and which pixel each is."""
        values, places = functional.max_pool2d(z, self.size, return_indices=True)
        width, (rows, columns) = z.shape[-1], places.shape[-2:]
        down, right = (torch.arange(n, device=z.device) for n in (rows, columns))
        first = self.size * (down[:, None] * width + right)
        beyond = (places - first).float()  # small whole numbers: exact, and fast
        corner = beyond - (beyond / width).floor() * (width - self.size)
        return values, corner.to(values.dtype)

    def spread(self, post: Tensor, corner: Tensor | None, image: Image) -> Tensor:
        """Return every unit's state on its largest pixel, zeros elsewhere."""
        if corner is None:
            raise ValueError("a maximum goes back to the pixel it was taken from")
        windows = [torch.where(corner == k, post, 0.0) for k in range(self.size**2)]
        filled = functional.pixel_shuffle(torch.stack(windows, -3).flatten(-4, -3), self.size)
        missing = (0, image[1] - filled.shape[-1], 0, image[0] - filled.shape[-2])
        return functional.pad(filled, missing)


@dataclass(frozen=True)
class Pooled:
    """A pooled image, and where that matters the pixel on which each number lies.

    ``values`` and ``corner``: ``(batch, channels, height, width)``; ``corner`` counts the pixels
    of a window by rows, in the type of the values; None: on all. Where ``rest`` is given,
    ``values`` are a displacement from it, and ``corner`` may have moved.
    """

    values: Tensor
    corner: Tensor | None = None
    rest: Pooled | None = None

    def spread(self, pool: Pool, image: Image) -> Tensor:
        """Return the values on their pixels of an ``image`` (height, width), zeros elsewhere.

        >>> at = torch.ones(1, 1, 1, 1)
        >>> Pooled(at, 3 * at).spread(Maximum(2), (2, 3)).tolist()
        [[[[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]]
        """
        before = None if self.rest is None else self.rest.corner
        if self.rest is None or self.corner is None or before is None:
            return pool.spread(self.values, self.corner, image)
        moved = self.corner != before
        if not bool(moved.any()):
            return pool.spread(self.values, self.corner, image)
        rest = torch.where(moved, self.rest.values, 0.0)
        return pool.spread(self.values + rest, self.corner, image) - pool.spread(
            rest, before, image
        )
