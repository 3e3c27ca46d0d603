"""The record of verdicts: one line a message, in one file a series, which a kill cannot split.

A line holds what a message brought, where in the stream one was after it, and which message of the
receiver it was. So whoever begins again knows what has been judged, and what comes next; a line
that was cut off is no line.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from madem.beam import needed
from madem.beam.sources.stream2 import Place
from madem.experiments.running.files import write_atomically

TAIL = 1 << 20
"""Bytes at the end of a file in which its last line is."""

MOST = 10_000_000
"""Frames of a series that are listed."""
UNKNOWN = "unknown"
"""Stands for a mask that could not be read."""

Line = Mapping[str, Any]


class Known(NamedTuple):
    """What a record ends with: how many lines it has, the place, the message's epoch and number."""

    lines: int = 0
    place: Place = Place()
    at: tuple[str, int] = ("", -1)


@dataclass(frozen=True)
class Record:
    """The verdicts in the folder ``path``."""

    path: Path

    def known(self) -> Known:
        """Return what was judged; a line that a kill has cut off is removed."""
        self.path.mkdir(parents=True, exist_ok=True)
        last, names, mask = Known(), list[str](), ""
        for file in self.path.glob("*.jsonl"):
            line = _mended(file)
            if line is None:
                continue
            names.append(line["place"][0])
            if line["n"] > last.lines:
                series, following, time, kind, announced, begun, gaps = line["place"]
                place = Place(series, following, time, kind, announced, begun, (), tuple(gaps))
                last, mask = Known(line["n"], place, tuple(line["at"])), line.get("mask", "")
        last = last._replace(place=last.place._replace(mask=self._mask(mask)))
        over = tuple(name for name in names if name != last.place.series or not last.place.open)
        return last._replace(place=last.place._replace(over=over[-100:]))

    def add(self, lines: Sequence[tuple[Place, Line]]) -> None:
        """Add lines, each to the file of its series, in one write where they are of one."""
        texts = list[tuple[Path, bytes]]()
        for place, line in lines:
            said = {**line, "place": [*place[:6], place.gaps], "mask": self._kept(place.mask)}
            file, text = self.file(place.series), json.dumps(said, allow_nan=False).encode() + b"\n"
            if texts and texts[-1][0] == file:
                text = texts.pop()[1] + text
            texts.append((file, text))
        for file, text in texts:
            opened = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                left = text
                while left:
                    left = left[os.write(opened, left) :]
            finally:
                os.close(opened)

    def _kept(self, mask: bytes | None) -> str:
        """Keep the mask of a series in a file of its own, and return its name."""
        if not mask:
            return "" if mask is not None else UNKNOWN
        name = sha256(mask).hexdigest()
        if not (file := self.path / "masks" / name).exists():
            file.parent.mkdir(exist_ok=True)
            write_atomically(file, mask)
        return name

    def _mask(self, name: str) -> bytes | None:
        """Return the mask of a name, None where it is not there whole."""
        if not name:
            return b""
        with suppress(OSError):
            mask = (self.path / "masks" / Path(name).name).read_bytes()
            return mask if sha256(mask).hexdigest() == name else None
        return None

    def file(self, series: str) -> Path:
        """Return where the verdicts of a series are."""
        name = re.sub(r"[^A-Za-z0-9~-]", "_", series)[:80] or "unknown"
        same = name == series or not series
        return self.path / f"{name if same else f'{name}.{crc32(series.encode()):08x}'}.jsonl"

    def reached(self, series: str) -> int:
        """Return which image of a series comes next, 0 where none was seen."""
        with suppress(OSError):
            return int((_last(self.file(series)) or {"place": [series, 0]})["place"][1])
        return 0

    def lines(self, series: str) -> Iterator[dict[str, Any]]:
        """Yield the lines of a series."""
        with suppress(FileNotFoundError), self.file(series).open("rb") as file:
            for line in file:
                with suppress(ValueError):
                    yield json.loads(line)

    def export(self, series: str, folder: Path) -> list[Path]:
        """Write which frames of a series are to be kept, as text and as flags in HDF5.

        Of the first ``MOST`` frames; there are so many in no series but a forged one. The text has
        one number a line after lines of ``#``; frames without a verdict are in it,
        since what was not judged is kept. In HDF5, ``entry/madem/keep`` is 1 for frames to be kept,
        0 for others, 2 where there was no verdict; ``score``: not a number there.
        """
        judged, end = dict[int, Any](), 0
        for line in self.lines(series):
            judged |= {each["image"]: each for each in line["verdicts"]}
            for gap in line["gaps"]:
                end = max(end, gap["image"] + gap["count"])
        end = min(MOST, max([end, *(n + 1 for n in judged)]))
        keep = np.full(end, 2, np.uint8)
        score = np.full(end, np.nan, np.float32)
        for number, each in judged.items():
            if number < end:
                keep[number], score[number] = each["would"], each["score"]
        name = self.file(series).stem
        text = f"# frames to be kept\n# series: {series}\n# frames: {end}\n"
        text += "".join(f"{number}\n" for number in np.flatnonzero(keep))
        folder.mkdir(parents=True, exist_ok=True)
        listed = folder / f"{name}.txt"
        write_atomically(listed, text.encode())
        with suppress(ImportError, ValueError):
            h5py = needed("h5py")
            part = folder / f".{name}.part"
            with h5py.File(part, "w") as file:
                file["entry/madem/keep"], file["entry/madem/score"] = keep, score
            return [listed, part.rename(folder / f"{name}.h5")]
        return [listed]


def _mended(file: Path) -> dict[str, Any] | None:
    """Return the last whole line of a file, after which nothing is left in it."""
    with file.open("rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - TAIL))
        text = opened.read()
    if left := len(text) - 1 - text.rfind(b"\n"):
        os.truncate(file, size - left)
    return _last(file)


def _last(file: Path) -> dict[str, Any] | None:
    """Return the last whole line of a file."""
    with file.open("rb") as opened:
        opened.seek(max(0, opened.seek(0, os.SEEK_END) - TAIL))
        text = opened.read()
    for line in reversed(text[: text.rfind(b"\n") + 1].splitlines()):
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            held: dict[str, Any] = json.loads(line)
            series, following, *_, gaps = place = held["place"]
            texts, numbers = (series, held.get("mask", "")), (held["n"], following)
            right = len(place) == 7 and isinstance(gaps, list) and len(held["at"]) == 2
            right = right and all(isinstance(each, str) for each in texts)
            if right and all(isinstance(each, int) for each in numbers):
                return held
    return None
