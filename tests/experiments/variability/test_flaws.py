"""Cells that are stuck or uneven, and measurements that are off."""

from __future__ import annotations

import pytest
import torch

from madem.experiments.variability.config import VariabilityConfig
from madem.experiments.variability.flaws import Biased, afflict, pairs_of, struck, uneven
from madem.experiments.variability.study import over_chips
from madem.learn import centred, positive
from madem.training import Plan, Trainer
from tests.experiments.variability.test_study import small

IDEAL = ["stuck_cells", "device_spread"]


def test_cells_get_stuck_at_the_rate_of_their_chip_and_stay() -> None:
    config = VariabilityConfig.of({})
    plan = config.plan(2, IDEAL)
    trainer = Trainer(plan)
    store = pairs_of(trainer.machine)[0]
    first = store.cells
    afflict(struck, over_chips(config, [0.0, 0.4]), plan.seed, trainer.machine)
    share = store.static.stuck.double().mean((0, 2, 3)).view(2, 40)
    assert float(share[0].max()) == 0
    assert float(share[1].mean()) == pytest.approx(0.4, abs=0.01)
    held = store.cells[store.static.stuck]
    for _ in range(5):
        trainer.advance()
    assert bool((store.cells[store.static.stuck] == held).all())
    assert not bool((store.cells == first).all())


def test_a_cell_never_exceeds_its_largest_conductance_by_more_than_the_write_error() -> None:
    config = small(machine={"chips": 3, "programming_error": False})
    plan = config.plan(2, IDEAL)
    trainer = Trainer(plan)
    afflict(uneven, over_chips(config, [0.0, 0.8]), plan.seed, trainer.machine)
    for _ in range(10):
        trainer.advance()
    store = pairs_of(trainer.machine)[0]
    assert bool((store.cells <= store.static.high).all())
    assert bool((store.static.high[:, :3] == store.static.high[0, 0, 0, 0]).all())
    assert float(store.static.high[:, 3:].std()) > 0.3 * store.cell.high


def test_both_arrays_of_a_fast_and_a_slow_store_are_struck() -> None:
    config = small(machine={"chips": 3, "store": "fast-slow"}, rule="descent")
    plan = config.plan(2, IDEAL)
    machine = Trainer(plan).machine
    afflict(struck, over_chips(config, [0.0, 0.5]), plan.seed, machine)
    shares = [float(store.static.stuck[:, 3:].double().mean()) for store in pairs_of(machine)]
    assert shares == [pytest.approx(0.5, abs=0.1)] * 2


def precise() -> tuple[Plan, Trainer]:
    plan = small(machine={"chips": 3, "read_noise": False, "dac_bits": 24, "adc_bits": 24}).plan(1)
    return plan, Trainer(plan)


@pytest.mark.parametrize("nudged", [True, False])
def test_a_common_offset_cancels_in_a_centred_contrast_and_not_in_a_one_sided_one(
    nudged: bool,
) -> None:
    plan, trainer = precise()
    x, target = next(trainer.batches)
    offset = torch.full((*plan.ensemble, 1, plan.task.outputs), 0.3)
    biased = Biased(trainer.machine, (offset,), nudged)
    differences = {}
    for make in (centred, positive):
        true = make(1.0)(trainer.machine, x, target, plan.task.cost).weights[0]
        seen = make(1.0)(biased, x, target, plan.task.cost).weights[0]
        differences[make.__name__] = float((seen - true).abs().max())
    assert differences["positive"] > 0.1
    # equal offsets of all free outputs leave the softmax, and so the nudge, as it is
    assert differences["centred"] < 1e-4


def test_an_unequal_offset_of_the_free_outputs_bends_the_nudge_itself() -> None:
    plan, trainer = precise()
    x, target = next(trainer.batches)
    offset = torch.linspace(-1, 1, plan.task.outputs).expand(*plan.ensemble, 1, -1)
    true = centred(1.0)(trainer.machine, x, target, plan.task.cost).weights[0]
    biased = Biased(trainer.machine, (offset,), nudged=False)
    seen = centred(1.0)(biased, x, target, plan.task.cost).weights[0]
    assert float((seen - true).abs().max()) > 0.01
