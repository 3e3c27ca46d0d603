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

import torch
from torch import Generator, Tensor

from madem.errors import InputError
from madem.network import Coupling, Matrix
from madem.network.couplings import Moves


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
class Lines:
    """What the lines of one coupling were drawn to be, chips first.

    ``post``, ``pre``: gains of the lines, ``(*chips, post)`` and ``(*chips, pre + 1)``; ``neuron``,
    ``offset``, ``sensed``: gain, current and sense offset of each neuron above, ``(*chips, post)``;
    ``driven``: offset of each line below, ``(*chips, pre)``; ``back``: what the transposed read
    sees of each weight, relative, ``(*chips, post, pre)``. None is ideal.
    """

    post: Tensor | None = None
    pre: Tensor | None = None
    neuron: Tensor | None = None
    offset: Tensor | None = None
    sensed: Tensor | None = None
    driven: Tensor | None = None
    back: Tensor | None = None

    def couple(self, matrix: Matrix, below: Tensor | None) -> Coupling:
        """Return ``matrix`` as these lines and the gains ``below`` of the lower neurons make it."""
        weight, bias = matrix.weight, matrix.bias
        if self.post is not None and self.pre is not None:
            weight = weight * self.post.unsqueeze(-1) * self.pre[..., None, :-1]
            bias = None if bias is None else bias * self.post * self.pre[..., -1:].expand_as(bias)
        returned = weight if self.back is None else weight * self.back
        if below is not None:
            returned = returned * below.unsqueeze(-2)
        if self.neuron is not None:
            weight = weight * self.neuron.unsqueeze(-1)
            bias = None if bias is None else bias * self.neuron
        if self.offset is not None:
            bias = self.offset if bias is None else bias + self.offset
        forward = Matrix(weight, bias, matrix.shape)
        if returned is weight:
            return forward
        return Lopsided(forward, Matrix(returned, None, matrix.shape))


@dataclass(frozen=True)
class Lopsided:
    """A matrix whose transposed read is not the transpose of its forward one.

    ``forward`` pulls on the upper layer, ``back`` on the lower one. There is no energy in general;
    ``energy`` is that of the forward read.

    >>> two = Lopsided(Matrix(torch.tensor([[2.0]])), Matrix(torch.tensor([[3.0]])))
    >>> two.pull(1, [torch.ones(1, 1)] * 2).item(), two.pull(0, [torch.ones(1, 1)] * 2).item()
    (2.0, 3.0)
    """

    forward: Matrix
    back: Matrix

    def felt(self, end: int) -> tuple[int, ...]:
        """Return the other end."""
        return (1 - end,)

    def pull(self, end: int, states: Sequence[Tensor]) -> Tensor:
        """Return the pull of the forward or of the transposed read."""
        return self.forward.pull(1, states) if end == 1 else self.back.pull(0, states)

    def constant(self, end: int) -> Tensor | None:
        """Return the bias."""
        return self.forward.constant(end)

    def curvature(self, end: int) -> float:
        """Return zero."""
        del end
        return 0.0

    def energy(self, states: Sequence[Tensor]) -> Tensor:
        """Return the energy that the forward read would have."""
        return self.forward.energy(states)

    def contrast(self, moves: Moves) -> tuple[Tensor, ...]:
        """Return the contrast of activities, which does not read the weights."""
        return self.forward.contrast(moves)

    def displaced(self, at: Sequence[Tensor]) -> Lopsided:
        """Return itself without the bias."""
        return Lopsided(self.forward.displaced(at), self.back)


@dataclass(frozen=True)
class Digitised:
    """A matrix on tiles whose partial sums are converted before they are added.

    ``rows``, ``columns``: tiles along outputs and inputs; ``converter`` of every partial sum, in
    units of state. Sums added as currents need no such thing: they are the matrix's own.

    >>> matrix = Matrix(torch.tensor([[0.3, 0.3]]))
    >>> halves = Digitised(matrix, 2, 1, Converter(2, 1.0))  # levels at -1, 0 and 1
    >>> halves.pull(1, [torch.ones(1, 2), torch.zeros(1, 1)]).item()
    0.0
    """

    matrix: Matrix
    rows: int
    columns: int
    converter: Converter

    def felt(self, end: int) -> tuple[int, ...]:
        """Return what the matrix feels."""
        return self.matrix.felt(end)

    def pull(self, end: int, states: Sequence[Tensor]) -> Tensor:
        """Return the sum of converted partial sums."""
        weight = self.matrix.weight if end == 1 else self.matrix.weight.mT
        driven, count = states[1 - end], self.rows if end == 1 else self.columns
        size = -(-driven.shape[-1] // count)
        parts = zip(driven.split(size, -1), weight.split(size, -1), strict=True)
        return torch.stack([self.converter(torch.matmul(s, w.mT)) for s, w in parts]).sum(0)

    def constant(self, end: int) -> Tensor | None:
        """Return the matrix's bias."""
        return self.matrix.constant(end)

    def curvature(self, end: int) -> float:
        """Return the matrix's."""
        return self.matrix.curvature(end)

    def energy(self, states: Sequence[Tensor]) -> Tensor:
        """Return the energy of the matrix: converted sums have none of their own."""
        return self.matrix.energy(states)

    def contrast(self, moves: Moves) -> tuple[Tensor, ...]:
        """Return the contrast of activities, which does not read the weights."""
        return self.matrix.contrast(moves)

    def displaced(self, at: Sequence[Tensor]) -> Coupling:
        """Return the matrix's."""
        return self.matrix.displaced(at)


@dataclass(frozen=True)
class Partial:
    """How a coupling lies on ``rows`` by ``columns`` tiles whose sums are converted one by one.

    ``limit``: range of the converters of partial sums, in units of state.
    """

    rows: int
    columns: int
    limit: float


def draw_lines(spread: Spread, shape: tuple[int, ...], generator: Generator) -> Lines:
    """Draw the lines of a coupling of ``shape``, ``(*chips, post, pre + 1)``.

    Normal, gains cut at 10 % of their mean. Every part is drawn whatever its spread, so that one
    chip keeps its draw from one severity to the next.

    >>> draw_lines(Spread(), (4, 3, 6), torch.Generator()).back is None
    True
    """
    *chips, post, lines = shape

    def drawn(sd: float, *size: int) -> Tensor:
        return sd * torch.randn(*chips, *size, generator=generator)

    def gain(sd: float, *size: int) -> Tensor:
        return (1 + drawn(sd, *size)).clamp_min(0.1)

    parts: dict[str, Tensor] = {
        "post": gain(spread.line_gain, post),
        "pre": gain(spread.line_gain, lines),
        "neuron": gain(spread.neuron_gain, post),
        "offset": drawn(spread.neuron_offset, post),
        "sensed": drawn(spread.sense_offset, post),
        "driven": drawn(spread.drive_offset, lines - 1),
    }
    cells = drawn(spread.mismatch, post, lines - 1)
    parts["back"] = (1 + cells) * (1 + drawn(spread.line_mismatch, post)).unsqueeze(-1)
    asked = {
        "post": spread.line_gain,
        "pre": spread.line_gain,
        "neuron": spread.neuron_gain,
        "offset": spread.neuron_offset,
        "sensed": spread.sense_offset,
        "driven": spread.drive_offset,
        "back": spread.mismatch + spread.line_mismatch,
    }
    return Lines(*(parts[name] if asked[name] else None for name in asked))


@dataclass(frozen=True)
class Periphery:
    """The periphery of a chip: ``dac_bits`` drive lines, ``adc_bits`` sense states.

    ``output_limit`` is the range of an unbounded output, in units of its state; ``drive_limit``
    that of a driven line; ``sense_range`` scales the range of every bounded state. ``lines`` were
    drawn for each coupling, or are ideal. ``partial``: how each coupling's tiles are added after
    conversion; where it is empty, their currents add.
    """

    dac_bits: int | None = None
    adc_bits: int | None = None
    output_limit: float = 20.0
    drive_limit: float = 1.0
    sense_range: float = 1.0
    lines: tuple[Lines, ...] = ()
    partial: tuple[Partial, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether states are seen as they are."""
        offsets = any(line.sensed is not None for line in self.lines)
        return not (self.dac_bits or self.adc_bits or offsets or self.partial)

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

    def couple(self, index: int, coupling: Coupling) -> Coupling:
        """Return a coupling as its lines make it."""
        if self.lines and isinstance(coupling, Matrix):
            below = self.lines[index - 1].neuron if index else None
            coupling = self.lines[index].couple(coupling, below)
        if not self.partial:
            return coupling
        if not isinstance(coupling, Matrix):
            raise InputError("partial sums are converted of reads that are each other's transpose")
        own = self.partial[index]
        return Digitised(coupling, own.rows, own.columns, Converter(self.adc_bits, own.limit))

    def put(self, x: Tensor) -> Tensor:
        """Return the input as its drivers put it on the lines."""
        driven = self.lines[0].driven if self.lines else None
        x = self.drive(x)
        return x if driven is None else x + driven.unsqueeze(-2)

    def drive(self, value: Tensor) -> Tensor:
        """Return the activities (at most one) as the input converters put them on the lines."""
        return Converter(self.dac_bits, self.drive_limit)(value)

    def sense(self, value: Tensor, bound: float | None) -> Tensor:
        """Return states as the output converters see them; ``bound`` is their law's limit."""
        limit = self.output_limit if bound is None else self.sense_range * bound
        return Converter(self.adc_bits, limit)(value)

    def see(self, index: int, value: Tensor, bound: float | None) -> Tensor:
        """Return the states of the neurons above coupling ``index`` as their converters see them.

        Where a sense amplifier has an offset, it comes before the converter.
        """
        sensed = self.lines[index].sensed if self.lines else None
        return self.sense(value if sensed is None else value + sensed.unsqueeze(-2), bound)
