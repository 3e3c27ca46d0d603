"""What lies between numbers and an array: converters, line drivers, sense amplifiers, neurons.

Everything is ideal by default. What differs from chip to chip is drawn once (``draw_lines``).
Gains of the lines and gains of the neurons keep an energy: the one is part of the weight as both
reads see it, the other a leak of the neuron. So do offsets of the neurons, which are biases.
A transposed read that differs from the forward one does not: there is then no energy, block
coordinate descent need not come to rest, and what missed its tolerance is reported by ``settle``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Generator, Tensor

from madem.errors import InputError
from madem.machine.arrays import Digitised, Lines
from madem.machine.strength import largest
from madem.network import Coupling, Matrix
from madem.network.couplings import wide
from madem.randomness import normal, uniform


def _refuse_bits(name: str, bits: int | None) -> None:
    if bits and not 2 <= bits <= 24:
        raise InputError(f"{name} must be 2 to 24, or 0 where it is exact, but is {bits}")


@dataclass(frozen=True)
class Converter:
    """A uniform converter of ``bits`` over ``-limit .. limit``, with a level at zero.

    ``2^bits - 1`` levels; values beyond the limit saturate. ``bits`` 0 or None converts nothing.

    >>> import torch
    >>> Converter(2, 1.0)(torch.tensor([-3.0, 0.1, 0.6])).tolist()
    [-1.0, 0.0, 1.0]
    """

    bits: int | None
    limit: float

    def __post_init__(self) -> None:
        """Refuse a converter that cannot be built."""
        _refuse_bits("bits", self.bits)
        if self.limit <= 0:
            raise InputError(f"limit must be positive, but is {self.limit}")

    def __call__(self, value: Tensor) -> Tensor:
        """Return the nearest level to each value."""
        if not self.bits:
            return value
        return value.clamp(-self.limit, self.limit).div_(self.step).round_().mul_(self.step)

    @property
    def step(self) -> float:
        """What two levels differ by, zero where nothing is converted."""
        return self.limit / ((1 << (self.bits - 1)) - 1) if self.bits else 0.0


HALVINGS = 10
"""How often a range can be halved: to a thousandth, about what 1 pF can tell; ours."""


def ranged(converter: Converter, value: Tensor, axes: int) -> Tensor:
    """Return what ``converter`` makes of values in a range of its own for each sample.

    It is the converter's, halved as often as all of the sample's values stay within it, at most
    ``HALVINGS`` times; a sample is what ``axes`` axes in front number.

    >>> ranged(Converter(3, 8.0), torch.tensor([[1.0, 0.7], [8.0, 0.7]]), 1).tolist()
    [[1.0, 0.6666666865348816], [8.0, 0.0]]
    """
    most = wide(largest(value, axes), value)
    share = torch.exp2((converter.limit / most).log2_().floor_().clamp_(0, HALVINGS))
    return converter(value * share).div_(share)


@dataclass(frozen=True)
class Spread:
    """How much the parts of a periphery differ over a chip: standard deviations, all zero if ideal.

    ``line_gain``: of each line's driver and sense amplifier, relative, the same both ways;
    ``neuron_gain``: relative; ``neuron_offset``: a current into each neuron, in units of its state;
    ``drive_offset``: of each input line's driver, in units of its full scale; ``sense_offset``:
    what is seen of a state beside what it is; ``mismatch``: of each cell in a transposed read
    relative to the forward one, ``W^T (1 + delta)``; ``line_mismatch``: of each driven line there.
    """

    line_gain: float = 0.0
    neuron_gain: float = 0.0
    neuron_offset: float = 0.0
    drive_offset: float = 0.0
    sense_offset: float = 0.0
    mismatch: float = 0.0
    line_mismatch: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a spread that is none."""
        for each in fields(self):
            value = getattr(self, each.name)
            if not (value >= 0 and math.isfinite(value)):
                raise InputError(f"{each.name} must be zero or positive, but is {value}")


@dataclass(frozen=True)
class Partial:
    """How a coupling lies on ``rows`` by ``columns`` tiles whose sums are converted one by one.

    ``limit``: range of the converters of partial sums, in units of state.
    """

    rows: int
    columns: int
    limit: float


def draw_lines(
    spread: Spread,
    shape: tuple[int, ...],
    generator: Generator,
    bias: bool = True,
    device: torch.device | None = None,
) -> Lines:
    """Draw the lines of a coupling of ``shape``, ``(*chips, post, pre + 1)``, on ``device``.

    Without ``bias`` there is no bias line, and the shape is ``(*chips, post, pre)``. Normal, gains
    cut at 10 % of their mean. Every part is drawn whatever its spread, so that one chip keeps its
    draw from one severity to the next.

    >>> draw_lines(Spread(), (4, 3, 6), torch.Generator()).back is None
    True
    """
    *chips, post, lines = shape
    inputs = lines - bias

    def drawn(sd: float, *size: int) -> Tensor:
        return sd * normal((*chips, *size), generator, device)

    def gain(sd: float, *size: int) -> Tensor:
        return (1 + drawn(sd, *size)).clamp_min(0.1)

    parts = [
        (spread.line_gain, gain(spread.line_gain, post)),
        (spread.line_gain, gain(spread.line_gain, lines)),
        (spread.neuron_gain, gain(spread.neuron_gain, post)),
        (spread.neuron_offset, drawn(spread.neuron_offset, post)),
        (spread.sense_offset, drawn(spread.sense_offset, post)),
        (spread.drive_offset, drawn(spread.drive_offset, inputs)),
    ]
    back = 1 + drawn(spread.mismatch, post, inputs)
    back = back * (1 + drawn(spread.line_mismatch, post)).unsqueeze(-1)
    parts.append((spread.mismatch + spread.line_mismatch, back))
    return Lines(*(part if asked else None for asked, part in parts))


@dataclass(frozen=True)
class Periphery:
    """The periphery of a chip: ``dac_bits`` drive lines, ``adc_bits`` sense states.

    Neither is converted where its bits are 0 or None.
    ``output_limit`` is the range of an unbounded output, in units of its state; ``drive_limit``
    that of a driven line; ``sense_range`` scales the range of every bounded state. ``lines`` were
    drawn for each joint, or are ideal. ``partial``: how each joint's tiles are added after
    conversion, None for a joint on no tiles; where it is empty, their currents add.

    ``output_range``: whether what is unbounded is always converted in the range of its limit, or
    ``measured``, in that range halved as often as a sample's values let it be. ``contrast``: nudged
    states are ``converted`` as free ones are; or, ``sampled``, free ones are also held, and what is
    converted of a nudged phase is how far it moved from there, always in a range that is measured:
    offsets of the sense amplifiers stay behind. ``hold_noise``: the standard deviation of what is
    sampled once, over the full scale of its line. ``rounding``: whether nudges are driven at the
    ``nearest`` level, or at one of the two about them, at ``random``, so that they are right on
    average; the same for all nudges from one free phase.
    """

    dac_bits: int | None = None
    adc_bits: int | None = None
    output_limit: float = 20.0
    drive_limit: float = 1.0
    sense_range: float = 1.0
    lines: tuple[Lines, ...] = ()
    partial: tuple[Partial | None, ...] = ()
    output_range: Literal["fixed", "measured"] = "fixed"
    contrast: Literal["converted", "sampled"] = "converted"
    hold_noise: float = 0.0
    rounding: Literal["nearest", "random"] = "nearest"

    def __post_init__(self) -> None:
        """Refuse converters that cannot be built, and what does nothing without them."""
        _refuse_bits("dac_bits", self.dac_bits)
        _refuse_bits("adc_bits", self.adc_bits)
        for name, usual in (("output_range", "fixed"), ("contrast", "converted")):
            if getattr(self, name) != usual and not self.adc_bits:
                raise InputError(
                    f"{name} {getattr(self, name)} does nothing where states are read exactly: "
                    f"leave it at {usual}, or give output converters (adc_bits)"
                )
        if self.rounding != "nearest" and not self.dac_bits:
            raise InputError(
                f"rounding {self.rounding} does nothing where nudges are driven exactly: leave it "
                "at nearest, or give input converters (dac_bits)"
            )
        if not (self.hold_noise >= 0 and math.isfinite(self.hold_noise)):
            raise InputError(f"hold_noise must be zero or positive, but is {self.hold_noise}")

    @property
    def exact(self) -> bool:
        """Whether states are seen as they are."""
        offsets = any(line.sensed is not None for line in self.lines)
        return not (self.dac_bits or self.adc_bits or offsets or any(self.partial))

    @property
    def sampled(self) -> bool:
        """Whether displacements are converted."""
        return self.contrast == "sampled"

    @property
    def drawing(self) -> bool:
        """Whether settlings draw numbers at random, of cells that do not fluctuate too."""
        return self.sampled or self.rounding == "random"

    @property
    def still(self) -> Periphery:
        """The same lines, without converters."""
        return Periphery(lines=self.lines)

    @property
    def settings(self) -> dict[str, str]:
        """All that was not drawn, and which parts of the lines were, as text."""
        held = {f.name: repr(getattr(self, f.name)) for f in fields(self) if f.name != "lines"}
        return {**held, "lines": ", ".join(self.state())}

    def state(self) -> dict[str, Tensor]:
        """Return what the lines were drawn to be, by coupling and part."""
        drawn = {(i, f.name): getattr(own, f.name)
                 for i, own in enumerate(self.lines) for f in fields(own)}  # fmt: skip
        return {f"lines.{i}.{name}": part for (i, name), part in drawn.items() if part is not None}

    def restored(self, state: Mapping[str, Tensor]) -> Periphery:
        """Return the periphery with the lines that ``state`` holds."""
        return replace(self, lines=tuple(
            Lines(*(state.get(f"lines.{i}.{f.name}") for f in fields(Lines)))
            for i in range(len(self.lines))
        ))  # fmt: skip

    def check(self, ends: Sequence[tuple[int, ...]]) -> None:
        """Raise ``InputError`` where it fits no network whose joints have these ``ends``.

        Neurons with gains or offsets of their own belong to the lines of one joint, the only one
        that reaches their layer from below; the drivers of the input, to the lines of one joint.
        """
        for name, given in (("lines", self.lines), ("partial", self.partial)):
            if given and len(given) != len(ends):
                raise InputError(f"{name} must be one per joint, {len(ends)}, but are {len(given)}")
        for line, own in zip(self.lines, ends, strict=False):
            if line.neurons and sum(own[-1] in (other[1:] or other) for other in ends) > 1:
                raise InputError(
                    f"lines of the joint of layers {own} have neurons with gains or offsets of "
                    f"their own, but other joints reach layer {own[-1]} too"
                )
        inputs = [line.driven for line, own in zip(self.lines, ends, strict=False) if 0 in own]
        if sum(driven is not None for driven in inputs) > 1:
            raise InputError("lines of one joint alone can have drive offsets of the input")

    def line(self, index: int) -> Lines:
        """Return the lines of joint ``index``."""
        return self.lines[index] if self.lines else Lines()

    def neurons(self, ends: Sequence[tuple[int, ...]], layer: int) -> Lines:
        """Return the lines that hold the neurons of ``layer``, counted from 1; else ideal ones."""
        joints = zip(self.lines, ends, strict=False)
        return next((line for line, own in joints if line.neurons and own[-1] == layer), Lines())

    def below(self, index: int, ends: Sequence[tuple[int, ...]]) -> Tensor | None:
        """Return the gains of the neurons of the lower layer of joint ``index``, None for one."""
        lower = ends[index][0]
        return self.neurons(ends, lower).neuron if self.lines and lower else None

    def asks(self, index: int) -> str | None:
        """Return what of it needs joint ``index`` to lie on an array, None where nothing does."""
        if self.lines and not self.lines[index].ideal:
            return "lines that were drawn"
        return "converted partial sums" if self.partial and self.partial[index] else None

    def couple(self, index: int, matrix: Matrix, below: Tensor | None) -> Coupling:
        """Return the matrix of joint ``index`` as its lines and converters make it.

        ``below``: gains of the neurons of the lower layer, ``(*chips, pre)``.
        """
        coupling = self.line(index).couple(matrix, below)
        own = self.partial[index] if self.partial else None
        if own is None:
            return coupling
        if not isinstance(coupling, Matrix):
            raise InputError(
                "converted partial sums cannot be combined with a transposed read that differs "
                "from the forward one (mismatch, or gains of neurons)"
            )
        return Digitised(coupling, own.rows, own.columns, Converter(self.adc_bits, own.limit))

    def put(self, x: Tensor, ends: Sequence[tuple[int, ...]], shape: tuple[int, ...]) -> Tensor:
        """Return the input, of ``shape`` per sample, converted, and with each driver's offset."""
        joints = zip(self.lines, ends, strict=False)
        offsets = [line.driven for line, own in joints if 0 in own and line.driven is not None]
        x = self.drive(x)
        return x + offsets[0].unsqueeze(-2).unflatten(-1, shape) if offsets else x

    def drive(self, value: Tensor) -> Tensor:
        """Return the activities (at most one) as the input converters put them on the lines."""
        return Converter(self.dac_bits, self.drive_limit)(value)

    def nudge(self, value: Tensor, draws: Generator | None) -> Tensor:
        """Return what is driven of a nudge; ``draws`` rounds at random, where that is asked for."""
        converter = Converter(self.dac_bits, self.drive_limit)
        if draws is not None and self.rounding == "random":
            chance = uniform(tuple(value.shape), draws, value.device).to(value.dtype)
            value = value + converter.step * (chance - 0.5)
        return converter(value)

    def sense(
        self, value: Tensor, bound: float | None, axes: int, offset: Tensor | None = None
    ) -> Tensor:
        """Return states as the output converters see them; ``bound`` is their law's limit.

        ``axes`` axes in front number chips and samples. ``offset``: of their sense amplifiers,
        ``(*chips, units)``; it comes before the converter.
        """
        value = value if offset is None else value + offset.unsqueeze(-2)
        converter = self._converter(bound)
        if bound is None and self.output_range == "measured":
            return ranged(converter, value, axes)
        return converter(value)

    def moved(
        self, change: Tensor, bound: float | None, axes: int, held: Generator, own: Generator
    ) -> Tensor:
        """Return how far states are seen to have moved from those that were held.

        ``held`` draws what the capacitors hold beside the free states, ``own`` what the nudged
        ones are sampled with, and as much again of the amplifier (ours).
        """
        one = self._converter(bound)
        if self.hold_noise:
            for draws, many in ((held, 1.0), (own, 2.0)):
                drawn = normal(change.shape, draws, change.device, change.dtype)
                change = change + one.limit * self.hold_noise * many**0.5 * drawn
        return ranged(Converter(one.bits, 2 * one.limit), change, axes)

    def _converter(self, bound: float | None) -> Converter:
        limit = self.output_limit if bound is None else self.sense_range * bound
        return Converter(self.adc_bits, limit)
