"""A message of a DECTRIS detector, as its interface Stream v2 has it: CBOR, read and written.

What it may be is of the interface's description (github.com/dectris/documentation, ``stream_v2``;
CBOR, RFC 8949; arrays, RFC 8746). It is judged before anything of its size is taken: what it says
of sizes has to fit together, and only the channel that is asked for is decompressed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from madem.beam import needed
from madem.beam.sources import Frame

MANY = 1_000_000_000
"""How many images a series may have."""
LARGEST = 64 * 2**20
"""Bytes of the largest message that is read."""
PIXELS = 2**25
"""Pixels of the largest image."""
DEEPEST = 12
"""Levels of the deepest message; those of detectors have six."""
ITEMS = 100_000
"""Items of CBOR in the largest message; those of detectors have below 1,000."""
BLOCK = 2**20
"""Bytes of the largest block that is compressed by itself; detectors have 8,192."""
GIVEN_UP = b"given up"
"""Stands for a message in which who read it has died, again and again."""

TYPES = {
    64: "u1", 65: ">u2", 66: ">u4", 68: "u1", 69: "<u2", 70: "<u4", 72: "i1", 77: "<i2",
    78: "<i4", 85: "<f4", 86: "<f8",
}  # fmt: skip
"""Types of pixels by the tag of their array."""
BUILT_IN = (
    1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000,
)  # fmt: skip
"""Tags that cbor2 would make objects of, and that no message needs."""

REASONS = {
    "too large": "check what sends to this port: no message of a detector is as large",
    "given up": "the worker died twice in one message: its image is kept; report it with the log",
    "not CBOR": "check that the detector's stream format is cbor, and what else sends to this port",
    "unknown tag": "check the version of the detector's stream",
    "not a message": "check that the detector's stream format is cbor",
    "series unknown": "check what sends to this port: an image without its series or number",
    "channel absent": "set channel to one that the detector sends, or switch its threshold on",
    "shape": "set module.rows, columns and corner to the detector's, or its region of interest",
    "type": "check the bit depth of the detector: pixels are numbers of 8 to 32 bits, or floats",
    "type changed": "end the series before the bit depth is changed",
    "size": "the message is damaged or forged: check what sends to this port",
    "compression": "set the detector's compression to bslz4, lz4 or none",
    "damaged": "the message does not decompress: check the network, and what sends to this port",
    "lost": "frames did not arrive: check the network, the load, and other clients of the stream",
    "start missed": "start the service before the detector is armed",
    "end missed": "the series before was aborted, or its end was lost: look at the detector",
    "ended early": "the series ended before all its images came: look at the detector",
    "after the end": "images of a series that is over: abort leaves them; nothing is to be done",
    "number went back": "an image came twice or late, and was judged before: check the network",
    "clock went back": "check the clock of the detector",
    "shared": "stop the other client of the stream: it takes frames in turn with this one",
    "empty": "most pixels hold nothing: look at the detector",
    "mask unknown": "the detector's pixel mask cannot be read: frames are kept until it is armed "
                    "again",
}  # fmt: skip
"""Why there is a gap, and what to do about it."""


class RefusedError(ValueError):
    """A message that cannot be used; its text is a key of ``REASONS``."""


class Coded(NamedTuple):
    """An array as it came: its ``shape`` and ``type``, still compressed by ``how``, if at all."""

    shape: tuple[int, ...]
    type: str
    data: bytes
    how: str = ""

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return math.prod(self.shape) * np.dtype(self.type).itemsize

    def __call__(self) -> NDArray[Any]:
        """Return the array; raise ``RefusedError`` where its bytes are not what they should be."""
        if len(self.shape) != 2 or not 0 < math.prod(self.shape) <= PIXELS:
            raise RefusedError("shape")
        return np.frombuffer(self._plain(), self.type).reshape(self.shape)

    def _plain(self) -> bytes:
        """Return its bytes, decompressed."""
        if not self.how:
            if len(self.data) != self.size:
                raise RefusedError("size")
            return self.data
        # both begin with the sizes of all, and of what is compressed by itself, big-endian
        block = int.from_bytes(self.data[8:12], "big")
        if len(self.data) < 12 or int.from_bytes(self.data[:8], "big") != self.size:
            raise RefusedError("size")
        item = np.dtype(self.type).itemsize
        if not 8 * item <= block <= max(BLOCK, self.size):
            raise RefusedError("size")
        decompress = needed("dectris.compression", "serve").decompress
        try:
            plain: bytes = decompress(self.data, self.how, elem_size=item)
        except Exception:  # of the compiled library: whatever it says, these bytes are no image
            raise RefusedError("damaged") from None
        if len(plain) != self.size:
            raise RefusedError("size")
        return plain


class Message(NamedTuple):
    """A message: ``what`` it is, of which ``series``; an image has a ``number`` and its ``parts``.

    ``parts``: arrays by channel, masks in a start; ``announced``: images of the series, if said.
    """

    what: str
    series: str
    number: int = 0
    time: float = 0.0
    parts: Mapping[str, Coded] = {}
    announced: int | None = None


class _Blob(NamedTuple):
    """Bytes in a tag: with the type of their numbers, and how they are compressed."""

    data: bytes
    how: str = ""
    type: str = ""


def parsed(content: bytes) -> Message:
    """Return what the bytes of a message say; nothing is decompressed.

    Raises ``RefusedError``.
    """
    if len(content) > LARGEST or _crowded(content):
        raise RefusedError("too large")
    if content == GIVEN_UP:
        raise RefusedError("given up")
    cbor2 = needed("cbor2", "serve")
    refused: dict[int, Any] = dict.fromkeys(BUILT_IN, refuse)
    try:
        held = cbor2.loads(
            content, tag_hook=_tagged, semantic_decoders=refused | {0: lambda text, _: text},
            max_depth=DEEPEST, allow_indefinite=False, allow_duplicate_keys=False,
            strict_hashable_types=True,
        )  # fmt: skip
    except RefusedError:
        raise
    except Exception as error:
        cause = error.__cause__
        raise RefusedError(str(cause) if isinstance(cause, RefusedError) else "not CBOR") from None
    if not isinstance(held, Mapping) or held.get("type") not in ("start", "image", "end"):
        raise RefusedError("not a message")
    return _message(held)


def _crowded(content: bytes) -> bool:
    """Return whether a message has more than ``ITEMS`` items: each would become an object.

    By the heads of items alone (RFC 8949, 3): strings are skipped. What has a head that is none, or
    no length in it, is left to the decoder, which refuses it there.
    """
    at, left = 0, 1
    for _ in range(ITEMS):
        if not left or at >= len(content) or (size := content[at] & 31) > 27:
            return False
        kind, at = content[at] >> 5, at + 1
        if size > 23:
            end = at + (1 << (size - 24))
            size, at = int.from_bytes(content[at:end], "big"), end
        at += size * (kind in (2, 3))  # bytes, text
        left += {4: size, 5: 2 * size, 6: 1}.get(kind, 0) - 1  # an array, a map, a tag
    return left > 0


def _message(held: Mapping[str, Any]) -> Message:
    """Return a message of what CBOR held."""
    what, count = held["type"], held.get("number_of_images")
    series = f"{_count(held.get('series_id'), 2**53)}"
    unique = held.get("series_unique_id", "")
    if not isinstance(unique, str) or len(unique) > 64:
        raise RefusedError("series unknown")
    series = f"{series}-{unique}" if unique else series
    if what == "end":
        return Message(what, series)
    arrays = held.get("data" if what == "image" else "pixel_mask", {})
    if not isinstance(arrays, Mapping):
        raise RefusedError("not a message")
    parts = {key: each for key, each in arrays.items() if isinstance(each, Coded)}
    if what == "start":
        return Message(what, series, 0, 0.0, parts, None if count is None else _count(count))
    return Message(what, series, _count(held.get("image_id")), _seconds(held), parts)


def _count(value: Any, most: int = MANY) -> int:
    """Return a number from 0 to ``most``; refuse what is none."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise RefusedError("series unknown")
    return value


def _seconds(held: Mapping[str, Any]) -> float:
    """Return when an image began, s, zero where that is not said."""
    match held.get("start_time"):
        case [int(above), int(below)] if below > 0 and 0 <= above < 2**63:
            return above / below
    return 0.0


def refuse(value: Any, immutable: bool) -> Any:
    """Refuse a tag of CBOR, whatever it holds."""
    del value, immutable
    raise RefusedError("unknown tag")


def _tagged(tag: Any, immutable: bool) -> Any:
    """Return what a tag holds: compressed bytes, numbers of a type, an array, or a message."""
    del immutable
    match tag.tag, tag.value:
        case 56500, [("bslz4" | "lz4") as how, int(), bytes(data)]:
            return _Blob(data, how)
        case 56500, _:
            raise RefusedError("compression")
        case number, (bytes() | _Blob()) as inner if number in TYPES:
            blob = inner if isinstance(inner, _Blob) else _Blob(inner)
            return blob._replace(type=TYPES[number])
        case 40, [[int(), *_] as shape, _Blob(data, how, kind)] if kind and len(shape) <= 2:
            if not all(isinstance(n, int) and 0 < n <= PIXELS for n in shape):
                raise RefusedError("shape")
            return Coded(tuple(shape), kind, data, how)
        case ((40 | 85 | 86), _):
            raise RefusedError("type")
        case number, _ if number in TYPES or 64 <= number <= 87:
            raise RefusedError("type")
        case 55799, whole:
            return whole
    raise RefusedError("unknown tag")


def message_of(frame: Frame, channel: str = "threshold_1") -> bytes:
    """Return a frame as the message that a detector would send, its photons as they are."""
    cbor2 = needed("cbor2", "serve")
    empty = ~np.isfinite(frame.image) | (False if frame.mask is None else frame.mask)
    image = np.where(empty, np.float32(np.nan), frame.image)
    number, _, unique = frame.series.partition("-")
    array = cbor2.CBORTag(40, [list(image.shape), cbor2.CBORTag(85, image.tobytes())])
    return encoded({
        "type": "image", "series_id": int(number), "series_unique_id": unique,
        "image_id": frame.number, "start_time": [max(0, round(frame.time * 1e9)), 10**9],
        "data": {channel: array},
    })  # fmt: skip


def edge_of(what: str, series: str, count: int | None = None) -> bytes:
    """Return the message that a series starts or ends, ``what``: *start* or *end*."""
    number, _, unique = series.partition("-")
    said = {"type": what, "series_id": int(number), "series_unique_id": unique}
    return encoded(said if count is None else said | {"number_of_images": count})


def encoded(held: Mapping[str, Any]) -> bytes:
    """Return a message as CBOR that says so of itself."""
    cbor2 = needed("cbor2", "serve")
    content: bytes = cbor2.dumps(cbor2.CBORTag(55799, held))
    return content
