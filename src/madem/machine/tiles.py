"""Layers larger than one array, cut into tiles."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import pad

from madem.errors import InputError


@dataclass(frozen=True)
class Tiles:
    """An array of ``words`` by ``bits`` lines, cut into tiles of at most ``lines`` by ``lines``.

    All tiles are of one size, ``height`` by ``width``; what is missing in the first row and in the
    last column of tiles are lines without cells, away from drivers and sense inputs.

    >>> import torch
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
