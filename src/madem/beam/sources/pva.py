"""Frames of an EPICS detector: NTNDArray over pvAccess, as areaDetector serves them.

Every update becomes a message as that of a detector's Stream v2, so that all that can be wrong
with it is judged there (``messages.py``). ``uniqueId`` numbers the images; where it goes back, the
detector has begun anew, and so does the series.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Any

import numpy as np

from madem.beam import needed
from madem.beam.sources import Frame, Gap
from madem.beam.sources.messages import TYPES, encoded
from madem.beam.sources.stream2 import Reading

QUEUE = 100
"""Updates that wait in the client of pvAccess; its own default, four, loses some at 100 Hz."""


@dataclass(frozen=True)
class PvAccess:
    """The images of the process variable ``name``.

    Ends where nothing has come for ``patience`` s; ``network``: what EPICS is told, such as
    ``{"EPICS_PVA_ADDR_LIST": "127.0.0.1"}``; the environment says it where this is None.
    """

    name: str
    reading: Reading
    patience: float = 60.0
    network: dict[str, str] | None = None

    def __iter__(self) -> Iterator[Frame | Gap]:
        """Yield what comes."""
        return self.reading.frames(updates(self.name, self.patience, self.network))


def updates(name: str, patience: float, network: dict[str, str] | None = None) -> Iterator[bytes]:
    """Yield the images of a process variable as messages, until none has come for ``patience`` s.

    What cannot be kept up with is left out: the numbers tell how many that were.
    """
    client = needed("p4p.client.thread", "serve")
    waiting: Queue[Any] = Queue(QUEUE)

    def heard(update: Any) -> None:
        try:
            waiting.put_nowait(update)
        except Full:
            return

    series, last = int(time.time()), -1
    with client.Context("pva", conf=network, useenv=network is None, nt=False) as context:
        monitor = context.monitor(
            name, heard, request=f"record[queueSize={QUEUE}]field()", notify_disconnect=True
        )
        try:
            while True:
                update = waiting.get(timeout=patience)
                if isinstance(update, Exception):  # disconnected: it may come again
                    continue
                number = int(update.uniqueId)
                series, last = series + (number < last), number
                yield message_of(update, series, name)
        except Empty:
            return
        finally:
            monitor.close()


def message_of(update: Any, series: int, name: str) -> bytes:
    """Return an NTNDArray as a message; what is no image of plain numbers is refused later on."""
    cbor2 = needed("cbor2", "serve")
    pixels, codec = np.asarray(update.value), str(update.codec.name)
    tags = {np.dtype(kind): tag for tag, kind in TYPES.items()}
    shape = [int(each.size) for each in update.dimension][::-1]  # the fastest one comes first
    tag = tags.get(pixels.dtype, 0)
    array = cbor2.CBORTag(tag, pixels.tobytes()) if tag else cbor2.CBORTag(84, b"")
    if codec:
        array = cbor2.CBORTag(56500, [codec, pixels.dtype.itemsize, b""])
    stamp = update.timeStamp
    return encoded({
        "type": "image", "series_id": series, "series_unique_id": name[:64],
        "image_id": max(0, int(update.uniqueId)),
        "start_time": [int(stamp.secondsPastEpoch) * 10**9 + int(stamp.nanoseconds), 10**9],
        "data": {"image": cbor2.CBORTag(40, [shape, array])},
    })  # fmt: skip
