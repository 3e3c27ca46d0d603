"""Alarms: how soon they come, and how seldom they are wrong, against Wald and Lorden."""

from __future__ import annotations

import math

import numpy as np
import pytest

from madem.beam.scene import in_runs
from madem.errors import InputError
from madem.learn.watch import Page, watch_of


def first(watch: Page, decisions: np.ndarray) -> int | None:
    return watch.heard(0.0, decisions.tolist())[1]


def delay(watch: Page) -> float:
    """Wald's mean time to an alarm after the change: the threshold over the relative entropy."""
    yes, no = watch.after, 1 - watch.after
    drift = yes * math.log(yes / watch.before) + no * math.log(no / (1 - watch.before))
    return math.log(watch.once) / drift


def test_a_step_from_8_to_16_percent_is_found_in_time() -> None:
    watch, draws = Page(0.08, 0.16), np.random.default_rng(0)
    found = [first(watch, draws.random(5000) < 0.16) for _ in range(400)]
    late = [number for number in found if number is not None]
    assert len(late) == 400
    assert np.mean(late) == pytest.approx(delay(watch), rel=0.15)
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


def alarms(watch: Page, decisions: np.ndarray) -> int:
    """Return how often it speaks."""
    total, done, spoke, heard = 0.0, 0, 0, decisions.tolist()
    while done < len(heard):
        total, at = watch.heard(total, heard[done : done + 1000])
        done += 1000 if at is None else at + 1
        spoke += at is not None
    return spoke


@pytest.mark.parametrize("factor", [2.0, 0.5])
@pytest.mark.parametrize("found", [0, 1, 3, 30, 150, 200, 270, 299, 300])
def test_an_alarm_for_any_share_is_silent_without_a_change(found: int, factor: float) -> None:
    """One in 100,000 is promised; shares are those found, and as far off as 2 in 3 are."""
    error = math.sqrt(found * (300 - found) / 300**3)
    for number, share in enumerate((found / 300 - error, found / 300, found / 300 + error)):
        decisions = np.random.default_rng(number).random(20_000) < share
        assert alarms(watch_of(found, 300, factor), decisions) <= 1


@pytest.mark.parametrize(("found", "factor"), [(30, 2.0), (150, 2.0), (200, 2.0), (120, 0.5)])
def test_a_change_of_the_odds_is_found(found: int, factor: float) -> None:
    """Odds that changed by the square of the factor are found before a change by it would be."""
    odds, watch = found / (300 - found) * factor**2, watch_of(found, 300, factor)
    decisions = np.random.default_rng(5).random(1000) < odds / (1 + odds)
    heard = watch.heard(0.0, decisions.tolist())[1]
    assert heard is not None and heard < delay(watch)


def test_alarms_that_are_heard_together_share_their_false_ones() -> None:
    one, four = watch_of(30, 300), watch_of(30, 300, alarms=4)
    assert (one.once, four.once) == (1e5, 4e5)
    assert four.threshold - one.threshold == pytest.approx(math.log(4))
    assert (one.before, one.after) == (four.before, four.after)


def test_runs_of_like_frames_are_as_if_the_threshold_were_lower() -> None:
    """By as much as sums spread more: ``exp(threshold / v)`` decisions to a false alarm."""
    kind, _ = in_runs((0.35,), 0.6, 200_000, np.random.default_rng(6))
    kept, spread = kind == 1, (1 + 0.6) / (1 - 0.6)  # of a chain that stays with 0.6
    blocks = kept.reshape(-1, 400).mean(1)
    assert blocks.var() * 400 / (0.35 * 0.65) == pytest.approx(spread, rel=0.15)
    after = 0.7 / 1.35
    lengths = [200_000 / max(1, alarms(Page(0.35, after, once=once**spread), kept))
               for once in (30.0, 100.0)]  # fmt: skip
    independent = np.random.default_rng(7).permutation(kept)
    wanted = [200_000 / alarms(Page(0.35, after, once=once), independent) for once in (30.0, 100.0)]
    assert 1 < lengths[0] / wanted[0] < 1 + 2 * spread
    assert lengths[1] / lengths[0] == pytest.approx(wanted[1] / wanted[0], rel=0.5)
