"""Arrays with wires: the weights between their terminals, solved anew or followed from a solve.

The matrix ``A`` of an array changes with one cell by ``dA / dg_k = shares_k drops_k``. Drops are
the voltage across the cell per volt applied at each driver; shares are the current into each sense
input per ampere injected at the cell. By reciprocity the shares are the drops of a transposed read,
so two sets of unit reads give the exact derivative by every cell. A few writes later it is still
right to second order in what they changed; an array is solved anew once they have changed more than
a stated share of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from madem.machine.placement import TURNED, Side, paired, unpaired
from madem.machine.tiles import Tiles
from madem.network import Wires
from madem.network.couplings import Moves
from madem.solver import drops, effective, turned

TOLERANCE = 1e-4
"""Relative residual of the weights that training sees: far below their read noise."""

FOLLOWED = 0.15
"""Share of an array's conductance that may change before it is solved anew: weights are then right
to 1e-3 of the largest, root mean square, a fifth of the default cells' read noise
(``tests/machine/test_wired.py``)."""


@dataclass(frozen=True)
class Wired:
    """Wires of the arrays that hold the pairs, and along which ``side`` of them the pairs lie.

    With ``seen`` the rule contrasts the voltages that the cells see, which is the exact gradient by
    their conductances; else those at the terminals, as if there were no wires.

    A layer of more than ``lines`` lines is cut into tiles, whose currents add.

    The arrays' corner of drivers and sense inputs is the corner of the cells in use. Word lines are
    the lines driven in a forward read, with the same terminations in a transposed one.
    """

    wires: Wires
    side: Side = "arrays"
    seen: bool = False
    lines: int = 1 << 30

    def lay(self, cells: Tensor) -> Tensor:
        """Return ``(2, *chips, post, pre)`` as arrays, ``(count, *chips, words, bits)``."""
        plus, minus = cells.mT
        return self.tiles(*cells.shape[-2:]).cut(paired(plus, minus, self.side)).flatten(0, 1)

    def tiles(self, post: int, pre: int) -> Tiles:
        """Return how the arrays of a layer are cut into tiles."""
        words = 2 * pre if self.side == "inputs" else pre
        return Tiles(words, 2 * post if self.side == "outputs" else post, self.lines)

    def _difference(self, arrays: Tensor, post: int, pre: int) -> Tensor:
        """Return the difference of both cells of every pair, ``(*chips, post, pre)``."""
        count = 2 if self.side == "arrays" else 1
        whole = self.tiles(post, pre).paste(arrays.unflatten(0, (-1, count)))
        plus, minus = unpaired(whole, self.side)
        return (plus - minus).mT

    def join(self, matrix: Tensor, post: int, pre: int) -> Tensor:
        """Return the signed conductances, S, ``(*chips, post, pre)``, of the arrays' ``A``.

        The shape of ``matrix`` is ``(count, *chips, bits, words)``.
        """
        return self._difference(matrix.mT, post, pre)

    def weigh(self, cells: Tensor) -> Tensor:
        """Return the signed conductances between terminals, S, of ``(2, *chips, post, pre)``."""
        return self.join(self.matrix(cells), *cells.shape[-2:])

    def matrix(self, cells: Tensor) -> Tensor:
        """Return ``A`` of the arrays of ``cells``, S, ``(count, *chips, bits, words)``."""
        return effective(self.lay(cells).contiguous(), self.wires, TOLERANCE)

    def worth(self, before: Tensor, after: Tensor) -> bool:
        """Return whether the last write was so small that following it is cheaper than solving."""
        moved = (after - before).abs().sum((-2, -1)) / before.sum((-2, -1))
        return self.seen or bool((moved < FOLLOWED / 5).all())

    def spread(self, weight: Tensor) -> Tensor:
        """Return ``(*chips, post, pre)`` as ``A`` of the arrays: the adjoint of ``join``."""
        whole = paired(weight, -weight, TURNED[self.side]).mT
        return self.tiles(*weight.shape[-2:]).cut(whole).flatten(0, 1).mT

    def halves(self, arrays: Tensor, post: int, pre: int) -> Tensor:
        """Return half the difference of both cells of every pair, ``(*chips, post, pre)``.

        A weight that changes by one moves both by half of it, in opposite directions.
        """
        return self._difference(arrays, post, pre) / 2

    def through(self, solved: Solved, gradient: Tensor) -> Tensor:
        """Return a gradient by the weights between terminals as one by the pairs' own weights."""
        return self.halves(solved.gradient(self.spread(gradient)), *gradient.shape[-2:])

    def contrast(self, solved: Solved, moves: Moves, lines: int | None = None) -> Tensor:
        """Return the contrast of ``[W b]`` by the voltages that every cell sees in both reads.

        ``lines``: how many there are, by default a bias line beside those of the lower layer.
        """
        below, above = moves
        batch = above.at.dim() - 1
        inputs = below.at.flatten(batch).shape[-1]  # of an image, maybe
        lines = inputs + 1 if lines is None else lines
        shape = above.at.shape[-1], lines
        total = torch.zeros_like(solved.arrays)
        for pre, post, one in (
            (below.middle, above.change, 1.0),
            (below.change, above.middle, 0.0),
        ):
            if pre is not None and post is not None:
                flat = pre.flatten(batch)
                bias = torch.full_like(flat, one)[..., : lines - inputs]
                total = total - solved.products(*self.driven(torch.cat([flat, bias], -1), post))
        return self.halves(total, *shape)

    def driven(self, pre: Tensor, post: Tensor) -> tuple[Tensor, Tensor]:
        """Return activities as they drive word lines, and bit lines in a transposed read."""
        tiles = self.tiles(post.shape[-1], pre.shape[-1])
        if self.side == "arrays":
            pre, post = torch.stack([pre, pre]), torch.stack([post, -post])
        elif self.side == "outputs":
            pre, post = pre[None], torch.stack([post, -post], -1).flatten(-2)[None]
        else:
            pre, post = torch.stack([pre, -pre], -1).flatten(-2)[None], post[None]
        return tiles.drive(pre).flatten(0, 1), tiles.back(post).flatten(0, 1)

    def solve(self, cells: Tensor) -> Solved:
        """Return the arrays solved, with their derivatives by every cell."""
        return self.solve_arrays(self.lay(cells).contiguous())

    def solve_arrays(self, arrays: Tensor) -> Solved:
        """Return arrays, ``(count, *chips, words, bits)``, solved."""
        m, n = arrays.shape[-2:]
        unit = torch.eye(max(m, n), dtype=arrays.dtype, device=arrays.device)
        forward = drops(arrays, unit[:m, :m], self.wires, tolerance=TOLERANCE)
        back = drops(turned(arrays), unit[:n, :n], self.wires.transposed, tolerance=TOLERANCE)
        assert forward.across is not None
        assert back.across is not None
        fields = forward.across.flatten(-3, -2), back.across.flatten(-3, -2)
        return Solved(arrays, forward.currents.mT, *fields, self.path(m, n).to(arrays))

    def path(self, m: int, n: int) -> Tensor:
        """Return the wire from the driver of every cell of an array to its sense input, ohm."""
        along, down = torch.arange(n), torch.arange(m - 1, -1, -1)
        wires = self.wires
        ends = wires.drive + wires.sense
        return (wires.word * along + wires.bit * down[:, None]).add(ends)


@dataclass(frozen=True)
class Solved:
    """Arrays as they were solved. ``(count, *chips)`` in front of every shape.

    ``arrays``: conductances, S, ``(words, bits)``; ``matrix``: S, ``(bits, words)``; ``forward``:
    voltage across every cell a volt at each driver, ``(cells, words)``; ``back``: the same of a
    transposed read, ``(cells, bits)``, where cells and lines come in the order of ``turned``
    arrays; ``path``: the wires of every cell, ohm, ``(words, bits)``.
    """

    arrays: Tensor
    matrix: Tensor
    forward: Tensor
    back: Tensor
    path: Tensor

    def turned(self, cell: Tensor) -> Tensor:
        """Return the numbers of cells in a transposed read."""
        m, n = self.arrays.shape[-2:]
        row, column = cell // n, cell % n
        found: Tensor = (n - 1 - column) * m + (m - 1 - row)
        return found

    def unturned(self, field: Tensor) -> Tensor:
        """Return a field over the cells of a transposed read, ``(..., cells)``, in order."""
        m, n = self.arrays.shape[-2:]
        cells: Tensor = field.unflatten(-1, (n, m)).flip(-2, -1).mT
        return cells.flatten(-2)

    def gradient(self, matrix: Tensor) -> Tensor:
        """Return the gradient by every cell of one by ``A``, in the shape of ``arrays``."""
        pulled = self.back @ matrix.flip(-2)
        pulled = self.unturned(pulled.mT).mT
        return (pulled * self.forward).sum(-1).view_as(self.arrays)

    def products(self, pre: Tensor, post: Tensor) -> Tensor:
        """Return the sum over samples of the products of voltages that every cell sees.

        ``pre``: on the word lines in a forward read, ``(count, *chips, batch, words)``; ``post``:
        on the bit lines in a transposed one. In the shape of ``arrays``.
        """
        ahead = pre @ self.forward.mT
        behind = self.unturned(post.flip(-1) @ self.back.mT)
        return (ahead * behind).sum(-2).view_as(self.arrays)

    def follow(self, matrix: Tensor, before: Tensor, after: Tensor) -> Tensor | None:
        """Return ``matrix`` after a write has changed the arrays; None where they must be solved.

        ``before``, ``after``: conductances, S, in the shape of ``arrays``.
        """
        moved = (after - self.arrays).abs().sum((-2, -1)) / self.arrays.sum((-2, -1))
        if bool((moved > FOLLOWED).any()):
            return None
        change = (self._felt(after) - self._felt(before)).flatten(0, -3).flatten(-2)
        array, cell = change.nonzero(as_tuple=True)
        if not len(array):
            return matrix
        counts = torch.bincount(array, minlength=len(change))
        place = torch.arange(len(array), device=array.device) - (counts.cumsum(0) - counts)[array]
        driven = _padded(self.forward.flatten(0, -3)[array, cell], array, place, counts)
        sensed = self.back.flatten(0, -3)[array, self.turned(cell)].flip(-1)
        moves = _padded(sensed * change[array, cell, None], array, place, counts)
        return matrix + (moves.mT @ driven).view_as(matrix)

    def _felt(self, arrays: Tensor) -> Tensor:
        """Return how far cells have moved, less what each takes from its own voltage."""
        moved = arrays - self.arrays
        return moved / (1 + moved * self.path)


def _padded(rows: Tensor, array: Tensor, place: Tensor, counts: Tensor) -> Tensor:
    """Return ``rows`` array by array, zeros after the last of each."""
    found = rows.new_zeros(len(counts), int(counts.max()), rows.shape[-1])
    found[array, place] = rows
    return found
