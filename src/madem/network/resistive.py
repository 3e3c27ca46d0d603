"""Resistive joints: resistors between layers, and over images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Generator, Tensor

from madem.errors import InputError
from madem.network.convolutions import Filter, ResistorConvolution, slid
from madem.network.couplings import Shape
from madem.network.joints import Limits, bias_of, draw_uniform, image_of, match_shapes, shapes_of
from madem.network.resistors import Mirrored, Resistors


@dataclass(frozen=True)
class Resistive:
    """Resistors from a layer of shape ``pre`` to one of ``post`` nodes.

    ``g_min``, ``g_max``: range of the conductances, S (or in any unit of conductance that the laws
    share). They start uniform within ``gain / sqrt(lines)``, clipped to the range. With ``mirror``
    every input ``x`` drives two lines, at ``mirror x`` and ``-mirror x``, which makes up for
    weights that cannot be negative (arXiv 2402.11674).

    >>> Resistive((4,), 2, g_min=2.0, g_max=1.0)
    Traceback (most recent call last):
    ...
    madem.errors.InputError: g_min must be at least 0 and below g_max, but they are 2.0 and 1.0
    """

    pre: Shape
    post: int
    ends: tuple[int, int] = (0, 1)
    bias: bool = True
    gain: float = 1.0
    g_min: float = 0.0
    g_max: float = math.inf
    mirror: float | None = None

    def __post_init__(self) -> None:
        """Refuse an empty range."""
        _check_range(self.g_min, self.g_max)
        if self.mirror is not None and (self.ends[0] != 0 or not self.mirror > 0):
            raise InputError(
                "mirror must be a positive gain, on lines from the input, layer 0, but is "
                f"{self.mirror} on layer {self.ends[0]}"
            )

    @property
    def lines(self) -> int:
        """Number of lines that drive the resistors: two per input where it is mirrored."""
        return math.prod(self.pre) * (1 if self.mirror is None else 2)

    @property
    def parameters(self) -> dict[str, Shape]:
        """The conductances, and the bias currents where there are any."""
        return shapes_of((self.post, self.lines), (self.post,), self.bias)

    @property
    def limits(self) -> dict[str, Limits]:
        """The range of the conductances."""
        return {"weight": (self.g_min, self.g_max)}

    def check(self, shapes: Sequence[Shape]) -> None:
        """Refuse layers of other shapes."""
        match_shapes(self, shapes, (self.pre, (self.post,)))

    def initial(self, draws: Generator) -> list[Tensor]:
        """Draw the conductances; the bias is zero."""
        return draw_uniform(self, draws, self.gain)

    def couple(self, parameters: Sequence[Tensor]) -> Resistors | Mirrored:
        """Return the resistors."""
        if self.mirror is not None:
            return Mirrored(parameters[0], bias_of(parameters), self.mirror)
        return Resistors(parameters[0], bias_of(parameters), image_of(self.pre))


@dataclass(frozen=True)
class ResistiveConv:
    """Resistors that repeat over an image, from ``channels`` of ``pre`` to ``features`` images.

    ``pre`` is the shape (channels, height, width) of the lower layer; the rest as ``Resistive``.

    >>> ResistiveConv((1, 8, 8), 4, 3).post
    (4, 6, 6)
    """

    pre: tuple[int, int, int]
    features: int
    size: int
    ends: tuple[int, int] = (0, 1)
    stride: int = 1
    padding: int = 0
    bias: bool = True
    gain: float = 1.0
    g_min: float = 0.0
    g_max: float = math.inf

    def __post_init__(self) -> None:
        """Refuse an empty range."""
        _check_range(self.g_min, self.g_max)

    @property
    def post(self) -> tuple[int, int, int]:
        """Shape of the upper layer."""
        return self.features, *slid(self.pre, self.size, self.stride, self.padding)

    @property
    def parameters(self) -> dict[str, Shape]:
        """The conductances, and the bias currents where there are any."""
        kernel = (self.features, self.pre[0], self.size, self.size)
        return shapes_of(kernel, (self.features,), self.bias)

    @property
    def limits(self) -> dict[str, Limits]:
        """The range of the conductances."""
        return {"weight": (self.g_min, self.g_max)}

    def check(self, shapes: Sequence[Shape]) -> None:
        """Refuse layers of other shapes."""
        match_shapes(self, shapes, (self.pre, self.post))

    def initial(self, draws: Generator) -> list[Tensor]:
        """Draw the conductances; the bias is zero."""
        return draw_uniform(self, draws, self.gain)

    def couple(self, parameters: Sequence[Tensor]) -> ResistorConvolution:
        """Return the resistors."""
        sliding = Filter(parameters[0], self.stride, self.padding)
        return ResistorConvolution(sliding, bias_of(parameters), (self.pre, self.post))


def _check_range(low: float, high: float) -> None:
    if not 0 <= low < high:
        raise InputError(f"g_min must be at least 0 and below g_max, but they are {low} and {high}")
