"""Shares of missed hits by windows and by strength."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from madem.experiments.detector.cuts import missed_at
from madem.experiments.detector.scores import bins_of, by_strength, windows_of


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
