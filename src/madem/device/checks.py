"""From a sheet as it was written to numbers in SI units, or a refusal that names the line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from madem.device.reader import Sheet
from madem.errors import InputError, nearest, shown

Array = NDArray[np.float64]
DIRECTIONS = {
    "start": "start initial read",
    "up": "up set ltp potentiation potentiate",
    "down": "down reset ltd depression depress",
}
WORDS = {word: direction for direction, words in DIRECTIONS.items() for word in words.split()}
NOTHING = (-999.0, -9999.0, -99999.0)
HUGE, TINY = 1e30, 1e-12
"""Numbers that stand for no reading; instruments write 9.9e37 and 9.91e37 for it.

Ohms and volts below ``TINY`` are zero: nothing can be divided by them.
"""


def siemens(sheet: Sheet, read_voltage: float | None) -> dict[str, Array]:
    """Return the columns of reads in siemens; instruments' marks for no reading are refused.

    So is a column without a name, unless it numbers the rows.
    """
    for head, values in sheet.numbers.items():
        marks = (np.abs(values) >= HUGE) | np.isin(values, NOTHING)
        refuse(sheet, head, marks, "is an instrument's mark for no reading: remove the row", values)
    reads = [each for each in sheet.columns if each.is_read]
    volts = next((each for each in sheet.columns if each.role == "voltage"), None)
    currents = [each for each in reads if each.kind == "current"]
    if currents and volts is None and read_voltage is None:
        raise InputError(
            f"{sheet.name!r}: column {shown(currents[0].head)} holds currents: give the read "
            "voltage in a column voltage_V, or by --read-voltage '0.2 V' (conductance = I/V)"
        )
    if volts is not None and (not currents or read_voltage is not None):
        why = "the read voltage is given twice" if currents else "no column holds currents"
        raise InputError(
            f"{sheet.name!r}: column {shown(volts.head)} is not used, {why}: remove it"
        )
    if read_voltage is not None and not currents:
        raise InputError(f"{sheet.name!r}: a read voltage is for currents, and no column holds any")
    voltage: Array | float = 1.0 if read_voltage is None else read_voltage
    if volts is not None:
        voltage = volts.scale * sheet.numbers[volts.head]
        refuse(sheet, volts.head, ~(np.abs(voltage) > TINY), "must be a voltage other than zero")
    for count in (sheet.numbers[each.head] for each in sheet.columns if each.role == "unnamed"):
        if not np.array_equal(count - count[0], np.arange(len(count))):
            raise InputError(
                f"{sheet.name!r}: a column has no name: give it one with a unit, or remove it"
            )
    found = {}
    for each in reads:
        values = each.scale * sheet.numbers[each.head]
        if each.kind == "resistance":
            refuse(
                sheet, each.head, np.abs(values) < TINY, "is a resistance of zero: no conductance"
            )
            values = 1 / values
        found[each.head] = values / voltage if each.kind == "current" else values
    return found


def refuse(
    sheet: Sheet, head: str, wrong: NDArray[np.bool_], why: str, values: Array | None = None
) -> None:
    """Raise ``InputError`` with the first line that is wrong, if one is."""
    rows = np.flatnonzero(wrong)
    if len(rows):
        more = f" ({len(rows) - 1} more such rows)" if len(rows) > 1 else ""
        value = "" if values is None else f" {values[rows[0]]:.6g}"
        raise InputError(f"{sheet.where(int(rows[0]))}: {shown(head)}{value} {why}{more}")


def check_signs(sheet: Sheet, held: dict[str, Array]) -> None:
    """Refuse conductances, or times since a write, below zero."""
    for head, values in held.items():
        why = "is below zero, which it cannot be: take the offset off, or remove the row"
        refuse(sheet, head, values < 0, why, sheet.numbers[head])


def check_tails(sheet: Sheet, reads: dict[str, Array], device: Sequence[str]) -> None:
    """Refuse empty cells but at the end of a device's column, and columns of nothing else."""
    devices = groups(device).values()
    for head, values in reads.items():
        for rows in devices:
            there = ~np.isnan(values[rows])
            last = int(np.flatnonzero(there)[-1]) if there.any() else -1
            if last < 0:
                raise InputError(f"{sheet.name!r}: {shown(head)} holds no numbers")
            if not there[:last].all():
                line = sheet.where(int(rows[np.flatnonzero(~there)[0]]))
                raise InputError(f"{line}: {shown(head)} is empty, and numbers follow below it")


def check_jump(sheet: Sheet, up: Array, down: Array, device: Sequence[str]) -> None:
    """Refuse two columns whose second train does not start where the first ended.

    A first pulse down may move a cell far down, not up: three times the largest other move upwards,
    ten times downwards are too far.
    """
    for rows in groups(device).values():
        first, second = (each[rows][~np.isnan(each[rows])] for each in (up, down))
        jump = second[0] - first[-1]
        most = np.abs(np.concatenate([np.diff(first), np.diff(second)])).max(initial=0.0)
        if most > 0 and (jump > 3 * most or -jump > 10 * most):
            heads = {each.role: each for each in sheet.columns}
            a, b = heads["up"], heads["down"]
            values = [
                f"{sheet.numbers[e.head][rows[i]]:.4g}" for e, i in ((b, 0), (a, len(first) - 1))
            ]
            raise InputError(
                f"{sheet.name!r}: the first value of {b.head} ({values[0]}) is far from the last "
                f"of {a.head} ({values[1]}): the second train did not start where the first ended; "
                f"give rows {a.kind}_{a.unit},direction with a new start"
            )


def seconds(sheet: Sheet, head: str) -> Array:
    """Return the times in seconds."""
    scale = next(each.scale for each in sheet.columns if each.head == head)
    values = scale * sheet.numbers[head]
    refuse(sheet, head, np.isnan(values), "is empty: remove the row, or fill it")
    return values


def directions(sheet: Sheet, device: Sequence[str]) -> list[str]:
    """Return ``start``, ``up`` or ``down`` for every row, whichever words say it."""
    head = next(each.head for each in sheet.columns if each.role == "direction")
    said = sheet.texts[head]
    found = [WORDS.get(each.lower(), "") for each in said]
    firsts = {int(rows[0]) for rows in groups(device).values()}
    for row, (word, direction) in enumerate(zip(said, found, strict=True)):
        if not direction:
            near = nearest(word, ("start", "up", "down"))
            raise InputError(
                f"{sheet.where(row)}: direction {shown(word)} of device {shown(device[row])}: "
                f"{near}; SET, LTP, potentiation are up, RESET, LTD, depression down"
            )
        if word.lower() == "read" and row not in firsts:
            raise InputError(
                f"{sheet.where(row)}: direction {shown(word)} after a device's first row: give the "
                "read after each pulse in the pulse's own row, start where a new train begins"
            )
    return found


def groups(device: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Return the rows of every device, in the order in which they come.

    >>> groups(["b", "a", "b"])
    {'b': array([0, 2]), 'a': array([1])}
    """
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(device):
        rows.setdefault(name, []).append(row)
    return {name: np.array(held) for name, held in rows.items()}
