"""How a network lies on arrays of a given size, or the arithmetic that shows why it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from madem.errors import InputError
from madem.machine.tiles import Tiles

Side = Literal["arrays", "outputs", "inputs"]
"""Where the two cells of a pair lie: on two arrays, or side by side along one side of an array."""

TURNED: dict[Side, Side] = {"arrays": "arrays", "outputs": "inputs", "inputs": "outputs"}
"""The side along which pairs lie where words and bits change places."""


def paired(plus: Tensor, minus: Tensor, side: Side) -> Tensor:
    """Return both cells of all pairs, ``(*any, words, bits)`` each, as the arrays they lie on.

    Two arrays, or one with the pairs along ``side``: ``(count, *any, words, bits)``.

    >>> paired(torch.ones(1, 2), torch.zeros(1, 2), "outputs")
    tensor([[[1., 0., 1., 0.]]])
    """
    if side == "arrays":
        return torch.stack([plus, minus])
    axis = -1 if side == "outputs" else -2
    return torch.stack([plus, minus], axis).flatten(axis - 1, axis)[None]


def unpaired(arrays: Tensor, side: Side) -> tuple[Tensor, Tensor]:
    """Return what ``paired`` was given."""
    if side != "arrays":
        axis = -1 if side == "outputs" else -2
        arrays = arrays[0].unflatten(axis, (-1, 2)).movedim(axis, 0)
    plus, minus = arrays
    return plus, minus


@dataclass(frozen=True)
class Placement:
    """One coupling on the chip: ``post`` outputs by ``pre`` lines, the bias line included.

    Its pairs lie along ``side``, on the arrays numbered ``arrays``; on ``tiles``, one an array,
    where it is larger than one.
    """

    post: int
    pre: int
    side: Side
    arrays: tuple[int, ...]
    tiles: Tiles | None = None

    @property
    def drives(self) -> int:
        """Lines driven in a forward read, each with its own converter."""
        return 2 * self.pre if self.side == "inputs" else self.pre

    @property
    def cells(self) -> int:
        """Memristors used."""
        return 2 * self.post * self.pre

    def cell(self, half: int, post: int, pre: int) -> tuple[int, int, int]:
        """Return array, row and column of the cell of a weight, ``half`` 0 for plus, 1 for minus.

        >>> Placement(31, 61, "outputs", (0,)).cell(1, 3, 5)
        (0, 5, 7)
        """
        if self.side == "arrays":
            return self.arrays[half], pre, post
        if self.side == "outputs":
            return self.arrays[0], pre, 2 * post + half
        return self.arrays[0], 2 * pre + half, post


def place(shapes: Sequence[tuple[int, int]], arrays: int = 2, lines: int = 64) -> list[Placement]:
    """Return where each coupling of shape ``(post, pre + bias)`` lies on ``lines x lines`` arrays.

    A single coupling uses two arrays as G+ and G-; several take one array each, with the pair
    along the outputs where that fits, else along the inputs. Raises ``InputError`` with the
    arithmetic where a network does not fit.

    >>> [p.side for p in place([(31, 61), (60, 32)])]
    ['outputs', 'inputs']
    >>> place([(40, 61), (32, 41)])
    Traceback (most recent call last):
    ...
    madem.errors.InputError: layer 1 does not fit a 64 x 64 array: 61 lines by 40 outputs need \
61 x 80 with pairs along the outputs or 122 x 40 with pairs along the inputs: take arrays of \
80 lines (machine.lines)
    """
    if len(shapes) == 1 and arrays >= 2:
        post, pre = shapes[0]
        if post <= lines and pre <= lines:
            return [Placement(post, pre, "arrays", (0, 1))]
        raise InputError(
            f"layer 1 does not fit two {lines} x {lines} arrays: {pre} lines by {post} outputs "
            f"need {pre} x {post} on each: take arrays of {max(pre, post)} lines (machine.lines)"
        )
    if len(shapes) > arrays:
        raise InputError(
            f"{len(shapes)} layers need {len(shapes)} arrays, one each, but the chip has {arrays}"
        )
    placed = []
    for index, (post, pre) in enumerate(shapes):
        if pre <= lines and 2 * post <= lines:
            side: Side = "outputs"
        elif 2 * pre <= lines and post <= lines:
            side = "inputs"
        else:
            enough = min(max(pre, 2 * post), max(2 * pre, post))
            raise InputError(
                f"layer {index + 1} does not fit a {lines} x {lines} array: {pre} lines by {post} "
                f"outputs need {pre} x {2 * post} with pairs along the outputs "
                f"or {2 * pre} x {post} with pairs along the inputs: take arrays of {enough} lines "
                "(machine.lines)"
            )
        placed.append(Placement(post, pre, side, (index,)))
    return placed


def lay_on(shapes: Sequence[tuple[int, int]], arrays: int, lines: int) -> list[Placement]:
    """Return where each coupling lies: as ``place`` has it or, where one is too large, on tiles.

    A layer on tiles has its pairs along the outputs, and an array for every tile. Raises
    ``InputError`` with the arithmetic where there are too few arrays.

    >>> [p.arrays for p in lay_on([(40, 61), (10, 41)], 3, 64)]
    [(0, 1), (2,)]
    """
    try:
        return place(shapes, arrays, lines)
    except InputError as error:
        whole, reason = [Tiles(pre, 2 * post, lines) for post, pre in shapes], error
    counts = [tiles.rows * tiles.columns for tiles in whole]
    if sum(counts) > arrays:
        raise InputError(
            f"{reason}, or at least {sum(counts)} arrays of {lines} x {lines} for all tiles "
            f"(machine.arrays), of which there are {arrays}"
        )
    firsts = [sum(counts[:i]) for i in range(len(counts))]
    return [
        Placement(post, pre, "outputs", tuple(range(first, first + count)), tiles)
        for (post, pre), tiles, first, count in zip(shapes, whole, firsts, counts, strict=True)
    ]


def lay_out(placements: Sequence[Placement], pairs: Sequence[Tensor], lines: int = 64) -> Tensor:
    """Return the conductances as they lie on the chip, S, NaN where a cell is unused.

    ``pairs`` holds for each coupling its cells, shape ``(2, *chips, post, pre)``; the result has
    the shape ``(*chips, arrays, lines, lines)``, rows being the lines driven in a forward read.

    >>> lay_out(place([(32, 61)]), [torch.zeros(2, 16, 32, 61)]).shape
    torch.Size([16, 2, 64, 64])
    """
    count = 1 + max(array for placement in placements for array in placement.arrays)
    chips = pairs[0].shape[1:-2]
    out = torch.full((*chips, count, lines, lines), float("nan"), dtype=pairs[0].dtype,
                     device=pairs[0].device)  # fmt: skip
    for placement, pair in zip(placements, pairs, strict=True):
        plus, minus = pair.mT
        fields = paired(plus, minus, placement.side)
        if placement.tiles is not None:
            fields = placement.tiles.cut(fields[0])
        for array, field in zip(placement.arrays, fields, strict=True):
            out[..., array, : field.shape[-2], : field.shape[-1]] = field
    return out
