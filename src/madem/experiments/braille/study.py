"""The main job: Braille words on two crossbars, two tasks, one and two layers, and yardsticks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from madem.data.words import Classify, Reconstruct, bayes_chances
from madem.errors import InputError
from madem.experiments.braille.config import COMPARED, NETWORKS, TASKS, BrailleConfig
from madem.experiments.braille.results import BrailleResults
from madem.experiments.running.experiment import Experiment, Records
from madem.experiments.running.jobs import Job, Tell
from madem.experiments.running.rundir import RunDirectory
from madem.experiments.running.trained import last_look, resumed, stepping, train
from madem.ledger import Ledger, load_prices, priced, totals
from madem.machine import Machine, Observed, Simulated, cells_of, lay_out
from madem.randomness import stream
from madem.training import (
    Plan,
    Trainer,
    by_phase,
    chips_of,
    cut_phases,
    ideal_outputs,
    longer,
    measured,
    outputs,
    phases_of,
    prices_of,
    programmed,
    score,
    scores,
    settled_within,
    settling,
    timeline,
    train_digitally,
)
from madem.units import si

YARDSTICKS = ("bayes", "backprop", "ex_situ")
EXAMPLES = 6
NEARLY = 0.95
"""Share of its best accuracy at which a network is said to have nearly learned."""

LIMIT_SAMPLES = 200_000
"""Words on which exact decoding is tested, for an error a fifth of that of the chips' test."""


def plans(config: BrailleConfig) -> dict[str, Plan]:
    """Return the plan of every network, by the name of its job."""
    return {name: config.plan(name) for name in NETWORKS}


def check(config: BrailleConfig) -> None:
    """Raise ``InputError`` for a config that cannot be built."""
    for name, plan in plans(config).items():
        try:
            chips_of(plan).placements(plan.network)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        for kind in ("backprop", "ex_situ"):
            getattr(config.learner(name), kind).recipe(plan)


def jobs_of(config: BrailleConfig, path: Path) -> list[Job]:
    """Return all jobs of a run, the longest first."""
    steps = {name: plan.schedule.steps for name, plan in plans(config).items()}
    order = sorted(NETWORKS, key=lambda name: -steps[name])
    jobs = [Job(name, steps[name], train_job, (config, path, name, name, {})) for name in order]
    if config.compare_writing:
        jobs += [
            Job(name, steps[COMPARED], train_job, (config, path, name, COMPARED, change))
            for way, change in config.ways.items()
            for name in [f"writing.{way}"]
        ]
    return jobs + [
        Job(f"{name}.yardsticks", steps[name], yardstick_job, (config, path, name))
        for name in order
    ]


def train_job(
    config: BrailleConfig, path: Path, job: str, name: str, change: dict[str, Any], tell: Tell
) -> dict[str, Any]:
    """Train one network in place on its chips, from its checkpoint if there is one; test it."""
    folder, plan = RunDirectory(path), config.plan(name, change)
    trainer = Trainer(plan)
    untrained = settled_within(settling(plan, trainer.machine))
    tensors = arrays(plan, "before", trainer.machine)
    prices = prices_of(plan, load_prices(), untrained)

    def said(trainer: Trainer) -> str:
        joules = totals(trainer.ledger.rows(prices))["all_in"]["joules"]
        return f"{last_look(trainer)}, {si(joules, 'J')} per chip"

    train(resumed(trainer, folder, job), folder, job, tell, said=said)
    result, seen = examine(config, trainer, untrained)
    tensors |= seen | arrays(plan, "after", trainer.machine)
    folder.save_tensors(f"jobs/{job}.safetensors", tensors)
    return result


def examine(
    config: BrailleConfig, trainer: Trainer, untrained: dict[str, float]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Test a trained network, and keep what the report draws of it.

    ``untrained``: settling times of its phases before training, s. Each phase lasts as long as the
    slower of before and after.
    """
    plan, machine = trainer.plan, trainer.machine
    assert isinstance(machine, Simulated)
    task = words_of(plan)
    by_flip = {}
    for flip in flips(config, plan):
        x, target, _ = test_set(plan, flip)
        share = scores(plan, machine, x, target, f"test {flip}").mean(-1)
        by_flip[str(flip)] = [float(share.mean()), spread(share)]
    x, target, word = test_set(plan, task.flip)
    lasted = settling(plan, machine)
    trained = settled_within(lasted)
    seconds = cut_phases(plan) or longer(untrained, trained)
    prices = prices_of(plan, load_prices(), seconds)
    few, once = x[:1000], Ledger()
    output = machine.watched(stream(plan.seed, plan.name, "test"), once).settle(few).output
    right = scores(plan, machine, x, target, f"test {task.flip}") > 0
    result: dict[str, Any] = {
        "accuracy": right.double().mean(-1).tolist(),
        "accuracy_by_flip": by_flip,
        "written_fraction_per_step": float(trainer.written_fraction.mean()),
        "curve": [[look["step"], look["score"]] for look in trainer.curve],
        "unsettled": machine.unsettled,
        "ledger": {
            "training": trainer.ledger.rows(prices),
            "inference": [
                row | {key: float(row[key]) / len(few) for key in ("count", "joules", "seconds")}
                for row in once.rows(prices)
            ],
        },
        "spent": [totals(priced(look["spent"], prices)) for look in trainer.curve],
        "settling": {"before": untrained, "after": trained, "seconds": seconds},
        "timeline": [asdict(span) for span in timeline(plan, machine, prices)],
        "by_phase": by_phase(plan, machine, prices, few, target[: len(few)]),
        "samples": plan.schedule.steps * plan.schedule.batch,
    }
    tensors = {
        "right": right,
        **{f"settling.{phase}": times for phase, times in lasted.items()},
        **example(plan, machine, x, target, word),
    }
    if isinstance(task, Reconstruct):
        result["dot_accuracy"] = float(((output > 0) == (target[:1000] > 0)).double().mean())
    else:
        tensors["confusion"] = confusion(plan, outputs(plan, machine, x, "confusion"), target)
    return result, tensors


def words_of(plan: Plan) -> Classify | Reconstruct:
    """Return the task of ``plan``."""
    assert isinstance(plan.task, Classify | Reconstruct)
    return plan.task


def arrays(plan: Plan, when: str, machine: Machine) -> dict[str, Tensor]:
    """Return the conductances of the first chip's arrays, S, by name."""
    making = chips_of(plan)
    assert isinstance(machine, Simulated)
    cells = [own.cells[:, :1] for own in map(cells_of, machine.stores) if own is not None]
    laid = lay_out(making.placements(plan.network), cells, making.cells.lines)
    return {f"conductance.{when}": laid[0]}


def confusion(plan: Plan, output: Tensor, target: Tensor) -> Tensor:
    """Return how often each word (row) was taken for each (column), summed over chips."""
    size, taken = plan.task.outputs, output.argmax(-1)
    counts = torch.bincount((target * size + taken).flatten(), minlength=size * size)
    return counts.double().reshape(size, size)


def example(
    plan: Plan, machine: Machine, x: Tensor, target: Tensor, word: Tensor
) -> dict[str, Tensor]:
    """Return what the first chip sees of a few words, free, and under the first and last nudge."""
    watch = machine.watched(stream(plan.seed, plan.name, "example"))
    x, target = x[:EXAMPLES], target[:EXAMPLES].expand(*plan.ensemble, *target[:EXAMPLES].shape)
    free = watch.settle(x)
    nudges = phases_of(plan, free.output, target)
    seen = {"free": free, "high": watch.settle(x, nudges[0], free)}
    seen["low"] = watch.settle(x, nudges[1], free) if len(nudges) > 1 else free
    tensors = {"example.x": x, "example.word": word[:EXAMPLES], "example.output": free.output[0]}
    for phase, settled in seen.items():
        for index, state in enumerate(states_of(settled)):
            tensors[f"example.{phase}.{index}"] = state[0].clone()
    return tensors


def states_of(settled: Observed) -> list[Tensor]:
    """Return the states of all layers, as they are and not as displacements."""
    if settled.origin is None:
        return list(settled.states[1:])
    both = zip(settled.origin.states[1:], settled.states[1:], strict=True)
    return [at + moved for at, moved in both]


def yardstick_job(config: BrailleConfig, path: Path, name: str, tell: Tell) -> dict[str, Any]:
    """Train the same architecture digitally, ideally and for the chips; test both, and the limit.

    Keeps every decision at the flip probability of training, as the chips' job does: on the same
    chips and words, so that differences can be taken one by one.
    """
    plan, learner = config.plan(name), config.learner(name)
    task, job, steps = words_of(plan), f"{name}.yardsticks", plan.schedule.steps
    heard = partial(stepping, tell, job, 2 * steps)
    ideal, once = learner.backprop, learner.ex_situ
    weights = train_digitally(plan, ideal.recipe(plan), "backprop", heard("ideal"))
    chips = programmed(plan, once.recipe(plan), tell=heard("for programming once", steps))
    result: dict[str, Any] = {"bayes": {}, "backprop": {}, "ex_situ": {}}
    kept: dict[str, Tensor] = {}
    for flip in flips(config, plan):
        x, target, word = test_set(plan, flip)
        found = {
            "bayes": bayes_chances(task.codes, x, word)[None],
            "backprop": score(task.cost, ideal_outputs(plan, weights, x), target) > 0,
            "ex_situ": scores(plan, chips, x, target, f"ex situ {flip}") > 0,
        }
        for key, right in found.items():
            share = right.double().mean(-1)
            result[key][str(flip)] = [float(share.mean()), spread(share)]
        if flip == task.flip:
            kept = {f"right.{key}": right for key, right in found.items()}
    x, _, word = task.sample((LIMIT_SAMPLES,), stream(plan.seed, plan.name, "limit"))
    limit = measured(bayes_chances(task.codes, x, word)[None])
    RunDirectory(path).save_tensors(f"jobs/{job}.safetensors", kept)
    return result | {"limit": [limit.mean, limit.error]}


def flips(config: BrailleConfig, plan: Plan) -> list[float]:
    """Return the flip probabilities to test at, the one of training among them."""
    return sorted({*config.test_flips, words_of(plan).flip})


def test_set(plan: Plan, flip: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the test samples at ``flip``: the same for every chip and every yardstick."""
    task = words_of(plan)
    draws = stream(plan.seed, plan.name.split(".")[0], "test", str(flip))
    return task.sample((task.tested,), draws, flip)


def spread(values: Tensor) -> float:
    """Return the standard deviation over chips, zero for a single one."""
    return float(values.double().std()) if values.numel() > 1 else 0.0


def summarise(config: BrailleConfig, folder: RunDirectory, held: Records) -> BrailleResults:
    """Write what came of a run whose jobs are all done, and return it in short."""
    summary: dict[str, Any] = {
        "seed": config.seed,
        "chips": config.machine.chips,
        "flip_probability": config.classify.flip_probability,
        "tasks": {task: {} for task in TASKS},
    }
    for name in NETWORKS:
        task, depth = name.split(".")
        summary["tasks"][task][depth] = _summary(config, folder, name, held)
    if config.compare_writing:
        shipped = config.learner(COMPARED).rule
        told = f"{shipped.called} {getattr(shipped, 'threshold', '')}".strip()
        shown = {f"{told} (default)": held[COMPARED]}
        shown |= {way: held[f"writing.{way}"] for way in config.ways}
        summary["writing"] = {way: _writing(result) for way, result in shown.items()}
    folder.save_json("metrics.json", held)
    ledgers = {name: each["ledger"] for name, each in held.items() if "ledger" in each}
    folder.save_json("ledger.json", ledgers)
    return BrailleResults.model_validate(summary)


def _summary(
    config: BrailleConfig, folder: RunDirectory, name: str, results: Records
) -> dict[str, Any]:
    """Return one network's part of the summary."""
    result, yardsticks = results[name], results[f"{name}.yardsticks"]
    flip = str(getattr(config, name.partition(".")[0]).flip_probability)
    tables = {**folder.tensors(name), **folder.tensors(f"{name}.yardsticks")}
    chips = tables["right"].double()
    of, share = measured(chips), torch.tensor(result["accuracy"], dtype=torch.float64)
    gains = {key: measured(chips - tables[f"right.{key}"].double()) for key in YARDSTICKS}
    return {
        "flip_probability": float(flip),
        "accuracy_mean": float(share.mean()),
        "accuracy_sd": spread(share),
        "accuracy_error": {"total": of.error, "words": of.words, "chips": of.chips},
        **{key: yardsticks[key][flip][0] for key in YARDSTICKS},
        **{f"{key}_error": measured(tables[f"right.{key}"]).error for key in YARDSTICKS},
        "bayes_limit": dict(zip(("mean", "error"), yardsticks["limit"], strict=True)),
        "gain": {key: {"mean": gain.mean, "error": gain.error} for key, gain in gains.items()},
        "untrained": sum(result["curve"][0][1]) / config.machine.chips,
        "accuracy_by_flip": {p: mean for p, (mean, _) in result["accuracy_by_flip"].items()},
        "written_fraction_per_step": result["written_fraction_per_step"],
        "unsettled": result["unsettled"],
        "ledger": {phase: totals(rows) for phase, rows in result["ledger"].items()},
        "nearly_learned": nearly_learned(result),
        "settling_seconds": result["settling"]["seconds"],
        "dot_accuracy_mean": result.get("dot_accuracy"),
    }


def nearly_learned(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first look at which a network reads ``NEARLY`` of what it reads at its best.

    How many words it had seen by then, and the ledger's own totals at that look.
    """
    curve = result["curve"]
    best = max(sum(values) for _, values in curve)
    index = next(i for i, (_, values) in enumerate(curve) if sum(values) >= NEARLY * best)
    words = result["samples"] // curve[-1][0] * curve[index][0]
    return {"words": words, **result["spent"][index]}


def _writing(result: dict[str, Any]) -> dict[str, float]:
    """Return one way of writing, for the comparison."""
    share = torch.tensor(result["accuracy"], dtype=torch.float64)
    spent = totals(result["ledger"]["training"])["all_in"]
    return {
        "accuracy_mean": float(share.mean()),
        "accuracy_sd": spread(share),
        "written_fraction_per_step": result["written_fraction_per_step"],
        "training_joules_all_in": spent["joules"],
        "training_seconds_all_in": spent["seconds"],
    }


EXPERIMENT = Experiment("braille", BrailleConfig, check, jobs_of, summarise, plans)
