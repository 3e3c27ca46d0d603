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
STUDIES: dict[str, dict[str, Any]] = {
    "braille": {
        "experiment": "braille", **WORDS, "chips": 1, "test_samples": 100, "curve_points": 2,
        "test_flips": [0.2], "compare_writing": False,
        "classify": {"one_layer": {"steps": 4}, "two_layer": ONCE},
        "reconstruct": {"one_layer": {"steps": 4}, "two_layer": ONCE},
    },
    "images": {
        "experiment": "images", "data": {"size": 8, "train": 64}, "network": {"hidden": [4]},
        "learning": {"epochs": 1},
    },
    "images on chips": {
        "experiment": "images", "data": {"size": 8, "train": 64}, "network": {"hidden": [4]},
        "learning": {"epochs": 1}, "chip": {"lines": 66, "arrays": 4, "wire": "2 ohm"},
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

ANSWERED = {
    ("gradcheck", "braille"), ("gradcheck", "images"),
    ("export", "braille"), ("export", "images"),
    ("settling", "braille"), ("settling", "images"),
    ("crossbar", "braille"),
}  # fmt: skip
"""What is answered, wherever ngspice is; all else is refused."""

ANSWERED |= {("verify", study) for study in ("braille", "images") if shutil.which("ngspice")}


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
        experiment.run(experiment.make(values), root / study, deaf, workers=1)
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
        ("images on chips", ["gradcheck"], "puts images on chips"),
        ("images", ["gradcheck", "--samples", "999999"], "samples must be from 1 to 360"),
        ("images", ["gradcheck", "--network", "classify.two_layer"], "--network is for Braille"),
        ("images", ["gradcheck", "--set", "network.hidden=[5]"], "is another network than this"),
        ("images", ["spice", "export", "--sample", "360"], "sample must be from 0 to 359"),
        ("noise", ["show", "settling"], "'noise' has no one network whose circuit could be shown"),
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
