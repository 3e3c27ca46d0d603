"""The operating point of any circuit: nodal equations, a sparse factorisation, Newton's method.

Unknowns are the voltages of all nodes and the currents of the branches that fix a voltage. Row
``k`` says that the currents leaving node ``k`` are zero (Kirchhoff), or what a branch imposes. A
non-linear device is replaced by its tangent at a voltage of its own, which follows the solution
as far as the device's ``limited`` lets it; both meet at the operating point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import splu

from madem.circuit.elements import (
    GROUND,
    Amplifier,
    Array,
    Capacitor,
    Circuit,
    Current,
    Device,
    Neuron,
    Resistor,
    Sinh,
    Source,
    ends,
)
from madem.errors import InputError

Indices = NDArray[np.intp]

LINEAR = (Resistor, Source, Current, Capacitor, Amplifier, Neuron)
"""Elements that are no ``Device``."""


@dataclass(frozen=True)
class Group:
    """Devices of one kind: their names, where they lie, and what each is multiplied by."""

    names: tuple[str, ...]
    device: Device
    a: Indices
    b: Indices
    scale: Array

    def across(self, x: Array) -> Array:
        """Return the voltages across the devices."""
        return x[self.a] - x[self.b]

    def flow(self, volts: Array) -> tuple[Array, Array]:
        """Return currents and slopes."""
        current, slope = self.device.flow(volts)
        return self.scale * current, self.scale * slope


@dataclass(frozen=True)
class Neurons:
    """All neurons: names, rows of their branches, the linear map from unknowns to their drive."""

    names: tuple[str, ...]
    rows: Indices
    drive: sparse.csr_matrix
    offset: Array
    low: Array
    high: Array

    def flow(self, x: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Return the clipped drives, and which of them are not clipped."""
        wanted = self.drive @ x + self.offset
        inside = (wanted >= self.low) & (wanted <= self.high)
        return np.clip(wanted, self.low, self.high), inside


@dataclass(frozen=True)
class System:
    """The equations ``mass x' + linear x + flows(x) = given``; ground is the last unknown.

    ``index`` finds a node's row; ``branches`` that of a source, an amplifier or a neuron.
    """

    circuit: Circuit
    index: Mapping[str, int]
    branches: Mapping[str, int]
    linear: sparse.csr_matrix
    given: Array
    mass: sparse.csr_matrix
    groups: tuple[Group, ...]
    neurons: Neurons

    @property
    def size(self) -> int:
        """The number of unknowns, without ground."""
        return len(self.given) - 1

    def largest(self, x: Array) -> float:
        """Return the largest magnitude of what ``x`` holds for nodes, 0 where there are none."""
        return float(np.abs(x[: len(self.index) - 1]).max(initial=0.0))

    def flows(self, x: Array) -> Array:
        """Return all currents and branch voltages that do not vanish, an entry a row."""
        total: Array = self.linear @ x - self.given
        for group in self.groups:
            current, _ = group.flow(group.across(x))
            np.add.at(total, group.a, current)
            np.add.at(total, group.b, -current)
        total[self.neurons.rows] -= self.neurons.flow(x)[0]
        total[-1] = 0.0
        return total

    def jacobian(self, slopes: list[Array], inside: NDArray[np.bool_]) -> sparse.csc_matrix:
        """Return the derivative for the devices' ``slopes`` and the neurons ``inside``."""
        n = self.size + 1
        rows, columns, values = [], [], []
        for group, g in zip(self.groups, slopes, strict=True):
            rows += [group.a, group.b, group.a, group.b]
            columns += [group.a, group.b, group.b, group.a]
            values += [g, g, -g, -g]
        total = self.linear
        if rows:
            place = np.concatenate(rows), np.concatenate(columns)
            total = total + sparse.csr_matrix((np.concatenate(values), place), shape=(n, n))
        if len(self.neurons.rows):
            count = len(self.neurons.rows)
            spread = sparse.csr_matrix(
                (inside.astype(float), (self.neurons.rows, np.arange(count))), shape=(n, count)
            )
            total = total - spread @ self.neurons.drive
        return total[:-1, :-1].tocsc()


@dataclass(frozen=True)
class Operating:
    """An operating point: ``x`` holds what ``system`` calls its unknowns, ground last.

    ``kirchhoff``: the largest sum of currents at a node, A; ``balance``: the sum of all powers
    relative to the sum of their magnitudes; ``iterations`` of Newton's method.
    """

    system: System
    x: Array
    kirchhoff: float
    balance: float
    iterations: int

    def __getitem__(self, node: str) -> float:
        """Return the voltage of a node."""
        return float(self.x[self.system.index[node]])

    @property
    def voltages(self) -> dict[str, float]:
        """The voltages of all nodes."""
        return {n: float(self.x[i]) for n, i in self.system.index.items() if n != GROUND}

    def current(self, source: str) -> float:
        """Return the current that flows into the plus side of a source."""
        return float(self.x[self.system.branches[source]])


def system_of(circuit: Circuit) -> System:
    """Return the equations of ``circuit``.

    Raises ``InputError`` for a node from which no current finds a way to ground.
    """
    nodes = circuit.nodes
    ruled = [e for e in circuit.elements if isinstance(e, Source | Amplifier | Neuron)]
    branches = {e.name: len(nodes) + k for k, e in enumerate(ruled)}
    last = len(nodes) + len(ruled)
    index = {node: k for k, node in enumerate(nodes)} | {GROUND: last}
    _check_grounded(circuit, index)
    place: list[tuple[int, int, float]] = []
    weight: list[tuple[int, int, float]] = []
    given = np.zeros(last + 1)
    for element in circuit.elements:
        if isinstance(element, Resistor):
            place += _two(index[element.a], index[element.b], element.siemens)
        elif isinstance(element, Capacitor):
            weight += _two(index[element.a], index[element.b], element.farads)
        elif isinstance(element, Current):
            given[index[element.a]] -= element.amperes
            given[index[element.b]] += element.amperes
        elif isinstance(element, Source):
            row = branches[element.name]
            plus, minus = index[element.plus], index[element.minus]
            place += [(plus, row, 1.0), (minus, row, -1.0), (row, plus, 1.0), (row, minus, -1.0)]
            given[row] = element.volts
        elif isinstance(element, Amplifier):
            row, below, above = branches[element.name], index[element.below], index[element.above]
            place += [(above, row, 1.0), (below, row, -element.current_gain)]
            place += [(row, above, 1.0), (row, below, -element.voltage_gain)]
            weight.append((row, above, element.tau))
        elif isinstance(element, Neuron):
            row, out = branches[element.name], index[element.out]
            place += [(out, row, 1.0), (row, out, 1.0)]
            weight.append((row, out, element.tau))
    return System(
        circuit, index, branches, _matrix(place, last + 1, last + 1), given,
        _matrix(weight, last + 1, last + 1), _groups(circuit, index),
        _neurons(circuit, branches, last + 1),
    )  # fmt: skip


def solve(
    circuit: Circuit | System,
    start: Array | None = None,
    tolerance: float = 1e-12,
    budget: int = 500,
) -> Operating:
    """Return the operating point of ``circuit``, where every device meets its tangent.

    ``start``: unknowns to begin from. Stops where no device voltage moves by more than
    ``tolerance`` of the largest node voltage, and takes one more step for the last digits. Raises
    ``InputError`` where ``budget`` iterations do not suffice, or the equations have no solution.

    >>> from madem.circuit import Circuit, Diode, Resistor, Source
    >>> found = solve(Circuit((Source("v", "in", "0", 1.0), Resistor("r", "in", "a", 1e-3),
    ...                        Diode("d", "a", "0", 1e-9, 0.025))))
    >>> bool(abs(1e-3 * (1 - found["a"]) - 1e-9 * np.expm1(found["a"] / 0.025)) < 1e-15)
    True
    """
    system = circuit if isinstance(circuit, System) else system_of(circuit)
    x = np.zeros(system.size + 1) if start is None else start.copy()
    tangents = [group.across(x) for group in system.groups]
    moved, iterations = np.inf, 0
    while iterations < budget:
        iterations += 1
        factor, right = _linearised(system, x, tangents)
        found = np.append(factor(right), 0.0)
        scale = max(system.largest(found), 1e-30)
        moved = system.largest(found - x) / scale
        x, ahead = found, []
        for group, at in zip(system.groups, tangents, strict=True):
            new = group.device.limited(group.across(x), at)
            moved = max(moved, float(np.abs(new - at).max(initial=0.0)) / scale)
            ahead.append(new)
        tangents = ahead
        if moved <= tolerance or not (system.groups or len(system.neurons.rows)):
            break
    else:
        raise InputError(
            f"the circuit did not come to rest within {budget} iterations: voltages still moved by "
            f"{moved:.1e} of the largest, and {tolerance:.0e} was asked for"
        )
    for _ in range(2):
        factor, _ = _linearised(system, x, [group.across(x) for group in system.groups])
        x = x - np.append(factor(system.flows(x)[:-1]), 0.0)
    return Operating(system, x, system.largest(system.flows(x)), balance(system, x), iterations)


def sensitivity(at: Operating, cost: Mapping[str, float]) -> dict[str, float]:
    """Return ``dC/dg`` of every resistor and non-linear cell, for ``cost``, ``dC/dv`` of nodes.

    Implicit differentiation by one adjoint solve: with ``J^T l = dC/dx`` the derivative by the
    conductance between ``a`` and ``b`` is ``-(l_a - l_b) (v_a - v_b)``.

    >>> from madem.circuit import Circuit, Resistor, Source
    >>> found = solve(Circuit((Source("v", "in", "0", 1.0), Resistor("r", "in", "out", 1.0),
    ...                        Resistor("s", "out", "0", 1.0))))
    >>> sensitivity(found, {"out": 1.0})  # d/dr r / (r + s) = s / (r + s)^2
    {'r': 0.25, 's': -0.25}
    """
    system = at.system
    slopes = [group.flow(group.across(at.x))[1] for group in system.groups]
    jacobian = system.jacobian(slopes, system.neurons.flow(at.x)[1])
    right = np.zeros(system.size)
    for node, value in cost.items():
        right[system.index[node]] = value
    adjoint = np.append(splu(jacobian).solve(right, trans="T"), 0.0)
    found = {}
    for element in system.circuit.elements:
        if isinstance(element, Resistor | Sinh):
            a, b = system.index[element.a], system.index[element.b]
            push = at.x[a] - at.x[b]
            if isinstance(element, Sinh):
                push = float(element.flow(np.array([push]))[0][0])
            found[element.name] = float(-(adjoint[a] - adjoint[b]) * push)
    return found


def balance(system: System, x: Array) -> float:
    """Return the sum of the powers that all elements take, over the sum of their magnitudes."""
    total = size = 0.0
    for element in system.circuit.elements:
        if isinstance(element, Capacitor) or not isinstance(element, LINEAR):
            continue
        a, *other = (x[system.index[node]] for node in ends(element))
        b = other[0] if other else 0.0
        if isinstance(element, Resistor):
            power = element.siemens * (a - b) ** 2
        elif isinstance(element, Current):
            power = element.amperes * (a - b)
        else:
            through = x[system.branches[element.name]]
            power = through * (a - b)
            if isinstance(element, Amplifier):
                power = through * (b - element.current_gain * a)
        total, size = total + power, size + abs(power)
    for group in system.groups:
        power = group.flow(group.across(x))[0] * group.across(x)
        total, size = total + power.sum(), size + np.abs(power).sum()
    return float(abs(total) / max(size, 1e-300))


def _linearised(
    system: System, x: Array, tangents: list[Array]
) -> tuple[Callable[[Array], Array], Array]:
    """Return the factored tangent equations, and their right-hand side."""
    flows = [group.flow(at) for group, at in zip(system.groups, tangents, strict=True)]
    drives, inside = system.neurons.flow(x)
    jacobian = system.jacobian([slope for _, slope in flows], inside)
    right = system.given.copy()
    for group, at, (current, slope) in zip(system.groups, tangents, flows, strict=True):
        np.add.at(right, group.a, slope * at - current)
        np.add.at(right, group.b, current - slope * at)
    tangent = inside * (system.neurons.drive @ x)
    right[system.neurons.rows] += drives - tangent
    try:
        factored = splu(jacobian)
    except RuntimeError:
        raise InputError(
            "the circuit has no operating point, or more than one: its equations are singular"
        ) from None
    return factored.solve, right[:-1]


def _two(a: int, b: int, value: float) -> list[tuple[int, int, float]]:
    return [(a, a, value), (b, b, value), (a, b, -value), (b, a, -value)]


def _matrix(entries: list[tuple[int, int, float]], *shape: int) -> sparse.csr_matrix:
    rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
    return sparse.csr_matrix((np.array(values, float), (rows, columns)), shape=shape)


def _groups(circuit: Circuit, index: Mapping[str, int]) -> tuple[Group, ...]:
    kinds: dict[object, list[Device]] = {}
    for element in circuit.elements:
        if not isinstance(element, LINEAR):
            if not isinstance(element, Device):
                raise InputError(
                    f"element {element.name!r} is a {type(element).__name__}, whose current nobody "
                    "knows: it must be one of the circuit's own, or have what a Device has"
                )
            kinds.setdefault((type(element), element.kind), []).append(element)
    return tuple(
        Group(
            tuple(d.name for d in devices),
            devices[0],
            np.array([index[d.a] for d in devices]),
            np.array([index[d.b] for d in devices]),
            np.array([d.scale for d in devices]),
        )
        for devices in kinds.values()
    )


def _neurons(circuit: Circuit, branches: Mapping[str, int], size: int) -> Neurons:
    found = [e for e in circuit.elements if isinstance(e, Neuron)]
    entries = [
        (k, branches[name], factor) for k, e in enumerate(found) for name, factor in e.senses
    ]
    numbers = (np.array([getattr(e, key) for e in found], float) for key in
               ("offset", "low", "high"))  # fmt: skip
    names = tuple(e.name for e in found)
    rows = np.array([branches[name] for name in names], int)
    return Neurons(names, rows, _matrix(entries, len(found), size), *numbers)


def _check_grounded(circuit: Circuit, index: Mapping[str, int]) -> None:
    """Refuse nodes that no current can leave."""
    pairs: list[tuple[int, ...]] = []
    ground = index[GROUND]
    for element in circuit.elements:
        if isinstance(element, Amplifier | Neuron):
            pairs.append((index[ends(element)[-1]], ground))
        elif not isinstance(element, Current | Capacitor) and getattr(element, "siemens", True):
            pairs.append(tuple(index[node] for node in ends(element)))
    graph = _matrix([(a, b, 1.0) for a, b in pairs], ground + 1, ground + 1)
    _, labels = csgraph.connected_components(graph, directed=False)
    for node, at in index.items():
        if labels[at] != labels[ground]:
            raise InputError(f"node {node!r} floats: no current finds a way from it to ground")
