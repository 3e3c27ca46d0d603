"""Gradients of examples, of saved runs, and of chips with their wires, lines and noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from madem.experiments.train.config import TrainConfig
from madem.experiments.train.study import EXPERIMENT
from madem.inspect.gradcheck import TIGHT, check, through
from madem.inspect.subject import Subject, put_on_bench
from madem.learn import FiniteDifference
from madem.machine import Simulated, cells_of
from tests.cli.commands import command, one_line

ROOT = Path(__file__).parents[2]
CHIP = {"kind": "chip", "chips": 2, "lines": 30, "arrays": 8, "read_noise": False,
        "converters": False}  # fmt: skip


def small(tmp_path: Path, **parts: Any) -> Subject:
    """A network of few weights on a table of its own."""
    import numpy as np

    draws = np.random.default_rng(0)
    x = draws.normal(size=(80, 6))
    np.savez(tmp_path / "t.npz", x=x, y=(x[:, 0] + x[:, 1] > 0).astype(int))
    config = TrainConfig.of({
        "task": {"kind": "npz", "path": str(tmp_path / "t.npz")},
        "network": {"kind": "hopfield", "hidden": [5], "gain": [0.5]},
        "estimator": {"kind": "centred", "beta": 1e-3},
        "solver": {"kind": "sweep", "tolerance": 1e-6, "budget": 300},
        "schedule": {"steps": 5, "batch": 8}, **parts,
    })  # fmt: skip
    return put_on_bench(config, None, None)


@pytest.mark.parametrize("name", ["hopfield", "resistive", "conv"])
def test_gradcheck_of_the_examples(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = "[8,8]" if name == "conv" else "[64]"
    small = ["--set", "task.kind=digits", "--set", f"network.hidden={hidden}", "--samples", "8"]
    files = ["--json", str(tmp_path / "g.json"), "--figure", str(tmp_path / "g.svg")]
    assert command("gradcheck", str(ROOT / f"examples/{name}.yaml"), *small, *files) == 0
    found = json.loads((tmp_path / "g.json").read_text())
    assert set(found["errors"]) == {"beta_bias", "settling", "round_off", "noise"}
    assert set(found["layers"][0]) == {"name", "cosine", "norm_ratio", "relative_error"}
    assert all(row["cosine"] > 0.9 for row in found["layers"])
    assert found["errors"]["round_off"] < 1e-3
    assert found["errors"]["noise"] == 0
    assert "advice" in capsys.readouterr().out
    assert (tmp_path / "g.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize("network", ["classify.one_layer", "reconstruct.two_layer"])
def test_chips_tell_their_noise(network: str, tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("experiment: braille\nmachine: {chips: 2}\n")
    found = {}
    for noisy in ("true", "false"):
        switches = ["--set", f"machine.read_noise={noisy}", "--set", f"machine.converters={noisy}"]
        out = tmp_path / f"{noisy}.json"
        assert command(
            "gradcheck", str(tmp_path / "b.yaml"), "--network", network, *switches,
            "--samples", "8", "--json", str(out), "--figure", str(tmp_path / "g.svg"),
        ) == 0  # fmt: skip
        found[noisy] = json.loads(out.read_text())
    assert found["true"]["errors"]["noise"] > 1e-2
    assert found["false"]["errors"]["noise"] < 1e-5
    assert found["true"]["errors"]["beta_bias"] == found["false"]["errors"]["beta_bias"]


@pytest.mark.parametrize(
    "machine",
    [
        CHIP | {"arrays": 2},
        CHIP | {"wire": "20 ohm"},
        CHIP | {"wire": "20 ohm", "lines": 7},
        CHIP | {"spread": {"line_gain": 0.1, "mismatch": 0.1, "neuron_gain": 0.1}},
        CHIP | {"spread": {"drive_offset": 0.1, "neuron_offset": 0.1, "line_mismatch": 0.1}},
    ],
)
def test_the_exact_gradient_of_a_chip_is_that_of_its_settled_cost(
    machine: dict[str, Any], tmp_path: Path
) -> None:
    """Against differences of the cost, cell by cell: solved arrays, lines and all."""
    subject = small(tmp_path, machine=machine)
    x, target = subject.samples(4)
    tight = subject.still(torch.float64, TIGHT)
    step, cost = 1e-9, subject.plan.task.cost
    exact = list(_exact_of(tight, subject, x, target))
    for index, number in ((0, 3), (0, 12), (1, 4)):
        own = cells_of(tight.stores[index])
        assert own is not None
        change, costs = torch.zeros(own.weight.shape, dtype=torch.float64), []
        change.view(2, -1)[:, number] = 1.0
        for sign in (1, -1):
            moved = subject.still(torch.float64, TIGHT)
            pairs = cells_of(moved.stores[index])
            assert pairs is not None
            pairs.cells = pairs.cells + sign * step * torch.stack([change, -change])
            if pairs.wired is not None:
                pairs.solved = pairs.wired.solve(pairs.cells)
                pairs.matrix = pairs.solved.matrix
            pairs._sum()
            costs.append(cost.value(moved.settle(x.double()).output, target).mean(-1))
        slope = (costs[0] - costs[1]) / (4 * step / own.unit)
        found = exact[index].reshape(2, -1)[:, number]
        assert torch.allclose(found, slope, rtol=2e-3, atol=1e-6), (found, slope)


def _exact_of(tight: Simulated, subject: Subject, x: torch.Tensor, target: torch.Tensor) -> Any:
    from madem.inspect.gradcheck import _exact

    return through(tight, _exact(tight, x.double(), target, subject.plan.task.cost))


def test_lines_and_wires_that_the_rule_does_not_see_are_told(tmp_path: Path) -> None:
    plain = check(small(tmp_path, machine=CHIP), 8).errors
    assert "wires" not in plain
    assert plain["noise"] < 1e-4
    for change, least, most in (
        ({"wire": "20 ohm"}, 1e-2, 1.0),
        ({"wire": "20 ohm", "voltages": "cells"}, 0.0, 1e-4),
        ({"spread": {"mismatch": 0.2}}, 1e-3, 1.0),
    ):
        found = check(small(tmp_path, machine=CHIP | change), 8).errors
        assert least <= found["wires"] <= most, (change, found)
        assert found["beta_bias"] < 1e-2, (change, found)


def test_the_strength_of_the_nudge_is_one_number(tmp_path: Path) -> None:
    """The curve falls with noise and rises with bias; the measured strength is near its bottom."""
    noisy = CHIP | {"read_noise": True}
    for beta in (1e-3, "auto", {"kind": "even", "amount": 50.0}):
        subject = small(tmp_path, machine=noisy, estimator={"kind": "centred", "beta": beta})
        found = check(subject, 12)
        errors = [each.error for each in found.curve]
        assert len(errors) == 11
        assert found.auto is not None
        assert found.auto.error < max(2 * min(errors), 0.35)
        now = next(each.error for each in found.curve if each.beta == found.beta)
        told = [line for line in found.advice if "estimator.beta=" in line]
        assert len(told) == (now > 2 * found.auto.error), found.advice
        assert not any("raise beta" in line or "smaller" in line for line in found.advice)
        bias = [each.bias for each in found.curve]
        assert bias[-1] > 10 * bias[0] or bias[-1] < 1e-6
    exact = check(small(tmp_path, estimator={"kind": "centred", "beta": "auto"}), 8)
    assert exact.auto is None
    assert not exact.curve
    assert exact.errors["beta_bias"] < 1e-3


def test_a_circuit_adds_nothing_to_an_ideal_network(tmp_path: Path) -> None:
    found = check(small(tmp_path, machine={"kind": "circuit"}, solver="sweep"), 8).errors
    assert found["noise"] < 1e-3
    assert found["beta_bias"] < 1e-2


def test_exact_stores_agree_with_finite_differences(tmp_path: Path) -> None:
    subject = small(tmp_path)
    x, target = subject.samples(4)
    tight = subject.still(torch.float64, TIGHT)
    found = FiniteDifference()(tight, x.double(), target, subject.plan.task.cost).weights
    for ours, theirs in zip(_exact_of(tight, subject, x, target), found, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-8)


def test_a_saved_run_is_looked_at_as_it_was_saved(tmp_path: Path) -> None:
    config = TrainConfig.of({
        "task": {"kind": "digits", "size": 8, "train": 64},
        "machine": {"kind": "chip", "chips": 2, "lines": 66},
        "schedule": {"steps": 3, "batch": 8},
    })  # fmt: skip
    EXPERIMENT.run(config, tmp_path / "run", lambda _: None, workers=1)
    from madem.experiments.running.rundir import RunDirectory

    folder = RunDirectory(tmp_path / "run")
    held = folder.load_tensors("checkpoints/train.safetensors")
    assert held is not None
    subject = put_on_bench(config, folder, None)
    assert torch.equal(subject.simulated.stores[0].cells, held[0]["machine.0.cells"])
    still = subject.still(torch.float64, TIGHT)
    assert torch.equal(still.stores[0].cells, held[0]["machine.0.cells"].double())
    assert command("gradcheck", str(tmp_path / "run"), "--samples", "8") == 0
    assert (tmp_path / "run" / "gradcheck.svg").is_file()


BAD = {
    "did you mean 'sweep'": ["solver.kind=swep"],
    "did you mean 'centred'": ["estimator.kind=centered"],
    "estimator.beta: must be positive, but is 0": ["estimator.beta=0"],
    "estimator.beta: must be positive, but is -1": ["estimator.beta=-1"],
    "unknown key 'network.hiden'": ["network.hiden=[3]"],
    "schedule.decay: does nothing where fall is cosine": ["schedule.decay=0.9"],
    "unknown key 'task.size'": ["task.kind=idx", "task.size=8"],
    "writing does nothing where machine.kind is ideal": ["writing.units=[1 uS]"],
    "holds no train-images": ["task={kind: idx, path: /nowhere}"],
    "task.size must be from 8 to 1024, but is 7": ["task.size=7"],
    "task.shift: must be from 0 to 1024, but is -1": ["task.shift=-1"],
    "network.wire does nothing where machine.kind is ideal":
        ["network={kind: resistive, wire: 1 ohm}"],
    "must be at most 1437, the number of samples to train": ["schedule.batch=1438"],
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_one_line(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [word for setting in BAD[message] for word in ("--set", setting)]
    assert command("gradcheck", str(ROOT / "examples/hopfield.yaml"), *settings) == 2
    told = capsys.readouterr().err
    assert message in told
    assert one_line(told)


def test_what_is_no_config_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("[1")
    command("gradcheck", str(tmp_path / "a.yaml"))
    assert "line 2: not YAML" in capsys.readouterr().err
    command("gradcheck", str(tmp_path / "b.yaml"))
    assert "no such file" in capsys.readouterr().err
