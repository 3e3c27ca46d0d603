"""The receiver: takes all that a detector sends, at once, and holds it until it was judged.

It never makes the detector wait: what does not fit into the ring any more is dropped, the oldest
first, and counted. A message leaves the ring when the worker says that it is in the record.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from madem.beam import needed
from madem.beam.sources.messages import GIVEN_UP, LARGEST
from madem.beam.sources.pva import updates
from madem.errors import InputError
from madem.serve.config import ServiceConfig
from madem.serve.sockets import attach, bound, plain, taken
from madem.serve.status import Status

AT_ONCE = 100
"""Messages that are taken at once, and that wait in the socket; all others wait in the ring."""


class Held(NamedTuple):
    """A message: its number, when it came (monotonic, s), and its bytes."""

    number: int
    came: float
    content: bytes


@dataclass
class Ring:
    """At most ``most`` messages of together ``most_bytes``; ``dropped`` counts those that are lost.

    ``given``: up to which number the worker has been given messages; one of these that leaves for
    want of room, ``out``, is lost only if the worker asks for it again. What is asked for again is
    given one by one, up to the number ``slow``; one in which two workers have died is given up.

    >>> ring = Ring(2, 10)
    >>> for content in (b"a", b"b", b"c"):
    ...     ring.put(content, 0.0)
    >>> [held.content for held in ring.after(-1, 9)], ring.dropped
    ([b'b', b'c'], 1)
    >>> ring.done(1)
    >>> [held.number for held in ring.after(1, 9)]
    [2]
    """

    most: int
    most_bytes: int
    epoch: str = field(default_factory=lambda: secrets.token_hex(8))
    held: deque[Held] = field(default_factory=deque)
    size: int = 0
    next: int = 0
    dropped: int = 0
    given: int = -1
    out: list[int] = field(default_factory=list)
    slow: int = -1
    worker: int = 0
    died: int = 0
    missed: int = 0

    def put(self, content: bytes, came: float) -> None:
        """Hold a message; the oldest are dropped where there is no room."""
        self.held.append(Held(self.next, came, content))
        self.size, self.next = self.size + len(content), self.next + 1
        self._trim()

    def shrink(self) -> None:
        """Hold half of what is held from now on: there is no memory for more."""
        self.most_bytes = self.size // 2
        self._trim()

    def _trim(self) -> None:
        while len(self.held) > self.most or (self.size > self.most_bytes and len(self.held) > 1):
            oldest = self.held.popleft()
            self.size -= len(oldest.content)
            if oldest.number > self.given:
                self.dropped += 1
            else:
                self.out.append(oldest.number)

    def done(self, number: int) -> None:
        """Forget messages up to ``number``, which are in the record."""
        self.dropped += sum(each > number for each in self.out)
        self.out.clear()
        while self.held and self.held[0].number <= number:
            self.size -= len(self.held.popleft().content)

    def asked(self, number: int, worker: int) -> str | None:
        """Hear process ``worker`` ask for what is after ``number``; return what is odd in that."""
        self.done(number)
        again, other, given = number < self.given, worker != self.worker, self.given
        self.worker, self.died, self.missed = (
            worker, again * (self.died + other), again * (self.missed + (not other)),
        )  # fmt: skip
        if again:
            self.slow, self.given = max(self.slow, given), number
        if self.died > 1 and self.held and self.held[0].number <= given:
            first = self.held[0]
            self.size += len(GIVEN_UP) - len(first.content)
            self.held[0], self.died = first._replace(content=GIVEN_UP), 0
            return "given up"
        return "asked again" if self.missed > 1 else None

    def after(self, number: int, many: int) -> list[Held]:
        """Return at most ``many`` messages after ``number``."""
        found, many = list[Held](), 1 if number < self.slow else many
        for each in self.held:
            if each.number > number:
                found.append(each)
                if len(found) == many:
                    break
        self.given = max([self.given, *(each.number for each in found)])
        return found


def receive(config: ServiceConfig, folder: Path, sockets: Path, alive: Callable[[], bool]) -> None:
    """Receive as long as the service is ``alive``."""
    zmq, cbor2 = needed("zmq", "serve"), needed("cbor2", "serve")
    status, ring = Status(folder / "status", "receiver"), Ring(config.ring, config.ring_bytes)
    context = zmq.Context()
    source = plain(context, "PULL", LARGEST)
    source.setsockopt(zmq.RCVHWM, AT_ONCE)
    worker = bound(context, "ROUTER", f"ipc://{sockets}/ring", "ring")
    feeding: Thread | None = None
    if config.protocol == "stream2":
        attach(source.connect, source, config.source)
    else:
        source.bind("inproc://updates")
        feeding = Thread(target=_forward, args=(context, config), daemon=True)
        feeding.start()
    waiting: tuple[bytes, int, int] | None = None
    while alive():
        if feeding is not None and not feeding.is_alive():
            raise InputError(f"source: {config.source} shows no images (NTNDArray is needed)")
        for ready, _ in _polled(zmq, (source, worker)):
            if ready is source:
                take(source, ring, status)
            else:
                who, *_, said = worker.recv_multipart()
                epoch, number, many, process = cbor2.loads(said)
                number = number if epoch == ring.epoch else -1
                if why := ring.asked(number, process):
                    status.count(why)
                waiting = who, number, many
        if waiting is not None and ring.held and (found := ring.after(*waiting[1:])):
            head = cbor2.dumps([ring.epoch, [each[:2] for each in found], ring.dropped])
            worker.send_multipart([waiting[0], head, *(each.content for each in found)])
            waiting = None
        if ring.dropped > status.counts["dropped"]:
            status.count("dropped", ring.dropped - status.counts["dropped"])
        status.shown = {"waiting": len(ring.held), "bytes": ring.size, "epoch": ring.epoch}
        status.write()


def take(source: Any, ring: Ring, status: Status) -> None:
    """Take what has come into the ring; where there is no memory for it, the ring shrinks."""
    try:
        for content in taken(source, AT_ONCE):
            ring.put(content, time.monotonic())
            status.counts["received"] += 1
    except MemoryError:
        ring.shrink()
        status.count("memory", 1, f"{ring.most_bytes} bytes from now on")


def _polled(zmq: Any, sockets: tuple[Any, ...]) -> list[tuple[Any, int]]:
    found: list[tuple[Any, int]] = zmq.zmq_poll([(each, zmq.POLLIN) for each in sockets], 100)
    return found


def _forward(context: Any, config: ServiceConfig) -> None:
    """Pass on what a process variable shows."""
    zmq = needed("zmq", "serve")
    out = context.socket(zmq.PUSH)
    out.connect("inproc://updates")
    with suppress(AttributeError, TypeError, ValueError):  # of a variable that shows something else
        while True:
            for content in updates(config.source, 3600.0):
                out.send(content)
