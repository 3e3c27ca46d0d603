"""Small networks, cells and runs that many tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from madem.device import Cell, load, without
from madem.device.cell import SWITCHES
from madem.experiments.braille.config import NETWORKS, BrailleConfig
from madem.experiments.config.base import override
from madem.fast.native import kernels

torch.set_num_threads(1)


def skip_without(instructions: str | None) -> None:
    """Skip a test of a kernel that was not built, or that this processor cannot run."""
    if instructions is None:
        return
    if kernels is None:
        pytest.skip("built without a compiler")
    order = ["baseline", "avx2", "avx512"]
    if order.index(instructions) > order.index(kernels.best()):
        pytest.skip(f"this processor has no {instructions}")


SMALL = (
    "machine.chips=2",
    "letters=2",
    "test_samples=200",
    "test_flips=[0.0, 0.2]",
    *(f"{name}.schedule.steps=30" for name in NETWORKS),
    *(f"{name}.schedule.looks=3" for name in NETWORKS),
    *(f"{name}.network.hidden=[5]" for name in NETWORKS if "two" in name),
)
"""A whole run in a few seconds: words of two letters, thirty steps."""

LOOKS = tuple(f"{name}.schedule.looks=8" for name in NETWORKS)
"""Settings for more looks than those of a small run."""


def small_config(*settings: str) -> BrailleConfig:
    """Return the config of a small run."""
    shipped = BrailleConfig(words=("ab", "cd", "ef", "gh")).model_dump(mode="json")
    return BrailleConfig.of(override(shipped, [*SMALL, *settings]))


@pytest.fixture
def words_file(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("ab\ncd\nef\ngh\n")
    return path


@pytest.fixture
def cell() -> Cell:
    """The default device."""
    return load("taox-1t1m")


@pytest.fixture
def ideal_cell(cell: Cell) -> Cell:
    """The default device without any non-ideality."""
    return without(cell, SWITCHES)


@pytest.fixture(autouse=True)
def _relative(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no default tolerance be more than what is compared: joules, seconds, siemens are small.

    ``pytest.approx`` has no absolute one, where ``torch.testing.assert_close`` would have one that
    is large beside the numbers, it must be given.
    """
    approx, close = pytest.approx, torch.testing.assert_close

    def relative(expected: Any, **given: Any) -> Any:
        how = given if "abs" in given else {"rel": 1e-6, **given, "abs": 0.0}
        return approx(expected, **how)

    def checked(actual: Any, expected: Any, **given: Any) -> None:
        if "atol" not in given and isinstance(expected, torch.Tensor) and expected.any():
            size = float(expected.detach().abs().max())
            assert size > 1e-3, f"give rtol and atol: these numbers are up to {size}"
        close(actual, expected, **given)

    monkeypatch.setattr(pytest, "approx", relative)
    monkeypatch.setattr(torch.testing, "assert_close", checked)
