"""What a process of the service counts and says: a file that others read, and lines of a log."""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from madem.beam.sources.messages import REASONS

KEPT = {
    "late": "frames wait too long: lower the rate, or give the worker a core of its own",
    "masked": "many pixels are masked: look at the detector, or raise masked",
    "warming": "the running statistics have seen too few frames: nothing is to be done",
    "not settled": "the chip did not come to rest: look at its state, roll back if it stays so",
    "no model": "there is no whole generation: calibrate again in an empty folder",
    "writing": "the one chip was being written: nothing is to be done",
    "not finite": "the chip answered with no number: roll back to an older generation",
    "dark": "nothing reached the detector: open the shutter, or look at the beam",
    "saturated": "half of the pixels have one value far above zero: attenuate the beam",
    "storage": "the disk refuses to be written: free space; all is kept until then",
    "audit": "of rejected frames the share audit, one in 100 unless set, is kept, so that missed "
             "hits can be counted: nothing is to be done",
}  # fmt: skip
"""Why a frame is kept without asking its score, and what to do about it."""

TOLD = {
    **REASONS,
    **KEPT,
    "asked again": "messages do not reach the worker in time: give it a core of its own",
    "dropped": "the worker cannot keep up: lower the rate, or judge fewer frames",
    "unsent": "nobody takes the verdicts from their socket: harmless where nobody needs them, "
              "since they are in the record; else start who reads them",
    "label unknown": "labels name frames that were never judged or whose inputs are gone: send "
                     "them sooner, or raise remembered",
    "label waits": "labels came before their frames: nothing is to be done",
    "label twice": "labels came twice: nothing is to be done",
    "label contradicts": "two labels of a frame contradict each other: look at who labels",
    "label refused": "what came as a label is none: send series, image and 0 or 1",
    "label flood": "more labels come than can wait: send fewer",
    "promoted": "what was learned judges from now on: nothing is to be done",
    "rolled back": "what was learned was worse and is undone: look at the labels",
    "drift": "blocks, frames kept, or wrong verdicts are more or fewer: look at beam and sample",
    "restarted": "a process died and was started again: read what it said before",
    "hung": "a process gave no sign of life and was killed: look at the disk, the load and its log",
    "damaged generation": "CURRENT was not whole, an older generation is used: look at the disk",
    "newer generation": "CURRENT is of a newer madem, an older one is used: go on with that madem",
    "memory": "there is no memory for what the detector sends: lower ring and ring_bytes",
    "chip written since": "the chip was written after its generation: it is programmed back",
}  # fmt: skip
"""What is counted, and what an instrument engineer is asked to do about it."""

AGAIN = 60.0
"""Seconds until the log tells the same again."""

logger = logging.getLogger("madem.serve")


class Status:
    """What the process ``name`` has counted, and shows in the file ``name.json`` of ``folder``.

    ``counts``: by reason; ``shown``: anything else that JSON knows; ``waits``: the newest times
    from a frame's arrival to its verdict, s.
    """

    def __init__(self, folder: Path, name: str, every: float = 0.5) -> None:
        """Begin with nothing counted."""
        self.folder, self.name, self.every = folder, name, every
        self.counts: Counter[str] = Counter()
        self.shown: dict[str, Any] = {}
        self.waits: deque[float] = deque(maxlen=10_000)
        self.written = 0.0
        self.said: dict[str, float] = {}

    def count(self, why: str, many: int = 1, where: str = "") -> None:
        """Count ``why``, and say once in a while what to do about it."""
        self.counts[why] += many
        now, where = time.monotonic(), "".join(c if c.isprintable() else "?" for c in where)
        if why in TOLD and now - self.said.get(why, -AGAIN) >= AGAIN:
            self.said[why] = now
            logger.warning("%s: %s (%d so far%s): %s", self.name, why, self.counts[why],
                           f", {where}" if where else "", TOLD[why])  # fmt: skip

    def write(self, now: float | None = None) -> None:
        """Write the file where the last time is long ago."""
        now = time.monotonic() if now is None else now
        if now - self.written < self.every:
            return
        self.written = now
        waits = sorted(self.waits)
        spread = {f"p{q}": waits[min(len(waits) - 1, len(waits) * q // 100)] for q in (50, 99)
                  } if waits else {}  # fmt: skip
        held = {"pid": os.getpid(), "at": time.time(), "counts": dict(self.counts),
                "waits": spread, **self.shown}  # fmt: skip
        part = self.folder / f".{self.name}.json.part"
        try:
            part.write_text(json.dumps(held))
            part.replace(self.folder / f"{self.name}.json")
        except OSError:
            self.count("storage")


def read_all(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what every process shows, by its name."""
    found = dict[str, dict[str, Any]]()
    for file in sorted(folder.glob("[a-z]*.json")):
        with suppress(OSError, ValueError):
            found[file.stem] = json.loads(file.read_text())
    return found


class Control:
    """What a person has asked of a running service: a file of few keys, read when it changes.

    ``shadow``: whether all is kept; ``learning``: whether labels teach; ``generation``: which one
    is wanted, where one was asked for.
    """

    def __init__(self, path: Path) -> None:
        """Look at ``path`` when asked."""
        self.path, self.stamp, self.held = path, 0, dict[str, Any]()

    def __call__(self) -> Mapping[str, Any]:
        """Return what is asked for now."""
        with suppress(OSError, ValueError):
            stamp = self.path.stat().st_mtime_ns
            if stamp != self.stamp:
                self.held, self.stamp = json.loads(self.path.read_text()), stamp
        return self.held
