"""Layers larger than one array, cut into tiles, and how the tiles' partial sums are added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from madem.errors import InputError
from madem.machine.periphery import Converter
from madem.network import Coupling, Matrix
from madem.network.couplings import Displacement


@dataclass(frozen=True)
class Tiles:
    """An array of ``words`` by ``bits`` lines, cut into tiles of at most ``lines`` by ``lines``.

    All tiles are of one size, ``height`` by ``width``; what is missing in the first row and in the
    last column of tiles are lines without cells, away from drivers and sense inputs.

    >>> tiles = Tiles(5, 3, 2)
    >>> tiles.rows, tiles.columns, tiles.cut(torch.ones(5, 3)).shape
    (3, 2, torch.Size([6, 2, 2]))
    >>> Tiles(5, 3, 0)
    Traceback (most recent call last):
    ...
    madem.errors.InputError: tiles of 0 lines cover no layer of 5 x 3 lines: they need at least 2
    """

    words: int
    bits: int
    lines: int

    def __post_init__(self) -> None:
        """Refuse tiles that hold no pair."""
        if self.lines < 2:
            raise InputError(
                f"tiles of {self.lines} lines cover no layer of {self.words} x {self.bits} lines: "
                "they need at least 2"
            )

    @property
    def rows(self) -> int:
        """Tiles along a bit line."""
        return -(-self.words // self.lines)

    @property
    def columns(self) -> int:
        """Tiles along a word line."""
        return -(-self.bits // self.lines)

    @property
    def height(self) -> int:
        """Word lines of a tile."""
        return -(-self.words // self.rows)

    @property
    def width(self) -> int:
        """Bit lines of a tile."""
        return -(-self.bits // self.columns)

    def cut(self, field: Tensor) -> Tensor:
        """Return ``(*any, words, bits)`` as ``(rows * columns, *any, height, width)``."""
        above = self.rows * self.height - self.words
        beyond = self.columns * self.width - self.bits
        whole = pad(field, (0, beyond, above, 0))
        blocks = whole.unflatten(-1, (self.columns, self.width))
        blocks = blocks.unflatten(-3, (self.rows, self.height))
        tiles: Tensor = blocks.movedim((-4, -2), (0, 1)).flatten(0, 1)
        return tiles

    def paste(self, tiles: Tensor) -> Tensor:
        """Return what ``cut`` was given."""
        blocks = tiles.unflatten(0, (self.rows, self.columns)).movedim((0, 1), (-4, -2))
        whole: Tensor = blocks.flatten(-2).flatten(-3, -2)
        return whole[..., self.rows * self.height - self.words :, : self.bits]

    def drive(self, words: Tensor) -> Tensor:
        """Return activities on word lines, ``(*any, words)``, as those of every tile."""
        parts: Tensor = pad(words, (self.rows * self.height - self.words, 0))
        parts = parts.unflatten(-1, (self.rows, self.height)).movedim(-2, 0)
        return parts.repeat_interleave(self.columns, 0)

    def back(self, bits: Tensor) -> Tensor:
        """Return activities on bit lines, ``(*any, bits)``, as those of every tile."""
        parts: Tensor = pad(bits, (0, self.columns * self.width - self.bits))
        parts = parts.unflatten(-1, (self.columns, self.width)).movedim(-2, 0)
        return parts.repeat(self.rows, *[1] * (parts.dim() - 1))


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

    def contrast(
        self,
        at: Sequence[Tensor],
        high: Displacement,
        low: Displacement,
        scale: Tensor | complex | float,
    ) -> tuple[Tensor, ...]:
        """Return the contrast of activities, which does not read the weights."""
        return self.matrix.contrast(at, high, low, scale)

    def displaced(self, at: Sequence[Tensor]) -> Coupling:
        """Return the matrix's."""
        return self.matrix.displaced(at)
