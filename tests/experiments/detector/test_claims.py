"""What is claimed of learning beside a beam, from scores and alarms that were made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from madem.experiments.detector.claims import alarms_of, contrasts_of
from madem.experiments.detector.config import DetectorConfig
from madem.experiments.detector.results import Alarm, Row, Shown, Spent
from madem.experiments.detector.strategies import STRATEGIES
from madem.experiments.running.results import Contrast, Interval


def around(mean: float, wide: float = 0.01) -> Interval:
    return Interval(mean=mean, low=mean - wide, high=mean + wide)


class Told:
    """Strategies that miss those shares, each known to a point."""

    def __init__(self, **shares: float) -> None:
        self.shares = dict.fromkeys(STRATEGIES, 0.4) | shares

    def fewer(self, key: str, other: str) -> Interval:
        return around(1 - self.shares[key] / self.shares[other])

    def less(self, key: str, other: str) -> Interval:
        return around(self.shares[key] - self.shares[other])

    def recovered(self, key: str, lost: str, before: float) -> Interval:
        gone = self.shares[lost] - before
        return around((self.shares[lost] - self.shares[key]) / gone)


def shown(writes: dict[str, float] | None = None) -> Shown:
    """Return a condition before which a tenth was missed, and what chips take in it."""
    spent = Spent(judging=8e-6, array=1e-9, learning=2e-6, seconds=44e-6, recovered=None)
    rows = {
        key: Row(
            missed={}, before=0.1, deployed=(0.1, 0.9), strength=[], windows=[], regret=0.0,
            fewer=around(0.0), writes=(writes or {}).get(key, 0.0), recovers=None, spent=spent,
        )
        for key in STRATEGIES
    }  # fmt: skip
    return Shown(title="t", hits=100, frames=300, rows=rows)


def claims(conditions: dict[str, Told], alarms: dict[str, Alarm] | None = None,
           **writes: float) -> dict[str, Contrast]:  # fmt: skip
    quiet = {"labels": Alarm(after=[], false=0, quiet=0)}
    found = contrasts_of(dict.fromkeys(conditions, shown(writes)), conditions, alarms or quiet)
    return {each.said: each for each in found}


def test_hits_are_claimed_by_what_reaches_the_bar_alone() -> None:
    rivals = {"running": 0.4, "quantile": 0.29, "labelled": 0.32, "frozen": 0.6}
    good = claims({"all": Told(product=0.25, digital=0.24, **rivals)})
    counter = "all drifts: fewer hits missed on the chip than by a counter with running"
    assert good[f"{counter} medians and deviations"].value.mean == pytest.approx(1 - 0.25 / 0.4)
    recovered = good["all drifts: of what the network as calibrated loses, recovered on the chip"]
    assert recovered.value.mean == pytest.approx(0.35 / 0.5)
    assert [each.reaches for each in good.values() if each.unit in ("%", "points")] == [
        True, True, True, True, True, True  # three counters, recovered, digital, learning's joules
    ]  # fmt: skip
    worse = claims({"all": Told(product=0.31, digital=0.29, **rivals)})
    assert not worse[f"{counter} medians and deviations"].reaches  # 22 %, but 25 are claimed
    assert not worse[f"{counter} percentiles"].reaches
    assert worse["all drifts: fewer hits missed on the chip than by a counter that labels set "
                 "again"].reaches  # fmt: skip
    assert not worse["all drifts: missed on the chip beyond ideal digital learning"].reaches
    near = claims({"all": Told(product=0.288, **rivals)})
    assert not near[f"{counter} percentiles"].reaches  # fewer, but not surely


def test_other_conditions_have_claims_of_their_own() -> None:
    found = claims({
        "scarce": Told(product=0.39, running=0.4),
        "none": Told(product=0.104, frozen=0.1), "return": Told(product=0.111, frozen=0.1),
    })  # fmt: skip
    assert [(each.unit, each.reaches) for each in found.values()] == [
        ("%", True), ("points", True), ("points", False)
    ]  # fmt: skip


def test_what_it_takes_is_claimed_of_the_condition_in_which_all_drifts() -> None:
    found = claims({"all": Told()}, product=2.0, alarmed=0.5)
    assert found["writes a cell in a shift"].reaches
    assert found["writes without an alarm over those with it"].value.mean == pytest.approx(4.0)
    assert not found["writes without an alarm over those with it"].reaches
    assert found["a frame, all-in, without learning"].value.mean == pytest.approx(8.0)
    assert found["learning, on top of it"].value.mean == pytest.approx(0.25)
    assert found["a verdict, with reduction and conversions"].value.mean == pytest.approx(44.0)
    assert all(each.unit != "writes" for each in claims({"none": Told()}).values())


def test_alarms_are_late_on_the_last_of_the_chips() -> None:
    late = [100] * 19 + [700, None]
    first = {"labels": Alarm(after=late, false=1, quiet=200_000)}
    found = claims({}, first)
    assert [each.value.mean for each in found.values()] == [700, 0.5]
    assert [each.reaches for each in found.values()] == [False, True]
    lost = claims({}, {"labels": Alarm(after=[*late, None], false=3, quiet=200_000)})
    assert [each.value.mean for each in lost.values()] == [-1, 1.5]  # not found on 95 %
    assert not any(each.reaches for each in lost.values())


def test_alarms_after_the_step_count_from_it_and_those_without_drift_are_false() -> None:
    config = DetectorConfig.of({
        "frames": 1000, "late": 0.4, "block": 30, "machine": {"chips": 2}, "seeds": 1,
        "labels": {"share": 0.5}, "conditions": ["none", "step"],
    })  # fmt: skip
    held: dict[str, Any] = {
        "step.0": {"alarmed": {"alarms": [(0, 250), (0, 310), (0, 400), (1, 290)]},
                   "frozen": {"kept": [(0, 600), (1, 601)]}},
        "none.0": {"alarmed": {"alarms": [(1, 7)]}, "frozen": {"kept": []}},
    }  # fmt: skip
    labels, kept, dummy = alarms_of(config, range(1), held).values()
    assert labels == Alarm(after=[10, None], false=1, quiet=1000)  # at label 300, of half
    assert kept == Alarm(after=[None, 1], false=0, quiet=2000)  # at frame 600
    assert dummy == Alarm(after=[30, 30], false=2 * 34, quiet=2000)
