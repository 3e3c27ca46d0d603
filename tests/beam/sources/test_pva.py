"""pvAccess end to end: a simulator that others wrote, in a process of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from madem.beam.geometry import Module
from madem.beam.sources import Frame, Gap
from madem.beam.sources.pva import PvAccess, message_of
from madem.beam.sources.stream2 import Reading

pytest.importorskip("cbor2", reason="needs the extra serve: pip install 'madem[serve]'")

SIMULATOR = os.environ.get("MADEM_PVAPY") or shutil.which("pvapy-ad-sim-server")
MODULE = Module(rows=64, columns=128, grid=(1, 2))


needs_simulator = pytest.mark.skipif(
    SIMULATOR is None, reason="no pvapy-ad-sim-server: set MADEM_PVAPY to its path"
)


@contextmanager
def simulated(*shown: str) -> Iterator[dict[str, str]]:
    """Let a simulator show images at ``madem:image``, and yield what EPICS is to be told."""
    pytest.importorskip("p4p", reason="needs the extra serve")
    with socket.socket() as one, socket.socket(type=socket.SOCK_DGRAM) as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, called = (str(each.getsockname()[1]) for each in (one, other))
    network = {
        "EPICS_PVA_ADDR_LIST": "127.0.0.1", "EPICS_PVA_AUTO_ADDR_LIST": "NO",
        "EPICS_PVA_BROADCAST_PORT": called,
    }  # fmt: skip
    own = network | {
        "EPICS_PVAS_INTF_ADDR_LIST": "127.0.0.1", "EPICS_PVAS_BEACON_ADDR_LIST": "127.0.0.1",
        "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO", "EPICS_PVAS_SERVER_PORT": port,
        "EPICS_PVA_SERVER_PORT": port, "EPICS_PVAS_BROADCAST_PORT": called,
    }  # fmt: skip
    simulator = subprocess.Popen(
        [str(SIMULATOR), "-cn", "madem:image", *shown, "-dt", "uint16", "-fps", "50", "-nf", "50",
         "-rp", "0", "-dc"],
        env=os.environ | own, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield network
    finally:
        simulator.terminate()
        simulator.wait(10)


@needs_simulator
def test_frames_of_pvapys_simulator() -> None:
    found, many = [], 0
    with simulated("-nx", "130", "-ny", "70", "-mn", "0", "-mx", "20", "-rt", "60") as network:
        for each in PvAccess("madem:image", Reading(MODULE, corner=(1, 2)), 20.0, network):
            found.append(each)
            many += isinstance(each, Frame)
            if many == 100:
                break
    frames = [each for each in found if isinstance(each, Frame)]
    numbers = [each.number for each in frames]
    later = found[found.index(frames[0]) :]  # before it: an update without an image, and the start
    missing = sum(each.count for each in later if isinstance(each, Gap))
    assert len(numbers) == 100
    assert numbers[-1] - numbers[0] == 99 + missing
    assert missing <= 5
    assert all(f.image.shape == MODULE.shape and f.image.min() >= 0 for f in frames)
    assert max(float(f.image.max()) for f in frames) == 19  # the largest is left out
    assert all(b.time > a.time for a, b in pairwise(frames))


def update(number: int, pixels: np.ndarray, codec: str = "") -> SimpleNamespace:
    return SimpleNamespace(
        value=pixels.ravel(), uniqueId=number, codec=SimpleNamespace(name=codec),
        dimension=[SimpleNamespace(size=size) for size in pixels.shape[::-1]],
        timeStamp=SimpleNamespace(secondsPastEpoch=5, nanoseconds=number),
    )  # fmt: skip


def test_an_array_is_turned_the_right_way_and_what_is_none_is_refused() -> None:
    pixels = np.arange(70 * 130, dtype=np.uint16).reshape(70, 130)
    sent = [update(3, pixels), update(4, pixels, "jpeg"), update(5, pixels.astype(np.int64))]
    reading = Reading(MODULE, corner=(1, 2))
    _, frame, *gaps = reading.frames(message_of(each, 1, "a:b") for each in sent)
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.image, pixels[1:65, 2:130])
    assert [g.why for g in gaps if isinstance(g, Gap)] == ["compression", "type"]
