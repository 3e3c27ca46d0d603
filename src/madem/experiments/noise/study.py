"""Does temporal noise regularise? Finite training sets, learned by chips of differing read noise.

All levels of noise and all seeds of one training-set size ride on the chip axis of one program.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from madem.device.fluctuation import White
from madem.experiments.noise.config import NoiseConfig
from madem.experiments.noise.results import Band, NoiseResults, Optimum, Read, Row
from madem.experiments.running.experiment import Experiment, Records
from madem.experiments.running.jobs import Job, Tell
from madem.experiments.running.rundir import RunDirectory
from madem.experiments.running.trained import refuse_numbers, resumed, train
from madem.machine import Machine
from madem.training import Trainer, chips_of, scores

CONFIDENCE = 0.95

Array = NDArray[np.float64]

Set = Literal["training", "test"]


def train_job(config: NoiseConfig, path: Path, size: int, tell: Tell) -> dict[str, Any]:
    """Train all levels and seeds of one size together, and test them with and without noise.

    Accuracies are ``[level][seed]``.
    """
    folder, job, plan = RunDirectory(path), f"sets.{size}", config.plan(size)
    trainer = resumed(Trainer(plan), folder, job)
    train(trainer, folder, job, tell)
    found: dict[str, Any] = {"unsettled": trainer.machine.unsettled}
    reads = {"noisy": trainer.machine, "averaged": averaged(trainer)}
    for read, machine in reads.items():
        for part in get_args(Set):
            x, target = plan.held(part)
            right = scores(plan, machine, x, target, f"{part} {read}").mean(-1)
            found[f"{part}_{read}"] = right.view(len(config.levels), -1).tolist()
    return found


def averaged(trainer: Trainer) -> Machine:
    """Return the chips that ``trainer`` trained, read without noise."""
    making = replace(chips_of(trainer.plan), read_sigmas=(), spectrum=White())
    quiet = making.assemble(trainer.plan)
    quiet.restore(trainer.machine.state())
    return quiet


def jobs_of(config: NoiseConfig, path: Path) -> list[Job]:
    """Return one job for each training-set size."""
    steps = config.plan(config.sizes[0]).schedule.steps
    return [Job(f"sets.{n}", steps, train_job, (config, path, n)) for n in config.sizes]


def check(config: NoiseConfig) -> None:
    """Raise ``InputError`` for a config that cannot be built."""
    for size in config.sizes:
        plan = config.plan(size)
        refuse_numbers(plan)
    plan.making.assemble(plan)


def resampled(values: Array, draws: np.random.Generator, count: int) -> Array:
    """Return the means over seeds of ``count`` bootstrap samples of the seeds, ``(count, levels)``.

    ``values``: ``(levels, seeds)``; a seed is drawn with all its levels, since they are paired.

    >>> resampled(np.ones((2, 3)), np.random.default_rng(0), 4).shape
    (4, 2)
    """
    seeds = draws.integers(values.shape[1], size=(count, values.shape[1]))
    means: Array = values[:, seeds].mean(-1).T
    return means


def band(values: Array, means: Array, tests: int = 1) -> Band:
    """Return the mean of ``values`` for every level, and the interval of bootstrap ``means``.

    Wide enough to hold for so many ``tests`` together (Bonferroni).
    """
    tail = 100 * (1 - CONFIDENCE) / 2 / tests
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return Band(mean=values.mean(-1).tolist(), low=low.tolist(), high=high.tolist())


def optimum(values: Array, draws: np.random.Generator, count: int) -> Optimum:
    """Return where test accuracy is largest, and what each level gains over none, with intervals.

    That of the best level is by percentiles over the bootstrap of its index.
    """
    means = resampled(values, draws, count)
    tail = 100 * (1 - CONFIDENCE) / 2
    edges = np.percentile(means.argmax(-1), [tail, 100 - tail], method="nearest")
    gain = band(values - values[:1], means - means[:, :1], len(values) - 1)
    return Optimum(
        best=int(values.mean(-1).argmax()),
        interval=(int(edges[0]), int(edges[1])),
        gain=gain,
        helps=max(gain.low[1:]) > 0,
    )


def summarise(config: NoiseConfig, folder: RunDirectory, held: Records) -> NoiseResults:
    """Return means and intervals of every size, and the best level of noise."""
    del folder
    rows = []
    for size in config.sizes:
        found, reads = held[f"sets.{size}"], dict[str, Read]()
        for read in ("noisy", "averaged"):
            training, test = (np.array(found[f"{part}_{read}"]) for part in get_args(Set))
            draws, count = np.random.default_rng([config.seed, size]), config.resamples
            three = {"training": training, "test": test, "gap": training - test}
            bands = {key: band(v, resampled(v, draws, count)) for key, v in three.items()}
            reads[read] = Read(**bands, optimum=optimum(test, draws, count))
        rows.append(Row(size=size, unsettled=found["unsettled"], **reads))
    return NoiseResults(
        seed=config.seed, chips=config.machine.chips, levels=list(config.levels), rows=rows
    )


EXPERIMENT = Experiment("noise", NoiseConfig, check, jobs_of, summarise)
