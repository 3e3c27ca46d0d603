"""Measured data of memristors: CSV files whose headers carry the units.

| kind | columns |
|---|---|
| pulses, a row a read | ``conductance_uS``, ``direction`` (``start``, ``up``, ``down``) |
| pulses, two columns | ``up_uS``, ``down_uS``: after the n-th pulse up, then after the n-th down |
| pulses, two files | set file and reset file, a column ``..._uS`` a repeat |
| programming errors | ``target_uS``, ``read_uS`` |
| read noise | ``time_s``, ``read_uS`` |
| retention | ``time_s``, ``conductance_uS`` |

Any file but the set and reset ones may have a column ``device``; without it all rows are of one.
A column ``pulse`` is allowed and not needed. uS may be S, mS, uS or nS, s may be ns to day.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from madem.errors import InputError, nearest
from madem.units import parse

Array = NDArray[np.float64]
SIEMENS = ("S", "mS", "uS", "nS")
SECONDS = ("ns", "us", "ms", "s", "min", "h", "day")
KINDS = {
    frozenset({"conductance", "direction"}): "pulses",
    frozenset({"up", "down"}): "pulses",
    frozenset({"target", "read"}): "errors",
    frozenset({"time", "read"}): "noise",
    frozenset({"time", "conductance"}): "retention",
}
ALLOWED = "conductance_uS, direction | up_uS, down_uS | target_uS, read_uS | time_s, read_uS | "
ALLOWED += "time_s, conductance_uS; device with any"


@dataclass(frozen=True)
class Table:
    """Columns of numbers in SI units, of text as it is, and the device of every row."""

    name: str
    numbers: dict[str, Array]
    texts: dict[str, list[str]]
    device: list[str]

    @property
    def kind(self) -> str:
        """Which of the documented kinds it is; raises ``InputError`` where it is none."""
        held = {*self.numbers, *self.texts} - {"pulse"}
        for columns, kind in KINDS.items():
            if held == columns:
                return kind
        close = min(KINDS, key=lambda columns: len(columns ^ held))
        lacking = ", ".join(sorted(close - held))
        extra = ", ".join(sorted(held - close))
        says = f"has no column {lacking}" if lacking else f"has columns it cannot use: {extra}"
        raise InputError(f"{self.name!r} {says} (allowed: {ALLOWED})")


def read_table(path: Path) -> Table:
    """Read a CSV file; raises ``InputError`` with the line of whatever cannot be used."""
    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error):
        raise InputError(f"{str(path)!r} is not a CSV file") from None
    if len(rows) < 2:
        raise InputError(f"{str(path)!r} has no rows of data below a header")
    header = [cell.strip() for cell in rows[0]]
    if len(set(header)) != len(header):
        raise InputError(f"{str(path)!r} has two columns of one name: {', '.join(header)}")
    for line, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise InputError(
                f"{str(path)!r}, line {line}: {len(row)} values for {len(header)} columns"
            )
    columns = dict(zip(header, zip(*rows[1:], strict=True), strict=True))
    return _typed(str(path), columns)


def _typed(name: str, columns: dict[str, tuple[str, ...]]) -> Table:
    """Return the table of columns of text."""
    numbers, texts, units = {}, {}, {}
    for head, cells in columns.items():
        if head in ("device", "direction"):
            texts[head] = [cell.strip() for cell in cells]
        elif head == "pulse":
            numbers[head] = _numbers(name, head, cells)
        else:
            what, scale, unit = _head(name, head)
            units[head] = unit
            numbers[what] = scale * _numbers(name, head, cells)
    mixed = sorted({unit for unit in units.values() if unit in SIEMENS})
    if len(mixed) > 1:
        raise InputError(f"{name!r} mixes units: {', '.join(mixed)}; give all columns in one")
    count = len(next(iter(columns.values())))
    return Table(name, numbers, texts, texts.pop("device", ["1"] * count))


def _head(name: str, head: str) -> tuple[str, float, str]:
    """Return what a column holds, the factor to SI units, and its unit."""
    what, _, unit = head.rpartition("_")
    allowed = SECONDS if "time" in (what, head) else SIEMENS
    if not what:
        raise InputError(
            f"{name!r}: column {head!r} has no unit: {head}_{'s' if head == 'time' else 'uS'}, "
            f"with one of {', '.join(allowed)}"
        )
    if unit not in allowed:
        raise InputError(f"{name!r}: column {head!r}: unknown unit: {nearest(unit, allowed)}")
    return what, parse(f"1 {unit}", "second" if what == "time" else "siemens"), unit


def _numbers(name: str, head: str, cells: Sequence[str]) -> Array:
    values = np.empty(len(cells))
    for index, cell in enumerate(cells):
        try:
            values[index] = float(cell)
        except ValueError:
            values[index] = math.nan
        if not math.isfinite(values[index]):
            where = f"{name!r}, line {index + 2}"
            raise InputError(f"{where}: {head} must be a finite number, but is {cell.strip()!r}")
    return values


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
        for table, up in zip(tables, (True, False), strict=True):
            columns = (table.numbers[key] for key in table.numbers if key != "pulse")
            pieces += [("1", column, np.full(len(column) - 1, up)) for column in columns]
        return _stack(pieces)
    (table,) = tables
    place = np.array(table.device)
    for name in dict.fromkeys(table.device):
        mine = place == name
        if "up" in table.numbers:
            up, down = table.numbers["up"][mine], table.numbers["down"][mine]
            both = np.repeat([True, False], [len(up) - 1, len(down)])
            pieces.append((name, np.concatenate([up, down]), both))
        else:
            directions = [d for d, m in zip(table.texts["direction"], mine, strict=True) if m]
            pieces += _split(table.name, name, table.numbers["conductance"][mine], directions)
    return _stack(pieces)


def _split(
    file: str, name: str, reads: Array, directions: Sequence[str]
) -> list[tuple[str, Array, NDArray[np.bool_]]]:
    """Cut a device's rows into trains, one for each ``start``."""
    for direction in directions:
        if direction not in ("start", "up", "down"):
            near = nearest(direction, ("start", "up", "down"))
            raise InputError(f"{file!r}: direction {direction!r} of device {name!r}: {near}")
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
    for row, (_, values, directions) in enumerate(pieces):
        reads[row, : len(values)], up[row, : len(directions)] = values, directions
        valid[row, : len(directions)] = True
    device = np.array([names.index(name) for name, _, _ in pieces], dtype=np.int64)
    return Trains(reads, up, valid, device, names)
