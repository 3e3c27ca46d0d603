"""Runs of every study, killed where they write: what resumes is the same to the byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.experiments.kills import STUDIES

ROOT = Path(__file__).parents[2]
MANY = {"braille": 10, "train": 12, "random-sign": 10, "train-chips": 12, "spectrum": 12,
        "variability": 11, "noise": 11, "detector": 11, "personal": 11}  # fmt: skip
"""A hundred kills, every study among them."""


def killed(study: str, kills: int) -> dict[str, Any]:
    """Kill in a process of its own: it forks, which a process with threads must not."""
    words = [sys.executable, "-W", "error", "-m", "tests.experiments.kills", study, str(kills)]
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "study", ["random-sign", "train-chips", "spectrum", "variability", "noise"]
)
def test_two_kills_of_every_study(study: str) -> None:
    found = killed(study, 2)
    assert len(found["kills"]) == 2
    assert not found["wrong"]


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_a_hundred_kills(study: str) -> None:
    assert sum(MANY.values()) == 100
    assert set(MANY) == set(STUDIES)
    found = killed(study, MANY[study])
    assert len(found["kills"]) == MANY[study]
    assert not found["wrong"]
