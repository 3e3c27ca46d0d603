"""Shares of missed hits by windows and by strength."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from madem.beam.scene import in_runs
from madem.experiments.detector.config import DetectorConfig
from madem.experiments.detector.cuts import missed_at, resampled
from madem.experiments.detector.scores import (
    Resamples,
    bins_of,
    by_strength,
    drawn_blocks,
    row_of,
    windows_of,
)
from madem.experiments.detector.strategies import STRATEGIES


def drawn(count: int, seed: int, chips: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores of frames, those of hits higher by one and a half deviations."""
    draws = np.random.default_rng(seed)
    hit = draws.random(count) < 0.3
    return torch.from_numpy(draws.normal(size=(chips, count)) + 1.5 * hit), torch.from_numpy(hit)


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


def in_grains(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores of 1000 frames that come in runs, each as strong as its grain."""
    draws = np.random.default_rng(seed)
    kind, first = in_runs((0.3,), 0.6, 1000, draws)
    grain, frame = draws.normal(size=(2, 1000))
    score = 1.5 * (kind == 1) + 0.8 * grain[first] + 0.6 * frame
    return torch.from_numpy(score)[None], torch.from_numpy(kind == 1)


def test_the_bootstrap_of_frames_in_runs_is_as_wide_as_other_frames_would_be() -> None:
    shares = [float(missed_at(*in_grains(seed), 0.9)) for seed in range(200)]
    widths = []
    for seed in range(12):
        score, hit = in_grains(1000 + seed)
        weights = drawn_blocks(1000, 400, np.random.default_rng(seed))
        widths.append(resampled(score.numpy(), hit.numpy(), 0.9, *weights).std())
    assert np.mean(widths) == pytest.approx(np.std(shares), rel=0.15)  # of single frames: 0.7


def test_few_frames_are_drawn_in_shorter_blocks() -> None:
    draws = np.random.default_rng(0)
    for frames, long in ((10, 1), (100, 5), (510, 25)):
        times, block = drawn_blocks(frames, 3, draws)
        assert (block == np.arange(frames) // long).all()
        assert times.shape == (3, block[-1] + 1)
        assert (times.sum(1) == times.shape[1]).all()


def told_of(seeds: int, frames: int = 400, **shares: float) -> list[dict[str, torch.Tensor]]:
    """Return scores of seeds; the larger its share, the more hits a strategy scores as others."""
    found = []
    for seed in range(seeds):
        draws = np.random.default_rng(seed)
        hit, order, hard = draws.random(frames) < 0.4, draws.random(frames), draws.random(frames)
        each = {
            key: torch.from_numpy(order + 2 * (hit & (hard > shares.get(key, 0.5))))[None]
            for key in STRATEGIES
        }
        spots = torch.full((frames,), 20)
        found.append({**each, "hit": torch.from_numpy(hit).long(), "spots": spots})
    return found


CONFIG = DetectorConfig.of({"resamples": 300, "frames": 1000})


def test_strategies_are_compared_on_the_same_draws() -> None:
    scores = told_of(3, frozen=0.8, product=0.2, digital=0.2)
    found = Resamples(CONFIG, scores)
    share = {key: np.mean([float(missed_at(each[key], each["hit"] == 1, 0.9)) for each in scores])
             for key in ("frozen", "product", "running")}  # fmt: skip
    same = found.less("product", "digital")
    assert (same.low, same.mean, same.high) == (0, 0, 0)
    fewer = found.fewer("product", "running")
    assert fewer.mean == pytest.approx(1 - share["product"] / share["running"])
    assert fewer.low < fewer.mean < fewer.high
    worse = found.less("frozen", "product")
    assert worse.mean == pytest.approx(share["frozen"] - share["product"])
    alone = found.missed("product")
    assert worse.low > 0 < alone.low < share["product"] < alone.high
    back = found.recovered("product", "frozen", 0.1)
    gained = (share["frozen"] - share["product"]) / (share["frozen"] - 0.1)
    assert back.mean == pytest.approx(gained)
    nothing = Resamples(CONFIG, told_of(1, product=-1.0, digital=-1.0))
    assert nothing.fewer("product", "digital").mean == 0  # both miss less than half a hit


def test_a_row_says_what_a_hit_regained_has_cost() -> None:
    scores = told_of(2, product=0.2)
    spent = {"judging": 8e-6, "array": 1e-9, "seconds": 4e-5}
    told = [
        {"product": {"windows": [0.2, None, 0.1 + 0.2 * seed], "before": 0.1, "writes": 1.0 + seed,
                     "deployed": [0.2, 0.8 + 0.1 * seed],
                     "spent": spent | {"learning": 2e-6 * (1 + seed)}},
         "frozen": {"windows": [0.3, 0.4, 0.8]}}
        for seed in range(2)
    ]  # fmt: skip
    row = row_of("product", Resamples(CONFIG, scores), told, scores, bins_of(8), 1000, 500)
    assert [row.windows[0], row.windows[2]] == pytest.approx([0.2, 0.2])
    assert row.windows[1] is None
    assert row.regret == pytest.approx(0.2)
    assert row.deployed == pytest.approx((0.2, 0.85))
    assert (row.writes, row.recovers) == (1.5, 250)
    assert row.spent is not None
    assert row.spent.learning == pytest.approx(3e-6)
    share = np.mean([float(each["hit"].double().mean()) for each in scores])
    assert row.spent.recovered == pytest.approx(3e-6 / (0.3 * share))  # 0.5 missed before
