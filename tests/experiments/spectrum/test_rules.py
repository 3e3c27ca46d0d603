"""The rules: all learn, and models of ideal chips give their exact gradient."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from madem.experiments.spectrum.config import SpectrumConfig
from madem.experiments.spectrum.imperfections import severities
from madem.experiments.spectrum.rules import WAYS, Modelled
from madem.learn import Implicit
from madem.machine import Simulated
from madem.network import CrossEntropy
from madem.randomness import stream
from madem.training import first_weights
from tests.experiments.spectrum.test_study import SMALL


@pytest.mark.parametrize("rule", WAYS)
def test_every_rule_learns(rule: str) -> None:
    """A few steps on ideal chips already beat chance, for all rules, on as many samples."""
    config = SpectrumConfig.of(SMALL | {"steps": 60, "batch": 16, "chips": 2})
    bench = config.bench("braille")
    outcome = WAYS[rule].begin(bench, *WAYS[rule].grid[-1])({})
    assert sum(outcome.accuracy) / 2 > 0.5  # chance: 0.25
    assert outcome.unsettled == 0


@pytest.mark.parametrize("task", ["braille", "digits"])
@pytest.mark.parametrize("rule", ["in-situ", "in-the-loop"])
def test_models_of_ideal_chips_give_their_exact_gradient(task: str, rule: str) -> None:
    bench = SpectrumConfig.of(SMALL | {"chips": 2}).bench(task)
    plan = bench.plan(WAYS[rule].make(bench, 5e-6), 0.1, {})
    draws = stream(0, "more")
    weights = [[p + 0.02 * torch.randn(p.shape, generator=draws) for p in mine]
               for mine in first_weights(plan)]  # fmt: skip
    chips = plan.making.assemble(plan, weights)
    assert isinstance(chips, Simulated)
    x, target = next(iter(plan.task.batches((2, 8), stream(0, "x"), 0)))
    assert isinstance(plan.estimator, Modelled)
    ours = plan.estimator(chips, x, target, CrossEntropy()).weights
    theirs = Implicit()(chips, x, target, CrossEntropy()).weights
    for mine, exact in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, exact, rtol=1e-3, atol=1e-5)


def test_a_model_does_not_see_what_is_wrong_with_its_chips() -> None:
    bench = SpectrumConfig.of(SMALL).bench("digits")
    plan = bench.plan(WAYS["in-situ"].make(bench, 5e-6), 0.1, severities("together", 3))
    chips = plan.making.assemble(plan)
    ideal = replace(plan, making=bench.plan(WAYS["in-situ"].make(bench, 5e-6), 0.1, {}).making)
    x, target = next(iter(plan.task.batches((3, 8), stream(0, "x"), 0)))
    seen, right = (
        plan.estimator(each, x, target, CrossEntropy()).weights
        for each in (chips, ideal.making.assemble(ideal))
    )
    assert all(torch.equal(a, b) for a, b in zip(seen, right, strict=True))


def test_what_was_tuned_on_is_not_tested_on() -> None:
    config = SpectrumConfig.of(SMALL)
    for task in (*config.tasks, "digits"):
        tuning, last = (config.bench(task, tuning=each) for each in (True, False))
        assert tuning.seed != last.seed
    tuning_set, test = (b.task.held("validation", stream(0, "x"))[0] for b in (tuning, last))
    assert not (tuning_set[:, None] == test).all(-1).any()


@pytest.mark.parametrize("rule", ["in-situ", "in-the-loop", "ex-situ", "centred"])
def test_joules_of_a_sample_by_hand(rule: str) -> None:
    """Products, accumulators, weights that a model reads: of 60 x 31 x 4, prices in pJ."""
    config = SpectrumConfig.of(SMALL | {"tasks": ["braille-deep"], "steps": 2, "chips": 2})
    bench = config.bench("braille-deep")
    found = WAYS[rule].begin(bench, *WAYS[rule].grid[0], counted=True)({})
    first, second = 31 * 13, 4 * 32  # two letters of six dots, and a bias
    whole = first + second
    products = whole + second + (0 if rule == "in-the-loop" else whole)
    assert found.joules is not None
    if rule == "centred":
        assert found.joules > 5e-12 * whole
        return
    read = products - whole
    least = 0.3 * products + 2.5 * read + 5 * whole + 46 * 4
    written = 387 * 2 * whole / (config.steps * config.batch)  # programmed at least once
    if rule == "ex-situ":
        assert found.joules == pytest.approx(1e-12 * (least + written), rel=1e-9)
        assert found.array_joules == 0
    else:
        assert found.joules > 1e-12 * (least + written)


@pytest.mark.parametrize("rule", ["sparse", "centred", "tiki-taka"])
def test_candidates_that_learn_at_once_learn_as_alone(rule: str) -> None:
    config = SpectrumConfig.of(SMALL | {"steps": 40, "tuning_chips": 4})
    bench, way = config.bench("braille", tuning=True), WAYS[rule]
    own = way.numbers[0]
    alike = replace(way, rates=(0.3, 0.3), numbers=(own,))
    read, eight = alike.tune(bench)({}).read, replace(bench, chips=8)
    alone = alike.begin(eight, 0.3, own)({}).accuracy
    assert read == pytest.approx([sum(alone[:4]) / 4, sum(alone[4:]) / 4], rel=1e-6)
    still, learns = replace(alike, rates=(1e-9, 0.3)).tune(bench)({}).read
    assert learns > still + 0.3
