"""Netlists in ngspice's dialect, and what ngspice says of them.

Every part of a circuit becomes a subcircuit, its ports being the nodes that it shares. Diodes are
written as behavioural sources, because ngspice's own diode leaves Shockley's law below -3 V_T.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from madem.circuit.elements import (
    GROUND,
    Amplifier,
    Array,
    Capacitor,
    Circuit,
    Current,
    Diode,
    Element,
    Neuron,
    Resistor,
    Sinh,
    Source,
    Table,
    check_name,
    ends,
    part_of,
)
from madem.circuit.newton import Operating, solve
from madem.errors import InputError, nearest

OPTIONS = ".options reltol=1e-9 abstol=1e-18 vntol=1e-15 gmin=1e-18 itl1=2000"
IN_TIME = ".options reltol=1e-6 abstol=1e-15 vntol=1e-9 gmin=1e-18 itl4=200"
NUMBER = r"[-+]?\d\.\d+e[-+]\d+"
PATIENCE = 1800.0
"""Seconds after which ngspice is given up."""


@dataclass(frozen=True)
class Verified:
    """One phase, ours against ngspice.

    ``max_relative_difference``: of node voltages, relative to the largest one;
    ``kirchhoff_residual_amperes``: the largest sum of currents at a node of ours;
    ``power_balance_relative``: the sum of all powers over the sum of their magnitudes; ``guided``:
    whether ngspice came to rest only from a first guess near our voltages.
    """

    phase: str
    max_relative_difference: float
    kirchhoff_residual_amperes: float
    power_balance_relative: float
    nodes: int
    guided: bool = False


def netlist(
    circuit: Circuit,
    control: tuple[str, ...] = (),
    guess: Mapping[str, float] | None = None,
    begin: Mapping[str, float] | None = None,
) -> str:
    """Return the netlist; ``control`` lines are run by ngspice in batch mode.

    ``guess``: voltages of nodes from which ngspice looks for an operating point; ``begin``: those
    from which a transient analysis starts, its options in place of the operating point's.

    >>> from madem.circuit import Resistor, Source
    >>> text = netlist(Circuit((Source("v", "a", "0", 1.0), Resistor("cell.r", "a", "0", 0.5))))
    >>> print(text.split(chr(10) + chr(10))[1])
    .subckt cell a
    Rr a 0 2.0
    .ends
    """
    _check_names(circuit, {**(guess or {}), **(begin or {})})
    parts: dict[str, list[Element]] = {}
    for element in circuit.elements:
        parts.setdefault(part_of(element.name), []).append(element)
    blocks, calls = [], []
    for part, elements in parts.items():
        if not part:
            continue
        shared = dict.fromkeys(n for e in elements for n in ends(e)
                               if n != GROUND and part_of(n) != part)  # fmt: skip
        cards = [card for element in elements for card in _lines(element)]
        head = _wrapped(f".subckt {part} {' '.join(shared)}")
        blocks.append("\n".join([head, *map(_wrapped, cards), ".ends"]))
        calls.append(_wrapped(f"X{part} {' '.join(shared)} {part}"))
    top = [_wrapped(card) for element in parts.get("", []) for card in _lines(element)]
    tail = [".control", "set numdgt=16", *control, ".endc"] if control else [".op"]
    first = [f".nodeset v({instance(n)})={_number(v)}" for n, v in (guess or {}).items()]
    options = OPTIONS if begin is None else IN_TIME
    first += [f".ic v({n})={_number(v)}" for n, v in _charged(circuit, begin or {}).items()]
    main = "\n".join([*top, *calls, options, *first, *tail, ".end", ""])
    return "\n\n".join([f"* madem: {circuit.title}", *blocks, main])


def _check_names(circuit: Circuit, given: Mapping[str, float]) -> None:
    """Refuse what ngspice would take for another circuit.

    It knows no case, calls ground ``gnd`` too, and lets a neuron see the sources of its part alone.
    """
    for name in given:
        check_name(name)
    for what, names in (("nodes", circuit.nodes), ("elements", [e.name for e in circuit.elements])):
        seen: dict[str, str] = {}
        for name in names:
            other = seen.setdefault(name.lower(), name)
            if other != name:
                raise InputError(f"ngspice takes the {what} {other!r} and {name!r} for one")
            if what == "nodes" and name.lower() == "gnd":
                raise InputError(f"ngspice takes the node {name!r} for ground: rename it")
    for element in circuit.elements:
        if isinstance(element, Neuron):
            for sensed, _ in element.senses:
                if part_of(sensed) != part_of(element.name):
                    raise InputError(
                        f"in a netlist neuron {element.name!r} can sense sources of its own part "
                        f"alone, but senses {sensed!r}"
                    )


def operating_point(circuit: Circuit, guess: Mapping[str, float] | None = None) -> dict[str, float]:
    """Return the voltages that ngspice finds for all nodes of ``circuit``, from ``guess`` if given.

    Raises ``InputError`` where ngspice is not installed, or does not find them.
    """
    told = run(netlist(circuit, ("op", "print all"), guess))
    seen = {name: float(value) for name, value in
            re.findall(rf"^([\w.]+) = ({NUMBER})$", told, re.MULTILINE)}  # fmt: skip
    missing = [node for node in circuit.nodes if instance(node) not in seen]
    if missing:
        raise InputError(
            f"ngspice found no operating point; it said: {' '.join(told.split()[-40:])}"
        )
    return {node: seen[instance(node)] for node in circuit.nodes}


def verify(phase: str, circuit: Circuit) -> Verified:
    """Solve a circuit, let ngspice solve it, and compare.

    Stiff ideal diodes keep ngspice from coming to rest from nothing; it then starts from our
    voltages rounded to six digits, and has to find the others.
    """
    at = solve(circuit)
    try:
        return compare(phase, at, operating_point(circuit))
    except InputError as error:
        if "no operating point" not in str(error):
            raise
    guess = {node: float(f"{volts:.5e}") for node, volts in at.voltages.items()}
    return replace(compare(phase, at, operating_point(circuit, guess)), guided=True)


def waveforms(
    circuit: Circuit, nodes: Sequence[str], stop: float, start: Mapping[str, float] | None = None
) -> tuple[Array, Array]:
    """Return ngspice's times, s, ``(k,)``, and the voltages of ``nodes`` then, ``(k, nodes)``.

    A step at t = 0 from the voltages ``start`` (others: 0 V) up to ``stop``, s, by the trapezoidal
    rule in at least 2,000 steps. Raises ``InputError`` where ngspice is not installed, or gives up.
    """
    for node in nodes:
        if node not in circuit.nodes:
            known = circuit.nodes if len(circuit.nodes) <= 8 else circuit.nodes[:8]
            raise InputError(f"unknown node {str(node)[:60]!r}: {nearest(str(node)[:60], known)}")
    named = " ".join(f"v({instance(node)})" for node in nodes)
    step = stop / 2000
    tran = f"tran {step!r} {stop!r} 0 {step!r} uic"
    control = (tran, "set wr_singlescale", f"wrdata waves.txt {named}", "shell cat waves.txt")
    told = run(netlist(circuit, control, begin=start or {}))
    rows = re.findall(rf"^\s*((?:{NUMBER}\s+){{{len(nodes) + 1}}})$", told, re.MULTILINE)
    found = np.array([row.split() for row in rows], float).reshape(-1, len(nodes) + 1)
    if not len(found) or found[-1, 0] < 0.999 * stop:
        raise InputError(
            f"ngspice gave up in time; it said: {' '.join(told.split()[-40:])}"
        )  # fmt: skip
    return found[:, 0], found[:, 1:]


def run(text: str) -> str:
    """Run ngspice on a netlist and return what it prints.

    Raises ``InputError`` where it is not installed, or does not come to an end.
    """
    if shutil.which("ngspice") is None:
        raise InputError("ngspice is not installed; on Debian: apt-get install ngspice")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "circuit.cir").write_text(text)
        try:
            done = subprocess.run(
                ["ngspice", "-b", "circuit.cir"], cwd=folder, capture_output=True, text=True,
                check=False, errors="replace", timeout=PATIENCE,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise InputError(f"ngspice came to no end within {PATIENCE:g} s") from None
    return done.stdout + done.stderr


def instance(node: str) -> str:
    """Return a node's name as ngspice writes it.

    >>> instance("tile1.w0_1")
    'xtile1.w0_1'
    """
    return f"x{node}" if part_of(node) else node


def compare(phase: str, at: Operating, theirs: Mapping[str, float]) -> Verified:
    """Return how far an operating point is from ngspice's voltages ``theirs``."""
    ours = at.voltages
    mine = np.array([ours[node] for node in theirs])
    other = np.array(list(theirs.values()))
    scale = float(np.abs(other).max(initial=1e-300))
    difference = float(np.abs(mine - other).max(initial=0.0)) / scale
    return Verified(phase, difference, at.kirchhoff, at.balance, len(theirs))


def _charged(circuit: Circuit, begin: Mapping[str, float]) -> dict[str, float]:
    """Return what ngspice has to know of ``begin``: also the charge of every low-pass."""
    found = {instance(node): volts for node, volts in begin.items() if node in circuit.nodes}
    for element in circuit.elements:
        if isinstance(element, Amplifier | Neuron) and element.tau:
            node = ends(element)[-1]
            if node in begin:
                found[instance(f"{element.name}_p")] = begin[node]
    return found


def _lines(element: Element) -> list[str]:
    """Return the lines of an element of a known kind; a subclass may be anything."""
    kind = type(element)
    if kind not in CARDS:
        raise InputError(f"element {element.name!r} is a {kind.__name__}, which no netlist has")
    return CARDS[kind](element)


def _number(value: float) -> str:
    """Return a number with all its digits, of whatever type it is."""
    return repr(float(value))


def _local(name: str) -> str:
    return name.rpartition(".")[2]


def _head(letter: str, element: Element) -> str:
    """Return the name of an element in a netlist, and its nodes."""
    a, *rest = (_local(node) for node in ends(element))
    return f"{letter}{_local(element.name)} {a} {rest[0] if rest else GROUND}"


def _resistor(element: Resistor) -> list[str]:
    return [f"{_head('R', element)} {_number(1 / element.siemens if element.siemens else 1e30)}"]


def _source(element: Source) -> list[str]:
    return [f"{_head('V', element)} DC {_number(element.volts)}"]


def _current(element: Current) -> list[str]:
    return [f"{_head('I', element)} DC {_number(element.amperes)}"]


def _capacitor(element: Capacitor) -> list[str]:
    return [f"{_head('C', element)} {_number(element.farads)}"]


def _neuron(element: Neuron) -> list[str]:
    name = _local(element.name)
    senses = [f"{_number(factor)}*i(V{_local(source)})" for source, factor in element.senses]
    total = " + ".join([*senses, f"{_number(element.offset)}"])
    if np.isfinite(element.low):
        total = f"max({total}, {_number(element.low)})"
    if np.isfinite(element.high):
        total = f"min({total}, {_number(element.high)})"
    source, delayed = _delayed(name, _local(element.out), element.tau)
    return [f"B{name} {source} 0 V={{{total}}}", *delayed]


def _amplifier(element: Amplifier) -> list[str]:
    name, below = _local(element.name), _local(element.below)
    source, delayed = _delayed(name, f"{name}_e", element.tau)
    cards = [f"E{name} {source} 0 {below} 0 {_number(element.voltage_gain)}", *delayed]
    cards.append(f"V{name} {name}_e {_local(element.above)} DC 0")
    back = f"F{name} {below} 0 V{name} {_number(element.current_gain)}"
    return [*cards, back] if element.current_gain else cards


def _diode(element: Diode) -> list[str]:
    return [_behaviour(element, f"{_number(element.saturation)}*(exp({_across(element)}/"
                                f"{_number(element.thermal)})-1)")]  # fmt: skip


def _sinh(element: Sinh) -> list[str]:
    size = element.siemens * element.bend
    return [
        _behaviour(element, f"{_number(size)}*sinh({_across(element)}/{_number(element.bend)})")
    ]


def _table(element: Table) -> list[str]:
    at, flows, across = element.volts, element.amperes, _across(element)
    slopes = np.diff(flows) / np.diff(at)
    terms = [f"{_number(flows[0])}", f"{_number(slopes[0])}*({across}-({_number(at[0])}))"]
    for bend, turn in zip(at[1:-1], np.diff(slopes), strict=True):
        terms.append(f"{_number(turn)}*uramp({across}-({_number(bend)}))")
    return [_behaviour(element, f"{_number(element.scale)}*({' + '.join(terms)})")]


def _behaviour(element: Diode | Sinh | Table, current: str) -> str:
    return f"{_head('B', element)} I={{{current}}}"


def _across(element: Diode | Sinh | Table) -> str:
    """Return the voltage across an element as an expression."""
    a, b = _local(element.a), _local(element.b)
    if a == GROUND:
        return f"(-v({b}))"
    return f"v({a})" if b == GROUND else f"v({a},{b})"


def _delayed(name: str, node: str, tau: float) -> tuple[str, list[str]]:
    """Return the node to drive, and the low-pass from there to ``node``."""
    if not tau:
        return node, []
    return f"{name}_t", [f"Rt{name} {name}_t {name}_p 1.0", f"Ct{name} {name}_p 0 {_number(tau)}",
                         f"Et{name} {node} 0 {name}_p 0 1.0"]  # fmt: skip


def _wrapped(card: str, width: int = 110) -> str:
    """Break a long line where ngspice lets it go on."""
    lines, now = [], ""
    for word in card.split(" "):
        if now and len(now) + len(word) > width:
            lines.append(now)
            now = "+"
        now = f"{now} {word}" if now else word
    return "\n".join([*lines, now])


CARDS: dict[type, Callable[[Any], list[str]]] = {
    Resistor: _resistor, Source: _source, Current: _current, Capacitor: _capacitor,
    Neuron: _neuron, Amplifier: _amplifier, Diode: _diode, Sinh: _sinh, Table: _table,
}  # fmt: skip
"""How each kind of element is written."""
