"""Standard errors against the binomial and against many draws of chips and words."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from madem.randomness import stream
from madem.training.statistics import measured, redrawn


def test_one_chip_has_the_binomial_error() -> None:
    right = (torch.arange(10_000) >= 106)[None]
    found = measured(right)
    assert found.mean == pytest.approx(0.9894)
    assert found.error == found.words == pytest.approx((0.9894 * 0.0106 / 9_999) ** 0.5)
    assert found.chips == 0.0


def drawn(chips: int, words: int, seed: int) -> torch.Tensor:
    """Draw a table whose chips, words and cells spread by 0.02, 0.3 and 0.4."""
    draws = stream(seed, "table")
    each = torch.randn(chips, 1, generator=draws), torch.randn(1, words, generator=draws)
    return 0.02 * each[0] + 0.3 * each[1] + 0.4 * torch.randn(chips, words, generator=draws)


def test_the_error_is_the_spread_of_means_over_draws_of_both() -> None:
    tables = [measured(drawn(16, 500, seed)) for seed in range(400)]
    wanted = 0.02**2 / 16 + 0.3**2 / 500 + 0.4**2 / (16 * 500)
    squares = torch.tensor([table.error**2 for table in tables], dtype=torch.float64)
    means = torch.tensor([table.mean for table in tables], dtype=torch.float64)
    assert float(squares.mean()) == pytest.approx(wanted, rel=0.05)
    assert float(means.var()) == pytest.approx(
        wanted, rel=0.2
    )  # four standard errors of a variance
    covered = (means.abs() <= 1.96 * squares.sqrt()).double().mean()
    assert 0.91 <= float(covered) <= 0.985


def test_what_both_find_hard_does_not_blur_their_difference() -> None:
    first, second = drawn(16, 500, 0), drawn(16, 500, 1)
    hard = 2 * torch.randn(1, 500, generator=stream(0, "hard"))
    alone = measured(first - second)
    assert measured((first + hard) - (second + hard)).error == pytest.approx(alone.error)
    assert measured(first + hard).error > 3 * alone.error


def test_a_table_without_any_spread() -> None:
    assert measured(torch.ones(4, 10)).error == 0.0
    assert measured(torch.ones(1, 1)).error == 0.0


def test_means_drawn_again_spread_as_those_of_other_writers_and_words() -> None:
    def tables(seed: int) -> list[np.ndarray]:
        draws = np.random.default_rng(seed)
        return [0.3 * draws.normal() + draws.normal(size=(1, 60)) for _ in range(12)]

    means = [np.mean([table.mean() for table in tables(seed)]) for seed in range(2000)]
    widths = [redrawn(tables(seed), 400, np.random.default_rng(seed)).var() for seed in range(60)]
    # a bootstrap of 12 has 11/12 of the variance between them, and 59/60 within them once more
    own = 0.09 / 12 * 11 / 12 + 1 / 720 * (11 / 12 + 59 / 60)
    assert np.var(means) == pytest.approx(0.09 / 12 + 1 / 720, rel=0.1)
    assert np.mean(widths) == pytest.approx(own, rel=0.15)


def test_copies_of_a_table_are_drawn_anew() -> None:
    """Tables of one mean differ by their columns alone: all columns there are, in the mean."""
    table = np.random.default_rng(0).normal(size=(1, 60))
    table -= table.mean()
    for copies in (2, 6):
        found = redrawn([table] * copies, 20_000, np.random.default_rng(1))
        assert found.var() == pytest.approx(table.var() / (60 * copies), rel=0.05)


def test_rows_are_drawn_again_together() -> None:
    draws = np.random.default_rng(0)
    tables = [draws.normal(size=(1, 40)) + np.array([[0.0], [0.5]]) for _ in range(3)]
    found = redrawn(tables, 50, draws)
    np.testing.assert_allclose(found[:, 1] - found[:, 0], 0.5)
