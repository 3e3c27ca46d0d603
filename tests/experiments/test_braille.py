"""What the main job counts and measures, against the parts it is made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from madem.experiments.braille import EXPERIMENT, nearly_learned, planned
from madem.experiments.brailleconfig import Digital
from madem.experiments.brailleyardsticks import programmed, train_digitally, units_of
from madem.experiments.running.rundir import RunDirectory
from madem.experiments.settling import prices_of
from madem.experiments.training import Trainer
from madem.ledger import load_prices, totals
from madem.machine import SignedPair
from madem.report.braille import content, result
from madem.report.page import si, write_report
from tests.conftest import small_config
from tests.experiments.running.test_experiment import deaf


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "whole"
    EXPERIMENT.run(small_config("curve_points=8", "compare_writing=false"), path, deaf, workers=1)
    return path


def test_what_nearly_learning_took_is_what_the_ledger_had_heard_by_then(finished: Path) -> None:
    """The same chips trained again to that look, and no further, at the run's own prices."""
    config = small_config("curve_points=8")
    summary = json.loads((finished / "summary.json").read_text())
    for name in ("classify.one_layer", "reconstruct.two_layer"):
        task, depth = name.split(".")
        part = summary["tasks"][task][depth]
        near, plan = part["nearly_learned"], planned(config, name, {})
        again = Trainer(plan, 1)
        while again.step * plan.training.batch < near["words"]:
            again.advance()
        spent = totals(again.ledger.rows(prices_of(plan, load_prices(), part["settling_seconds"])))
        for scope in ("array_only", "all_in"):
            assert near[scope] == pytest.approx(spent[scope], rel=1e-9)
        assert near["words"] == again.step * plan.training.batch


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
    switches = [f"chip.{name}=false" for name in
                ("programming_error", "stuck_cells", "device_spread", "read_noise")]  # fmt: skip
    for name in ("classify.one_layer", "reconstruct.two_layer"):
        plan = planned(small_config(*switches), name, {})
        how = plan.training.ex_situ
        meant, held = train_digitally(plan, how, "ex situ"), programmed(plan)
        for weight, store, unit in zip(meant, held.stores, units_of(plan, how), strict=True):
            assert isinstance(store, SignedPair)
            assert float(weight.abs().max()) <= (plan.cell.high - plan.base) / unit * (1 + 1e-6)
            torch.testing.assert_close(store.parameters[0], weight, rtol=1e-4, atol=1e-4)


def test_a_recipe_without_numbers_has_the_chips_own() -> None:
    plan = planned(small_config(), "classify.two_layer", {})
    assert units_of(plan, Digital()) == plan.units
    free = train_digitally(plan, Digital(bounded=False, rates=(30.0, 30.0)), "backprop")
    bound = train_digitally(plan, Digital(rates=(30.0, 30.0)), "backprop")
    for w, b, unit in zip(free, bound, plan.units, strict=True):
        limit = (plan.cell.high - plan.base) / unit
        assert float(b.abs().max()) <= limit * (1 + 1e-6)
        assert float(w.abs().max()) > limit


def test_the_page_says_numbers_and_no_verdict(finished: Path) -> None:
    page = write_report(finished).read_text()
    summary = json.loads((finished / "summary.json").read_text())
    shown = content(RunDirectory(finished), summary)
    assert "of the article" not in page
    assert "The article states" in page
    near = summary["tasks"]["classify"]["one_layer"]["nearly_learned"]
    for scope in ("array_only", "all_in"):
        assert f"<td>{si(near[scope]['joules'], 'J')}</td>" in page
    assert {"180 nm", "32 nm", "45 nm", "not stated"} == set(shown["nodes"])
    assert "leakage" in shown["uncounted"]
    for row in shown["claims"]:
        assert row["nearly"]["array_only"]["joules"] < row["nearly"]["all_in"]["joules"]
    text = result(summary["tasks"]["classify"]["one_layer"])
    assert all(" ± " in text[key] for key in ("chips", "limit", "backprop", "ex_situ"))
