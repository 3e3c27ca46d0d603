"""A shift as numbers: in order, with what is known, and scaled by its calibration alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from madem.beam.geometry import Module
from madem.beam.reduce import Reduction
from madem.beam.sources import Frame, Gap, Truth
from madem.data.detector import calibrated, lit, reduced, shaken
from madem.errors import InputError

MODULE = Module(rows=8, columns=16, grid=(1, 2), blocks=2)


def frames(count: int) -> list[Frame | Gap]:
    draws = np.random.default_rng(0)
    made: list[Frame | Gap] = [
        Frame("s", i, float(i), draws.poisson(1.0, MODULE.shape).astype(np.float32), None,
              None if i == 3 else Truth(1, i, i % 2 == 1))
        for i in range(count)
    ]  # fmt: skip
    return [*made[:5], Gap("s", 5, 2, "lost"), *made[5:]]


def test_frames_come_in_order_and_gaps_are_left_out() -> None:
    told = list[int]()
    shift = reduced(frames(11), Reduction(MODULE), 4, told.append)
    assert len(shift) == 11
    assert told == [4, 8, 11]
    assert shift.time.tolist() == list(range(11))
    assert shift.hit.tolist() == [0, 1, 0, -1, 0, 1, 0, 1, 0, 1, 0]
    assert shift.unusual.shape == (11, 8)
    assert torch.equal(shift[4:6].plain, shift.plain[4:6])
    with pytest.raises(InputError, match="the source has none"):
        reduced([], Reduction(MODULE), 4)


def test_inputs_are_measured_by_the_calibration_alone() -> None:
    shift = reduced(frames(40), Reduction(MODULE), 10)
    part = slice(0, 20)
    x = shift.inputs("plain", part)
    own = shift.plain[part].double()
    median = own.quantile(0.5, 0)
    spread = (own.quantile(0.9, 0) - median) / 1.2815515655 + 0.05
    expected = 1 / (1 + (-2 * ((shift.plain - median) / spread).clamp(-3, 8) + 6).exp())
    torch.testing.assert_close(x.double(), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(x[part], shift[:20].inputs("plain", part))
    alone = shift.inputs("unusual", slice(0, 5))
    assert torch.equal(alone, shift.inputs("unusual", part))


def test_both_classes_are_learned_as_often_and_none_is_refused() -> None:
    x, hit = torch.randn(100, 3), (torch.arange(100) % 10 == 0).long()
    task = calibrated(x, hit, slice(0, 60), slice(60, 100))
    assert task.training[1].double().mean() == 0.5
    rows = {tuple(row) for row in task.training[0][task.training[1] == 1].tolist()}
    assert rows == {tuple(row) for row in x[:60][hit[:60] == 1].tolist()}
    with pytest.raises(InputError, match="0 of 60 frames are hits and 60 are none"):
        calibrated(x, torch.zeros(100).long(), slice(0, 60), slice(60, 100))


def test_a_frame_is_shaken_where_thrice_as_many_blocks_as_usual_are_bright() -> None:
    """Of normal blocks a tenth lies above 1.28 deviations; moved by 0.76 of one, 30 % do."""
    draws = torch.Generator().manual_seed(0)
    usual = torch.randn(500, 4096, generator=draws)
    for moved, expected in ((0.0, 0.0), (0.70, 0.0), (0.82, 1.0), (3.0, 1.0)):
        share = float(shaken(lit(usual + moved)).double().mean())
        assert share == pytest.approx(expected, abs=0.01)
    assert shaken(lit(usual.reshape(5, 100, 4096))).shape == (5, 100)
