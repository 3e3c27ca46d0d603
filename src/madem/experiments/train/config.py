"""The config of a training: every part of it may be any that has a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from madem.data.task import Task
from madem.experiments.config.base import Strict
from madem.experiments.config.machines import ChipConfig, IdealConfig, MachineConfig
from madem.experiments.config.names import TASKS
from madem.experiments.config.naming import Part
from madem.experiments.config.parts import DigitalConfig, Learning
from madem.experiments.config.quantities import Seed, cells_need
from madem.training import Plan


class YardsticksConfig(Strict):
    """What the result is measured against: the same network trained digitally.

    ``backprop``: candidates for ideal training; ``ex_situ``: for training that is programmed once
    onto the chips. Of each, the one that does best on validation data is tested.
    """

    backprop: tuple[DigitalConfig, ...] = Field(
        tuple(
            DigitalConfig(optimiser="adam", rates=(rate,), bounded=False, gain=None)
            for rate in (3e-3, 1e-2, 3e-2)
        ),
        min_length=1,
    )
    ex_situ: tuple[DigitalConfig, ...] = Field(
        tuple(
            DigitalConfig(optimiser="adam", rates=(rate,), noise=noise, gain=None)
            for rate in (3e-3, 1e-2, 3e-2)
            for noise in ("0 uS", "8 uS")
        ),
        min_length=1,
    )


class TrainConfig(Learning, Strict):
    """A network that learns a task on a machine, and what that is measured against, if anything.

    >>> TrainConfig.of({"solver": "swep"})
    Traceback (most recent call last):
    ...
    madem.errors.InputError: solver: unknown name 'swep': did you mean 'sweep'? (allowed: \
anderson, flow, newton, over-relaxed, sweep, synchronous)
    """

    experiment: Literal["train"] = "train"
    seed: Seed = 0
    task: Annotated[Part, TASKS] = TASKS.part("digits")
    machine: MachineConfig = IdealConfig()
    yardsticks: YardsticksConfig | None = None

    def plan(self) -> Plan:
        """Return the plan; raise ``InputError`` where it cannot be built."""
        task: Task = self.task.make({"seed": self.seed}, "task")
        return self.learning_plan("train", self.seed, task, self.machine)

    def needs(self) -> Mapping[str, float]:
        """Return about how many bytes the network and its batches take at least."""
        hidden = getattr(self.network, "hidden", ())
        if isinstance(self.machine, ChipConfig):
            layers = (1, *hidden, 1)
            return cells_need(self.machine.chips, layers, self.schedule.batch, "machine.")
        return {"network.hidden": sum(cells_need(1, (1, *hidden, 1), self.schedule.batch).values())}
