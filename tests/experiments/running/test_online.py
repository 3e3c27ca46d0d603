"""What studies beside a stream share: machines as calibrated, the digital rival, joules by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from madem.experiments.running.online import calibrate, idealised, mean_spent, program, spent_on
from madem.experiments.running.rundir import RunDirectory
from madem.learn.continual import Teaching
from madem.ledger import Event, Ledger, load_prices
from madem.randomness import stream
from madem.training import Ideal
from tests.conftest import small_config

ALONE = Teaching(reservoir=None)


def test_what_was_calibrated_is_learned_from_again_and_again(tmp_path: Path) -> None:
    plan = small_config().plan("classify.one_layer")
    held = calibrate(plan, RunDirectory(tmp_path), "one")
    again = calibrate(plan, RunDirectory(tmp_path), "one")  # from its checkpoint
    one, two = (
        held.learner(Teaching(reservoir=None), stream(0, "a")),
        again.learner(Teaching(reservoir=None), stream(0, "a")),
    )
    before = [each.clone() for each in one.machine.parameters]
    x, label = plan.held("validation")
    one.learn(x[:20], label[:20])
    for start, mine, other in zip(
        before, one.machine.parameters, two.machine.parameters, strict=True
    ):
        assert torch.equal(other, start)
        assert not torch.equal(mine, start)


def test_a_digital_rival_is_programmed_and_charged(tmp_path: Path) -> None:
    config = small_config("machine.programming_error=false", "machine.stuck_cells=false",
                          "classify.one_layer.writing.units=[100 uS]")  # fmt: skip
    plan = config.plan("classify.one_layer")
    ideal = idealised(plan)
    assert isinstance(ideal.making, Ideal)
    assert ideal.name == "classify.one_layer.ideal"
    folder = RunDirectory(tmp_path)
    chips = calibrate(plan, folder, "chips").learner(
        Teaching(reservoir=None), stream(0, "a"), counted=True
    )
    digital = calibrate(ideal, folder, "ideal").learner(Teaching(7, reservoir=None), stream(0, "b"))
    program(chips, digital)
    weight, bias = digital.machine.parameters
    whole = torch.cat([weight, bias[:, None]], -1).expand(chips.machine.parameters[0].shape)
    torch.testing.assert_close(chips.machine.parameters[0], whole, atol=0.02, rtol=0)
    heard = chips.learning.totals  # type: ignore[attr-defined]
    assert heard["graphics card step"][0] == 7
    assert torch.equal(chips.written, heard["verified write"][0])


def test_joules_of_a_sample_by_hand() -> None:
    judging, learning, prices = Ledger(), Ledger(), load_prices()
    judging(Event("output conversion", 300.0))
    judging(Event("array read", 10.0, torch.tensor(2e-3)))
    learning(Event("accumulator access", 500.0))
    found = spent_on(judging, learning, 100, 50)
    assert found is not None
    array = 2e-3 * prices["array read"].duration
    whole = 300 * prices["output conversion"].joules + array
    assert found["array"] == pytest.approx(array / 100)
    assert found["judging"] == pytest.approx(whole / 100)
    assert found["learning"] == pytest.approx(500 * prices["accumulator access"].joules / 50)
    each = prices["output conversion"].seconds, prices["array read"].seconds
    assert found["seconds"] == pytest.approx((300 * each[0] + 10 * each[1]) / 100)
    assert spent_on(None, None, 1, 1) is None
    told = [{"spent": {"judging": each}} for each in (1.0, 2.0)]
    assert mean_spent(told) == {"judging": 1.5}
    assert mean_spent([{"spent": None}]) is None
