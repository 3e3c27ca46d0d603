"""Shares of misread words, how sure they are, and what is claimed of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from madem.experiments.personal.config import PersonalConfig
from madem.experiments.personal.results import Shown
from madem.experiments.personal.scores import Compared, claims_of, halved, row_of
from madem.experiments.personal.strategies import STRATEGIES
from madem.experiments.running.results import Contrast


def tables(shares: dict[str, float], seed: int, others: float = 0.02) -> dict[str, Tensor]:
    """Return words misread in those shares: the harder a word, the more strategies misread it."""
    hard = torch.from_numpy(np.random.default_rng(seed).random(400))
    misread = {f"{key}.session": (hard < shares.get(key, 0.2)).double() for key in STRATEGIES}
    return misread | {f"{key}.others": (hard < others).double() for key in STRATEGIES}


def compared(shares: dict[str, float]) -> Compared:
    config = PersonalConfig.of({"resamples": 400})
    return Compared(config, [tables(shares, seed) for seed in range(5)])


def claims(shares: dict[str, float], condition: str) -> dict[str, Contrast]:
    found = compared(shares)
    told = {key: {"windows": [0.3, shares.get(key, 0.2)], "writes": 1.5, "spent": None}
            for key in STRATEGIES}  # fmt: skip
    rows = {key: row_of(key, found, [told]) for key in STRATEGIES}
    shown = Shown(title="t", words=2000, others=2000, labels=0.5, rows=rows)
    return {each.said: each for each in claims_of({condition: shown}, {condition: found})}


def test_an_interval_of_a_share_is_as_wide_as_the_binomial() -> None:
    found = compared({"product": 0.1}).misread("product")
    sigma = (0.1 * 0.9 / 2000) ** 0.5
    assert found.mean == pytest.approx(0.1, abs=4 * sigma)
    assert 2.5 * sigma < found.high - found.low < 6 * sigma


def test_differences_are_taken_word_by_word() -> None:
    """Who misreads the same words differs for certain, however hard those are."""
    same = compared({"product": 0.3, "digital": 0.3})
    assert same.more("product", "digital") == same.more("digital", "product")
    found = compared({"product": 0.29, "digital": 0.3})
    less, alone = found.more("product", "digital"), found.misread("digital")
    assert less.high <= 0
    assert less.high - less.low < 0.5 * (alone.high - alone.low)
    assert found.fewer("product", "digital").mean == pytest.approx(1 / 30, abs=0.02)


def test_half_the_loss_is_between_what_is_lost_and_the_best() -> None:
    assert halved([0.5, 0.31, 0.3, 0.6], [0.5] * 4, [0.1] * 4) == 300
    assert halved([0.5, 0.5], [0.5] * 2, [0.1] * 2) is None


def test_claims_are_reached_by_what_reaches_them_alone() -> None:
    good = claims({"frozen": 0.4, "running": 0.3, "product": 0.1, "digital": 0.1}, "hand")
    bad = claims({"frozen": 0.4, "running": 0.3, "product": 0.35, "digital": 0.1}, "hand")
    rival = "t: of what is misread by templates running without labels, read on the chip"
    assert good[rival].reaches
    assert good[rival].value.mean == pytest.approx(2 / 3, abs=0.1)
    assert not bad[rival].reaches
    assert not bad["t: misread beyond ideal digital learning"].reaches
    assert good["t: misread beyond ideal digital learning"].reaches
    assert good["t: until half the loss is gone"].value.mean == 50
    none = claims({"frozen": 0.02, "product": 0.03, "alarmed": 0.02}, "none")
    assert [each.reaches for each in none.values()] == [False, True, True]
