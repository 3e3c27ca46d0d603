"""Monte Carlo over chips: flaws, damage, biased measurements, a whole small run and its page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from madem.data.braille import read_words
from madem.errors import InputError
from madem.experiments import chips
from madem.experiments.chips import EXPERIMENT, Biased, make_chips
from madem.experiments.chipsconfig import ChipsConfig
from madem.experiments.running.jobs import Progress
from madem.experiments.training import Trainer
from madem.learn import centred, positive
from madem.report.chips import forgetting_words, largest_with, recovery_words
from madem.report.page import write_report
from tests.experiments.running.test_experiment import Killed, deaf


def small(**changed: object) -> ChipsConfig:
    values = {
        "chips": 3,
        "steps": 20,
        "ideal_steps": 20,
        "bias_steps": 10,
        "looks": 3,
        "words": ["ab", "cd", "ef", "gh"],
        "letters": 2,
        "defect_rates": [0.0, 0.4],
        "spreads": [0.0, 0.4],
        "damage": [0.0, 0.3],
        "offsets": [0.0, 1.0],
    }
    return make_chips(values | changed)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "chips"
    EXPERIMENT.run(small(), path, deaf, workers=1)
    return path


def test_cells_get_stuck_at_the_rate_of_their_chip_and_stay() -> None:
    config = small(chips=40, words=list(read_words()), letters=10)
    plan = chips.plan_of(config, 2, ["stuck_cells", "device_spread"])
    trainer = Trainer(plan, 2)
    chips.afflict(plan, trainer.machine, chips.struck, chips.over_chips(config, [0.0, 0.4]))
    store = trainer.store(0)
    share = store.static.stuck.double().mean((0, 2, 3)).view(2, 40)
    assert float(share[0].max()) == 0
    assert float(share[1].mean()) == pytest.approx(0.4, abs=0.01)
    held = store.cells[store.static.stuck]
    for _ in range(5):
        trainer.advance()
    assert bool((store.cells[store.static.stuck] == held).all())
    assert not bool((store.cells == trainer.initial[0]).all())


def test_a_cell_never_exceeds_its_largest_conductance_by_more_than_the_write_error() -> None:
    config = small(chip={"programming_error": False})
    plan = chips.plan_of(config, 2, ["stuck_cells", "device_spread"])
    trainer = Trainer(plan, 2)
    chips.afflict(plan, trainer.machine, chips.uneven, chips.over_chips(config, [0.0, 0.8]))
    for _ in range(10):
        trainer.advance()
    store = trainer.store(0)
    assert bool((store.cells <= store.static.high).all())
    assert bool((store.static.high[:, :3] == store.static.high[0, 0, 0, 0]).all())
    assert float(store.static.high[:, 3:].std()) > 0.3 * plan.cell.high


@pytest.mark.parametrize("nudged", [True, False])
def test_a_common_offset_cancels_in_a_centred_contrast_and_not_in_a_one_sided_one(
    nudged: bool,
) -> None:
    chip = {"read_noise": False, "dac_bits": 24, "adc_bits": 24}
    plan = chips.plan_of(small(chip=chip), 1)
    machine = Trainer(plan, 2).machine
    x, target, _ = plan.task.sample((plan.chips, 16), torch.Generator())
    offset = torch.full((plan.chips, 1, plan.task.outputs), 0.3)
    biased = Biased(machine, (offset,), nudged)
    differences = {}
    for make in (centred, positive):
        true = make(1.0)(machine, x, target, plan.task.cost).weights[0]
        seen = make(1.0)(biased, x, target, plan.task.cost).weights[0]
        differences[make.__name__] = float((seen - true).abs().max())
    assert differences["positive"] > 0.1
    if nudged:
        assert differences["centred"] < 1e-4
    else:  # equal offsets of all outputs leave the softmax, and so the nudge, as it is
        assert differences["centred"] < 1e-4


def test_an_unequal_offset_of_the_free_outputs_bends_the_nudge_itself() -> None:
    chip = {"read_noise": False, "dac_bits": 24, "adc_bits": 24}
    plan = chips.plan_of(small(chip=chip), 1)
    machine = Trainer(plan, 2).machine
    x, target, _ = plan.task.sample((plan.chips, 16), torch.Generator())
    offset = torch.linspace(-1, 1, plan.task.outputs).expand(plan.chips, 1, -1)
    true = centred(1.0)(machine, x, target, plan.task.cost).weights[0]
    seen = centred(1.0)(Biased(machine, (offset,), False), x, target, plan.task.cost).weights[0]
    assert float((seen - true).abs().max()) > 0.01


@pytest.mark.parametrize("after", [2, 7, 16, 24])
def test_a_killed_run_resumes_bit_for_bit(
    after: int, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chips, "CHECKPOINT_EVERY", 7)
    heard = 0

    def kill(progress: Progress) -> None:
        nonlocal heard
        heard += 1
        if heard == after:
            raise Killed

    with pytest.raises(Killed):
        EXPERIMENT.run(small(), tmp_path / "run", kill, workers=1)
    EXPERIMENT.run(small(), tmp_path / "run", deaf, workers=1)
    again = (tmp_path / "run" / "summary.json").read_bytes()
    assert again == (finished / "summary.json").read_bytes()


def test_damage_happens_once_and_only_where_it_should(finished: Path) -> None:
    held = json.loads((finished / "jobs" / "recovery.json").read_text())
    steps = [step for step, *_ in held["curve"]]
    assert steps.count(held["half"]) == 2
    before, after = (values for step, values, _ in held["curve"] if step == held["half"])
    assert before[:3] == after[:3]  # the level at which nothing dies
    assert before[3:] != after[3:]


def test_the_page_says_what_the_numbers_say(finished: Path) -> None:
    text = write_report(finished).read_text()
    assert text.count("<svg") == 3
    summary = json.loads((finished / "summary.json").read_text())
    part = summary["recovery"]
    part["before"], part["just_after"], part["after"] = [0.9, 0.9], [0.9, 0.5], [0.9, 0.7]
    assert "90.0 %, then 50.0 %, and 70.0 % after training on (50 % of" in recovery_words(summary)
    for key in ("centred.nudged", "one-sided.nudged"):
        summary["forgetting"][key]["mean"] = [[0.9, 0.9], [0.9, 0.9 if "c" in key[:1] else 0.5]]
    assert "one-sided, nudged states off: -40.0 points" in forgetting_words(summary)
    assert largest_with([0.0, 0.1], [[0.2], [0.9]]) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"damage": [0.1, 0.2]}, "damage must begin with 0 and rise"),
        ({"offsets": [0.0]}, "offsets must begin with 0 and rise"),
        ({"chip": {"read_noise": False, "converters": False}}, "chip: an ideal measurement"),
        ({"chip": {"lines": 4}}, "does not fit two 4 x 4 arrays"),
    ],
)
def test_what_cannot_be_run_is_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        chips.check(small(**changed))
