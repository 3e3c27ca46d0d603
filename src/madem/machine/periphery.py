"""Converters between numbers and voltages or currents."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from madem.errors import InputError


@dataclass(frozen=True)
class Converter:
    """A uniform converter of ``bits`` over ``-limit .. limit``, with a level at zero.

    ``2^bits - 1`` levels; values beyond the limit saturate. ``bits`` None converts nothing.

    >>> import torch
    >>> Converter(2, 1.0)(torch.tensor([-3.0, 0.1, 0.6])).tolist()
    [-1.0, 0.0, 1.0]
    """

    bits: int | None
    limit: float

    def __post_init__(self) -> None:
        """Refuse a converter that cannot be built."""
        if self.bits is not None and not 2 <= self.bits <= 24:
            raise InputError(f"bits must be 2 to 24, but is {self.bits}")
        if self.limit <= 0:
            raise InputError(f"limit must be positive, but is {self.limit}")

    def __call__(self, value: Tensor) -> Tensor:
        """Return the nearest level to each value."""
        if self.bits is None:
            return value
        step = self.limit / ((1 << (self.bits - 1)) - 1)
        return value.clamp(-self.limit, self.limit).div_(step).round_().mul_(step)


@dataclass(frozen=True)
class Periphery:
    """The converters of a chip: ``dac_bits`` drive lines, ``adc_bits`` sense states.

    ``output_limit`` is the range of an unbounded output, in units of its state.
    """

    dac_bits: int | None = None
    adc_bits: int | None = None
    output_limit: float = 20.0

    def drive(self, value: Tensor) -> Tensor:
        """Return the activities (at most one) as the input converters put them on the lines."""
        return Converter(self.dac_bits, 1.0)(value)

    def sense(self, value: Tensor, bound: float | None) -> Tensor:
        """Return states as the output converters see them; ``bound`` is their law's limit."""
        return Converter(self.adc_bits, self.output_limit if bound is None else bound)(value)
