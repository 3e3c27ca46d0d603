"""The config of the Monte Carlo over chips: every field with its default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from madem.experiments.config.base import Strict
from madem.experiments.config.machines import ChipConfig
from madem.experiments.config.names import ESTIMATORS, RULES, TASKS
from madem.experiments.config.naming import Part
from madem.experiments.config.networks import HopfieldConfig, NetworkConfig
from madem.experiments.config.parts import DigitalConfig, Learning, ScheduleConfig, WritingConfig
from madem.experiments.config.quantities import (
    Amount,
    Different,
    Positive,
    Rising,
    Seed,
    Share,
    Steps,
)
from madem.learn import Estimator
from madem.training import Plan

CENTRED = ESTIMATORS.part({"kind": "centred", "beta": 2.0})


class VariabilityConfig(Learning, Strict):
    """One network on many chips, ``machine.chips`` of every level; all levels below are ours.

    ``target``: the accuracy at which a chip counts as good. ``defect_rates``: shares of cells that
    are stuck from the start; ``spreads``: relative spread of the largest conductance of a cell;
    ``damage``: shares of cells that die half-way. ``ex_situ``: how the ideal network is trained, in
    ``ideal_steps`` batches, whose weights are programmed once. ``offsets``: standard deviation over
    lines of what a biased measurement adds to the sensed activities, in units of the state;
    ``measured``: the estimators that learn on with it after training, for ``bias_steps`` batches
    at ``bias_rate`` times the first rates.

    >>> VariabilityConfig.of({"defect_rates": [0.0, 1.2]})
    Traceback (most recent call last):
    ...
    madem.errors.InputError: defect_rates.1: input should be less than 1, but is 1.2
    """

    experiment: Literal["variability"] = "variability"
    seed: Seed = 0
    task: Annotated[Part, TASKS] = TASKS.part("classify-words")
    machine: ChipConfig = ChipConfig(chips=40)
    network: NetworkConfig = HopfieldConfig(gain=(0.0,))
    estimator: Annotated[Part, ESTIMATORS] = CENTRED
    rule: Annotated[Part, RULES] = RULES.part("accumulate")
    writing: WritingConfig = WritingConfig(units=("400 uS",))
    schedule: ScheduleConfig = ScheduleConfig(steps=500, rates=(0.5,), looks=16)
    target: float = Field(0.98, gt=0, lt=1)
    defect_rates: Rising[Share] = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
    spreads: Rising[Amount] = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)
    damage: Rising[Share] = (0.0, 0.05, 0.1, 0.2, 0.4)
    ex_situ: DigitalConfig = DigitalConfig(rates=(2.0,))
    ideal_steps: Steps = 3000
    offsets: Rising[Amount] = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
    measured: Different[Annotated[Part, ESTIMATORS]] = (
        CENTRED, ESTIMATORS.part({"kind": "positive", "beta": 2.0}),
    )  # fmt: skip
    bias_steps: Steps = 300
    bias_rate: Positive = 0.2

    def plan(self, levels: int, off: Sequence[str] = ()) -> Plan:
        """Return the plan of the chips of all ``levels``, level after level.

        ``off``: non-idealities of the device that are switched off.
        """
        task = self.task.make({"seed": self.seed}, "task")
        changed = {"chips": levels * self.machine.chips, **dict.fromkeys(off, False)}
        machine = self.machine.model_copy(update=changed)
        return self.learning_plan("variability", self.seed, task, machine)

    @property
    def estimators(self) -> dict[str, Estimator]:
        """What measures under a bias, by kind."""
        plans = {p.called: self.model_copy(update={"estimator": p}).plan(1) for p in self.measured}
        return {kind: plan.estimator for kind, plan in plans.items()}

    @property
    def levels(self) -> dict[str, tuple[float, ...]]:
        """The levels of every flaw."""
        return {"defects": self.defect_rates, "spread": self.spreads, "damage": self.damage}

    @model_validator(mode="after")
    def _can_be_off(self) -> VariabilityConfig:
        if not self.machine.read_noise and not self.machine.converters:
            raise ValueError(
                "machine: an ideal measurement has no offset; leave read_noise or converters on"
            )
        return self

    def needs(self) -> Mapping[str, float]:
        """Return about how many bytes the chips of all levels of a question take at least."""
        levels = map(len, (self.defect_rates, self.spreads, self.damage, self.offsets))
        return self.cells_need(self.task, self.seed, max(levels) * self.machine.chips)
