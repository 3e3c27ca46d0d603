"""Does temporal noise regularise: the data, the statistics, a whole small run and its page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from madem.errors import InputError
from madem.experiments.noise.config import NoiseConfig
from madem.experiments.noise.results import NoiseResults
from madem.experiments.noise.study import EXPERIMENT, averaged, check, optimum
from madem.experiments.running import trained
from madem.experiments.running.jobs import Progress
from madem.report.noise import answer, finding
from madem.report.page import write_report
from madem.training import Trainer, scores
from tests.experiments.running.test_experiment import Killed, deaf


def small(**changed: object) -> NoiseConfig:
    values = {
        "task": {"words": ["ab", "cd", "ef", "gh"], "letters": 2},
        "machine": {"chips": 3},
        "levels": ["0 uS", "4 uS", "64 uS"],
        "resamples": 200,
        "sizes": [6, 24],
        "schedule": {"steps": 20},
        "network": {"hidden": [5]},
    }
    return NoiseConfig.of(values | changed)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "noise"
    EXPERIMENT.run(small(), path, deaf, workers=1)
    return path


@pytest.mark.parametrize("task", [None, {"kind": "digits", "size": 8, "signed": True}])
def test_a_chip_learns_from_its_own_set_alone_and_levels_share_sets(task: object) -> None:
    config = small(**({} if task is None else {"task": task}))
    plan = config.plan(6)
    x, target = plan.task.held("training", torch.Generator())
    assert bool((x[0] == x[3]).all())
    assert not bool((x[0] == x[1]).all())
    if task is not None:
        assert all(len({tuple(row.tolist()) for row in rows}) == 6 for rows in x)
    shown, goal = next(plan.task.batches((9, 50), torch.Generator(), 0))
    for chip in range(9):
        rows = {(*r.tolist(), int(t)) for r, t in zip(x[chip], target[chip], strict=True)}
        drawn = {(*r.tolist(), int(t)) for r, t in zip(shown[chip], goal[chip], strict=True)}
        assert drawn <= rows


def test_the_reads_of_a_chip_fluctuate_by_its_level_and_not_when_averaged() -> None:
    quiet = {"chips": 3, "converters": False}
    trainer = Trainer(small(machine=quiet).plan(6))
    x = torch.ones(4000, 12)
    spread = trainer.machine.settle(x).states[1].std(1).mean(-1).view(3, 3).mean(-1)
    assert spread[0] < 1e-6
    expected = 2**0.5 * 4e-6 / 700e-6 * 13**0.5
    assert float(spread[1]) == pytest.approx(expected, rel=0.02)
    trainer.advance()
    still = averaged(trainer)
    assert all(
        bool((a == b).all())
        for a, b in zip(still.parameters, trainer.machine.parameters, strict=True)
    )
    assert float(still.settle(x).states[1].std(1).max()) < 1e-6


def test_data_of_ones_own(tmp_path: Path) -> None:
    rows = "\n".join(f"{i % 7},{i % 5},{'ab'[i % 2]}" for i in range(80))
    (tmp_path / "t.csv").write_text(f"a,b,y\n{rows}\n")
    task = {"kind": "csv", "path": str(tmp_path / "t.csv"), "target": "y"}
    plan = small(task=task).plan(8)
    trainer = Trainer(plan)
    trainer.advance()
    x, target = plan.task.held("test", torch.Generator())
    assert scores(plan, trainer.machine, x, target, "test").shape == (9, len(x))


def test_the_optimum_is_where_it_was_put_and_unsure_where_there_is_none() -> None:
    draws = np.random.default_rng(0)
    flat = 0.9 + 0.01 * draws.standard_normal((4, 12))
    peaked = flat + np.array([0.0, 0.0, 0.05, 0.0])[:, None]
    found = optimum(peaked, np.random.default_rng(1), 2000)
    assert found.best == 2
    assert found.interval == (2, 2)
    assert found.helps
    assert found.gain.low[2] > 0.02
    none = optimum(flat, np.random.default_rng(1), 2000)
    assert none.interval[0] < none.interval[1]
    assert max(none.gain.low) <= 0
    assert not none.helps


def test_gains_without_an_effect_are_seldom_called_sure() -> None:
    draws = np.random.default_rng(3)
    sure = sum(optimum(draws.standard_normal((5, 12)), draws, 500).helps for _ in range(200))
    assert sure <= 24  # about 5 %; the bootstrap of twelve seeds is a little narrow


def test_a_killed_run_resumes_bit_for_bit(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "EVERY", 7)
    heard = 0

    def kill(progress: Progress) -> None:
        nonlocal heard
        heard += progress.done % 7 == 0 or progress.done == progress.total
        if heard == 5:
            raise Killed

    with pytest.raises(Killed):
        EXPERIMENT.run(small(), tmp_path / "run", kill, workers=1)
    EXPERIMENT.run(small(), tmp_path / "run", deaf, workers=1)
    again = (tmp_path / "run" / "summary.json").read_bytes()
    assert again == (finished / "summary.json").read_bytes()


def test_the_page_says_what_the_numbers_say(finished: Path) -> None:
    text = write_report(finished).read_text()
    assert text.count("<svg") == 1
    summary = json.loads((finished / "summary.json").read_text())
    row = summary["rows"][0]
    for read in ("noisy", "averaged"):
        gain = {"mean": [0.0, 0.03, -0.1], "low": [0.0, 0.02, -0.2], "high": [0.0, 0.04, 0.0]}
        row[read]["optimum"] = {"best": 1, "interval": [1, 1], "gain": gain, "helps": True}
    found = NoiseResults.model_validate(summary | {"rows": [row]})
    assert "some noise in training is better than none, by up to 3.0 points" in answer(found)
    assert "best at 4 uS (95 % interval 4 uS)" in finding(found.rows[0], found.levels)
    row["noisy"]["optimum"]["helps"] = False
    found = NoiseResults.model_validate(summary | {"rows": [row]})
    assert "some noise in training is no better than none" in answer(found)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"task": {"letters": 10**6}}, "task.letters: must be from 1 to 1000"),
        ({"levels": ["1 uS", "2 uS"]}, "levels: must begin with 0 and rise"),
        ({"sizes": [6, 6]}, "sizes: each can be given once"),
        ({"machine": {"read_noise": True}}, "machine.read_noise must be false"),
        ({"network": {"hidden": [90]}}, "layer 1 does not fit a 80 x 80"),
        ({"task": {"kind": "digits", "size": 8}, "sizes": [2000]}, "sizes must be at most 1437"),
    ],
)
def test_what_cannot_be_run_is_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(small(**changed))
