"""Does temporal noise regularise: the data, the statistics, a whole small run and its page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from madem.errors import InputError
from madem.experiments import noise
from madem.experiments.noise import EXPERIMENT, make_noise, optimum, trainer_of
from madem.experiments.noiseconfig import NoiseConfig
from madem.experiments.running.jobs import Progress
from madem.report.noise import answer, finding
from madem.report.page import write_report
from tests.experiments.running.test_experiment import Killed, deaf


def small(**changed: object) -> NoiseConfig:
    values = {
        "chips": 3,
        "levels": ["0 uS", "4 uS", "64 uS"],
        "words": ["ab", "cd", "ef", "gh"],
        "letters": 2,
        "test_samples": 200,
        "resamples": 200,
        "braille": {"sizes": [6, 24], "steps": 20, "hidden": 5},
        "digits": None,
    }
    return make_noise(values | changed)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "noise"
    EXPERIMENT.run(small(), path, deaf, workers=1)
    return path


def test_a_chip_learns_from_its_own_set_alone_and_levels_share_sets() -> None:
    trainer = trainer_of(small(), "braille", 6)
    task = trainer.plan.task
    assert isinstance(task, noise.Finite)
    assert bool((task.x[0] == task.x[3]).all())
    assert not bool((task.x[0] == task.x[1]).all())
    x, target, _ = task.sample((9, 50), torch.Generator())
    for chip in range(9):
        rows = {(*row.tolist(), int(t)) for row, t in zip(task.x[chip], task.target[chip],
                                                          strict=True)}  # fmt: skip
        drawn = {(*row.tolist(), int(t)) for row, t in zip(x[chip], target[chip], strict=True)}
        assert drawn <= rows


def test_the_reads_of_a_chip_fluctuate_by_its_level() -> None:
    trainer = trainer_of(small(chip={"converters": False, "lines": 80}), "braille", 6)
    x = torch.ones(4000, 12)
    x[:] = x[0]
    out = trainer.machine.settle(x).states[1]
    spread = out.std(1).mean(-1).view(3, 3).mean(-1)
    assert spread[0] < 1e-6
    expected = 2**0.5 * 4e-6 / 700e-6 * 13**0.5
    assert float(spread[1]) == pytest.approx(expected, rel=0.02)


def test_the_optimum_is_where_it_was_put_and_unsure_where_there_is_none() -> None:
    draws = np.random.default_rng(0)
    flat = 0.9 + 0.01 * draws.standard_normal((4, 12))
    peaked = flat + np.array([0.0, 0.0, 0.05, 0.0])[:, None]
    found = optimum(peaked, np.random.default_rng(1), 2000)
    assert found["best"] == 2
    assert found["interval"] == [2, 2]
    assert found["gain_low"][2] > 0.02
    none = optimum(flat, np.random.default_rng(1), 2000)
    assert none["interval"][0] < none["interval"][1]
    assert max(none["gain_low"]) <= 0


def test_gains_without_an_effect_are_seldom_called_sure() -> None:
    draws = np.random.default_rng(3)
    sure = sum(
        max(optimum(draws.standard_normal((5, 12)), draws, 500)["gain_low"]) > 0 for _ in range(200)
    )
    assert sure <= 24  # about 5 %; the bootstrap of twelve seeds is a little narrow


def test_a_killed_run_resumes_bit_for_bit(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise, "CHECKPOINT_EVERY", 7)
    heard = 0

    def kill(progress: Progress) -> None:
        nonlocal heard
        heard += 1
        if heard == 5:
            raise Killed

    with pytest.raises(Killed):
        EXPERIMENT.run(small(), tmp_path / "run", kill, workers=1)
    EXPERIMENT.run(small(), tmp_path / "run", deaf, workers=1)
    again = (tmp_path / "run" / "summary.json").read_bytes()
    assert again == (finished / "summary.json").read_bytes()


def test_the_page_says_what_the_numbers_say(finished: Path) -> None:
    text = write_report(finished).read_text()
    assert text.count("<svg") == 2
    summary = json.loads((finished / "summary.json").read_text())
    row = summary["rows"][0]
    for read in ("noisy", "averaged"):
        row[read]["optimum"] = {
            "best": 1, "interval": [1, 1], "gain": [0.0, 0.03, -0.1],
            "gain_low": [0.0, 0.02, -0.2], "gain_high": [0.0, 0.04, 0.0],
        }  # fmt: skip
    summary["rows"] = [row]
    assert "better than none for 1 of 1 training sets, by up to 3.0 points" in answer(summary)
    assert "best at 4 uS (95 % interval 4 uS to 4 uS)" in finding(row, summary["levels"])
    row["noisy"]["optimum"]["gain_low"] = [0.0, -0.1, -0.2]
    assert "better than none for 0 of 1" in answer(summary)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"levels": ["1 uS", "2 uS"]}, "levels must begin with 0 and rise"),
        ({"braille": None}, "one of braille, digits must be learned"),
        ({"braille": {"sizes": [8], "hidden": 90}}, "braille: layer 1 does not fit a 80 x 80"),
        ({"digits": {"sizes": [2000]}}, "digits.sizes: must be at most"),
    ],
)
def test_what_cannot_be_run_is_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        noise.check(small(**changed))
