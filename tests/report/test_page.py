"""Pages: what a person named, described or configured stays text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from madem.documents import dump_yaml
from madem.report import figures, page
from tests.cli.commands import command
from tests.experiments.kills import STUDIES

EVIL = "<img src=x onerror=alert(1)><script>alert(2)<|script>'\"&"
PRESETS = Path(page.__file__).parents[1] / "device" / "presets"


def harmless(text: str) -> None:
    """Say that no tag of ours that can run is in a page, and that the text itself is."""
    assert "<img" not in text
    assert "<script" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text


@pytest.fixture
def preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A device whose name, description and sources are markup."""
    monkeypatch.chdir(tmp_path)
    held = yaml.safe_load((PRESETS / "taox-1t1m.yaml").read_text())
    held["description"] = EVIL
    for entry in held["parameters"].values():
        entry["source"] = EVIL
    name = f"{EVIL} $\\frac$.yaml"
    Path(name).write_text(dump_yaml(held))
    return name


def test_a_device_page(preset: str, tmp_path: Path) -> None:
    for figure in ("x.html", "x.svg"):
        assert command("device", "show", preset, "--figure", figure) == 0
        harmless((tmp_path / figure).read_text())


def test_a_fit_page(preset: str, tmp_path: Path) -> None:
    rows = "\n".join(f"100,{100 + (-1) ** i * (i % 7)}" for i in range(60))
    name = f"{EVIL}.csv"
    Path(name).write_text(f"target_uS,read_uS\n{rows}\n")
    words = ("--base", preset, "--figures", "f.html", "--out", "p.yaml")
    assert command("device", "fit", name, *words) == 0
    harmless((tmp_path / "f.html").read_text())


@pytest.mark.parametrize("study", ["train-chips", "noise"])
def test_a_run_page(study: str, preset: str, tmp_path: Path) -> None:
    held: dict[str, Any] = dict(STUDIES[study])
    key = "chip" if "chip" in held else "machine"
    held[key] = held[key] | {"device": preset}
    Path("c.yaml").write_text(dump_yaml(held))
    assert command("run", "c.yaml", "--out", "run", "--workers", "1") == 0
    harmless((tmp_path / "run" / "report.html").read_text())


DRAWINGS = r"drawing|drawings|figures\.\w+(\[name\])?|circuit\.\w+|yields|recovery|forgetting"
DRAWINGS += r"|pictures|bars|courses|strengths|curves(\[task\])?|(maps|fair)\[task\]|gaps"


def test_only_drawings_are_marked_as_safe() -> None:
    for template in Path(page.__file__).parent.glob("*.jinja"):
        for marked in re.findall(r"\{\{\s*([^}]*?)\s*\|\s*safe", template.read_text()):
            assert re.fullmatch(DRAWINGS, marked), (template.name, marked)
        assert "autoescape" not in template.read_text()


def test_drawings_escape_words() -> None:
    none = np.zeros(1)
    drawn = figures.states_bar({"free": none, "high": none, "low": none}, [EVIL], EVIL)
    assert "<script" not in drawn
    assert "<img" not in drawn
