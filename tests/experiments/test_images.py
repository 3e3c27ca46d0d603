"""Learning images and checking gradients from the command line: configs, resuming, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from madem.errors import InputError
from madem.experiments.images import EXPERIMENT
from madem.experiments.imagesbuild import network_of
from madem.experiments.imagesconfig import make_images
from madem.experiments.running.jobs import Progress

ROOT = Path(__file__).parents[2]
SMALL = {
    "data": {"name": "digits", "size": 8, "train": 640},
    "network": {"hidden": [32]},
    "learning": {"epochs": 4, "rates": [0.003], "optimiser": "adam"},
}


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """The command line, in a process of its own."""
    line = [sys.executable, "-m", "madem", *words]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def quiet(progress: Progress) -> None:
    del progress


def test_it_learns_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    config = make_images(SMALL)
    whole = EXPERIMENT.run(config, tmp_path / "whole", quiet)
    assert whole["test_error"] < 0.4

    class StopError(Exception):
        pass

    def interrupt(progress: Progress) -> None:
        if progress.done > progress.total // 2:
            raise StopError

    with pytest.raises(StopError):
        EXPERIMENT.run(config, tmp_path / "part", interrupt)
    again = EXPERIMENT.run(config, tmp_path / "part", quiet)
    assert again == whole
    name = "checkpoints/images.safetensors"
    assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("kind", ["hopfield", "resistive", "conv-hopfield"])
def test_every_kind_of_network_learns(kind: str, tmp_path: Path) -> None:
    settings = {
        "hopfield": {"network": {"kind": kind, "hidden": [32]}},
        "resistive": {"network": {"kind": kind, "hidden": [32], "gain": 1.0, "input_gain": 50.0},
                      "estimator": {"beta": 0.5, "nudge": "spring"}},
        "conv-hopfield": {"network": {"kind": kind, "hidden": [8, 8], "kernel": 3, "padding": 1,
                                      "current_gain": 0.01, "readout": True}},
    }[kind]  # fmt: skip
    learning = {"optimiser": "adam", "rates": [0.003], "epochs": 8, "fall": "cosine"}
    config = make_images({"data": {"size": 8, "train": 320}, "learning": learning, **settings})
    assert EXPERIMENT.run(config, tmp_path / kind, quiet)["train_error"] < 0.75


@pytest.mark.parametrize(
    "chip",
    [{"arrays": 4, "wire": "2 ohm"}, {"arrays": 4, "sums": "converted", "voltages": "cells"}],
)
def test_chips_learn_on_tiles_and_resume(chip: dict[str, object], tmp_path: Path) -> None:
    settings = {
        "data": {"size": 8, "train": 160},
        "network": {"hidden": [24], "gain": 0.5},
        "estimator": {"beta": 0.5},
        "learning": {"cost": "cross-entropy", "rates": [0.4], "batch": 16, "epochs": 4},
        "chip": chip,
        "writing": {"chips": 2, "units": ["200 uS"], "threshold": "10 uS"},
    }
    config = make_images(settings)
    whole = EXPERIMENT.run(config, tmp_path / "whole", quiet)
    assert whole["train_error"] < 0.75
    assert 0 < whole["written_fraction_per_step"] < 1

    class StopError(Exception):
        pass

    def interrupt(progress: Progress) -> None:
        if progress.done > progress.total // 2:
            raise StopError

    with pytest.raises(StopError):
        EXPERIMENT.run(config, tmp_path / "part", interrupt)
    EXPERIMENT.run(config, tmp_path / "part", quiet)
    name = "checkpoints/images.safetensors"
    assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"chip": {"arrays": 2}}, "chip.arrays must be at least 3 tiles of 64 x 64"),
        ({"chip": {"arrays": 9}, "network": {"kind": "resistive"}}, "only network.kind hopfield"),
        (
            {"chip": {"arrays": 9}, "network": {"hidden": [8, 8], "current_gain": 0.1}},
            "must be 1 on chips, but are 1 and 0.1",
        ),
        ({"chip": {"arrays": 9}, "learning": {"optimiser": "adam"}}, "optimiser must be sgd"),
        ({"chip": {"arrays": 9}, "writing": {"units": ["1 mS"] * 3}}, "writing.units needs 1 or 2"),
    ],
)
def test_chips_that_cannot_be(change: dict[str, object], told: str, tmp_path: Path) -> None:
    held = {"data": {"size": 8, "train": 32}, "network": {"hidden": [24]}} | change
    with pytest.raises(InputError, match=told):
        EXPERIMENT.run(make_images(held), tmp_path / "run", quiet)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"network": {"readout": True, "current_gain": 0.1}}, "has no stage to amplify"),
        ({"network": {"readout": True}, "estimator": {"nudge": "spring"}},
         "estimator.nudge must be current, not spring, where network.readout is true"),
        ({"network": {"readout": True}, "estimator": {"name": "coupled"}},
         "estimator.name must not be coupled where network.readout is true"),
        ({"estimator": {"name": "holomorphic"}}, "holomorphic needs laws without limits"),
        ({"learning": {"batch": 64}}, "learning.batch must be at most 32"),
        ({"learning": {"rates": [0.1] * 3}}, "learning.rates needs 1 or 2 values"),
    ],
)  # fmt: skip
def test_configs_that_cannot_be(change: dict[str, object], told: str, tmp_path: Path) -> None:
    held = {"data": {"size": 8, "train": 32}} | change
    with pytest.raises(InputError, match=told):
        EXPERIMENT.check(make_images(held))


def test_amplifiers_stand_between_the_layers_of_the_energy() -> None:
    def gains(**network: object) -> list[float | None]:
        made = network_of(make_images({"network": network}), (1, 28, 28))
        return [getattr(joint, "current_gain", None) for joint in made.joints]

    for kind in ("hopfield", "resistive", "conv-hopfield"):
        two = {"kind": kind, "hidden": [8, 6], "current_gain": 0.1}
        assert gains(**two) == [None, 0.1, 0.1]
        if kind != "resistive":
            assert gains(**two, readout=True) == [None, 0.1, None]


@pytest.mark.parametrize("name", ["hopfield", "resistive", "conv"])
def test_gradcheck_of_the_examples(name: str, tmp_path: Path) -> None:
    source = f"examples/{name}.yaml"
    hidden = "[8,8]" if name == "conv" else "[64]"
    small = ["--set", "data.name=digits", "--set", f"network.hidden={hidden}", "--samples", "8"]
    files = ["--json", str(tmp_path / "g.json"), "--figure", str(tmp_path / "g.svg")]
    done = command("gradcheck", str(ROOT / source), *small, *files)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "g.json").read_text())
    assert set(found["errors"]) == {"beta_bias", "settling", "round_off", "noise"}
    assert set(found["layers"][0]) == {"name", "cosine", "norm_ratio", "relative_error"}
    assert all(row["cosine"] > 0.9 for row in found["layers"])
    assert found["errors"]["round_off"] < 1e-3
    assert "advice" in done.stdout
    assert (tmp_path / "g.svg").read_text().startswith("<?xml")


def test_gradcheck_of_a_saved_run(tmp_path: Path) -> None:
    EXPERIMENT.run(make_images(SMALL), tmp_path / "run", quiet)
    done = command("gradcheck", str(tmp_path / "run"), "--samples", "8")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "gradcheck.svg").is_file()


@pytest.mark.parametrize("network", ["classify.one_layer", "reconstruct.two_layer"])
def test_gradcheck_of_chips_tells_their_noise(network: str, tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("experiment: braille\nchips: 2\n")
    found = {}
    for noisy in ("true", "false"):
        switches = ["--set", f"chip.read_noise={noisy}", "--set", f"chip.converters={noisy}"]
        out = tmp_path / f"{noisy}.json"
        done = command(
            "gradcheck", str(tmp_path / "b.yaml"), "--network", network, *switches,
            "--samples", "8", "--json", str(out),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found[noisy] = json.loads(out.read_text())
    assert found["true"]["errors"]["noise"] > 1e-2
    assert found["false"]["errors"]["noise"] < 1e-5
    assert found["true"]["errors"]["beta_bias"] == found["false"]["errors"]["beta_bias"]


def test_gradcheck_names_the_networks(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("experiment: braille\n")
    done = command("gradcheck", str(tmp_path / "b.yaml"), "--network", "classify.one_layr")
    assert done.returncode == 2
    assert "did you mean 'classify.one_layer'" in done.stderr


@pytest.mark.parametrize("example", ["braille", "equilibrium"])
def test_the_readme_shows_the_examples_as_they_are(example: str) -> None:
    text = (ROOT / "examples" / f"{example}.py").read_text()
    assert f"```python\n{text}```" in (ROOT / "README.md").read_text()


BAD = {
    "did you mean 'sweep'": ["--set", "solver.name=swep"],
    "did you mean 'centred'": ["--set", "estimator.name=centered"],
    "estimator.beta: input should be greater than or equal to 1e-12, but is 0": [
        "--set",
        "estimator.beta=0",
    ],
    "estimator.beta: input should be greater than or equal to 1e-12, but is -1": [
        "--set",
        "estimator.beta=-1",
    ],
    "unknown key 'network.hiden'": ["--set", "network.hiden=[3]"],
    "network.law: does nothing where kind is hopfield, but is 'shockley': leave it out": [
        "--set",
        "network.law=shockley",
    ],
    "learning.decay: does nothing where fall is cosine": [
        "--set",
        "learning.fall=cosine",
        "--set",
        "learning.decay=0.9",
    ],
    "data.size: does nothing where name is idx": ["--set", "data.name=idx", "--set", "data.size=8"],
    "writing.chips does nothing where there is no chip, but is 2: leave it out": [
        "--set",
        "writing.chips=2",
    ],
    "holds no train-images": ["--set", "data.name=idx", "--set", "data.path=/nowhere"],
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_one_line(message: str) -> None:
    done = command("gradcheck", str(ROOT / "examples/hopfield.yaml"), *BAD[message])
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_what_is_no_config_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("[1")
    assert "line 2: not YAML" in command("gradcheck", str(tmp_path / "a.yaml")).stderr
    assert "no such file" in command("gradcheck", str(tmp_path / "b.yaml")).stderr
