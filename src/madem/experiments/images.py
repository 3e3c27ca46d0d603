"""Learning images with an ideal network: accuracy, epoch by epoch, into a run directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from madem.experiments.checkpoints import rewind, streams
from madem.experiments.circuits import bench_of_images
from madem.experiments.gradcheck import check_images
from madem.experiments.imagesbuild import (
    COSTS,
    estimator_of,
    flat_for,
    images_of,
    machine_of,
    network_of,
)
from madem.experiments.imageschips import CHECKPOINT, ChipsTrainer
from madem.experiments.imagesconfig import ImagesConfig, make_images
from madem.experiments.imagessteps import batches, fall, rates_of, steps_of
from madem.experiments.running.experiment import Experiment
from madem.experiments.running.jobs import Job, Progress, Tell
from madem.experiments.running.rundir import RunDirectory
from madem.machine import Simulated

JOB = "images"


class ImagesTrainer:
    """A network that learns, epoch after epoch; every number of it is in its checkpoint."""

    def __init__(self, config: ImagesConfig) -> None:
        """Load the data and draw the parameters."""
        self.config = config
        self.images = images_of(config)
        self.steps = steps_of(config, self.images)
        self.network = network_of(config, tuple(self.images.train.shape[1:]), self.images.classes)
        self.machine = machine_of(config, self.network, torch.float32)
        self.estimator = estimator_of(config, self.network)
        self.cost = COSTS[config.learning.cost]
        self.test = flat_for(self.network, self.images.test)
        self.optimiser = self._optimiser()
        self.epoch = 0
        self.history: list[dict[str, Any]] = []

    def _optimiser(self) -> torch.optim.Optimizer:
        learning, rates = self.config.learning, rates_of(self.config, len(self.network.joints))
        groups = [
            {"params": store.parameters, "lr": rate, "start": rate}
            for store, rate in zip(self.machine.stores, rates, strict=True)
        ]
        if learning.optimiser == "adam":
            return torch.optim.Adam(groups, weight_decay=learning.weight_decay)
        return torch.optim.SGD(
            groups, lr=rates[0], momentum=learning.momentum, weight_decay=learning.weight_decay
        )

    def learn(self, tell: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
        """Learn one epoch, and return what came of it.

        ``unsettled``: the share of settlings that missed the tolerance, None where a tolerance of 0
        asks for sweeps and not for rest.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = group["start"] * fall(self.config, self.epoch)
        wrong, cost = 0, 0.0
        before = self.machine.settled, self.machine.unsettled
        for step, (images, target) in enumerate(batches(self.config, self.images, self.epoch), 1):
            x = flat_for(self.network, images)
            gradient = self.estimator(self.machine, x, target, self.cost)
            output = gradient.free.output
            wrong += int((~self.cost.correct(output, target)).sum())
            cost += float(self.cost.value(output, target).sum())
            self._descend(gradient.weights)
            tell(step)
        seen = self.steps * self.config.learning.batch
        settled = max(1, self.machine.settled - before[0])
        unsettled = (self.machine.unsettled - before[1]) / settled
        self.epoch += 1
        row = {
            "epoch": self.epoch,
            "train_error": wrong / seen,
            "train_cost": cost / seen,
            "test_error": error(self.machine, self.test, self.images.test_classes, self.cost),
            "unsettled": unsettled if self.config.solver.tolerance else None,
        }
        self.history.append(row)
        return row

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
        """Write a checkpoint of everything that the next epoch needs, and of what came so far."""
        tensors = {f"p{i}": p for i, p in enumerate(self.machine.parameters)}
        state = self.optimiser.state_dict()["state"]
        tensors |= {
            f"o.{i}.{key}": torch.as_tensor(value)
            for i, held in state.items() for key, value in held.items() if value is not None
        }  # fmt: skip
        tensors |= streams(self.estimator)
        run.save_tensors(CHECKPOINT, tensors, {"epoch": self.epoch, "history": self.history})

    def restore(self, run: RunDirectory) -> None:
        """Go on from the checkpoint of ``run``, where there is one."""
        held = run.load_tensors(CHECKPOINT)
        if held is None:
            return
        tensors, note = held
        self.epoch, self.history = note["epoch"], note["history"]
        rewind(tensors, self.estimator)
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


def trainer_of(config: ImagesConfig) -> ImagesTrainer | ChipsTrainer:
    """Return what trains the network, on chips or ideal, at its start."""
    return ChipsTrainer(config) if config.chip else ImagesTrainer(config)


def train_job(config: ImagesConfig, path: Path, tell: Tell) -> dict[str, Any]:
    """Train what is left of a run, an epoch at a time."""
    folder = RunDirectory(path)
    trainer = trainer_of(config)
    trainer.restore(folder)
    steps, epochs = trainer.steps, config.learning.epochs
    text = ""
    while trainer.epoch < epochs:
        done = trainer.epoch * steps

        def told(step: int, done: int = done, text: str = text) -> None:
            tell(Progress(JOB, done + step, epochs * steps, text))

        row: dict[str, Any] = trainer.learn(told)
        text = f"epoch {row['epoch']}: test error {100 * row['test_error']:.2f} %"
        trainer.save(folder)
        tell(Progress(JOB, trainer.epoch * steps, epochs * steps, text))
    return {"epochs": trainer.history}


def jobs_of(config: ImagesConfig, path: Path) -> list[Job]:
    """Return the one job of a run."""
    return [Job(JOB, config.learning.epochs, train_job, (config, path))]


def check(config: ImagesConfig) -> None:
    """Raise ``InputError`` for a config that cannot be built, its data included."""
    trainer_of(config)


def summarise(config: ImagesConfig, folder: RunDirectory) -> dict[str, Any]:
    """Write the results of every epoch; return those of the last, and the smallest test error."""
    history = folder.finished(JOB)["epochs"]
    folder.save_json("metrics.json", history)
    best = min(row["test_error"] for row in history)
    return {"experiment": "images", "seed": config.seed, **history[-1], "best_test_error": best}


EXPERIMENT = Experiment(
    JOB, make_images, check, jobs_of, summarise,
    {"gradcheck": check_images, "circuit": bench_of_images},
)  # fmt: skip
