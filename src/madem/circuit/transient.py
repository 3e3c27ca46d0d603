"""Circuits in time: how they settle from a step at t = 0, without a clock.

``mass x' + linear x + flows(x) = given`` is differential where a capacitor or a pole is, algebraic
elsewhere. TR-BDF2 (Bank et al., IEEE Trans. CAD 4 (1985); as a Runge-Kutta method with an embedded
error: Hosea and Shampine, Appl. Numer. Math. 20 (1996)) is stable however stiff, of order 2, and
solves both of its stages with one factorisation, which is kept while the step stays.

Walls of diodes, measured tables and clipped neurons are pieces of straight lines. Within a step
every element stays on its piece; a step beyond the end of a piece is cut to where it ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from madem.circuit.elements import Array, Circuit, Table
from madem.circuit.newton import Group, Neurons, Operating, System, solve, system_of
from madem.errors import InputError

GAMMA = 2 - math.sqrt(2)
SAME, LAST = math.sqrt(2) / 4, GAMMA / 2
"""The trapezoidal rule up to ``GAMMA`` of a step, then the second backward difference."""

MISSED = ((1 - SAME) / 3 - SAME, (3 * SAME + 1) / 3 - SAME, LAST / 3 - LAST)
"""Weights of the embedded rule of order 3 less those of the step."""

NEAR = 1e-6
"""How far beyond the end of a piece a step may land, of the largest voltage."""

UNTIL = 1e-5
"""How near to rest a circuit is when it is left, of the largest voltage."""

Pieces = NDArray[np.intp]
Solve = Callable[[Array], Array]


@dataclass(frozen=True)
class Switching:
    """At ``seconds`` the element ``name`` went over to ``piece``, counted from the lowest voltage.

    Pieces of a neuron: 0 held low, 1 free, 2 held high.
    """

    seconds: float
    name: str
    piece: int


@dataclass(frozen=True)
class Transient:
    """How a circuit settled.

    ``times``, s, ``(k,)``; ``x``: all unknowns of ``rest.system`` then, ``(k, unknowns + 1)``,
    ground last; ``rest``: where it comes to rest; ``switchings`` in their order; ``steps`` taken,
    and ``factored``, how many factorisations they needed.
    """

    times: Array
    x: Array
    rest: Operating
    switchings: tuple[Switching, ...]
    steps: int
    factored: int

    def __getitem__(self, node: str) -> Array:
        """Return the voltages of a node, ``(k,)``."""
        column: Array = self.x[:, self.rest.system.index[node]]
        return column

    def settling(self, nodes: Sequence[str], tolerance: float) -> float:
        """Return the time, s, after which all ``nodes`` stay within ``tolerance``, V, of rest.

        Zero where they never leave it. Raises ``InputError`` where the record ends before.
        """
        columns = [self.rest.system.index[node] for node in nodes]
        off = np.abs(self.x[:, columns] - self.rest.x[columns]) / tolerance
        return float(settling_times(self.times, off).max(initial=0.0))


def settling_times(times: Array, off: Array) -> Array:
    """Return when each column of ``off``, ``(k, columns)``, falls below one for good.

    Between two times it falls as an exponential. Raises ``InputError`` where one never does.

    >>> times = np.arange(10.0)
    >>> settling_times(times, np.exp(3.5 - times)[:, None])
    array([3.5])
    """
    if bool((off[-1] > 1).any()):
        raise InputError("the record ends before the circuit has settled to the tolerance")
    k = len(times) - 1 - np.argmax(off[::-1] > 1, 0)
    ever = (off > 1).any(0)
    after = np.minimum(k + 1, len(times) - 1)
    rows = np.arange(off.shape[1])
    high, low = np.log(np.maximum(off[[k, after], rows], 1e-300))
    share = np.where(ever, high / np.where(ever, high - low, 1.0), 0.0)
    found: Array = np.where(ever, times[k] + share * (times[after] - times[k]), 0.0)
    return found


def transient(
    circuit: Circuit | System,
    start: Mapping[str, float] | None = None,
    accuracy: float = 1e-6,
    budget: int = 100_000,
) -> Transient:
    """Let ``circuit`` settle from a step at t = 0, when all its sources come on at once.

    ``start``: voltages that nodes with a capacitor or a pole have until then, by name (others: 0
    V). ``accuracy``: error of a step, of the largest voltage; it ends where all voltages are
    within 1e-5 of that from where they come to rest. Raises ``InputError`` for a circuit in which
    nothing takes time, and where ``budget`` steps do not suffice.

    >>> from madem.circuit import Capacitor, Circuit, Resistor, Source
    >>> rc = Circuit((Source("v", "in", "0", 1.0), Resistor("r", "in", "out", 1e-3),
    ...               Capacitor("c", "out", "0", 1e-12)))
    >>> round(transient(rc).settling(["out"], 1e-3) / 1e-9, 1)  # ln 1000 = 6.908
    6.9
    """
    system = circuit if isinstance(circuit, System) else system_of(circuit)
    if not system.mass.nnz or not system.mass.count_nonzero():
        raise InputError("nothing in the circuit takes time: give it capacitors, or tau")
    rest = solve(system)
    begun = np.zeros(system.size + 1)
    for name, volts in (start or {}).items():
        if name in system.index:
            begun[system.index[name]] = volts
    begun[-1] = 0.0
    scale = max(system.largest(rest.x), system.largest(begun), 1e-30)
    march = _March(system, _switches(system), accuracy * scale, NEAR * scale)
    times, x, events, factored = march.go(begun, rest.x, UNTIL * scale, budget)
    return Transient(times, x, rest, events, len(times) // 2, factored)


@dataclass(frozen=True)
class _Switches:
    """All elements whose flow is pieces of straight lines.

    Element ``k`` feels ``u = across x + offset``; between ``edges`` its flow ``slopes u + starts``
    goes ``into`` the rows.
    """

    names: tuple[str, ...]
    across: sparse.csr_matrix
    offset: Array
    into: sparse.csr_matrix
    edges: Array
    slopes: Array
    starts: Array

    def felt(self, x: Array) -> Array:
        """Return what every element feels."""
        u: Array = self.across @ x + self.offset
        return u

    def pieces(self, x: Array) -> Pieces:
        """Return the piece on which every element is."""
        return np.asarray((self.felt(x)[:, None] > self.edges).sum(1))

    def beyond(self, x: Array, pieces: Pieces) -> Array:
        """Return how far every element is beyond the nearer end of its piece, negative within."""
        ends = np.pad(self.edges, ((0, 0), (1, 1)), constant_values=(-np.inf, np.inf))
        rows, u = np.arange(len(pieces)), self.felt(x)
        return np.maximum(ends[rows, pieces] - u, u - ends[rows, pieces + 1])

    def held(self, system: System, pieces: Pieces) -> System:
        """Return the equations with every element on its piece: smooth ones."""
        rows = np.arange(len(pieces))
        slope, begin = self.slopes[rows, pieces], self.starts[rows, pieces]
        n = system.size + 1
        none = Neurons((), np.zeros(0, int), sparse.csr_matrix((0, n)), *[np.zeros(0)] * 3)
        return replace(
            system,
            linear=(system.linear + self.into @ sparse.diags(slope) @ self.across).tocsr(),
            given=system.given - self.into @ (slope * self.offset + begin),
            groups=tuple(g for g in system.groups if type(g.device) is not Table),
            neurons=none,
        )


@dataclass(frozen=True)
class _Step:
    """A step of length ``h``: where it was at ``GAMMA`` and is at its end, and what was missed."""

    h: float
    middle: Array
    end: Array
    rate: Array
    error: float


@dataclass(frozen=True)
class _Smooth:
    """The equations on one piece of everything, factored for steps of ``h`` near ``x``."""

    system: System
    h: float
    solve: Solve
    size: float

    def stage(self, x: Array, given: Array, guess: Array) -> Array | None:
        """Solve ``mass (X - x) / (d h) + flows(X) = given``; None where Newton's method fails."""
        rate = 1 / (LAST * self.h)
        found: Array = guess
        for _ in range(12):
            off = rate * (self.system.mass @ (found - x)) + self.system.flows(found) - given
            step = np.append(self.solve(off[:-1]), 0.0)
            found = found - step
            moved = self.system.largest(step)
            if not math.isfinite(moved):
                return None
            if moved <= 1e-3 * self.size:
                return found
        return None

    def step(self, x: Array, rate: Array) -> _Step | None:
        """Take one step from ``x``, where ``mass x'`` is ``rate``."""
        h, mass = self.h, self.system.mass
        middle = self.stage(x, rate, x)
        if middle is None:
            return None
        halfway = mass @ (middle - x) / (LAST * h) - rate
        given = (SAME / LAST) * (rate + halfway)
        end = self.stage(x, given, x + (middle - x) / GAMMA)
        if end is None:
            return None
        last = mass @ (end - x) / (LAST * h) - given
        missed = sum(w * k for w, k in zip(MISSED, (rate, halfway, last), strict=True)) / LAST
        error = self.system.largest(self.solve(missed[:-1])) / self.size
        return _Step(h, middle, end, last, error)


@dataclass(frozen=True)
class _March:
    """Steps of their own length through time. ``size``: error of a step, V; ``near``: V."""

    system: System
    switches: _Switches
    size: float
    near: float

    def go(
        self, x: Array, rest: Array, until: float, budget: int
    ) -> tuple[Array, Array, tuple[Switching, ...], int]:
        """Return times, unknowns, switchings and the number of factorisations."""
        x, pieces, shortest = self.begin(x)
        held = self.switches.held(self.system, pieces)
        rate, h, now, factored = self.rate(held, x), 0.01 * shortest, 0.0, 0
        smooth: _Smooth | None = None
        times, record, events = [0.0], [x], list[Switching]()
        for _ in range(budget):
            if smooth is None or smooth.h != h or held.groups:
                smooth, factored = self.factor(held, h, x), factored + 1
            step = smooth.step(x, rate)
            if step is None or step.error > 1:
                h *= 0.25 if step is None else max(0.2, 0.9 * step.error ** (-1 / 3))
                if h < 1e-12 * shortest:
                    break
                continue
            cut = self.cut(x, step, pieces)
            if cut < h:
                h = cut
                continue
            now, x, rate = now + h, step.end, step.rate
            times += [now - (1 - GAMMA) * h, now]
            record += [step.middle, x]
            after = self.switches.pieces(x)
            events += [Switching(now, self.switches.names[k], int(after[k]))
                       for k in np.flatnonzero(after != pieces)]  # fmt: skip
            if bool((after != pieces).any()):
                pieces, smooth = after, None
                held = self.switches.held(self.system, pieces)
                rate = self.rate(held, x)
            if self.system.largest(x - rest) <= until:
                return np.array(times), np.stack(record), tuple(events), factored
            grown = min(3.0, 0.9 * max(step.error, 1e-9) ** (-1 / 3))
            h *= grown if grown > 1.2 or grown < 1 else 1.0
        raise InputError(
            f"the circuit has not settled after {len(times) // 2} steps, {now:.1e} s: voltages are "
            f"still {self.system.largest(x - rest):.1e} V from rest"
        )

    def begin(self, x: Array) -> tuple[Array, Pieces, float]:
        """Return ``x`` right after the step at t = 0, its pieces, and the shortest time, s.

        What has a capacitor or a pole stays; all else follows at once: an implicit step so short
        that nothing charges.
        """
        pieces = self.switches.pieces(x)
        for _ in range(50):
            held = self.switches.held(self.system, pieces)
            slopes = [group.flow(group.across(x))[1] for group in held.groups]
            own = held.jacobian(slopes, np.zeros(0, bool)).diagonal()
            mass = held.mass.diagonal()[:-1]
            slow = (mass > 0) & (own > 0)
            shortest = float((mass[slow] / own[slow]).min(initial=np.inf))
            shortest = shortest if math.isfinite(shortest) else 1e-12
            smooth = self.factor(held, 1e-9 * shortest, x)
            found = smooth.stage(x, np.zeros_like(x), x)
            if found is None:
                raise InputError("the circuit has no state right after the step at t = 0")
            before, pieces = pieces, self.switches.pieces(found)
            if bool((before == pieces).all()):
                return found, pieces, shortest
        raise InputError("the circuit has more than one state right after the step at t = 0")

    def rate(self, held: System, x: Array) -> Array:
        """Return ``mass x'``, zero where nothing takes time."""
        charges = np.asarray(abs(held.mass).sum(1)).ravel() > 0
        return np.where(charges, -held.flows(x), 0.0)

    def factor(self, held: System, h: float, x: Array) -> _Smooth:
        """Factor the equations of a step of ``h`` from ``x``."""
        slopes = [group.flow(group.across(x))[1] for group in held.groups]
        matrix = held.jacobian(slopes, np.zeros(0, bool))
        matrix = (matrix + held.mass[:-1, :-1] / (LAST * h)).tocsc()
        return _Smooth(held, h, splu(matrix).solve, self.size)

    def cut(self, x: Array, step: _Step, pieces: Pieces) -> float:
        """Return how long the step may be: to just beyond the first end of a piece it meets."""
        begin, middle, end = (self.switches.beyond(v, pieces) for v in (x, step.middle, step.end))
        out = (np.maximum(middle, end) > self.near) | ((middle > 0) & (end <= 0))
        first = step.h
        for k in np.flatnonzero(out):
            wanted = self.near / 2
            points = np.array([begin[k], middle[k], end[k]]) - wanted
            first = min(first, step.h * _first_root(points))
        return first


def _first_root(values: Array) -> float:
    """Return the first root of the parabola through ``values`` at 0, ``GAMMA`` and 1; 1 if none.

    >>> round(_first_root(np.array([-0.5, GAMMA - 0.5, 0.5])), 12)
    0.5
    """
    begin, middle, end = values
    bend = (end - begin - (middle - begin) / GAMMA) / (1 - GAMMA)
    roots = np.roots([bend, end - begin - bend, begin])
    real = [float(r.real) for r in roots if abs(r.imag) < 1e-12 and 0 < r.real < 1]
    return min(real, default=1.0)


def _switches(system: System) -> _Switches:
    """Return the elements of ``system`` that switch: its tables and its neurons."""
    n, neurons = system.size + 1, system.neurons
    parts = [_table(group, n) for group in system.groups if type(group.device) is Table]
    count = len(neurons.rows)
    into = sparse.csr_matrix((-np.ones(count), (neurons.rows, np.arange(count))), shape=(n, count))
    slopes = np.tile([0.0, 1.0, 0.0], (count, 1))
    starts = np.stack([neurons.low, np.zeros(count), neurons.high], 1)
    edges = np.stack([neurons.low, neurons.high], 1)
    parts.append(
        _Switches(neurons.names, neurons.drive, neurons.offset, into, edges, slopes, starts)
    )
    width = max(part.edges.shape[1] for part in parts)

    def wide(values: Array, to: int, fill: float) -> Array:
        return np.pad(values, ((0, 0), (0, to - values.shape[1])), constant_values=fill)

    return _Switches(
        tuple(name for part in parts for name in part.names),
        sparse.vstack([part.across for part in parts], format="csr"),
        np.concatenate([part.offset for part in parts]),
        sparse.hstack([part.into for part in parts], format="csr"),
        np.concatenate([wide(part.edges, width, np.inf) for part in parts]),
        np.concatenate([wide(part.slopes, width + 1, 0.0) for part in parts]),
        np.concatenate([wide(part.starts, width + 1, 0.0) for part in parts]),
    )


def _table(group: Group, n: int) -> _Switches:
    """Return the measured tables, or the walls, of one kind."""
    table = group.device
    assert isinstance(table, Table)
    count = len(group.a)
    rows = np.arange(count)
    across = sparse.csr_matrix((np.ones(count), (rows, group.a)), shape=(count, n))
    across = across - sparse.csr_matrix((np.ones(count), (rows, group.b)), shape=(count, n))
    at, flows = np.array(table.volts), np.array(table.amperes)
    slopes = np.diff(flows) / np.diff(at)
    each = (at[1:-1], slopes, flows[:-1] - slopes * at[:-1])
    edges, slopes, starts = (np.tile(values, (count, 1)) for values in each)
    scale = group.scale[:, None]
    return _Switches(
        group.names, across, np.zeros(count), across.T.tocsr(), edges, scale * slopes,
        scale * starts,
    )  # fmt: skip
