"""Tasks: how training walks through samples, and that nothing is remembered."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import Tensor

from madem.data.braille import dots
from madem.data.images import digit_images
from madem.data.task import Finite, Samples, Task, shifted
from madem.data.words import Classify, Reconstruct
from madem.errors import InputError
from madem.randomness import stream

CODES = dots(["ab", "cd", "ef"], 2)


def numbered(count: int, *axes: int) -> Samples:
    """Samples that hold their own number, and classes of its parity."""
    numbers = torch.arange(count * math.prod(axes))
    return numbers.view(*axes, count, 1).float(), numbers.view(*axes, count) % 2


PLAIN = Finite(numbered(23), numbered(4), numbered(5), 2)
OWN = replace(PLAIN, training=numbered(23, 3))
TASKS: dict[str, Task] = {
    "epochs": PLAIN,
    "drawn": replace(PLAIN, drawn=True),
    "own": OWN,
    "own drawn": replace(OWN, drawn=True),
    "shifted": replace(digit_images(8), shift=1),
    "classify": Classify(CODES, 0.2),
    "reconstruct": Reconstruct(CODES, 0.2, 0.1),
}


def taken(batches: Iterator[Samples], count: int) -> list[Samples]:
    return list(islice(batches, count))


def same(one: Samples, other: Samples) -> bool:
    return torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


@pytest.mark.parametrize("name", TASKS)
def test_a_training_that_goes_on_sees_what_it_would_have_seen(name: str) -> None:
    task = TASKS[name]
    assert isinstance(task, Task)
    draws = stream(0, "data")
    whole = taken(task.batches((3, 4), draws, seed=1), 14)
    for x, target in whole:
        assert x.shape == (3, 4, *task.inputs)
        assert target.shape[:2] == (3, 4)
        assert bool(task.cost.value(torch.zeros(3, 4, task.outputs), target).isfinite().all())
    for stop in (3, 5, 11):
        draws = stream(0, "data")
        taken(task.batches((3, 4), draws, seed=1), stop)
        kept = draws.get_state()
        again = task.batches((3, 4), torch.Generator().set_state(kept), seed=1, step=stop)
        assert all(map(same, whole[stop:], again))


@pytest.mark.parametrize("name", TASKS)
def test_sets_are_the_same_for_the_same_draw(name: str) -> None:
    task = TASKS[name]
    for part in ("training", "validation", "test"):
        one, other = (task.held(part, stream(3, "test")) for _ in range(2))
        assert same(one, other)


def test_every_sample_is_seen_once_an_epoch() -> None:
    each = PLAIN.epoch(4)
    assert each == 5
    x = torch.cat([x for x, _ in taken(PLAIN.batches((4,), torch.Generator(), 0), 2 * each)])
    first, second = x.flatten().view(2, 20).tolist()
    assert len(set(first)) == len(set(second)) == 20
    assert first != second


def test_the_order_is_that_of_seed_and_epoch_alone() -> None:
    """The very permutation, named by its stream, so that no later change moves old results."""
    found = taken(PLAIN.batches((2, 4), stream(9, "other"), seed=7), 10)
    for epoch in range(2):
        order = torch.randperm(23, generator=stream(7, "e", epoch))[:20].view(5, 4)
        for rows, (x, target) in zip(order, found[5 * epoch :], strict=False):
            assert x[0, :, 0].tolist() == x[1, :, 0].tolist() == rows.tolist()
            assert target[1].tolist() == (rows % 2).tolist()


def test_chips_draw_from_sets_of_their_own() -> None:
    """Against the rows picked one by one."""
    task = replace(OWN, drawn=True)
    x, target = next(task.batches((3, 50), stream(0, "data"), seed=0))
    rows = torch.randint(23, (3, 50), generator=stream(0, "data"))
    for chip in range(3):
        for place in range(50):
            number = 23 * chip + int(rows[chip, place])
            assert int(x[chip, place]) == number
            assert int(target[chip, place]) == number % 2


def test_chips_draw_from_one_set_each_by_itself() -> None:
    x, _ = next(replace(PLAIN, drawn=True).batches((3, 50), stream(0, "data"), seed=0))
    assert not torch.equal(x[0], x[1])
    assert set(x.flatten().tolist()) == set(range(23))


def test_images_are_moved_anew_whenever_they_are_shown() -> None:
    task = replace(digit_images(8), shift=2)
    each = task.epoch(16)
    found = taken(task.batches((16,), torch.Generator(), 0), each)
    plain = taken(digit_images(8).batches((16,), torch.Generator(), 0), each)
    assert all(torch.equal(a[1], b[1]) for a, b in zip(found, plain, strict=True))
    for number in (0, 5):
        moved = shifted(plain[number][0], 2, stream(0, "shift", number))
        assert moved.equal(found[number][0])


def test_a_batch_that_cannot_be_filled_is_refused_at_once() -> None:
    with pytest.raises(InputError, match="batch must be at most 23, .* but is 24"):
        PLAIN.batches((24,), torch.Generator(), 0)
    assert next(replace(PLAIN, drawn=True).batches((24,), torch.Generator(), 0))[0].shape[0] == 24


def test_words_are_drawn_without_end() -> None:
    task = Classify(CODES, 0.2, looked=7, tested=9)
    assert task.epoch(10) is None
    assert [len(task.held(part, stream(0, part))[0]) for part in ("validation", "test")] == [7, 9]
    draws, again = stream(0, "data"), stream(0, "data")
    for x, target in taken(task.batches((2, 5), draws, 0), 3):
        assert same((x, target), task.sample((2, 5), again)[:2])


def test_inputs_are_changed_alike_in_every_set() -> None:
    def change(x: Tensor) -> Tensor:
        return x.flatten(1)[:, 1:]

    task, plain = digit_images(8, validation=300).mapped(change), digit_images(8, validation=300)
    assert task.inputs == (63,)
    for part in ("training", "validation", "test"):
        x, target = task.held(part, torch.Generator())
        before, same_target = plain.held(part, torch.Generator())
        assert x.equal(before.flatten(1)[:, 1:])
        assert target.equal(same_target)


def test_shifted_images_are_the_images_moved() -> None:
    images = torch.zeros(40, 1, 5, 5)
    images[:, 0, 2, 2] = 1.0
    moved = shifted(images, 2, torch.Generator().manual_seed(0))
    assert moved.sum((1, 2, 3)).eq(1).all()
    assert moved.flatten(1).argmax(1).unique().numel() > 10
    assert moved.shape == images.shape
    assert shifted(images, 0, torch.Generator()).equal(images)
