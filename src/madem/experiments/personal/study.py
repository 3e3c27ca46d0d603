"""A chip that learns one writer's hand: one job for every writer and what happens in a session.

In a session every strategy reads the same words and gets the same labels; what is trained before it
is trained on the same words of everybody.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from madem.data.hand import bulk, outside, turned, written
from madem.data.task import Samples
from madem.experiments.personal.config import Condition, PersonalConfig
from madem.experiments.personal.results import PersonalResults
from madem.experiments.personal.scores import WINDOW, results_of
from madem.experiments.personal.strategies import STRATEGIES, Bench, Found, Session, late_of
from madem.experiments.running.experiment import Experiment, Records
from madem.experiments.running.jobs import Job, Progress, Tell
from madem.experiments.running.online import calibrate, idealised, spent_on
from madem.experiments.running.rundir import RunDirectory
from madem.experiments.running.trained import refuse_numbers
from madem.randomness import stream
from madem.training import Plan, cells_in
from madem.units import parse

TELL_AFTER = 500
"""Words between two reports of a job."""


def everybody(config: PersonalConfig, seed: int) -> tuple[Samples, Samples, Samples]:
    """Return words of everybody for calibration and validation, and of others still to come."""
    hands, codes = config.handwriting(), config.codes()
    writers = bulk(config.writers, stream(seed, "personal", "writers"))
    found = []
    for part in ("calibration", "validation", "others"):
        draws, count = stream(seed, "personal", part), getattr(config, part)
        new = part == "others"
        own = bulk(count, draws) if new else writers[torch.arange(count) % len(writers)]
        found.append(written(hands, own, codes, draws))
    return found[0], found[1], found[2]


def session_of(
    config: PersonalConfig, condition: Condition, seed: int, *names: str | int
) -> Session:
    """Return the session of the writer whom ``names`` name, under a ``condition``."""
    draws, count = stream(seed, "personal", "session", *names), config.session
    strength = config.size(condition)
    hand, other = outside(strength, draws), outside(strength, draws)
    turn = config.turn if condition == "turns" else 0.0
    hand = turned(hand, other, turn * math.pi / 2 * torch.arange(count) / count)
    codes = config.codes()
    x, word = written(config.handwriting(), hand, codes, draws)
    labels = config.labelling(condition)
    asked, label = labels.given(word, stream(seed, "labels", condition, *names), len(codes))
    time = torch.arange(count, dtype=torch.float64) * parse(config.interval, "second", "interval")
    return Session(x, word, hand, time, asked, label, labels.delay, labels.share)


def plans_of(config: PersonalConfig, seed: int, known: Samples, seen: Samples) -> dict[str, Plan]:
    """Return the plans of the networks that strategies begin with, by machine."""
    chip = config.plan(seed, known, seen)
    return {"chip": chip, "ideal": idealised(chip)}


def bench_of(
    config: PersonalConfig, folder: RunDirectory, condition: Condition, seed: int, tell: Tell
) -> Bench:
    """Return what all strategies share, its networks trained."""
    name, total = f"{condition}.{seed}", steps_of(config)
    calibration, validation, others = everybody(config, seed)
    plans = plans_of(config, seed, calibration, validation)
    trained = {where: calibrate(plan, folder, f"{name}.{where}") for where, plan in plans.items()}
    tell(Progress(name, 0, total, "everybody's words are learned"))
    strong: Condition = "hand" if condition == "none" else condition
    return Bench(
        config, config.handwriting(), config.codes(), calibration, validation,
        session_of(config, condition, seed), others,
        [session_of(config, strong, seed, "tuning", i) for i in range(config.tuning)],
        trained, seed,
    )  # fmt: skip


def session_job(
    config: PersonalConfig, path: Path, condition: Condition, seed: int, tell: Tell
) -> dict[str, Any]:
    """Let every strategy work through one session; keep what it misread, and its costs.

    Tensors: by strategy, the share of chips that misread each late word, and each word of others.
    """
    folder, name, total = RunDirectory(path), f"{condition}.{seed}", steps_of(config)
    bench = bench_of(config, folder, condition, seed, tell)
    kept, told = dict[str, Tensor](), dict[str, Any]()
    for number, (key, strategy) in enumerate(STRATEGIES.items()):
        before, title = number * config.session, strategy.title

        def heard(done: int, before: int = before, title: str = title) -> None:
            if done % TELL_AFTER < config.block:
                tell(Progress(name, before + done, total, title))

        found = strategy.run(replace(bench, tell=heard), key)
        kept[f"{key}.session"] = found.session[:, late_of(config)].double().mean(0)
        kept[f"{key}.others"] = found.others.double().mean(0)
        told[key] = outcome(bench, found)
    folder.save_tensors(f"jobs/{name}.safetensors", kept)
    return told | {"labels": int(bench.session.asked.sum())}


def steps_of(config: PersonalConfig) -> int:
    """Return how many words a job reads."""
    return config.session * len(STRATEGIES)


def outcome(bench: Bench, found: Found) -> dict[str, Any]:
    """Return what is told of a strategy besides what it misread late."""
    words, cells = bench.config.session, cells_in(bench.trained["chip"].plan)
    read = words + len(bench.others[1])
    windows = found.session.double().mean(0).split(WINDOW)
    return {
        "windows": [float(each.mean()) for each in windows],
        "writes": float(found.writes.mean()) / cells,
        "spent": spent_on(found.judging, found.learning, read, words),
    }


def jobs_of(config: PersonalConfig, path: Path) -> list[Job]:
    """Return one job for every session."""
    return [
        Job(f"{condition}.{seed}", steps_of(config), session_job, (config, path, condition, seed))
        for condition in config.conditions
        for seed in range(config.seed, config.seed + config.seeds)
    ]


def check(config: PersonalConfig) -> None:
    """Raise ``InputError`` for a config that cannot be built."""
    for condition in config.conditions:
        config.labelling(condition)
    config.teaching(2)
    x, word = torch.zeros(2, 6 * config.letters), torch.zeros(2, dtype=torch.long)
    for plan in plans_of(config, config.seed, (x, word), (x, word)).values():
        refuse_numbers(plan)
        plan.making.assemble(plan)


def summarise(config: PersonalConfig, folder: RunDirectory, held: Records) -> PersonalResults:
    """Return how every strategy did under every condition, with intervals, and what is claimed."""
    return results_of(config, {name: folder.tensors(name) for name in held}, held)


EXPERIMENT = Experiment("personal", PersonalConfig, check, jobs_of, summarise)
