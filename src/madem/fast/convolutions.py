"""Convolutions in tiles where they fit, which remember the image that they last saw.

Both pulls of a coupling ask for the same pooled convolution, and a contrast for that of a phase.
Where autograd listens, and where tiles do not fit or do not pay, a filter is PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

from torch import Tensor

from madem.fast import winograd
from madem.fast.native import listening, takes
from madem.network.convolutions import Filter
from madem.network.pooling import Image, Maximum, Pool, Pooled


@dataclass(frozen=True)
class Largest(Maximum):
    """The largest of neighbours; a kernel puts a unit's state back on its pixel."""

    def spread(self, post: Tensor, corner: Tensor | None, image: Image) -> Tensor:
        """Return every unit's state on its largest pixel, zeros elsewhere."""
        if corner is None or post.dim() != 4 or not takes(post):
            return super().spread(post, corner, image)
        return winograd.scatter(post, corner, self.size, image)


@dataclass(frozen=True)
class Packed:
    """A kernel in the form of ``winograd``, for the way up and, turned, for the way back."""

    kernel: Tensor

    @cached_property
    def ahead(self) -> Tensor:
        """The kernel itself."""
        return winograd.pack(self.kernel)

    @cached_property
    def turned(self) -> Tensor:
        """The kernel turned by half a turn."""
        return winograd.pack(self.kernel, turned=True)


@dataclass(frozen=True, kw_only=True)
class Tiled(Filter):
    """A filter in tiles of 4 x 4 pixels.

    ``last``: the verbs that remember what they last answered, ``pooled`` and ``below``. They know
    images by identity: neither kernel nor images may be changed in place while the filter lives.
    """

    packed: Packed = field(compare=False)
    last: tuple[Callable[..., Pooled], Callable[..., tuple[Tensor, Tensor | None]]] | None = field(
        default=None, compare=False
    )

    @staticmethod
    def of(plain: Filter) -> Tiled:
        """Return a plain filter in tiles, which remembers the image that it last saw."""
        tiles = Tiled(plain.kernel, plain.stride, plain.padding, packed=Packed(plain.kernel))
        once = lru_cache(maxsize=1)  # of a filter that remembers nothing itself: no cycle
        return replace(tiles, last=(once(tiles.pooled), once(tiles.below)))

    def convolve(self, pre: Tensor) -> Tensor:
        """Return ``kernel * pre``."""
        if not self._fits(pre):
            return super().convolve(pre)
        return winograd.convolve(pre, self.packed.ahead, self.padding)

    def transpose(self, image: Tensor, pre: Tensor) -> Tensor:
        """Return the transposed convolution, of stride 1 that with the turned kernel."""
        if not self._fits_back(image):
            return super().transpose(image, pre)
        return winograd.convolve(image, self.packed.turned, 2 - self.padding)

    def weigh(self, pre: Tensor, image: Tensor) -> Tensor:
        """Return the derivative of ``image . (kernel * pre)`` by the kernel."""
        fits = self.stride == 1 and winograd.fits_weigh(self.kernel, self.padding, pre, image)
        return winograd.weigh(pre, image, self.padding) if fits else super().weigh(pre, image)

    def pooled(self, pre: Tensor, pool: Pool, offset: Tensor | None = None) -> Pooled:
        """Return the pooled sum of the convolution and ``offset``, in one go where tiles can."""
        if self.last and not listening(pre, self.kernel):
            return self.last[0](pre, pool, offset)
        if not self._halves(pool, pre) or not self._fits(pre):
            return super().pooled(pre, pool, offset)
        return winograd.convolve_largest(pre, self.packed.ahead, self.padding, offset)

    def below(self, pre: Tensor, pool: Pool) -> tuple[Tensor, Tensor | None]:
        """Return how far each pixel lies below the largest of its window, and which that is."""
        if self.last and not listening(pre, self.kernel):
            return self.last[1](pre, pool)
        return super().below(pre, pool)

    def back(self, post: Pooled, pool: Pool, pre: Tensor) -> Tensor:
        """Return the transposed convolution of a pooled image, in one go where tiles can."""
        if not self._halves(pool, pre) or not self._fits_back(post.values, 2):
            return super().back(post, pool, pre)
        return winograd.convolve(post, self.packed.turned, 2 - self.padding)

    def _fits(self, pre: Tensor) -> bool:
        """Return whether tiles take an image on the way up, and save work."""
        return self.stride == 1 and winograd.fits(self.kernel, self.padding, pre)

    def _fits_back(self, image: Tensor, size: int = 1) -> bool:
        """Return whether tiles take an image on the way back, and save work."""
        back = self.kernel.transpose(0, 1)
        return self.stride == 1 and winograd.fits(back, 2 - self.padding, image, size)

    def _halves(self, pool: Pool, pre: Tensor) -> bool:
        """Return whether pooling halves the sides of the image, as tiles can on the way."""
        return pool == Largest(2) and not any(n % 2 for n in self.image(pre))
