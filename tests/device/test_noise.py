"""Repeated reads: the likelihoods against enumeration and quadrature, and what is told apart."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from benchmarks.fits import pink, reads, table, telegraph, trap, white
from scipy.integrate import quad
from scipy.linalg import expm

from madem.device.fitting import Fit
from madem.device.noise import _forward, fit_noise, spectrum
from tests.device.bench import rescaled, same_fit


def test_the_forward_algorithm_is_the_sum_over_all_paths() -> None:
    rng = np.random.default_rng(0)
    to_empty, to_filled, gaps = 1 / 3.0, 1 / 5.0, rng.uniform(0.5, 4, 6)
    rates = np.array([[-to_empty, to_empty], [to_filled, -to_filled]])
    moves, dense = [expm(rates * gap) for gap in gaps], rng.standard_normal((2, 7, 2)) * 3
    filled = to_filled / (to_filled + to_empty)
    for device in range(2):
        total = 0.0
        for path in itertools.product((0, 1), repeat=7):
            chance = (filled, 1 - filled)[path[0]] * math.exp(dense[device, 0, path[0]])
            for n, move in enumerate(moves):
                chance *= move[path[n], path[n + 1]] * math.exp(dense[device, n + 1, path[n + 1]])
            total += chance
        memory = torch.tensor(np.exp(-(to_empty + to_filled) * gaps))
        found = _forward(torch.tensor(filled), memory, torch.tensor(dense))
        assert found[device].item() == pytest.approx(math.log(total), rel=1e-12)


def test_contrasts_of_one_over_f_noise_have_the_variances_of_its_spectrum() -> None:
    times = np.array([0.0, 1.0, 2.0, 3.5, 5.0])
    basis, variances = spectrum(times, 1.0)
    change = np.array(
        [
            [
                quad(lambda f, t=t: 2 * (1 - math.cos(2 * math.pi * f * t)) / f, 0, 0.5)[0]
                for t in row
            ]
            for row in np.abs(times[:, None] - times)
        ]
    )
    np.testing.assert_allclose(basis.T @ (-change / 2) @ basis, np.diag(variances), atol=1e-10)
    np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(basis.sum(0), 0, atol=1e-12)


def within(found: Fit, truth: dict[str, float], widths: float = 3.5) -> None:
    for key, value in truth.items():
        assert abs(found[key].value - value) < widths * found[key].error, key


def test_telegraph_noise_sampled_faster_than_its_dwell_times() -> None:
    rng = np.random.default_rng(1)
    found = fit_noise(reads(white(rng, 4, 400) + telegraph(rng, 4, 400, 0.05, 0.1)))
    assert found.candidates[0].name == "telegraph, hidden Markov"
    assert found.forms == {"noise": "telegraph"}
    within(found, trap(0.05, 0.1))
    assert found.goodness["Kolmogorov-Smirnov p"][0] > 0.01
    assert any("a preset has no dwell times" in note for note in found.notes)
    assert not found["noise.dwell_filled"].preset


def test_one_over_f_noise_up_to_the_nyquist_frequency() -> None:
    rng = np.random.default_rng(2)
    found = fit_noise(reads(white(rng, 4, 400) + pink(rng, 4, 400)))
    assert found.candidates[0].name == "flicker"
    within(found, {"read_sigma": 0.5e-6, "noise.constant": 0.4e-6})


def test_devices_may_be_read_at_times_of_their_own() -> None:
    rng = np.random.default_rng(3)
    values, times = white(rng, 3, 60), np.cumsum(rng.uniform(0.5, 1.5, (3, 60)), 1)
    found = fit_noise(table(time=times, read=1e-6 * values))
    assert found.devices == 3
    within(found, {"read_sigma": 0.5e-6})


@pytest.mark.parametrize("kind", ["telegraph", "1/f"])
def test_reads_in_another_unit_give_the_same_fit(kind: str) -> None:
    rng = np.random.default_rng(4)
    noise = telegraph(rng, 2, 200, 0.05, 0.1) if kind == "telegraph" else pink(rng, 2, 200)
    held = reads(white(rng, 2, 200) + noise)
    found = fit_noise(held)
    for factor in (1e-6, 1e6):
        same_fit(found, fit_noise(rescaled(held, factor)), factor)
