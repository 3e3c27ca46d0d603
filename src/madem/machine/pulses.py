"""The list of pulses with the place of each cell, so that a laboratory can replay a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from madem.machine.placement import Placement
from madem.machine.writing import Written

HEADER = ("step", "array", "row", "column", "pulses", "target_siemens")
"""Columns of ``pulses.csv``. ``pulses``: how many, negative downwards, empty where a cell was
programmed and verified; ``target_siemens``: its target then. Rows are the lines driven in a forward
read."""

Row = tuple[int, int, int, int, str, str]


def rows(
    step: int, written: Sequence[Written | None], placements: Sequence[Placement], chip: int = 0
) -> Iterator[Row]:
    """Return what a machine wrote at ``step`` on ``chip``, a row per cell, in the order of writing.

    >>> import torch
    >>> from madem.machine.placement import place
    >>> spot = tuple(torch.tensor([i]) for i in (1, 0, 2, 3))  # G-, chip 0, output 2, line 3
    >>> done = Written(torch.ones(1), (), spot, torch.tensor([-4.0]))
    >>> next(rows(7, [done], place([(32, 61)])))
    (7, 1, 3, 2, '-4', '')
    """
    for each, placement in zip(written, placements, strict=True):
        if each is None or not each.places:
            continue
        half, *chips, post, pre = (axis.tolist() for axis in each.places)
        owner = chips[0] if chips else [chip] * len(half)
        for where in zip(owner, half, post, pre, each.amounts.tolist(), strict=True):
            of, sign, output, line, amount = where
            if of != chip:
                continue
            spot = placement.cell(sign, output, line)
            said = ("", f"{amount:.6e}") if each.verified else (f"{amount:.0f}", "")
            yield (step, *spot, *said)
