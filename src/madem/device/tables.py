"""Measured data of memristors: text files whose headers carry the units, as tables in SI units.

| kind | columns |
|---|---|
| pulses, a row per read | ``conductance_uS``, ``direction`` (``start``, ``up``, ``down``) |
| pulses, two columns | ``up_uS``, ``down_uS``: after the n-th pulse up, then after the n-th down |
| pulses, two files | set file and reset file, a column ``..._uS`` a repeat |
| programming errors | ``target_uS``, ``read_uS`` |
| read noise | ``time_s``, ``read_uS``, or a column ``read..._uS`` a device |
| retention | ``time_s``, ``conductance_uS``, or a column ``..._uS`` a device |

Any file with one column of reads may have a column ``device``; without it all rows are of one.
Which other units and words are understood, ``columns.py`` says; what text is read, ``reader.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from madem.device.checks import (
    check_jump,
    check_signs,
    check_tails,
    directions,
    groups,
    refuse,
    seconds,
    siemens,
)
from madem.device.columns import advise, name_and_unit
from madem.device.headers import LAYOUTS
from madem.device.reader import Sheet, read_sheet
from madem.errors import InputError, shown

Array = NDArray[np.float64]
KINDS = {
    frozenset({"conductance", "direction"}): "pulses",
    frozenset({"up", "down"}): "pulses",
    frozenset({"target", "read"}): "errors",
    frozenset({"time", "read"}): "noise",
    frozenset({"time", "conductance"}): "retention",
}


@dataclass(frozen=True)
class Table:
    """Columns of numbers in SI units, of text as it is, and the device of every row.

    ``numbers``: by ``conductance``, ``up``, ``down``, ``target``, ``read``, ``time``; of a set or a
    reset file by its headings. Where trains end early, NaN fills their column. ``found``: how the
    file was read, for people.
    """

    name: str
    numbers: dict[str, Array]
    texts: dict[str, list[str]]
    device: list[str]
    found: str = ""

    @property
    def kind(self) -> str:
        """``pulses``, ``errors``, ``noise``, ``retention``, or ``repeats``: a set or reset file."""
        return KINDS.get(frozenset({*self.numbers, *self.texts}), "repeats")


def read_table(path: Path, read_voltage: float | None = None) -> Table:
    """Read a text file of one of the kinds above.

    Resistances are inverted; currents are divided by the column ``voltage`` or by ``read_voltage``,
    V. Raises ``InputError`` with the line of whatever cannot be used.
    """
    sheet = read_sheet(path)
    kind = _kind(sheet)
    reads = siemens(sheet, read_voltage)
    roles = {each.role: each.head for each in sheet.columns}
    device = sheet.texts.get(roles.get("device", ""), ["1"] * len(sheet.lines))
    blank = np.array([not name for name in device])
    refuse(sheet, roles.get("device", ""), blank, "is empty: name the device in every row")
    if kind == "pulses" and "up" in roles:
        check_tails(sheet, reads, device)
        check_jump(sheet, reads[roles["up"]], reads[roles["down"]], device)
    elif kind in ("repeats", "wide"):
        check_tails(sheet, reads, device)
    else:
        for head, values in reads.items():
            refuse(sheet, head, np.isnan(values), "is empty: remove the row, or fill it")
    check_signs(sheet, reads)
    if kind in ("retention", "wide"):
        check_signs(sheet, {roles["time"]: sheet.numbers[roles["time"]]})
    found = f"{Path(sheet.name).name}: {sheet.found}, {len(sheet.lines)} rows"
    if kind == "repeats":
        return Table(sheet.name, reads, {}, device, found)
    if kind == "wide":
        return _long(sheet, reads, seconds(sheet, roles["time"]), found)
    numbers = {each.role: reads[each.head] for each in sheet.columns if each.head in reads}
    if "time" in roles:
        numbers["time"] = seconds(sheet, roles["time"])
    texts = {"direction": directions(sheet, device)} if "direction" in roles else {}
    return Table(sheet.name, numbers, texts, device, found)


def _kind(sheet: Sheet) -> str:
    """Return a table's kind, ``wide`` for a column per device; refuse what has no place in one."""
    columns, name = sheet.columns, sheet.name
    unused = next((each for each in columns if each.role == "unused"), None)
    if unused and not unused.kind and not any(each.is_read for each in columns):
        said = f"column {shown(unused.head)} has no unit that is known: write e.g."
        raise InputError(f"{name!r}: {said} {name_and_unit(unused.head)[0] or unused.head}_uS")
    if unused:
        raise InputError(f"{name!r}: {advise(unused)}")
    units = sorted({each.unit for each in columns if each.is_read})
    if len(units) > 1:
        raise InputError(f"{name!r} mixes units: {', '.join(units)}; give all columns in one")
    roles = Counter(each.role for each in columns)
    for role, count in roles.items():
        if count > 1 and role != "other":
            heads = " and ".join(shown(each.head) for each in columns if each.role == role)
            raise InputError(f"{name!r}: columns {heads} say the same: remove all but one")
    held = frozenset(roles) - {"pulse", "unnamed", "voltage", "device"}
    if held in KINDS:
        return KINDS[held]
    if "device" not in roles:
        if held == {"time", "other"} and roles["other"] > 1:
            return "wide"
        if held and held <= {"other", "conductance", "read", "up", "down"}:
            return "repeats"
    raise InputError(f"{name!r}{_misfit(sheet, held)}")


def _misfit(sheet: Sheet, held: frozenset[str]) -> str:
    """Return what columns of these roles lack, or have too much, to be a table of a kind."""
    close = min(KINDS, key=lambda each: len(each ^ held))
    strange = [each for each in sheet.columns if each.role in held - close]
    if any(each.role == "other" for each in strange):
        return f": {advise(strange[0])}"
    if close - held:
        return f" has no column {', '.join(sorted(close - held))}; {LAYOUTS}"
    return f": column {shown(strange[0].head)} is not used: remove it"


def _long(sheet: Sheet, reads: dict[str, Array], time: Array, found: str) -> Table:
    """Return the table of a column per device, with the rows of one device after another's."""
    names = {head: name_and_unit(head)[0] or head for head in reads}
    role = "read" if all(head.lower().startswith("read") for head in reads) else "conductance"
    there = {head: ~np.isnan(values) for head, values in reads.items()}
    numbers = {
        "time": np.concatenate([time[there[head]] for head in reads]),
        role: np.concatenate([reads[head][there[head]] for head in reads]),
    }
    device = [names[head] for head in reads for _ in range(int(there[head].sum()))]
    return Table(sheet.name, numbers, {}, device, found)


@dataclass(frozen=True)
class Trains:
    """Pulse trains: reads, S, ``(trains, pulses + 1)``, the first before any pulse.

    ``up``: direction of each pulse, ``(trains, pulses)``; ``valid``: whether there was one;
    ``device``: whose train it is, an index into ``names``.
    """

    reads: Array
    up: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    device: NDArray[np.int64]
    names: tuple[str, ...]


def trains_of(tables: Sequence[Table]) -> Trains:
    """Return the pulse trains of a table, or of a set and a reset table.

    In two columns a device's pulses down follow its pulses up, and the first row of ``up`` is where
    it starts. In set and reset files every column is a repeat of one device, its first row where
    the repeat starts.
    """
    pieces: list[tuple[str, Array, NDArray[np.bool_]]] = []
    if len(tables) == 2:
        for table, is_up in zip(tables, (True, False), strict=True):
            columns = [_ended(column) for column in table.numbers.values()]
            pieces += [("1", column, np.full(len(column) - 1, is_up)) for column in columns]
        return _stack(pieces)
    (table,) = tables
    for name, rows in groups(table.device).items():
        if "up" in table.numbers:
            up, down = (_ended(table.numbers[key][rows]) for key in ("up", "down"))
            both = np.repeat([True, False], [len(up) - 1, len(down)])
            pieces.append((name, np.concatenate([up, down]), both))
        else:
            said = [table.texts["direction"][row] for row in rows]
            pieces += _split(name, table.numbers["conductance"][rows], said)
    return _stack(pieces)


def _ended(column: Array) -> Array:
    """Return a column without the empty cells at its end."""
    ended: Array = column[~np.isnan(column)]
    return ended


def _split(
    name: str, reads: Array, directions: Sequence[str]
) -> list[tuple[str, Array, NDArray[np.bool_]]]:
    """Cut a device's rows into trains, one for each ``start``."""
    starts = [i for i, direction in enumerate(directions) if direction == "start" or i == 0]
    ends = [*starts[1:], len(directions)]
    return [
        (name, reads[a:b], np.array([d == "up" for d in directions[a + 1 : b]], dtype=bool))
        for a, b in zip(starts, ends, strict=True)
        if b - a > 1
    ]


def _stack(pieces: Sequence[tuple[str, Array, NDArray[np.bool_]]]) -> Trains:
    """Return trains of unequal length as arrays."""
    names = tuple(dict.fromkeys(name for name, _, _ in pieces))
    longest = max((len(up) for _, _, up in pieces), default=0)
    reads = np.zeros((len(pieces), longest + 1))
    up = np.zeros((len(pieces), longest), dtype=bool)
    valid = np.zeros_like(up)
    for row, (_, values, ways) in enumerate(pieces):
        reads[row, : len(values)], up[row, : len(ways)] = values, ways
        valid[row, : len(ways)] = True
    device = np.array([names.index(name) for name, _, _ in pieces], dtype=np.int64)
    return Trains(reads, up, valid, device, names)
