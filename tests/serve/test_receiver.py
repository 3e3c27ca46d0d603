"""The ring: bounded, and every message that is dropped is counted."""

from __future__ import annotations

from pathlib import Path

import zmq

from madem.serve.receiver import Ring, take
from madem.serve.status import TOLD, Status


def test_all_that_comes_is_held_judged_or_counted() -> None:
    ring, judged = Ring(10, 10**6), 0
    for number in range(1000):
        ring.put(bytes(10), float(number))
        if number % 17 == 0:
            found = ring.after(-1, 3)
            judged += len(found)
            ring.done(found[-1].number)
    assert judged + ring.dropped + len(ring.held) == 1000
    assert len(ring.held) <= 10
    assert ring.size == 10 * len(ring.held)


def test_bytes_are_bounded_and_one_message_always_fits() -> None:
    ring = Ring(1000, 100)
    for _ in range(50):
        ring.put(bytes(30), 0.0)
    assert (len(ring.held), ring.size, ring.dropped) == (3, 90, 47)
    ring.put(bytes(500), 0.0)
    assert (len(ring.held), ring.size, ring.dropped) == (1, 500, 50)


def test_what_was_given_is_lost_only_where_it_is_asked_for_again() -> None:
    for recorded, dropped in ((2, 0), (0, 2)):
        ring = Ring(3, 10**6)
        for _ in range(3):
            ring.put(b"x", 0.0)
        assert [each.number for each in ring.after(-1, 3)] == [0, 1, 2]
        for _ in range(3):
            ring.put(b"x", 0.0)  # pushes out those that the worker has
        ring.done(recorded)
        assert ring.dropped == dropped


def test_where_there_is_no_memory_the_ring_shrinks_and_goes_on(tmp_path: Path) -> None:
    class Short:
        """A socket whose third message finds no memory."""

        taken = 0

        def recv(self, _: int) -> bytes:
            self.taken += 1
            if self.taken == 3:
                raise MemoryError
            if self.taken > 6:
                raise zmq.Again
            return bytes(100)

    status, ring, source = Status(tmp_path, "receiver"), Ring(1000, 10**6), Short()
    take(source, ring, status)
    assert (len(ring.held), ring.dropped, ring.most_bytes) == (1, 1, 100)
    take(source, ring, status)
    assert status.counts == {"received": 5, "memory": 1}
    assert (len(ring.held), ring.dropped) == (1, 4)
    assert "memory" in TOLD


def test_the_newest_are_kept() -> None:
    ring = Ring(3, 10**6)
    for number in range(10):
        ring.put(b"%d" % number, 0.0)
    assert [each.content for each in ring.after(-1, 9)] == [b"7", b"8", b"9"]
    assert [each.number for each in ring.after(8, 9)] == [9]
