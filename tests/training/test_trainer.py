"""The one loop: it learns, goes on bit for bit from any step, and tells what it found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from madem.errors import InputError
from madem.experiments.train.config import TrainConfig
from madem.training import Digital, Trainer, ideal_outputs, programmed, score, train_digitally

CHIP = {
    "machine": {"kind": "chip", "chips": 3, "arrays": 4},
    "rule": {"kind": "accumulate", "threshold": "10 uS"},
    "writing": {"units": ["200 uS"]},
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
    ],
)
def test_what_does_not_go_together_is_refused(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        config(**parts).plan().making.assemble(config(**parts).plan())
