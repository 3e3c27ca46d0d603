"""Rows of one's own become sets: divided by a seed, scaled by what training sees, and checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from madem.data.task import Finite, Part
from madem.errors import InputError, shown
from madem.network import CrossEntropy, SquaredError
from madem.randomness import stream

Predict = Literal["classes", "numbers"]
"""What a target is: one of some classes, or numbers."""

Shares = tuple[float, float, float]
"""Shares of the rows to train on, to look at and to test with; together one."""

SHARES: Shares = (0.7, 0.15, 0.15)
PARTS: tuple[Part, Part, Part] = ("training", "validation", "test")
MISSING = {"", "?", "nan", "na", "n/a", "null"}
"""What stands for a missing value, in small letters."""

LARGEST = 1e30
WITHIN = 0.5
"""Standard deviations of its column within which a predicted number counts as right."""

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Rows:
    """What was read: rows with their targets, and how a message names them.

    Attributes:
        x: inputs ``(rows, *inputs)``, floating point.
        target: class labels as text, ``(rows,)``, or numbers ``(rows, outputs)``, float64.
        target_name: how a message names the target.
        place: how a message names a row, given its number from 0.
        column: how a message names an input, given its number from 0 among the inputs of a row.
    """

    x: Array
    target: Array
    target_name: str
    place: Callable[[int], str]
    column: Callable[[int], str]


def finite(rows: Rows, shares: Shares = SHARES, reach: float | None = 3.0, seed: int = 0) -> Finite:
    """Return the task of ``rows``; what ``csv_table`` says of shares, reach and seed holds.

    Raises ``InputError`` for values that are missing or no finite numbers, for one class, and for a
    division that leaves a set empty or a class out of a set.
    """
    _refuse_missing(rows)
    if rows.target.dtype.kind == "U":
        names, classes = _classes(rows)
        parts = divide(classes, shares, seed)
        _refuse_left_out(rows, names, classes, parts)
        target, spreads = torch.from_numpy(classes), tuple[float, ...]()
    else:
        names = ()
        parts = divide(np.zeros(len(rows.x), int), shares, seed)
        target, spreads = _standardised(rows, parts[0])
    x = _scaled(rows, parts[0], reach)
    training, validation, test = ((x[p], target[p]) for p in map(torch.from_numpy, parts))
    outputs = len(names) or target.shape[1]
    cost = CrossEntropy() if names else SquaredError(WITHIN)
    return Finite(training, validation, test, outputs, cost, names=names, spreads=spreads)


def divide(classes: Array, shares: Shares = SHARES, seed: int = 0) -> tuple[Array, Array, Array]:
    """Return the rows to train on, to look at and to test with, drawn by ``seed``.

    Every set has the classes in the same shares, to within a row. Raises ``InputError`` for shares
    that are none, and where a set would be empty.

    >>> [len(part) for part in divide(np.zeros(569, int))]
    [399, 85, 85]
    """
    if len(shares) != 3 or not all(0 < s < 1 for s in shares) or abs(sum(shares) - 1) > 1e-6:
        raise InputError("task.shares must be three numbers above 0 with the sum 1 (to train on, "
                         f"to look at, to test with), but are {shown(shares)}")  # fmt: skip
    count = len(classes)
    looked, tested = (round(share * count) for share in shares[1:])
    if min(looked, tested, count - looked - tested) < 1:
        raise InputError(f"{count} rows are too few to be divided by task.shares {shown(shares)}: "
                         "every set needs one")  # fmt: skip
    order = torch.randperm(count, generator=stream(seed, "division")).numpy()
    order = order[np.argsort(classes[order], kind="stable")]
    sizes = np.bincount(classes)
    rank = np.arange(count) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    # where a row stands within its class, from 0 to 1: cut there, all classes are cut alike
    order = order[np.argsort((rank + 0.5) / np.repeat(sizes, sizes), kind="stable")]
    ends = count - looked - tested, count - tested
    return order[: ends[0]], order[ends[0] : ends[1]], order[ends[1] :]


def _refuse_missing(rows: Rows) -> None:
    """Refuse what is no finite number, and labels that stand for nothing."""
    for held, name in ((rows.x, rows.column), (rows.target, lambda _: rows.target_name)):
        flat = held.reshape(len(held), -1)
        if held.dtype.kind == "U":
            bad = np.isin(np.char.lower(np.char.strip(flat)), list(MISSING))
        else:
            bad = ~(np.abs(flat) <= LARGEST)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            text = str(flat[row, column]).strip()
            what = "is missing: fill it in, or remove the row" if text.lower() in MISSING else (
                f"must be within {LARGEST:g}, but is {text}")  # fmt: skip
            raise InputError(f"{rows.place(row)}: {name(int(column))} {what}")


def _classes(rows: Rows) -> tuple[tuple[str, ...], Array]:
    """Return the names of the classes, in the order of numbers where all are, and each row's."""
    names, classes = np.unique(rows.target, return_inverse=True)
    if len(names) < 2:
        raise InputError(f"{rows.target_name} is {shown(str(names[0]))} in every row; at least two "
                         "classes are needed")  # fmt: skip
    try:
        order = np.argsort(names.astype(float), kind="stable")
    except ValueError:
        order = np.arange(len(names))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return tuple(map(str, names[order])), place[classes].astype(np.int64)


def _refuse_left_out(
    rows: Rows, names: tuple[str, ...], classes: Array, parts: tuple[Array, ...]
) -> None:
    for part, taken in zip(PARTS, parts, strict=True):
        counts = np.bincount(classes[taken], minlength=len(names))
        if not counts.all():
            left = int(counts.argmin())
            raise InputError(
                f"{rows.target_name}: the class {shown(names[left])} has "
                f"{int((classes == left).sum())} of {len(classes)} rows, none of them in the "
                f"{part} set: give more rows, other task.shares, or task.predict numbers if it is "
                "no class"
            )


def _standardised(rows: Rows, taken: Array) -> tuple[torch.Tensor, tuple[float, ...]]:
    """Return targets of mean 0 and standard deviation 1 over the rows ``taken``, and the latter."""
    mean, spread = rows.target[taken].mean(0), rows.target[taken].std(0)
    if not (spread > 1e-12 * np.abs(mean)).all():
        raise InputError(f"{rows.target_name} is the same in every row to train on")
    return torch.from_numpy((rows.target - mean) / spread).float(), tuple(spread.tolist())


def _scaled(rows: Rows, taken: Array, reach: float | None) -> torch.Tensor:
    """Return the inputs; mean and standard deviation are those of the rows ``taken`` alone."""
    x = rows.x
    if reach is not None:
        if not reach > 0:
            raise InputError(f"task.reach must be positive or null, but is {reach:g}")
        mean, spread = x[taken].mean(0), x[taken].std(0)
        varies = spread > 1e-12 * np.abs(mean)
        if not varies.any():
            raise InputError(f"{rows.place(0)}: every column is the same in all rows to train on")
        x = np.where(varies, (x - mean) / np.where(varies, reach * spread, 1.0), 0.0).clip(-1, 1)
    return torch.from_numpy(np.ascontiguousarray(x, np.float32))
