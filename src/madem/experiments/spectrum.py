"""The spectrum of training: which rule learns with which imperfection, and which does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from madem.data.braille import cells, dots
from madem.experiments.running.experiment import Experiment
from madem.experiments.running.jobs import Job, Progress, Tell
from madem.experiments.running.rundir import RunDirectory
from madem.experiments.spectrumchips import ALL, TABLE, Bench, bench_of, condition
from madem.experiments.spectrumconfig import SpectrumConfig, make_spectrum
from madem.experiments.spectrumrules import WAYS, Outcome, Run, Setting
from madem.experiments.spectrumwrites import WRITES, writes_job

TUNING = 1_000_000
"""Added to the seed for the chips, data and draws of the tuning."""

IDEAL = "ideal"
POINT = 0.01
"""What counts as a loss: one point of accuracy."""


def check(config: SpectrumConfig) -> None:
    """Raise ``InputError`` for a config that cannot be built."""
    for task in config.tasks:
        bench_of(config, task)
    if "braille" in config.tasks or "braille-deep" in config.tasks:
        dots(config.words, max(len(cells(word)) for word in config.words))


def conditions(config: SpectrumConfig) -> list[tuple[str, str | None, int]]:
    """Return the key, the imperfection and the level of everything that is tested."""
    found: list[tuple[str, str | None, int]] = [(IDEAL, None, 0)]
    found += [(f"{name}.{i}", name, i) for name in config.imperfections
              for i in range(config.levels)]  # fmt: skip
    return found


def jobs_of(config: SpectrumConfig, path: Path) -> list[Job]:
    """Return a job a task and rule, the longest first, and the comparison of writes."""
    order = sorted(config.rules, key=lambda rule: COSTLY.index(rule) if rule in COSTLY else 99)
    count = len(conditions(config)) + len(WAYS["centred"].grid)
    jobs = [
        Job(f"{task}.{rule}", count, rule_job, (config, path, task, rule))
        for rule in order
        for task in reversed(config.tasks)
    ]
    if config.writes:
        jobs.insert(len(jobs) // 2, Job(WRITES, count, writes_job, (config, path)))
    return jobs


COSTLY = ("tiki-taka", "contrastive", "coupled", "sparse", "centred", "one-sided", "in-the-loop")
"""Rules in the order of their time, so that the longest jobs begin first."""


def rule_job(
    config: SpectrumConfig, path: Path, task: str, rule: str, tell: Tell
) -> dict[str, Any]:
    """Tune one rule on one task, then train and test it under every condition.

    What is done is kept in ``checkpoints/``; a job that is run again goes on after it.
    """
    folder, job = RunDirectory(path), f"{task}.{rule}"
    bench, way = bench_of(config, task), WAYS[rule]
    done: dict[str, Any] = folder.load_json(f"checkpoints/{job}.json") or {}
    todo = conditions(config)
    total = len(todo) + len(way.grid)

    def keep(key: str, value: Any, text: str) -> None:
        done[key] = value
        folder.save_json(f"checkpoints/{job}.json", done)
        tell(Progress(job, len(done), total, text))

    for index, setting in enumerate(way.grid):
        if f"candidate.{index}" not in done:
            scores = tune(config, bench, rule, setting)
            keep(f"candidate.{index}", asdict(setting) | scores, f"tuning {scores['mean']:.3f}")
    candidates = [done[f"candidate.{index}"] for index in range(len(way.grid))]
    best = max(range(len(candidates)), key=lambda index: candidates[index]["mean"])
    setting = way.grid[best]
    run = Run(config.seed, config.chips, config.steps, config.batch, bench.test)
    left = [each for each in todo if each[0] not in done]
    weights = way.prepare(bench, setting, run) if left else []
    for key, name, level in left:
        outcome = way.train(bench, condition(name, level), setting, run, weights)
        mean = sum(outcome.accuracy) / config.chips
        keep(key, asdict(outcome), f"{key}: accuracy {mean:.3f}")
    return {
        "chosen": asdict(setting),
        "candidates": candidates,
        "conditions": {key: done[key] for key, _, _ in todo},
    }


def tune(config: SpectrumConfig, bench: Bench, rule: str, setting: Setting) -> dict[str, float]:
    """Return the accuracy of one candidate on ideal chips, and on chips with all at its mildest."""
    way = WAYS[rule]
    run = Run(
        config.seed + TUNING, config.tuning_chips, config.steps, config.batch, bench.validation
    )
    weights = way.prepare(bench, setting, run)
    scores = {}
    for key, name in ((IDEAL, None), (ALL, ALL)):
        outcome: Outcome = way.train(bench, condition(name, 0), setting, run, weights)
        scores[key] = sum(outcome.accuracy) / run.chips
    return scores | {"mean": sum(scores.values()) / 2}


def summarise(config: SpectrumConfig, folder: RunDirectory) -> dict[str, Any]:
    """Return means and spreads of every rule under every condition, losses, and verdicts."""
    held: dict[str, dict[str, Any]] = {
        task: {rule: folder.finished(f"{task}.{rule}") for rule in config.rules}
        for task in config.tasks
    }
    tuning = {
        "seed": config.seed + TUNING,
        "chips": config.tuning_chips,
        "conditions": [IDEAL, f"{ALL}, mildest"],
        "rules": {
            f"{task}.{rule}": {
                "own": WAYS[rule].own, "chosen": each["chosen"], "candidates": each["candidates"]
            }
            for task, rules in held.items() for rule, each in rules.items()
        },
    }  # fmt: skip
    folder.save_json("tuning.json", tuning)
    tasks = {
        task: {rule: _summary(config, each["conditions"]) for rule, each in rules.items()}
        for task, rules in held.items()
    }
    return {
        "experiment": "spectrum",
        "seed": config.seed,
        "chips": config.chips,
        "samples": config.steps * config.batch,
        "stated": config.stated,
        "tasks": tasks,
        "verdicts": {task: verdicts(config, rules) for task, rules in held.items()},
        "writes": folder.finished(WRITES) if config.writes else None,
    }


def _summary(config: SpectrumConfig, outcomes: dict[str, Any]) -> dict[str, Any]:
    """Return one rule's curves: a number per level."""
    ideal = np.array(outcomes[IDEAL]["accuracy"])
    found: dict[str, Any] = {
        IDEAL: {"accuracy": float(ideal.mean()), "sd": float(ideal.std(ddof=1)),
                "written": outcomes[IDEAL]["written"]}
    }  # fmt: skip
    for name in config.imperfections:
        each = [outcomes[f"{name}.{level}"] for level in range(config.levels)]
        shares = np.array([outcome["accuracy"] for outcome in each])
        losses = ideal.mean() - shares.mean(1)
        found[name] = {
            "accuracy": shares.mean(1).tolist(),
            "sd": shares.std(1, ddof=1).tolist(),
            "lowest": shares.min(1).tolist(),
            "highest": shares.max(1).tolist(),
            "loss": losses.tolist(),
            "loses_a_point_at": severity(name, losses.tolist()),
            "unsettled": [outcome["unsettled"] for outcome in each],
        }
    return found


def severity(name: str, losses: Sequence[float], point: float = POINT) -> float | None:
    """Return the severity at which a point of accuracy is lost, in the imperfection's unit.

    Linear between the logarithms of the levels; the mildest where that loses more already; None
    where no level does. Of all together, the level (from 1).

    >>> severity("stuck", [0.0, 0.02, 0.05])
    0.0173
    """
    levels = TABLE[name].levels if name in TABLE else (1.0, 2.0, 3.0, 4.0)
    for index, loss in enumerate(losses):
        if loss > point:
            if index == 0:
                return levels[0]
            before = losses[index - 1]
            share = (point - before) / (loss - before)
            ends = np.log(levels[index - 1]), np.log(levels[index])
            return float(f"{np.exp(ends[0] + share * (ends[1] - ends[0])):.3g}")
    return None


def verdicts(config: SpectrumConfig, rules: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare centred activity differences with backpropagation through a model, chip by chip.

    For every imperfection and level: the mean over chips of the difference in accuracy lost since
    ideal, with its standard error; the claim ``holds`` where differences lose less by more than two
    standard errors and half a point, ``fails`` where backpropagation does, else it is ``even``.
    """
    found: list[dict[str, Any]] = []
    if "centred" not in rules:
        return found
    for other in ("in-situ", "in-the-loop", "ex-situ", "noise-aware"):
        for name in config.imperfections if other in rules else ():
            for level in range(config.levels):
                gains = {
                    rule: np.array(rules[rule]["conditions"][f"{name}.{level}"]["accuracy"])
                    - np.array(rules[rule]["conditions"][IDEAL]["accuracy"])
                    for rule in ("centred", other)
                }
                lead = gains["centred"] - gains[other]
                mean, error = float(lead.mean()), float(lead.std(ddof=1) / len(lead) ** 0.5)
                clear = abs(mean) > max(2 * error, POINT / 2)
                said = ("holds" if mean > 0 else "fails") if clear else "even"
                found.append(
                    {"against": other, "imperfection": name, "level": level + 1, "lead": mean,
                     "standard_error": error, "verdict": said}
                )  # fmt: skip
    return found


EXPERIMENT = Experiment("spectrum", make_spectrum, check, jobs_of, summarise)
