"""Does temporal noise regularise? Finite training sets, learned by chips of differing read noise.

All levels of noise and all seeds of one training-set size ride on the chip axis of one program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from madem.data.braille import dots
from madem.data.images import digits
from madem.data.words import Classify
from madem.device import without
from madem.errors import InputError
from madem.experiments.brailleconfig import Training
from madem.experiments.build import Plan, base_of, cell_of, periphery_of
from madem.experiments.noiseconfig import NoiseConfig, SetsConfig, make_noise
from madem.experiments.running.experiment import Experiment
from madem.experiments.running.jobs import Job, Progress, Tell
from madem.experiments.running.rundir import RunDirectory
from madem.experiments.training import Trainer, observer, resume
from madem.machine import place
from madem.network import Box, Cost, CrossEntropy, Layer, Network, Readout
from madem.randomness import stream
from madem.units import parse

CHECKPOINT_EVERY = 100
CONFIDENCE = 0.95

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Finite:
    """Batches drawn with replacement from a training set of each chip's own; others to test.

    ``x``: ``(chips, samples, lines)``; ``target``: ``(chips, samples)``; ``test_x``,
    ``test_target``: what no chip learns, the same for all. ``codes`` are its rows.

    >>> x, seen = torch.zeros(2, 3, 4), torch.ones(5, 4)
    >>> task = Finite(x, torch.zeros(2, 3).long(), seen, torch.zeros(5).long(), 2)
    >>> [task.sample(s, torch.Generator())[0].sum().item() for s in ((2, 8), (8,))]
    [0.0, 32.0]
    """

    x: Tensor
    target: Tensor
    test_x: Tensor
    test_target: Tensor
    outputs: int
    flip: float = 0.0
    cost: Cost = CrossEntropy()

    @property
    def codes(self) -> Tensor:
        """The rows to test on."""
        return self.test_x

    def sample(
        self, shape: tuple[int, ...], generator: Generator, flip: float | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``(chips, batch)`` samples of the training sets, or ``(batch,)`` to test."""
        del flip
        if len(shape) == 1:
            drawn = torch.randint(len(self.test_x), shape, generator=generator)
            return self.test_x[drawn], self.test_target[drawn], self.test_target[drawn]
        chips, samples = self.target.shape
        drawn = torch.randint(samples, shape, generator=generator)
        rows = (drawn + samples * torch.arange(chips)[:, None]).flatten()
        x = self.x.flatten(0, 1).index_select(0, rows).view(*shape, -1)
        target = self.target.flatten().index_select(0, rows).view(shape)
        return x, target, target


def braille_sets(config: NoiseConfig, size: int) -> Finite:
    """Return ``size`` noisy words a seed, drawn once, and others to test."""
    task = Classify(dots(config.words, config.letters), config.flip_probability)
    x, target, _ = task.sample((config.chips, size), stream(config.seed, "noise", "sets", size))
    test = task.sample((config.test_samples,), stream(config.seed, "noise", "test"))
    return spread_over(config, Finite(x, target, test[0], test[1], task.outputs))


def digit_sets(config: NoiseConfig, size: int) -> Finite:
    """Return ``size`` of scikit-learn's digits a seed, 8 x 8 from -1 to 1; the held-out ones test.

    Raises ``InputError`` where there are fewer to train on.
    """
    images = digits(8)
    if size > len(images.train):
        raise InputError(
            f"digits.sizes: must be at most {len(images.train)}, the digits to train on, "
            f"but is {size}"
        )
    draws = stream(config.seed, "noise", "digits", size)
    rows = torch.rand(config.chips, len(images.train), generator=draws).argsort(-1)[:, :size]
    x, test = (2 * part.flatten(1) - 1 for part in (images.train, images.test))
    return spread_over(
        config, Finite(x[rows], images.train_classes[rows], test, images.test_classes, 10)
    )


def spread_over(config: NoiseConfig, task: Finite) -> Finite:
    """Return the task with every seed's training set at every level of noise."""
    levels = len(config.levels)
    return replace(task, x=task.x.repeat(levels, 1, 1), target=task.target.repeat(levels, 1))


KINDS = {"braille": braille_sets, "digits": digit_sets}


def part_of(config: NoiseConfig, kind: str) -> SetsConfig | None:
    """Return the part of the config that says how ``kind`` is learned, None where it is not."""
    part: SetsConfig | None = getattr(config, kind)
    return part


def plan_of(config: NoiseConfig, kind: str, size: int) -> Plan:
    """Return the plan of one training-set size: chips level after level, a seed each.

    The cells' own read noise is off: verify reads see what is there, and what fluctuates in a
    settling is set by the level.
    """
    part = part_of(config, kind)
    assert part is not None
    task = KINDS[kind](config, size)
    layers = (Layer(part.hidden, Box()), Layer(task.outputs, Readout()))
    network = Network(int(task.test_x.shape[-1]), layers)
    try:
        placements = place(network.shapes, config.chip.arrays, config.chip.lines)
    except InputError as error:
        raise InputError(f"{kind}: {error}") from None
    return Plan(
        name=f"noise.{kind}.{size}",
        seed=config.seed,
        chips=len(config.levels) * config.chips,
        task=task,
        network=network,
        placements=tuple(placements),
        cell=without(cell_of(config.chip), ["read_noise"]),
        periphery=periphery_of(config.chip),
        base=base_of(config.chip.base, cell_of(config.chip)),
        training=Training(
            units=("700 uS", "100 uS"),
            rates=(0.25, 0.5),
            initial_spread=(0.05, 0.1),
            hidden=part.hidden,
            steps=part.steps,
            batch=config.batch,
        ),
    )


def trainer_of(config: NoiseConfig, kind: str, size: int) -> Trainer:
    """Return the chips, untrained, each with the read noise of its level."""
    trainer = Trainer(plan_of(config, kind, size), 1)
    sigmas = [parse(level, "siemens", "levels") for level in config.levels]
    each = torch.tensor(sigmas).repeat_interleave(config.chips)[:, None, None]
    for index, unit in enumerate(trainer.plan.units):
        trainer.store(index).fluctuation = 2**0.5 * each / unit
    return trainer


def train_job(
    config: NoiseConfig, path: Path, job: str, kind: str, size: int, tell: Tell
) -> dict[str, Any]:
    """Train all levels and seeds of one size together, and test them with and without noise."""
    folder = RunDirectory(path)
    trainer = trainer_of(config, kind, size)
    resume(trainer, path, job)
    steps = trainer.plan.training.steps
    while not trainer.done:
        trainer.advance()
        if trainer.step % CHECKPOINT_EVERY == 0 or trainer.done:
            folder.save_tensors(f"checkpoints/{job}.safetensors", *trainer.checkpoint())
            tell(Progress(job, trainer.step, steps, f"{trainer.plan.chips} chips"))
    return examine(config, trainer)


def examine(config: NoiseConfig, trainer: Trainer) -> dict[str, Any]:
    """Return accuracies ``[level][seed]`` on training and test data, noisy and averaged reads."""
    result: dict[str, Any] = {"unsettled": trainer.machine.unsettled}
    for read in ("noisy", "averaged"):
        if read == "averaged":
            for index in range(len(trainer.plan.placements)):
                trainer.store(index).fluctuation = 0.0
        for name, right in shares(trainer, read).items():
            result[f"{name}_{read}"] = right.view(len(config.levels), config.chips).tolist()
    return result


def shares(trainer: Trainer, name: str) -> dict[str, Tensor]:
    """Return the share of right decisions of each chip on its training set and on test data."""
    task = trainer.plan.task
    assert isinstance(task, Finite)
    sets = {"train": (task.x, task.target), "test": (task.test_x, task.test_target)}
    found = {}
    for which, (x, target) in sets.items():
        watch = observer(trainer.machine, stream(trainer.plan.seed, trainer.plan.name, which, name))
        parts = []
        for part, goal in zip(x.split(500, -2), target.split(500, -1), strict=True):
            output = watch.settle(part).output
            parts.append(task.cost.correct(output, goal.expand(output.shape[:-1])))
        found[which] = torch.cat(parts, -1).double().mean(-1)
    return found


def jobs_of(config: NoiseConfig, path: Path) -> list[Job]:
    """Return one job a kind of data and training-set size."""
    jobs = []
    for kind in KINDS:
        part = part_of(config, kind)
        for size in part.sizes if part else ():
            name = f"{kind}.{size}"
            jobs.append(Job(name, part.steps, train_job, (config, path, name, kind, size)))  # type: ignore[union-attr]
    return jobs


def check(config: NoiseConfig) -> None:
    """Raise ``InputError`` for a config that cannot be built."""
    if not any(part_of(config, kind) for kind in KINDS):
        raise InputError(f"one of {', '.join(KINDS)} must be learned, but all are null")
    sigmas = [parse(level, "siemens", "levels") for level in config.levels]
    if sigmas[0] or sorted(set(sigmas)) != sigmas:
        raise InputError(f"levels must begin with 0 and rise, but are {', '.join(config.levels)}")
    for kind in KINDS:
        part = part_of(config, kind)
        for size in part.sizes if part else ():
            plan_of(config, kind, size)


def resampled(values: Array, draws: np.random.Generator, count: int) -> Array:
    """Return the means over seeds of ``count`` bootstrap samples of the seeds, ``(count, levels)``.

    ``values``: ``(levels, seeds)``; a seed is drawn with all its levels, since they are paired.

    >>> resampled(np.ones((2, 3)), np.random.default_rng(0), 4).shape
    (4, 2)
    """
    seeds = draws.integers(values.shape[1], size=(count, values.shape[1]))
    means: Array = values[:, seeds].mean(-1).T
    return means


def optimum(values: Array, draws: np.random.Generator, count: int) -> dict[str, Any]:
    """Return where test accuracy is largest, and what each level gains over none, with intervals.

    ``interval``: of the index of the best level, by percentiles over the bootstrap.
    ``gain_low``, ``gain_high``: of the paired difference to the first level, wide enough to hold
    for all levels together (Bonferroni).
    """
    means = resampled(values, draws, count)
    best = means.argmax(-1)
    tail = 100 * (1 - CONFIDENCE) / 2
    gains = means - means[:, :1]
    wide = tail / (len(values) - 1)
    low, high = np.percentile(gains, [wide, 100 - wide], axis=0)
    edges = np.percentile(best, [tail, 100 - tail], method="nearest")
    return {
        "best": int(values.mean(-1).argmax()),
        "interval": [int(edge) for edge in edges],
        "gain": (values - values[:1]).mean(-1).tolist(),
        "gain_low": low.tolist(),
        "gain_high": high.tolist(),
    }


def summarise(config: NoiseConfig, folder: RunDirectory) -> dict[str, Any]:
    """Return means and intervals of every size, and the best level of noise."""
    rows = []
    for job in jobs_of(config, folder.path):
        held = folder.finished(job.name)
        kind, size = job.name.split(".")
        row: dict[str, Any] = {"data": kind, "size": int(size), "unsettled": held["unsettled"]}
        for read in ("noisy", "averaged"):
            train, test = (np.array(held[f"{name}_{read}"]) for name in ("train", "test"))
            draws = np.random.default_rng([config.seed, int(size)])
            row[read] = {
                **described("train", train, draws, config.resamples),
                **described("test", test, draws, config.resamples),
                **described("gap", train - test, draws, config.resamples),
                "optimum": optimum(test, draws, config.resamples),
            }
        rows.append(row)
    return {
        "experiment": "noise",
        "seed": config.seed,
        "chips": config.chips,
        "levels": list(config.levels),
        "rows": rows,
    }


def described(
    name: str, values: Array, draws: np.random.Generator, count: int
) -> dict[str, Sequence[float]]:
    """Return mean and bootstrap interval of ``values``, ``(levels, seeds)``, for every level."""
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(resampled(values, draws, count), [tail, 100 - tail], axis=0)
    return {name: values.mean(-1).tolist(), f"{name}_low": low.tolist(),
            f"{name}_high": high.tolist()}  # fmt: skip


EXPERIMENT = Experiment("noise", make_noise, check, jobs_of, summarise)
