"""A network as a circuit: one input, at rest or in time, in every phase of its estimator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from madem.circuit import Built, Timing, Transient, solve, transient
from madem.circuit.elements import Array
from madem.errors import InputError, nearest
from madem.inspect.subject import Subject
from madem.machine import CircuitMachine, cells_of
from madem.machine.circuit import circuit_of
from madem.network import Nudge
from madem.training import OnChips, phases_of, strengths_of

FREE = "free"


@dataclass(frozen=True)
class Bench:
    """The circuit of a network for test sample ``sample``, of the first chip where there are any.

    Cells hold what they hold; read noise and converters are left out, and so are the wires of
    arrays where not ``wired``.
    """

    subject: Subject
    sample: int = 0
    wired: bool = True

    @property
    def phases(self) -> list[str]:
        """The names of the phases: ``free``, and one for each nudge of the plan's estimator.

        ``positive`` nudges draw the outputs to the target; a strength other than beta is named.
        """
        return [FREE, *map(_named, strengths_of(self.subject.plan))]

    @property
    def timing(self) -> Timing:
        """What takes time in the circuit: as the chip's config says, or our defaults."""
        making = self.subject.plan.making
        return making.timing if isinstance(making, OnChips) else Timing()

    def circuit(self, phase: str = FREE, timing: Timing | None = None) -> Built:
        """Return the circuit in ``phase``; a nudge is that of the free circuit's own outputs.

        Raises ``InputError`` for an unknown phase, and where there is no such circuit.
        """
        free = self._built(None, timing)
        if phase == FREE:
            return free
        if phase not in self.phases:
            raise InputError(f"unknown phase {phase!r}: {nearest(phase, self.phases)}")
        _, target = self.subject.sample(self.sample)
        goal = target.double() if target.is_floating_point() else target
        output = torch.from_numpy(free.output(solve(free.circuit)))[None]
        nudges = phases_of(self.subject.plan, output, goal)
        return self._built(nudges[self.phases.index(phase) - 1], timing)

    def _built(self, nudge: Nudge | None, timing: Timing | None) -> Built:
        """Return the circuit under ``nudge``."""
        machine, inner = self.subject.machine, self.subject.simulated
        wires = machine.wires if isinstance(machine, CircuitMachine) else None
        volts = [own.cell.read_voltage for own in map(cells_of, inner.stores) if own is not None]
        x = self.subject.sample(self.sample)[0][0].double().flatten()
        one = volts[0] if volts else 1.0
        return circuit_of(inner, x, nudge, 0, wires, timing, one, self.wired)


def _named(strength: float | complex) -> str:
    """Return the name of the phase of a nudge of ``strength`` times beta.

    >>> [_named(strength) for strength in (1.0, -0.5)]
    ['positive', 'negative 0.5']
    """
    if isinstance(strength, complex):
        raise InputError("a circuit has no complex currents, which this estimator nudges with")
    size = "" if abs(strength) == 1 else f" {abs(strength):g}"
    return f"{'positive' if strength > 0 else 'negative'}{size}"


@dataclass(frozen=True)
class Phase:
    """One phase of a circuit in time: ``times``, s, from the start of the phase.

    ``layers``: states then, ``(k, units)``, of every layer; ``settled``: the time, s, at which all
    of them stay within the tolerance, 0 where they never leave it.
    """

    name: str
    times: Array
    layers: tuple[Array, ...]
    settled: float
    switchings: int


def phases(
    bench: Bench, timing: Timing, tolerance: float = 0.5 / 127, accuracy: float = 1e-5
) -> list[Phase]:
    """Let a circuit settle free from rest, then under each nudge from where it rests.

    ``tolerance``: of the states, relative to the largest state of their layer at rest; by default
    half a step of 8 bits. ``accuracy``: of a step in time, of the largest voltage.
    """
    free = bench.circuit(FREE, timing)
    found = [_phase(FREE, free, transient(free.circuit, None, accuracy), tolerance)]
    at = solve(free.circuit)
    for name in bench.phases[1:]:
        nudged = bench.circuit(name, timing)
        record = transient(nudged.circuit, at.voltages, accuracy)
        found.append(_phase(name, nudged, record, tolerance))
    return found


def _phase(name: str, built: Built, record: Transient, tolerance: float) -> Phase:
    layers, times = built.states(record), [0.0]
    for nodes, states in zip(built.layers, layers, strict=True):
        size = float(np.abs(states[-1]).max(initial=0.0)) * built.volts
        if size:
            times.append(record.settling(nodes, tolerance * size))
    return Phase(name, record.times, tuple(layers), max(times), len(record.switchings))
