"""Joints: which layers a coupling joins and the shapes of its parameters, without any tensor.

``couple(parameters)`` makes the coupling. Ends are numbers of layers; 0 is the clamped input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from madem.errors import InputError
from madem.network.convolutions import Convolution, Filter, slid
from madem.network.couplings import Coupling, Custom, Identity, Lateral, Matrix, Shape, States
from madem.network.pooling import Average, Pool
from madem.randomness import uniform

Limits = tuple[float, float]


@runtime_checkable
class Joint(Protocol):
    """A coupling to be: between which layers, with parameters of which shapes."""

    @property
    def ends(self) -> tuple[int, ...]:
        """Numbers of the layers it joins; 0 is the input."""

    @property
    def parameters(self) -> dict[str, Shape]:
        """Names and shapes of the parameters."""

    @property
    def limits(self) -> dict[str, Limits]:
        """Between which values a parameter must stay, where it must."""

    def check(self, shapes: Sequence[Shape]) -> None:
        """Raise ``InputError`` where the layers of ``shapes`` at its ends do not fit."""

    def initial(self, draws: Generator) -> list[Tensor]:
        """Draw parameters to start from."""

    def couple(self, parameters: Sequence[Tensor]) -> Coupling:
        """Return the coupling with ``parameters``, as they are.

        The gradient is what the coupling contrasts, by its own numbers: a joint that computes those
        from its parameters is an ``Energy``, which is derived by autograd.
        """


class Signed:
    """What joints share whose parameters may have any value."""

    @property
    def limits(self) -> dict[str, Limits]:
        """None."""
        return {}


@dataclass(frozen=True)
class Dense(Signed):
    """A signed matrix from a layer of shape ``pre`` to one of ``post`` units.

    Starts uniform within ``gain / sqrt(inputs)``, with a bias of zero where ``bias``.

    >>> Dense((784,), 10).parameters
    {'weight': (10, 784), 'bias': (10,)}
    """

    pre: Shape
    post: int
    ends: tuple[int, int] = (0, 1)
    bias: bool = True
    gain: float = 1.0

    @property
    def parameters(self) -> dict[str, Shape]:
        """The weight, and the bias where there is one."""
        return shapes_of((self.post, math.prod(self.pre)), (self.post,), self.bias)

    def check(self, shapes: Sequence[Shape]) -> None:
        """Refuse layers of other shapes."""
        match_shapes(self, shapes, (self.pre, (self.post,)))

    def initial(self, draws: Generator) -> list[Tensor]:
        """Draw the weight; the bias is zero."""
        return draw_uniform(self, draws, self.gain)

    def couple(self, parameters: Sequence[Tensor]) -> Matrix:
        """Return the matrix."""
        return Matrix(parameters[0], bias_of(parameters), image_of(self.pre))


@dataclass(frozen=True)
class Conv(Signed):
    """A pooled convolution from ``channels`` to ``features`` images; start as for ``Dense``.

    ``pool`` is ``Average(size)`` or ``Maximum(size)``; ``Average()`` pools nothing.

    >>> Conv(3, 8, 3).parameters["weight"]
    (8, 3, 3, 3)
    """

    channels: int
    features: int
    size: int
    ends: tuple[int, int] = (0, 1)
    stride: int = 1
    padding: int = 0
    pool: Pool = Average()
    bias: bool = True
    gain: float = 1.0

    @property
    def parameters(self) -> dict[str, Shape]:
        """The kernel, and the bias where there is one."""
        kernel = (self.features, self.channels, self.size, self.size)
        return shapes_of(kernel, (self.features,), self.bias)

    def check(self, shapes: Sequence[Shape]) -> None:
        """Refuse layers of other shapes."""
        _match_images(self, shapes, self.pool)

    def initial(self, draws: Generator) -> list[Tensor]:
        """Draw the kernel; the bias is zero."""
        return draw_uniform(self, draws, self.gain)

    def couple(self, parameters: Sequence[Tensor]) -> Convolution:
        """Return the convolution."""
        sliding = Filter(parameters[0], self.stride, self.padding)
        return Convolution(sliding, bias_of(parameters), self.pool)


@dataclass(frozen=True)
class Skip(Signed):
    """A fixed one-to-one connection of two layers of the same shape: residual, skip.

    >>> Skip((1, 3)).parameters
    {}
    """

    ends: tuple[int, int]
    strength: float = 1.0
    axes: int = 1

    @property
    def parameters(self) -> dict[str, Shape]:
        """None: the strength is fixed."""
        return {}

    def check(self, shapes: Sequence[Shape]) -> None:
        """Refuse layers of different shapes."""
        below, above = (shapes[end] for end in self.ends)
        if below != above or len(above) != self.axes:
            raise InputError(
                f"a skip joins two layers of one shape of {self.axes} axes, but layers "
                f"{self.ends[0]} and {self.ends[1]} are {below} and {above}"
            )

    def initial(self, draws: Generator) -> list[Tensor]:
        """Return nothing."""
        del draws
        return []

    def couple(self, parameters: Sequence[Tensor]) -> Identity:
        """Return the connection."""
        del parameters
        return Identity(self.strength, axes=self.axes)


@dataclass(frozen=True)
class Recurrent(Signed):
    """Symmetric weights among the ``units`` of layer ``layer``, none to itself.

    >>> Recurrent(4, 1).ends
    (1,)
    """

    units: int
    layer: int
    gain: float = 0.5

    @property
    def ends(self) -> tuple[int]:
        """The one layer."""
        return (self.layer,)

    @property
    def parameters(self) -> dict[str, Shape]:
        """The weight, of which the symmetric part counts."""
        return {"weight": (self.units, self.units)}

    def check(self, shapes: Sequence[Shape]) -> None:
        """Refuse a layer of another shape."""
        match_shapes(self, shapes, ((self.units,),))

    def initial(self, draws: Generator) -> list[Tensor]:
        """Draw the weight."""
        return draw_uniform(self, draws, self.gain)

    def couple(self, parameters: Sequence[Tensor]) -> Lateral:
        """Return the coupling."""
        return Lateral(parameters[0])


@dataclass(frozen=True)
class Energy(Signed):
    """A user's own energy between ``ends``: ``function(states, parameters)``, one per sample.

    >>> spring = Energy(lambda s, p: p[0] * (s[0] - s[1]).square().sum(-1), (0, 1), {"k": ()})
    >>> spring.initial(torch.Generator())
    [tensor(0.)]
    """

    function: Callable[[States, Sequence[Tensor]], Tensor]
    ends: tuple[int, ...]
    parameters: dict[str, Shape]

    def check(self, shapes: Sequence[Shape]) -> None:
        """Leave the shapes to the function."""

    def initial(self, draws: Generator) -> list[Tensor]:
        """Return zeros: set the parameters before training."""
        return [torch.zeros(shape, device=draws.device) for shape in self.parameters.values()]

    def couple(self, parameters: Sequence[Tensor]) -> Custom:
        """Return the coupling."""
        return Custom(self.function, tuple(parameters), len(self.ends))


def shapes_of(weight: Shape, bias: Shape, has_bias: bool) -> dict[str, Shape]:
    """Return the shapes of a weight and, where there is one, of a bias."""
    return {"weight": weight, "bias": bias} if has_bias else {"weight": weight}


def bias_of(parameters: Sequence[Tensor]) -> Tensor | None:
    """Return the bias, None where there is none."""
    return parameters[1] if len(parameters) > 1 else None


def image_of(shape: Shape) -> Shape:
    """Return the shape of an image, nothing for a flat layer."""
    return shape if len(shape) > 1 else ()


def draw_uniform(joint: Joint, draws: Generator, gain: float) -> list[Tensor]:
    """Draw the weight uniformly within ``gain / sqrt(inputs)``; everything else is zero.

    ``inputs``: how many numbers each output sums. What is beyond the limits is put on them.
    """
    shape, *others = joint.parameters.values()
    scale = gain / math.sqrt(math.prod(shape[1:]))
    weight = uniform(shape, draws).mul_(2).sub_(1).mul_(scale)
    weight.clamp_(*joint.limits.get("weight", (-math.inf, math.inf)))
    return [weight, *(torch.zeros(other, device=draws.device) for other in others)]


def match_shapes(joint: Joint, shapes: Sequence[Shape], wanted: Sequence[Shape]) -> None:
    """Refuse layers of other shapes than those ``wanted`` at a joint's ends."""
    for end, shape in zip(joint.ends, wanted, strict=True):
        if tuple(shapes[end]) != tuple(shape):
            raise InputError(
                f"layer {end} has the shape {tuple(shapes[end])}, but the {type(joint).__name__} "
                f"joint of layers {joint.ends} needs {tuple(shape)}"
            )


def _match_images(joint: Conv, shapes: Sequence[Shape], pool: Pool) -> None:
    """Refuse images that the convolution and its pooling do not turn into one another."""
    below = shapes[joint.ends[0]]
    if len(below) != 3:
        raise InputError(
            f"layer {joint.ends[0]} has the shape {tuple(below)}, but a convolution needs "
            "(channels, height, width)"
        )
    pixels = slid(below, joint.size, joint.stride, joint.padding)
    if min(pixels) < 1:
        raise InputError(f"size {joint.size} is larger than the image {tuple(below)} of layer "
                         f"{joint.ends[0]}")  # fmt: skip
    pooled = pool(torch.zeros(1, 1, *pixels))[0].shape[-2:]
    match_shapes(joint, shapes, ((joint.channels, *below[1:]), (joint.features, *pooled)))
