"""The spectrum: a small one end to end, resumed, and the numbers it says in words."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from madem.errors import InputError
from madem.experiments.running.experiment import Experiment
from madem.experiments.running.jobs import Progress
from madem.experiments.spectrum import EXPERIMENT, severity, verdicts
from madem.experiments.spectrumchips import TABLE, bench_of, chips_of, condition, first_weights
from madem.experiments.spectrumconfig import IMPERFECTIONS, RULES, make_spectrum
from madem.experiments.spectrumrules import WAYS, Run, from_model, in_the_loop
from madem.experiments.spectrumwrites import MANNERS, save_pulses, written_with
from madem.learn import Implicit
from madem.machine import verified
from madem.machine.pulses import HEADER
from madem.network import CrossEntropy
from madem.randomness import stream
from madem.report import write_report
from madem.report.spectrum import words

SMALL = {
    "words": ["ab", "cd", "ef", "gh"], "tasks": ["braille"], "chips": 3, "steps": 6, "batch": 4,
    "tuning_chips": 2, "test_samples": 100, "levels": 2, "stated": 2, "writes": False,
    "rules": ["in-situ", "centred", "ex-situ"], "imperfections": ["stuck", "wires", "together"],
}  # fmt: skip


def quiet(progress: Progress) -> None:
    assert 0 < progress.done <= progress.total


def test_a_small_spectrum_runs_resumes_and_reports(tmp_path: Path) -> None:
    config = make_spectrum(SMALL)
    experiment: Experiment = EXPERIMENT
    whole = experiment.run(config, tmp_path / "whole", quiet, 1)
    part = tmp_path / "part"
    experiment.prepare(config, part)

    class StopHereError(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.done == 9:
            raise StopHereError

    with pytest.raises(StopHereError):
        experiment.run(config, part, stop, 1)
    again = experiment.run(config, part, quiet, 1)
    assert json.dumps(again) == json.dumps(whole)
    page = write_report(part).read_text()
    assert "stuck cells" in page
    tuning = json.loads((part / "tuning.json").read_text())
    assert tuning["seed"] != config.seed
    assert {len(each["candidates"]) for each in tuning["rules"].values()} == {6}


def test_every_rule_has_as_many_candidates() -> None:
    assert set(WAYS) == set(RULES)
    assert len({len(way.grid) for way in WAYS.values()}) == 1
    assert set(TABLE) | {"together"} == set(IMPERFECTIONS)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_learns(rule: str) -> None:
    """A few steps on ideal chips already beat chance, for all rules, on the same samples."""
    config = make_spectrum(SMALL | {"steps": 60, "batch": 16})
    bench = bench_of(config, "braille")
    run = Run(0, 2, 60, 16, bench.test)
    way = WAYS[rule]
    setting = way.grid[-1]
    outcome = way.train(bench, condition(None, 0), setting, run, way.prepare(bench, setting, run))
    assert sum(outcome.accuracy) / 2 > 0.5  # chance: 0.25
    assert outcome.unsettled == 0


@pytest.mark.parametrize("task", ["braille", "digits"])
def test_models_of_ideal_chips_give_their_exact_gradient(task: str) -> None:
    config = make_spectrum(SMALL)
    bench = bench_of(config, task)
    weights = first_weights(bench, 2, 0)
    weights = [w + 0.02 * torch.randn(w.shape, generator=stream(0, "more")) for w in weights]
    chips = chips_of(bench, condition(None, 0), bench.network, weights, bench.units, verified, 0)
    x, target = bench.samples((2, 8), stream(0, "x"))
    exact = Implicit()(chips, x, target, CrossEntropy()).weights
    for way in (from_model, in_the_loop):
        for ours, theirs in zip(way(chips, chips.parameters, x, target), exact, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_severity_lies_between_levels() -> None:
    assert severity("stuck", [0.02, 0.03]) == 0.01
    assert severity("stuck", [0.0, 0.0]) is None
    assert severity("together", [0.0, 0.02]) == pytest.approx(2**0.5, rel=1e-2)
    assert 0.03 < (severity("stuck", [0.0, 0.009, 0.011]) or 0) < 0.1


def test_verdicts_follow_the_numbers() -> None:
    config = make_spectrum(SMALL | {"imperfections": ["stuck", "wires"], "levels": 1, "stated": 1})

    def accuracies(stuck: list[float], wires: list[float]) -> dict[str, object]:
        held = {"ideal": [0.9, 0.9, 0.9], "stuck.0": stuck, "wires.0": wires}
        return {"conditions": {key: {"accuracy": share} for key, share in held.items()}}

    rules = {
        "centred": accuracies([0.9, 0.89, 0.9], [0.7, 0.71, 0.7]),
        "in-situ": accuracies([0.5, 0.52, 0.5], [0.9, 0.9, 0.89]),
        "ex-situ": accuracies([0.9, 0.89, 0.9], [0.7, 0.71, 0.7]),
    }
    found = {(v["against"], v["imperfection"]): v["verdict"] for v in verdicts(config, rules)}
    assert found == {
        ("in-situ", "stuck"): "holds", ("in-situ", "wires"): "fails",
        ("ex-situ", "stuck"): "even", ("ex-situ", "wires"): "even",
    }  # fmt: skip
    said = words({"verdicts": {"braille": verdicts(config, rules)}}, "braille")
    assert "differences lose less under stuck (level 1; up to 39.0 points)" in said[0]


def test_ways_of_writing_are_counted_and_listed(tmp_path: Path) -> None:
    config = make_spectrum(SMALL | {"writes_steps": 5})
    bench = bench_of(config, "digits")
    every, least = (
        MANNERS[name]
        for name in ("program-and-verify every step", "accumulate 15 uS, program-and-verify")
    )
    record: list = []
    dense = written_with(config, bench, every, record)
    sparse = written_with(config, bench, least, None)
    assert dense["written"] > 0.2 > sparse["written"]
    assert dense["write_joules"] > sparse["write_joules"]
    save_pulses(tmp_path / "pulses.csv", record)
    with (tmp_path / "pulses.csv").open() as file:
        lines = list(csv.reader(file))
    assert tuple(lines[0]) == HEADER
    assert {line[0] for line in lines[1:]} == set("01234")
    assert all(0 <= int(line[2]) < 64 and 0 <= int(line[3]) < 64 for line in lines[1:])


def test_what_no_spectrum_can_be() -> None:
    with pytest.raises(InputError, match="stated must be one of 2 levels, but is 3"):
        make_spectrum({"levels": 2})
    with pytest.raises(InputError, match="rules: each can be given once"):
        make_spectrum({"rules": ["centred", "centred"]})
    with pytest.raises(InputError, match="did you mean 'digits'"):
        make_spectrum({"tasks": ["digit"]})


def test_full_can_be_said_otherwise() -> None:
    config = make_spectrum({"full": True, "chips": 5})
    assert (config.chips, config.steps) == (5, 2000)
