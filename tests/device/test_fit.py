"""Fits recover what made the data, within the uncertainty they state, and refuse the rest."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from madem.device import Cell, draw, drift, load, program, read
from madem.device import filtering as kalman
from madem.device.filtering import Effort, Model, predict
from madem.device.fit import fit_files
from madem.device.fitting import Fit
from madem.device.forms import Telegraph, White
from madem.device.noise import fit_noise
from madem.device.population import populations
from madem.device.programming import fit_errors
from madem.device.pulses import MARGINS, RESPONSES, _shared, _start, _tried, fit_pulses
from madem.device.retention import fit_retention
from madem.device.tables import Table, Trains
from madem.randomness import stream
from tests.device.bench import long_form, soft_cell, trains, write_csv


def covered(
    fits: list[dict[str, tuple[float, float]]], truth: dict[str, float]
) -> dict[str, float]:
    """Share of the 95 % intervals that hold the truth."""
    return {
        key: float(np.mean([fit[key][0] <= value <= fit[key][1] for fit in fits]))
        for key, value in truth.items()
    }


def intervals(found: Fit) -> dict[str, tuple[float, float]]:
    return {p.key: (p.low, p.high) for p in found.parameters}


def errors_table(cell: Cell, count: int, seed: int) -> Table:
    target = cell.low + (cell.high - cell.low) * (torch.arange(count) % 16 + 1).double() / 17
    static = draw(cell, (count,), stream(seed, "cells"))
    reached = program(cell, target, static, stream(seed, "program"))
    numbers = {"target": target.numpy(), "read": reached.double().numpy()}
    return Table("errors", numbers, {}, [str(i) for i in range(count)])


def noise_table(cell: Cell, devices: int, count: int, seed: int) -> Table:
    g, draws = torch.linspace(20e-6, 120e-6, devices).double(), stream(seed, "reads")
    reads = torch.stack([read(cell, g, draws) for _ in range(count)], 1).numpy()
    numbers = {"time": np.tile(np.arange(count) * 0.1, devices), "read": reads.ravel()}
    return Table("noise", numbers, {}, [str(i) for i in range(devices) for _ in range(count)])


def retention_table(cell: Cell, devices: int, seed: int) -> Table:
    times = np.array([0.1, 1, 10, 100, 1e3, 1e4, 1e5])
    g = torch.full((devices,), 50e-6).double()
    static, draws = draw(cell, (devices,), stream(seed, "cells")), stream(seed, "reads")
    paths = [drift(cell, g, float(t), static, stream(seed, "drift")) for t in times]
    held = np.stack([read(cell, path, draws).numpy() for path in paths], 1)
    numbers = {"time": np.tile(times, devices), "conductance": held.ravel()}
    return Table("retention", numbers, {}, [str(i) for i in range(devices) for _ in times])


def test_intervals_of_programming_errors_cover_the_truth() -> None:
    cell = load("milo-2021")
    fits = [intervals(fit_errors(errors_table(cell, 2000, seed))) for seed in range(10)]
    truth = {"error_mean": 0.0, "error_sigma": 4.782321e-6, "error.linear": -0.009107}
    for key, share in covered([f for f in fits if "error.linear" in f], truth).items():
        assert share >= 0.7, key  # 10 draws at 95 %: below it once in a thousand


def test_intervals_of_drift_cover_the_truth() -> None:
    cell = replace(load("cmo-hfox"), noise=White())
    fits = [intervals(fit_retention(retention_table(cell, 40, seed))) for seed in range(10)]
    truth = {
        "retention.mean": -0.08900206e-6,
        "retention.rate": 0.04201137e-6,
        "retention.offset": 0.41183342e-6,
        "read_sigma": 0.17e-6,
    }
    for key, share in covered(fits, truth).items():
        assert share >= 0.7, key


def test_intervals_of_white_noise_cover_the_truth() -> None:
    cell = replace(load("ideal"), read_sigma=0.3e-6)
    tables = [noise_table(cell, 3, 40, seed) for seed in range(10)]
    fits = [fit_noise(table) for table in tables]
    assert sum(f.candidates[0].name == "white" for f in fits) >= 8
    whites = [intervals(f) for f in fits if f.candidates[0].name == "white"]
    assert covered(whites, {"read_sigma": 0.3e-6})["read_sigma"] >= 0.7


def test_telegraph_noise_is_recognised_and_recovered() -> None:
    found = fit_noise(
        noise_table(
            replace(load("ideal"), noise=Telegraph(0.08, 0.3), read_sigma=0.3e-6), 6, 150, 1
        )
    )
    assert found.candidates[0].name == "telegraph"
    for key, truth in {"noise.depth": 0.08, "noise.filled": 0.3, "read_sigma": 0.3e-6}.items():
        assert abs(found[key].value - truth) < 3.5 * found[key].error, key


def test_slopes_of_the_filter_are_those_of_differences() -> None:
    held = trains(soft_cell(), 3, 25, 0)
    held = replace(held, reads=held.reads * 1e6)
    for model in RESPONSES:
        for spread in (False, True):
            tried = replace(model, jitter=spread)
            theta = _start(tried, held, MARGINS[0], MARGINS[0])
            seen = predict(tried, held, theta)
            for index in range(theta.shape[1]):
                step = np.zeros(theta.shape[1])
                step[index] = 1e-6
                above, below = (
                    predict(tried, held, theta + step),
                    predict(tried, held, theta - step),
                )
                for ours, high, low in (
                    (seen.by_mean, above.mean, below.mean),
                    (seen.by_variance, above.variance, below.variance),
                ):
                    numeric = (high - low) / 2e-6
                    np.testing.assert_allclose(ours[index], numeric, rtol=1e-4, atol=1e-5)


def test_the_filter_without_noise_is_the_response() -> None:
    cell = replace(soft_cell(), pulse_cycle=0.0, read_sigma=0.0, high_spread=0.0, low_spread=0.0,
                   pulse_spread=0.0)  # fmt: skip
    held = trains(cell, 1, 30, 0)
    held = replace(held, reads=held.reads * 1e6)
    theta = np.array(
        [[math.log(6), math.log(0.75), 20, math.log(100), math.log(1e-4), math.log(1e-4)]]
    )
    seen = predict(Model("soft-bounds", kalman.soft), held, theta)
    np.testing.assert_allclose(seen.mean, held.reads[:, 1:], atol=1e-4)


TRUTH = {
    "pulse_step": 6e-6,
    "high": 120e-6,
    "low": 20e-6,
    "up_down": 0.25,
    "pulse_cycle": 0.3,
    "read_sigma": 0.5e-6,
    "pulse_spread": 0.2,
    "low_spread": 2e-6,
}


def pulse_intervals(
    seeds: range, devices: int, pulses: int
) -> list[dict[str, tuple[float, float]]]:
    fits = []
    for seed in seeds:
        held = trains(soft_cell(), devices, pulses, seed)
        held = replace(held, reads=held.reads * 1e6)
        best = _tried(
            RESPONSES[0], held, _start(RESPONSES[0], held, MARGINS[1], MARGINS[1]), Effort()
        )
        found = (*populations(best.model, best.scored, held, 1e-6)[0], *_shared(best, 1e-6))
        fits.append({p.key: (p.low, p.high) for p in found})
    return fits


def test_intervals_of_pulse_fits_cover_the_truth() -> None:
    shares = covered(pulse_intervals(range(10), 8, 30), TRUTH)
    for share in shares.values():
        assert share >= 0.7, shares  # 10 draws at 95 %: below it once in a thousand
    assert np.mean(list(shares.values())) > 0.9


def test_pulse_trains_prefer_the_model_that_made_them() -> None:
    found = fit_pulses(trains(soft_cell(), 4, 30, 3))
    assert found.candidates[0].name == "soft-bounds"
    assert found.forms == {"response": "soft-bounds"}
    assert found.goodness["Kolmogorov-Smirnov p"][0] > 0.01
    for key in ("pulse_cycle", "read_sigma"):
        assert abs(found[key].value - TRUTH[key]) < 4 * found[key].error


def rows_of(held: Trains, count: int) -> list[list[str]]:
    up = held.reads[0, : count + 1]
    down = held.reads[0, count + 1 : 2 * count + 1]
    return [[f"{1e6 * u:.6f}", f"{1e6 * d:.6f}"] for u, d in zip(up, down, strict=False)]


def test_two_columns_are_read_as_they_come(tmp_path: Path) -> None:
    from madem.device.tables import read_table, trains_of

    held = trains(soft_cell(), 1, 30, 0)
    two = trains_of(
        [read_table(write_csv(tmp_path / "two.csv", ["up_uS", "down_uS"], rows_of(held, 30)))]
    )
    expected = np.concatenate([held.reads[0, :30], held.reads[0, 31:61]])
    np.testing.assert_allclose(two.reads[0], expected, atol=1e-11)
    assert two.up[0].tolist() == [True] * 29 + [False] * 30


def test_set_and_reset_files_are_read_as_they_come(tmp_path: Path) -> None:
    from madem.device.tables import read_table, trains_of

    tables = []
    for name, start in (("set", 20), ("reset", 100)):
        rows = [[n, start + n, start + 2 * n, start + 3 * n] for n in range(25)]
        header = ["pulse", "repeat1_nS", "repeat2_nS", "repeat3_nS"]
        tables.append(read_table(write_csv(tmp_path / f"{name}.csv", header, rows)))
    held = trains_of(tables)
    assert held.reads.shape == (6, 25)
    assert held.up[:3].all()
    assert not held.up[3:].any()
    assert held.names == ("1",)
    np.testing.assert_allclose(held.reads[1], (20 + 2 * np.arange(25)) * 1e-9)


def test_a_row_a_read_is_read_as_it_was_written(tmp_path: Path) -> None:
    from madem.device.tables import read_table, trains_of

    held = trains(soft_cell(), 3, 12, 0)
    again = trains_of([read_table(long_form(tmp_path / "long.csv", held))])
    np.testing.assert_allclose(again.reads, held.reads, atol=1e-11)
    assert (again.up == held.up).all()
    assert again.names == held.names


def test_fit_files_takes_every_kind(tmp_path: Path) -> None:
    table = errors_table(load("taox-1t1m"), 400, 0)
    rows = zip(1e6 * table.numbers["target"], 1e6 * table.numbers["read"], strict=True)
    found = fit_files([write_csv(tmp_path / "e.csv", ["target_uS", "read_uS"], list(rows))])
    assert found.kind == "errors"
    assert found["error_sigma"].value == pytest.approx(3.894e-6, rel=0.15)
    assert found["stuck_fraction"].value < 0.03
