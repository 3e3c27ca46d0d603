"""The one loop: it learns, goes on bit for bit from any step, and tells what it found."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from madem.errors import InputError
from madem.experiments.train.config import TrainConfig
from madem.training import Digital, Trainer, ideal_outputs, programmed, score, train_digitally

CHIP = {
    "machine": {"kind": "chip", "chips": 3, "arrays": 4},
    "rule": {"kind": "accumulate", "threshold": "10 uS"},
    "writing": {"units": ["200 uS"]},
}
COMPETING: dict[str, Any] = CHIP | {
    "network": {
        "kind": "layers",
        "layers": [{"units": 12, "law": "softmax"}, {"units": 10, "law": "readout"}],
        "joints": [
            {"kind": "dense"},
            {"kind": "thresholds"},
            {"kind": "dense", "ends": [1, 2]},
            {"kind": "thresholds", "layer": 2},
        ],
    },
    "schedule": {"first_input": 0.05, "balance": 3.0},
}
KINDS: dict[str, dict[str, Any]] = {
    "ideal, descent": {"schedule": {"rates": [0.3]}},
    "ideal, Adam, random sign": {
        "rule": "adam", "estimator": {"kind": "random-sign", "beta": 0.5},
        "schedule": {"rates": [0.01], "weight_decay": 1e-4},
    },
    "ideal, momentum, exponential": {
        "rule": {"kind": "momentum", "share": 0.5},
        "schedule": {"rates": [0.1], "fall": "exponential", "decay": 0.9},
    },
    "chips": CHIP,
    "chips, sparse writes": CHIP | {"rule": {"kind": "sparse", "threshold": "20 uS"}},
    "chips, fast arrays in front": CHIP | {
        "rule": "descent", "machine": CHIP["machine"] | {"store": "fast-slow"},
    },
    "chips, sampled differences, a measured nudge": CHIP | {
        "estimator": {"kind": "centred", "beta": {"kind": "auto", "every": 9}},
        "machine": CHIP["machine"] | {
            "contrast": "sampled", "output_range": "measured", "rounding": "random", "adc_bits": 4,
        },
    },
    "chips, units that compete": COMPETING,
    "chips, wires, lines that differ": CHIP | {
        "machine": CHIP["machine"] | {"wire": "2 ohm", "spread": {"line_gain": 0.1}},
    },
}  # fmt: skip


def config(**parts: Any) -> Any:
    """A small training, some parts of it changed."""
    schedule = {"steps": 24, "rates": [0.3], "batch": 16, "looks": 3} | parts.pop("schedule", {})
    return TrainConfig.of({
        "task": {"kind": "digits", "size": 8, "validation": 200, "train": 400},
        "network": {"kind": "hopfield", "hidden": [12], "readout": True, "gain": [0.5]},
        "estimator": {"kind": "centred", "beta": 0.5},
        "rule": "descent",
        "schedule": schedule,
        **parts,
    })  # fmt: skip


def run(trainer: Trainer, until: int) -> Trainer:
    while trainer.step < until:
        trainer.advance()
    return trainer


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_bit_for_bit(kind: str) -> None:
    whole = run(Trainer(config(**KINDS[kind]).plan()), 24)
    part = run(Trainer(config(**KINDS[kind]).plan()), 13)
    tensors, note = part.state()
    again = Trainer(config(**KINDS[kind]).plan())
    again.restore((tensors, note))
    run(again, 24)
    assert again.curve == whole.curve
    theirs, ours = whole.state()[0], again.state()[0]
    assert set(theirs) == set(ours)
    for name, held in theirs.items():
        assert torch.equal(held, ours[name]), name


def test_chips_learn_and_are_counted() -> None:
    trainer = run(Trainer(config(**CHIP, schedule={"steps": 200}).plan()), 200)
    first, last = trainer.curve[0], trainer.curve[-1]
    assert len(first["score"]) == 3
    assert max(first["score"]) < 0.4 < min(last["score"])
    assert last["unsettled"] == 0
    assert last["train_cost"] < trainer.curve[1]["train_cost"]
    cells = 2 * (12 * 65 + 10 * 13)
    writes = float(torch.as_tensor(trainer.ledger.totals["verified write"][0]).mean())
    assert trainer.cells == cells
    written = float(trainer.written_fraction.mean()) * cells * trainer.step
    assert writes == pytest.approx(cells + written)


def test_thresholds_learn_their_gradient_and_what_balances_and_are_counted() -> None:
    """Registers are converted in each of three settlings, those of a readout in the free one."""
    trainer = Trainer(config(**COMPETING | {"rule": "descent"}).plan())
    plan, machine = trainer.plan, trainer.machine
    again = Trainer(plan)
    x, target = next(again.batches)
    estimate = plan.estimator(again.machine, 0.05 * x, target, plan.task.cost)
    used = estimate.free.states[1].mean(-2)
    wanted = estimate.weights[1] + 3.0 * (used - used.mean(-1, keepdim=True))
    trainer.advance()
    torch.testing.assert_close(machine.parameters[1], -0.3 * wanted)
    spent = {item: count for item, (count, _) in trainer.ledger.mean().items()}
    torch.testing.assert_close(machine.parameters[3], -0.3 * estimate.weights[3])
    assert spent["threshold conversion"] == 16 * (3 * 12 + 10)
    assert spent["accumulator access"] == 16 * (12 * 65 + 10 * 13 + 12 + 10)
    assert spent["input conversion"] == 16 * (3 * 64 + 2 * 10)


def test_balance_evens_the_use_of_units() -> None:
    """With weights as they were drawn, which leave most units without a sample."""
    layers = {**COMPETING["network"]}
    layers["joints"] = [{"kind": "dense", "gain": 20.0}, *layers["joints"][1:]]
    schedule = {"rates": [1e-9, 1.0, 1e-9, 1e-9], "balance": 3.0, "steps": 100, "batch": 100}
    plan = config(network=layers, schedule=schedule).plan()
    trainer = Trainer(plan)
    x, _ = trainer.validation

    def share(machine: Any) -> Tensor:
        return machine.settle(x).states[1].mean(0)

    assert float(share(trainer.machine).max()) > 0.3
    run(trainer, 100)
    how = Digital(torch.optim.SGD, (1e-9, 1.0, 1e-9, 1e-9), (math.inf,) * 4, (0.0,) * 4)
    for machine in (trainer.machine, plan.making.assemble(plan, train_digitally(plan, how, "y"))):
        uneven = (share(machine) - 1 / 12).abs().max()
        assert float(uneven) < 0.06  # three standard errors of 200 samples


def test_what_lies_on_no_array_has_no_limit_of_cells() -> None:
    made = config(**COMPETING, yardsticks={})
    how = made.yardsticks.ex_situ[0].recipe(made.plan())
    assert how.limits == pytest.approx([0.65, math.inf, 0.65, math.inf])
    assert how.noise == [0.0, 0.0, 0.0, 0.0]


def test_chips_of_one_shape_are_the_same_chips() -> None:
    one, two = (config(**CHIP, seed=seed).plan() for seed in (1, 1))
    two = replace(two, name="another")
    a, b = (plan.making.assemble(plan) for plan in (one, two))
    assert torch.equal(a.stores[0].static.high, b.stores[0].static.high)
    assert not torch.equal(a.stores[0].cells, b.stores[0].cells)  # written with other errors
    assert not torch.equal(a.stores[0].cells[:, 0], a.stores[0].cells[:, 1])


def test_programmed_once_and_in_exact_numbers() -> None:
    plan = config(**CHIP, schedule={"steps": 150}).plan()
    how = Digital(torch.optim.Adam, (0.02, 0.02), (0.65, 0.65), (0.0, 0.0), units=(200e-6, 200e-6))
    weights = train_digitally(plan, how, "test")
    assert max(float(p.abs().max()) for mine in weights for p in mine) <= 0.65
    x, target = plan.task.held("test", torch.Generator())
    exact = score(plan.task.cost, ideal_outputs(plan, weights, x), target).mean()
    assert exact > 0.7
    chips = programmed(plan, how)
    held = chips.stores[0].parameters[0]
    assert held.shape == (3, 12, 65)
    assert float((held - held.mean(0)).abs().max()) > 0  # each chip its own network, and errors


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"rule": "accumulate"}, "machine.kind is not chip"),
        ({"writing": {"units": ["200 uS"]}}, "writing does nothing where machine.kind is ideal"),
        ({"estimator": "contrastive"}, "must nudge by a current where network.readout is true"),
        ({"schedule": {"rates": [0.1, 0.1, 0.1]}}, "schedule.rates needs 1 or 2 values"),
        ({"schedule": {"epochs": 3}}, "give steps or epochs, not both"),
        ({**CHIP, "writing": {"units": ["1 uS", "2 uS", "3 uS"]}}, "machine.units needs 1 or 2"),
        ({**CHIP, "machine": {"kind": "chip", "arrays": 1}}, "have 2 layers|2 layers need 2"),
        ({"machine": {"kind": "chop"}}, "unknown"),
        ({"schedule": {"balance": 2.0}}, "schedule.balance is 2.0, but the network has no thresh"),
        ({**COMPETING, "schedule": {"balance": -1.0}}, "schedule.balance: input should be greater"),
    ],
)
def test_what_does_not_go_together_is_refused(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        config(**parts).plan().making.assemble(config(**parts).plan())
