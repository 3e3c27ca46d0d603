"""Labels: what is one, what is none, and which line of a file is wrong."""

from __future__ import annotations

import time
from pathlib import Path

import cbor2
import pytest
import zmq

from madem.errors import InputError
from madem.serve.labels import AT_ONCE, TOGETHER, Label, labels_in, messages_of, read_labels
from madem.serve.sockets import LARGEST, plain


def test_labels_come_back_from_messages() -> None:
    sent = [Label("1-A", number, number % 3 == 0) for number in range(TOGETHER + 5)]
    messages = list(messages_of(sent))
    assert len(messages) == 2
    assert [label for content in messages for label in labels_in(content)] == sent


@pytest.mark.parametrize(
    "held",
    [7, {}, [7], [{}], [{"series": "1-A", "image": 1}], [{"series": "", "image": 1, "hit": 1}],
     [{"series": "1-A", "image": -1, "hit": 1}], [{"series": "1-A", "image": 1, "hit": 2}],
     [{"series": "1-A", "image": True, "hit": 1}], [{"series": 1, "image": 1, "hit": 1}],
     [{"series": "1-A", "image": 1.5, "hit": 1}], [{"series": "x" * 101, "image": 1, "hit": 1}],
     [{"series": "1-A", "image": 1, "hit": [1]}], [{}] * (AT_ONCE + 1), [[[[[[[[1]]]]]]]]],
)  # fmt: skip
def test_what_is_no_label_is_none(held: object) -> None:
    assert set(labels_in(cbor2.dumps(held))) == {None}


@pytest.mark.parametrize("number", [0, 2, 4, 5, 30, 35, 36, 37, 52, 258, 1004, 9999])
def test_a_tag_is_no_label_and_nothing_is_made_of_it(number: int) -> None:
    long = "(?i)" + "[\0-\U0010ffff]" * 100  # of which a pattern takes seconds
    held = {35: long, 0: "2026-11-28T00:00:00Z", 36: long, 37: bytes(16), 52: bytes(4), 5: [9, 9],
            4: [1, 10**18], 30: [10**99, 3], 258: [1], 2: b"\1"}.get(number, 1)  # fmt: skip
    began = time.monotonic()
    for content in ([cbor2.CBORTag(number, held)],
                    [{"series": "1-A", "image": cbor2.CBORTag(number, held), "hit": 1}],
                    [{"series": "1-A", "image": 1, "hit": 1, "more": cbor2.CBORTag(number, held)}],
                    [{"series": "1-A", "image": 1, "hit": 1}, cbor2.CBORTag(number, held)],
                    ):  # fmt: skip
        assert list(labels_in(cbor2.dumps(content))) == [None]
    assert time.monotonic() - began < 0.5


def test_what_waits_at_the_socket_of_labels_is_bounded() -> None:
    longest = [Label("\U0001f52c" * 100, 2**53 - 1, True)] * 1000
    assert max(map(len, messages_of(longest))) <= LARGEST <= 2**17
    with zmq.Context() as context, plain(context, "PULL") as socket:
        assert socket.getsockopt(zmq.MAXMSGSIZE) * socket.getsockopt(zmq.RCVHWM) <= 16 * 2**20


def test_noise_is_no_label() -> None:
    assert list(labels_in(b"")) == [None]
    assert list(labels_in(b"\xff" * 50)) == [None]


def test_a_file_of_labels(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("series,image,hit,who\n1-A,3,1,crystfel\n1-A, 4 ,0,\n")
    assert read_labels(file) == [Label("1-A", 3, True), Label("1-A", 4, False)]
    file.write_text("series,image,hit\n1-A,3,1\n1-A,4,maybe\n")
    with pytest.raises(InputError, match="line 3: image must be a number and hit 0 or 1"):
        read_labels(file)
    file.write_text("frame;hit\n")
    with pytest.raises(InputError, match="needs a header with series, image and hit"):
        read_labels(file)
    file.write_text("series,image,hit\n1-A\n")
    with pytest.raises(InputError, match="line 2"):
        read_labels(file)
    file.write_text("series,image,hit\n1-A,3,1\n" + "x" * 200_000 + ",4,1\n")
    with pytest.raises(InputError, match="line 3: field larger than field limit"):
        read_labels(file)
