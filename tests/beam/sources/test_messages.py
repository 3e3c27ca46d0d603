"""A detector's messages: real ones to the digit, and how little is done about those of others."""

from __future__ import annotations

import hashlib
import os
import time
import tracemalloc
from pathlib import Path
from struct import pack

import numpy as np
import pytest

from madem.beam.sources import Frame
from madem.beam.sources.messages import ITEMS, LARGEST, RefusedError, encoded, message_of, parsed

cbor2 = pytest.importorskip("cbor2", reason="needs the extra serve: pip install 'madem[serve]'")

DUMPS = Path(os.environ.get("MADEM_STREAM2", Path(__file__).parents[4] / "shared/data/stream2"))
HELD = {
    ("bslz4_16bit", "threshold_1"): (909218, 4, "a5fb7b3de2e712cd"),
    ("bslz4_16bit", "threshold_2"): (908375, 4, "c0eb69878a79a97f"),
    ("bslz4_16bit", "difference"): (12746469757, 65535, "22b5480a31d039da"),
    ("bslz4_32bit", "threshold_1"): (7414309, 28, "b1b4f7e53db5228b"),
    ("bslz4_32bit", "threshold_2"): (7402644, 28, "14e570e73c8e623b"),
    ("bslz4_32bit", "difference"): (1093837978192325, 4294967295, "70c49acd2bdd4825"),
    ("bslz4_8bit", "threshold_1"): (908237, 4, "2b0438266df218e0"),
    ("bslz4_8bit", "threshold_2"): (909435, 4, "196625c179fd5513"),
    ("bslz4_8bit", "difference"): (50023396, 255, "1d984d0770f31117"),
    ("lz4_16bit", "threshold_1"): (909298, 4, "6cb12e9ad9e60596"),
    ("lz4_16bit", "threshold_2"): (909365, 4, "4934621ab8c55535"),
    ("lz4_16bit", "difference"): (12760296689, 65535, "2380747fd30a5461"),
    ("lz4_8bit", "threshold_1"): (909336, 4, "14365cf45c1fd9f4"),
    ("lz4_8bit", "threshold_2"): (908359, 4, "5f00ef822584685a"),
    ("lz4_8bit", "difference"): (49909840, 255, "068ea6b368c90d7a"),
}
"""Sum, largest value and begin of the SHA-256 of every channel of the first image of five series.

Found without this package and without cbor2 and dectris-compression: a walk through CBOR by hand,
``lz4.block`` for the blocks, and bits put back in their places one after another.
"""


@pytest.mark.skipif(not DUMPS.is_dir(), reason="no dumps of a detector: set MADEM_STREAM2")
@pytest.mark.parametrize("name", sorted({name for name, _ in HELD}))
def test_a_detectors_messages_decode_to_the_digit(name: str) -> None:
    message = parsed((DUMPS / f"{name}_image.cbor").read_bytes())
    assert (message.what, message.number) == ("image", 1)
    for channel, coded in message.parts.items():
        found = coded()
        total, largest, begin = HELD[name, channel]
        assert found.shape == (514, 1030)
        assert int(found.astype("u8").sum()) == total
        assert int(found.max()) == largest
        assert hashlib.sha256(found.tobytes()).hexdigest()[:16] == begin
    ending = parsed((DUMPS / f"{name}_end.cbor").read_bytes())
    assert (ending.what, ending.series) == ("end", message.series)


def many(head: bytes, item: bytes, count: int = ITEMS) -> bytes:
    """Return an image with so many items more than it needs, after a ``head`` that says so."""
    said = encoded({"type": "image", "series_id": 1, "image_id": 0, "user_data": None})
    assert said[-1:] == b"\xf6"
    return said[:-1] + head + item * count


PAIRS = b"".join(b"\x64" + b"%04x" % n + b"\xa0" for n in range(2**16))
CROWDED = [
    bytes(LARGEST + 1),
    many(b"\x9a" + pack(">I", ITEMS), b"\xa0"),
    many(b"\x9a" + pack(">I", ITEMS), b"\x61a"),
    many(b"\x9b" + pack(">Q", 2**60), b"\xc1\x00"),
    many(b"\xba" + pack(">I", 2**16), PAIRS, 1),
    many(b"\x99" + pack(">H", 2**16 - 1), b"\x82\x00\x00"),
    many(b"", b"\xd9\xd9\xf7", ITEMS + 1),
    many(b"", b"\x81", ITEMS + 1),
]
"""Messages of more than is read: bytes, arrays, texts, tagged numbers, maps, arrays in an array,
tags in tags, arrays in arrays."""


@pytest.mark.parametrize("content", CROWDED)
def test_a_message_that_is_too_large_is_not_read(content: bytes) -> None:
    with pytest.raises(RefusedError, match="too large"):
        parsed(content)


@pytest.mark.parametrize(
    ("head", "item"),
    [
        (b"\x9a" + pack(">I", 2**24), b"\xa0"), (b"\xba" + pack(">I", 2**23), b"\x60"),
        (b"\x9f", b"\xa0"), (b"\xbf", b"\x60"), (b"\x7f", b"\x61a"), (b"\x5f", b"\x41a"),
        (b"\x82\x9f\xff\x9a" + pack(">I", 2**24), b"\x80"), (b"", b"\xc1"), (b"", b"\x81"),
        (b"\x9c", b"\xa0"), (b"\x9b" + b"\xff" * 8, b"\xa0"), (b"\x9a" + pack(">I", 99), b"\xd8"),
    ],
)  # fmt: skip
def test_sixteen_megabytes_of_little_things_take_no_time_and_no_memory(
    head: bytes, item: bytes
) -> None:
    content = many(head, item, 2**24 // len(item))
    began = time.process_time()
    tracemalloc.start()
    with pytest.raises(RefusedError, match=r"too large|not CBOR"):
        parsed(content)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - began < 1.0  # below 0.1 s on one core
    assert most < 3 * len(content)


def test_what_is_long_but_not_many_is_read() -> None:
    """An image of a megabyte beside as many items as there may be, and a text as long."""
    image = np.arange(2.0**18, dtype=np.float32).reshape(512, 512)
    held = cbor2.loads(message_of(Frame("1-A", 0, 0.0, image)), tag_hook=lambda tag, _: tag)
    held = dict(held) | {"user_data": [0] * (ITEMS - 30), "comment": "x" * 2**20}
    whole = encoded(held)
    assert np.array_equal(parsed(whole).parts["threshold_1"](), image)
    with pytest.raises(RefusedError, match="too large"):
        parsed(encoded(held | {"user_data": [0] * (ITEMS + 1)}))
