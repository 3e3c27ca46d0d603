"""What a report says of noise, whatever the numbers are."""

from __future__ import annotations

import re

import pytest

from madem.experiments.noise.results import NoiseResults
from madem.report.noise import answer, finding


def results(gains: list[float], sizes: int, helps: bool) -> NoiseResults:
    """Return results of ``sizes`` sizes of training sets, all with the same ``gains`` by level."""
    band = dict.fromkeys(("mean", "low", "high"), gains)
    optimum = {"best": 0, "interval": (0, 0), "gain": band, "helps": helps}
    read = {"training": band, "test": band, "gap": band, "optimum": optimum}
    rows = [{"size": i, "unsettled": 0, "noisy": read, "averaged": read} for i in range(sizes)]
    levels = [f"{k} uS" for k in range(len(gains))]
    return NoiseResults.model_validate({"seed": 0, "chips": 1, "levels": levels, "rows": rows})


@pytest.mark.parametrize(
    ("sizes", "helps", "text"),
    [
        (1, False, "is no better than none."),
        (1, True, "is better than none, by up to 0.3 points"),
        (3, False, "is better than none at none of 3 sizes"),
        (3, True, "is better than none at 3 of 3 sizes, by up to"),
    ],
)
def test_how_often_noise_helps_is_a_sentence(sizes: int, helps: bool, text: str) -> None:
    said = answer(results([0.0, 0.003], sizes, helps))
    assert text in said
    assert "by +0.3 points." in said  # one number, not from itself to itself


def test_nothing_has_no_sign_and_no_interval_from_itself_to_itself() -> None:
    found = results([0.0, -0.0001], 1, helps=False)
    words = answer(found) + finding(found.rows[0], found.levels)
    assert not re.search(r"[+-]0\.0", words)
    assert not re.search(r"(\S+ uS) to \1", words)
