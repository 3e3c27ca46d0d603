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
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from madem.beam import needed
from madem.beam.sources.stream2 import Place
from madem.experiments.running.files import write_atomically

TAIL = 1 << 20
"""Bytes at the end of a file in which its last line is."""

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
        last, names = Known(), list[str]()
        for file in self.path.glob("*.jsonl"):
            line = _mended(file)
            if line is None:
                continue
            names.append(line["place"][0])
            if line["n"] > last.lines:
                series, *rest, gaps = line["place"]
                following, time, kind, announced, begun = rest
                place = Place(series, following, time, kind, announced, begun, (), tuple(gaps))
                last = Known(line["n"], place, tuple(line["at"]))
        over = tuple(name for name in names if name != last.place.series or not last.place.open)
        return last._replace(place=last.place._replace(over=over[-100:]))

    def add(self, lines: Sequence[tuple[Place, Line]]) -> None:
        """Add lines, each to the file of its series, in one write where they are of one."""
        texts = dict[Path, bytes]()
        for place, line in lines:
            series, following, time, kind, announced, begun, _, gaps = place
            held = [series, following, time, kind, announced, begun, gaps]
            file = self.file(series)
            texts[file] = texts.get(file, b"") + json.dumps(
                {**line, "place": held}, allow_nan=False).encode() + b"\n"  # fmt: skip
        for file, text in texts.items():
            opened = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                left = text
                while left:
                    left = left[os.write(opened, left) :]
            finally:
                os.close(opened)

    def file(self, series: str) -> Path:
        """Return where the verdicts of a series are."""
        name = re.sub(r"[^A-Za-z0-9~-]", "_", series)[:80] or "unknown"
        same = name == series or not series
        return self.path / f"{name if same else f'{name}.{crc32(series.encode()):08x}'}.jsonl"

    def lines(self, series: str) -> Iterator[dict[str, Any]]:
        """Yield the lines of a series."""
        with suppress(FileNotFoundError), self.file(series).open("rb") as file:
            for line in file:
                with suppress(ValueError):
                    yield json.loads(line)

    def export(self, series: str, folder: Path) -> list[Path]:
        """Write which frames of a series are to be kept, as text and as flags in HDF5.

        The text has one number a line after lines of ``#``; frames without a verdict are in it,
        since what was not judged is kept. In HDF5, ``entry/madem/keep`` is 1 for frames to be kept,
        0 for others, 2 where there was no verdict; ``score``: not a number there.
        """
        judged, missing, end = dict[int, Any](), set[int](), 0
        for line in self.lines(series):
            judged |= {each["image"]: each for each in line["verdicts"]}
            for gap in line["gaps"]:
                end = max(end, gap["image"] + gap["count"])
                missing |= set(range(gap["image"], min(gap["image"] + gap["count"], 10_000_000)))
        end = max([end, *(n + 1 for n in judged)])
        keep = np.full(end, 2, np.uint8)
        score = np.full(end, np.nan, np.float32)
        for number, each in judged.items():
            keep[number], score[number] = each["would"], each["score"]
        name = self.file(series).stem
        text = f"# candidate frames, version 1.0\n# series: {series}\n# frames: {end}\n"
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
    with file.open("rb+") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - TAIL))
        text = opened.read()
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):
            opened.truncate(size - len(text) + len(whole))
        for line in reversed(whole.splitlines()):
            with suppress(ValueError, KeyError, TypeError):
                held: dict[str, Any] = json.loads(line)
                _ = held["n"], held["place"][6], held["at"][1]
                return held
    return None
