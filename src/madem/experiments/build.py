"""The one place where the names of a config become objects."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from madem.circuit import Timing
from madem.data.braille import dots
from madem.data.words import Classify, Reconstruct
from madem.device import SWITCHES, Cell, load, preset, without
from madem.errors import InputError
from madem.experiments.brailleconfig import BrailleConfig, ChipConfig, ReconstructConfig, Training
from madem.learn import Accumulate, Contrast, Descent, Estimator, centred, positive
from madem.machine import (
    Periphery,
    Placement,
    SignedPair,
    Simulated,
    place,
    single_pulse,
    verified,
)
from madem.machine.wired import Wired
from madem.network import Box, Cost, Free, Layer, Network, Readout, Wires
from madem.randomness import stream
from madem.solver import Sweep
from madem.units import parse

TASKS = ("classify", "reconstruct")
DEPTHS = ("one_layer", "two_layer")
"""What the networks of the main job are called: a task, a point, a depth."""

ESTIMATORS: dict[str, Callable[[float], Contrast]] = {
    "centred": centred,
    "one-sided": positive,
}


@runtime_checkable
class WordTask(Protocol):
    """Words seen through noise."""

    @property
    def codes(self) -> Tensor:
        """The words' dots, -1 or +1, shape ``(words, dots)``."""

    @property
    def outputs(self) -> int:
        """How many outputs the task asks for."""

    @property
    def cost(self) -> Cost:
        """What training reduces."""

    @property
    def flip(self) -> float:
        """Flip probability in training."""

    def sample(
        self, shape: tuple[int, ...], generator: Generator, flip: float | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return inputs ``(*shape, dots)``, targets, and the words ``shape`` behind them."""


@dataclass(frozen=True)
class Plan:
    """One network on one task: all that a training job needs, except the random draws."""

    name: str
    seed: int
    chips: int
    task: WordTask
    network: Network
    placements: tuple[Placement, ...]
    cell: Cell
    periphery: Periphery
    base: float
    training: Training
    wires: Wires | None = None
    seen: bool = False
    timing: Timing = Timing()

    @property
    def units(self) -> list[float]:
        """Conductance of weight one in each layer, S."""
        return [parse(text, "siemens", f"{self.name}.units") for text in self.training.units]

    @property
    def estimator(self) -> Estimator:
        """How gradients are measured."""
        return ESTIMATORS[self.training.estimator](self.training.beta)

    @property
    def rule(self) -> Accumulate | Descent:
        """What is remembered between writes. A pulse is due when it would move far enough."""
        if self.training.writing == "every-step":
            return Descent()
        least = parse(self.training.threshold, "siemens", f"{self.name}.threshold")
        if self.training.writing == "pulses":
            least = self.cell.pulse_step  # both cells of the pair move by about half a step
        return Accumulate(tuple(least / unit for unit in self.units))

    def rates(self, step: int) -> list[float]:
        """Learning rates at ``step``: a half cosine from their start to zero."""
        fall = (1 + math.cos(math.pi * step / self.training.steps)) / 2
        return [rate * fall for rate in self.training.rates]

    def initial_weights(self) -> list[Tensor]:
        """Draw the weights to program at the start, ``(chips, post, pre + 1)`` each."""
        draws = stream(self.seed, self.name, "initial")
        return [
            spread * torch.randn(self.chips, *shape, generator=draws)
            for spread, shape in zip(self.training.initial_spread, self.network.shapes, strict=True)
        ]

    def machine(self, weights: list[Tensor], units: list[float]) -> Simulated:
        """Make the chips and program ``weights`` onto them.

        The static draw of an array depends on the seed alone: every job of a run that uses an
        array of the same shape meets the same chips.
        """
        writing = single_pulse if self.training.writing == "pulses" else verified
        stores = [
            SignedPair(
                self.cell,
                weight,
                unit,
                self.base,
                stream(self.seed, "chips", index, *weight.shape),
                stream(self.seed, self.name, "writes", index),
                writing,
                None if self.wires is None else Wired(self.wires, placement.side, self.seen),
            )
            for index, (weight, unit, placement) in enumerate(
                zip(weights, units, self.placements, strict=True)
            )
        ]
        noise = stream(self.seed, self.name, "noise")
        return Simulated(self.network, Sweep(), stores, self.periphery, noise)


def cell_of(chip: ChipConfig) -> Cell:
    """Return the device with the non-idealities that are on."""
    return without(load(chip.device), [name for name in SWITCHES if not getattr(chip, name)])


def base_of(text: str, cell: Cell, field: str = "chip.base") -> float:
    """Return the conductance around which weights are programmed, S.

    Raises ``InputError`` where the device does not reach it.
    """
    base = parse(text, "siemens", field)
    if base >= cell.high:
        raise InputError(f"{field} must be below the device's largest conductance, "
                         f"{1e6 * cell.high:g} uS, but is {text!r}")  # fmt: skip
    return base


def periphery_of(chip: ChipConfig) -> Periphery:
    """Return the converters: ideal where switched off, the device's where not said otherwise."""
    if not chip.converters:
        return Periphery(output_limit=chip.output_limit)
    device = preset(chip.device)
    return Periphery(
        chip.dac_bits or device.dac_bits, chip.adc_bits or device.adc_bits, chip.output_limit
    )


def wires_of(chip: ChipConfig) -> Wires | None:
    """Return the wires of the arrays, None where they are ideal."""
    if chip.wire is None:
        return None
    ohm = parse(chip.wire, "ohm", "chip.wire")
    return Wires(ohm, ohm, ohm, ohm)


def timing_of(chip: ChipConfig) -> Timing:
    """Return what takes time on the chip."""
    return Timing(
        line=parse(chip.line_capacitance, "farad", "chip.line_capacitance"),
        tau=parse(chip.neuron_tau, "second", "chip.neuron_tau"),
    )


def plan(config: BrailleConfig, task_name: str, depth: str) -> Plan:
    """Return the plan of the network ``depth`` (``one_layer``, ``two_layer``) on a task.

    Raises ``InputError`` where the network does not fit the chip.

    >>> from madem.experiments.brailleconfig import make
    >>> plan(make({"words": ["a", "b"]}), "classify", "one_layer").network.shapes
    ((2, 61),)
    """
    part = getattr(config, task_name)
    training: Training = getattr(part, depth)
    codes = dots(config.words, config.letters)
    task: WordTask
    if isinstance(part, ReconstructConfig):
        task = Reconstruct(codes, part.flip_probability, part.hidden_probability)
    else:
        task = Classify(codes, part.flip_probability)
    inputs = codes.shape[1]
    if depth == "one_layer":
        layers: tuple[Layer, ...] = (Layer(task.outputs, Free()),)
    else:
        layers = (Layer(training.hidden, Box()), Layer(task.outputs, Readout()))
    network = Network(inputs, layers)
    name = f"{task_name}.{depth}"
    _check_lengths(name, training, len(layers))
    chip = config.chip
    try:
        placements = place(network.shapes, chip.arrays, chip.lines)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    cell = cell_of(chip)
    return Plan(
        name=name,
        seed=config.seed,
        chips=config.chips,
        task=task,
        network=network,
        placements=tuple(placements),
        cell=cell,
        periphery=periphery_of(chip),
        base=base_of(chip.base, cell),
        training=training,
        wires=wires_of(chip),
        seen=chip.voltages == "cells",
        timing=timing_of(chip),
    )


def _check_lengths(name: str, training: Training, layers: int) -> None:
    given = {field: getattr(training, field) for field in ("units", "rates", "initial_spread")}
    for part in ("backprop", "ex_situ"):
        how = getattr(training, part)
        given |= {f"{part}.rates": how.rates, f"{part}.units": how.units}
    for field, values in given.items():
        if values is not None and len(values) != layers:
            raise InputError(
                f"{name}.{field}: needs {layers} values, one per layer, but has {len(values)}"
            )
