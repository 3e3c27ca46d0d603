"""Wires of arrays that are written at every step: solved now and then, estimated in between."""

from __future__ import annotations

import torch
from torch import Tensor

from madem.errors import InputError
from madem.machine.placement import Side
from madem.network import Wires, effective

TOLERANCE = 1e-3
"""Relative residual of a solve: far below what is estimated between two of them."""


class Attenuated:
    """Wires that are solved at every ``every``-th weighing.

    In between, what a cell gained since the last solve counts by the attenuation that it had then,
    ``g_eff += a (g - g_last)`` with ``a = g_eff / g`` at the solve (ours; its error stays in
    ``error``). Pairs lie along ``side``, as in ``Wired``.

    >>> wires = Attenuated(Wires(1e-6, 1e-6, 1e-6, 1e-6), "arrays", 10)
    >>> round(float(wires.weigh(torch.full((2, 1, 1, 1), 1e-5)).abs().max()), 9)
    0.0
    """

    def __init__(self, wires: Wires, side: Side, every: int) -> None:
        """Solve nothing yet."""
        if every < 1:
            raise InputError(f"every must be at least 1 weighing, but is {every}")
        self.wires = wires
        self.side = side
        self.every = every
        self.weighings = 0
        self.error = 0.0
        self.held: tuple[Tensor, Tensor, Tensor] | None = None

    def weigh(self, cells: Tensor) -> Tensor:
        """Return the signed conductances between terminals, S, of ``(2, *chips, post, pre)``.

        ``error`` is the largest error that the estimate had come to at any solve so far, root mean
        square over the weights, relative to theirs.
        """
        estimate = None
        if self.held is not None:
            last, seen, share = self.held
            estimate = seen + share * (cells - last)
        if estimate is None or self.weighings % self.every == 0:
            solved = self._solve(cells)
            if estimate is not None:
                wanted = solved[0] - solved[1]
                missed = estimate[0] - estimate[1] - wanted
                self.error = max(self.error, float(missed.norm() / wanted.norm().clamp_min(1e-30)))
            share = (solved / cells.clamp_min(1e-6)).clamp(0, 1)
            self.held = cells, solved, share
            estimate = solved
        self.weighings += 1
        return estimate[0] - estimate[1]

    def _solve(self, cells: Tensor) -> Tensor:
        """Return what every cell conducts between the terminals, ``(2, *chips, post, pre)``."""
        if self.side == "arrays":
            return effective(cells.mT.contiguous(), self.wires, TOLERANCE)
        axis = -2 if self.side == "outputs" else -1
        laid = torch.stack([cells[0], cells[1]], axis).flatten(axis - 1, axis)
        found = effective(laid.mT.contiguous(), self.wires, TOLERANCE)
        halves: Tensor = found.unflatten(axis, (-1, 2)).movedim(axis, 0)
        return halves
