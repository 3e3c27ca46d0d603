"""A network as a circuit: one sample, one phase, every node and every cell.

Resistive networks become what they are: resistors between the nodes of two layers, diodes at the
nodes, amplifiers between stages. Hopfield networks become crossbars of pairs whose sensed currents
drive behavioural neurons; the transposed read, which the chip does on the same array, is a second
instance of it. With ``wires`` every array has a resistance in each segment.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from torch import Tensor

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
)
from madem.circuit.newton import Operating
from madem.circuit.transient import Transient
from madem.errors import InputError
from madem.network import (
    Amplified,
    Box,
    Dense,
    Free,
    Halves,
    Hold,
    Law,
    Network,
    Nudge,
    Readout,
    Resistive,
    Shockley,
    Spring,
    Wires,
)
from madem.network import Current as CurrentNudge
from madem.network import Table as TableLaw

NO_NUDGE = "nudge {} has no circuit (allowed: Current, Spring, Hold)"

STIFF = 1e4
"""An ideal diode conducts so many times better than all that its node is joined to."""


@dataclass(frozen=True)
class Crossbar:
    """A crossbar of a Hopfield network: conductances ``g``, S, a row per word line.

    ``rows``, ``columns``: for every line the unit of the lower and of the upper layer that it
    belongs to, and the sign with which; the unit after the last of the lower layer is the bias.
    """

    g: Array
    rows: tuple[tuple[int, int], ...]
    columns: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Timing:
    """What takes time: farads of a neuron's node and of a node of wire; the amplifiers' pole, s.

    ``tau`` is the pole of amplifiers and of behavioural neurons. All three defaults are ours.
    """

    neuron: float = 1e-12
    line: float = 1e-15
    tau: float = 1e-9


@dataclass(frozen=True)
class Built:
    """A circuit, and where the network is in it.

    ``layers``: the nodes of every layer; ``outputs``: those that the output is read from;
    ``volts``: the voltage that stands for a state of one.
    """

    circuit: Circuit
    layers: tuple[tuple[str, ...], ...]
    outputs: tuple[str, ...]
    volts: float

    def states(self, at: Operating | Transient) -> list[Array]:
        """Return the states of every layer, ``(units,)`` at rest and ``(k, units)`` in time."""
        return [np.stack([at[n] for n in layer], -1) / self.volts for layer in self.layers]

    def output(self, at: Operating) -> Array:
        """Return what the outputs read."""
        return np.array([at[node] for node in self.outputs]) / self.volts


@dataclass(frozen=True)
class Terminals:
    """Terminals of one array: the nodes at the ends of its lines."""

    words: Sequence[str]
    bits: Sequence[str]


def array(
    name: str,
    g: Array,
    terminals: Terminals,
    wires: Wires | None = None,
    line: float = 0.0,
    bend: float | None = None,
) -> list[Element]:
    """Return the elements of a crossbar ``g``, S, between the nodes of ``terminals``.

    Word line ``i`` ends at column 0, bit line ``j`` at the last row. ``line``: farads of every node
    of wire; ``bend``: volts at which the cells' current bends up (sinh), None for linear cells.

    >>> ends = Terminals(("x0",), ("y0", "y1"))
    >>> [e.name for e in array("tile1", np.ones((1, 2)), ends)]
    ['tile1.cell0_0', 'tile1.cell0_1']
    """
    m, n = g.shape
    made: list[Element] = []

    def ends(i: int, j: int) -> tuple[str, str]:
        if wires is None:
            return terminals.words[i], terminals.bits[j]
        return f"{name}.w{i}_{j}", f"{name}.b{i}_{j}"

    for i, j in product(range(m), range(n)):
        (a, b), value, cell = ends(i, j), float(g[i, j]), f"{name}.cell{i}_{j}"
        if not (value >= 0 and math.isfinite(value)):
            raise InputError(
                f"a conductance must be finite and not negative, but cell ({i}, {j}) of {name} "
                f"is {value:g}"
            )
        if value and a != b:
            made.append(Resistor(cell, a, b, value) if bend is None
                        else Sinh(cell, a, b, value, bend))  # fmt: skip
        if wires is None:
            continue
        before = f"{name}.w{i}_{j - 1}" if j else terminals.words[i]
        beyond = f"{name}.b{i + 1}_{j}" if i + 1 < m else terminals.bits[j]
        ohm = wires.word if j else wires.drive, wires.bit if i + 1 < m else wires.sense
        made.append(Resistor(f"{name}.word{i}_{j}", before, a, 1 / ohm[0]))
        made.append(Resistor(f"{name}.bit{i}_{j}", b, beyond, 1 / ohm[1]))
        if line:
            made.append(Capacitor(f"{name}.cw{i}_{j}", a, GROUND, line))
            made.append(Capacitor(f"{name}.cb{i}_{j}", b, GROUND, line))
    return made


def resistive(
    network: Network,
    parameters: Sequence[Sequence[Tensor]],
    x: Tensor,
    nudge: Nudge | None = None,
    wires: Wires | None = None,
    timing: Timing | None = None,
) -> Built:
    """Return the circuit of a resistive network with the input ``x``, ``(inputs,)``, V.

    ``parameters``: one list per joint, as the network draws them; ``nudge`` of a batch of one.
    Raises ``InputError`` for joints and laws that have no circuit.
    """
    elements: list[Element] = []
    layers = [tuple(f"s{number}_{k}" for k in range(math.prod(layer.shape)))
              for number, layer in enumerate(network.layers, 1)]  # fmt: skip
    loads = [np.zeros(len(nodes)) for nodes in layers]
    for number, (joint, mine) in enumerate(zip(network.joints, parameters, strict=True), 1):
        inner = joint.joint if type(joint) is Amplified else joint
        if type(inner) is not Resistive:
            raise InputError(
                f"joint {number} is a {type(inner).__name__}, which has no circuit of resistors "
                "(allowed: Resistive, Amplified)"
            )
        lower, upper = inner.ends
        lines = _clamped(elements, x, inner.mirror) if lower == 0 else list(layers[lower - 1])
        if type(joint) is Amplified:
            lines = _stage(elements, number, lines, joint, timing)
        g = mine[0].detach().double().numpy().T
        ends = Terminals(lines, layers[upper - 1])
        elements += array(f"tile{number}", g, ends, wires, timing.line if timing else 0.0)
        loads[upper - 1] += g.sum(0)
        if lower:
            gain = joint.voltage_gain if type(joint) is Amplified else 1.0
            loads[lower - 1] += g.sum(1) * gain**2
        for k, bias in enumerate(mine[1].detach().tolist() if len(mine) > 1 else ()):
            if bias:
                elements.append(Current(f"bias{number}_{k}", GROUND, layers[upper - 1][k], bias))
    for number, (layer, nodes) in enumerate(zip(network.layers, layers, strict=True), 1):
        for k, node in enumerate(nodes):
            part = f"neuron{number}_{k}"
            elements += _law(_unit(layer.law, k, len(nodes)), part, node, loads[number - 1][k])
            if timing:
                elements.append(Capacitor(f"{part}.c", node, GROUND, timing.neuron))
    elements += _pushed(nudge, layers[-1], network.shares[-1])
    return Built(Circuit(tuple(elements), "resistive network"), tuple(layers), layers[-1], 1.0)


def hopfield(
    network: Network,
    crossbars: Sequence[Sequence[Crossbar]],
    x: Tensor,
    nudge: Nudge | None = None,
    wires: Wires | None = None,
    timing: Timing | None = None,
    unit: Sequence[float] | None = None,
    volts: float = 1.0,
) -> Built:
    """Return the circuit of a Hopfield network whose weights lie on ``crossbars``.

    ``crossbars``: one list per joint; ``x``: input of one sample, ``(inputs,)``; ``unit``:
    conductance of weight one of every joint, S; ``volts`` on a line stand for a state of one.
    Raises ``InputError`` for joints that are not dense and for laws other than ``Box`` and ``Free``
    of unit leak and ``Readout``.
    """
    if not all(type(joint) is Dense for joint in network.joints):
        raise InputError("only Dense joints have a circuit of crossbars and neurons")
    lines = _Lines(volts)
    elements = lines.elements
    elements += [Source(f"in{k}", f"x{k}", GROUND, volts * v) for k, v in enumerate(x.tolist())]
    elements.append(Source("one", "bias", GROUND, volts))
    layers = [tuple(f"s{number}_{k}" for k in range(math.prod(layer.shape)))
              for number, layer in enumerate(network.layers, 1)]  # fmt: skip
    driven = _driven(network, layers, nudge, volts, elements)
    for number, (joint, parts) in enumerate(zip(network.joints, crossbars, strict=True), 1):
        lower, upper = joint.ends
        below = [f"x{k}" for k in range(len(x))] if lower == 0 else list(layers[lower - 1])
        below.append("bias")
        one = 1.0 if unit is None else unit[number - 1]
        for index, bar in enumerate(parts):
            name, line = f"tile{number}_{index}", timing.line if timing else 0.0
            words = [lines.signed(below[k], sign) for k, sign in bar.rows]
            bits = [lines.sense(upper, column, one) for column in bar.columns]
            elements += array(name, bar.g, Terminals(words, bits), wires, line)
            back = driven[upper - 1]
            if lower == 0 or back is None:
                continue
            bits = [lines.signed(back[k], sign) for k, sign in bar.columns]
            words = [lines.sense(lower, row, one) if row[0] < len(below) - 1 else GROUND
                     for row in bar.rows]  # fmt: skip
            elements += array(f"{name}t", bar.g, Terminals(words, bits), wires, line)
    for number, (layer, nodes) in enumerate(zip(network.layers, layers, strict=True), 1):
        for k, node in enumerate(nodes):
            own = lines.senses.get((number, k), [])
            pushed = nudge if number == len(layers) and layer.law.loaded else None
            elements += _neuron(f"neuron{number}_{k}", node, layer.law, own, pushed, k, volts,
                                timing)  # fmt: skip
    return Built(Circuit(tuple(elements), "Hopfield network"), tuple(layers), layers[-1], volts)


def pairs(weight: Tensor, bias: Tensor | None) -> list[Crossbar]:
    """Return the two crossbars of a weight ``(post, pre)`` and a bias, 1 S for a weight of one.

    >>> import torch
    >>> [bar.g.tolist() for bar in pairs(torch.tensor([[2.0, -1.0]]), None)]
    [[[2.0], [0.0]], [[0.0], [1.0]]]
    """
    w = weight.detach().double().numpy().T
    if bias is not None:
        w = np.concatenate([w, bias.detach().double().numpy()[None]])
    rows = tuple((k, 1) for k in range(w.shape[0]))
    return [
        Crossbar(np.maximum(sign * w, 0.0), rows, tuple((k, sign) for k in range(w.shape[1])))
        for sign in (1, -1)
    ]


@dataclass(frozen=True)
class _Lines:
    """Drivers and sense inputs of crossbars, made when first asked for."""

    volts: float
    elements: list[Element] = field(default_factory=list)
    inverted: dict[str, str] = field(default_factory=dict)
    senses: dict[tuple[int, int], list[tuple[str, float]]] = field(default_factory=dict)

    def signed(self, node: str, sign: int) -> str:
        """Return the node that carries ``sign`` times the voltage of ``node``."""
        if sign > 0:
            return node
        if node not in self.inverted:
            self.inverted[node] = f"{node}n"
            self.elements.append(Amplifier(f"inverter_{node}", node, f"{node}n", -1.0))
        return self.inverted[node]

    def sense(self, layer: int, line: tuple[int, int], unit: float) -> str:
        """Return a new virtual ground that adds its current to a neuron's drive."""
        k, sign = line
        own = self.senses.setdefault((layer, k), [])
        part = f"neuron{layer}_{k}"
        node, name = f"i{layer}_{k}_{len(own)}", f"{part}.sense{len(own)}"
        self.elements.append(Source(name, node, GROUND, 0.0))
        own.append((name, sign / unit))
        return node


def _clamped(elements: list[Element], x: Tensor, mirror: float | None) -> list[str]:
    """Add the sources of the inputs, once, and return their lines."""
    known = {element.name for element in elements}
    gain = 1.0 if mirror is None else mirror
    lines = []
    for sign, letter in ((1, "x"), (-1, "m")) if mirror is not None else ((1, "x"),):
        for k, value in enumerate(x.tolist()):
            lines.append(f"{letter}{k}")
            if f"in_{lines[-1]}" not in known:
                elements.append(Source(f"in_{lines[-1]}", lines[-1], GROUND, sign * gain * value))
    return lines


def _stage(
    elements: list[Element], number: int, lines: list[str], joint: Amplified, timing: Timing | None
) -> list[str]:
    """Put an amplifier into every line."""
    above = [f"a{number}_{k}" for k in range(len(lines))]
    tau = timing.tau if timing else 0.0
    for k, (below, node) in enumerate(zip(lines, above, strict=True)):
        part = f"amplifier{number}_{k}"
        gains = joint.voltage_gain, joint.current_gain
        elements.append(Amplifier(f"{part}.a", below, node, *gains, tau))
    return above


def _unit(law: Law, k: int, units: int) -> Law:
    """Return the law of one unit of a layer."""
    return law.laws[k >= law.sizes(units)[0]] if type(law) is Halves else law


def _law(law: Law, part: str, node: str, load: float) -> list[Element]:
    """Return the devices that a node of a resistive network has to ground."""
    made: list[Element] = []
    if (type(law) is Box or type(law) is Free) and law.leak:
        made.append(Resistor(f"{part}.leak", node, GROUND, law.leak))
    if type(law) is Shockley:
        if law.forward:
            made.append(Diode(f"{part}.up", node, GROUND, law.saturation, law.thermal))
        if law.backward:
            made.append(Diode(f"{part}.down", GROUND, node, law.saturation, law.thermal))
    elif type(law) is TableLaw:
        made.append(Table(f"{part}.table", node, GROUND, law.volts, law.amperes))
    elif type(law) is Box:
        made.append(_walls(law, f"{part}.limit", node, float(STIFF * (load + law.leak))))
    elif type(law) is not Free:
        raise InputError(
            f"law {type(law).__name__} has no circuit of diodes (allowed: Box, Free, Shockley, "
            "Table, Halves)"
        )
    return made


def _walls(law: Box, name: str, node: str, stiff: float) -> Table:
    """Return a table that conducts beyond the limits alone."""
    low, high = law.low, law.high
    flows = {high - 1: 0.0} if math.isinf(low) else {low - 1: -1.0, low: 0.0}
    flows |= {low + 1: 0.0} if math.isinf(high) else {high: 0.0, high + 1: 1.0}
    return Table(name, node, GROUND, tuple(flows), tuple(flows.values()), stiff)


def _pushed(nudge: Nudge | None, nodes: Sequence[str], share: float) -> list[Element]:
    """Return what nudges the outputs of a resistive network."""
    made: list[Element] = []
    for k, node in enumerate(nodes):
        if type(nudge) is CurrentNudge:
            amperes = float(nudge.beta * nudge.gradient[0, k]) / share
            made.append(Current(f"nudge{k}", node, GROUND, amperes))
        elif type(nudge) is Spring:
            made.append(Source(f"target{k}", f"t{k}", GROUND, float(nudge.target[0, k])))
            made.append(Resistor(f"spring{k}", f"t{k}", node, nudge.stiffness / share))
        elif type(nudge) is Hold:
            made.append(Source(f"hold{k}", node, GROUND, float(nudge.value[0, k])))
        elif nudge is not None:
            raise InputError(NO_NUDGE.format(type(nudge).__name__))
    return made


def _driven(
    network: Network,
    layers: Sequence[tuple[str, ...]],
    nudge: Nudge | None,
    volts: float,
    elements: list[Element],
) -> list[tuple[str, ...] | None]:
    """Return the nodes that drive each layer's lines in transposed reads, None where none does."""
    driven: list[tuple[str, ...] | None] = list(layers)
    if network.layers[-1].law.loaded:
        return driven
    driven[-1] = None
    if type(nudge) is CurrentNudge:
        pushed = (-nudge.beta * nudge.gradient[0]).tolist()
        driven[-1] = tuple(f"d{k}" for k in range(len(pushed)))
        elements += [Source(f"drive{k}", f"d{k}", GROUND, volts * v) for k, v in enumerate(pushed)]
    elif nudge is not None:
        raise InputError(f"a readout outside the energy is nudged by a current, not a "
                         f"{type(nudge).__name__}")  # fmt: skip
    return driven


def _neuron(
    part: str,
    node: str,
    law: Law,
    senses: list[tuple[str, float]],
    nudge: Nudge | None,
    k: int,
    volts: float,
    timing: Timing | None,
) -> list[Element]:
    """Return a behavioural neuron, or the source that holds it."""
    unit_leak = (type(law) is Box or type(law) is Free) and law.leak == 1
    if not (unit_leak or type(law) is Readout):
        raise InputError(
            f"law {str(law)[:120]} has no behavioural neuron (allowed: Box and Free of unit leak, "
            "Readout)"
        )
    if type(nudge) is Hold:
        return [Source(f"{part}.hold", node, GROUND, volts * float(nudge.value[0, k]))]
    offset, share = 0.0, 1.0
    if type(nudge) is CurrentNudge:
        offset = -float(nudge.beta * nudge.gradient[0, k])
    elif type(nudge) is Spring:
        share = 1 / (1 + nudge.stiffness)
        offset = share * nudge.stiffness * float(nudge.target[0, k])
    elif nudge is not None:
        raise InputError(NO_NUDGE.format(type(nudge).__name__))
    low, high = (law.low, law.high) if type(law) is Box else (-math.inf, math.inf)
    factors = tuple((name, factor * share) for name, factor in senses)
    tau = timing.tau if timing else 0.0
    return [Neuron(f"{part}.out", node, factors, volts * offset, volts * low, volts * high, tau)]
