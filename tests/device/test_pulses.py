"""Pulse trains: units do not matter, trains that do not join are refused at once."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from benchmarks.fits import MODELS, coverage, trains

from madem.device.filtering import Model, lower_fall, mirrored
from madem.device.pulses import LOOK, MARGINS, RESPONSES, _start, _tried, fit_pulses
from madem.device.tables import Trains
from madem.errors import InputError
from tests.device.bench import same_fit


def soft(devices: int) -> Trains:
    return trains(np.random.default_rng(5), lambda x: 1 - x, lambda x: x, devices)


def test_pulses_in_another_unit_give_the_same_fit() -> None:
    held = soft(2)
    found = fit_pulses(held)
    for factor in (1e-6, 1e6):
        same_fit(found, fit_pulses(replace(held, reads=held.reads * factor)), factor)


def test_trains_that_do_not_join_are_refused_at_once() -> None:
    up = np.array([0.0, 0.3, *np.linspace(5.2, 5.6, 24)])
    down = np.array([279.0, 263.0, *np.linspace(14.5, 10.6, 24)])
    flags = np.repeat([True, False], [25, 26])[None]
    held = Trains(
        1e-9 * np.concatenate([up, down])[None],
        flags,
        np.ones_like(flags),
        np.zeros(1, int),
        ("1",),
    )
    start = time.process_time()
    with pytest.raises(InputError, match="first pulse down moves it from 0.0056 uS to 0.279 uS"):
        fit_pulses(held)
    assert time.process_time() - start < 2


def test_devices_that_do_not_reach_a_bound_tell_nothing_of_it() -> None:
    """Two of these eight stop 5 uS above their bound, which says nothing of where it lies."""
    found = MODELS["pulses, constant step, 8 x 120"].fit(np.random.default_rng([2017, 0]))
    assert any("low is told by 6 of 8 devices" in note for note in found.notes)
    assert found["low_spread"].low < 2e-6 < found["low_spread"].high
    assert found["low"].low < 20e-6 < found["low"].high


def test_a_bound_that_no_device_reaches_is_refused() -> None:
    """Pulses down of 1.5 uS times the step come 40 uS down; the bound is 100 uS away."""
    held = trains(np.random.default_rng(1), np.ones_like, lambda x: 0.3 * np.ones_like(x), 4)
    with pytest.raises(InputError, match="do not determine low .0 of 4 devices reach that bound"):
        fit_pulses(held)


def test_bounds_of_one_device_are_looked_for_elsewhere() -> None:
    """A climb alone leaves one bound of one device where another response then fits better."""
    model = MODELS["pulses, linear step, 8 x 120"]
    found = model.fit(np.random.default_rng([2017, 64]))
    assert found.candidates[0].name == "linear-step"
    assert found["up_down"].low < 0.25 < found["up_down"].high


@pytest.mark.parametrize("model", RESPONSES, ids=lambda each: each.name)
def test_trains_upside_down_are_as_likely(model: Model) -> None:
    held = soft(3)
    held = replace(held, reads=1e6 * held.reads)
    found = _tried(model, held, _start(model, held, MARGINS[1], MARGINS[1]), LOOK).scored
    turned, same = mirrored(held, found)
    again = _tried(model, turned, same.theta, LOOK).scored
    np.testing.assert_allclose(again.log_likelihood, found.log_likelihood, rtol=1e-9)
    # and twice is not at all, while a bound that is not moved costs nothing
    np.testing.assert_allclose(mirrored(turned, same)[1].theta, found.theta, rtol=1e-12)
    assert (lower_fall(model, held, found, np.zeros(3)) <= 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MODELS))
def test_intervals_cover_the_truth_in_a_hundred_draws(name: str) -> None:
    found = coverage(MODELS[name], 100)
    assert found.refused == 0
    for key, share in found.held.items():
        # 100 draws at 95 % give less than 0.88 once in 300; a one-sided bound at zero always holds
        assert share >= 0.88, (key, share)
