"""Means and spreads over devices cover the truth, however well each device is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2, t

from madem.device.population import Population


def test_devices_known_exactly_give_the_textbook_intervals() -> None:
    values = np.array([3.0, 5.0, 4.0, 8.0])
    seen = Population(values, np.full(4, 1e-9), np.zeros((4, 0)))
    mean, spread = seen.mean("low", "uS", 1e-6), seen.spread("low_spread", "uS", 1e-6)
    half = t.ppf(0.975, 3) * values.std(ddof=1) / 2
    np.testing.assert_allclose([mean.low, mean.high], 1e-6 * (5 + half * np.array([-1, 1])))
    edges = np.sqrt(3 * values.var(ddof=1) / chi2.ppf([0.975, 0.5, 0.025], 3))
    np.testing.assert_allclose([spread.low, spread.high], 1e-6 * edges[[0, 2]], rtol=1e-6)
    np.testing.assert_allclose(spread.value, 1e-6 * values.std(ddof=1), rtol=1e-6)


@pytest.mark.parametrize("together", [0.0, 1.0])
def test_intervals_cover_the_truth_with_errors_of_many_sizes(together: float) -> None:
    rng, held = np.random.default_rng(3), []
    for _ in range(500):
        errors = np.exp(rng.uniform(math.log(0.1), math.log(2), 8))
        values = 20 + 2 * rng.standard_normal(8) + errors * rng.standard_normal(8)
        values += together * rng.standard_normal()
        seen = Population(values, errors, np.full((8, 1), together))
        mean, spread = seen.mean("low", "", 1.0), seen.spread("low_spread", "", 1.0)
        held.append([mean.low <= 20 <= mean.high, spread.low <= 2 <= spread.high])
    # 500 draws at 95 %: outside these once in two hundred
    assert (np.mean(held, 0) >= 0.92).all() and (np.mean(held, 0) <= 0.98).all()


def test_devices_all_alike_have_the_common_error_alone() -> None:
    mean = Population(np.full(4, 7.0), np.full(4, 0.1), np.full((4, 1), 0.5)).mean("low", "", 1.0)
    assert (mean.value, mean.error) == (7.0, 0.5)
    assert mean.high == pytest.approx(7 + 1.96 * 0.5, rel=1e-4)
    assert Population(np.full(4, 7.0), np.ones(4), np.zeros((4, 1))).mean("low", "", 1.0).error == 0


def test_one_device_has_its_own_error_alone() -> None:
    mean = Population(np.array([7.0]), np.array([0.3]), np.array([[0.4]])).mean("high", "", 1.0)
    assert (mean.value, mean.error) == (7.0, pytest.approx(0.5))
    assert mean.high == pytest.approx(7 + 1.96 * 0.5)
