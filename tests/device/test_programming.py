"""Programming errors: candidates that drop out, stuck cells, tails, and other units."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.fits import errors

from madem.device.fitting import Fit
from madem.device.programming import fit_errors
from tests.device.bench import rescaled, same_fit


def draws(count: int, rows: int, stuck: float = 0.0, level: tuple[float, float] = (0.0, 150.0),
          tails: float = np.inf) -> list[Fit]:  # fmt: skip
    return [
        fit_errors(errors(np.random.default_rng(seed), rows, stuck=stuck, level=level, tails=tails))
        for seed in range(count)
    ]


def mean(fits: list[Fit], key: str) -> float:
    return float(np.mean([fit[key].value for fit in fits]))


def test_few_rows_are_fitted_though_a_cubic_is_not_determined() -> None:
    fits = draws(8, 25)
    assert sum(fit.candidates[0].name == "constant sigma" for fit in fits) >= 6
    assert any("left out: " in note for fit in fits for note in fit.notes)
    assert sum(fit["error_sigma"].low <= 3.894e-6 <= fit["error_sigma"].high for fit in fits) >= 6


def test_no_stuck_cell_of_n_is_a_bound_of_three_over_n() -> None:
    (found,) = draws(1, 100)
    share = found["stuck_fraction"]
    assert share.bound
    assert share.value == 0
    seen = 1 - 12 * found["error_sigma"].value / 150e-6  # of levels, beyond six sigma
    assert share.high == pytest.approx((1 - 0.05 ** (1 / 100)) / seen, rel=0.1)
    assert "percent (one-sided bound)" in share.interval
    assert any("at most 3 percent (3 / n)" in note for note in found.notes)


def test_stuck_cells_anywhere_are_counted_though_some_lie_near_their_target() -> None:
    fits = draws(5, 1000, stuck=0.05)
    assert {fit.candidates[0].name for fit in fits} == {"constant sigma, stuck anywhere"}
    assert mean(fits, "stuck_fraction") == pytest.approx(0.05, rel=0.15)
    assert mean(fits, "error_sigma") == pytest.approx(3.894e-6, rel=0.03)
    assert fits[0]["stuck_high"].value == pytest.approx(150e-6, rel=0.05)


def test_dead_cells_do_not_widen_the_errors_of_the_others() -> None:
    fits = draws(4, 500, stuck=0.1, level=(0.5, 1.5))
    assert all(fit.candidates[0].name.endswith("stuck at one level") for fit in fits)
    assert mean(fits, "stuck_fraction") == pytest.approx(0.1, rel=0.2)
    assert mean(fits, "error_sigma") == pytest.approx(3.894e-6, rel=0.06)


def test_heavy_tails_are_named_and_not_called_stuck() -> None:
    (found,) = draws(1, 1000, tails=4.0)
    assert found.candidates[0].name == "constant sigma, heavy tails"
    assert found["stuck_fraction"].bound
    assert any("heavier tails than normal" in note for note in found.notes)
    assert abs(found["error_sigma"].value - 3.894e-6) < 4 * found["error_sigma"].error


def test_errors_in_another_unit_give_the_same_fit() -> None:
    table = errors(np.random.default_rng(3), 100, stuck=0.05)
    found = fit_errors(table)
    for factor in (1e-6, 1e6):
        same_fit(found, fit_errors(rescaled(table, factor)), factor)
