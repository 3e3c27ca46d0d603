"""The bars of the main job, on its default settings. Minutes: run with ``make test-slow``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from madem.experiments.braille.config import BrailleConfig
from madem.experiments.braille.study import EXPERIMENT
from madem.experiments.config.base import override
from tests.experiments.running.test_experiment import deaf

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 7])
def test_the_main_job_meets_its_bars(seed: int, tmp_path: Path) -> None:
    settings = [f"seed={seed}", "compare_writing=false"]
    config = BrailleConfig.of(override({}, settings))
    tasks = EXPERIMENT.run(config, tmp_path / "run", deaf).model_dump()["tasks"]
    for part in tasks["classify"].values():
        assert part["accuracy_mean"] >= part["backprop"] - 0.01
    one, two = tasks["reconstruct"]["one_layer"], tasks["reconstruct"]["two_layer"]
    assert one["accuracy_mean"] >= one["backprop"] - 0.02
    assert two["accuracy_mean"] >= 0.79
    # yardsticks at least as good as an independent fair opponent's: bounded plain descent, and
    # the same with noise injected, programmed once
    assert tasks["classify"]["two_layer"]["backprop"] >= 0.981
    assert two["backprop"] >= 0.82
    assert tasks["classify"]["two_layer"]["ex_situ"] >= 0.979
    assert one["ex_situ"] >= 0.18
    assert two["ex_situ"] >= 0.725
    for depths in tasks.values():
        for part in depths.values():
            assert part["unsettled"] == 0
            assert part["gain"]["bayes"]["mean"] <= 3 * part["gain"]["bayes"]["error"]


def test_the_readme_shows_the_example() -> None:
    """The one-screen version in the README is the file that is run below, to the letter."""
    code = (ROOT / "examples" / "braille.py").read_text()
    shown = (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]
    assert shown == code


def test_the_documentation_shows_the_chip_as_a_module() -> None:
    code = (ROOT / "examples" / "chip_module.py").read_text()
    assert f"```python\n{code}```" in (ROOT / "docs" / "learning-core.md").read_text()


@pytest.mark.parametrize("example", ["braille.py", "chip_module.py"])
def test_the_example_learns(example: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / example)],
        capture_output=True, text=True, check=True, env={"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert float(done.stdout.split("words right: ")[1].split(" %")[0]) >= 98.0
