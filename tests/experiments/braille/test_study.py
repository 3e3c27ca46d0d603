"""What the main job counts and measures, against the parts it is made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from madem.experiments.braille.results import BrailleResults
from madem.experiments.braille.study import EXPERIMENT, nearly_learned
from madem.experiments.config.parts import DigitalConfig
from madem.experiments.running.rundir import RunDirectory
from madem.ledger import load_prices, totals
from madem.machine import SignedPair
from madem.report.braille import content, result
from madem.report.page import write_report
from madem.training import Trainer, prices_of, programmed, train_digitally
from madem.units import si
from tests.conftest import LOOKS, small_config
from tests.experiments.running.test_experiment import deaf


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "whole"
    EXPERIMENT.run(small_config(*LOOKS, "compare_writing=false"), path, deaf, workers=1)
    return path


def test_what_nearly_learning_took_is_what_the_ledger_had_heard_by_then(finished: Path) -> None:
    """The same chips trained again to that look, and no further, at the run's own prices."""
    config = small_config(*LOOKS)
    summary = json.loads((finished / "summary.json").read_text())
    for name in ("classify.one_layer", "reconstruct.two_layer"):
        task, depth = name.split(".")
        part = summary["tasks"][task][depth]
        near, plan = part["nearly_learned"], config.plan(name)
        again = Trainer(plan)
        while again.step * plan.schedule.batch < near["words"]:
            again.advance()
        spent = totals(again.ledger.rows(prices_of(plan, load_prices(), part["settling_seconds"])))
        for scope in ("array_only", "all_in"):
            assert near[scope] == pytest.approx(spent[scope], rel=1e-9)
        assert near["words"] == again.step * plan.schedule.batch


def test_inference_is_that_of_one_word(finished: Path) -> None:
    ledger = json.loads((finished / "ledger.json").read_text())
    for name, outputs in (("classify.one_layer", 4), ("reconstruct.one_layer", 12)):
        counts = {row["item"]: row["count"] for row in ledger[name]["inference"]}
        assert counts["array read"] == 1.0
        assert counts["output conversion"] == counts["sample and hold"] == outputs


def test_nearly_learned_is_the_first_look_at_95_per_cent_of_the_best() -> None:
    curve = [[0, [0.1, 0.1]], [1, [0.5, 0.7]], [4, [0.9, 0.84]], [9, [0.9, 0.9]]]
    spent = [{"array_only": index} for index in range(4)]
    found = nearly_learned({"curve": curve, "spent": spent, "samples": 9 * 32})
    assert found == {"words": 4 * 32, "array_only": 2}


def test_every_difference_is_of_the_same_words(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    folder = RunDirectory(finished)
    for task, depths in summary["tasks"].items():
        for depth, part in depths.items():
            held = folder.load_tensors(f"jobs/{task}.{depth}.safetensors")
            other = folder.load_tensors(f"jobs/{task}.{depth}.yardsticks.safetensors")
            assert held is not None
            assert other is not None
            chips = held[0]["right"].double()
            assert chips.shape == (2, 200)
            assert part["accuracy_mean"] == pytest.approx(float(chips.mean()))
            for key in ("bayes", "backprop", "ex_situ"):
                theirs = other[0][f"right.{key}"].double()
                assert part[key] == pytest.approx(float(theirs.mean()))
                gain = part["gain"][key]
                assert gain["mean"] == pytest.approx(float((chips - theirs).mean()))
            errors = part["accuracy_error"]
            assert max(errors["words"], errors["chips"]) <= errors["total"]
            assert errors["total"] <= (errors["words"] ** 2 + errors["chips"] ** 2) ** 0.5 + 1e-12
            assert part["bayes_limit"]["error"] < 0.3 * part["bayes_error"]


def test_what_is_programmed_fits_the_chip() -> None:
    """Weights are trained in the range of the pair, so that the cells hold what was meant."""
    switches = [f"machine.{name}=false" for name in
                ("programming_error", "stuck_cells", "device_spread", "read_noise")]  # fmt: skip
    config = small_config(*switches)
    for name in ("classify.one_layer", "reconstruct.two_layer"):
        plan, how = config.plan(name), config.learner(name).ex_situ
        recipe = how.recipe(plan)
        meant, held = train_digitally(plan, recipe, "ex situ"), programmed(plan, recipe)
        room = plan.making.cells.cell.high - plan.making.cells.base
        for mine, store, unit in zip(meant, held.stores, recipe.units, strict=True):
            assert isinstance(store, SignedPair)
            weight = torch.cat([mine[0], mine[1].unsqueeze(-1)], -1)
            assert float(weight.abs().max()) <= room / unit * (1 + 1e-6)
            torch.testing.assert_close(store.parameters[0], weight, rtol=1e-4, atol=1e-4)


def test_a_recipe_without_numbers_has_the_chips_own() -> None:
    plan = small_config().plan("classify.two_layer")
    units = DigitalConfig().recipe(plan).units
    assert units == (700e-6, 100e-6)
    fast = {"rates": (30.0, 30.0)}
    free, bound = (
        train_digitally(plan, DigitalConfig(bounded=bounded, **fast).recipe(plan), "backprop")
        for bounded in (False, True)
    )
    room = plan.making.cells.cell.high - plan.making.cells.base
    for w, b, unit in zip(free, bound, units, strict=True):
        assert float(b[0].abs().max()) <= room / unit * (1 + 1e-6)
        assert float(w[0].abs().max()) > room / unit


def test_the_page_says_numbers_and_no_verdict(finished: Path) -> None:
    page = write_report(finished).read_text()
    found = BrailleResults.model_validate_json((finished / "summary.json").read_text())
    shown = content(RunDirectory(finished), found)
    assert "of the article" not in page
    assert "The article states" in page
    one = found.tasks["classify"]["one_layer"]
    for scope in ("array_only", "all_in"):
        assert f"<td>{si(getattr(one.nearly_learned, scope).joules, 'J')}</td>" in page
    assert {"180 nm", "32 nm", "45 nm", "not stated"} == set(shown["nodes"])
    assert "leakage" in shown["uncounted"]
    for row in shown["claims"]:
        assert row["nearly"].array_only.joules < row["nearly"].all_in.joules
    text = result(one)
    assert all(" ± " in text[key] for key in ("chips", "limit", "backprop", "ex_situ"))
