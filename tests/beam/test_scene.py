"""What scenes have in common: orientations, a pink beam, runs of frames that show the same."""

from __future__ import annotations

import numpy as np
import pytest

from madem.beam.scene import begun, in_runs, pink, rotation


def test_orientations_are_uniform() -> None:
    draws = np.random.default_rng(0)
    turns = np.stack([rotation(draws) for _ in range(4000)])
    np.testing.assert_allclose(turns.mean(0), 0, atol=0.04)
    np.testing.assert_allclose((turns**2).mean(0), 1 / 3, atol=0.03)


def test_the_beam_is_pink() -> None:
    spectrum = np.zeros(2048)
    for seed in range(40):
        logs = np.log(pink(0.2, 4096, np.random.default_rng(seed)))
        assert logs.std() == pytest.approx(0.2, rel=1e-3)
        spectrum += np.abs(np.fft.rfft(logs)[1:]) ** 2
    slope = np.polyfit(np.log(np.arange(1, 2049)), np.log(spectrum), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.05)


def test_frames_of_one_run_share_a_seed_and_no_others_do() -> None:
    draws = np.random.default_rng(0)
    kind, first = in_runs((0.3, 0.2), 0.7, 20_000, draws)
    run = begun(first, draws)
    assert len(np.unique(run)) == len(np.unique(first)) == pytest.approx(6000, rel=0.05)
    same = run[1:] == run[:-1]
    assert same.mean() == pytest.approx(0.7, abs=0.02)
    assert (kind[1:] == kind[:-1])[same].all()
    assert np.bincount(kind, minlength=3) / len(kind) == pytest.approx([0.5, 0.3, 0.2], abs=0.03)
