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

from madem.circuit import Timing
from madem.data.task import Flat, Task
from madem.device import SWITCHES, Cell, load, preset, without
from madem.errors import InputError
from madem.experiments.config.base import Strict, refuse_idle
from madem.experiments.config.names import (
    ESTIMATORS,
    RULES,
    SOLVERS,
    SPECTRA,
    SPREAD,
    STORES,
    WRITINGS,
)
from madem.experiments.config.naming import Part
from madem.experiments.config.networks import HopfieldConfig, NetworkConfig
from madem.experiments.config.quantities import (
    Amount,
    Conductance,
    Count,
    Farads,
    Lasting,
    Positive,
    Resistance,
    Seconds,
    Share,
    Steps,
    Unit,
    cells_need,
)
from madem.learn import Contrast, Estimator, RandomSign, Rule, currents
from madem.machine import Periphery
from madem.machine.sampling import sampling_noise
from madem.machine.writing import Writing
from madem.network import Network, Readout, SquaredError, Thresholds, Wires
from madem.randomness import stream
from madem.solver import Solver
from madem.solver.timed import SHORTEST
from madem.training import (
    Cells,
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


class IdealConfig(Strict):
    """The network in exact numbers."""

    kind: Literal["ideal"] = "ideal"


class CircuitConfig(Strict):
    """The network as a circuit, at rest by Kirchhoff's laws."""

    kind: Literal["circuit"] = "circuit"


class ChipConfig(Strict):
    """Chips: arrays, converters and what is not ideal.

    ``dac_bits``, ``adc_bits``: of the converters, none where 0, those of the device where null.
    ``chips``: how many, trained at once; ``base``: conductance around which a weight is programmed
    at the start. ``output_limit``: range of the outputs' converters, in units of their state;
    ``output_range``: whether they have it always, or, ``measured``, halved for each sample as often
    as that stays within it. ``contrast``: whether nudged states are converted as free ones are, or,
    ``sampled``, how far they are from free ones that capacitors of ``hold`` keep. ``rounding``: of
    nudges to the levels that are driven, to the ``nearest``, or at ``random`` and right on average.
    ``wire``: resistance of a segment of wire between two cells, of a driver and of a sense input;
    no wires where null. ``voltages``: what the rule multiplies where there are wires, those at the
    terminals or those across every cell. A layer larger than an array is cut into tiles; ``sums``:
    how they add, as currents or each after its conversion, in a range of ``sum_limit`` in units of
    state. ``spread``: how lines and neurons differ over a chip. ``store``: what holds a weight, a
    pair of cells, or a fast pair in front of it too (Tiki-Taka). ``neuron_tau``: the one pole of a
    neuron and its sense amplifier; ``phase``: when a settling ends, at rest or not (*auto*: once it
    is at rest), ``nudged_phase``: a nudged one, as ``phase`` where null;
    ``line_capacitance``: of every node of wire. The pole and it are ours (1 ns is 160 MHz).
    ``noise_in_time``: white where read noise is drawn anew in every settling, or how it is spread
    over frequencies (device: as that states it); phases then follow one another in time, and lines
    have thermal and shot noise too. The switches turn the device's non-idealities off one by one.
    """

    kind: Literal["chip"] = "chip"
    chips: Count = 16
    device: str = "taox-1t1m"
    arrays: Count = 2
    lines: int = Field(64, ge=2, le=100_000)
    base: Conductance = "20 uS"
    wire: Resistance | None = None
    voltages: Literal["terminals", "cells"] = "terminals"
    sums: Literal["currents", "converted"] = "currents"
    sum_limit: Positive = 4.0
    spread: Annotated[Part, SPREAD] = SPREAD.part({})
    store: Annotated[Part, STORES] = STORES.part("pairs")
    neuron_tau: Seconds = "1 ns"
    phase: Lasting = "auto"
    nudged_phase: Seconds | None = None
    line_capacitance: Farads = "1 fF"
    noise_in_time: Annotated[Part, SPECTRA] = SPECTRA.part("white")
    dac_bits: int | None = Field(None, ge=0, le=24)
    adc_bits: int | None = Field(None, ge=0, le=24)
    output_limit: Positive = 20.0
    output_range: Literal["fixed", "measured"] = "fixed"
    contrast: Literal["converted", "sampled"] = "converted"
    hold: Farads = "1 pF"
    rounding: Literal["nearest", "random"] = "nearest"
    programming_error: bool = True
    stuck_cells: bool = True
    read_noise: bool = True
    device_spread: bool = True
    cycle_spread: bool = True
    converters: bool = True

    @model_validator(mode="after")
    def _has_no_idle_keys(self) -> ChipConfig:
        if self.sums == "currents":
            refuse_idle(self, ("sum_limit",), "sums is currents")
        if self.wire is None:
            refuse_idle(self, ("voltages",), "wire is null")
        if not self.converters:
            exact = ("dac_bits", "adc_bits", "output_range", "contrast", "rounding")
            refuse_idle(self, exact, "converters is false")
        if self.contrast == "converted":
            refuse_idle(self, ("hold",), "contrast is converted")
        if self.phase == "auto":
            refuse_idle(self, ("nudged_phase",), "phase is auto")
        elif self.sums == "converted":
            raise ValueError("phase must be auto where sums is converted, which are converted in "
                             f"sweeps until all is at rest, but is {self.phase!r}")  # fmt: skip
        return self

    def phases(self) -> tuple[float, float] | None:
        """Return how long the free and a nudged phase last, s, None where all comes to rest.

        Raises ``InputError`` for one that is over before a neuron moves.
        """
        if self.phase == "auto":
            return None
        found, tau = [], parse(self.neuron_tau, "second", "machine.neuron_tau")
        for key, text in (("phase", self.phase), ("nudged_phase", self.nudged_phase or self.phase)):
            found.append(parse(text, "second", f"machine.{key}"))
            if found[-1] < SHORTEST * tau:
                raise InputError(
                    f"machine.{key} must be at least a tenth of machine.neuron_tau "
                    f"({self.neuron_tau}), but is {text!r}: no neuron would have moved"
                )
        return found[0], found[1]

    def build(self, units: tuple[float, ...], writing: Writing, solver: Solver) -> OnChips:
        """Return the making of the chips, with weights of one at the conductances ``units``, S.

        Converters are ideal where switched off, the device's where not said otherwise. Raises
        ``InputError`` where the device does not reach the base.
        """
        cell = without(load(self.device), [n for n in SWITCHES if not getattr(self, n)])
        dac, adc = None, None
        if self.converters:
            device = preset(self.device)
            dac = device.dac_bits if self.dac_bits is None else self.dac_bits
            adc = device.adc_bits if self.adc_bits is None else self.adc_bits
        cells = Cells(
            cell, base_of(self.base, cell, "machine.base"), units, self.arrays, self.lines,
            None if self.wire is None else wires_of(self.wire, "machine.wire"),
            self.voltages == "cells", self.sum_limit if self.sums == "converted" else None,
        )  # fmt: skip
        timing = Timing(
            line=parse(self.line_capacitance, "farad", "machine.line_capacitance"),
            tau=parse(self.neuron_tau, "second", "machine.neuron_tau"),
        )
        spectrum = self.noise_in_time.make({"device": self.device}, "machine.noise_in_time")
        noise = 0.0
        if self.contrast == "sampled":
            noise = sampling_noise(parse(self.hold, "farad", "machine.hold")) / cell.read_voltage
        periphery = Periphery(
            dac, adc, self.output_limit,
            output_range=self.output_range, contrast=self.contrast, hold_noise=noise,
            rounding=self.rounding,
        )  # fmt: skip
        return OnChips(
            self.chips, cells, periphery, writing, solver,
            self.spread.make(where="machine.spread"), self.store.make(where="machine.store"),
            timing, phases=self.phases(), spectrum=spectrum,
        )  # fmt: skip


MachineConfig = Annotated[IdealConfig | ChipConfig | CircuitConfig, Field(discriminator="kind")]


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


def wires_of(text: str, field: str) -> Wires:
    """Return wires whose every segment, driver and sense input has the resistance ``text``."""
    ohm = parse(text, "ohm", field)
    return Wires(ohm, ohm, ohm, ohm)


def base_of(text: str, cell: Cell, field: str) -> float:
    """Return the conductance around which weights are programmed, S.

    Raises ``InputError`` where the device does not reach it.
    """
    base = parse(text, "siemens", field)
    if base >= cell.high:
        raise InputError(f"{field} must be below the device's largest conductance, "
                         f"{1e6 * cell.high:g} uS, but is {text!r}")  # fmt: skip
    return base


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
