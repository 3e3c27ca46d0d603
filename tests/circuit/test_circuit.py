"""Circuits against ideal solvers, closed laws, finite differences and ngspice."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from madem.circuit import (
    Amplifier,
    Built,
    Circuit,
    Current,
    Diode,
    Resistor,
    Sinh,
    Source,
    Table,
    Terminals,
    array,
    hopfield,
    pairs,
    resistive,
    sensitivity,
    solve,
    verify,
)
from madem.circuit.build import STIFF
from madem.errors import InputError
from madem.network import Current as Nudged
from madem.network import Hold, Nudge, Spring, Wires
from madem.solver import read
from tests.zoo import ZOO, batch_of, machine_of

RESISTIVE = ["resistive", "resistive-mirror", "single-diodes", "double-diodes", "table",
             "amplified"]  # fmt: skip
HOPFIELD = ["hopfield", "pair", "readout"]
NGSPICE = pytest.mark.skipif(shutil.which("ngspice") is None, reason="needs ngspice")
WIRES = Wires(2.0, 3.0, 5.0, 7.0)


def built(name: str, nudge: Nudge | None, wires: Wires | None = None, sample: int = 0) -> Built:
    """The circuit of a network of the zoo."""
    machine, x = machine_of(name), batch_of(name)[0][sample]
    network, parameters = machine.network, machine.parameters
    if name in HOPFIELD:
        bars = [pairs(w, b) for w, b in zip(parameters[::2], parameters[1::2], strict=True)]
        return hopfield(network, bars, x, nudge, wires)
    joints = [list(parameters[i : i + 2]) for i in range(0, len(parameters), 2)]
    if wires is not None:  # siemens instead of millisiemens would drown in wires of an ohm
        joints = [[1e-3 * p for p in joint] for joint in joints]
    return resistive(network, joints, x, nudge, wires)


def nudges(name: str) -> list[Nudge | None]:
    gradient = torch.linspace(-0.5, 0.5, 4, dtype=torch.float64)[None]
    found = [None, Nudged(0.1, gradient), Nudged(-0.1, gradient)]
    if name == "readout":
        return found
    return [*found, Spring(0.1, gradient), Spring(-2e-3, gradient), Hold(gradient)]


@pytest.mark.parametrize("name", RESISTIVE + HOPFIELD)
def test_the_circuit_rests_where_the_network_does(name: str) -> None:
    machine, x = machine_of(name), batch_of(name)[0][:1]
    free = machine.settle(x)
    for nudge in nudges(name):
        settled = machine.settle(x, nudge, free) if nudge else free
        wanted = settled.rest.states
        if settled.origin is not None:
            wanted = tuple(s + u for s, u in zip(free.rest.states, wanted, strict=True))
        made = built(name, nudge)
        at = solve(made.circuit)
        states = made.states(at)
        # ideal diodes of a circuit conduct STIFF times better, not infinitely
        close = 1 / STIFF if {"resistive", "resistive-mirror", "amplified"} & {name} else 1e-11
        kept = -1 if name == "readout" else None
        for ours, theirs in zip(states[:kept], wanted[:kept], strict=True):
            assert np.abs(ours - theirs[0].numpy()).max() < close * 3
        if nudge is None:
            assert np.abs(made.output(at) - free.output[0].numpy()).max() < close * 3
        assert at.balance < 1e-10


def weakened(nudge: Nudge | None) -> Nudge | None:
    """Return the nudge for millisiemens in place of siemens."""
    if isinstance(nudge, Nudged):
        return replace(nudge, beta=1e-3 * nudge.beta)
    return Spring(1e-4, nudge.target) if isinstance(nudge, Spring) else nudge


@NGSPICE
@pytest.mark.parametrize("wires", [None, WIRES])
@pytest.mark.parametrize("name", RESISTIVE + HOPFIELD)
def test_against_ngspice(name: str, wires: Wires | None) -> None:
    for nudge in nudges(name):
        made = built(name, nudge if wires is None else weakened(nudge), wires)
        found = verify("any", made.circuit)
        assert found.max_relative_difference < 1e-9
        assert found.nodes == len(made.circuit.nodes)
        assert found.power_balance_relative < 1e-9


def test_a_crossbar_is_what_the_kernel_solves() -> None:
    g = torch.rand(12, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 1e-4
    v = torch.linspace(-0.2, 0.2, 12, dtype=torch.float64)
    terminals = Terminals([f"x{i}" for i in range(12)], [f"y{j}" for j in range(9)])
    sources = [Source(f"v{i}", f"x{i}", "0", float(u)) for i, u in enumerate(v)]
    senses = [Source(f"s{j}", f"y{j}", "0", 0.0) for j in range(9)]
    at = solve(Circuit((*sources, *senses, *array("tile", g.numpy(), terminals, WIRES))))
    found = read(g, v[None], WIRES, nodes=True)
    currents = np.array([at.current(f"s{j}") for j in range(9)])
    assert np.abs(currents - found.currents[0].numpy()).max() < 1e-12 * np.abs(currents).max()
    assert found.word is not None
    mine = np.array([[at[f"tile.w{i}_{j}"] for j in range(9)] for i in range(12)])
    assert np.abs(mine - found.word[0].numpy()).max() < 1e-12


def nonlinear() -> Circuit:
    """Wires, cells that bend, diodes and a bidirectional amplifier in one circuit."""
    g = np.random.default_rng(0).uniform(1e-5, 1e-4, (2, 4, 3))
    x = [Source(f"in{k}", f"x{k}", "0", 0.4 - 0.3 * k) for k in range(4)]
    below, above = (tuple(f"{n}{k}" for k in range(3)) for n in "ha")
    first = array("tile1", g[0], Terminals([f"x{k}" for k in range(4)], below), WIRES, bend=0.3)
    second = array("tile2", g[1][:3, :2], Terminals(above, ("y0", "y1")), WIRES)
    diodes = [Diode(f"d{k}", f"h{k}", "0", 1e-8, 0.02585) for k in range(3)]
    diodes += [Diode(f"e{k}", "0", f"h{k}", 1e-8, 0.02585) for k in range(3)]
    stage = [Amplifier(f"a.{k}", f"h{k}", f"a{k}", 2.0, 0.5) for k in range(3)]
    return Circuit((*x, *first, *second, *diodes, *stage, Resistor("load", "y0", "0", 1e-5)))


def cells(circuit: Circuit) -> list[str]:
    return [e.name for e in circuit.elements if "cell" in e.name]


def changed(circuit: Circuit, name: str, by: float) -> Circuit:
    return Circuit(
        tuple(
            replace(e, siemens=e.siemens + by) if e.name == name else e  # type: ignore[type-var,union-attr,call-arg]
            for e in circuit.elements
        )
    )


def test_implicit_differentiation_is_finite_differences() -> None:
    circuit = nonlinear()
    exact = sensitivity(solve(circuit), {"y0": 1.0, "y1": -2.0})
    largest = max(abs(exact[name]) for name in cells(circuit))
    for name in cells(circuit):
        cost = []
        for by in (-2e-9, -1e-9, 1e-9, 2e-9):
            at = solve(changed(circuit, name, by))
            cost.append(at["y0"] - 2 * at["y1"])
        slope = (8 * (cost[2] - cost[1]) - (cost[3] - cost[0])) / 12e-9
        assert abs(slope - exact[name]) < 1e-7 * largest


def test_centred_contrasts_converge_with_order_two() -> None:
    circuit = nonlinear()
    free = solve(circuit)
    target = {"y0": 0.02, "y1": -0.03}
    pull = {node: free[node] - aim for node, aim in target.items()}
    exact = sensitivity(free, pull)
    linear = [e for e in circuit.elements if e.name in cells(circuit)]
    errors = []
    for beta in (1.6e-4, 0.8e-4, 0.4e-4):
        sides = []
        for sign in (1, -1):
            pushed = [Current(f"n{k}", node, "0", sign * beta * p) for k, (node, p) in
                      enumerate(pull.items())]  # fmt: skip
            sides.append(solve(Circuit((*circuit.elements, *pushed))))
        worst = 0.0
        for e in linear:
            share = 1.0 if e.name.startswith("tile1") else 0.25
            contents = []
            for at in sides:
                u = at[e.a] - at[e.b]  # type: ignore[union-attr]
                bend = 0.3**2 * (np.cosh(u / 0.3) - 1) if isinstance(e, Sinh) else u * u / 2
                contents.append(share * bend)
            # the nudge is 1 / share stronger in the one energy, whose share at the outputs is 1/4
            found = (contents[0] - contents[1]) / (2 * beta * 0.25)
            worst = max(worst, abs(found - exact[e.name]))
        errors.append(worst)
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.abs(orders - 2).max() < 0.1


def test_bad_circuits() -> None:
    with pytest.raises(InputError, match="node 'b' floats"):
        solve(Circuit((Source("v", "a", "0", 1.0), Current("i", "a", "b", 1.0))))
    with pytest.raises(InputError, match="two elements of the circuit are called 'r'"):
        Circuit((Resistor("r", "a", "0", 1.0), Resistor("r", "b", "0", 1.0)))
    with pytest.raises(InputError, match="siemens of 'r' must be finite"):
        Circuit((Resistor("r", "a", "0", float("nan")),))
    with pytest.raises(InputError, match="singular"):
        solve(Circuit((Resistor("r", "a", "0", 1.0), Resistor("s", "a", "0", -1.0))))
    with pytest.raises(InputError, match=r"cell \(0, 0\) of tile is -1"):
        array("tile", -np.ones((1, 1)), Terminals("a", "b"))
    with pytest.raises(InputError, match="did not come to rest within 2 iterations"):
        solve(nonlinear(), budget=2)
    with pytest.raises(InputError, match="which has no circuit of resistors"):
        resistive(ZOO["hopfield"], [[], [], []], torch.zeros(9))
    with pytest.raises(InputError, match="has no behavioural neuron"):
        hopfield(ZOO["tanh"], [[], []], torch.zeros(9))


def test_a_table_is_followed_over_many_pieces() -> None:
    volts = tuple(0.1 * k for k in range(-10, 11))
    cubes = tuple(v**3 + 0.01 * v for v in volts)
    circuit = Circuit((Current("i", "0", "a", 0.5), Table("t", "a", "0", volts, cubes)))
    at = solve(circuit)
    assert at["a"] == pytest.approx(np.interp(0.5, cubes, volts), rel=1e-12)
