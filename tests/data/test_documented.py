"""The examples of docs/data.md, run in a folder that holds the files they name."""

from __future__ import annotations

import csv
import doctest
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.test_images import write_idx

DOCS = Path(__file__).parents[2] / "docs" / "data.md"


def test_documented_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    monkeypatch.chdir(tmp_path)
    text = DOCS.read_text()
    held = datasets.load_breast_cancer()
    with Path("tumours.csv").open("w", newline="") as file:
        rows = np.column_stack([held.data.astype(str), held.target_names[held.target]])
        csv.writer(file).writerows([[*held.feature_names, "diagnosis"], *rows.tolist()])
    petals, kind = datasets.load_iris(return_X_y=True)
    np.savez("flowers.npz", petals=petals, kind=kind)
    code = re.search(r"```python\n(def load.*?)```", text, re.DOTALL)
    assert code is not None
    Path("flowers.py").write_text(code[1])
    for name in ("oak", "ash"):
        Path("leaves", name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (8, 6), (number, 0, 0)).save(Path("leaves", name, f"{number}.png"))
    Path("letters").mkdir()
    write_idx(Path("letters"), {"train": [1, 2, 3, 4] * 5, "t10k": [1, 2, 3, 4]})
    examples = doctest.DocTestParser().get_doctest(text, {}, "data.md", str(DOCS), 0)
    told: list[str] = []
    result = doctest.DocTestRunner().run(examples, out=told.append)
    assert result.attempted == 15
    assert not result.failed, "".join(told)
