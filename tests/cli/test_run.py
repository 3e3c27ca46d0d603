"""What ``madem run`` makes of its options before anything runs."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from madem.cli.run import _bars, with_words
from madem.experiments.catalogue import MODULES
from madem.experiments.running.jobs import Job, Progress
from tests.cli.commands import command

FILE = "ab\ncd\n"


@pytest.mark.parametrize(
    ("held", "own", "wanted"),
    [
        ({}, True, {"words": ["ab", "cd"]}),
        ({}, False, {"task": {"words": ["ab", "cd"]}}),
        (
            {"task": {"letters": 2}, "seed": 1},
            False,
            {"task": {"letters": 2, "words": ["ab", "cd"]}, "seed": 1},
        ),
        ({"task": "digits"}, False, {"task": {"kind": "digits", "words": ["ab", "cd"]}}),
        ({"letters": "many"}, True, {"letters": "many", "words": ["ab", "cd"]}),
        ({"task": 3}, False, {"task": 3}),
    ],
)
def test_words_are_of_the_config_or_of_its_task(
    held: dict[str, Any], own: bool, wanted: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "w.txt").write_text(FILE)
    assert with_words(held, tmp_path / "w.txt", own) == wanted


def test_the_bar_of_a_resumed_run_goes_on_from_where_it_was(
    capsys: pytest.CaptureFixture[str],
) -> None:
    jobs = [Job(name, 10, dict, ()) for name in ("done", "half", "left")]
    with suppress(KeyboardInterrupt), _bars(jobs, {"half", "left"}) as tell:
        tell(Progress("half", 5, 10))
        raise KeyboardInterrupt
    assert re.search(r"run\s+\S+\s+50 %", capsys.readouterr().out)


def test_the_bar_of_a_whole_run_is_full(capsys: pytest.CaptureFixture[str]) -> None:
    with _bars([Job("quiet", 10, dict, ())], {"quiet"}):
        pass
    assert re.search(r"run\s+\S+\s+100 %", capsys.readouterr().out)


def test_a_resumed_run_is_told_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("run", "--resume", "some run", "--set", "seed=3") == 2
    assert "madem run --resume 'some run'" in capsys.readouterr().err


def test_an_interrupt_before_the_run_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("madem.experiments.catalogue.find", Mock(side_effect=KeyboardInterrupt))
    assert command("run", "braille") == 130
    assert capsys.readouterr().err == "interrupted; no file was left half-written\n"


def test_help_names_what_can_be_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("run", "--help") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert ", ".join(MODULES) in told
