"""The rules: all learn, and models of ideal chips give their exact gradient."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import pytest
import torch

from madem.circuit import Timing
from madem.experiments.spectrum.config import SpectrumConfig
from madem.experiments.spectrum.imperfections import severities
from madem.experiments.spectrum.joules import arithmetic, phase_times
from madem.experiments.spectrum.modelled import Modelled, backward
from madem.experiments.spectrum.rules import WAYS, learned
from madem.learn import Implicit
from madem.machine import Simulated
from madem.network import CrossEntropy
from madem.randomness import stream
from madem.solver import Sweep
from madem.training import Trainer, chips_of, first_weights
from tests.experiments.spectrum.test_study import SMALL


@pytest.mark.parametrize("rule", WAYS)
def test_every_rule_learns(rule: str) -> None:
    """A few steps on ideal chips already beat chance, for all rules, on as many samples."""
    config = SpectrumConfig.of(SMALL | {"steps": 60, "batch": 16, "chips": 2})
    bench = config.bench("braille")
    outcome = WAYS[rule].begin(bench, *WAYS[rule].grid[-1])({})
    assert sum(outcome.accuracy) / 2 > 0.5  # chance: 0.25
    assert outcome.unsettled == 0


@pytest.mark.parametrize("task", ["braille", "digits", "digits-deep"])
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
    model = replace(plan.estimator, solver=Sweep(1e-6, 200))
    chips.solver = model.solver
    ours = model(chips, x, target, CrossEntropy()).weights
    theirs = Implicit()(chips, x, target, CrossEntropy()).weights
    for mine, exact in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, exact, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("joined", "second"), [(0.5, 3 / 0.75), (2.0, 3.0)])
def test_errors_of_two_units_that_feed_each_other(joined: float, second: float) -> None:
    """At rest the upper has ``b g / (1 - a^2)``; above ``a = 1`` one pass is kept."""
    weights = [torch.tensor([[[w]]]) for w in (1.0, joined, 3.0)]
    hidden = [torch.zeros(1, 1, 1)] * 2
    found, sweeps = backward(weights, hidden, torch.ones(1, 1, 1), Sweep(1e-6, 50))
    assert [float(e) for e in found] == pytest.approx([joined * second, second, 1.0], rel=1e-5)
    assert sweeps == 2 if joined > 1 else sweeps > 5
    both = [w.expand(2, 1, 1) for w in weights]
    hidden = [torch.tensor([[[0.0]], [[1.0]]])] * 2  # the second's are held: one pass shows it
    assert backward(both, hidden, torch.ones(2, 1, 1), Sweep(1e-6, 50))[1] == (sweeps + 1) / 2


def test_what_a_model_of_two_hidden_layers_multiplies() -> None:
    """Both ends of the joint between them move: read twice in every sweep but the first."""
    bench = SpectrumConfig.of(SMALL).bench("digits-deep")
    first, joint, last = 31 * 64, 31 * 32, 10 * 32
    heard = {e.item: e.count for e in arithmetic(bench.network(False), 2, 3.0, 5.0)}
    passes = first + last + 5 * joint + last + 9 * joint
    assert heard["model weight read"] == 2 * passes
    assert heard["activity product"] == 2 * (first + 2 * joint + last + passes)
    assert heard["accumulator access"] == 2 * (first + joint + last)


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
    for task in (*config.tasks, "digits", "digits-deep"):
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


@pytest.mark.parametrize("rule", ["centred", "in-the-loop"])
def test_phases_last_as_long_as_their_circuit(rule: str) -> None:
    """Arrays are on for a time that goes with the neurons' pole, on chips that know no other."""
    bench = SpectrumConfig.of(SMALL | {"steps": 20, "batch": 16}).bench("braille")
    plan = bench.plan(WAYS[rule].make(bench, WAYS[rule].numbers[0]), 0.3, {})
    found = []
    for tau in (1e-9, 3e-9):
        slow = replace(plan, making=replace(chips_of(plan), timing=Timing(tau=tau)))
        found.append(learned(Trainer(slow)))
    assert found[0].array_joules is not None
    assert found[0].array_joules > 0
    assert found[1].array_joules == pytest.approx(3 * found[0].array_joules, rel=1e-6)
    assert found[1].accuracy == found[0].accuracy


def test_a_phase_that_does_not_end_is_charged_as_far_as_it_was_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One pole settles to half a step of 8 bits after 5.5 of itself, which is then too long."""
    bench = SpectrumConfig.of(SMALL | {"steps": 20, "batch": 16}).bench("braille")
    plan = bench.plan(WAYS["centred"].make(bench, 1.0), 0.3, {})
    for name in ("madem.training.settling", "madem.experiments.spectrum.joules"):
        monkeypatch.setattr(import_module(name), "LONGEST", 0.3)
    trainer = Trainer(plan)
    assert phase_times(plan, trainer.machine) == {"free": 3e-10, "nudged": 3e-10}


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
