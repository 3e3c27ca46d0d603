"""What is sampled, and the limit of what can be known."""

from __future__ import annotations

import itertools

import pytest
import torch

from madem.data.braille import dots, read_words
from madem.data.words import Classify, Reconstruct, bayes_chances
from madem.errors import InputError
from madem.randomness import stream

CODES = dots(["ab", "cd", "ef"], 2)


def test_flips_and_hidden_letters_come_as_often_as_asked() -> None:
    task = Reconstruct(CODES, flip=0.2, hidden=0.3)
    x, target, word = task.sample((50_000,), stream(0, "data"))
    assert bool((target == CODES[word]).all())
    letters = x.reshape(-1, 2, 6)
    hidden = (letters == 0).all(-1)
    assert bool((hidden | (letters != 0).all(-1)).all())  # a letter hides whole
    assert float(hidden.float().mean()) == pytest.approx(0.3, abs=0.01)
    shown = x != 0
    assert float((x != target)[shown].float().mean()) == pytest.approx(0.2, abs=0.01)


def test_words_come_equally_often() -> None:
    _, word, again = Classify(CODES, 0.2).sample((30_000,), stream(0, "data"))
    assert bool((word == again).all())
    counts = torch.bincount(word, minlength=3) / 30_000
    assert counts.tolist() == pytest.approx([1 / 3] * 3, abs=0.01)


def test_bayes_limit_against_the_enumerated_posterior() -> None:
    """Every pattern of six dots, its posterior by Bayes' rule, the chance to guess right."""
    codes, p = dots(["a", "b", "l"], 1), 0.2
    patterns = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=6)))
    flipped = (patterns[:, None] != codes[None]).sum(-1)
    likelihood = p**flipped * (1 - p) ** (6 - flipped)
    exact = float((likelihood / 3).max(-1).values.sum())
    x, _, word = Classify(codes, p).sample((200_000,), stream(0, "data"))
    assert float(bayes_chances(codes, x, word).mean()) == pytest.approx(exact, abs=0.003)


def test_bayes_limit_of_the_shipped_list() -> None:
    codes = dots(read_words())
    x, _, word = Classify(codes, 0.2).sample((100_000,), stream(0, "data"))
    assert float(bayes_chances(codes, x, word).mean()) == pytest.approx(0.989, abs=0.001)


@pytest.mark.parametrize("value", [-0.1, 0.5, float("nan")])
def test_bad_probability(value: float) -> None:
    with pytest.raises(InputError, match="flip_probability must be at least 0 and below 0.5"):
        Classify(CODES, value)
