"""An integrating sensor: Poisson's statistics, and every drift by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from madem.beam.geometry import Module
from madem.beam.sensor import Drift, Sensor, poisson
from madem.errors import InputError

STILL = Drift(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
MODULE = Module()


def flat(photons: float, frames: int = 1) -> np.ndarray:
    return np.full((frames, *MODULE.shape), photons, np.float32)


@pytest.mark.parametrize("mean", [0.02, 0.8, 3.0, 5.9, 6.1, 40.0])
def test_photons_are_poissons(mean: float) -> None:
    found = poisson(np.full(200_000, mean, np.float32), np.random.default_rng(1))
    most = int(stats.poisson.ppf(1 - 1e-4, mean))
    seen = np.bincount(found.astype(int), minlength=most + 1)
    counted = np.append(seen[: most + 1], seen[most + 1 :].sum())
    expected = len(found) * np.append(stats.poisson.pmf(range(most + 1), mean),
                                      stats.poisson.sf(most, mean))  # fmt: skip
    kept = expected > 5
    chi = ((counted - expected) ** 2 / expected)[kept].sum()
    assert stats.chi2.sf(chi, kept.sum() - 1) > 1e-4


def test_a_sensor_without_drift_adds_its_noise_alone() -> None:
    sensor = Sensor(MODULE, STILL, 0, noise=0.1)
    frames = sensor.read(flat(2.0, 4), np.full(4, 5.0), np.random.default_rng(0))
    assert frames.mean() == pytest.approx(2.0, abs=0.02)
    assert frames.var() == pytest.approx(2.01, abs=0.04)
    dark = sensor.read(flat(0.0), np.zeros(1), np.random.default_rng(0))
    assert dark.std() == pytest.approx(0.1, rel=0.02)


def test_gains_and_pedestals_drift_by_their_rates() -> None:
    """Photons of a chip are multiplied, their variance by the square; a pedestal moves the mean."""
    drift = replace(STILL, gain=0.05, pedestal=0.1, pattern=0.0)
    gains, offsets = [], []
    for seed in range(25):
        sensor = Sensor(MODULE, drift, seed, noise=0.0)
        one, two = (
            sensor.read(flat(light), np.full(1, 4.0), np.random.default_rng(seed))
            .reshape(2, 64, 8, 64).swapaxes(1, 2).reshape(16, -1)
            for light in (4.0, 16.0)
        )  # fmt: skip
        gain = (two.mean(1) - one.mean(1)) / 12
        gains += np.log(gain).tolist()
        offsets += (one.mean(1) - 4 * gain).tolist()
        np.testing.assert_allclose(two.var(1), 16 * gain**2, rtol=0.12)
    assert np.std(gains) == pytest.approx(0.2, rel=0.12)
    assert np.std(offsets) == pytest.approx(0.4, rel=0.15)


def test_pixels_become_hot_by_and_by_and_in_clusters() -> None:
    sensor = Sensor(MODULE, replace(STILL, hot=50.0), 3, noise=0.0, clusters=1.0)
    counts = []
    for hours in (0.0, 4.0, 8.0):
        frames = sensor.read(flat(0.0, 30), np.full(30, hours), np.random.default_rng(0))
        counts.append(int((frames > 0).any(0).sum()))
    assert counts[0] == 0
    assert counts[1] == pytest.approx(800, rel=0.25)  # 50 an hour, of four pixels
    assert counts[2] == pytest.approx(1600, rel=0.2)
    alone = Sensor(MODULE, replace(STILL, hot=50.0), 3, clusters=0.0)
    assert len(alone.hot.hour) == pytest.approx(400, abs=80)


def test_the_beam_moves_by_its_rate() -> None:
    sensor = Sensor(MODULE, replace(STILL, centre=0.75), 1)
    row, column = sensor.centre(8.0)
    assert np.hypot(row - MODULE.centre[0], column - MODULE.centre[1]) == pytest.approx(6.0)


def test_courses() -> None:
    time = np.array([-0.5, 0.0, 0.3, 0.59, 0.61, 1.0])
    ramp, step, back = (replace(STILL, course=c).drifted(time) for c in ("ramp", "step", "return"))
    np.testing.assert_allclose(ramp, [0, 0, 2.4, 4.72, 4.88, 8])
    np.testing.assert_allclose(step, [0, 0, 0, 0, 8, 8])
    np.testing.assert_allclose(back, [0, 0, 2.4, 4.72, 0, 0])


@pytest.mark.parametrize(
    "wrong", [{"gain": -1.0}, {"hours": 0.0}, {"at": 1.5}, {"hot": np.nan}, {"hot": 1e9}]
)
def test_rates_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="drift"):
        Drift(**wrong)
