"""The page of a table: file, column and classes by name, and what every joule is made of."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.commands import command
from tests.cli.test_bench_to_run import CONFIG


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a small table on one chip."""
    folder = tmp_path_factory.mktemp("run")
    rows = [f"{i % 5},{i % 3},{('oak', 'elm')[i % 2]}" for i in range(30)]
    (folder / "trees.csv").write_text("\n".join(["x,y,kind", *rows]))
    config = folder / "c.yaml"
    config.write_text(CONFIG.replace("t.csv", str(folder / "trees.csv")))
    assert command("run", str(config), "--out", str(folder / "r"), "--workers", "1") == 0
    return folder / "r"


def test_the_page_names_file_column_and_classes(run: Path) -> None:
    text = (run / "report.html").read_text()
    assert "<h1>trees.csv: kind, learned by" in text
    assert re.search(r"<td>elm</td><td>\d", text)
    assert "less yardstick" not in text  # there are no yardsticks
    words = re.sub(r"<svg.*?</svg>|<pre.*?</pre>|<[^>]+>", " ", text, flags=re.S)
    assert not re.search(r"[a-z)]\.[A-Z0-9]", words.partition("What training took")[0].replace(
        "trees.csv", ""))  # fmt: skip


def test_joules_are_what_the_ledger_says_they_are_made_of(run: Path) -> None:
    rows = json.loads((run / "ledger.json").read_text())["train"]
    assert len(rows) > 8
    for row in rows:
        made = row["count"] * row["joules_each"] + row["watts"] * row["duration"]
        assert row["joules"] == pytest.approx(made)
        assert row["unit"] not in ("", "events")
