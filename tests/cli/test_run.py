"""What ``madem run`` makes of its options before anything runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from madem.cli.run import _bars, with_words
from madem.experiments.running.jobs import Job, Progress

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
    with _bars(jobs, {"half", "left"}) as tell:
        tell(Progress("half", 5, 10))
    assert re.search(r"run\s+\S+\s+50 %", capsys.readouterr().out)
