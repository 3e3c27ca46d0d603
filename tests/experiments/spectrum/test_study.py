"""The spectrum: a small one end to end, resumed, and the numbers it says in words."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from madem.errors import InputError
from madem.experiments.running.experiment import Experiment
from madem.experiments.running.jobs import Progress
from madem.experiments.running.rundir import RunDirectory
from madem.experiments.spectrum.config import EVERY, RULES, SpectrumConfig
from madem.experiments.spectrum.fair import contests
from madem.experiments.spectrum.imperfections import TABLE
from madem.experiments.spectrum.results import (
    Candidate,
    Fair,
    Outcome,
    SpectrumResults,
    Trained,
)
from madem.experiments.spectrum.rules import WAYS
from madem.experiments.spectrum.study import EXPERIMENT, severity, summarise, verdicts
from madem.report import write_report
from madem.report.spectrum import fair_words, heat_map, said, words

SMALL = {
    "words": ["ab", "cd", "ef", "gh"], "tasks": ["braille"], "chips": 3, "steps": 6, "batch": 4,
    "tuning_chips": 2, "test_samples": 100, "levels": 2, "stated": 2, "writes": False,
    "fair": False,
    "rules": ["in-situ", "centred", "ex-situ"], "imperfections": ["stuck", "wires", "together"],
}  # fmt: skip


def quiet(progress: Progress) -> None:
    assert 0 < progress.done <= progress.total


def test_a_small_spectrum_runs_resumes_and_reports(tmp_path: Path) -> None:
    config = SpectrumConfig.of(SMALL)
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
    assert again.model_dump_json() == whole.model_dump_json()
    page = write_report(part).read_text()
    assert "stuck cells" in page
    found = SpectrumResults.model_validate(json.loads((part / "summary.json").read_text()))
    assert found == whole
    assert found.tuning_seed != config.seed
    assert {len(each.candidates) for each in found.tasks["braille"].values()} == {6}


def test_every_rule_has_as_many_candidates() -> None:
    assert set(WAYS) == set(RULES)
    assert len({len(way.grid) for way in WAYS.values()}) == 1
    assert tuple(TABLE) == EVERY


def test_severity_lies_between_levels() -> None:
    stuck = TABLE["stuck"].levels
    assert severity(stuck, [0.02, 0.03]) == 0.01
    assert severity(stuck, [0.0, 0.0]) is None
    assert severity(TABLE["together"].levels, [0.0, 0.02]) == pytest.approx(2**0.5, rel=1e-2)
    assert 0.03 < (severity(stuck, [0.0, 0.009, 0.011]) or 0) < 0.1


def test_verdicts_follow_the_numbers() -> None:
    def accuracies(stuck: list[float], wires: list[float]) -> Trained:
        held = {"ideal": [0.9, 0.9, 0.9], "stuck.0": stuck, "wires.0": wires}
        return Trained.model_validate({
            "chosen": Candidate(rate=0.1, own=1.0, ideal=0.9, together=0.9, mean=0.9),
            "candidates": [], "conditions": {key: {"accuracy": it} for key, it in held.items()},
        })  # fmt: skip

    rules = {
        "centred": accuracies([0.9, 0.89, 0.9], [0.7, 0.71, 0.7]),
        "in-situ": accuracies([0.5, 0.52, 0.5], [0.9, 0.9, 0.89]),
        "ex-situ": accuracies([0.9, 0.89, 0.9], [0.7, 0.71, 0.7]),
    }
    found = {(v.against, v.imperfection): v.verdict for v in verdicts(rules)}
    assert found == {
        ("in-situ", "stuck"): "holds", ("in-situ", "wires"): "fails",
        ("ex-situ", "stuck"): "even", ("ex-situ", "wires"): "even",
    }  # fmt: skip
    said = words(verdicts(rules))
    assert "differences lose less under stuck (level 1; up to 39.0 points)" in said[0]


def test_a_rule_near_chance_is_told_so_and_compared_with_none(tmp_path: Path) -> None:
    config = SpectrumConfig.of(
        SMALL | {"rules": ["in-situ", "centred"], "imperfections": ["stuck"]}
    )
    folder = RunDirectory(tmp_path)
    held = {}
    for rule, ideal, stuck in (("in-situ", 0.9, 0.3), ("centred", 0.35, 0.9)):  # of four words
        held[f"braille.{rule}"] = {
            "chosen": {"rate": 0.1, "own": 1.0, "ideal": ideal, "together": ideal, "mean": ideal},
            "candidates": [], "conditions": {
                "ideal": {"accuracy": [ideal] * 3},
                **{f"stuck.{level}": {"accuracy": [stuck] * 3} for level in range(2)},
            },
        }  # fmt: skip
    found = summarise(config, folder, held)
    assert [part.learned for part in found.tasks["braille"].values()] == [True, False]
    assert found.verdicts["braille"] == []
    told = said(found, "braille")
    assert "centred (35.0 % on ideal chips)" in told[0]
    assert "no losses to compare" in told[1]
    drawn = heat_map(found, "braille")
    assert "60.0" in drawn
    assert "-55.0" not in drawn
    held["braille.centred"]["conditions"]["ideal"]["accuracy"] = [0.45] * 3  # above 0.25 + 0.75 / 5
    found = summarise(config, folder, held)
    assert {each.verdict for each in found.verdicts["braille"]} == {"holds"}
    assert len(said(found, "braille")) == 1
    assert "-45.0" in heat_map(found, "braille")


@pytest.mark.parametrize("asked", [{"tasks": ["digits"]}, {"writes": True}])
def test_digits_without_scikit_learn_are_refused_before_anything(
    asked: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    EXPERIMENT.check(SpectrumConfig.of(SMALL))
    with pytest.raises(InputError, match=r"pip install 'madem\[digits\]'"):
        EXPERIMENT.check(SpectrumConfig.of(SMALL | asked))


def test_what_no_spectrum_can_be() -> None:
    with pytest.raises(InputError, match="stated: must be one of 2 levels, but is 3"):
        SpectrumConfig.of({"levels": 2})
    with pytest.raises(InputError, match="rules: each can be given once"):
        SpectrumConfig.of({"rules": ["centred", "centred"]})
    with pytest.raises(InputError, match="did you mean 'digits'"):
        SpectrumConfig.of({"tasks": ["digit"]})


def test_full_can_be_said_otherwise() -> None:
    config = SpectrumConfig.of({"full": True, "chips": 5})
    assert (config.chips, config.steps) == (5, 2000)


def test_the_fair_table_tunes_where_it_judges(tmp_path: Path) -> None:
    config = SpectrumConfig.of(SMALL | {"imperfections": ["stuck", "wires"], "fair": True})
    whole = EXPERIMENT.run(config, tmp_path / "whole", quiet, 1)
    done = json.loads((tmp_path / "whole/checkpoints/braille.centred.json").read_text())
    for rule, part in whole.tasks["braille"].items():
        assert set(part.fair) == {"stuck", "wires"}
        for name, fair in part.fair.items():
            assert (fair.rate, fair.own) in WAYS[rule].grid
            assert fair.outcome.joules is not None
            assert fair.outcome.array_joules is not None
            assert fair.outcome.joules > fair.outcome.array_joules >= 0
            if rule == "centred":
                tried = done[f"tuning.{name}"]["read"]
                assert fair.tuned == max(tried)
                assert (fair.rate, fair.own) == WAYS[rule].grid[tried.index(max(tried))]
    in_situ, centred = (whole.tasks["braille"][rule].fair["stuck"].outcome
                        for rule in ("in-situ", "centred"))  # fmt: skip
    assert in_situ.array_joules == 0  # it never settles its chip in training
    assert (centred.array_joules or 0) > 0
    assert "Tuned where it is judged" in write_report(tmp_path / "whole").read_text()


def test_contests_are_between_the_best_of_each_kind() -> None:
    def trained(tuned: float, accuracy: list[float], joules: float) -> Trained:
        outcome = Outcome(accuracy=accuracy, joules=joules)
        return Trained(
            chosen=Candidate(rate=0.1, own=1.0, ideal=0.9, together=0.9, mean=0.9), candidates=[],
            conditions={}, fair={"gain": Fair(rate=0.1, own=1.0, tuned=tuned, outcome=outcome)},
        )  # fmt: skip

    rules = {
        "centred": trained(0.8, [0.9, 0.92, 0.91], 2e-8),
        "positive": trained(0.7, [0.99, 0.99, 0.99], 1e-8),  # the tuning did not know
        "in-situ": trained(0.6, [0.5, 0.52, 0.52], 1e-8),
        "ex-situ": trained(0.5, [0.9, 0.9, 0.9], 1e-8),
    }
    (found,) = contests(rules)
    assert (found.ours, found.theirs, found.verdict) == ("centred", "in-situ", "wins")
    assert found.lead == pytest.approx(1.19 / 3)
    assert found.standard_error == pytest.approx(0.00577350 / 3**0.5, rel=1e-3)
    assert fair_words([found], 3)[0].endswith(
        "read more under gain (centred against in-situ: 39.7 points, 2.0 times the joules a "
        "sample)."
    )
    assert contests({"centred": rules["centred"]}) == []
