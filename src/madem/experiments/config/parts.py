"""The parts by which a config describes a training; each means the same wherever it stands."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, Field, model_validator
from torch import Generator

from madem.data.task import Flat, Task
from madem.errors import InputError
from madem.experiments.config.base import Strict, refuse_idle
from madem.experiments.config.machines import ChipConfig, IdealConfig, MachineConfig, wires_of
from madem.experiments.config.names import ESTIMATORS, RULES, SOLVERS, WRITINGS
from madem.experiments.config.naming import Part
from madem.experiments.config.networks import HopfieldConfig, NetworkConfig
from madem.experiments.config.quantities import (
    Amount,
    Conductance,
    Count,
    Positive,
    Share,
    Steps,
    Unit,
    cells_need,
)
from madem.learn import Contrast, Estimator, RandomSign, Rule, currents
from madem.network import Network, Readout, SquaredError, Thresholds
from madem.randomness import stream
from madem.training import (
    Cosine,
    Digital,
    Exponential,
    Ideal,
    Making,
    OnChips,
    OnCircuit,
    Plan,
    Schedule,
    lines_of,
    looks_at,
)
from madem.training.plan import spread_over
from madem.units import parse


class ScheduleConfig(Strict):
    """How long is learned: ``steps``, or ``epochs`` of a set that ends, of ``batch`` samples.

    ``rates``: learning rates at the start, one per joint, or one for all; they ``fall`` as a half
    cosine to zero, or by ``decay``, at every step, or at every epoch where those are counted.
    ``weight_decay``: what is added of a parameter to its gradient. ``looks``: how often the network
    is tested on validation data, at steps evenly spread in their logarithm, or once an epoch.
    ``first_input``: what inputs are multiplied by at first in training, growing geometrically to 1
    over ``input_share`` of the steps: units that compete for small inputs share them; ``balance``:
    what is added to the gradient of thresholds of how much more than its share a unit is used.
    """

    steps: Steps | None = None
    epochs: int | None = Field(None, ge=1, le=1_000_000)
    batch: Count = 32
    rates: tuple[Positive, ...] = (0.05,)
    fall: Literal["cosine", "exponential"] = "cosine"
    decay: float = Field(0.99, gt=0, le=1)
    weight_decay: Share = 0.0
    looks: int = Field(25, ge=1, le=10_000)
    first_input: float = Field(1.0, gt=0, le=1)
    input_share: float = Field(0.6, gt=0, le=1)
    balance: Amount = 0.0

    @model_validator(mode="after")
    def _is_one_of_two(self) -> ScheduleConfig:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give steps or epochs, not both")
        if self.fall == "cosine":
            refuse_idle(self, ("decay",), "fall is cosine")
        if self.first_input == 1:
            refuse_idle(self, ("input_share",), "first_input is 1")
        if self.epochs is not None:
            refuse_idle(self, ("looks",), "epochs are counted: there is one look in each")
        return self

    def build(self, task: Task, network: Network) -> Schedule:
        """Return the schedule for ``task``; a thousand steps, or 30 epochs, where not said."""
        spread_over(self.rates, len(network.joints), "schedule.rates")
        if self.balance and not any(isinstance(joint, Thresholds) for joint in network.joints):
            raise InputError(
                f"schedule.balance is {self.balance}, but the network has no thresholds: add a "
                "joint of kind thresholds, or leave it at 0"
            )
        steps, per = self.steps, task.epoch(self.batch)
        if steps is None and per is None:
            if self.epochs is not None:
                raise InputError("schedule.epochs: this task has no end to its samples: give steps")
            steps = 1000
        every, looks = 1, tuple[int, ...]()
        if steps is None:
            assert per is not None
            every, steps = per, per * (self.epochs or 30)
            looks = tuple(range(per, steps + 1, per))
        fall = Cosine(every) if self.fall == "cosine" else Exponential(self.decay, every)
        looks = looks or looks_at(steps, self.looks)
        return Schedule(
            steps, self.batch, self.rates, fall, self.weight_decay, looks,
            self.first_input, self.input_share, self.balance,
        )  # fmt: skip


class WritingConfig(Strict):
    """How a change is written on chips: the ``way``, and ``units``, the conductance of weight one.

    ``units``: one value per joint, or one for all.
    """

    way: Annotated[Part, WRITINGS] = WRITINGS.part("verified")
    units: tuple[Unit, ...] = ("100 uS",)


class Learning(BaseModel):
    """What learns, and how: a network, how it settles, and how its gradient is measured and used.

    ``writing`` is of chips.
    """

    model_config = Strict.model_config

    network: NetworkConfig = HopfieldConfig()
    solver: Annotated[Part, SOLVERS] = SOLVERS.part("sweep")
    estimator: Annotated[Part, ESTIMATORS] = ESTIMATORS.part("centred")
    rule: Annotated[Part, RULES] = RULES.part("descent")
    writing: WritingConfig = WritingConfig()
    schedule: ScheduleConfig = ScheduleConfig()

    def learning_plan(self, name: str, seed: int, task: Task, machine: MachineConfig) -> Plan:
        """Return the plan of learning ``task`` on ``machine``; ``name`` is that of random draws.

        Raises ``InputError`` where the parts do not go together.
        """
        network = self.network.build(task.inputs, task.outputs)
        if task.inputs != network.state_shapes[0]:
            task = Flat(task)
        making = self._making(machine)
        return Plan(
            name, seed, task, network, making,
            self._estimator(task, network, stream(seed, name, "sign")),
            self._rule(making, network, stream(seed, name, "sparse")),
            self.schedule.build(task, network),
        )  # fmt: skip

    def cells_need(self, task: Part, seed: int, chips: int) -> dict[str, float]:
        """Return about how many bytes ``chips`` that learn ``task`` take, by the keys that say."""
        data: Task = task.make({"seed": seed}, "task")
        layers = map(math.prod, self.network.build(data.inputs, data.outputs).state_shapes)
        return cells_need(chips, list(layers), self.schedule.batch, "machine.")

    def _making(self, machine: MachineConfig) -> Making:
        """Return what makes the machine, settled and written as this says."""
        solver = self.solver.make(where="solver")
        if isinstance(machine, ChipConfig):
            units = tuple(parse(unit, "siemens", "writing.units") for unit in self.writing.units)
            if machine.phase != "auto":
                refuse_idle(self, ("solver",), "machine.phase ends every settling", InputError)
            return machine.build(units, self.writing.way.make(where="writing.way"), solver)
        refuse_idle(self, ("writing",), f"machine.kind is {machine.kind}", InputError)
        wire = getattr(self.network, "wire", None)
        if isinstance(machine, IdealConfig):
            if wire is not None:
                raise InputError(
                    f"network.wire does nothing where machine.kind is ideal, but is {wire!r}: "
                    "leave it out, or let machine.kind be circuit"
                )
            return Ideal(solver)
        refuse_idle(self, ("solver",), f"machine.kind is {machine.kind}", InputError)
        return OnCircuit(None if wire is None else wires_of(wire, "network.wire"))

    def _estimator(self, task: Task, network: Network, draws: Generator) -> Estimator:
        """Return how gradients are measured.

        Behind amplifiers beta is multiplied by the share that the nudged layer has in the energy,
        so that one beta moves that layer as far at every gain.
        """
        found: Estimator = self.estimator.make({"draws": draws}, "estimator")
        kind, pushing = self.estimator.called, getattr(found, "pushing", currents)
        if pushing is not currents:
            if type(network.layers[-1].law) is Readout:
                raise InputError(
                    f"estimator {kind} must nudge by a current where network.readout is true: "
                    "there is no output inside the energy to hold or to pull"
                )
            if not isinstance(task.cost, SquaredError):
                raise InputError(
                    f"estimator {kind} holds outputs or draws them to a target, which needs "
                    "task.cost squared-error"
                )
        if kind == "holomorphic" and not all(la.law.analytic for la in network.layers):
            raise InputError(
                "estimator.kind holomorphic needs laws without limits, which of the shipped "
                "networks network.kind=resistive with network.law=shockley alone has"
            )
        if isinstance(found, Contrast | RandomSign) and isinstance(found.beta, float | int):
            found = replace(found, beta=found.beta * network.shares[-1])
        return found

    def _rule(self, making: Making, network: Network, draws: Generator) -> Rule:
        """Return what remembers gradients; thresholds of conductance are those of cells."""
        kind = self.rule.called
        units: list[float] = []
        for index, joint in enumerate(network.joints):
            if isinstance(making, OnChips) and lines_of(joint) is not None:
                units.append(making.cells.unit(index, len(network.joints)))
            else:
                units += [math.inf] * len(joint.parameters)
        if kind in ("accumulate", "sparse") and not isinstance(making, OnChips):
            raise InputError(
                f"rule.kind {kind} waits for a change of conductance, but machine.kind is not chip "
                "(allowed: adam, descent, momentum)"
            )
        found: Rule = self.rule.make({"conductances": tuple(units), "draws": draws}, "rule")
        return found


class DigitalConfig(Strict):
    """How a yardstick is trained digitally, on as many samples as the chips learn from.

    ``rates``: learning rates at the start, one per joint, falling to zero as a half cosine.
    ``units``: conductance of weight one, which decides how large a weight of each joint fits the
    chip's range; where ``bounded``, none may be larger. Both are those of the chips where null.
    ``noise``: standard deviation of what every weight is off, drawn anew in every step, as a
    conductance of the pair. ``gain``: standard deviation of the first weights times the square root
    of their inputs; the network's own first weights where null.
    """

    optimiser: Literal["sgd", "adam"] = "sgd"
    rates: tuple[Positive, ...] | None = None
    units: tuple[Unit, ...] | None = None
    bounded: bool = True
    noise: Conductance = "0 uS"
    gain: Amount | None = 0.5

    def recipe(self, plan: Plan) -> Digital:
        """Return how the network of ``plan`` is trained; where no cells are, units are infinite."""
        joints, making, room = plan.network.joints, plan.making, math.inf
        units = [math.inf] * len(joints)
        if isinstance(making, OnChips):
            cells, field = making.cells, f"{plan.name}.units"
            if self.units is not None:
                units = [parse(unit, "siemens", field) for unit in self.units]
            spread = spread_over(cells.units if self.units is None else units, len(joints), field)
            units = [math.inf if lines_of(joint) is None else unit
                     for joint, unit in zip(joints, spread, strict=True)]  # fmt: skip
            room = cells.cell.high - cells.base if self.bounded else math.inf
        sigma = parse(self.noise, "siemens", f"{plan.name}.noise")
        return Digital(
            OPTIMISERS[self.optimiser],
            spread_over(
                self.rates or [*map(float, plan.schedule.rates)], len(joints), f"{plan.name}.rates"
            ),
            [math.inf if math.inf in (room, unit) else room / unit for unit in units],
            [sigma / unit for unit in units],
            self.gain,
            tuple(units),
        )


OPTIMISERS: dict[str, Callable[[list[dict[str, Any]]], torch.optim.Optimizer]] = {
    "sgd": partial(torch.optim.SGD, foreach=True),
    "adam": partial(torch.optim.Adam, foreach=True),
}
