"""Strategies on one writer's words: whole small runs, kills, what is shared, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from madem.errors import InputError
from madem.experiments.personal.config import CONDITIONS, PersonalConfig
from madem.experiments.personal.results import PersonalResults
from madem.experiments.personal.strategies import (
    RATES,
    STRATEGIES,
    Bench,
    Moving,
    corrected,
    levelled,
    self_taught,
    usual,
)
from madem.experiments.personal.study import EXPERIMENT, bench_of, check, everybody, session_of
from madem.experiments.running import trained
from madem.experiments.running.jobs import Progress
from madem.experiments.running.rundir import RunDirectory
from madem.report.page import write_report
from madem.report.personal import answer
from tests.experiments.running.test_experiment import Killed, deaf

SMALL: dict[str, Any] = {
    "words": ["ab", "cd", "ef", "gh"], "letters": 2, "session": 120, "calibration": 100,
    "validation": 60, "others": 60, "seeds": 2, "machine": {"chips": 2}, "tuning": 1,
    "schedule": {"steps": 20}, "online": {"updates": 2}, "resamples": 100, "retrain": 50,
    "conditions": ["hand", "scarce", "none"],
}  # fmt: skip


def small(**changed: object) -> PersonalConfig:
    return PersonalConfig.of(SMALL | changed)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "personal"
    EXPERIMENT.run(small(), path, deaf, workers=1)
    return path


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    config = small(session=600, words=["ab", "cd", "ef", "gh", "ij", "kl"])
    return bench_of(config, RunDirectory(tmp_path_factory.mktemp("bench")), "hand", 1, deaf)


def test_every_strategy_is_told_of_under_every_condition(finished: Path) -> None:
    found = EXPERIMENT.results(small(), finished)
    assert isinstance(found, PersonalResults)
    assert list(found.conditions) == SMALL["conditions"]
    for shown in found.conditions.values():
        assert list(shown.rows) == list(STRATEGIES)
        for row in shown.rows.values():
            assert 0 <= row.misread.low <= row.misread.mean <= row.misread.high <= 1
    rows = found.conditions["hand"].rows
    assert rows["product"].writes > 0 == rows["frozen"].writes == rows["frozen"].forgotten.mean
    assert found.conditions["scarce"].rows["retrained"].writes > 0  # by words, however few labels
    own, frozen, templates = (rows[key].spent for key in ("product", "frozen", "template"))
    assert own is not None
    assert frozen is not None
    assert templates is not None
    assert own.learning > 0 == frozen.learning == templates.learning
    assert own.judging == pytest.approx(frozen.judging, rel=0.05)
    assert templates.judging == pytest.approx(4 * 12 * 2.8e-12, rel=1e-6)  # a read and a product
    assert answer(found).startswith("Under the condition")


def test_whatever_happens_in_a_session_everybody_is_the_same(finished: Path) -> None:
    folder = RunDirectory(finished)
    for key in ("frozen", "template", "guess"):
        held = [folder.tensors(f"{name}.0")[f"{key}.others"] for name in SMALL["conditions"]]
        assert all(torch.equal(each, held[0]) for each in held)
    one, two = (session_of(small(), name, 0) for name in ("hand", "scarce"))
    assert torch.equal(one.x, two.x)
    assert int(two.asked.sum()) < int(one.asked.sum())


def test_a_writer_has_one_hand_and_it_is_not_that_of_the_tuning() -> None:
    config = small()
    own = session_of(config, "hand", 0)
    assert torch.equal(own.hand[0], own.hand[-1])
    assert not torch.equal(own.hand, session_of(config, "hand", 0, "tuning", 0).hand)
    turning = session_of(config, "turns", 0).hand
    assert not torch.allclose(turning[0], turning[-1])
    torch.testing.assert_close(turning[0], own.hand[0])
    sizes = [float(session_of(config, name, 0).hand[0].square().mean().sqrt())
             for name in ("hand", "mild", "none")]  # fmt: skip
    assert sizes == pytest.approx([3, 2, 1], rel=1e-5)


def test_the_page_is_whole(finished: Path) -> None:
    text = write_report(finished).read_text()
    assert text.count("<svg") == 3
    titles = [CONDITIONS[name] for name in SMALL["conditions"]]
    for title in (*titles, *(strategy.title for strategy in STRATEGIES.values())):
        assert title.replace("'", "&#39;") in text


def test_a_killed_run_resumes_bit_for_bit(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "EVERY", 4)
    path, heard = tmp_path / "run", 0

    def kill(progress: Progress) -> None:
        nonlocal heard
        heard += 1
        if heard % 7 == 0:
            raise Killed

    config = small(conditions=["hand"])
    for _ in range(60):
        try:
            EXPERIMENT.run(config, path, kill, workers=1)
            break
        except Killed:
            continue
    EXPERIMENT.run(config, path, deaf, workers=1)
    for name in ("hand.0", "hand.1"):
        once, again = (RunDirectory(each) for each in (finished, path))
        held, other = once.tensors(name), again.tensors(name)
        assert all(torch.equal(held[key], other[key]) for key in {*held, *other})
        told, said = (each.load_json(f"jobs/{name}.json") for each in (once, again))
        assert told is not None
        assert said is not None
        assert all(told[key] == said[key] for key in STRATEGIES)


def test_templates_that_follow_read_a_hand_they_were_not_made_of(bench: Bench) -> None:
    late = slice(-240, None)
    session = bench.session

    def wrong(read: torch.Tensor) -> float:
        return float((read != session.word)[late].double().mean())

    still = wrong(self_taught(bench, session, Moving())[0])
    assert wrong(corrected(bench, session, Moving(0.1))[0]) < still
    _, held = corrected(bench, session, Moving(0.1))
    shown = bench.hands.shown(session.hand[0].expand(bench.words, -1), bench.codes)
    before, after = ((each - shown).norm() for each in (usual(bench), held))
    assert after < 0.7 * before


def test_no_template_sees_a_label_that_has_not_come(bench: Bench) -> None:
    """What is read of the first words is the same whatever labels say later."""
    other = replace(bench.session, label=bench.session.label.clone())
    other.label[300:] = 0
    for follow in (corrected,):
        one, two = (follow(bench, each, Moving(0.3))[0] for each in (bench.session, other))
        assert torch.equal(one[:300], two[:300])
        assert not torch.equal(one, two)
    both = [self_taught(bench, each, Moving(RATES[0], 100))[0] for each in (bench.session, other)]
    assert torch.equal(*both)


def test_running_levels_are_those_of_calibration(bench: Bench) -> None:
    known = bench.calibration[0]
    x = levelled(bench, 0.5 * bench.session.x - 0.3, 300)
    torch.testing.assert_close(x[-200:].mean(0), known.mean(0), atol=0.2, rtol=0)
    torch.testing.assert_close(x[-200:].std(0), known.std(0), atol=0.25, rtol=0)
    again = levelled(
        bench, torch.cat([0.5 * bench.session.x[:400] - 0.3, torch.ones(200, 12)]), 300
    )
    assert torch.equal(x[:400], again[:400])


def test_everybody_else_is_somebody_else() -> None:
    calibration, validation, others = everybody(small(), 0)
    assert not torch.equal(calibration[0][:60], validation[0])
    assert [len(part[1]) for part in (calibration, validation, others)] == [100, 60, 60]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"conditions": ["hnad"]}, "did you mean 'hand'"),
        ({"hands": {"worm": 0.1}}, "did you mean 'worn'"),
        ({"hands": {"noise": 0.0}}, "hands.noise"),
        ({"labels": {"wrong": 0.7}}, "wrong below 0.5"),
        ({"reservoir": {"room": 0}}, "room"),
        ({"reservoir": {"classes": 3}}, "classes"),
        ({"words": ["ab", "abc"]}, "at most 2"),
        ({"interval": "3 m"}, "interval"),
        ({"machine": {"chips": 2, "lines": 8, "arrays": 1}}, "arrays"),
        ({"calibration": 50, "words": ["ab", "cd"], "session": 10}, "session"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(changed: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        check(PersonalConfig.of(SMALL | changed))
    assert len(str(refused.value)) <= 300
