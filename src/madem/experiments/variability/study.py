"""Monte Carlo over chips: yield, recovery after damage, forgetting under measurement bias.

All levels and all chips of a question ride on the chip axis of one program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binomtest
from torch import Tensor

from madem.experiments.running.experiment import Experiment, Records
from madem.experiments.running.jobs import Job, Tell
from madem.experiments.running.rundir import RunDirectory
from madem.experiments.running.trained import (
    refuse_numbers,
    resumed,
    stepping,
    train,
    within,
)
from madem.experiments.variability import results
from madem.experiments.variability.config import VariabilityConfig
from madem.experiments.variability.flaws import BiasedEstimator, afflict, struck, uneven
from madem.randomness import stream
from madem.training import Exponential, Row, Trainer, programmed, scores

PHASES = {"nudged": True, "free": False}
"""Which settling a biased measurement adds its offset to: whether it is a nudged one."""

FLAWS = {"defects": struck, "spread": uneven, "damage": struck}
"""What happens to cells: the first two before training begins, ``damage`` half-way."""


def over_chips(config: VariabilityConfig, levels: Sequence[float]) -> Tensor:
    """Return the level of every chip, ``(chips, 1, 1)``, level after level."""
    return torch.tensor(levels).repeat_interleave(config.machine.chips)[:, None, None]


def evenly(last: int, count: int) -> tuple[int, ...]:
    """Return ``count`` steps evenly spread from 0 to ``last``, which is always among them.

    >>> evenly(10, 3)
    (0, 5, 10)
    """
    return tuple(sorted({last} | {round(last * k / max(1, count - 1)) for k in range(count)}))


def flaw_job(config: VariabilityConfig, path: Path, name: str, tell: Tell) -> dict[str, Any]:
    """Train chips whose cells get a flaw, at every level; beside them, weights that cannot learn.

    Those are trained digitally and programmed once onto the same chips, the flaw unknown: one
    network per chip of a level, the same at every level. Cells of chips that are flawed from the
    start are ideal but for that. Returns ``at`` which step it happens, and the looks at both.
    """
    folder, levels, late = RunDirectory(path), config.levels[name], name == "damage"
    plan = config.plan(len(levels), () if late else ("stuck_cells", "device_spread"))
    steps = plan.schedule.steps
    at = steps // 2 if late else 0
    looks = (*evenly(steps, config.schedule.looks), at)
    plan = replace(plan, schedule=replace(plan.schedule, looks=looks))
    spoil = partial(afflict, FLAWS[name], over_chips(config, levels), plan.seed)
    trainer = resumed(Trainer(plan), folder, name)
    total = steps + config.ideal_steps
    telling = within(tell, name, 0, total)
    train(trainer, folder, name, telling, at)
    if sum(row["step"] == at for row in trainer.curve) == 1:  # it has not happened yet
        spoil(trainer.machine)
        trainer.look()
    train(trainer, folder, name, telling)
    longer = replace(plan, schedule=replace(plan.schedule, steps=config.ideal_steps))
    heard = stepping(tell, name, total, "programmed once", steps)
    fixed = programmed(longer, config.ex_situ.recipe(plan), config.machine.chips, heard)
    seen = partial(scores, plan, fixed, *trainer.validation)
    before = seen("ex situ before").mean(-1).tolist()
    spoil(fixed)
    after = seen("ex situ after").mean(-1).tolist()
    both = {"in_situ": looked(trainer.curve), "ex_situ": [(at, before), (at, after)]}
    return {"at": at, **both}


def forgetting_job(config: VariabilityConfig, path: Path, tell: Tell) -> dict[str, Any]:
    """Train chips, then let them learn on, from there, with each measurement that is off."""
    folder, job, plan = RunDirectory(path), "forgetting", config.plan(len(config.offsets))
    trained = resumed(Trainer(plan), folder, job)
    steps = plan.schedule.steps
    total = steps + len(PHASES) * len(config.measured) * config.bias_steps
    train(trained, folder, job, within(tell, job, 0, total))
    each = over_chips(config, config.offsets)
    offsets = [
        each * torch.randn(len(each), 1, *layer.shape, generator=stream(plan.seed, "offsets", i))
        for i, layer in enumerate(plan.network.layers)
    ]
    schedule = replace(
        plan.schedule,
        steps=config.bias_steps,
        rates=tuple(config.bias_rate * rate for rate in plan.schedule.rates),
        fall=Exponential(),
        looks=evenly(config.bias_steps, config.schedule.looks),
    )
    curves = dict[str, list[tuple[int, list[float]]]]()
    for kind, measured in config.estimators.items():
        for phase, nudged in PHASES.items():
            key = f"{kind}.{phase}"
            biased = BiasedEstimator(measured, tuple(offsets), nudged)
            on = replace(plan, name=f"{plan.name}.on", estimator=biased, schedule=schedule)
            trainer = resumed(Trainer(on), folder, f"{job}.{key}")
            if not trainer.step:
                trainer.machine.restore(trained.machine.state())
                trainer.look()
            before = steps + len(curves) * config.bias_steps
            train(trainer, folder, f"{job}.{key}", within(tell, job, before, total))
            curves[key] = looked(trainer.curve[1:])  # the first look was before they were trained
    return curves


def looked(curve: Sequence[Row]) -> list[tuple[int, list[float]]]:
    """Return step and score of each chip of every look."""
    return [(row["step"], row["score"]) for row in curve]


def jobs_of(config: VariabilityConfig, path: Path) -> list[Job]:
    """Return all jobs of a run, the longest first."""
    steps = config.plan(1).schedule.steps
    long = steps + len(PHASES) * len(config.measured) * config.bias_steps
    return [
        Job("forgetting", long, forgetting_job, (config, path)),
        *(Job(name, steps + config.ideal_steps, flaw_job, (config, path, name)) for name in FLAWS),
    ]


def check(config: VariabilityConfig) -> None:
    """Raise ``InputError`` for a config that cannot be built."""
    plan = config.plan(1)
    plan.making.assemble(plan)
    refuse_numbers(plan)
    config.estimators  # noqa: B018 - refused where they do not go with the rest


def way_of(config: VariabilityConfig, levels: Sequence[float], looks: Sequence[Any]) -> results.Way:
    """Return how chips of ``levels`` do, by the ``looks`` at them."""
    last = torch.tensor(looks[-1][1], dtype=torch.float64).view(len(levels), -1)
    good = good_share(last, config.target)
    most = largest_with(levels, [share for share, *_ in good])
    return results.Way(curve=curve_of(len(levels), looks), good=good, most=most)


def good_share(accuracies: Tensor, target: float) -> list[tuple[float, float, float]]:
    """Return of each level the share of chips that reach ``target``, and Wilson's 95 % interval.

    >>> [round(v, 3) for v in good_share(torch.tensor([[0.9, 0.9, 0.9, 0.1]]), 0.5)[0]]
    [0.75, 0.301, 0.954]
    """
    rows = []
    for level in accuracies:
        good = int((level >= target).sum())
        interval = binomtest(good, len(level)).proportion_ci(method="wilson")
        rows.append((good / len(level), float(interval.low), float(interval.high)))
    return rows


def largest_with(levels: Sequence[float], shares: Sequence[float]) -> float | None:
    """Return the largest level up to which at least half of the chips are good.

    >>> largest_with([0.0, 0.1, 0.2], [1.0, 0.6, 0.1])
    0.1
    """
    good = takewhile(lambda pair: pair[1] >= 0.5, zip(levels, shares, strict=True))
    return max((level for level, _ in good), default=None)


def curve_of(levels: int, curve: Sequence[Any]) -> results.Curve:
    """Return mean and standard deviation over chips of every look at chips of ``levels``."""
    looks = torch.tensor([values for _, values in curve], dtype=torch.float64)
    looks = looks.view(len(curve), levels, -1)
    return results.Curve(
        step=[step for step, _ in curve], mean=looks.mean(-1).tolist(), sd=looks.std(-1).tolist()
    )


def flawed(config: VariabilityConfig, name: str, held: dict[str, Any]) -> results.Flawed:
    """Return what a flaw costs, and what training on brings back."""
    levels, at = config.levels[name], held["at"]
    ways = {key: way_of(config, levels, held[key]) for key in ("in_situ", "ex_situ")}
    curve = ways["in_situ"].curve
    half = curve.step.index(at)
    back = [
        (end - just) / (before - just) if before > just else None
        for before, just, end in zip(*curve.mean[half : half + 2], curve.mean[-1], strict=True)
    ]
    return results.Flawed(levels=list(levels), at=at, looks=(half, half + 1), back=back, **ways)


def summarise(
    config: VariabilityConfig, folder: RunDirectory, held: Records
) -> results.VariabilityResults:
    """Return what every flaw does and what is forgotten, level by level."""
    del folder
    keys = [f"{part.called}.{phase}" for part in config.measured for phase in PHASES]
    curves = {key: curve_of(len(config.offsets), held["forgetting"][key]) for key in keys}
    change = {
        key: [end - begin for begin, end in zip(curve.mean[0], curve.mean[-1], strict=True)]
        for key, curve in curves.items()
    }
    return results.VariabilityResults(
        seed=config.seed,
        chips=config.machine.chips,
        target=config.target,
        flaws={name: flawed(config, name, held[name]) for name in FLAWS},
        forgetting=results.Forgetting(levels=list(config.offsets), curves=curves, change=change),
    )


EXPERIMENT = Experiment("variability", VariabilityConfig, check, jobs_of, summarise)
