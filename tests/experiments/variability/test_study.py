"""Monte Carlo over chips: damage, biased measurements, a whole small run and its page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from madem.errors import InputError
from madem.experiments.running import trained
from madem.experiments.running.jobs import Progress
from madem.experiments.running.rundir import RunDirectory
from madem.experiments.variability.config import VariabilityConfig
from madem.experiments.variability.results import VariabilityResults
from madem.experiments.variability.study import EXPERIMENT, check, jobs_of, largest_with
from madem.report.page import write_report
from madem.report.variability import forgetting_words, recovery_words
from tests.experiments.running.test_experiment import Killed, deaf


def small(**changed: object) -> VariabilityConfig:
    values = {
        "task": {"words": ["ab", "cd", "ef", "gh"], "letters": 2},
        "machine": {"chips": 3},
        "schedule": {"steps": 20, "looks": 3},
        "ideal_steps": 20,
        "bias_steps": 10,
        "defect_rates": [0.0, 0.4],
        "spreads": [0.0, 0.4],
        "damage": [0.0, 0.3],
        "offsets": [0.0, 1.0],
    }
    return VariabilityConfig.of(values | changed)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "variability"
    EXPERIMENT.run(small(), path, deaf, workers=1)
    return path


@pytest.mark.parametrize("after", [8, 45, 75, 110])
def test_a_killed_run_resumes_bit_for_bit(
    after: int, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "EVERY", 7)
    heard = 0

    def kill(progress: Progress) -> None:
        del progress
        nonlocal heard
        heard += 1
        if heard == after:
            raise Killed

    with pytest.raises(Killed):
        EXPERIMENT.run(small(), tmp_path / "run", kill, workers=1)
    EXPERIMENT.run(small(), tmp_path / "run", deaf, workers=1)
    again = (tmp_path / "run" / "summary.json").read_bytes()
    assert again == (finished / "summary.json").read_bytes()


def test_damage_happens_once_and_only_where_it_should(finished: Path) -> None:
    held = json.loads((finished / "jobs" / "damage.json").read_text())
    assert [step for step, _ in held["in_situ"]] == [0, 10, 10, 20]
    before, after = (values for step, values in held["in_situ"] if step == held["at"] == 10)
    assert before[:3] == after[:3]  # the level at which nothing dies
    assert before[3:] != after[3:]


def test_all_measurements_begin_with_the_same_trained_chips(finished: Path) -> None:
    held = json.loads((finished / "jobs" / "forgetting.json").read_text())
    looks = {key: held[key] for key in held if "." in key}
    assert set(looks) == {f"{e}.{p}" for e in ("centred", "positive") for p in ("nudged", "free")}
    first = [look[0] for look in looks.values()]
    assert first[0][0] == 0
    assert all(look == first[0] for look in first)
    assert [step for step, _ in looks["centred.free"]] == [0, 5, 10]
    trained = [rows[-1][1] for rows in looks.values()]
    assert len({tuple(values[3:]) for values in trained}) > 1


def test_any_estimator_can_be_measured_with(tmp_path: Path) -> None:
    parts = [{"kind": "random-sign", "beta": 2.0}, {"kind": "richardson", "beta": 2.0}]
    found = EXPERIMENT.run(small(measured=parts), tmp_path / "run", deaf, workers=1)
    assert isinstance(found, VariabilityResults)
    assert set(found.forgetting.curves) >= {"random-sign.free", "richardson.nudged"}


def test_the_page_says_what_the_numbers_say(finished: Path) -> None:
    text = write_report(finished).read_text()
    assert text.count("<svg") == 3
    summary = json.loads((finished / "summary.json").read_text())
    part = summary["flaws"]["damage"]
    part["in_situ"]["curve"]["mean"] = [[0.1, 0.1], [0.9, 0.9], [0.9, 0.5], [0.9, 0.7]]
    part["back"] = [None, 0.5]
    summary["forgetting"]["change"]["positive.nudged"] = [0.0, -0.4]
    found = VariabilityResults.model_validate(summary)
    assert "90.0 %, then 50.0 %, and 70.0 % after training on (50 % of" in recovery_words(found)
    assert "positive, nudged states off: -40.0 points" in forgetting_words(found)
    assert largest_with([0.0, 0.1], [0.2, 0.9]) is None


def test_the_share_that_comes_back(finished: Path) -> None:
    text = (finished / "summary.json").read_text()
    part = VariabilityResults.model_validate_json(text).flaws["damage"]
    mean = part.in_situ.curve.mean
    assert part.looks == (1, 2)
    for before, just, after, back in zip(mean[1], mean[2], mean[3], part.back, strict=True):
        assert (back is None) == (before <= just)
        if back is not None:
            assert just + back * (before - just) == pytest.approx(after)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"damage": [0.1, 0.2]}, "damage: must begin with 0 and rise"),
        ({"offsets": [0.0]}, "offsets: must be at least two levels, the first 0"),
        ({"machine": {"read_noise": False, "converters": False}}, "machine: an ideal measurement"),
        ({"machine": {"lines": 4}}, "does not fit two 4 x 4 arrays"),
        ({"measured": ["contrastive", "contrastive"]}, "measured: each can be given once"),
        ({"measured": ["contrastive"]}, "contrastive holds outputs or draws them to a target"),
    ],
)
def test_what_cannot_be_run_is_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(small(**changed))


def test_numbers_to_predict_are_refused(tmp_path: Path) -> None:
    rows = "\n".join(f"{i % 7},{i % 5},{i % 3 + i / 7}" for i in range(60))
    (tmp_path / "t.csv").write_text(f"a,b,y\n{rows}\n")
    task = {"kind": "csv", "path": str(tmp_path / "t.csv"), "target": "y", "predict": "numbers"}
    with pytest.raises(InputError, match="task: right decisions are counted here"):
        check(small(task=task, measured=["contrastive"], estimator="contrastive"))


@pytest.mark.parametrize("number", range(4))
def test_a_job_of_many_trainings_tells_of_one_whole(number: int, tmp_path: Path) -> None:
    RunDirectory(tmp_path).claim(small().model_dump(mode="json"))
    told: list[Progress] = []
    job = jobs_of(small(), tmp_path)[number]
    job.run(RunDirectory(tmp_path), told.append)
    assert {(each.job, each.total) for each in told} == {(job.name, job.steps)}
    done = [each.done for each in told]
    assert done == sorted(done)
    assert done[-1] == job.steps
