"""Learning images with an ideal network: accuracy, epoch by epoch, into a run directory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from madem.data.images import shifted
from madem.errors import InputError
from madem.experiments.experiment import Experiment
from madem.experiments.imagesbuild import (
    COSTS,
    estimator_of,
    flat_for,
    images_of,
    machine_of,
    network_of,
)
from madem.experiments.imageschips import ChipsTrainer, chips_of
from madem.experiments.imagesconfig import ImagesConfig, make_images
from madem.experiments.jobs import Job, Progress, Tell
from madem.experiments.rundir import RunDirectory
from madem.machine import Simulated
from madem.randomness import stream

JOB = "images"


class ImagesTrainer:
    """A network that learns, epoch after epoch; every number of it is in its checkpoint."""

    def __init__(self, config: ImagesConfig) -> None:
        """Load the data and draw the parameters."""
        self.config = config
        self.images = images_of(config)
        self.network = network_of(config, tuple(self.images.train.shape[1:]))
        self.machine = machine_of(config, self.network, torch.float32)
        self.estimator = estimator_of(config)
        self.cost = COSTS[config.learning.cost]
        self.test = flat_for(self.network, self.images.test)
        self.optimiser = self._optimiser()
        self.epoch = 0
        self.history: list[dict[str, float | int]] = []

    def _optimiser(self) -> torch.optim.Optimizer:
        learning = self.config.learning
        rates = learning.rates
        joints = len(self.network.joints)
        if len(rates) not in (1, joints):
            raise InputError(f"learning.rates needs 1 or {joints} values, but has {len(rates)}")
        each = rates * joints if len(rates) == 1 else rates
        groups = [
            {"params": store.parameters, "lr": rate, "start": rate}
            for store, rate in zip(self.machine.stores, each, strict=True)
        ]
        if learning.optimiser == "adam":
            return torch.optim.Adam(groups, weight_decay=learning.weight_decay)
        return torch.optim.SGD(
            groups, lr=rates[0], momentum=learning.momentum, weight_decay=learning.weight_decay
        )

    @property
    def steps(self) -> int:
        """Batches of one epoch; what does not fill a batch is left out."""
        return len(self.images.train) // self.config.learning.batch

    def learn(self, tell: Callable[[int], None] = lambda _: None) -> dict[str, float | int]:
        """Learn one epoch, and return what came of it."""
        learning = self.config.learning
        for group in self.optimiser.param_groups:
            group["lr"] = group["start"] * self._fall()
        order = torch.randperm(
            len(self.images.train), generator=stream(self.config.seed, "e", self.epoch)
        )
        draws = stream(self.config.seed, "shift", self.epoch)
        begin, wrong, cost = time.perf_counter(), 0, 0.0
        before = self.machine.settled, self.machine.unsettled
        for step in range(self.steps):
            rows = order[step * learning.batch : (step + 1) * learning.batch]
            target = self.images.train_classes[rows]
            images = shifted(self.images.train[rows], self.config.data.shift, draws)
            x = flat_for(self.network, images)
            gradient = self.estimator(self.machine, x, target, self.cost)
            output = gradient.free.output
            wrong += int((~self.cost.correct(output, target)).sum())
            cost += float(self.cost.value(output, target).sum())
            self._descend(gradient.weights)
            tell(step + 1)
        seen = self.steps * learning.batch
        settled = max(1, self.machine.settled - before[0])
        unsettled = (self.machine.unsettled - before[1]) / settled
        self.epoch += 1
        row = {
            "epoch": self.epoch,
            "train_error": wrong / seen,
            "train_cost": cost / seen,
            "test_error": error(self.machine, self.test, self.images.test_classes, self.cost),
            "unsettled": unsettled,
            "seconds": time.perf_counter() - begin,
        }
        self.history.append(row)
        return row

    def _fall(self) -> float:
        learning = self.config.learning
        if learning.fall == "cosine":
            return (1 + math.cos(math.pi * self.epoch / learning.epochs)) / 2
        return float(learning.decay**self.epoch)

    def _descend(self, gradient: tuple[Tensor, ...]) -> None:
        """Let the optimiser move the parameters, and keep them within their limits."""
        for parameter, slope in zip(self.machine.parameters, gradient, strict=True):
            parameter.grad = slope
        self.optimiser.step()
        for joint, store in zip(self.network.joints, self.machine.stores, strict=True):
            for name, parameter in zip(joint.parameters, store.parameters, strict=True):
                if name in joint.limits:
                    parameter.clamp_(*joint.limits[name])

    def save(self, run: RunDirectory) -> None:
        """Write a checkpoint of everything that the next epoch needs."""
        tensors = {f"p{i}": p for i, p in enumerate(self.machine.parameters)}
        state = self.optimiser.state_dict()["state"]
        tensors |= {
            f"o.{i}.{key}": torch.as_tensor(value)
            for i, held in state.items() for key, value in held.items() if value is not None
        }  # fmt: skip
        run.save_tensors("checkpoints/images.safetensors", tensors, str(self.epoch))
        run.save_json("metrics.json", self.history)

    def restore(self, run: RunDirectory) -> None:
        """Go on from the checkpoint of ``run``, where there is one."""
        held = run.load_tensors("checkpoints/images.safetensors")
        if held is None:
            return
        tensors, note = held
        self.epoch = int(note)
        self.history = run.load_json("metrics.json")[: self.epoch]
        for i, p in enumerate(self.machine.parameters):
            p.copy_(tensors[f"p{i}"])
        state: dict[int, dict[str, Any]] = {}
        for key, value in tensors.items():
            if key.startswith("o."):
                _, index, name = key.split(".")
                state.setdefault(int(index), {})[name] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})


def error(machine: Simulated, x: Tensor, target: Tensor, cost: Any) -> float:
    """Return the share of wrong decisions."""
    wrong = 0
    for part, goal in zip(x.split(500), target.split(500), strict=True):
        wrong += int((~cost.correct(machine.settle(part).output, goal)).sum())
    return wrong / len(x)


def train_job(config: ImagesConfig, path: Path, tell: Tell) -> None:
    """Train what is left of a run, an epoch at a time."""
    folder = RunDirectory(path)
    trainer = ChipsTrainer(config) if config.chip else ImagesTrainer(config)
    trainer.restore(folder)
    steps, epochs = trainer.steps, config.learning.epochs
    text = ""
    while trainer.epoch < epochs:
        done = trainer.epoch * steps

        def told(step: int, done: int = done, text: str = text) -> None:
            tell(Progress(JOB, done + step, epochs * steps, text))

        row = trainer.learn(told)
        text = f"epoch {row['epoch']}: test error {100 * row['test_error']:.2f} %"
        trainer.save(folder)
        tell(Progress(JOB, trainer.epoch * steps, epochs * steps, text))
    folder.save_json(f"jobs/{JOB}.json", trainer.history)


def jobs_of(config: ImagesConfig, path: Path) -> list[Job]:
    """Return the one job of a run."""
    return [Job(JOB, config.learning.epochs, train_job, (config, path))]


def check(config: ImagesConfig) -> None:
    """Raise ``InputError`` for a config that cannot be built, its data included."""
    network = network_of(config, tuple(images_of(config).train.shape[1:]))
    estimator_of(config)
    if config.chip is not None:
        chips_of(config, network)


def summarise(config: ImagesConfig, folder: RunDirectory) -> dict[str, Any]:
    """Return what came of the last epoch, and the smallest test error of any."""
    history = folder.load_json(f"jobs/{JOB}.json")
    best = min(row["test_error"] for row in history)
    return {"experiment": "images", "seed": config.seed, **history[-1], "best_test_error": best}


def parameters_of(folder: RunDirectory) -> list[Tensor]:
    """Return the parameters of a run's last checkpoint."""
    held = folder.load_tensors("checkpoints/images.safetensors")
    if held is None:
        raise InputError(f"{str(folder.path)!r} holds no parameters yet: let it finish an epoch")
    tensors = held[0]
    return [tensors[f"p{i}"] for i in range(sum(key.startswith("p") for key in tensors))]


EXPERIMENT = Experiment(JOB, make_images, check, jobs_of, summarise)
