"""Shares of missed hits: in closed form, against another library, ties drawn, and how sure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_curve

from madem.experiments.detector.counters import Counting, best_count
from madem.experiments.detector.cuts import missed_at, resampled


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
    assert float(missed_at(score, hit, 0.9)) == pytest.approx(0.9)
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
        widths.append(
            resampled(score.numpy(), hit.numpy(), 0.9, weights.astype(float), np.arange(400)).std()
        )
    assert np.mean(widths) == pytest.approx(np.std(shares), rel=0.2)


def counted(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores that are small counts, so that most frames tie."""
    draws = np.random.default_rng(seed)
    hit = draws.random(500) < 0.3
    return torch.from_numpy(draws.poisson(0.1 + 0.8 * hit, (1, 500))).double(), torch.from_numpy(
        hit
    )


@pytest.mark.parametrize("rejected", [0.8, 0.9, 0.95])
def test_ties_are_as_if_drawn(rejected: float) -> None:
    """The mean over orders in which ties are broken at random, the lowest rejected one by one."""
    score, hit = counted(0)
    draws, found, others = np.random.default_rng(1), [], int((~hit).sum())
    for _ in range(400):
        order = np.lexsort((draws.random(500), score[0].numpy()))
        passed = np.cumsum(~hit.numpy()[order]) / others
        gone = order[: int(np.searchsorted(passed, rejected))]  # up to the last that is to go
        found.append(hit.numpy()[gone].sum() / int(hit.sum()))
    assert float(missed_at(score, hit, rejected)) == pytest.approx(np.mean(found), abs=0.01)


@pytest.mark.parametrize("count", [False, True])
def test_weights_are_frames_that_come_so_often(count: bool) -> None:
    score, hit = counted(2) if count else drawn(500, 2)
    weights = np.random.default_rng(3).multinomial(500, np.full(500, 1 / 500), 20)
    found = resampled(score.numpy(), hit.numpy(), 0.9, weights.astype(float), np.arange(500))
    for share, weight in zip(found, torch.from_numpy(weights), strict=True):
        again = score.repeat_interleave(weight, 1), hit.repeat_interleave(weight)
        assert share == pytest.approx(float(missed_at(*again, 0.9).mean()))


def test_a_counter_is_chosen_as_if_its_ties_were_drawn() -> None:
    """At 1.5, 40 of 100 hits and 5 others count: 60 x 90/95 are missed; at 1, 59 are."""
    excess, hit = torch.full((200, 4), -1.0), torch.arange(200) < 100
    excess[hit, 0] = torch.cat(
        [torch.full((40,), 3.0), torch.full((59,), 1.1), torch.tensor([1.4])]
    )
    excess[~hit, 0] = torch.cat([torch.full((5,), 3.0), torch.linspace(1.2, 1.3, 95)])
    near = torch.arange(4.0)
    assert best_count(excess, hit, near).least == 1.5
    each = [Counting(at, 0.0, 1.0)(excess, near)[None] for at in (1, 1.5)]
    shares = [float(missed_at(score, hit, 0.9)) for score in each]
    assert shares == pytest.approx([0.59, 0.6 * 90 / 95])


def test_a_counter_leaves_out_the_blocks_that_are_bright_by_chance() -> None:
    """Of eight blocks the nearest to the beam is bright in half of all frames."""
    draws = torch.Generator().manual_seed(0)
    excess, hit = torch.zeros(400, 8), torch.arange(400) % 4 == 0
    excess[:, 0] = 20 * torch.rand(400, generator=draws) - 10
    excess[hit, 3] = 5.0
    found = best_count(excess, hit, torch.arange(8.0))
    assert 0 < found.start <= 3 / 8 < found.stop
    assert float(missed_at(found(excess, torch.arange(8.0))[None], hit, 0.9)) == 0
