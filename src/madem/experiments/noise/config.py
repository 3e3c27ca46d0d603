"""The config of the question whether temporal noise regularises: every field with its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator

from madem.data.task import Finite, Task
from madem.errors import InputError
from madem.experiments.config.base import Strict
from madem.experiments.config.machines import ChipConfig
from madem.experiments.config.names import ESTIMATORS, RULES, TASKS
from madem.experiments.config.naming import Part
from madem.experiments.config.networks import HopfieldConfig, NetworkConfig
from madem.experiments.config.parts import Learning, ScheduleConfig, WritingConfig
from madem.experiments.config.quantities import Conductance, Different, Rising, Seed
from madem.randomness import stream
from madem.training import Plan, chips_of
from madem.units import parse

Size = Annotated[int, Field(ge=2, le=10_000_000)]


class NoiseConfig(Learning, Strict):
    """Chips that differ in nothing but the noise of their reads learn training sets that end.

    ``sizes``: of the training sets, which are drawn from ``task``; ``levels``: standard deviation
    of one cell's conductance from one settling to the next; all are ours, from none to severe.
    ``machine.chips`` of each level; each has a training set (the same ones at every level), first
    weights and cells of its own. ``resamples``: of the bootstrap.

    >>> NoiseConfig.of({"levels": ["0 uS", "2"]})
    Traceback (most recent call last):
    ...
    madem.errors.InputError: levels.1: '2' needs a unit compatible with siemens, e.g. '2 uS'
    """

    experiment: Literal["noise"] = "noise"
    seed: Seed = 0
    task: Annotated[Part, TASKS] = TASKS.part("classify-words")
    sizes: Different[Size] = (64, 128, 256, 512)
    levels: Rising[Conductance] = (
        "0 uS", "1 uS", "2 uS", "4 uS", "8 uS", "16 uS", "32 uS", "64 uS",
    )  # fmt: skip
    machine: ChipConfig = ChipConfig(chips=12, lines=80, read_noise=False)
    network: NetworkConfig = HopfieldConfig(hidden=(30,), gain=(0.67, 0.96), readout=True)
    estimator: Annotated[Part, ESTIMATORS] = ESTIMATORS.part({"kind": "centred", "beta": 0.5})
    rule: Annotated[Part, RULES] = RULES.part("accumulate")
    writing: WritingConfig = WritingConfig(units=("700 uS", "100 uS"))
    schedule: ScheduleConfig = ScheduleConfig(steps=1000, rates=(0.25, 0.5), looks=1)
    resamples: int = Field(4000, ge=100, le=1_000_000)

    def plan(self, size: int) -> Plan:
        """Return the plan of training sets of ``size`` samples: chips level after level."""
        chips = self.machine.chips
        machine = self.machine.model_copy(update={"chips": len(self.levels) * chips})
        plan = self.learning_plan(f"noise.{size}", self.seed, self._sets(size), machine)
        sigmas = tuple(sigma for sigma in self.sigmas for _ in range(chips))
        return replace(plan, making=replace(chips_of(plan), read_sigmas=sigmas))

    @property
    def sigmas(self) -> list[float]:
        """The levels, S."""
        return [parse(level, "siemens", "levels") for level in self.levels]

    def _sets(self, size: int) -> Finite:
        """Return a training set for every chip, the same ones at every level, and one test set."""
        task: Task = self.task.make({"seed": self.seed}, "task")
        chips, draws = self.machine.chips, stream(self.seed, "noise", "sets", size)
        try:
            own = [next(task.batches((size,), draws, chips * self.seed + i)) for i in range(chips)]
        except InputError as error:
            raise InputError(str(error).replace("batch", "sizes", 1)) from None
        x, target = (torch.stack(part) for part in zip(*own, strict=True))
        return Finite(
            training=(torch.cat([x] * len(self.levels)), torch.cat([target] * len(self.levels))),
            validation=task.held("validation", stream(self.seed, "noise", "validation")),
            test=task.held("test", stream(self.seed, "noise", "test")),
            outputs=task.outputs,
            cost=task.cost,
            drawn=True,
        )

    @model_validator(mode="after")
    def _levels_say_all(self) -> NoiseConfig:
        if self.machine.read_noise:
            raise ValueError("machine.read_noise must be false: the levels say how reads fluctuate")
        return self

    def needs(self) -> Mapping[str, float]:
        """Return about how many bytes the chips and sets of all levels take at least."""
        chips = len(self.levels) * self.machine.chips
        inputs = 4.0 * max(self.sizes) * 60
        return self.cells_need(self.task, self.seed, chips) | {
            "sizes, machine.chips or levels": chips * inputs,
            "resamples": 8.0 * self.resamples * chips,
        }
