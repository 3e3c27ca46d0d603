"""Any network, machine, rule and data, from a config alone."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from madem.documents import read_yaml
from madem.experiments.running.jobs import Progress
from madem.experiments.train.config import TrainConfig
from madem.experiments.train.results import TrainResults
from madem.experiments.train.study import EXPERIMENT
from madem.training import Trainer

DIGITS = {"kind": "digits", "size": 8, "validation": 200}
CHIP = {"kind": "chip", "chips": 2, "arrays": 8}
READOUT = {"kind": "hopfield", "hidden": [24], "readout": True, "gain": [0.5]}
SKIPPED = {
    "kind": "layers",
    "layers": [{"units": 24}, {"units": 24}, {"units": 10, "law": "readout"}],
    "joints": [
        {"kind": "dense", "ends": [0, 1], "gain": 0.5},
        {"kind": "dense", "ends": [1, 2], "gain": 0.5},
        {"kind": "skip", "ends": [1, 2], "strength": 0.5},
        {"kind": "recurrent", "layer": 2, "gain": 0.2},
        {"kind": "dense", "ends": [2, 3], "gain": 0.5},
    ],
}
CASES: dict[str, tuple[dict[str, Any], float]] = {
    "a skip and a recurrent joint on noisy chips": ({
        "network": SKIPPED, "machine": CHIP, "writing": {"units": ["200 uS"]},
        "rule": {"kind": "accumulate", "threshold": "5 uS"},
        "solver": {"kind": "sweep", "tolerance": 1e-3, "budget": 30}, "schedule": {"rates": [0.1]},
    }, 0.5),
    "Tiki-Taka on images": ({
        "network": READOUT, "rule": "descent", "schedule": {"rates": [0.5]},
        "machine": CHIP | {"store": {"kind": "fast-slow", "gain": 0.5, "threshold": "5 uS"}},
        "writing": {"units": ["200 uS"]},
    }, 0.5),
    "sparse writes": ({
        "network": READOUT, "machine": CHIP, "rule": {"kind": "sparse", "threshold": "15 uS"},
        "writing": {"units": ["200 uS"]}, "schedule": {"rates": [0.3]},
    }, 0.6),
    "open-loop trains of pulses": ({
        "network": READOUT, "machine": CHIP, "rule": {"kind": "accumulate", "threshold": "5 uS"},
        "writing": {"way": {"kind": "train", "most": 20}, "units": ["200 uS"]},
        "schedule": {"rates": [0.3]},
    }, 0.6),
    "a strength that moves the outputs by so much": ({
        "network": READOUT, "machine": CHIP, "rule": {"kind": "accumulate", "threshold": "5 uS"},
        "estimator": {"kind": "centred", "beta": {"kind": "output-move", "amount": 0.5}},
        "writing": {"units": ["200 uS"]}, "schedule": {"rates": [0.3]},
    }, 0.6),
    "Adam on tanh": ({
        "network": {"kind": "hopfield", "hidden": [24], "law": "tanh", "readout": True},
        "rule": "adam", "schedule": {"rates": [0.01]},
    }, 0.7),
}  # fmt: skip


def quiet(progress: Progress) -> None:
    del progress


@pytest.mark.parametrize("name", CASES)
def test_from_a_config_alone(name: str) -> None:
    parts, least = CASES[name]
    schedule = {"steps": 150, "batch": 16, "looks": 2} | parts["schedule"]
    estimator = {"kind": "centred", "beta": 0.5}
    config = TrainConfig.of({"task": DIGITS, "estimator": estimator, **parts, "schedule": schedule})
    trainer = Trainer(config.plan())
    while not trainer.done:
        trainer.advance()
    assert min(trainer.curve[-1]["score"]) > least > max(trainer.curve[0]["score"])


@pytest.mark.slow
def test_units_that_compete_read_whole_words_on_chips_without_stuck_cells() -> None:
    """As docs/main-job.md says; a stuck cell can cost a chip one word of 32."""
    values = read_yaml(Path(__file__).parents[3] / "examples" / "compete.yaml", "config")
    values["machine"] |= {"chips": 2, "stuck_cells": False}
    trainer = Trainer(TrainConfig.of(values).plan(), counted=False)
    while not trainer.done:
        trainer.advance()
    assert min(trainer.curve[-1]["score"]) > 0.99


def table(path: Path) -> Path:
    """Write scikit-learn's table of 569 tumours."""
    sklearn = pytest.importorskip("sklearn.datasets")
    held = sklearn.load_breast_cancer()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*held.feature_names, "diagnosis"])
        writer.writerows(
            [*x, held.target_names[t]] for x, t in zip(held.data, held.target, strict=True)
        )
    return path


def test_asymmetric_pulses_on_a_users_table(tmp_path: Path) -> None:
    config = TrainConfig.of({
        "task": {"kind": "csv", "path": str(table(tmp_path / "t.csv")), "target": "diagnosis"},
        "network": {"kind": "hopfield", "gain": [0.0]},
        "machine": {"kind": "chip", "chips": 3},
        "estimator": {"kind": "centred", "beta": 1.0},
        "rule": {"kind": "accumulate", "threshold": "4 uS"},
        "writing": {"way": {"kind": "train", "most": 20, "asymmetry": 0.3}, "units": ["100 uS"]},
        "schedule": {"steps": 200, "batch": 16, "rates": [0.1]},
        "yardsticks": {"backprop": [{"optimiser": "adam", "rates": [0.01], "bounded": False}],
                       "ex_situ": [{"optimiser": "adam", "rates": [0.01]}]},
    })  # fmt: skip
    EXPERIMENT.check(config)
    found = EXPERIMENT.run(config, tmp_path / "run", quiet)
    assert isinstance(found, TrainResults)
    assert found.chips == 3
    assert found.backprop is not None
    assert found.ex_situ is not None
    assert found.test.mean > 0.85
    assert found.backprop.mean > 0.9
    assert found.spent is not None
    assert 0 < found.spent.array_joules < found.spent.joules


def test_numbers_are_predicted(tmp_path: Path) -> None:
    import numpy as np

    draws = np.random.default_rng(0)
    x = draws.normal(size=(300, 5))
    np.savez(tmp_path / "t.npz", x=x, y=x @ draws.normal(size=(5, 2)))
    config = TrainConfig.of({
        "task": {"kind": "npz", "path": str(tmp_path / "t.npz"), "predict": "numbers"},
        "network": {"kind": "hopfield", "gain": [0.1]},
        "rule": "adam",
        "schedule": {"steps": 400, "rates": [0.02]},
    })  # fmt: skip
    found = EXPERIMENT.run(config, tmp_path / "run", quiet)
    assert isinstance(found, TrainResults)
    assert found.score == "squared error"
    assert found.test.mean < 0.15  # of a variance of 1; inputs beyond 3 deviations are clipped


def test_a_circuit_learns_as_the_ideal_network_does() -> None:
    parts = {
        "task": DIGITS, "network": READOUT, "rule": "descent",
        "estimator": {"kind": "centred", "beta": 0.5},
        "schedule": {"steps": 60, "batch": 16, "rates": [0.3], "looks": 1},
    }  # fmt: skip
    trained = {}
    for kind in ("ideal", "circuit"):
        trainer = Trainer(TrainConfig.of(parts | {"machine": {"kind": kind}}).plan())
        while not trainer.done:
            trainer.advance()
        trained[kind] = trainer
    ideal, circuit = (trained[kind].curve[-1]["score"][0] for kind in ("ideal", "circuit"))
    assert circuit == pytest.approx(ideal, abs=0.01)
    assert circuit > 0.6
