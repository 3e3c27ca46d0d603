"""The timeline of a sample: what is drawn is what is charged, and phases can end sooner."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from madem.errors import InputError
from madem.ledger import Ledger, load_prices, totals
from madem.machine import Simulated
from madem.randomness import stream
from madem.solver import Timed
from madem.training import by_phase, cut_phases, prices_of, timeline
from madem.training.timeline import LENGTHS
from tests.conftest import small_config

CUT = "machine.phase=2 ns", "machine.nudged_phase=0.5 ns"


SAMPLED = "machine.contrast=sampled", "machine.output_range=measured"


@pytest.mark.parametrize("settings", [(), SAMPLED])
@pytest.mark.parametrize("name", ["classify.one_layer", "reconstruct.two_layer"])
def test_the_timeline_holds_all_that_is_charged(name: str, settings: tuple[str, ...]) -> None:
    plan = small_config(*CUT, *settings).plan(name)
    machine = plan.making.assemble(plan)
    prices = prices_of(plan, load_prices())
    spans = timeline(plan, machine, prices)
    for before, after in pairwise(spans):
        assert after.start == pytest.approx(before.start + before.seconds)
    ledger = Ledger()
    watch = machine.watched(stream(plan.seed, plan.name, "timeline"), ledger)
    x, target = plan.held("validation")
    each = target[:1].expand(*plan.ensemble, *target[:1].shape)
    plan.estimator(watch, x[:1], each, plan.task.cost)
    spent = totals(ledger.rows(prices))["all_in"]
    assert sum(span.seconds for span in spans) == pytest.approx(spent["seconds"])
    assert sum(span.joules for span in spans) == pytest.approx(spent["joules"])
    lasts = [span.seconds for span in spans if span.what.endswith("settles")]
    assert lasts == [2e-9, 0.5e-9, 0.5e-9]
    assert [span.what for span in spans][2] == "output gradient"


def test_chips_whose_phases_end() -> None:
    plan = small_config(*CUT).plan("classify.two_layer")
    machine = plan.making.assemble(plan)
    assert isinstance(machine, Simulated)
    assert machine.solver == Timed(free=2.0, nudged=0.5)
    assert cut_phases(plan) == {"free": 2e-9, "nudged": 0.5e-9}
    assert cut_phases(small_config().plan("classify.two_layer")) == {}
    price = prices_of(plan, load_prices(), {"free": 1.0, "nudged": 1.0})["nudged array read"]
    assert price.seconds == price.duration == 0.5e-9
    assert "it ends there" in price.assumption


def test_reads_that_end_sooner() -> None:
    """As long as eight poles they are the reads at rest, and the array's joules grow with time."""
    plan = small_config("machine.read_noise=false").plan("classify.two_layer")
    machine = plan.making.assemble(plan)
    assert isinstance(machine, Simulated)
    x, target = plan.held("test")
    rows = by_phase(plan, machine, load_prices(), x, target)
    whole = plan.task.cost.correct(machine.settle(x).output, target.expand(2, -1)).double()
    assert rows[-1]["accuracy"] == pytest.approx(float(whole.mean()), abs=0.005)
    joules = torch.tensor([row["array_only"] for row in rows])
    assert bool((joules.diff() > 0).all())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["machine.phase=0.05 ns"], "machine.phase must be at least a tenth"),
        (["machine.phase=5 ns", "machine.nudged_phase=50 ps"], "machine.nudged_phase must be at"),
        (["machine.nudged_phase=1 ns"], "nudged_phase: does nothing where phase is auto"),
        (["machine.phase=-5 ns"], "must be positive"),
        (["machine.phase=5"], "unit"),
        (["machine.phase=5 ns", "machine.sums=converted"], "phase: must be auto where sums"),
    ],
)
def test_phases_that_cannot_be(settings: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        small_config(*settings).plan("classify.two_layer")


def test_what_shorter_reads_take_and_how_far_chips_differ() -> None:
    """Of one layer the drive is the input's: joules of its array go with the time alone."""
    plan = small_config("machine.read_noise=false").plan("classify.one_layer")
    machine = plan.making.assemble(plan)
    assert isinstance(machine, Simulated)
    x, target = plan.held("test")
    rows = by_phase(plan, machine, load_prices(), x, target)
    assert [row["seconds"] for row in rows] == pytest.approx([1e-9 * each for each in LENGTHS])
    ledger = Ledger()
    machine.watched(stream(0, "by hand"), ledger).settle(x)
    watts = float(ledger.totals["array read"][1].mean()) / len(x)
    for row in rows:
        assert row["array_only"] == pytest.approx(watts * row["seconds"], rel=1e-5)
        assert row["all_in"] > row["array_only"]
    right = plan.task.cost.correct(machine.settle(x).output, target.expand(2, -1)).double().mean(-1)
    assert rows[-1]["spread"] == pytest.approx(
        float((right[0] - right[1]).abs()) / 2**0.5, abs=0.01
    )
