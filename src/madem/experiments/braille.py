"""The main job: Braille words on two crossbars, two tasks, one and two layers, and yardsticks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from madem import training
from madem.data.braille import read_words
from madem.data.words import Classify, Reconstruct, bayes_chances
from madem.errors import InputError
from madem.experiments.brailleconfig import BrailleConfig, Training, defaults, make
from madem.experiments.brailleyardsticks import ideal_output, programmed, train_digitally
from madem.experiments.build import DEPTHS, TASKS, Plan, plan
from madem.experiments.config.base import merged
from madem.experiments.running.experiment import Experiment
from madem.experiments.running.jobs import Job, Progress, Tell
from madem.experiments.running.rundir import RunDirectory
from madem.experiments.settling import prices_of, settling, slow
from madem.experiments.statistics import Measured, measured
from madem.experiments.training import Trainer, accuracy, decisions, observer, resume
from madem.ledger import Ledger, load_prices, priced, totals
from madem.machine import Simulated, lay_out
from madem.network import Current
from madem.randomness import stream

YARDSTICKS = ("bayes", "backprop", "ex_situ")
CHECKPOINT_EVERY = 250
EXAMPLES = 6
NEARLY = 0.95
"""Share of its best accuracy at which a network is said to have nearly learned."""

LIMIT_SAMPLES = 200_000
"""Words on which exact decoding is tested, for an error a fifth of that of the chips' test."""

WRITING_VARIANTS: dict[str, dict[str, str]] = {
    "accumulate 2 uS": {"threshold": "2 uS"},
    "accumulate 5 uS": {"threshold": "5 uS"},
    "accumulate 40 uS": {"threshold": "40 uS"},
    "program-and-verify every step": {"writing": "every-step"},
    "open-loop single pulses": {"writing": "pulses"},
}
"""What the report compares the default way of writing with, on classify, one layer."""


def check(config: BrailleConfig) -> None:
    """Raise ``InputError`` for a config that cannot be built."""
    for task in TASKS:
        for depth in DEPTHS:
            plan(config, task, depth)


def jobs_of(config: BrailleConfig, path: Path) -> list[Job]:
    """Return all jobs of a run, the longest first."""
    names = [f"{task}.{depth}" for depth in reversed(DEPTHS) for task in TASKS]
    steps = {name: planned(config, name, {}).training.steps for name in names}
    jobs = [Job(name, steps[name], train_job, (config, path, name, name, {})) for name in names]
    one = "classify.one_layer"
    if config.compare_writing:
        jobs += [
            Job(name, steps[one], train_job, (config, path, name, one, change))
            for variant, change in WRITING_VARIANTS.items()
            for name in [f"writing.{variant}"]
        ]
    return jobs + [
        Job(f"{name}.yardsticks", steps[name], yardstick_job, (config, path, name))
        for name in names
    ]


def planned(config: BrailleConfig, name: str, change: dict[str, str]) -> Plan:
    """Return the plan of ``task.depth``, its training changed by ``change``."""
    task, depth = name.split(".")
    if change:
        values = config.model_dump(mode="json")
        values[task][depth] |= change
        config = make(values)
    return plan(config, task, depth)


def train_job(
    config: BrailleConfig, path: Path, job: str, name: str, change: dict[str, str], tell: Tell
) -> dict[str, Any]:
    """Train one network in place on its chips, from its checkpoint if there is one; test it."""
    folder = RunDirectory(path)
    plan = planned(config, name, change)
    trainer = Trainer(plan, config.curve_points)
    untrained = slow(settling(plan, trainer.machine))
    resume(trainer, path, job)
    prices = prices_of(plan, load_prices(), untrained)
    while not trainer.done:
        trainer.advance()
        if trainer.step % CHECKPOINT_EVERY == 0 or trainer.done:
            folder.save_tensors(f"checkpoints/{job}.safetensors", *trainer.checkpoint())
            rows = trainer.ledger.rows(prices)
            mean = sum(trainer.curve[-1][1]) / plan.chips
            joules = totals(rows)["all_in"]["joules"]
            text = f"accuracy {mean:.3f}, {1e6 * joules:.3g} uJ per chip"
            tell(Progress(job, trainer.step, plan.training.steps, text))
    result, tensors = examine(config, trainer, untrained)
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
    by_flip = {}
    for flip in flips(config, plan):
        x, target, _ = test_set(config, plan, flip)
        share = accuracy(plan, machine, x, target, f"test {flip}")
        by_flip[str(flip)] = [float(share.mean()), spread(share)]
    x, target, word = test_set(config, plan, plan.task.flip)
    inference = Ledger()
    watch = observer(machine, stream(plan.seed, plan.name, "test"), inference)
    few = x[:1000]
    output = watch.settle(few).output
    lasted = settling(plan, machine)
    seconds = {phase: max(untrained[phase], t) for phase, t in slow(lasted).items()}
    prices = prices_of(plan, load_prices(), seconds)
    training = trainer.ledger.rows(prices)
    once = [
        row | {key: float(row[key]) / len(few) for key in ("count", "joules", "seconds")}
        for row in inference.rows(prices)
    ]
    right = decisions(plan, machine, x, target, f"test {plan.task.flip}")
    result: dict[str, Any] = {
        "accuracy": right.double().mean(-1).tolist(),
        "accuracy_by_flip": by_flip,
        "written_fraction_per_step": float(trainer.written_fraction.mean()),
        "curve": [look[:2] for look in trainer.curve],
        "unsettled": machine.unsettled,
        "ledger": {"training": training, "inference": once},
        "spent": [totals(priced(spent, prices)) for *_, spent in trainer.curve],
        "settling": {"before": untrained, "after": slow(lasted), "seconds": seconds},
        "samples": plan.training.steps * plan.training.batch,
    }
    if isinstance(plan.task, Reconstruct):
        dots = (output > 0) == (target[:1000] > 0)
        result["dot_accuracy"] = float(dots.double().mean())
    lines = config.chip.lines
    first = [pair[:, :1] for pair in trainer.initial]
    last = [trainer.store(i).cells[:, :1] for i in range(len(plan.placements))]
    tensors = {
        "conductance.before": lay_out(plan.placements, first, lines)[0],
        "conductance.after": lay_out(plan.placements, last, lines)[0],
        "right": right,
        **{f"settling.{phase}": times for phase, times in lasted.items()},
        **example(plan, machine, x, target, word),
    }
    if not isinstance(plan.task, Reconstruct):
        tensors["confusion"] = confusion(plan, watch, x, target)
    return result, tensors


def confusion(plan: Plan, machine: Simulated, x: Tensor, target: Tensor) -> Tensor:
    """Return how often each word (row) was taken for each (column), summed over chips."""
    size = plan.task.outputs
    counts = torch.zeros(size * size, dtype=torch.float64)
    for part, goal in zip(x.split(1000), target.split(1000), strict=True):
        taken = machine.settle(part).output.argmax(-1)
        counts += torch.bincount((goal * size + taken).flatten(), minlength=size * size)
    return counts.reshape(size, size)


def example(
    plan: Plan, machine: Simulated, x: Tensor, target: Tensor, word: Tensor
) -> dict[str, Tensor]:
    """Return what the first chip sees of a few words, free and nudged both ways."""
    watch = observer(machine, stream(plan.seed, plan.name, "example"))
    x, target = x[:EXAMPLES], target[:EXAMPLES].expand(plan.chips, *target[:EXAMPLES].shape)
    free = watch.settle(x)
    gradient = plan.task.cost.gradient(free.output, target)
    beta = plan.training.beta
    high = watch.settle(x, Current(beta, gradient), start=free)
    low = watch.settle(x, Current(-beta, gradient), start=free)
    tensors = {"example.x": x, "example.word": word[:EXAMPLES], "example.output": free.output[0]}
    for phase, settled in (("free", free), ("high", high), ("low", low)):
        for index, state in enumerate(settled.states[1:]):
            tensors[f"example.{phase}.{index}"] = state[0].clone()
    return tensors


def yardstick_job(config: BrailleConfig, path: Path, name: str, tell: Tell) -> dict[str, Any]:
    """Train the same architecture digitally, ideally and for the chips; test both, and the limit.

    Keeps every decision at the flip probability of training, as the chips' job does: on the same
    chips and words, so that differences can be taken one by one.
    """
    plan = planned(config, name, {})
    job, steps = f"{name}.yardsticks", plan.training.steps

    def told(what: str, before: int) -> Callable[[int], None]:
        def tell_of(step: int) -> None:
            if step % CHECKPOINT_EVERY == 0 or step == steps:
                tell(Progress(job, (before + step) // 2, steps, what))

        return tell_of

    weights = train_digitally(plan, plan.training.backprop, "backprop", told("ideal", 0))
    chips = programmed(plan, None, told("for programming once", steps))
    result: dict[str, Any] = {"bayes": {}, "backprop": {}, "ex_situ": {}}
    kept: dict[str, Tensor] = {}
    for flip in flips(config, plan):
        x, target, word = test_set(config, plan, flip)
        output = ideal_output(plan, weights, x)
        found = {
            "bayes": bayes_chances(plan.task.codes, x, word)[None],
            "backprop": plan.task.cost.correct(output, target.expand(plan.chips, *target.shape)),
            "ex_situ": decisions(plan, chips, x, target, f"ex situ {flip}"),
        }
        for key, right in found.items():
            share = right.double().mean(-1)
            result[key][str(flip)] = [float(share.mean()), spread(share)]
        if flip == plan.task.flip:
            kept = {f"right.{key}": right for key, right in found.items()}
    x, _, word = plan.task.sample((LIMIT_SAMPLES,), stream(plan.seed, plan.name, "limit"))
    limit = measured(bayes_chances(plan.task.codes, x, word)[None])
    result["limit"] = [limit.mean, limit.error]
    RunDirectory(path).save_tensors(f"jobs/{job}.safetensors", kept)
    return result


def flips(config: BrailleConfig, plan: Plan) -> list[float]:
    """Return the flip probabilities to test at, the one of training among them."""
    return sorted({*config.test_flips, plan.task.flip})


def test_set(config: BrailleConfig, plan: Plan, flip: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the test samples at ``flip``: the same for every chip and every yardstick."""
    draws = stream(plan.seed, plan.name.split(".")[0], "test", str(flip))
    return plan.task.sample((config.test_samples,), draws, flip)


def spread(values: Tensor) -> float:
    """Return the standard deviation over chips, zero for a single one."""
    return float(values.double().std()) if values.numel() > 1 else 0.0


def summarise(config: BrailleConfig, folder: RunDirectory) -> dict[str, Any]:
    """Write the results of a run whose jobs are all done; return its summary."""
    results = {job.name: folder.finished(job.name) for job in jobs_of(config, folder.path)}
    tasks = {
        task: {depth: _summary(config, folder, f"{task}.{depth}", results) for depth in DEPTHS}
        for task in TASKS
    }
    summary = {
        "seed": config.seed,
        "chips": config.chips,
        "flip_probability": config.classify.flip_probability,
        "tasks": tasks,
    }
    if config.compare_writing:
        base: Training = config.classify.one_layer
        shown = {f"accumulate {base.threshold} (default)": results["classify.one_layer"]}
        shown |= {v: results[f"writing.{v}"] for v in WRITING_VARIANTS}
        summary["writing"] = {variant: _writing(result) for variant, result in shown.items()}
    folder.save_json("metrics.json", results)
    folder.save_json(
        "ledger.json",
        {name: result["ledger"] for name, result in results.items() if "ledger" in result},
    )
    return summary


def _summary(
    config: BrailleConfig, folder: RunDirectory, name: str, results: Mapping[str, Any]
) -> dict[str, Any]:
    """Return one network's part of the summary."""
    result, yardsticks = results[name], results[f"{name}.yardsticks"]
    flip = str(getattr(config, name.partition(".")[0]).flip_probability)
    tables = {**_tensors(folder, name), **_tensors(folder, f"{name}.yardsticks")}
    chips = tables["right"]
    share = torch.tensor(result["accuracy"], dtype=torch.float64)
    part = {
        "flip_probability": float(flip),
        "accuracy_mean": float(share.mean()),
        "accuracy_sd": spread(share),
        "accuracy_error": _errors(measured(chips)),
        **{key: yardsticks[key][flip][0] for key in YARDSTICKS},
        **{f"{key}_error": measured(tables[f"right.{key}"]).error for key in YARDSTICKS},
        "bayes_limit": dict(zip(("mean", "error"), yardsticks["limit"], strict=True)),
        "gain": {key: _gain(chips, tables[f"right.{key}"]) for key in YARDSTICKS},
        "untrained": sum(result["curve"][0][1]) / config.chips,
        "accuracy_by_flip": {p: mean for p, (mean, _) in result["accuracy_by_flip"].items()},
        "written_fraction_per_step": result["written_fraction_per_step"],
        "unsettled": result["unsettled"],
        "ledger": {phase: totals(rows) for phase, rows in result["ledger"].items()},
        "nearly_learned": nearly_learned(result),
        "settling_seconds": result["settling"]["seconds"],
    }
    if "dot_accuracy" in result:
        part["dot_accuracy_mean"] = result["dot_accuracy"]
    return part


def nearly_learned(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first look at which a network reads ``NEARLY`` of what it reads at its best.

    How many words it had seen by then, and the ledger's own totals at that look.
    """
    curve = result["curve"]
    best = max(sum(values) for _, values in curve)
    index = next(i for i, (_, values) in enumerate(curve) if sum(values) >= NEARLY * best)
    words = result["samples"] // curve[-1][0] * curve[index][0]
    return {"words": words, **result["spent"][index]}


def _tensors(folder: RunDirectory, name: str) -> dict[str, Tensor]:
    held = folder.load_tensors(f"jobs/{name}.safetensors")
    if held is None:
        raise InputError(f"{str(folder.path)!r} is damaged: jobs/{name}.safetensors is missing")
    return held[0]


def _errors(of: Measured) -> dict[str, float]:
    return {"total": of.error, "words": of.words, "chips": of.chips}


def _gain(chips: Tensor, other: Tensor) -> dict[str, float]:
    """Return what the chips read more than ``other``, word by word and chip by chip."""
    of = measured(chips.double() - other.double())
    return {"mean": of.mean, "error": of.error}


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


def configured(values: Mapping[str, Any]) -> BrailleConfig:
    """Return the config of ``values``; the shipped words and all defaults fill what they leave."""
    return make(merged(defaults(read_words()), values))


def plans(config: BrailleConfig) -> dict[str, training.Plan]:
    """Return the plan of every network, by the name of its job."""
    found = {}
    for name in [f"{task}.{depth}" for task in TASKS for depth in DEPTHS]:
        one, chip = planned(config, name, {}), config.chip
        cells = training.Cells(
            one.cell, one.base, tuple(one.units), chip.arrays, chip.lines, one.wires, one.seen
        )
        making = training.OnChips(one.chips, cells, one.periphery, timing=one.timing)
        how = one.training
        schedule = training.Schedule(how.steps, how.batch, tuple(how.rates))
        task = one.task
        assert isinstance(task, Classify | Reconstruct)
        learned = one.network, making, one.estimator, one.rule, schedule
        found[name] = training.Plan(name, one.seed, task, *learned)
    return found


EXPERIMENT = Experiment("braille", configured, check, jobs_of, summarise, plans)
