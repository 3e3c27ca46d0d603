"""Make the files that docs/data.md reads, in the working directory, from scikit-learn's data."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn import datasets

held = datasets.load_breast_cancer()
with Path("tumours.csv").open("w", newline="") as file:
    rows = np.column_stack([held.data.astype(str), held.target_names[held.target]])
    csv.writer(file).writerows([[*held.feature_names, "diagnosis"], *rows.tolist()])

petals, kind = datasets.load_iris(return_X_y=True)
np.savez("flowers.npz", petals=petals, kind=kind)
Path("flowers.py").write_text(
    "def load():\n"
    "    from sklearn.datasets import load_iris\n\n"
    "    return load_iris(return_X_y=True)\n"
)

for name in ("oak", "ash"):
    Path("leaves", name).mkdir(parents=True, exist_ok=True)
    for number in range(10):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(Path("leaves", name, f"{number}.png"))
