"""What a report says of chips, whatever the numbers are."""

from __future__ import annotations

import re

import pytest

from madem.experiments.variability.results import VariabilityResults
from madem.report.variability import said


def results(begin: float, end: float, back: float | None, levels: list[float]) -> str:
    """Return the words on a study of which every accuracy goes from ``begin`` to ``end``."""
    row = [begin, *[end] * (len(levels) - 1)]
    curve = {"step": [1, 2, 3], "mean": [row] * 3, "sd": [row] * 3}
    way = {"curve": curve, "good": [(1.0, 0.5, 1.0)] * len(levels), "most": None}
    flaw = {
        "levels": levels, "at": 2, "looks": (0, 1), "in_situ": way, "ex_situ": way,
        "back": [None, *[back] * (len(levels) - 1)],
    }  # fmt: skip
    return " ".join(said(VariabilityResults.model_validate({
        "seed": 0, "chips": 1, "target": 0.9,
        "flaws": dict.fromkeys(("defects", "spread", "damage"), flaw),
        "forgetting": {
            "levels": levels, "curves": {"centred.nudged": curve},
            "change": {"centred.nudged": [end - begin] * len(levels)},
        },
    })))  # fmt: skip


@pytest.mark.parametrize(
    ("begin", "end", "verb"),
    [(0.978, 0.98, "rises"), (0.98, 0.978, "falls"), (0.98, 0.98, "stays")],
)
def test_accuracies_go_where_they_go(begin: float, end: float, verb: str) -> None:
    words = results(begin, end, None, [0.0, 0.5])
    assert set(re.findall(r"accuracy (\w+)", words)) == {verb}


@pytest.mark.parametrize(("back", "share"), [(-0.3, "0 %"), (3.0, "100 %"), (0.5, "50 %")])
def test_no_more_than_what_was_lost_comes_back(back: float, share: str) -> None:
    assert f"({share} of the loss comes back)" in results(0.9, 0.8, back, [0.0, 0.5])


def test_one_level_is_said_once_and_none_has_no_sign() -> None:
    words = results(0.9, 0.9, None, [0.0, 0.5])
    assert words.count("at an offset of 0.5") == 1
    assert "0.0 at none" in words
    assert not re.search(r"[+-]0\.0", words)
