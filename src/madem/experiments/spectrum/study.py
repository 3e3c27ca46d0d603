"""The spectrum of training: which rule learns with which imperfection, and which does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from madem.experiments.running.experiment import Experiment, Records
from madem.experiments.running.jobs import Job, Tell
from madem.experiments.running.rundir import RunDirectory
from madem.experiments.spectrum import fair, results
from madem.experiments.spectrum.config import TUNING, SpectrumConfig
from madem.experiments.spectrum.imperfections import ALL, TABLE, severities
from madem.experiments.spectrum.parts import Parts
from madem.experiments.spectrum.rules import WAYS
from madem.experiments.spectrum.writes import MANNERS, written_with

IDEAL, WRITES = "ideal", "digits.writes"
POINT = 0.01
"""What counts as a loss: one point of accuracy."""

LEARNED = 0.2
"""Share of the way from chance to all right; a rule that stays below has nothing to lose (ours)."""

COSTLY = ("tiki-taka", "contrastive", "coupled", "sampled", "auto", "sparse", "centred", "positive",
          "in-situ", "in-the-loop")  # fmt: skip
"""Rules in the order of their time, so that the longest jobs begin first."""


def check(config: SpectrumConfig) -> None:
    """Raise ``InputError`` for a config that cannot be built."""
    for task in (*config.tasks, "digits") if config.writes else config.tasks:
        config.bench(task)


def conditions(config: SpectrumConfig) -> dict[str, Mapping[str, float]]:
    """Return how severe everything is under each condition that is tested, by its key."""
    levels = range(config.levels)
    each = {f"{n}.{i}": severities(n, i) for n in config.imperfections for i in levels}
    return {IDEAL: {}, **each}


def jobs_of(config: SpectrumConfig, path: Path) -> list[Job]:
    """Return a job a task and rule, the longest first, and the comparison of writes."""
    order = sorted(config.rules, key=lambda rule: COSTLY.index(rule) if rule in COSTLY else 99)
    count = len(conditions(config)) + 2 + fair.count(config)
    jobs = [
        Job(f"{task}.{rule}", count, rule_job, (config, path, task, rule))
        for rule in order
        for task in reversed(config.tasks)
    ]
    if config.writes:
        jobs.insert(len(jobs) // 2, Job(WRITES, len(MANNERS), writes_job, (config, path)))
    return jobs


def rule_job(
    config: SpectrumConfig, path: Path, task: str, rule: str, tell: Tell
) -> dict[str, Any]:
    """Tune one rule on one task, then train and test it under every condition."""
    way, severe = WAYS[rule], conditions(config)
    total = 2 + len(severe) + fair.count(config)
    parts = Parts(RunDirectory(path), f"{task}.{rule}", total, tell)
    candidates = tuned(config, parts, task, rule)
    best = max(candidates, key=lambda each: each.mean)
    under = way.begin(config.bench(task), best.rate, best.own)
    found = parts.made(results.Outcome, severe, under)
    return results.Trained(
        chosen=best, candidates=candidates, conditions=found,
        fair=fair.tuned_there(config, parts, task, rule),
    ).model_dump()  # fmt: skip


def tuned(config: SpectrumConfig, parts: Parts, task: str, rule: str) -> list[results.Candidate]:
    """Return what all candidates read on ideal chips, and on chips with all at its mildest."""
    way = WAYS[rule]
    conditions = {f"tuning.{IDEAL}": {}, "tuning.mild": severities(ALL, 0)}
    tried = parts.made(results.Tried, conditions, way.tune(config.bench(task, tuning=True)))
    both = (tried[key].read for key in conditions)
    return [
        results.Candidate(rate=rate, own=own, ideal=i, together=t, mean=(i + t) / 2)
        for (rate, own), i, t in zip(way.grid, *both, strict=True)
    ]


def writes_job(config: SpectrumConfig, path: Path, tell: Tell) -> dict[str, Any]:
    """Train digits once in every manner of writing."""
    parts = Parts(RunDirectory(path), WRITES, len(MANNERS), tell)
    listed = path if config.pulses else None
    names = dict(zip(MANNERS, MANNERS, strict=True))
    found = parts.made(results.Manner, names, lambda name: written_with(config, name, listed))
    return {name: each.model_dump() for name, each in found.items()}


def summarise(
    config: SpectrumConfig, folder: RunDirectory, held: Records
) -> results.SpectrumResults:
    """Return means and spreads of every rule under every condition, losses, and verdicts."""
    del folder
    trained: dict[str, dict[str, results.Trained]] = {
        task: {r: results.Trained.model_validate(held[f"{task}.{r}"]) for r in config.rules}
        for task in config.tasks
    }
    return results.SpectrumResults(
        seed=config.seed,
        chips=config.chips,
        samples=config.steps * config.batch,
        stated=config.stated,
        tuning_seed=config.seed + TUNING,
        tuning_chips=config.tuning_chips,
        tasks={task: {rule: summary(config, task, each) for rule, each in rules.items()}
               for task, rules in trained.items()},
        verdicts={
            task: verdicts({r: each for r, each in rules.items() if learned(config, task, each)})
            for task, rules in trained.items()
        },
        contests={task: fair.contests(rules) for task, rules in trained.items()},
        writes=held.get(WRITES),
    )  # fmt: skip


def learned(config: SpectrumConfig, task: str, trained: results.Trained) -> bool:
    """Return whether a rule learned on ideal chips: it came ``LEARNED`` of the way from chance."""
    chance = config.chance(task)
    return fmean(trained.conditions[IDEAL].accuracy) > chance + LEARNED * (1 - chance)


def summary(config: SpectrumConfig, task: str, trained: results.Trained) -> results.Learned:
    """Return one rule's curves: a number per level."""
    ideal = np.array(trained.conditions[IDEAL].accuracy)
    curves = {}
    for name in config.imperfections:
        each = [trained.conditions[f"{name}.{level}"] for level in range(config.levels)]
        shares = np.array([outcome.accuracy for outcome in each])
        losses = (ideal.mean() - shares.mean(1)).tolist()
        curves[name] = results.Curve(
            accuracy=shares.mean(1).tolist(), sd=shares.std(1, ddof=1).tolist(), loss=losses,
            loses_a_point_at=severity(TABLE[name].levels, losses),
            unsettled=[outcome.unsettled for outcome in each],
        )  # fmt: skip
    return results.Learned(
        ideal=float(ideal.mean()), ideal_sd=float(ideal.std(ddof=1)),
        learned=learned(config, task, trained),
        written=trained.conditions[IDEAL].written, chosen=trained.chosen,
        candidates=trained.candidates, imperfections=curves, fair=trained.fair,
    )  # fmt: skip


def severity(levels: Sequence[float], losses: Sequence[float]) -> float | None:
    """Return the severity at which a ``POINT`` of accuracy is lost, of ``levels``.

    Linear between the logarithms of the levels; the mildest where that loses more already; None
    where no level does.

    >>> severity((0.01, 0.03, 0.1), [0.0, 0.02, 0.05])
    0.0173
    """
    first = next((i for i, loss in enumerate(losses) if loss > POINT), None)
    if not first:
        return None if first is None else levels[0]
    share = (POINT - losses[first - 1]) / (losses[first] - losses[first - 1])
    return float(f"{levels[first - 1] * (levels[first] / levels[first - 1]) ** share:.3g}")


def verdicts(rules: Mapping[str, results.Trained]) -> list[results.Verdict]:
    """Compare centred activity differences with backpropagation through a model, chip by chip.

    For every imperfection and level, the difference in accuracy lost since ideal; the claim
    ``holds`` where differences clearly lose less (``fair.lead``), ``fails`` where backpropagation
    does, else it is ``even``.
    """
    gains = {
        rule: {key: np.subtract(each.accuracy, trained.conditions[IDEAL].accuracy)
               for key, each in trained.conditions.items()}
        for rule, trained in rules.items()
    }  # fmt: skip
    found: list[results.Verdict] = []
    for other in (other for other in fair.MODELS if {other, "centred"} <= set(rules)):
        for key in (key for key in gains[other] if key != IDEAL):
            name, _, level = key.partition(".")
            mean, error, clear = fair.lead(gains["centred"][key], gains[other][key])
            found.append(results.Verdict(
                against=other, imperfection=name, level=int(level) + 1, lead=mean,
                standard_error=error,
                verdict=("holds" if mean > 0 else "fails") if clear else "even",
            ))  # fmt: skip
    return found


EXPERIMENT = Experiment("spectrum", SpectrumConfig, check, jobs_of, summarise)
