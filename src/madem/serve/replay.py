"""A detector that is none: frames that are simulated or recorded, sent as Stream v2, and labels."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from madem.beam import needed
from madem.beam.sources import Frame, Source
from madem.beam.sources.messages import edge_of, message_of
from madem.errors import InputError
from madem.serve.labels import Label, messages_of
from madem.serve.sockets import attach, bound, offered, plain

BEGINS = 300.0
"""Seconds for which the first message waits for a service, which may have to be calibrated."""
TELLS = 1.0
"""Seconds after which it says that it waits."""
WAITS = 2.0
"""Seconds for which a frame waits for somebody who takes it."""

logger = logging.getLogger("madem.serve")


@dataclass(frozen=True)
class Sent:
    """How many frames were sent, how many nobody took, and how many labels."""

    frames: int
    lost: int
    labels: int


def replay(
    source: Source, series: str, address: str, rate: float,
    labels: tuple[str, float] | None = None, most: int | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> Sent:  # fmt: skip
    """Send the frames of ``source`` as ``series``, ``rate`` a second, from the port of ``address``.

    ``labels``: where to send what frames show, and how many seconds later; ``most``: frames.
    """
    zmq = needed("zmq", "serve")
    sent, lost, told, late = 0, 0, 0, deque[tuple[float, Label]]()
    with (
        zmq.Context() as context,
        bound(context, "PUSH", address, "source") as out,
        plain(context, "PUSH") as by,
    ):
        for socket in (out, by):
            socket.setsockopt(zmq.LINGER, 2000)
        if labels is not None:
            attach(by.connect, by, labels[0])
        _begin(out, series, address)
        began = time.monotonic()
        for frame in source:
            if not isinstance(frame, Frame):
                continue
            time.sleep(max(0.0, began + sent / rate - time.monotonic()))
            try:
                out.send(message_of(Frame(series, sent, sent / rate, frame.image, frame.mask)))
            except zmq.Again:
                lost += 1
            if labels is not None and frame.truth is not None:
                late.append((time.monotonic() + labels[1], Label(series, sent, frame.truth.hit)))
            sent += 1
            told += _label(by, late, time.monotonic())
            tell(sent)
            if sent == most:
                break
        with suppress(zmq.Again):
            out.send(edge_of("end", series))
        if late:
            time.sleep(max(0.0, late[-1][0] - time.monotonic()))
            told += _label(by, late, time.monotonic())
    return Sent(sent, lost, told)


def _begin(out: Any, series: str, address: str) -> None:
    """Send that the series begins, once somebody is there."""
    zmq = needed("zmq", "serve")
    for wait in (TELLS, BEGINS):
        out.setsockopt(zmq.SNDTIMEO, round(1000 * wait))
        try:
            out.send(edge_of("start", series))
            break
        except zmq.Again:
            if wait == TELLS:
                logger.warning("waiting for a service at %s, %.0f s at most", address, BEGINS)
    else:
        raise InputError(f"source: nobody takes frames at {address}: start the service")
    out.setsockopt(zmq.SNDTIMEO, round(1000 * WAITS))


def _label(socket: Any, late: deque[tuple[float, Label]], now: float) -> int:
    """Send the labels whose time has come, and return how many somebody may take."""
    due = list[Label]()
    while late and late[0][0] <= now:
        due.append(late.popleft()[1])
    taken = [offered(socket, content) for content in messages_of(due)]
    return len(due) if all(taken) else 0
