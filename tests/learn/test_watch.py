"""Alarms: how soon they come, and how seldom they are wrong, against Wald and Lorden."""

from __future__ import annotations

import math

import numpy as np
import pytest

from madem.errors import InputError
from madem.learn.watch import Page


def first(watch: Page, decisions: np.ndarray) -> int | None:
    return watch.heard(0.0, decisions.tolist())[1]


def test_a_step_from_8_to_16_percent_is_found_in_time() -> None:
    watch, draws = Page(0.08, 0.16), np.random.default_rng(0)
    found = [first(watch, draws.random(5000) < 0.16) for _ in range(400)]
    late = [number for number in found if number is not None]
    assert len(late) == 400
    assert np.mean(late) == pytest.approx(watch.delay, rel=0.15)  # Wald: threshold over the drift
    assert np.quantile(late, 0.95) < 650


def test_without_a_change_it_is_silent() -> None:
    watch, draws = Page(0.08, 0.16), np.random.default_rng(1)
    total, alarms = 0.0, 0
    for _ in range(100):
        total, at = watch.heard(total, (draws.random(5000) < 0.08).tolist())
        alarms += at is not None
    assert alarms <= 9  # at most five in the mean of 500,000 decisions (Lorden); 9 in 97 %


def test_the_mean_time_to_a_false_alarm_is_at_least_what_is_asked() -> None:
    watch, draws = Page(0.2, 0.5, once=200.0), np.random.default_rng(2)
    runs = [first(watch, draws.random(20_000) < 0.2) for _ in range(200)]
    assert None not in runs
    assert np.mean([n for n in runs if n is not None]) > 200


def test_it_is_the_likelihood_ratio_since_its_lowest_point() -> None:
    watch, draws = Page(0.3, 0.1, once=1e9), np.random.default_rng(3)
    seen = draws.random(200) < 0.3
    total, _ = watch.heard(0.0, seen.tolist())
    steps = np.where(seen, math.log(0.1 / 0.3), math.log(0.9 / 0.7))
    walk = np.concatenate([[0.0], np.cumsum(steps)])
    assert total == pytest.approx(walk[-1] - walk.min())


def test_heard_in_parts_is_heard_at_once() -> None:
    watch, draws = Page(0.1, 0.3), np.random.default_rng(4)
    seen = (draws.random(40) < 0.2).tolist()
    total = 0.0
    for decision in seen:
        total, _ = watch.heard(total, [decision])
    assert total == pytest.approx(watch.heard(0.0, seen)[0], abs=1e-12)


@pytest.mark.parametrize(
    "wrong", [(0.0, 0.1, 1e5), (0.2, 0.2, 1e5), (0.1, 1.0, 1e5), (0.1, 0.2, 1)]
)
def test_shares_that_cannot_be_told_apart_are_refused(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(InputError):
        Page(*wrong)
