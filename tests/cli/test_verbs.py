"""Every command on every study, as a config and as a finished run: an answer, or one line."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from madem.cli import app
from madem.documents import dump_yaml
from madem.errors import InputError
from madem.experiments.catalogue import MODULES, find

WORDS = {"words": ["ab", "cd"], "letters": 2}
ONCE = {"steps": 4, "hidden": 4}
TRAIN: dict[str, Any] = {
    "experiment": "train", "task": {"kind": "digits", "size": 8, "train": 64},
    "network": {"kind": "hopfield", "hidden": [4]}, "schedule": {"epochs": 1},
}  # fmt: skip
ONE = {"schedule": {"steps": 4, "looks": 2}}
TWO = ONE | {"network": {"hidden": [4]}}
STUDIES: dict[str, dict[str, Any]] = {
    "braille": {
        "experiment": "braille", **WORDS, "machine": {"chips": 1}, "test_samples": 100,
        "test_flips": [0.2], "compare_writing": False,
        "classify": {"one_layer": ONE, "two_layer": TWO},
        "reconstruct": {"one_layer": ONE, "two_layer": TWO},
    },
    "train": TRAIN,
    "train a convolution": TRAIN | {
        "network": {"kind": "convolutional", "hidden": [2], "kernel": 3},
    },
    "train a circuit": TRAIN | {"machine": {"kind": "circuit"}},
    "train on two arrays": TRAIN | {
        "machine": {"kind": "chip", "lines": 66, "store": "fast-slow", "chips": 2},
    },
    "train on tiles": TRAIN | {
        "machine": {"kind": "chip", "arrays": 6, "lines": 32, "wire": "2 ohm", "chips": 2,
                    "spread": {"line_gain": 0.05, "mismatch": 0.02}},
    },
    "detector": {
        "experiment": "detector", "frames": 50, "warming": 50, "calibration": 60, "validation": 50,
        "seeds": 1, "conditions": ["all"], "machine": {"chips": 2}, "resamples": 100,
        "schedule": {"steps": 4}, "online": {"updates": 1},
        "module": {"rows": 64, "columns": 64, "grid": [2, 2], "pixel": "1.2 mm",
                   "centre": [-2.0, 31.5]},
        "scene": {"crystals": 0.5, "strength": 300.0, "spots": 4,
                  "crystal": {"resolution": 3.0}},
    },
    "personal": {
        "experiment": "personal", **WORDS, "session": 50, "calibration": 50, "validation": 50,
        "others": 50, "seeds": 1, "conditions": ["hand"], "machine": {"chips": 2},
        "schedule": {"steps": 4}, "online": {"updates": 1}, "tuning": 1, "resamples": 100,
    },
    "variability": {
        "experiment": "variability", "task": WORDS, "machine": {"chips": 2}, "ideal_steps": 2,
        "schedule": {"steps": 4, "looks": 2}, "bias_steps": 2, "defect_rates": [0.0, 0.1],
        "spreads": [0.0, 0.1], "damage": [0.0, 0.1], "offsets": [0.0, 0.1],
    },
    "noise": {
        "experiment": "noise", "task": WORDS, "machine": {"chips": 2}, "levels": ["0 uS", "8 uS"],
        "resamples": 100, "sizes": [4], "schedule": {"steps": 4}, "network": {"hidden": [4]},
    },
    "spectrum": {
        "experiment": "spectrum", "words": ["ab", "cd"], "tasks": ["braille"], "chips": 2,
        "rules": ["centred"], "imperfections": ["stuck"], "levels": 1, "stated": 1, "steps": 2,
        "batch": 2, "tuning_chips": 1, "test_samples": 100, "writes": False,
    },
}  # fmt: skip
"""The smallest run of every study."""

VERBS = {
    "gradcheck": ["gradcheck", "--samples", "4"],
    "export": ["spice", "export", "--out", "{out}/circuit.cir"],
    "verify": ["spice", "verify"],
    "crossbar": ["show", "crossbar", "--out", "{out}/crossbar.svg"],
    "settling": ["show", "settling", "--out", "{out}/settling.svg"],
}
"""Commands that look at one network."""

CIRCUITS = ("braille", "train", "train a circuit", "train on two arrays")
"""Studies whose first network has a circuit."""

ANSWERED = {(verb, study) for verb in ("export", "settling") for study in CIRCUITS}
ANSWERED |= {("crossbar", study) for study in ("braille", "train on two arrays", "train on tiles")}
ANSWERED |= {("gradcheck", study) for study in (*CIRCUITS, "train a convolution", "train on tiles")}
ANSWERED |= {("verify", study) for study in CIRCUITS if shutil.which("ngspice")}
"""What is answered; all else is refused."""


def deaf(progress: object) -> None:
    del progress


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Path]]:
    """Every study as a config and as a finished run."""
    root, found = tmp_path_factory.mktemp("studies"), {}
    for study, values in STUDIES.items():
        found[study, "config"] = root / f"{study}.yaml"
        found[study, "config"].write_text(dump_yaml(values))
        found[study, "run"] = root / study
        experiment = find(values)
        experiment.run(experiment.model.of(values), root / study, deaf, workers=1)
    yield found


def test_every_experiment_is_here() -> None:
    assert {values["experiment"] for values in STUDIES.values()} == set(MODULES)


@pytest.mark.parametrize("kind", ["config", "run"])
@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("verb", VERBS)
def test_every_look_at_every_study(
    verb: str, study: str, kind: str, places: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    first, *rest = VERBS[verb]
    second = [] if first == "gradcheck" else [rest.pop(0)]
    rest = [part.format(out=tmp_path) for part in rest]
    done = CliRunner().invoke(app, [first, *second, str(places[study, kind]), *rest])
    if (verb, study) in ANSWERED:
        assert done.exit_code == 0, (done.output, done.exception)
        return
    assert isinstance(done.exception, InputError), done.exception
    assert len(str(done.exception).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("study", [study for study in STUDIES if study != "braille"])
def test_every_report(study: str, places: dict[tuple[str, str], Path]) -> None:
    done = CliRunner().invoke(app, ["report", str(places[study, "run"])])
    assert done.exit_code == 0, done.exception
    done = CliRunner().invoke(app, ["report", str(places[study, "config"])])
    assert isinstance(done.exception, InputError)


@pytest.mark.parametrize(
    ("study", "arguments", "message"),
    [
        ("train", ["gradcheck", "--samples", "999999"], "samples must be from 1 to 360"),
        ("train", ["gradcheck", "--network", "trian"], "unknown network 'trian': did you mean"),
        ("train", ["gradcheck", "--set", "network.hidden=[5]"], "is of another config than this"),
        ("train", ["spice", "export", "--sample", "360"], "sample must be from 0 to 359"),
        ("train", ["spice", "export", "--phase", "positiv"], "did you mean 'positive'"),
        (
            "train",
            ["spice", "export", "--phase", "positive", "--set", "estimator.kind=random-sign"],
            "has no phases of a fixed strength",
        ),
        ("train", ["show", "crossbar"], "but this network lies on none"),
        ("train a convolution", ["show", "settling"], "only Dense joints have a circuit"),
        ("train on tiles", ["show", "settling"], "lines and neurons that were drawn"),
        ("train on tiles", ["show", "settling", "--set", "machine.spread={}"], "of another config"),
        ("noise", ["show", "settling"], "'noise' has no networks of its own to look at"),
        ("braille", ["gradcheck", "--network", "clasify.one_layer"], "mean 'classify.one_layer'"),
    ],
)
def test_what_is_said(
    study: str, arguments: list[str], message: str, places: dict[tuple[str, str], Path]
) -> None:
    words = 2 if arguments[0] in ("spice", "show") else 1
    line = [*arguments[:words], str(places[study, "run"]), *arguments[words:]]
    done = CliRunner().invoke(app, line)
    assert isinstance(done.exception, InputError), done.exception
    assert message in str(done.exception)
