"""The examples of docs/data.md, on the files that examples/data_files.py makes."""

from __future__ import annotations

import doctest
import re
import runpy
from pathlib import Path

import pytest

from tests.data.test_images import write_idx

DOCS = Path(__file__).parents[2] / "docs" / "data.md"


def test_documented_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn.datasets")
    monkeypatch.chdir(tmp_path)
    text = DOCS.read_text()
    runpy.run_path(str(DOCS.parents[1] / "examples" / "data_files.py"))
    code = re.search(r"```python\n(def load.*?)```", text, re.DOTALL)
    assert code is not None
    assert Path("flowers.py").read_text() == code[1]
    Path("letters").mkdir()
    write_idx(Path("letters"), {"train": [1, 2, 3, 4] * 5, "t10k": [1, 2, 3, 4]})
    examples = doctest.DocTestParser().get_doctest(text, {}, "data.md", str(DOCS), 0)
    told: list[str] = []
    result = doctest.DocTestRunner().run(examples, out=told.append)
    assert result.attempted == 15
    assert not result.failed, "".join(told)
