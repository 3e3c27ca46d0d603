"""Tables in text files: a header of column names, and one sample a line."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from madem.data.sets import MISSING, SHARES, Predict, Rows, Shares, finite
from madem.data.task import Finite
from madem.documents import LARGEST, read
from madem.errors import InputError, abridged, nearest, shown
from madem.memory import refuse_memory

DELIMITERS = ",;\t|"


def csv_table(
    path: str,
    target: str,
    columns: tuple[str, ...] | None = None,
    without: tuple[str, ...] = (),
    predict: Predict = "classes",
    shares: Shares = SHARES,
    reach: float | None = 3.0,
    seed: int = 0,
) -> Finite:
    """Return the task of a table: predict one column from others.

    The first line names the columns; comma, semicolon, tab or ``|`` part them, whichever cuts it
    into most. A decimal comma is understood where semicolons part columns.

    Args:
        path: of a text file in UTF-8 (or Windows-1252).
        target: the column to predict.
        columns: what to predict it from, all others where None; they must hold numbers.
        without: columns that are left out where ``columns`` is None, such as a patient's number.
        predict: ``classes``: the target is text or numbers, every different one a class;
            ``numbers``: it is a number, learned by squared error, with mean 0 and standard
            deviation 1 over the rows to train on.
        shares: of the rows to train on, to look at and to test with; classes in equal shares.
        reach: columns are shifted and scaled to mean 0 and standard deviation ``1 / reach`` over
            the rows to train on, and what lies beyond -1 or 1 is held there, where a chip's drivers
            end. None leaves them as they are. A column that is the same in all rows to train on
            becomes 0.
        seed: which rows fall into which set.

    Raises:
        InputError: naming file, line and column, for whatever cannot be used.
    """
    name = abridged(path)
    text = _text(Path(path))
    try:
        return finite(_rows(name, text, target, columns, without, predict), shares, reach, seed)
    except csv.Error as error:
        raise InputError(f"task.path: {name} cannot be cut into cells: {error}") from None


def _text(path: Path) -> str:
    """Return the text of a file that fits the memory."""
    size = path.stat().st_size if path.is_file() else 0
    refuse_memory({f"the size of {abridged(path)}": 20.0 * size})
    content = read(path, "task.path", max(size, LARGEST))
    if b"\0" in content[:4096]:
        raise InputError(f"task.path: {abridged(path)} is not text: save it as CSV in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _rows(
    name: str,
    text: str,
    target: str,
    columns: Sequence[str] | None,
    without: Sequence[str],
    predict: Predict,
) -> Rows:
    lines = io.StringIO(text, newline="")
    first = next(lines, "").rstrip("\r\n")
    sign = max(DELIMITERS, key=lambda each: len(next(csv.reader([first], delimiter=each), [])))
    header = [cell.strip() for cell in next(csv.reader([first], delimiter=sign), [])]
    used = _used(name, header, target, columns, without)
    goal, numbers = header.index(target), [header.index(each) for each in used]
    values, labels, places = array("d"), list[str](), array("q")
    shared: dict[str, str] = {}
    kept = numbers if predict == "classes" else [*numbers, goal]
    for line, cells in _cells(name, lines, sign, len(header)):
        try:
            values.extend([float(cells[index]) for index in kept])
        except ValueError:
            values.extend(_number(name, line, header[i], cells[i], sign) for i in kept)
        label = cells[goal].strip()
        if len(label) > 100:
            raise InputError(f"task.path: {name}, line {line}: the target {shown(target)} must be "
                             f"a name of at most 100 characters, but has {len(label)}")  # fmt: skip
        labels.append(shared.setdefault(label, label))
        places.append(line)
    if not places:
        raise InputError(f"task.path: {name} has no rows below its header")
    table = np.frombuffer(values).reshape(len(places), len(kept))
    return Rows(
        table[:, : len(numbers)],
        np.array(labels) if predict == "classes" else table[:, len(numbers) :],
        f"the column {shown(target)}",
        lambda row: f"task.path: {name}, line {places[row]}",
        lambda index: f"the column {shown(used[index])}",
    )


def _used(
    name: str,
    header: Sequence[str],
    target: str,
    columns: Sequence[str] | None,
    without: Sequence[str],
) -> list[str]:
    """Return the columns to predict from, or refuse a header or a choice that cannot be used."""
    twice = sorted({each for each in header if header.count(each) > 1})
    if twice:
        raise InputError(f"task.path: {name}, line 1: the column {shown(twice[0])} is there twice")
    numbers = [each for each in header if _is_number(each)]
    if numbers and (target not in header or len(numbers) == len(header)):
        raise InputError(f"task.path: {name}, line 1 must name the columns, {shown(target)} among "
                         f"them, but has the number {numbers[0]}")  # fmt: skip
    if len(header) < 2:
        raise InputError(f"task.path: {name}, line 1 has one column: target and inputs are needed, "
                         "with a comma, semicolon, tab or | between them")  # fmt: skip
    asked = {"target": (target,), "columns": columns or (), "without": without}
    for key, names in asked.items():
        for each in names:
            if each not in header:
                raise InputError(f"task.{key}: {name} has no column {shown(each)}: "
                                 f"{nearest(each, header)}")  # fmt: skip
    if columns is not None and (target in columns or without or len(set(columns)) < len(columns)):
        what = f"must not hold the target {shown(target)}" if target in columns else (
            "and task.without exclude each other" if without else "holds a name twice")  # fmt: skip
        raise InputError(f"task.columns {what}")
    used = list(columns or (c for c in header if c != target and c not in without))
    if not used:
        raise InputError(f"task.without leaves no column of {name} to predict from")
    if "" in used:
        raise InputError(f"task.path: {name}, line 1: column {header.index('') + 1} has no name: "
                         "name it, or leave it out (task.without: [''])")  # fmt: skip
    return used


def _cells(name: str, lines: io.StringIO, sign: str, width: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each row, and its line."""
    reader = csv.reader(lines, delimiter=sign, strict=True)
    for cells in reader:
        if len(cells) != width and any(cell.strip() for cell in cells):
            raise InputError(f"task.path: {name}, line {reader.line_num + 1}: {len(cells)} values "
                             f"for {width} columns (between them: {sign!r})")  # fmt: skip
        if len(cells) == width and any(cells):
            yield reader.line_num + 1, cells


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell.strip().lower() not in MISSING


def _number(name: str, line: int, column: str, cell: str, sign: str) -> float:
    """Return the number in a cell, NaN where it is missing; refuse text."""
    text = cell.strip()
    if text.lower() in MISSING:
        return float("nan")
    try:
        return float(text.replace(",", ".") if sign == ";" else text)
    except ValueError:
        raise InputError(f"task.path: {name}, line {line}: the column {shown(column)} must hold "
                         f"numbers, but has {shown(text)}: leave it out (task.without), or write a "
                         "column of 0 and 1 for each word") from None  # fmt: skip
