"""Circuits in time against closed forms, their own operating points, and ngspice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from madem.circuit import (
    Amplifier,
    Built,
    Capacitor,
    Circuit,
    Diode,
    Neuron,
    Resistor,
    Source,
    Table,
    Timing,
    hopfield,
    pairs,
    resistive,
    settling_times,
    transient,
    waveforms,
)
from madem.errors import InputError
from madem.network import Current as Nudged
from madem.network import Nudge, Wires
from tests.circuit.test_circuit import HOPFIELD, NGSPICE, WIRES
from tests.zoo import batch_of, machine_of

UNIT = 2e-5
TIMING = Timing(neuron=1e-12, line=1e-15, tau=1e-9)
RC = (
    Source("v", "in", "0", 1.0),
    Resistor("r", "in", "out", 1e-3),
    Capacitor("c", "out", "0", 1e-12),
)  # 1 ns
CLAMPS = {
    "rc": Circuit(RC),
    "diode": Circuit((*RC, Diode("d", "out", "0", 1e-9, 0.02585))),
    "wall": Circuit((*RC, Table("w", "out", "0", (-0.5, 0.5, 1.5), (0.0, 0.0, 1.0), 10.0))),
}


def timed(name: str, wires: Wires | None, nudge: Nudge | None = None) -> Built:
    """The circuit of a network of the zoo, weights and conductances in units of 20 uS."""
    machine, x = machine_of(name), batch_of(name)[0][0]
    network, p = machine.network, [UNIT * q for q in machine.parameters]
    if name in HOPFIELD:
        bars = [pairs(w, b) for w, b in zip(p[::2], p[1::2], strict=True)]
        return hopfield(network, bars, x, nudge, wires, TIMING, [UNIT] * len(bars))
    joints = [p[i : i + 2] for i in range(0, len(p), 2)]
    return resistive(network, joints, x, nudge, wires, TIMING)


def nodes_of(built: Built) -> list[str]:
    return [node for layer in built.layers for node in layer]


@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-3])
def test_a_capacitor_charges_as_an_exponential(tolerance: float) -> None:
    found = transient(CLAMPS["rc"])
    assert np.abs(found["out"] - (1 - np.exp(-found.times / 1e-9))).max() < 2e-5
    assert found.settling(["out"], tolerance) == pytest.approx(-1e-9 * np.log(tolerance), rel=1e-3)
    assert found.factored < found.steps / 2  # factors are kept


def test_errors_fall_with_the_accuracy_asked_for() -> None:
    errors = []
    for accuracy in (1e-4, 1e-6):
        found = transient(CLAMPS["rc"], accuracy=accuracy)
        errors.append(np.abs(found["out"] - (1 - np.exp(-found.times / 1e-9))).max())
    assert errors[1] < errors[0] / 10  # order 2, local error order 3: 100^(2/3) = 22


def test_a_wall_is_met_when_it_is() -> None:
    (met,) = transient(CLAMPS["wall"]).switchings
    assert met.name == "w"
    assert met.piece == 1
    assert met.seconds == pytest.approx(1e-9 * np.log(2), rel=1e-3)


def test_a_neuron_is_held_and_let_go() -> None:
    """Out follows clip(2 in) by 1 ns; in charges through 1 ns: held from in = 1/2 on, ln 2 ns."""
    sensed = (Resistor("g", "in2", "s", 1e-3), Source("sense", "s", "0", 0.0))
    neuron = Neuron("n", "out2", (("sense", 2e3),), low=-1.0, high=1.0, tau=1e-9)
    follow = Amplifier("f", "out", "in2", 1.0)
    circuit = Circuit((*RC, follow, *sensed, neuron))
    found = transient(circuit)
    (held,) = found.switchings
    assert (held.name, held.piece) == ("n", 2)
    assert held.seconds == pytest.approx(1e-9 * np.log(2), rel=1e-3)
    t = found.times / 1e-9
    rising = 2 - 2 * (1 + t) * np.exp(-t)
    at = rising[np.abs(t - np.log(2)).argmin()]
    exact = np.where(t < np.log(2), rising, 1 - (1 - at) * np.exp(-(t - np.log(2))))
    assert np.abs(found["out2"] - exact).max() < 1e-4
    back = transient(
        Circuit((Source("v", "in", "0", 0.0), *circuit.elements[1:])), {"out": 1.0, "out2": 1.0}
    )
    assert [(s.name, s.piece) for s in back.switchings] == [("n", 1)]
    assert back.switchings[0].seconds == pytest.approx(1e-9 * np.log(2), rel=1e-3)


@pytest.mark.parametrize("wires", [None, WIRES])
@pytest.mark.parametrize("name", ["resistive", "double-diodes", "amplified", "hopfield", "pair"])
def test_it_ends_where_the_circuit_rests(name: str, wires: Wires | None) -> None:
    built = timed(name, wires)
    found = transient(built.circuit)
    rest = built.states(found.rest)
    for trace, state in zip(built.states(found), rest, strict=True):
        assert np.abs(trace[-1] - state).max() < 1e-4 * max(1.0, np.abs(state).max())
        assert np.abs(trace[0]).max() < 1e-6
    largest = max(float(np.abs(state).max()) for state in rest) * built.volts
    fine = found.settling(nodes_of(built), 1e-2 * largest)
    assert 0 < found.settling(nodes_of(built), 1e-1 * largest) < fine < found.times[-1]


def against(
    circuit: Circuit, nodes: Sequence[str], start: dict[str, float] | None = None
) -> tuple[float, float]:
    """Return the error of the settling time, and of the waveforms relative to what they move."""
    ours = transient(circuit, start)
    rest = np.array([ours.rest[node] for node in nodes])
    begun = np.array([(start or {}).get(node, 0.0) for node in nodes])
    moves = float(np.abs(rest - begun).max())
    mine = ours.settling(nodes, 1e-2 * moves)
    times, volts = waveforms(circuit, nodes, 2 * mine, start)
    theirs = float(settling_times(times, np.abs(volts - rest) / (1e-2 * moves)).max())
    traces = np.stack([np.interp(times, ours.times, ours[node]) for node in nodes], 1)
    return abs(mine / theirs - 1), float(np.abs(traces - volts).max()) / moves


@NGSPICE
@pytest.mark.parametrize("name", CLAMPS)
def test_clamps_against_ngspice(name: str) -> None:
    settling, wave = against(CLAMPS[name], ["out"])
    assert settling < 0.01
    assert wave < 1e-3


@NGSPICE
@pytest.mark.parametrize(
    ("name", "wires"),
    [(name, wires) for name in ("resistive", "double-diodes", "hopfield", "pair")
     for wires in (None, WIRES)] + [("amplified", None)],
)  # fmt: skip
def test_networks_against_ngspice(name: str, wires: Wires | None) -> None:
    """The bar is 2 %. With wires ngspice takes half a minute for the amplified network."""
    built = timed(name, wires)
    settling, wave = against(built.circuit, nodes_of(built))
    assert settling < 0.01
    assert wave < 2e-3


@NGSPICE
@pytest.mark.parametrize("name", ["pair", "double-diodes"])
@pytest.mark.parametrize("sign", [1, -1])
def test_nudged_phases_against_ngspice(name: str, sign: int) -> None:
    free = transient(timed(name, None).circuit).rest
    strength = 0.5 if name in HOPFIELD else 0.5 * UNIT
    push = torch.linspace(-0.5, 0.5, 4, dtype=torch.float64)[None]
    built = timed(name, None, Nudged(sign * strength, push))
    settling, wave = against(built.circuit, nodes_of(built), free.voltages)
    assert settling < 0.01
    assert wave < 3e-3


def test_bad_input() -> None:
    with pytest.raises(InputError, match="nothing in the circuit takes time"):
        transient(Circuit((*RC[:2], Resistor("s", "out", "0", 1e-3))))
    with pytest.raises(InputError, match="has not settled after 3 steps"):
        transient(CLAMPS["rc"], budget=3)
    with pytest.raises(InputError, match="record ends before"):
        transient(CLAMPS["rc"]).settling(["out"], 1e-6)
