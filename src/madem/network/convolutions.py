"""Convolutional couplings between image layers, ``(batch, channels, height, width)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional, grad

from madem.network import winograd
from madem.network.couplings import Moves, States
from madem.network.pooling import Average, Image, Maximum, Pool
from madem.network.winograd import Cornered

Seen = tuple[Tensor, Tensor, Tensor | None]
"""A lower state, its pooled convolution, and which pixels that was taken from."""


@dataclass(frozen=True)
class Convolution:
    """A convolution, pooled: ``E = -post . pool(kernel * pre) - bias . sum_pixels post``.

    ``kernel``: ``(out, in, k, k)``; ``bias``: ``(out,)`` or None. With a maximum the pull on the
    lower layer depends on that layer itself. ``seen`` keeps what was last convolved, which both
    pulls need; ``moved`` what was last displaced, which phases and contrasts share; ``packed`` the
    kernel in the form of ``winograd``, and turned, for the way back. All three know tensors by
    identity: neither kernel nor states may be changed in place while the coupling lives, which is
    one batch in a machine.

    >>> c = Convolution(torch.ones(1, 1, 1, 1), None)
    >>> c.pull(1, [torch.full((1, 1, 1, 1), 3.0), torch.zeros(1, 1, 1, 1)]).item()
    3.0
    """

    kernel: Float[Tensor, "out in k k"]
    bias: Float[Tensor, "out"] | None
    stride: int = 1
    padding: int = 0
    pool: Pool = Average()
    seen: list[Seen] = field(default_factory=list, init=False, compare=False)
    moved: list[MovedConvolution] = field(default_factory=list, init=False, compare=False)
    packed: dict[bool, Tensor] = field(default_factory=dict, init=False, compare=False)

    def felt(self, end: int) -> tuple[int, ...]:
        """Return the other end; what goes back through a maximum also depends on its own."""
        return (1 - end,) if self.pool.linear or end == 1 else (0, 1)

    def convolve(self, pre: Tensor) -> Tensor:
        """Return ``kernel * pre``."""
        if self.stride == 1 and winograd.fits(self.kernel, self.padding, pre):
            return winograd.convolve(pre, self._packed(turned=False), self.padding)
        # channels last in memory, as tiles leave them: pooling is many times faster
        kernel = self.kernel.contiguous(memory_format=torch.channels_last)
        return functional.conv2d(pre, kernel, stride=self.stride, padding=self.padding)

    def pooled(self, pre: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the pooled convolution of ``pre``, and which pixels it was taken from."""
        if not self.seen or self.seen[0][0] is not pre:
            self.seen[:] = [(pre, *self.pool_of(pre))]
        return self.seen[0][1:]

    def pool_of(self, pre: Tensor, offset: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the pooled sum of the convolution and ``offset``, in one go where tiles can."""
        if self._halves(pre) and winograd.fits(self.kernel, self.padding, pre):
            packed = self._packed(turned=False)
            found = winograd.convolve_largest(pre, packed, self.padding, offset)
            return found.values, found.corner
        z = self.convolve(pre)
        return self.pool(z if offset is None else z + offset)

    def _halves(self, pre: Tensor) -> bool:
        """Return whether pooling halves the sides of the image, as tiles can on the way."""
        whole = not any(n % 2 for n in self.image(pre))
        return whole and self.stride == 1 and self.pool == Maximum(2)

    def image(self, pre: Tensor) -> Image:
        """Return height and width of the convolution of ``pre``."""
        size, reach = self.kernel.shape[-1], 2 * self.padding
        rows, columns = ((n + reach - size) // self.stride + 1 for n in pre.shape[-2:])
        return rows, columns

    def transpose(self, image: Tensor, pre: Tensor) -> Tensor:
        """Return the transposed convolution of ``image`` onto the pixels of ``pre``.

        Of stride 1 it is the convolution with the kernel turned by half a turn.
        """
        back = self.kernel.transpose(0, 1)
        if self.stride == 1 and winograd.fits(back, 2 - self.padding, image):
            return winograd.convolve(image, self._packed(turned=True), 2 - self.padding)
        found: Tensor = grad.conv2d_input(
            pre.shape, self.kernel, image, stride=self.stride, padding=self.padding
        )
        return found

    def back(self, post: Cornered, pre: Tensor) -> Tensor:
        """Return the transposed convolution of what lies on the pixels it was pooled from."""
        kernel, padding = self.kernel.transpose(0, 1), 2 - self.padding
        if self._halves(pre) and winograd.fits(kernel, padding, post.values, 2):
            return winograd.convolve(post, self._packed(turned=True), padding)
        return self.transpose(post.spread(self.pool.size, self.image(pre)), pre)

    def _packed(self, turned: bool) -> Tensor:
        """Return the kernel, or the kernel of the way back, in the form of ``winograd``."""
        if turned not in self.packed:
            self.packed[turned] = winograd.pack(self.kernel, turned)
        return self.packed[turned]

    def weigh(self, pre: Tensor, image: Tensor) -> Tensor:
        """Return the derivative of ``image . (kernel * pre)`` by the kernel."""
        if self.stride == 1 and winograd.fits_weigh(self.kernel, self.padding, pre, image):
            return winograd.weigh(pre, image, self.padding)
        found: Tensor = grad.conv2d_weight(
            pre, self.kernel.shape, image, stride=self.stride, padding=self.padding
        )
        return found

    def spread(self, states: States) -> Tensor:
        """Return the upper state on the pixels before pooling."""
        corner = None if self.pool.linear else self.pooled(states[0])[1]
        return self.pool.spread(states[1], corner, self.image(states[0]))

    def pull(self, end: int, states: States) -> Tensor:
        """Return the pooled convolution, or the transposed convolution of the spread state."""
        pre, post = states
        if end == 1:
            return self.pooled(pre)[0]
        corner = None if self.pool.linear else self.pooled(pre)[1]
        if corner is None:
            return self.transpose(self.spread(states), pre)
        return self.back(Cornered(post, corner), pre)

    def constant(self, end: int) -> Tensor | None:
        """Return the bias."""
        return self.bias[:, None, None] if end == 1 and self.bias is not None else None

    def curvature(self, end: int) -> float:
        """Return zero."""
        del end
        return 0.0

    def energy(self, states: States) -> Tensor:
        """Return the energy of each sample."""
        total = self.pull(1, states)
        if self.bias is not None:
            total = total + self.bias[:, None, None]
        return -(states[1] * total).flatten(-3).sum(-1)

    def contrast(self, moves: Moves) -> tuple[Tensor, ...]:
        """Return the contrasts of the kernel and of the bias, where there is one."""
        pre, post = moves
        at, change = [move.at for move in moves], post.change
        if pre.change is None:  # clamped: what is largest stays so
            fall = torch.zeros_like(post.at) if change is None else -change
            kernel = self.weigh(pre.middle, self.spread([pre.at, fall]))
        else:
            displaced = self.displaced(at)
            # of estimators that settle low last, what was convolved then is still there
            down, up = (
                displaced.spread_change([move.sides[i] for move in moves])
                if any(side is not None for side in given)
                else pre.at.new_zeros(())
                for i, given in ((1, [m.low for m in moves]), (0, [m.high for m in moves]))
            )
            kernel = self.weigh(pre.middle, pre.scaled(down - up))
            middle = torch.add(self.spread(at), up + down, alpha=0.5)
            kernel = kernel.sub_(self.weigh(pre.change, middle))
        if self.bias is None:
            return (kernel,)
        bias = torch.zeros_like(self.bias) if change is None else -change.sum((0, 2, 3))
        return kernel, bias

    def displaced(self, at: States) -> MovedConvolution:
        """Return the coupling as displacements from ``at`` feel it."""
        held = self.moved[0].at if self.moved else ()
        if len(held) != len(at) or any(a is not b for a, b in zip(held, at, strict=True)):
            plain = replace(self, bias=None)
            plain.packed.update(self.packed)
            self.moved[:] = [MovedConvolution(plain, tuple(at))]
        return self.moved[0]


@dataclass(frozen=True)
class MovedConvolution:
    """A convolution as displacements feel it, without subtracting large numbers.

    >>> c = Convolution(torch.ones(1, 1, 1, 1), None).displaced([torch.ones(1, 1, 1, 1)] * 2)
    >>> c.pull(1, [torch.full((1, 1, 1, 1), 3.0), torch.zeros(1, 1, 1, 1)]).item()
    3.0
    """

    plain: Convolution
    at: tuple[Tensor, ...]
    seen: list[Seen] = field(default_factory=list, compare=False)

    @cached_property
    def rest(self) -> tuple[Tensor, Cornered]:
        """How far each pixel at rest lies below the largest of its window, and what lies on whose.

        Zero at the largest, so that small displacements keep their precision.
        """
        z = self.plain.convolve(self.at[0])
        values, corner = self.plain.pool(z)
        wide = Average(self.plain.pool.size)
        largest = wide.spread(values, None, self.plain.image(self.at[0])) * wide.size**2
        if corner is None:
            raise ValueError("a linear pooling has no largest pixels")
        return z - largest, Cornered(self.at[1], corner)

    def felt(self, end: int) -> tuple[int, ...]:
        """Return what the convolution feels."""
        return self.plain.felt(end)

    def pooled(self, pre: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the change of the pooled convolution, and which pixels it is now taken from."""
        if self.plain.pool.linear:
            return self.plain.pooled(pre)
        if not self.seen or self.seen[0][0] is not pre:
            self.seen[:] = [(pre, *self.plain.pool_of(pre, self.rest[0]))]
        return self.seen[0][1:]

    def cornered(self, states: States) -> Cornered | None:
        """Return the change of the upper state, and on which pixels it lies; None for all."""
        corner = None if self.plain.pool.linear else self.pooled(states[0])[1]
        return None if corner is None else Cornered(states[1], corner, self.rest[1])

    def spread_change(self, states: States) -> Tensor:
        """Return the change of the upper state on the pixels before pooling."""
        post = self.cornered(states)
        if post is None:
            return self.plain.spread(states)
        return post.spread(self.plain.pool.size, self.plain.image(states[0]))

    def pull(self, end: int, states: States) -> Tensor:
        """Return the change of the pull."""
        if end == 1:
            return self.pooled(states[0])[0]
        post = self.cornered(states)
        if post is None:
            return self.plain.pull(0, states)
        return self.plain.back(post, states[0])

    def constant(self, end: int) -> None:
        """Return nothing: constants do not change."""
        del end

    def curvature(self, end: int) -> float:
        """Return zero."""
        del end
        return 0.0

    def energy(self, states: States) -> Tensor:
        """Return the change of the energy."""
        moved = [s + u for s, u in zip(self.at, states, strict=True)]
        return self.plain.energy(moved) - self.plain.energy(self.at)

    def contrast(self, moves: Moves) -> tuple[Tensor, ...]:
        """Return the convolution's contrast."""
        return self.plain.contrast(moves)

    def displaced(self, at: States) -> MovedConvolution:
        """Return the convolution displaced further."""
        return self.plain.displaced([s + u for s, u in zip(self.at, at, strict=True)])


@dataclass(frozen=True)
class ResistorConvolution:
    """Resistors that repeat over an image: ``E = sum g_k (pre_(p + k) - post_p)^2 / 2 - b . post``.

    ``g``: conductances ``(out, in, k, k)``, S; ``bias``: currents ``(out,)``, A, or None;
    ``shapes``: of both layers. Beyond the border there is no resistor.

    >>> r = ResistorConvolution(torch.ones(1, 1, 1, 1), None)
    >>> r.pull(1, [torch.full((1, 1, 1, 1), 3.0), torch.zeros(1, 1, 1, 1)]).item()
    3.0
    """

    g: Float[Tensor, "out in k k"]
    bias: Float[Tensor, "out"] | None
    stride: int = 1
    padding: int = 0
    shapes: tuple[Sequence[int], Sequence[int]] = ((), ())

    def felt(self, end: int) -> tuple[int, ...]:
        """Return the other end."""
        return (1 - end,)

    @cached_property
    def _plain(self) -> Convolution:
        """The currents that the other end's voltages drive are those of a convolution."""
        return Convolution(self.g, self.bias, self.stride, self.padding)

    def pull(self, end: int, states: States) -> Tensor:
        """Return the currents that the other end's voltages drive."""
        return self._plain.pull(end, states)

    def constant(self, end: int) -> Tensor | None:
        """Return the bias currents."""
        return self._plain.constant(end)

    def curvature(self, end: int) -> Tensor:
        """Return the sum of conductances at each node of ``end``."""
        ones = [self.g.new_ones(1, *shape) for shape in self.shapes]
        return self._plain.pull(end, ones)[0]

    def energy(self, states: States) -> Tensor:
        """Return half the power in the resistors, less that of the bias currents."""
        squares = [(s.square() * self.curvature(end)).flatten(-3) for end, s in enumerate(states)]
        return sum(part.sum(-1) for part in squares) / 2 + self._plain.energy(states)

    def contrast(self, moves: Moves) -> tuple[Tensor, ...]:
        """Return the contrasts of the conductances, ``d m`` of the branch voltages."""
        pre, post = moves
        plain = self._plain
        g = torch.zeros_like(self.g)
        if post.change is not None:
            own = plain.weigh(torch.ones_like(pre.middle), post.change * post.middle)
            g = g + own - plain.weigh(pre.middle, post.change)
        if pre.change is not None:
            own = plain.weigh(pre.change * pre.middle, torch.ones_like(post.middle))
            g = g + own - plain.weigh(pre.change, post.middle)
        if self.bias is None:
            return (g,)
        change = post.change
        bias = torch.zeros_like(self.bias) if change is None else -change.sum((0, 2, 3))
        return g, bias

    def displaced(self, at: States) -> ResistorConvolution:
        """Return itself without the bias currents, which do not change."""
        del at
        return ResistorConvolution(self.g, None, self.stride, self.padding, self.shapes)
