"""What may stand in a circuit and in its netlist: nothing that is read as a command."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from madem.circuit import (
    Amplifier,
    Circuit,
    Current,
    Diode,
    Neuron,
    Resistor,
    Source,
    Table,
    hopfield,
    netlist,
    pairs,
    resistive,
    solve,
    verify,
    waveforms,
)
from madem.circuit.elements import Array, Element
from madem.circuit.spice import operating_point
from madem.errors import InputError
from madem.network import Box, Dense, Free, Layer, Network, Resistive
from madem.network import Current as Nudged

NGSPICE = pytest.mark.skipif(shutil.which("ngspice") is None, reason="needs ngspice")
PAYLOAD = "x\n.control\nshell touch TOUCHED\n.endc"
R = Resistor("r", "a", "0", 1.0)
V = Source("v", "a", "0", 1.0)


def with_value(element: Element, field: str, value: object) -> Circuit:
    """A circuit with an element that holds anything in a field, past the checks of types."""
    object.__setattr__(element, field, value)
    return Circuit((V, element))


ATTACKS: dict[str, Callable[[], object]] = {
    "title": lambda: Circuit((V, R), PAYLOAD),
    "title, carriage return": lambda: Circuit((V, R), "x\r.control"),
    "title, form feed": lambda: Circuit((V, R), "x\x0c.control"),
    "title, line separator": lambda: Circuit((V, R), "x\u2028.control"),
    "name of an element": lambda: Circuit((V, Resistor(f"r {PAYLOAD}", "a", "0", 1.0))),
    "name of a part": lambda: Circuit((V, Resistor(f"{PAYLOAD}.r", "a", "0", 1.0))),
    "name of a node": lambda: Circuit((V, Resistor("r", f"a{PAYLOAD}", "0", 1.0))),
    "leading dot": lambda: Circuit((V, Resistor(".control", "a", "0", 1.0))),
    "leading dot of a node": lambda: Circuit((V, Resistor("r", ".control", "0", 1.0))),
    "space": lambda: Circuit((V, Resistor("r", "a 0 1", "0", 1.0))),
    "no name": lambda: Circuit((V, Resistor("", "a", "0", 1.0))),
    "brace": lambda: Circuit((V, Resistor("r{1}", "a", "0", 1.0))),
    "name of a sense": lambda: Circuit((V, Neuron("n", "b", ((f"v)\n{PAYLOAD}", 1.0),)))),
    "value": lambda: with_value(Resistor("r", "a", "0", 1.0), "siemens", PAYLOAD),
    "value of a diode": lambda: with_value(Diode("d", "a", "0", 1.0, 0.1), "thermal", PAYLOAD),
    "value of a table": lambda: with_value(
        Table("t", "a", "0", (0.0, 1.0), (0.0, 1.0)), "amperes", (0.0, PAYLOAD)
    ),
    "factor of a sense": lambda: with_value(
        Neuron("n", "b", (("v", 1.0),)), "senses", (("v", PAYLOAD),)
    ),
    "first guess": lambda: netlist(Circuit((V, R)), guess={f"a)=0\n{PAYLOAD}": 0.0}),
    "start": lambda: netlist(Circuit((V, R)), begin={f"a)=0\n{PAYLOAD}": 0.0}),
    "node of a waveform": lambda: waveforms(Circuit((V, R)), [f"a)\n{PAYLOAD}"], 1e-9),
}


@pytest.mark.parametrize("where", ATTACKS)
def test_nothing_is_read_as_a_command(where: str) -> None:
    with pytest.raises(InputError) as told:
        ATTACKS[where]()
    assert len(str(told.value)) < 300
    assert "\n" not in str(told.value)


@NGSPICE
def test_ngspice_runs_no_title(tmp_path: Path) -> None:
    """The attack as it was; whatever a circuit accepts, ngspice reads as a comment."""
    for title in (PAYLOAD, "x", ".control", "shell touch TOUCHED", "* x", "+ y", ".include /etc"):
        try:
            text = netlist(Circuit((V, R), title))
        except InputError:
            continue
        (tmp_path / "circuit.cir").write_text(text)
        done = subprocess.run(["ngspice", "-b", "circuit.cir"], cwd=tmp_path, capture_output=True,
                              text=True, check=False)  # fmt: skip
        assert "1.0000" in done.stdout or done.returncode == 0
        assert {path.name for path in tmp_path.iterdir()} == {"circuit.cir"}


@NGSPICE
def test_numbers_of_numpy_are_numbers_in_a_netlist() -> None:
    divider = Circuit((Source("v", "in", "0", np.float64(1.0)),
                       Resistor("r", "in", "out", np.float64(0.5)), Resistor("s", "out", "0", 1.0),
                       Resistor("open", "out", "0", 0.0)))  # fmt: skip
    assert operating_point(divider)["out"] == pytest.approx(1 / 3)
    assert verify("free", divider).max_relative_difference < 1e-12


OTHER_CIRCUITS: dict[str, tuple[str, Circuit]] = {
    "case of nodes": ("nodes 'a' and 'A'", Circuit((V, R, Resistor("s", "A", "a", 1.0)))),
    "case of elements": ("elements 'r' and 'R'", Circuit((V, R, Resistor("R", "a", "0", 1.0)))),
    "ground": ("node 'gnd' for ground", Circuit((V, R, Resistor("s", "gnd", "a", 1.0)))),
    "another part": (
        "sense sources of its own part",
        Circuit((V, R, Neuron("part.n", "b", (("v", 1.0),)), Resistor("s", "b", "0", 1.0))),
    ),
}


@pytest.mark.parametrize("case", OTHER_CIRCUITS)
def test_what_ngspice_would_take_for_another_circuit_has_no_netlist(case: str) -> None:
    message, circuit = OTHER_CIRCUITS[case]
    solve(circuit)
    with pytest.raises(InputError, match=message):
        netlist(circuit)


@pytest.mark.parametrize("sense", ["r", "nowhere", "n", "amplifier"])
def test_a_neuron_senses_sources(sense: str) -> None:
    amplifier = Amplifier("amplifier", "a", "c", 2.0)
    with pytest.raises(InputError, match=rf"neuron 'n' senses '{sense}', .*allowed: v\)"):
        Circuit((V, R, amplifier, Neuron("n", "b", ((sense, 1.0),))))
    many = [Source(f"in{k}", f"x{k}", "0", 1.0) for k in range(500)]
    with pytest.raises(InputError) as told:
        Circuit((*many, Neuron("n", "b", (("nowhere", 1.0),))))
    assert len(str(told.value)) < 300


# --- elements, laws and nudges of one's own


@dataclass(frozen=True)
class Cube:
    """A device of one's own: ``i = v + v^3``."""

    name: str
    a: str
    b: str
    scale: float = 1.0

    @property
    def kind(self) -> object:
        return "cube"

    def flow(self, volts: Array) -> tuple[Array, Array]:
        return volts + volts**3, 1 + 3 * volts**2

    def limited(self, wanted: Array, before: Array) -> Array:
        del before
        return wanted


class Weak(Diode):
    """A subclass that conducts half as well."""

    def flow(self, volts: Array) -> tuple[Array, Array]:
        current, slope = super().flow(volts)
        return current / 2, slope / 2


def test_a_device_of_ones_own_carries_its_current() -> None:
    found = solve(Circuit((Current("i", "0", "a", 10.0), Cube("c", "a", "0"))))
    assert found["a"] == pytest.approx(2.0)
    assert found.balance < 1e-12


def test_a_subclass_is_not_solved_with_its_base() -> None:
    for devices in ((Diode, Weak), (Weak, Diode)):
        kinds = {kind: f"n{k}" for k, kind in enumerate(devices)}
        found = solve(Circuit(tuple(
            part for kind, node in kinds.items()
            for part in (Current(f"i{node}", "0", node, 1e-3), kind(node, node, "0", 1e-9, 0.025))
        )))  # fmt: skip
        for kind, node in kinds.items():
            size = 0.5 if kind is Weak else 1.0
            assert size * 1e-9 * np.expm1(found[node] / 0.025) == pytest.approx(1e-3)


def test_elements_of_ones_own_have_no_netlist() -> None:
    for stranger in (Cube("c", "a", "0"), Weak("c", "a", "0", 1e-9, 0.025)):
        with pytest.raises(InputError, match="element 'c' is a .*, which no netlist has"):
            netlist(Circuit((V, R, stranger)))


class Soft(Box):
    def rest(self, a: float | Tensor, d: Tensor) -> Tensor:
        return torch.tanh(super().rest(a, d))


class Squeezed(Nudged):
    pass


class Odd(Resistive):
    pass


class Wide(Dense):
    pass


def test_networks_of_ones_own_become_no_circuit() -> None:
    """A subclass may do anything: it is refused, not drawn as its base."""
    g, x = [[torch.ones(2, 2)]], torch.ones(2)
    plain = (Resistive((2,), 2, bias=False),)

    def circuit(law: object, joints: tuple[object, ...], nudge: object = None) -> object:
        network = Network(2, (Layer(2, law),), joints)  # type: ignore[arg-type]
        return resistive(network, g, x, nudge)  # type: ignore[arg-type]

    with pytest.raises(InputError, match="law Soft has no circuit"):
        circuit(Soft(), plain)
    with pytest.raises(InputError, match="joint 1 is a Odd"):
        circuit(Box(), (Odd((2,), 2, bias=False),))
    with pytest.raises(InputError, match="nudge Squeezed has no circuit"):
        circuit(Box(), plain, Squeezed(0.1, torch.ones(1, 2)))
    bars = [pairs(torch.ones(2, 2), torch.zeros(2))]
    for law, joint, nudge, message in (
        (Soft(), Dense((2,), 2), None, "law Soft.* has no behavioural neuron"),
        (Free(), Wide((2,), 2), None, "only Dense joints"),
        (Free(), Dense((2,), 2), Squeezed(0.1, torch.ones(1, 2)), "nudge Squeezed has no circuit"),
    ):
        with pytest.raises(InputError, match=message):
            hopfield(Network(2, (Layer(2, law),), (joint,)), bars, x, nudge)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("printf 'a = nan\\n'", "found no operating point"),
        ("printf 'a = b\\n'", "found no operating point"),
        ("printf '\\351 = 1\\n'", "found no operating point"),
        ("kill -SEGV $$", "found no operating point"),
        ("sleep 9 & sleep 9", "came to no end within 0.5 s"),
    ],
)
def test_an_ngspice_that_fails_is_one_line(
    script: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ngspice").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "ngspice").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("madem.circuit.spice.PATIENCE", 0.5)
    with pytest.raises(InputError, match=told):
        operating_point(Circuit((Source("v", "a", "0", 1.0), Resistor("r", "a", "0", 0.5))))
