"""The inputs of the newest frames, in a file of so many rows, for labels that come later.

The worker adds rows, a learner reads them whenever it has begun, and notes in a row which label it
has used. A row that a kill has cut off has a wrong checksum, and is none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np

from madem.beam.geometry import Array

AT_ONCE = 256
"""Rows that are read at once."""
LONGEST = 300
"""Bytes of the longest name of a series."""


class Input(NamedTuple):
    """A frame as it was judged: the number of its row, its score then, its inputs, its label."""

    row: int
    series: str
    image: int
    score: float | None
    x: Array
    label: bool | None = None


@dataclass
class Inputs:
    """At most ``most`` rows of ``features`` numbers in the folder ``path``; ``next`` is to come.

    >>> import tempfile
    >>> inputs = Inputs(Path(tempfile.mkdtemp()), most=2, features=1)
    >>> for image in range(3):
    ...     inputs.add([("1-A", image, None, np.float32([image]))])
    >>> other = Inputs(inputs.path, 2, 1)
    >>> [each.image for each in other.new()], [each.image for each in other.new()]
    ([1, 2], [])
    """

    path: Path
    most: int
    features: int
    next: int = 0

    def __post_init__(self) -> None:
        """Take the file, which is made where there is none, and begin before its first row."""
        held = [("row", "<u8"), ("image", "<i8"), ("score", "<f4"), ("series", f"S{LONGEST}"),
                ("x", "<f4", (self.features,))]  # fmt: skip
        self.kept = np.dtype(held)
        self.kind = np.dtype([*held, ("sum", "<u4"), ("label", "<u8")])
        name = f"inputs.{self.most}.{self.features}"
        for other in self.path.glob("inputs.*"):
            own = re.fullmatch(r"inputs\.\d+\.\d+", other.name) and other.is_file()
            if own and other.name != name:
                other.unlink(missing_ok=True)
        self.file = os.open(self.path / name, os.O_RDWR | os.O_CREAT, 0o666)

    def __del__(self) -> None:
        """Let go of the file."""
        if hasattr(self, "file"):
            os.close(self.file)

    def end(self) -> None:
        """Go behind the newest row, from which on more are added."""
        self.next = max((int(each["row"]) for each in self._all()), default=0) + 1

    def add(self, frames: Sequence[tuple[str, int, float | None, Array]]) -> None:
        """Add frames: series, number, score and inputs of each; raises ``OSError``."""
        self.next = self.next or 1
        for series, image, score, x in frames:
            row = np.zeros((), self.kind)
            value = np.nan if score is None else score
            for name, each in zip(self.kept.names or (), (self.next, image, value,
                                  series.encode()[:LONGEST], x), strict=True):  # fmt: skip
                row[name] = each
            row["sum"] = crc32(row.tobytes()[: self.kept.itemsize])
            os.pwrite(self.file, row.tobytes(), self._place(self.next))
            self.next += 1

    def new(self) -> Iterator[Input]:
        """Yield the frames that were added since, the oldest first."""
        while rows := self._from(self.next):
            for row in rows:
                number, score, noted = int(row["row"]), float(row["score"]), int(row["label"])
                self.next = number + 1
                yield Input(
                    number, bytes(row["series"]).decode(errors="replace"), int(row["image"]),
                    None if np.isnan(score) else score, row["x"].copy(),
                    bool(noted & 1) if noted >> 1 == number else None,
                )  # fmt: skip

    def label(self, row: int, hit: bool) -> None:
        """Note that the label of a row was used; raises ``OSError``."""
        at = self._place(row) + self.kind.itemsize - 8
        os.pwrite(self.file, (2 * row + hit).to_bytes(8, "little"), at)

    def _place(self, row: int) -> int:
        return row % self.most * self.kind.itemsize

    def _read(self, first: int) -> list[np.void]:
        """Return some rows from a place of the file on, those that are whole."""
        size, many = self.kind.itemsize, min(AT_ONCE, self.most - first)
        content = os.pread(self.file, many * size, first * size)
        rows = np.frombuffer(content[: len(content) // size * size], self.kind)
        begun = self.kept.itemsize
        return [row for row in rows if row["row"] and row["sum"] == crc32(row.tobytes()[:begun])]

    def _all(self) -> Iterator[np.void]:
        for first in range(0, self.most, AT_ONCE):
            yield from self._read(first)

    def _from(self, number: int) -> list[np.void]:
        """Return the next rows from a number on; all from there on where that one is gone."""
        next_ = [row for row in self._read(number % self.most) if int(row["row"]) >= number]
        if number and (not next_ or int(next_[0]["row"]) == number):
            return next_
        return sorted((row for row in self._all() if int(row["row"]) >= number),
                      key=lambda row: int(row["row"]))  # fmt: skip
