"""Strategies beside a beam: whole small runs, kills, what is shared, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from madem.data.detector import Shift, reduced
from madem.documents import load_yaml
from madem.errors import InputError
from madem.experiments.detector import strategies
from madem.experiments.detector.bench import Bench, Found
from madem.experiments.detector.config import CONDITIONS, DetectorConfig
from madem.experiments.detector.counters import (
    Counting,
    labelled_counter,
    quantile_counter,
    running_counter,
)
from madem.experiments.detector.strategies import FOLDS, STRATEGIES, regressed
from madem.experiments.detector.study import EXPERIMENT, check, frames_of, kept_alarms
from madem.experiments.running import trained
from madem.experiments.running.jobs import Progress
from madem.experiments.running.rundir import RunDirectory
from madem.report.detector import answer
from madem.report.page import write_report
from tests.experiments.running.test_experiment import Killed, deaf

ROOT = Path(__file__).parents[3]
SMALL = {
    "frames": 100, "warming": 50, "calibration": 100, "validation": 60, "seeds": 2,
    "conditions": ["all", "scarce", "step", "none"], "machine": {"chips": 2}, "resamples": 100,
    "schedule": {"steps": 10}, "retrain": 50, "recent": 100, "alert": 50,
    "module": {"rows": 64, "columns": 64, "grid": [2, 2], "pixel": "1.2 mm",
               "centre": [-2.0, 31.5]},
    "scene": {"crystals": 0.5, "strength": 300.0, "crystal": {"resolution": 3.0}},
    "online": {"updates": 2},
}  # fmt: skip


def small(**changed: object) -> DetectorConfig:
    return DetectorConfig.of(SMALL | changed)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "detector"
    EXPERIMENT.run(small(), path, deaf, workers=1)
    return path


def test_every_strategy_is_told_of_under_every_condition(finished: Path) -> None:
    found = EXPERIMENT.results(small(), finished)
    assert list(found.conditions) == SMALL["conditions"]  # type: ignore[attr-defined]
    for shown in found.conditions.values():  # type: ignore[attr-defined]
        assert list(shown.rows) == list(STRATEGIES)
        for row in shown.rows.values():
            assert 0 <= row.missed["80"].mean <= row.missed["95"].mean <= 1
    rows = found.conditions["all"].rows  # type: ignore[attr-defined]
    assert rows["product"].writes > 0 == rows["frozen"].writes
    assert rows["product"].spent.learning > 0 == rows["frozen"].spent.learning
    assert rows["product"].spent.judging == pytest.approx(rows["frozen"].spent.judging, rel=0.05)
    assert rows["alarmed"].writes <= rows["product"].writes
    assert answer(found).startswith("Where everything drifts, while nine in ten")


def test_conditions_that_differ_in_labels_share_frames(finished: Path) -> None:
    folder = RunDirectory(finished)
    one, two = folder.tensors("all.0"), folder.tensors("scarce.0")
    assert torch.equal(one["hit"], two["hit"])
    assert torch.equal(one["running"], two["running"])
    assert not torch.equal(one["product"], two["product"])
    assert not (finished / "checkpoints/frames.scarce.0.safetensors").exists()
    shift = frames_of(small(), folder, "scarce.0", deaf)
    assert torch.equal(shift.hit[-len(one["hit"]) :], one["hit"])


def test_what_is_judged_before_the_shift_is_the_same_whatever_drifts(finished: Path) -> None:
    told = {name: json.loads((finished / f"jobs/{name}.0.json").read_text())
            for name in ("all", "none", "step")}  # fmt: skip
    for key in STRATEGIES:
        if key != "hindsight":
            assert len({told[name][key]["before"] for name in told}) == 1


def test_the_page_is_whole(finished: Path) -> None:
    text = write_report(finished).read_text()
    assert text.count("<svg") == 4
    for strategy in STRATEGIES.values():
        assert strategy.title in text
    for name in SMALL["conditions"]:  # type: ignore[attr-defined]
        assert CONDITIONS[name] in text  # type: ignore[index]


def test_a_killed_run_resumes_bit_for_bit(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "EVERY", 4)
    path, heard = tmp_path / "run", 0

    def kill(progress: Progress) -> None:
        nonlocal heard
        heard += 1
        if heard % 3 == 0:
            raise Killed

    for _ in range(60):
        try:
            EXPERIMENT.run(small(), path, kill, workers=1)
            break
        except Killed:
            continue
    EXPERIMENT.run(small(), path, deaf, workers=1)
    for file in ("summary.json", "jobs/all.0.json", "jobs/step.1.safetensors"):
        assert (path / file).read_bytes() == (finished / file).read_bytes()


def test_a_counter_counts_and_decides_ties_by_how_far() -> None:
    excess = torch.tensor([[5.0, 5.0, 0.0], [9.0, 5.0, 0.0], [5.0, 5.0, 5.0], [0.0, 0.0, 0.0]])
    near = torch.tensor([0.1, 0.3, 0.2])
    found = Counting(4.0, 0.0, 1.0)(excess, near).tolist()
    assert found[3] == 0
    assert 2 < found[0] < found[1] < 3 < found[2] < 4
    inner = Counting(4.0, 0.0, 0.6)(excess, near)  # the first and the last block
    assert 1 < inner[0] < inner[1] < 2 < inner[2] < 3
    outer = Counting(4.0, 0.3, 1.0)(excess, near)  # the last and the second one
    assert 1 < outer[0] == outer[1] < 2 < outer[2] < 3


def test_counters_hear_of_labels_what_they_may(finished: Path) -> None:
    """Those without labels nothing after calibration, the other nothing of what comes later."""
    config, folder = small(frames=100), RunDirectory(finished)
    shift = frames_of(config, folder, "all.0", deaf)
    asked, near = torch.ones(len(shift)) > 0, torch.arange(64.0)

    def score(name: object, turned: int) -> torch.Tensor:
        label = shift.hit.clone()
        label[turned:] = 1 - label[turned:]
        bench = Bench(config, shift, asked, label, 0.0, {}, 0, near)
        return name(bench, "x").score  # type: ignore[operator, no-any-return]

    for each in (running_counter, quantile_counter):
        assert torch.equal(score(each, config.before), score(each, len(shift)))
    heard = [score(labelled_counter, at) for at in (config.before, len(shift))]
    until = config.validation + config.retrain
    assert torch.equal(heard[0][:, :until], heard[1][:, :until])
    assert not torch.equal(heard[0][:, until:], heard[1][:, until:])


@pytest.fixture
def recorded(tmp_path: Path) -> dict[str, object]:
    """Return the settings of frames of one's own: those of a shift, written to a file."""
    shift = list(small().source("all", 3))
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["entry/data/data"] = np.stack([frame.image for frame in shift])
        file["labels"] = [int(bool(frame.truth and frame.truth.hit)) for frame in shift]
    own = {"path": str(tmp_path / "own.h5"), "labels": "labels"}
    return {"own": own, "conditions": ["own"], "seeds": 1}


def test_frames_of_ones_own_are_judged_as_simulated_ones(
    recorded: dict[str, object], tmp_path: Path
) -> None:
    config = small(**recorded)
    found = EXPERIMENT.run(config, tmp_path / "run", deaf, workers=1)
    assert answer(found).startswith("On frames of one's own")  # type: ignore[arg-type]
    text = write_report(tmp_path / "run").read_text()
    assert text.count("<svg") == 3
    assert "All frames are simulated" not in text
    shift = frames_of(config, RunDirectory(tmp_path / "run"), "own.0", deaf)
    made = reduced(small().source("all", 3), config.reducing(), config.block)
    assert torch.equal(shift.hit, made.hit)
    torch.testing.assert_close(shift.unusual, made.unusual)


def test_another_instrument_is_another_scene(tmp_path: Path) -> None:
    """The example, made small: the same strategies and page, its own words and strengths."""
    example = load_yaml((ROOT / "examples/microscopy.yaml").read_text(), "microscopy.yaml")
    own = {key: SMALL[key] for key in SMALL if key not in ("module", "scene")}
    config = DetectorConfig.of(example | own | {"conditions": ["sample"], "seeds": 1})
    check(small(**example | {"conditions": ["dense", "rare", "all"]}))
    found = EXPERIMENT.run(config, tmp_path / "run", deaf, workers=1)
    assert found.bins == [3, 4, 6, 10, 15]  # type: ignore[attr-defined]
    text = write_report(tmp_path / "run").read_text()
    assert "3 or more discs of a grain are seen" in text
    assert "Electrons a pixel" in text
    assert text.count("<svg") == 4
    with pytest.raises(InputError, match=r"module.wavelength: electrons"):
        check(small(scene={"kind": "microscopy"}))
    with pytest.raises(InputError, match=r"scene.film: must be from 0"):
        small(scene={"kind": "microscopy", "film": "-1 nm"})


def test_too_few_frames_of_ones_own_are_refused(recorded: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"holds 310 frames.*let frames be 100, or less"):
        check(small(**recorded | {"frames": 200}))
    with pytest.raises(InputError, match="conditions: own is for frames of one's own"):
        small(conditions=["own"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"conditions": ["al"]}, "did you mean 'all'"),
        ({"drift": {"gain": "1 uS"}}, "drift.gain"),
        ({"drift": {"gian": "0 1/h"}}, "did you mean 'gain'"),
        ({"scene": {"crystals": 0.9, "false": 0.5}}, "add up to at most 1"),
        ({"scene": {"crystal": {"group": "P 43 21 3"}}}, "no space group"),
        ({"module": {"rows": 100}}, "cannot be cut into"),
        ({"labels": {"wrong": 0.7}}, "wrong below 0.5"),
        ({"machine": {"chips": 2, "arrays": 1}}, "arrays"),
        ({"reservoir": {"room": 0}}, "room"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(changed: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        check(DetectorConfig.of(changed))
    assert len(str(refused.value)) <= 300


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "gemmi", None)
    with pytest.raises(InputError, match=r"gemmi is missing.*pip install 'madem\[beam\]'"):
        check(small())


def test_hindsight_scores_no_frame_by_its_own_label() -> None:
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, generator=draws).double()
    hit = (x[:, 0] + torch.randn(200, generator=draws) > 0).double()
    fold, used = torch.arange(200) // 10 % FOLDS, torch.arange(200) >= 20
    before = regressed(x, hit, used, fold, 1e-2)
    assert float((((before > 0) == (hit == 1))[used]).double().mean()) > 0.6
    turned = torch.where(fold == 2, 1 - hit, hit)
    after = regressed(x, turned, used, fold, 1e-2)
    torch.testing.assert_close(after[fold == 2], before[fold == 2], atol=3e-3, rtol=0)
    assert float((after - before)[fold != 2].abs().mean()) > 0.1
    warming = torch.where(used, hit, 1 - hit)
    torch.testing.assert_close(regressed(x, warming, used, fold, 1e-2), before, atol=3e-3, rtol=0)


def test_a_threshold_that_moves_takes_back_what_all_scores_gain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = small(reduction={"window": 100}, frames=400)
    score = torch.randn(2, 460, generator=torch.Generator().manual_seed(0))
    drifting = score + torch.where(torch.arange(460) < 160, 0.0, 5.0)
    empty = Shift(*[torch.zeros(0)] * 6)
    bench = Bench(config, empty, torch.zeros(0), torch.zeros(0), 0.0, {}, 0, torch.zeros(0))
    monkeypatch.setattr(strategies, "still", lambda _: lambda *_: Found(drifting))
    found = strategies.reset(bench, "reset").score
    torch.testing.assert_close(found[:, :60], score[:, :60])
    torch.testing.assert_close(found[:, 300:].mean(), score[:, 300:].mean(), atol=0.2, rtol=0)
    median = drifting[:, 310:410].median(-1, keepdim=True).values
    usual = score[:, :60].median(-1, keepdim=True).values
    torch.testing.assert_close(found[:, 410:435], drifting[:, 410:435] - median + usual)


def test_a_share_of_frames_kept_that_changes_is_told_of_by_its_chip() -> None:
    """Of 2000 frames each chip keeps 3 in 10; later one keeps half of them, then again fewer."""
    draws, first = torch.Generator().manual_seed(0), 2000
    score = torch.rand(3, 6000, generator=draws)
    score[1, 3000:4500] += 0.2
    found = kept_alarms(score, torch.full((3, 1), 0.7), first)
    assert {chip for chip, _ in found} == {1}
    assert 1000 < found[0][1] < 1200
    assert found == sorted(found)
    score[1, 3000:4500] -= 0.4
    fewer = kept_alarms(score, torch.full((3, 1), 0.7), first)
    assert {chip for chip, at in fewer if at > 1000} == {1}
