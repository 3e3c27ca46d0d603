"""A matrix on an array: what lines, converters and read noise make of its two reads.

All of this is of an array, and an array holds a matrix: of another coupling none of it can be.
An amplifier is in front of the array (``behind``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from madem.network import Amplifier, Coupling, Matrix
from madem.network.couplings import Around, Shape, flat

WHITE = 2
"""From here on ``Fluctuating.draw`` draws for the floor of an end."""


def behind(coupling: Coupling, change: Callable[[Coupling], Coupling]) -> Coupling:
    """Return ``coupling`` with ``change`` done to what lies behind its amplifiers.

    >>> one, off = (Matrix(torch.full((1, 1), value)) for value in (1.0, 0.0))
    >>> two = behind(Amplifier(one, 2.0, 1.0), lambda _: off)
    >>> two.pull(1, [torch.ones(1, 1)] * 2).item()
    0.0
    """
    if type(coupling) is Amplifier:
        return replace(coupling, coupling=behind(coupling.coupling, change))
    return change(coupling)


def array_of(coupling: Coupling) -> Coupling:
    """Return what lies behind the amplifiers of ``coupling``."""
    while type(coupling) is Amplifier:
        coupling = coupling.coupling
    return coupling


@dataclass(frozen=True)
class Lopsided(Around):
    """A matrix whose transposed read is not the transpose of its forward one.

    ``coupling`` pulls on the upper layer, ``back`` on the lower one. There is no energy in general;
    ``energy`` is that of the forward read.

    >>> two = Lopsided(Matrix(torch.tensor([[2.0]])), Matrix(torch.tensor([[3.0]])))
    >>> two.pull(1, [torch.ones(1, 1)] * 2).item(), two.pull(0, [torch.ones(1, 1)] * 2).item()
    (2.0, 3.0)
    """

    coupling: Matrix
    back: Matrix

    def pull(self, end: int, states: Sequence[Tensor]) -> Tensor:
        """Return the pull of the forward or of the transposed read."""
        return (self.coupling if end == 1 else self.back).pull(end, states)

    def displaced(self, at: Sequence[Tensor]) -> Lopsided:
        """Return itself without the bias."""
        return Lopsided(self.coupling.displaced(at), self.back)


@dataclass(frozen=True)
class Digitised(Around):
    """A matrix on tiles whose partial sums are converted before they are added.

    ``rows``, ``columns``: tiles along outputs and inputs; ``converter`` of every partial sum, in
    units of state. Sums added as currents need no such thing: they are the matrix's own. Its energy
    is the matrix's, since converted sums have none of their own.

    >>> from madem.machine import Converter
    >>> matrix = Matrix(torch.tensor([[0.3, 0.3]]))
    >>> halves = Digitised(matrix, 2, 1, Converter(2, 1.0))  # levels at -1, 0 and 1
    >>> halves.pull(1, [torch.ones(1, 2), torch.zeros(1, 1)]).item()
    0.0
    """

    coupling: Matrix
    rows: int
    columns: int
    converter: Callable[[Tensor], Tensor]

    def pull(self, end: int, states: Sequence[Tensor]) -> Tensor:
        """Return the sum of converted partial sums."""
        parts = [torch.matmul(s, w.mT) for s, w in self.split(end, states)]
        return self.total(end, torch.stack(parts))

    def split(self, end: int, states: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Return what drives each tile of a read into ``end``, and the weights that it meets."""
        weight = self.coupling.weight if end == 1 else self.coupling.weight.mT
        driven = flat(states[0], self.coupling.shape) if end == 1 else states[1]
        size = -(-driven.shape[-1] // (self.rows if end == 1 else self.columns))
        return list(zip(driven.split(size, -1), weight.split(size, -1), strict=True))

    def total(self, end: int, parts: Tensor) -> Tensor:
        """Return the sum of the partial sums ``parts``, a tile after another, once converted."""
        found = self.converter(parts).sum(0)
        shape = self.coupling.shape
        return found.unflatten(-1, shape) if end == 0 and shape else found


@dataclass(frozen=True)
class Lines:
    """What the lines of one coupling were drawn to be, chips first.

    ``post``, ``pre``: gains of the lines, ``(*chips, post)`` and ``(*chips, pre + 1)``; ``neuron``,
    ``offset``, ``sensed``: gain, current and sense offset of each neuron above, ``(*chips, post)``;
    ``driven``: offset of each line below, ``(*chips, pre)``, of lines from the input alone;
    ``back``: what the transposed read sees of each weight, relative, ``(*chips, post, pre)``. None
    is ideal.
    """

    post: Tensor | None = None
    pre: Tensor | None = None
    neuron: Tensor | None = None
    offset: Tensor | None = None
    sensed: Tensor | None = None
    driven: Tensor | None = None
    back: Tensor | None = None

    @property
    def ideal(self) -> bool:
        """Whether nothing differs from chip to chip."""
        return all(getattr(self, each.name) is None for each in fields(self))

    @property
    def neurons(self) -> bool:
        """Whether the neurons above differ from chip to chip."""
        return not (self.neuron is None and self.offset is None and self.sensed is None)

    def drive(self, end: int, state: Tensor) -> Tensor:
        """Return activities at the other end of a read into ``end`` as their lines drive cells."""
        if self.post is None or self.pre is None:
            return state
        gain = self.pre[..., : state.shape[-1]] if end == 1 else self.post
        return state * gain.unsqueeze(-2)

    def sense(self, end: int, units: int, below: Tensor | None) -> Tensor | None:
        """Return the gain with which ``units`` at ``end`` sense a current; None for one."""
        line = self.post if end == 1 else None if self.pre is None else self.pre[..., :units]
        parts = [p for p in (line, self.neuron if end == 1 else below) if p is not None]
        return math.prod(parts[1:], start=parts[0]).unsqueeze(-2) if parts else None

    def couple(self, matrix: Matrix, below: Tensor | None) -> Coupling:
        """Return ``matrix`` as these lines and the gains ``below`` of the lower neurons make it."""
        weight, bias = matrix.weight, matrix.bias
        if self.post is not None and self.pre is not None:
            pre = self.pre[..., None, : weight.shape[-1]]
            weight = weight * self.post.unsqueeze(-1) * pre
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
class Fluctuating(Around):
    """A matrix whose weights differ a little in every settling, and not within one.

    Independent fluctuations of ``sigma`` a weight add to a read of ``s`` a normal current of
    ``sigma |s|``, which is drawn instead of every cell's own: the distribution is the same.
    ``sigma`` is one number or one per chip, ``(*chips, 1, 1)``.
    ``biased``: whether a bias line is read with the others; ``shape``: that of the lower layer
    where it is not flat; ``line``, ``below``: the gains that cells are driven and sensed with.
    ``floor``: what the lines of the lower and of the upper layer add whatever they are driven with.
    ``draw``: standard normal numbers like a tensor, for reads into an end and, from ``WHITE`` on,
    for their floor; ``draws`` keeps them, so that all sweeps of one settling feel the same chip.
    ``turns``: whether what is drawn for transposed reads turns with the drive of the upper layer.
    """

    sigma: float | Tensor
    draw: Callable[[int, Tensor], Tensor]
    biased: bool = True
    shape: Shape = ()
    line: Lines = Lines()
    below: Tensor | None = None
    floor: tuple[Tensor, Tensor] | None = None
    turns: bool = False
    draws: dict[int, Tensor] = field(default_factory=dict)

    def pull(self, end: int, states: Sequence[Tensor]) -> Tensor:
        """Return the pull, with the fluctuation of the lines driven and of the bias line."""
        if type(self.coupling) is Digitised:
            return self._digitised(self.coupling, end, states)
        pull = self.coupling.pull(end, states)
        if end == 1:
            return self.disturb(1, pull, self.squares(1, states[0]))
        pull = flat(pull, self.shape)
        found = self.disturb(0, pull, self.squares(0, states[1]), self._turned(0, states[1]))
        return found.unflatten(-1, self.shape) if self.shape else found

    def squares(self, end: int, driven: Tensor) -> Tensor:
        """Return the squared length of the drive that every line into ``end`` reads, but the bias.

        ``(*chips, batch, 1)``, or a number for each line where cells differ in their return.
        """
        driven = flat(driven, self.shape) if end == 1 else driven
        squares = self.line.drive(end, driven).square()
        if end == 0 and self.line.back is not None:
            return squares @ self.line.back.square()
        return squares.sum(-1, keepdim=True)

    def disturb(
        self, end: int, pull: Tensor, squares: Tensor, turned: Tensor | float = 1.0
    ) -> Tensor:
        """Return ``pull`` with the fluctuation that lines of ``squares`` add, and the bias line."""
        if self.biased and end == 1:
            squares = squares + self._bias
        gain = self.line.sense(end, pull.shape[-1], self.below)
        sigma = self.sigma if gain is None else self.sigma * gain
        found = (sigma * turned * squares.sqrt() * self._drawn(end, pull)).add_(pull)
        return found if self.floor is None else found.add_(self._floor(end, pull, gain))

    def _turned(self, end: int, driven: Tensor) -> Tensor | float:
        """Return the sign of a drive: that of its largest, so that opposite drives have opposite.

        What a cell still adds under the opposite drive is the opposite current.
        """
        if end == 1 or not self.turns:
            return 1.0
        return driven.gather(-1, driven.abs().argmax(-1, keepdim=True)).sign()

    def _drawn(self, of: int, like: Tensor) -> Tensor:
        """Return what was drawn for reads into an end, or for their floor."""
        if of not in self.draws:
            self.draws[of] = self.draw(of, like)
        return self.draws[of]

    def _floor(self, end: int, like: Tensor, gain: Tensor | None) -> Tensor:
        """Return the noise of the lines themselves."""
        assert self.floor is not None
        size = self.floor[end][..., : like.shape[-1]].unsqueeze(-2)
        return (size if gain is None else size * gain) * self._drawn(WHITE + end, like)

    @property
    def _bias(self) -> Tensor | float:
        """The square of what drives the bias line."""
        pre = self.line.pre
        return 1.0 if pre is None else pre[..., None, -1:].square()

    def _digitised(self, tiles: Digitised, end: int, states: Sequence[Tensor]) -> Tensor:
        """Return the pull of tiles, each of which fluctuates before its sum is converted."""
        parts = tiles.split(end, states)
        sums = torch.stack([torch.matmul(s, w.mT) for s, w in parts])
        driven = self.line.drive(end, torch.cat([s for s, _ in parts], -1))
        driven = driven.split([s.shape[-1] for s, _ in parts], -1)
        biased = self.biased and end == 1
        gain = self.line.sense(end, sums.shape[-1], self.below)
        drawn = self._drawn(end, sums.new_empty(len(parts) + biased, *sums.shape[1:]))
        drawn = drawn * (self.sigma if gain is None else self.sigma * gain)
        if self.floor is not None:  # each tile has its share of the line
            sums = sums + self._floor(end, sums, gain) / len(parts) ** 0.5
        rough = [
            s.norm(dim=-1, keepdim=True) * self._turned(end, s) * z
            for s, z in zip(driven, drawn, strict=False)
        ]
        found = tiles.total(end, sums + torch.stack(rough))
        return found + drawn[-1] * torch.as_tensor(self._bias).sqrt() if biased else found
