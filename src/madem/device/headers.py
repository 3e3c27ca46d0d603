"""Find the header of a text file: the line whose cells name columns, and the delimiter in it."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from madem.device.columns import Column, column, find_units
from madem.errors import InputError, shown

Line = tuple[int, str]
"""A line's number in its file, and its text."""

DELIMITERS = {"\t": "tab", ";": "semicolon", "|": "pipe", ",": "comma", " ": "spaces", "": "none"}
EXCEL = ("#N/A", "#DIV/", "#NUM!", "#VALUE!", "#REF!", "#NAME?", "#NULL!")
"""Cells that are no comments though they look so."""
NUMBER = re.compile(r"[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?")
"""A number, with a point or a comma."""
COMMENTS = ("#", "%", "//", ";")
LAYOUTS = (
    "layouts: conductance_uS,direction (15,up) | up_uS,down_uS (15,48) | target_uS,read_uS (50,51)"
    " | time_s,read_uS (1,50) | time_s,conductance_uS (10,50)"
)


@dataclass(frozen=True)
class Header:
    """Where the header stands and what it says."""

    line: int
    delimiter: str
    columns: tuple[Column, ...]


def _found_header(name: str, lead: Sequence[Line]) -> Header:
    """Return the header, or refuse with what was looked at."""
    if not lead:
        raise InputError(f"{name!r} is empty: {LAYOUTS}")
    plain = [line for line in lead if not is_comment(line[1])]
    above: list[Line] = []
    for place, (line, text) in enumerate(plain):
        found = _best(line, text)
        merged = _best_with_units(text, plain[place + 1 : place + 2])
        for header in (found, merged):
            if header and _names_reads(header):
                return _unless_data(name, header, above)
        above.append((line, text))
    commented = _in_comments(lead, plain)
    if commented:
        return commented
    known = [header for line, text in plain if (header := _best(line, text))]
    known = [each for each in known if any(c.fault or c.kind for c in each.columns)]
    if known:
        return max(known, key=lambda each: sum(not _is_bad(c) for c in each.columns))
    raise InputError(_no_header(name, plain or lead))


def _in_comments(lead: Sequence[Line], plain: Sequence[Line]) -> Header | None:
    """Return the header in the last comment above the data that is one, as wide as they are."""
    first = plain[0][0] if plain else 0
    for line, text in reversed([each for each in lead if each[0] < first]):
        for said in (text, text.lstrip().lstrip("".join(COMMENTS))):
            header = _best(line, said)
            if not header or not _names_reads(header) or any(map(_is_bad, header.columns)):
                continue
            if len(split(plain[0][1], header.delimiter)) == len(header.columns):
                return header
    return None


def find_header(name: str, lead: Sequence[Line]) -> Header:
    """Return the header of file ``name`` among its first lines, or refuse with what was looked at.

    A header may stand in the last comment above the data, as numpy writes it, and its units in the
    line below it.
    """
    header = _found_header(name, lead)
    twice, count = Counter(each.head for each in header.columns).most_common(1)[0]
    if count > 1:
        raise InputError(f"{name!r}, line {header.line}: two columns of one name: {shown(twice)}")
    for each in header.columns:
        if each.fault:
            raise InputError(f"{name!r}, line {header.line}: {each.fault}")
    return header


def _no_header(name: str, lines: Sequence[Line]) -> str:
    """Return what to say where no line names columns."""
    for line, text in lines:
        cells = max((split(text, delimiter) for delimiter in DELIMITERS), key=len)
        if any(map(NUMBER.fullmatch, cells)):
            example = "up_uS,down_uS"
            if not all(map(NUMBER.fullmatch, cells)):
                example = "conductance_uS,direction"
            which = "the first line" if line == 1 else f"line {line}"
            return (
                f"{name!r}: {which} holds numbers, not column names: put e.g. {example} above it"
                + ("" if line == 1 else f" (no header in the {len(lines)} lines looked at)")
            )
    line, text = lines[0]
    return f"{name!r}, line {line}: {shown(text[:40])} names no columns that are known; {LAYOUTS}"


def _best(line: int, text: str) -> Header | None:
    """Return the header that a line is under the delimiter that gives it the most meaning."""
    found = []
    for delimiter in DELIMITERS:
        if delimiter and (delimiter not in text and not (delimiter == " " and "\t" in text)):
            continue
        cells = split(text, delimiter, heading=True)
        if (
            len(cells) > 10_000
            or any(map(NUMBER.fullmatch, cells))
            or (len(cells) < 2 and delimiter)
        ):
            continue
        columns = tuple(map(column, cells))
        if not delimiter and columns[0].role == "other" and not re.search(r"[_(\[/]", text):
            continue  # a word and a letter, and no heading
        good = sum(not _is_bad(each) for each in columns)
        if good or any(each.fault for each in columns):
            rank = (good, delimiter in "\t;|," and delimiter != "", -sum(map(_is_bad, columns)))
            found.append((rank, Header(line, delimiter, columns)))
    return max(found, key=lambda each: each[0])[1] if found else None


def _best_with_units(text: str, below: Sequence[Line]) -> Header | None:
    """Return the header of a line of names above a line of units."""
    for number_of, units_text in below:
        for delimiter in ("\t", ";", "|", ","):
            heads = split(text, delimiter)
            units = [unit.strip("()[]") for unit in split(units_text, delimiter)]
            known = [bool(find_units(unit)) for unit in units]
            if len(heads) < 2 or len(units) > len(heads) or not any(known):
                continue
            if all(good or not unit for good, unit in zip(known, units, strict=True)):
                units += [""] * (len(heads) - len(units))
                both = [f"{h} ({u})" if u else h for h, u in zip(heads, units, strict=True)]
                return Header(number_of, delimiter, tuple(map(column, both)))
    return None


def _is_bad(each: Column) -> bool:
    return bool(each.fault) or each.role in ("unused", "unnamed")


def _names_reads(header: Header) -> bool:
    """Whether a line can be nothing but a header: it names reads, alone or among what it knows."""
    reads = [each for each in header.columns if each.is_read]
    known = any(each.role != "other" for each in reads)
    return bool(reads) and (known or not any(map(_is_bad, header.columns)))


def _unless_data(name: str, header: Header, above: Sequence[Line]) -> Header:
    """Return the header, unless rows of numbers stand above it, which would be lost."""
    for line, text in above:
        cells = split(text, header.delimiter)
        if len(cells) > 1 and all(map(NUMBER.fullmatch, cells)):
            raise InputError(
                f"{name!r}, line {line} holds numbers above the header in line {header.line}: put "
                "the header above all rows"
            )
    return header


def is_comment(text: str, delimiter: str = "") -> bool:
    """Whether a line is a comment: not where it begins with the delimiter, or a cell of Excel's."""
    start = text.lstrip()
    cells = start.startswith(EXCEL) or (delimiter == ";" and start.startswith(";"))
    return start.startswith(COMMENTS) and not cells


def split(text: str, delimiter: str, heading: bool = False) -> list[str]:
    """Return the cells of one line, without the empty ones at its end.

    >>> split("Time (s)   Read (uS)", " ", heading=True), split('"1,5";up;;', ";")
    (['Time(s)', 'Read(uS)'], ['1,5', 'up'])
    """
    if delimiter == " ":
        text = re.sub(r"\s*/\s*|\s+(?=[(\[])", lambda m: m[0].strip(), text) if heading else text
        cells = text.split()
    elif delimiter:
        try:
            cells = [cell.strip() for cell in next(csv.reader([text], delimiter=delimiter))]
        except csv.Error:
            cells = [text.strip()]
    else:
        cells = [text.strip()]
    while len(cells) > 1 and not cells[-1]:
        cells.pop()
    return cells


def number(cell: str, decimal: str = ".") -> float | None:
    """Return the number in a cell, or None where it is none: no unit, no thousands, no "nan".

    >>> number("1.5E-05"), number("1,5e-5", ","), number("1,000"), number("15 uS")
    (1.5e-05, 1.5e-05, None, None)
    """
    plain = cell.strip().replace("\u2212", "-")
    strange = "," if decimal == "." else "."
    if strange in plain or not NUMBER.fullmatch(plain):
        return None
    return float(plain.replace(decimal, "."))
