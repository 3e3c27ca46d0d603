"""Convolutional couplings between image layers, ``(batch, channels, height, width)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional, grad

from madem.network.couplings import Coupling, Moves, States, and_bias
from madem.network.pooling import Average, Image, Pool, Pooled


def slid(image: Sequence[int], size: int, stride: int, padding: int) -> Image:
    """Return height and width of what a kernel of ``size`` makes of an image, which has them last.

    >>> slid((3, 8, 6), 3, 1, 0)
    (6, 4)
    """
    rows, columns = ((n + 2 * padding - size) // stride + 1 for n in image[-2:])
    return rows, columns


@dataclass(frozen=True)
class Filter:
    """A kernel that slides over images, ``z = kernel * x``, and what a coupling asks of it.

    ``kernel``: ``(out, in, k, k)``. A form that is faster answers the same questions.

    >>> Filter(torch.ones(1, 1, 2, 2)).convolve(torch.ones(1, 1, 2, 2)).item()
    4.0
    """

    kernel: Float[Tensor, "out in k k"]
    stride: int = 1
    padding: int = 0

    def image(self, pre: Tensor) -> Image:
        """Return height and width of the convolution of ``pre``."""
        return slid(pre.shape, self.kernel.shape[-1], self.stride, self.padding)

    def convolve(self, pre: Tensor) -> Tensor:
        """Return ``kernel * pre``."""
        # channels last in memory: pooling is then many times faster
        kernel = self.kernel.contiguous(memory_format=torch.channels_last)
        return functional.conv2d(pre, kernel, stride=self.stride, padding=self.padding)

    def transpose(self, image: Tensor, pre: Tensor) -> Tensor:
        """Return the transposed convolution of ``image`` onto the pixels of ``pre``."""
        found: Tensor = grad.conv2d_input(
            pre.shape, self.kernel, image, stride=self.stride, padding=self.padding
        )
        return found

    def weigh(self, pre: Tensor, image: Tensor) -> Tensor:
        """Return the derivative of ``image . (kernel * pre)`` by the kernel."""
        found: Tensor = grad.conv2d_weight(
            pre, self.kernel.shape, image, stride=self.stride, padding=self.padding
        )
        return found

    def pooled(self, pre: Tensor, pool: Pool, offset: Tensor | None = None) -> Pooled:
        """Return the pooled sum of the convolution of ``pre`` and ``offset``."""
        z = self.convolve(pre)
        return Pooled(*pool(z if offset is None else z + offset))

    def below(self, pre: Tensor, pool: Pool) -> tuple[Tensor, Tensor | None]:
        """Return how far each pixel lies below the largest of its window, and which that is.

        Zero at the largest, so that small displacements keep their precision.
        """
        z = self.convolve(pre)
        values, corner = pool(z)
        wide = Average(pool.size)
        return z - wide.spread(values, None, self.image(pre)) * wide.size**2, corner

    def spread(self, post: Pooled, pool: Pool, pre: Tensor) -> Tensor:
        """Return a pooled image on the pixels before pooling."""
        return post.spread(pool, self.image(pre))

    def back(self, post: Pooled, pool: Pool, pre: Tensor) -> Tensor:
        """Return the transposed convolution of a pooled image, onto the pixels of ``pre``."""
        return self.transpose(self.spread(post, pool, pre), pre)


@dataclass(frozen=True)
class Convolution(Coupling):
    """A convolution, pooled: ``E = -post . pool(kernel * pre) - bias . sum_pixels post``.

    ``bias``: ``(out,)`` or None. With a maximum the pull on the lower layer depends on that layer
    itself. Where ``at`` is given, states are displacements from it, and pulls are their changes,
    without subtracting large numbers.

    >>> c = Convolution(Filter(torch.ones(1, 1, 1, 1)))
    >>> c.pull(1, [torch.full((1, 1, 1, 1), 3.0), torch.zeros(1, 1, 1, 1)]).item()
    3.0
    """

    filter: Filter
    bias: Float[Tensor, "out"] | None = None
    pool: Pool = Average()
    at: tuple[Tensor, ...] = ()

    def felt(self, end: int) -> tuple[int, ...]:
        """Return the other end; what goes back through a maximum also depends on its own."""
        return (1 - end,) if self.pool.linear or end == 1 else (0, 1)

    @cached_property
    def _rest(self) -> tuple[Tensor | None, Pooled | None]:
        """What is added to a convolved displacement, and what lies on which pixels at rest."""
        if not self.at or self.pool.linear:
            return None, None
        below, corner = self.filter.below(self.at[0], self.pool)
        return below, Pooled(self.at[1], corner)

    def pooled(self, pre: Tensor) -> Pooled:
        """Return the pooled convolution of ``pre``, or its change."""
        return self.filter.pooled(pre, self.pool, self._rest[0])

    def lifted(self, states: States) -> Pooled:
        """Return the upper state, or its change, and the pixels on which it lies."""
        pre, post = states
        return Pooled(post, None if self.pool.linear else self.pooled(pre).corner, self._rest[1])

    def spread(self, states: States) -> Tensor:
        """Return the upper state, or its change, on the pixels before pooling."""
        return self.filter.spread(self.lifted(states), self.pool, states[0])

    def pull(self, end: int, states: States) -> Tensor:
        """Return the pooled convolution, or the transposed convolution of the spread state."""
        if end == 1:
            return self.pooled(states[0]).values
        return self.filter.back(self.lifted(states), self.pool, states[0])

    def constant(self, end: int) -> Tensor | None:
        """Return the bias."""
        return self.bias[:, None, None] if end == 1 and self.bias is not None else None

    def energy(self, states: States) -> Tensor:
        """Return the energy of each sample, or its change."""
        if self.at:
            still = replace(self, at=())
            return still.energy(self._moved(states)) - still.energy(self.at)
        total = self.pull(1, states)
        if self.bias is not None:
            total = total + self.bias[:, None, None]
        return -(states[1] * total).flatten(-3).sum(-1)

    def contrast(self, moves: Moves) -> tuple[Tensor, ...]:
        """Return the contrasts of the kernel and of the bias, where there is one."""
        pre, post = moves
        change, weigh = post.change, self.filter.weigh
        if pre.change is None:  # clamped: what is largest stays so
            fall = torch.zeros_like(post.at) if change is None else -change
            kernel = weigh(pre.middle, self.spread([pre.at, fall]))
        else:
            moved = self.displaced([move.at for move in moves])
            # of estimators that settle low last, what was convolved then is still there
            down, up = (
                moved.spread([move.sides[i] for move in moves])
                if any(side is not None for side in given)
                else pre.at.new_zeros(())
                for i, given in ((1, [m.low for m in moves]), (0, [m.high for m in moves]))
            )
            kernel = weigh(pre.middle, pre.scaled(down - up))
            rest = self.filter.spread(moved._rest[1] or Pooled(post.at), self.pool, pre.at)
            kernel = kernel.sub_(weigh(pre.change, torch.add(rest, up + down, alpha=0.5)))
        return and_bias(kernel, self.bias, None if change is None else -change.sum((0, 2, 3)))

    def displaced(self, at: States) -> Convolution:
        """Return the coupling as displacements from ``at`` feel it."""
        return replace(self, bias=None, at=tuple(self._moved(at)))

    def _moved(self, states: States) -> States:
        """Return states that may be displacements as they are."""
        return [s + u for s, u in zip(self.at, states, strict=True)] if self.at else states


@dataclass(frozen=True)
class ResistorConvolution(Coupling):
    """Resistors that repeat over an image: ``E = sum g_k (pre_(p + k) - post_p)^2 / 2 - b . post``.

    The kernel of ``filter`` are conductances ``(out, in, k, k)``, S; ``bias``: currents ``(out,)``,
    A, or None; ``shapes``: of both layers. Beyond the border there is no resistor.

    >>> r = ResistorConvolution(Filter(torch.ones(1, 1, 1, 1)))
    >>> r.pull(1, [torch.full((1, 1, 1, 1), 3.0), torch.zeros(1, 1, 1, 1)]).item()
    3.0
    """

    filter: Filter
    bias: Float[Tensor, "out"] | None = None
    shapes: tuple[Sequence[int], Sequence[int]] = ((), ())

    @property
    def _plain(self) -> Convolution:
        """The currents that the other end's voltages drive are those of a convolution."""
        return Convolution(self.filter, self.bias)

    def pull(self, end: int, states: States) -> Tensor:
        """Return the currents that the other end's voltages drive."""
        return self._plain.pull(end, states)

    def constant(self, end: int) -> Tensor | None:
        """Return the bias currents."""
        return self._plain.constant(end)

    def curvature(self, end: int) -> Tensor:
        """Return the sum of conductances at each node of ``end``."""
        ones = [self.filter.kernel.new_ones(1, *shape) for shape in self.shapes]
        return self.pull(end, ones)[0]

    def energy(self, states: States) -> Tensor:
        """Return half the power in the resistors, less that of the bias currents."""
        squares = [(s.square() * self.curvature(end)).flatten(-3) for end, s in enumerate(states)]
        return sum(part.sum(-1) for part in squares) / 2 + self._plain.energy(states)

    def contrast(self, moves: Moves) -> tuple[Tensor, ...]:
        """Return the contrasts of the conductances, ``d m`` of the branch voltages."""
        pre, post = moves
        weigh, change = self.filter.weigh, post.change
        g = torch.zeros_like(self.filter.kernel)
        if change is not None:
            own = weigh(torch.ones_like(pre.middle), change * post.middle)
            g = g + own - weigh(pre.middle, change)
        if pre.change is not None:
            own = weigh(pre.change * pre.middle, torch.ones_like(post.middle))
            g = g + own - weigh(pre.change, post.middle)
        return and_bias(g, self.bias, None if change is None else -change.sum((0, 2, 3)))

    def displaced(self, at: States) -> ResistorConvolution:
        """Return itself without the bias currents, which do not change."""
        del at
        return replace(self, bias=None)
