"""Nodes of crossbars eliminated: lines node by node, whole arrays row by row.

Seen from a node outwards, the conductance of a line is ``E_j = g_j + G E_(j+1) / (E_(j+1) + G)``.
The bit lines' nodes of one row obey the same recursion with a matrix ``E``, ``g_j`` being what the
row's word line leaves of its cells, ``D - D A_w^-1 D``. That is a direct solve of Kirchhoff's laws.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from madem.network.wires import Conductances

CORRECTIONS = 5
"""How often a direct solve is corrected at most; once or twice suffices."""


@dataclass(frozen=True)
class Lines:
    """Lines of nodes with loads, eliminated from their open ends towards the terminations.

    ``loss``: of a current at a node, the part that does not go on towards the termination (small
    where wires are good, so that products along a line keep their digits); ``lift``: the resistance
    through which what arrives lifts the node. Nodes lie along the last axis, node 0 at the
    termination.
    """

    loss: Tensor
    lift: Tensor

    @staticmethod
    def of(loads: Tensor, segment: float, end: float) -> Lines:
        """Eliminate, without a subtraction."""
        beyond = torch.zeros_like(loads[..., 0], dtype=torch.float64)
        lifts, losses = [], []
        for j in reversed(range(loads.shape[-1])):
            onward = segment if j else end
            here = loads[..., j] + beyond
            lifts.append(1 / (here + onward))
            losses.append(here * lifts[-1])
            beyond = onward * losses[-1]
        loss, lift = (torch.stack(part[::-1], -1).to(loads.dtype) for part in (losses, lifts))
        return Lines(loss, lift)

    def solve(self, source: Tensor, push: Tensor | None = None) -> Tensor:
        """Return the voltages under the currents ``source`` and the voltages ``push`` behind.

        With ``push`` they are float64: a driver's voltage loses little at every node, and float32
        would round the same way at each.
        """
        going, arriving = torch.zeros_like(source[..., 0]), []
        for j in reversed(range(source.shape[-1])):
            arriving.append(source[..., j] + going)
            going = arriving[-1] - self.loss[..., j] * arriving[-1]
        found = [torch.zeros_like(going) if push is None else push.double()]
        for j, arrived in enumerate(reversed(arriving)):
            back = found[-1] + self.lift[..., j] * arrived
            found.append(back - self.loss[..., j] * found[-1])
        return torch.stack(found[1:], -1)


@dataclass(frozen=True)
class Arrays:
    """Whole crossbars, eliminated. Everything is float64, and autograd can listen.

    ``cells``: conductances, S, ``(chips, 1, m, n)``; ``conductances``: of the wires; ``words``: the
    word lines; ``lifts``: for each row from the open end on, the resistances, ohm,
    ``(chips, n, n)``, through which currents into its nodes lift them.
    """

    cells: Tensor
    conductances: Conductances
    words: Lines
    lifts: list[Tensor]

    @staticmethod
    def of(g: Tensor, conductances: Conductances) -> Arrays:
        """Eliminate ``g``, ``(chips, m, n)``; a matrix that is not positive definite gives NaN."""
        word, _, drive, _ = conductances
        m, n = g.shape[-2:]
        one = torch.eye(n, dtype=g.dtype, device=g.device)
        chain = one[:-1] - one[1:]
        line = word * chain.mT @ chain + drive * one[:1].mT @ one[:1]
        lifts: list[Tensor] = []
        beyond = torch.zeros_like(line)
        for i in range(m):
            row = torch.diag_embed(g[:, i])
            here = row - row @ _inverse(line + row) @ row + beyond
            onward = _onward(conductances, i, m)
            lifts.append(_inverse(here + onward * one))
            beyond = onward * lifts[-1] @ here
            beyond = (beyond + beyond.mT) / 2
        return Arrays(g[:, None], conductances, Lines.of(g[:, None], word, drive), lifts)

    def solve(self, into_words: Tensor, into_bits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the voltages of all nodes under currents into them, ``(chips, batch, m, n)``."""
        currents = into_bits + self.cells * self.words.solve(into_words)
        m = len(self.lifts)
        going, arriving = torch.zeros_like(currents[..., 0, :]), []
        for i, lift in enumerate(self.lifts):
            arriving.append(currents[..., i, :] + going)
            going = _onward(self.conductances, i, m) * arriving[-1] @ lift
        found = [torch.zeros_like(going)]
        for i in reversed(range(m)):
            onward = _onward(self.conductances, i, m)
            found.append((arriving[i] + onward * found[-1]) @ self.lifts[i])
        b = torch.stack(found[:0:-1], -2)
        return self.words.solve(into_words + self.cells * b), b

    def missing(self, w: Tensor, b: Tensor, v: Tensor, through: Tensor) -> tuple[Tensor, Tensor]:
        """Return the currents that word and bit nodes lack by Kirchhoff's law.

        A current is a conductance times a difference of voltages, so that it keeps its digits.
        """
        word, bit, drive, sense = self.conductances
        cells = self.cells * (w - b) + through
        ends = drive * (v[..., None] - w[..., :1])
        along = torch.cat([ends, word * (w[..., :-1] - w[..., 1:])], -1)
        down = torch.cat([bit * (b[..., :-1, :] - b[..., 1:, :]), sense * b[..., -1:, :]], -2)
        on = torch.cat([along[..., 1:], torch.zeros_like(ends)], -1)
        above = torch.cat([torch.zeros_like(down[..., :1, :]), down[..., :-1, :]], -2)
        return along - on - cells, cells + above - down

    def nodes(self, v: Tensor, through: Tensor, enough: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return the voltages of word and bit nodes, and how far the last correction moved them.

        The latter relative to the largest voltage of a read, and not less than the current that a
        node still lacks would move it at the largest conductance; corrections end at ``enough``.
        """
        w = b = torch.zeros_like(self.cells * v[..., None])
        largest = self.cells.detach().amax((-2, -1)).clamp_min(max(self.conductances))
        lacking = self.missing(w, b, v, through)
        for _ in range(1 + CORRECTIONS):
            moves = self.solve(*lacking)
            w, b = w + moves[0], b + moves[1]
            lacking = self.missing(w, b, v, through)
            size = _largest(w, b)
            moved = torch.maximum(_largest(*moves), _largest(*lacking) / largest)
            moved = torch.where(size > 0, moved / size, moved)
            if bool((moved <= enough).all()):
                break
        return w, b, moved


def _largest(*fields: Tensor) -> Tensor:
    return torch.stack([field.detach().abs().amax((-2, -1)) for field in fields]).amax(0)


def _onward(conductances: Conductances, row: int, rows: int) -> float:
    return conductances[1] if row + 1 < rows else conductances[3]


def _inverse(matrix: Tensor) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return torch.cholesky_inverse(factor.masked_fill(failed[..., None, None] > 0, torch.nan))
