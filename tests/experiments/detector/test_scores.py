"""Shares of missed hits: in closed form, against another library, and how sure they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_curve

from madem.experiments.detector.scores import (
    bins_of,
    by_strength,
    missed_at,
    resampled,
    windows_of,
)


def drawn(count: int, seed: int, chips: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores of frames, those of hits higher by one and a half deviations."""
    draws = np.random.default_rng(seed)
    hit = draws.random(count) < 0.3
    return torch.from_numpy(draws.normal(size=(chips, count)) + 1.5 * hit), torch.from_numpy(hit)


def test_it_is_a_point_of_the_roc_curve() -> None:
    score, hit = drawn(2000, 0)
    for rejected in (0.8, 0.9, 0.95):
        found = missed_at(score, hit, rejected)
        for chip in range(2):
            false, true, _ = roc_curve(hit, score[chip], drop_intermediate=False)
            assert float(found[chip]) == pytest.approx(
                1 - np.interp(1 - rejected, false, true), abs=0.005
            )


def test_it_is_what_two_normal_distributions_give() -> None:
    score, hit = drawn(200_000, 1, 1)
    expected = norm.cdf(norm.ppf(0.9) - 1.5)
    assert float(missed_at(score, hit, 0.9)) == pytest.approx(expected, abs=0.006)


def test_a_score_that_says_nothing_misses_what_it_rejects() -> None:
    score, hit = torch.ones(1, 400), torch.arange(400) < 100
    assert float(missed_at(score, hit, 0.9)) == 0.5  # ties are tossed
    score, hit = drawn(20_000, 2, 1)
    score = score - 1.5 * hit
    assert float(missed_at(score, hit, 0.9)) == pytest.approx(0.9, abs=0.02)


def test_the_bootstrap_is_as_wide_as_other_frames_would_be() -> None:
    """Its deviation is that of the share over data drawn anew."""
    shares = [float(missed_at(*drawn(400, seed), 0.9).mean()) for seed in range(150)]
    widths = []
    for seed in range(12):
        score, hit = drawn(400, 1000 + seed)
        weights = np.random.default_rng(seed).multinomial(400, np.full(400, 1 / 400), 400)
        widths.append(resampled(score.numpy(), hit.numpy(), 0.9, weights.astype(float)).std())
    assert np.mean(widths) == pytest.approx(np.std(shares), rel=0.2)


def test_windows_with_too_few_hits_tell_nothing() -> None:
    score, hit = drawn(600, 3)
    hit[250:500] = False
    found = windows_of(score, hit)
    assert found[1] is None
    assert found[0] == pytest.approx(float(missed_at(score[:, :250], hit[:250], 0.9).mean()))
    assert len(found) == 3


def test_hits_are_told_by_their_strength() -> None:
    spots = torch.tensor([8, 11, 12, 40, 90] * 10 + [0] * 50)
    hit = (spots > 0).long()
    score = torch.where(spots >= 12, 1.0, 0.0)[None] + 0.001 * torch.arange(100)[None] * (hit == 0)
    held = {"own": score, "hit": hit, "spots": spots}
    assert by_strength([held], "own", bins_of(8)) == [1.0, 0.0, None, None, 0.0]
    assert by_strength([held], "own", bins_of(3)) == [None, None, 1.0, 0.5, 0.0]
    assert bins_of(1) == [1, 2, 3, 5]
