"""Retention: units do not matter, and devices may have times of their own."""

from __future__ import annotations

import numpy as np
from benchmarks.fits import EARLY, LATE, drifting

from madem.device.retention import fit_retention
from madem.device.tables import Table
from tests.device.bench import rescaled, same_fit


def test_drift_in_another_unit_is_the_same_fit() -> None:
    held = drifting(np.random.default_rng(0), 20, EARLY, -0.089, 0.042, 0.41, 0.17)
    found = fit_retention(held)
    for factor in (1e-6, 1e6):
        same_fit(found, fit_retention(rescaled(held, factor)), factor)


def test_devices_may_have_times_of_their_own() -> None:
    rng = np.random.default_rng(1)
    parts = [drifting(rng, 1, LATE * rng.uniform(1, 1.5), -0.2, 0.02, 0.0, 0.05) for _ in range(12)]
    numbers = {
        key: np.concatenate([each.numbers[key] for each in parts]) for key in parts[0].numbers
    }
    found = fit_retention(Table("own", numbers, {}, [str(i) for i in range(12) for _ in LATE]))
    assert found.devices == 12
    mean = found["retention.mean"]
    assert abs(mean.value + 0.2e-6) < 3.5 * mean.error
