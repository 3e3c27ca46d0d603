"""Read text files as instruments write them: find header, delimiter and decimal sign, or refuse.

The first line whose cells name columns (``columns.column``) is the header: lines above it are an
instrument's preamble. The header fixes the delimiter, the numbers the decimal sign. Lines that
begin with ``#``, ``%``, ``//`` or ``;`` are comments; a header may stand in the last one above the
data, as numpy writes it. Line numbers in messages are those of the file.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from madem.device.columns import Column, find_units
from madem.device.headers import DELIMITERS, Header, Line, find_header, is_comment, number
from madem.errors import InputError, shown

Array = NDArray[np.float64]
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
LONGEST, LEAD, CHUNK, MOST = 1_000_000, 1000, 10_000, 20_000_000
"""Characters a line, lines above a header, rows at once, numbers a file."""
PACKED = {b"\x1f\x8b": "gzip", b"PK": "zip or a spreadsheet", b"\x89HDF": "HDF5", b"BZh": "bzip2"}
DOUBT = ", which may be the decimal sign as well: write decimal points"
NUMERIC = ("conductance", "up", "down", "target", "read", "time", "voltage", "other", "unnamed")


@dataclass(frozen=True)
class Sheet:
    """The columns of a file as they were written: numbers in the units of their headings.

    ``numbers``: heading -> numbers, NaN where a cell is empty; ``texts``: heading -> words;
    ``lines``: the file's line of every row. ``found``: header, delimiter and decimal sign.
    """

    name: str
    columns: tuple[Column, ...]
    numbers: dict[str, Array]
    texts: dict[str, list[str]]
    lines: NDArray[np.int64]
    found: str = ""

    def where(self, row: int) -> str:
        """Return the place of a row, for a message."""
        return f"{self.name!r}, line {self.lines[row]}"


def read_sheet(path: Path) -> Sheet:
    """Read a text file; raises ``InputError`` with the line of whatever cannot be read."""
    name = label(path)
    if not path.is_file():
        raise InputError(f"there is no file {name!r}")
    try:
        with path.open("rb") as raw:
            head = raw.read(64)
        for encoding in _encodings(name, head):
            try:
                with path.open(encoding=encoding) as file:
                    return _read(name, file)
            except UnicodeDecodeError:
                continue
    except OSError as error:
        raise InputError(f"{name!r}: {(error.strerror or 'cannot be read').lower()}") from None
    raise InputError(f"{name!r} is not text: its bytes are neither UTF-8, UTF-16 nor Latin-1")


def label(path: Path) -> str:
    """Return a file's name for a message: its end where it is long."""
    text = str(path)
    return text if len(text) <= 70 else "..." + text[-67:]


def _encodings(name: str, head: bytes) -> Sequence[str]:
    """Return the encodings that a file beginning with ``head`` may have."""
    for magic, what in PACKED.items():
        if head.startswith(magic):
            raise InputError(f"{name!r} is packed ({what}): unpack it, or save it as CSV text")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return ("utf-16",)
    if b"\0" in head:
        even, odd = head[::2].count(0), head[1::2].count(0)
        if min(even, odd) or max(even, odd) < len(head) // 3:
            raise InputError(f"{name!r} is not text: it holds NUL bytes")
        return ("utf-16-be" if even else "utf-16-le",)
    return ("utf-8-sig", "cp1252")


def _read(name: str, file: TextIO) -> Sheet:
    lines = _kept(name, file)
    lead: list[Line] = []
    size = 0
    for line in lines:
        lead.append(line)
        size += len(line[1])
        if len(lead) >= LEAD or size > LONGEST:
            break
    header = find_header(name, lead)
    below = (line for line in lead if line[0] > header.line)
    rows = (line for line in chain(below, lines) if not is_comment(line[1], header.delimiter))
    return _sheet(name, header, rows)


def _kept(name: str, file: TextIO) -> Iterator[Line]:
    """Yield the lines that are not blank, with their numbers; refuse what no text holds."""
    for line, text in enumerate(iter(partial(file.readline, LONGEST), ""), 1):
        if len(text) == LONGEST and not text.endswith("\n"):
            raise InputError(f"{name!r}, line {line} is longer than {LONGEST:,} characters")
        if CONTROL.search(text):
            raise InputError(f"{name!r}, line {line} is not text: it holds control characters")
        if not text.isspace():
            yield line, text.rstrip("\n")


def _sheet(name: str, header: Header, kept: Iterator[Line]) -> Sheet:
    """Return the sheet of the rows below a header, read in pieces so that memory stays bounded."""
    columns = header.columns
    numbers: dict[str, list[Array]] = {e.head: [] for e in columns if e.role in NUMERIC}
    texts: dict[str, list[str]] = {e.head: [] for e in columns if e.role in ("device", "direction")}
    lines: list[NDArray[np.int64]] = []
    count, decimal = 0, ""
    while chunk := list(islice(kept, CHUNK)):
        places, rows = _rows(name, header, chunk)
        if not rows:
            continue
        lines.append(np.array(places))
        count += len(places)
        if count * len(columns) > MOST:
            raise InputError(f"{name!r} holds more than {MOST:,} cells: thin it out")
        cells = list(zip(*rows, strict=True))
        used = [of for each, of in zip(columns, cells, strict=True) if each.head in numbers]
        decimal = decimal or _decimal(name, header, places, used)
        for each, of in zip(columns, cells, strict=True):
            if each.head in numbers:
                numbers[each.head].append(_floats(name, each.head, places, of, decimal))
            elif each.head in texts:
                texts[each.head] += [sys.intern(cell.strip()) for cell in of]
    if not lines:
        raise InputError(f"{name!r} has no rows of data below the header in line {header.line}")
    joined = {head: np.concatenate(parts) for head, parts in numbers.items()}
    found = f"header in line {header.line}, delimiter {DELIMITERS[header.delimiter]}"
    found += ", decimal comma" if decimal == "," else ""
    return Sheet(name, columns, joined, texts, np.concatenate(lines), found)


def _rows(name: str, header: Header, chunk: Sequence[Line]) -> tuple[list[int], list[list[str]]]:
    """Return the rows of a chunk, each as wide as the header, and their lines; empty ones go."""
    delimiter, width = header.delimiter, len(header.columns)
    lines, rows = list[int](), list[list[str]]()
    for (line, _), row in zip(chunk, _cut(name, delimiter, chunk), strict=True):
        if not "".join(row).strip():
            continue
        while len(row) > width and not row[-1].strip():
            row.pop()
        if len(row) > width:
            doubt = delimiter == "," and "." not in "".join(row)
            raise InputError(
                f"{name!r}, line {line}: {len(row)} values for {width} columns (delimiter: "
                f"{DELIMITERS[delimiter]}{DOUBT * doubt})"
            )
        lines.append(line)
        rows.append(row + [""] * (width - len(row)))
    return lines, rows


def _cut(name: str, delimiter: str, chunk: Sequence[Line]) -> list[list[str]]:
    """Return the cells of every line."""
    if delimiter in (" ", ""):
        return [text.split() if delimiter else [text] for _, text in chunk]
    reader = csv.reader((text for _, text in chunk), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    with suppress(csv.Error):
        for row in reader:
            if reader.line_num > len(rows) + 1:
                break
            rows.append(row)
    if len(rows) < len(chunk):
        line, text = chunk[len(rows)]
        raise InputError(
            f"{name!r}, line {line}: {shown(text)} cannot be cut into cells: a quote is not "
            "closed, or a cell is too long"
        )
    return rows


def _decimal(name: str, header: Header, lines: Sequence[int], used: Sequence[Sequence[str]]) -> str:
    """Return the decimal sign of columns of numbers, or refuse where it could be either."""
    pairs = [
        (line, cell) for of in used for line, cell in zip(lines, of, strict=True) if "," in cell
    ]
    if not pairs:
        return "."
    points = [cell for of in used for cell in of if "." in cell and number(cell) is not None]
    if points:
        line, cell = pairs[0]
        raise InputError(
            f"{name!r}, line {line}: {shown(cell)} has a comma where others, like "
            f"{shown(points[0])}, have a point: write all numbers with decimal points"
        )
    thousands = r"\s*[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+\s*"
    if header.delimiter != ";" and all(re.fullmatch(thousands, cell) for _, cell in pairs):
        line, cell = pairs[0]
        raise InputError(
            f"{name!r}, line {line}: the comma in {shown(cell)} may be a decimal sign or part "
            "thousands: write all numbers with decimal points"
        )
    return ","


def _floats(
    name: str, head: str, lines: Sequence[int], cells: Sequence[str], decimal: str
) -> Array:
    """Return the numbers of a column, NaN where a cell is empty."""
    whole = "".join(cells)
    if whole.isascii() and "_" not in whole and (decimal == "." or "." not in whole):
        with suppress(ValueError):  # the line is named below
            values = np.array([float(cell.replace(decimal, ".")) for cell in cells])
            if np.isfinite(values).all():
                return values
    values = np.empty(len(cells))
    for index, cell in enumerate(cells):
        found = number(cell, decimal) if cell.strip() else np.nan
        if found is None:
            raise InputError(f"{name!r}, line {lines[index]}: {_no_number(head, cell)}")
        values[index] = found
    return values


def _no_number(head: str, cell: str) -> str:
    """Return what to say of a cell that holds no number."""
    said = f"{shown(head)} must be a finite number, but is {shown(cell.strip())}"
    begins = re.match(r"\s*([+-]?[0-9.,]+([eE][+-]?[0-9]+)?)\s*(\S+)\s*$", cell)
    if begins and find_units(begins[3]):
        return f"{said}: write the unit in the header alone"
    if number(re.sub("[,.' ]", "", cell)) is not None:
        return f"{said}: write numbers with decimal points and no thousands separators"
    return f"{said}: remove the row, or measure it again"
