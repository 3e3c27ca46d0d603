"""The machine of a config: exact numbers, a circuit, or chips and what is not ideal about them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from madem.circuit import Timing
from madem.device import SWITCHES, Cell, load, preset, without
from madem.errors import InputError
from madem.experiments.config.base import Strict, refuse_idle
from madem.experiments.config.names import SPECTRA, SPREAD, STORES
from madem.experiments.config.naming import Part
from madem.experiments.config.quantities import (
    Conductance,
    Count,
    Farads,
    Lasting,
    Positive,
    Resistance,
    Seconds,
)
from madem.machine import Periphery
from madem.machine.sampling import sampling_noise
from madem.machine.writing import Writing
from madem.network import Wires
from madem.solver import Solver
from madem.solver.timed import SHORTEST
from madem.training import Cells, OnChips
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
