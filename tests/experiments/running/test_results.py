"""Intervals of bootstrap samples."""

from __future__ import annotations

import numpy as np
import pytest

from madem.experiments.running.results import Interval


def test_an_interval_holds_the_middle() -> None:
    held = Interval.of(0.5, np.linspace(0, 1, 1001))
    assert (held.low, held.mean, held.high) == pytest.approx((0.025, 0.5, 0.975))
