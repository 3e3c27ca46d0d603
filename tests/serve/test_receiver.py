"""The ring: bounded, and every message that is dropped is counted."""

from __future__ import annotations

from madem.serve.receiver import Ring


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


def test_the_newest_are_kept() -> None:
    ring = Ring(3, 10**6)
    for number in range(10):
        ring.put(b"%d" % number, 0.0)
    assert [each.content for each in ring.after(-1, 9)] == [b"7", b"8", b"9"]
    assert [each.number for each in ring.after(8, 9)] == [9]
