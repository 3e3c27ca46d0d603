"""Stream v2: a real detector's messages to the digit, and whatever else may come to its port."""

from __future__ import annotations

import random
import resource
import struct
import time
from threading import Thread

import numpy as np
import pytest

from madem.beam.geometry import Module
from madem.beam.sources import Frame, Gap
from madem.beam.sources.messages import GIVEN_UP, REASONS, edge_of, message_of, parsed
from madem.beam.sources.stream2 import Place, Reading, Stream2
from madem.errors import InputError
from tests.beam.sources.test_messages import CROWDED, DUMPS

cbor2 = pytest.importorskip("cbor2", reason="needs the extra serve: pip install 'madem[serve]'")

SMALL = Module(rows=4, columns=8, grid=(1, 2), blocks=2)
READ = Reading(SMALL)


@pytest.mark.skipif(not DUMPS.is_dir(), reason="no dumps of a detector: set MADEM_STREAM2")
def test_a_detectors_messages_become_frames_and_gaps() -> None:
    module = Module(rows=512, columns=1024, grid=(2, 8))
    reading = Reading(module, "difference", (1, 3))
    parts = [(DUMPS / f"bslz4_16bit_{part}.cbor").read_bytes() for part in ("image", "end")]
    missing, frame = reading.frames(parts)
    assert isinstance(missing, Gap)
    assert (missing.count, missing.why) == (1, "start missed")
    assert isinstance(frame, Frame)
    whole = parsed(parts[0]).parts["difference"]()[1:513, 3:1027]
    assert frame.mask is not None
    assert (frame.mask == (whole == 65535)).all()
    assert frame.mask.any()
    np.testing.assert_array_equal(frame.image[~frame.mask], whole[~frame.mask])


def image(number: int, series: str = "1-A", **other: object) -> bytes:
    """Return an image of ``number`` everywhere, as a detector would send it."""
    pixels = np.full(SMALL.shape, number, "<u2")
    array = cbor2.CBORTag(40, [list(SMALL.shape), cbor2.CBORTag(69, pixels.tobytes())])
    own, _, unique = series.partition("-")
    said = {
        "type": "image", "series_id": int(own), "series_unique_id": unique, "image_id": number,
        "start_time": [number, 100], "data": {"threshold_1": array},
    }  # fmt: skip
    return bytes(cbor2.dumps(cbor2.CBORTag(55799, said | other)))


def data(array: object, channel: str = "threshold_1") -> dict[str, object]:
    return {"data": {channel: array}}


def told(messages: list[bytes], reading: Reading = READ) -> list[tuple[str, int, int, str]]:
    """Return series, number, count and reason of what is yielded; frames count one, without."""
    return [
        (e.series, e.number, e.count, e.why) if isinstance(e, Gap) else (e.series, e.number, 1, "")
        for e in reading.frames(messages)
    ]


def test_a_whole_series() -> None:
    messages = [edge_of("start", "1-A", 3), *map(image, range(3)), edge_of("end", "1-A")]
    frames = list(READ.frames(messages))
    assert [(f.number, f.time, float(f.image.max())) for f in frames if isinstance(f, Frame)] == [
        (0, 0.0, 0.0), (1, 0.01, 1.0), (2, 0.02, 2.0)
    ]  # fmt: skip


def test_any_message_can_be_the_first() -> None:
    assert told([image(5), image(6)]) == [
        ("1-A", 0, 5, "start missed"), ("1-A", 5, 1, ""), ("1-A", 6, 1, "")
    ]  # fmt: skip
    assert told([edge_of("end", "1-A"), image(5)]) == [("1-A", 5, 0, "after the end")]
    assert told([b"noise", edge_of("start", "2-B"), image(0, "2-B")])[-1] == ("2-B", 0, 1, "")


def test_what_is_missing_is_a_gap() -> None:
    began = [edge_of("start", "1-A", 9), image(0)]
    assert told([*began, image(4)])[1:] == [("1-A", 1, 3, "lost"), ("1-A", 4, 1, "")]
    assert told([*began, edge_of("end", "1-A")])[1:] == [("1-A", 1, 8, "ended early")]
    assert told([*began, edge_of("start", "2-B")])[1:] == [("1-A", 1, 8, "end missed")]
    assert told([*began, image(0, "2-B")])[1:] == [
        ("1-A", 1, 8, "end missed"), ("2-B", 0, 0, "start missed"), ("2-B", 0, 1, "")
    ]  # fmt: skip


def test_nothing_is_judged_twice() -> None:
    began = [edge_of("start", "1-A"), image(0), image(1)]
    assert told([*began, image(1), image(0), image(2)])[2:] == [
        ("1-A", 1, 0, "number went back"), ("1-A", 0, 0, "number went back"), ("1-A", 2, 1, "")
    ]  # fmt: skip
    over = [*began, edge_of("end", "1-A"), image(2)]
    assert told(over)[2:] == [("1-A", 2, 0, "after the end")]
    again = [*over, edge_of("start", "1-A"), image(0)]  # an id that is used a second time
    assert told(again)[3:] == [("1-A~2", 0, 1, "")]


def test_a_client_that_takes_frames_in_turn_is_found() -> None:
    found = told([edge_of("start", "1-A"), *map(image, range(0, 40, 2))])
    whys = [why for *_, why in found if why]
    assert set(whys[:7]) == {"lost"}
    assert set(whys[8:]) == {"shared"}


def test_a_clock_that_goes_back_does_not_take_time_back() -> None:
    late = image(1, start_time=[0, 100])
    messages = [edge_of("start", "1-A"), image(0, start_time=[9, 100]), late]
    first, odd, second = READ.frames(messages)
    assert isinstance(first, Frame)
    assert isinstance(second, Frame)
    assert isinstance(odd, Gap)
    assert (odd.why, second.time) == ("clock went back", 0.09)


def lz4_of(size: int, block: int = 8192, payload: bytes = b"") -> bytes:
    return struct.pack(">QI", size, block) + struct.pack(">I", len(payload)) + payload


TAG, SHAPE = cbor2.CBORTag, list(SMALL.shape)


def shaped(inner: object, shape: object = SHAPE) -> bytes:
    """Return an image whose array is said to be so."""
    return image(0, data={"threshold_1": TAG(40, [shape, inner])})


def pressed(*said: object) -> bytes:
    """Return an image whose numbers are said to be compressed so."""
    return shaped(TAG(69, TAG(56500, said[0] if len(said) == 1 else list(said))))


ARRAY, BARE = TAG(69, bytes(64)), {"threshold_1": TAG(69, [1, 2])}
NAN = np.full(32, np.nan, "<f4").tobytes()
HOSTILE = {
    "too large": CROWDED,
    "not CBOR": [
        b"", b"noise", image(0)[:-3], b"\x9f" * 100, b"\x81" * 1000,
        bytes.fromhex("5b7fffffffffffffff"), bytes.fromhex("9b00ffffffffffffff"),
    ],
    "given up": [GIVEN_UP],
    "not a message": [cbor2.dumps(7), cbor2.dumps({"type": "video"}), image(0, data=[1])],
    "unknown tag": [image(0, user_data=TAG(tag, "a")) for tag in (35, 2, 28, 52, 9999)],
    "series unknown": [
        image(0, image_id=-1), image(0, image_id=True), image(0, image_id=2**60),
        image(0, series_id="x"), image(0, series_unique_id="x" * 100),
    ],
    "channel absent": [image(0, data={}), image(0, data={"threshold_1": [1, 2]})],
    "shape": [shaped(ARRAY, s) for s in ([2**40, 2**40], [0, 8], [-4, -8], [2, 16], [32])],
    "type": [shaped(TAG(84, bytes(64))), shaped(1), image(0, data=BARE)],
    "size": [
        shaped(TAG(69, bytes(60))), pressed("lz4", 2, b""), pressed("lz4", 2, lz4_of(2**40)),
        pressed("lz4", 2, lz4_of(64, 0)), pressed("lz4", 2, lz4_of(64, 2**31)),
        pressed("lz4", 2, lz4_of(63)),
    ],
    "compression": [pressed("bszip", 2, b""), pressed("lz4", 2, 7), pressed([1]), pressed(3)],
    "damaged": [
        pressed(how, 2, lz4_of(64, 8192, junk))
        for how in ("lz4", "bslz4") for junk in (b"", b"\xff" * 50)
    ],
    "empty": [shaped(TAG(69, b"\xff" * 64)), shaped(TAG(85, NAN))],
}  # fmt: skip


@pytest.mark.parametrize("why", HOSTILE)
def test_what_is_hostile_is_refused_with_its_reason_and_the_next_image_comes(why: str) -> None:
    for content in HOSTILE[why]:
        found = told([edge_of("start", "1-A"), content, image(1)])
        assert found[0][3] == why, (content, found)
        assert found[-1] == ("1-A", 1, 1, "")
        told_of = sum(count for *_, count, _ in found)
        assert told_of == 2, found  # number 0 is in a gap, number 1 a frame


def test_every_reason_says_what_to_do() -> None:
    assert set(HOSTILE) < set(REASONS)
    assert all(len(said) > 30 for said in REASONS.values())


def test_a_type_that_changes_in_a_series() -> None:
    pixels = np.zeros(SMALL.shape, "<u4")
    other = data(TAG(40, [SHAPE, TAG(70, pixels.tobytes())]))
    found = told([edge_of("start", "1-A"), image(0), image(1, **other), image(2)])
    assert found[1:] == [("1-A", 1, 1, "type changed"), ("1-A", 2, 1, "")]


def test_a_channel_can_be_named_and_masked() -> None:
    mask = np.zeros(SMALL.shape, "<u4")
    mask[1, 2] = 1
    start = {
        "type": "start", "series_id": 1, "series_unique_id": "A",
        "pixel_mask": {"threshold_1": TAG(40, [SHAPE, TAG(70, mask.tobytes())])},
    }  # fmt: skip
    (frame,) = Reading(SMALL, "threshold_1").frames([cbor2.dumps(start), image(0)])
    assert isinstance(frame, Frame)
    assert frame.mask is not None
    assert np.argwhere(frame.mask).tolist() == [[1, 2]]


def masked(mask: object) -> bytes:
    """Return the start of a series with a mask."""
    held = {"type": "start", "series_id": 1, "series_unique_id": "A", "number_of_images": 9}
    return bytes(cbor2.dumps(cbor2.CBORTag(55799, held | {"pixel_mask": {"threshold_1": mask}})))


def test_a_mask_holds_until_the_next_start_wherever_reading_begins_again() -> None:
    mask = np.zeros(SMALL.shape, "<u4")
    mask[1, 2] = mask[3, 7] = 1
    place = Place()
    for content in (masked(TAG(40, [SHAPE, TAG(70, mask.tobytes())])), image(0), image(1)):
        ((place, found),) = READ.followed([content], place)  # each by itself, as after a kill
    (frame,) = found
    assert isinstance(frame, Frame)
    assert frame.mask is not None
    assert np.argwhere(frame.mask).tolist() == [[1, 2], [3, 7]]
    for content in (edge_of("start", "2-B", 9), image(0, "2-B")):
        ((place, found),) = READ.followed([content], place)
    (frame,) = found
    assert isinstance(frame, Frame)
    assert frame.mask is None


def test_a_mask_that_cannot_be_read_makes_gaps_until_the_next_start() -> None:
    broken = masked(TAG(40, [SHAPE, TAG(70, b"short")]))
    found = told([broken, image(0), image(1), edge_of("start", "2-B"), image(0, "2-B")])
    assert found == [
        ("1-A", 0, 0, "size"), ("1-A", 0, 1, "mask unknown"), ("1-A", 1, 1, "mask unknown"),
        ("1-A", 2, 7, "end missed"), ("2-B", 0, 1, ""),
    ]  # fmt: skip
    assert told([edge_of("start", "1-A"), image(0)], Reading(SMALL, "threshold_2")) == [
        ("1-A", 0, 1, "channel absent")
    ]


def test_what_is_sent_is_what_comes() -> None:
    picture = np.random.default_rng(0).normal(size=SMALL.shape).astype(np.float32)
    mask = picture > 1
    sent = Frame("4-X", 2, 0.5, picture, mask)
    _, frame = READ.frames([message_of(sent)])
    assert isinstance(frame, Frame)
    assert frame.mask is not None
    np.testing.assert_array_equal(frame.mask, mask)
    np.testing.assert_array_equal(frame.image[~mask], picture[~mask])
    assert (frame.series, frame.number, frame.time) == ("4-X", 2, 0.5)


def test_one_goes_on_in_the_middle() -> None:
    messages = [edge_of("start", "1-A"), *map(image, range(6))]
    *_, (place, _) = READ.followed(messages[:4], Place())
    assert [e.number for e in READ.frames(messages[4:], place)] == [3, 4, 5]
    assert told([]) == []


@pytest.mark.parametrize("count", [150, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_thousand_odd_messages_neither_crash_nor_hang_nor_fill_the_memory(count: int) -> None:
    draw = random.Random(count)
    whole = [image(3), edge_of("start", "1-A", 9), edge_of("end", "1-A")]
    whole += [one for many in HOSTILE.values() for one in many]
    if DUMPS.is_dir():
        whole += [path.read_bytes() for path in sorted(DUMPS.glob("*8bit*"))]
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    for _ in range(count):
        content = bytearray(draw.choice(whole))
        for _ in range(draw.choice([1, 1, 3, 30])):
            at = draw.randrange(len(content) + 1)
            match draw.randrange(4):
                case 0 if content:
                    content[at % len(content)] = draw.randrange(256)
                case 1:
                    content[at:at] = draw.randbytes(draw.choice([1, 8]))
                case 2:
                    del content[at : at + draw.choice([1, 8, 1000])]
                case _:
                    content[at : at + 9] = b"\x5b" + draw.randbytes(8)
        found = told([edge_of("start", "7-F"), bytes(content), image(0, "8-G")])
        assert found[-1] == ("8-G", 0, 1, ""), found
        assert {why for *_, why in found} <= {*REASONS, ""}
    assert time.monotonic() - began < 0.05 * count
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB


def test_a_stream_comes_over_a_socket_and_ends_where_nothing_comes() -> None:
    zmq = pytest.importorskip("zmq")
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        socket.setsockopt(zmq.SNDTIMEO, 5000)
        sent = [edge_of("start", "1-A"), image(0), b"?", image(1)]
        sending = Thread(target=lambda: [socket.send(content) for content in sent])
        sending.start()
        found = list(Stream2(f"tcp://127.0.0.1:{port}", READ, 1.0))
        sending.join()
    assert [type(each).__name__ for each in found] == ["Frame", "Gap", "Frame"]
    with pytest.raises(InputError, match="stream.address"):
        list(Stream2("nowhere", READ, 1.0))
