"""Hands by their geometry and their statistics, and what can be read of them at best."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from madem.data.braille import dots
from madem.data.hand import (
    NUMBERS,
    PAIRS,
    WORDS,
    Hands,
    bulk,
    outside,
    turned,
    written,
)
from madem.errors import InputError
from madem.randomness import stream

CODES = dots(WORDS, 4)


def only(**numbers: float) -> torch.Tensor:
    """Return a hand of which all but some numbers are zero."""
    hand = torch.zeros(NUMBERS)
    for place, value in numbers.items():
        hand[int(place[1:])] = value
    return hand


def test_no_hand_writes_what_is_meant() -> None:
    hands = Hands()
    torch.testing.assert_close(hands.matrix(torch.zeros(NUMBERS)), torch.eye(6))
    torch.testing.assert_close(hands.shown(torch.zeros(32, NUMBERS), CODES), CODES)


def test_a_displaced_dot_gives_its_neighbours_what_it_lacks() -> None:
    """By areas: a square of one pitch that lies off by a and b covers four places."""
    a, b = 0.3, 0.2
    found = Hands(displaced=0.1).matrix(only(_0=a / 0.1, _1=b / 0.1))
    column = found[:, 0]  # of dot 1, with 2 below it and 4, 5 to its right
    expected = [(1 - a) * (1 - b), (1 - a) * b, 0, a * (1 - b), a * b, 0]
    np.testing.assert_allclose(column, expected, atol=1e-6)
    assert float(found[:, 5].sum()) == pytest.approx((1 - a) * (1 - b))  # the rest leaves the cell


def test_pairs_are_the_seven_of_a_cell_and_merge_both_ways() -> None:
    assert {tuple(sorted((i + 1, j + 1))) for i, j in PAIRS} == {
        (1, 2), (2, 3), (4, 5), (5, 6), (1, 4), (2, 5), (3, 6)
    }  # fmt: skip
    i, j = PAIRS[2]
    found = Hands(merged=0.1).matrix(only(_4=-2.0)) - torch.eye(6)
    assert float(found[i, j]) == float(found[j, i]) == pytest.approx(0.2)
    assert int((found != 0).sum()) == 2


def test_a_worn_dot_is_faint_and_no_dot_is_higher_than_whole() -> None:
    hands = Hands(worn=0.2, merged=1.0)
    found = hands.shown(only(_9=2.0), dots(["a"], 1)[0])  # dot 1 alone
    assert found.tolist() == pytest.approx([0.2, -1, -1, -1, -1, -1])
    merged = torch.zeros(NUMBERS)
    merged[2:9] = 5.0
    assert float(hands.shown(merged, dots(["g"], 1)[0]).max()) == 1.0


def test_the_writer_is_outside_the_bulk_and_turns_into_another() -> None:
    size = bulk(2000, stream(0, "w")).square().mean(-1).sqrt()
    assert float(size.mean()) == pytest.approx(1.0, abs=0.03)
    assert float(size.max()) < 2
    own, other = (outside(3.0, stream(seed, "o")) for seed in (0, 1))
    path = turned(own, other, torch.tensor([0.0, torch.pi / 2]))
    torch.testing.assert_close(path, torch.stack([own, other]), atol=1e-5, rtol=0)


def test_the_likelihood_is_that_of_a_censored_normal_number() -> None:
    hands, shown = Hands(noise=0.4), torch.tensor([[0.5, -0.2]])
    inside = hands.likelihood(torch.tensor([0.1, -1.0]), shown)
    expected = norm.logpdf(0.1, 0.5, 0.4) + norm.logcdf(-1, -0.2, 0.4)
    assert float(inside) == pytest.approx(expected, rel=1e-5)
    top = hands.likelihood(torch.tensor([1.0, 0.0]), shown)
    assert float(top) == pytest.approx(
        norm.logsf(1, 0.5, 0.4) + norm.logpdf(0, -0.2, 0.4), rel=1e-5
    )


def test_who_knows_the_hand_reads_more_than_who_does_not() -> None:
    hands, draws = Hands(), stream(0, "read")
    own = outside(2.5, draws).expand(4000, -1)
    x, word = written(hands, own, CODES, draws)
    read = {
        name: hands.likelihood(x, hands.shown(hand.expand(32, -1), CODES).expand(4000, -1, -1))
        for name, hand in (("own", own[0]), ("none", torch.zeros(NUMBERS)))
    }
    wrong = {
        name: float((found.argmax(-1) != word).double().mean()) for name, found in read.items()
    }
    assert 0.01 < wrong["own"] < 0.5 * wrong["none"]


@pytest.mark.parametrize("changed", [{"worn": -0.1}, {"noise": 0.0}, {"displaced": float("nan")}])
def test_what_no_hands_can_be_is_refused(changed: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(changed))} must be"):
        Hands(**changed)
