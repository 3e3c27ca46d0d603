"""Frames of a DECTRIS detector, by its interface Stream v2: series of messages over ZeroMQ.

What is missing, and every message that is refused (``messages.py``), becomes a gap with its reason;
the next message begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from madem.beam import needed
from madem.beam.geometry import Module
from madem.beam.sources import Frame, Gap
from madem.beam.sources.messages import LARGEST, Coded, Message, RefusedError, parsed
from madem.beam.sources.pixels import MISSING, holding, photons
from madem.errors import InputError

REMEMBERED = 100
"""Of so many series that are over it is known that they were."""
WINDOW = 8
"""After so many gaps of one length in a row, another client is taken to share the stream."""


class Place(NamedTuple):
    """Where in a stream one is: in which ``series``, the ``next`` number, when the last one was.

    ``type``: of its pixels; ``announced``: how many images; ``open``: no end has come;
    ``over``: series that have ended, the newest last; ``gaps``: lengths of the newest gaps;
    ``mask``: a bit for each pixel of the module, 1 where it is not to be used, empty where the
    start had no mask, None where it had one that is unknown.
    """

    series: str = ""
    next: int = 0
    time: float = 0.0
    type: str = ""
    announced: int | None = None
    open: bool = False
    over: tuple[str, ...] = ()
    gaps: tuple[int, ...] = ()
    mask: bytes | None = b""

    @property
    def named(self) -> str:
        """The series, as the detector calls it."""
        return self.series.partition("~")[0]

    def left(self, found: list[Frame | Gap], why: str) -> Place:
        """Return where one is when the series is over, and add what of it has not come."""
        missing = max(0, (self.announced or 0) - self.next) if self.open else 0
        if self.open and (missing or why == "end missed"):
            found.append(Gap(self.series, self.next, missing, why))
        over = (*self.over, *([self.series] if self.series else []))[-REMEMBERED:]
        return self._replace(next=self.next + missing, open=False, over=over)


@dataclass(frozen=True)
class Reading:
    """How images of messages become frames of a ``module``.

    ``channel``: which of a detector's thresholds; its first one where None; ``corner``: row and
    column at which the module begins in larger images; ``photon``: what one photon counts.
    """

    module: Module
    channel: str | None = None
    corner: tuple[int, int] = (0, 0)
    photon: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what reads nothing."""
        if not self.photon > 0 or min(self.corner) < 0:
            raise InputError("stream: photon must be positive and corner not negative, but are "
                             f"{self.photon} and {self.corner}")  # fmt: skip

    def frames(
        self, messages: Iterable[bytes], place: Place | None = None
    ) -> Iterator[Frame | Gap]:
        """Yield the frames of ``messages``, and a gap for whatever is missing or was refused.

        ``place``: where one was before the first of them. Every number of a series is yielded once:
        in a frame or in a gap. Gaps of no frames tell of a message that was refused, or of what is
        odd.
        """
        for _, found in self.followed(messages, place or Place()):
            yield from found

    def followed(
        self, messages: Iterable[bytes], place: Place
    ) -> Iterator[tuple[Place, list[Frame | Gap]]]:
        """Yield for each of ``messages`` where one is after it, and what it has brought."""
        for content in messages:
            found = list[Frame | Gap]()
            try:
                message = parsed(content)
                if message.what == "start":
                    place = self._masked(_begun(place, message, found), message, found)
                elif message.what == "end":
                    place = _ended(place, message, found)
                elif message.series in place.over and not (
                    place.open and message.series == place.named
                ):
                    found.append(Gap(message.series, message.number, 0, "after the end"))
                else:
                    place = _arrived(place, message, found)
                    if message.number >= place.next:
                        place = self._image(place, message, found)
            except (ValueError, TypeError, OverflowError, MemoryError) as error:
                # whatever else bytes may do, the next message is read
                why = str(error) if isinstance(error, RefusedError) else "damaged"
                found.append(Gap(place.series, place.next, 0, why))
            yield place, found

    def _masked(self, place: Place, message: Message, found: list[Frame | Gap]) -> Place:
        """Return where one is with the mask that a start has brought."""
        if (coded := self._asked(message.parts)) is None:
            return place
        try:
            return place._replace(mask=np.packbits(self._part(coded) != 0).tobytes())
        except RefusedError as error:
            found.append(Gap(place.series, 0, 0, str(error)))
            return place._replace(mask=None)

    def _image(self, place: Place, message: Message, found: list[Frame | Gap]) -> Place:
        """Add the image of ``message``, or a gap in its place, and return what is next."""
        after = place._replace(next=message.number + 1, time=max(place.time, message.time))
        if message.time < place.time:
            found.append(Gap(place.series, message.number, 0, "clock went back"))
        try:
            if (coded := self._asked(message.parts)) is None:
                raise RefusedError("channel absent")
            if place.type and coded.type != place.type:
                raise RefusedError("type changed")
            if place.mask is None:
                raise RefusedError("mask unknown")
            raw = self._part(coded)
            good = holding(raw)
            if place.mask:
                good &= np.unpackbits(np.frombuffer(place.mask, "u1"), count=good.size).reshape(
                    good.shape) == 0  # fmt: skip
            if good.mean() < MISSING:
                raise RefusedError("empty")
        except RefusedError as error:
            found.append(Gap(place.series, message.number, 1, str(error)))
            return after
        image = photons(raw, good, self.photon)
        mask_ = None if good.all() else ~good
        found.append(Frame(place.series, message.number, after.time, image, mask_))
        return after._replace(type=coded.type)

    def _asked(self, parts: Mapping[str, Coded]) -> Coded | None:
        """Return the array of the channel, None where there is none."""
        return parts.get(next(iter(parts), "") if self.channel is None else self.channel)

    def _part(self, coded: Coded) -> NDArray[Any]:
        """Return the pixels of the module."""
        (row, column), (rows, columns) = self.corner, self.module.shape
        if len(coded.shape) != 2 or (
            coded.shape[0] < row + rows or coded.shape[1] < column + columns
        ):
            raise RefusedError("shape")
        return coded()[row : row + rows, column : column + columns]


def _begun(place: Place, message: Message, found: list[Frame | Gap]) -> Place:
    """Begin the series of a start; one that is over, or half-way, begins under another name."""
    place = place.left(found, "end missed") if place.open else place
    name, again = message.series, 2
    while name in place.over:
        name, again = f"{message.series}~{again}", again + 1
    return Place(name, announced=message.announced, open=True, over=place.over)


def _ended(place: Place, message: Message, found: list[Frame | Gap]) -> Place:
    """End a series."""
    if message.series == place.named:
        return place.left(found, "ended early") if place.open else place
    return place._replace(over=(*place.over, message.series)[-REMEMBERED:])


def _arrived(place: Place, message: Message, found: list[Frame | Gap]) -> Place:
    """Return where one is when an image has come, and add what is missing before it."""
    number = message.number
    if message.series != place.named:
        over = (place.left(found, "end missed") if place.open else place).over
        found.append(Gap(message.series, 0, number, "start missed"))
        return Place(message.series, number, open=True, over=over)
    if number < place.next:
        found.append(Gap(place.series, number, 0, "number went back"))
        return place
    gaps = (*place.gaps, number - place.next)[-WINDOW:]
    if number > place.next:
        why = "shared" if len(gaps) == WINDOW and len(set(gaps)) == 1 else "lost"
        found.append(Gap(place.series, place.next, number - place.next, why))
    return place._replace(next=number, gaps=gaps)


@dataclass(frozen=True)
class Stream2:
    """The stream of a detector at ``address``, such as ``tcp://10.0.0.1:31001``.

    Ends where nothing has come for ``patience`` s; each ``iter`` connects anew.
    """

    address: str
    reading: Reading
    patience: float = 60.0

    def __iter__(self) -> Iterator[Frame | Gap]:
        """Yield what comes."""
        return self.reading.frames(received(self.address, self.patience))


def received(address: str, patience: float) -> Iterator[bytes]:
    """Yield the messages that come from ``address``, until none has for ``patience`` s."""
    zmq = needed("zmq", "serve")
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, LARGEST)
        try:
            socket.setsockopt(zmq.IPV6, "[" in address)
            socket.connect(address)
        except zmq.ZMQError as error:
            raise InputError(f"stream.address: {address!r}: {error}") from None
        while socket.poll(round(1000 * patience)):
            yield socket.recv()
