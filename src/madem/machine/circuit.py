"""A network as a circuit that is a machine: settled by Kirchhoff's laws, element by element.

The linear part of the circuit is factored once per write. What is not linear (neurons, diodes) then
sees a small dense system, ``seen = given + reach w(seen)``, with ``w`` the current of each device
and the voltage of each neuron; Newton's method solves it for all samples of a batch at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from madem.circuit import (
    Built,
    Crossbar,
    Current,
    Source,
    Timing,
    hopfield,
    pairs,
    resistive,
    system_of,
)
from madem.circuit.elements import Array
from madem.circuit.newton import Indices, System
from madem.errors import InputError
from madem.machine.base import Machine, Observed, Scale, Start, between
from madem.machine.placement import Side, paired
from madem.machine.simulated import Simulated
from madem.machine.stores import Store, cells_of
from madem.machine.strength import relative
from madem.machine.writing import Written
from madem.network import (
    Amplified,
    Dense,
    Hold,
    Joint,
    Move,
    Network,
    Nudge,
    Problem,
    Resistive,
    Spring,
)
from madem.network import Current as CurrentNudge
from madem.network.joints import Limits
from madem.network.wires import Wires
from madem.solver import Sweep

DRIVEN = re.compile(r"(in)(?:_[xm])?(\d+)|(?:nudge|target|hold|drive|neuron\d+_)(\d+)(?:\.hold)?")
"""Names of the sources of inputs, and of those of nudges, with the number of their unit."""

TOLERANCE, BUDGET = 1e-12, 200
"""A sample is at rest where nothing moves by more than this share of the largest, in so many steps
of Newton's method at most."""


@dataclass(frozen=True)
class Ports:
    """A circuit with its linear part solved: what its neurons and devices see, and its layers.

    ``seen``, ``layers``: the linear maps from the sources of inputs, of nudges and from 1 to what
    is seen (devices first, then neurons) and to the nodes of every layer, V; ``reach``: from the
    devices' currents and the neurons' voltages to what is seen, ``shown``: to the layers.
    """

    system: System
    seen: tuple[Array, Array, Array]
    layers: tuple[Array, Array, Array]
    reach: Array
    shown: Array

    @staticmethod
    def of(built: Built, inputs: int, outputs: int) -> Ports:
        """Return those of a circuit that was built with inputs and a nudge of 1 everywhere."""
        system = system_of(built.circuit)
        n, last = system.size, len(built.layers)
        into = [np.zeros((n + 1, inputs)), np.zeros((n + 1, outputs))]
        for element in built.circuit.elements:
            found = DRIVEN.fullmatch(element.name)
            if found and isinstance(element, Source):
                side = into[0 if found[1] else 1]
                side[system.branches[element.name], int(found[2] or found[3])] += element.volts
            elif found and isinstance(element, Current):
                into[1][system.index[element.a], int(found[3])] -= element.amperes
                into[1][system.index[element.b], int(found[3])] += element.amperes
        given = [*into, (system.given - into[0].sum(1) - into[1].sum(1))[:, None]]
        devices = [_picks(g.a, n + 1) - _picks(g.b, n + 1) for g in system.groups]
        neurons = _picks(system.neurons.rows, n + 1)
        nodes = [system.index[node] for layer in built.layers for node in layer]
        ends = sparse.vstack([*devices, system.neurons.drive]).tocsr()
        count = ends.shape[0]
        wanted = np.vstack([ends.toarray(), np.eye(n + 1)[nodes]])[:, :n]
        try:
            felt = splu(system.linear[:-1, :-1].tocsc()).solve(wanted.T.copy(), "T").T
        except RuntimeError:
            raise InputError("the circuit's linear part has no operating point") from None
        pushes = sparse.vstack([*(-each for each in devices), neurons]).toarray()[:, :n]
        maps = [felt @ part[:n] for part in given]
        offset = np.zeros((count, outputs))
        for j, name in enumerate(system.neurons.names):
            if name.startswith(f"neuron{last}_"):
                unit = int(name.removeprefix(f"neuron{last}_").removesuffix(".out"))
                offset[count - len(system.neurons.rows) + j, unit] = system.neurons.offset[j]
        seen = maps[0][:count], maps[1][:count] + offset, maps[2][:count]
        shown = maps[0][count:], maps[1][count:], maps[2][count:]
        reach = felt @ pushes.T
        return Ports(system, seen, shown, reach[:count], reach[count:])

    def settle(self, x: Array, value: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Return the voltages of all layers, ``(batch, nodes)``, and which samples are at rest."""
        q = _sum(self.seen, x, value)
        at = np.zeros_like(q)
        one, rest = np.eye(q.shape[1]), np.zeros(len(q), bool)
        for _ in range(BUDGET):
            flow, slope = self._flows(at)
            jacobian = one - self.reach * slope[:, None]
            right = q + (flow - slope * at) @ self.reach.T
            try:
                found = np.linalg.solve(jacobian, right[..., None])[..., 0]
            except np.linalg.LinAlgError:
                raise InputError(
                    "the circuit has no operating point, or more than one: its equations are "
                    "singular"
                ) from None
            ahead = self._limited(found, at)
            size = np.maximum(np.abs(found).max(1, initial=0.0), 1e-30)
            moved = np.maximum(np.abs(ahead - at), np.abs(found - at)).max(1, initial=0.0)
            at, rest = np.asarray(ahead, float), moved <= TOLERANCE * size
            if rest.all():
                break
        return _sum(self.layers, x, value) + self._flows(at)[0] @ self.shown.T, rest

    def _parts(self) -> list[slice]:
        """Return where each group of devices is in what is seen, then the neurons."""
        sizes = np.cumsum([0, *(len(g.names) for g in self.system.groups)]).tolist()
        return [*(slice(a, b) for a, b in pairwise(sizes)), slice(sizes[-1], None)]

    def _flows(self, at: Array) -> tuple[Array, Array]:
        """Return currents of devices and voltages of neurons, and their slopes."""
        *groups, last = self._parts()
        both = [group.flow(at[:, part]) for group, part in
                zip(self.system.groups, groups, strict=True)]  # fmt: skip
        neurons, drive = self.system.neurons, at[:, last]
        inside = (drive >= neurons.low) & (drive <= neurons.high)
        both.append((np.clip(drive, neurons.low, neurons.high), inside.astype(float)))
        return np.concatenate([f for f, _ in both], 1), np.concatenate([s for _, s in both], 1)

    def _limited(self, wanted: NDArray[Any], before: Array) -> Array:
        """Return how far devices may go towards ``wanted``."""
        *groups, last = self._parts()
        ahead = [group.device.limited(wanted[:, part], before[:, part])
                 for group, part in zip(self.system.groups, groups, strict=True)]  # fmt: skip
        return np.concatenate([*ahead, wanted[:, last]], 1)


def _picks(rows: Indices, size: int) -> sparse.csr_matrix:
    """Return the matrix that picks ``rows`` of ``size`` unknowns."""
    one = np.ones(len(rows))
    return sparse.csr_matrix((one, (np.arange(len(rows)), rows)), (len(rows), size))


def _sum(maps: tuple[Array, Array, Array], x: Array, value: Array) -> Array:
    total: Array = x @ maps[0].T + value @ maps[1].T + maps[2].T
    return total


class CircuitMachine(Machine):
    """The network of ``stores`` as a circuit: crossbars and neurons, or resistors and diodes.

    Stores of numbers become ideal pairs or resistors, pairs of cells what their cells hold, with
    their wires; ``wires``: of a network of resistors. Lines are exact and noiseless. States are
    float64. Chips are settled one after another, the samples of a batch at once. Raises
    ``InputError`` where the network has no circuit.

    >>> from madem.machine import Exact
    >>> from madem.network import Free, Layer
    >>> network = Network(1, (Layer(1, Free()),))
    >>> store = Exact(network.joints[0], [torch.tensor([[2.0]]), torch.tensor([0.5])])
    >>> CircuitMachine(network, [store]).settle(torch.tensor([[1.0]])).output.item()
    2.5
    """

    def __init__(
        self, network: Network, stores: Sequence[Store], wires: Wires | None = None
    ) -> None:
        """Put the network on the bench."""
        self.network = network
        self.inner = Simulated(network, Sweep(), stores)
        self.wires = wires
        self.circuits: dict[object, Ports] = {}
        self._ports(None, 0)  # refuses what has no circuit

    @property
    def parameters(self) -> list[Tensor]:
        """Those of the stores."""
        return self.inner.parameters

    @property
    def names(self) -> list[str]:
        """Those of the stores."""
        return self.inner.names

    @property
    def limits(self) -> list[Limits | None]:
        """Those of the stores."""
        return self.inner.limits

    @property
    def exact(self) -> bool:
        """Whether the same settling shows the same states: a circuit does."""
        return True

    @property
    def bare(self) -> bool:
        """Whether all stores hold numbers."""
        return self.inner.bare

    def __str__(self) -> str:
        """Return what holds the weights."""
        return f"circuit of {', '.join(type(store).__name__ for store in self.inner.stores)}"

    def settle(self, x: Tensor, nudge: Nudge | None = None, start: Start = None) -> Observed:
        """Find the operating point of every sample; it needs no ``start``."""
        shape, outputs = self.network.state_shapes[0], self.network.layers[-1].shape
        batch = x.shape[: x.dim() - len(shape)]
        if not isinstance(start, Observed):
            self.network.bind(self.inner.couple(self.parameters), x)  # refuses what does not fit
        flat = x.detach().double().reshape(-1, batch[-1], int(np.prod(shape))).numpy()
        value = _value(nudge, (*batch, *outputs)).reshape(len(flat), batch[-1], -1)
        found = [
            self._ports(nudge, chip).settle(flat[chip], value[chip].numpy())
            for chip in range(len(flat))
        ]
        volts = torch.from_numpy(np.stack([v for v, _ in found])).reshape(*batch, -1)
        converged = torch.from_numpy(np.stack([c for _, c in found])).reshape(batch)
        sizes = [int(np.prod(layer.shape)) for layer in self.network.layers]
        states = [
            part.unflatten(-1, layer.shape)
            for part, layer in zip(volts.split(sizes, -1), self.network.layers, strict=True)
        ]
        output = states[-1].to(x.dtype)
        if not self.network.layers[-1].law.loaded:  # driven, not sensed
            states[-1] = -value.reshape(states[-1].shape)
        self.count(converged)
        return Observed((x.double(), *states), output, converged)

    def contrast(self, high: Observed, low: Observed, scale: Scale = 1.0) -> tuple[Tensor, ...]:
        """Return ``dE/dtheta`` at ``high`` minus at ``low``, one per parameter, as stores do."""
        found = self.inner.compare(self.inner.couple(self.parameters), between(high, low, scale))
        return tuple(part.to(p.dtype) for part, p in zip(found, self.parameters, strict=True))

    def reaction(self, high: Observed, low: Observed, scale: Scale = 1.0) -> Tensor:
        """Return ``dE/dx`` at ``high`` minus at ``low``: what the sources of the input sense."""
        problem = self._problem(low)
        change = problem.reaction(low.states[1:]) - problem.reaction(high.states[1:])
        return Move(low.states[0], scale=scale).scaled(change).to(low.output.dtype)

    def strength(self, free: Observed, current: Tensor, share: float | None) -> Tensor:
        """Return how strong a nudge by ``current`` moves each sample by ``share`` of its size."""
        return relative(self._problem(free).displaced(free.states[1:]), current, share)

    def _problem(self, at: Observed) -> Problem:
        """Return the network's own equations, in float64."""
        held = [p.detach().double() for p in self.parameters]
        return self.network.bind(self.inner.couple(held), at.states[0])

    def write(self, changes: Sequence[Tensor]) -> tuple[Written | None, ...]:
        """Ask each store to change its parameters by ``changes``; return what was written."""
        self.circuits = {}
        return self.inner.write(changes)

    def load(self, parameters: Sequence[Tensor]) -> None:
        """Put ``parameters`` into the stores of numbers."""
        now = zip(parameters, self.parameters, strict=True)
        if not all(limits is None or torch.equal(a, b)
                   for (a, b), limits in zip(now, self.limits, strict=True)):  # fmt: skip
            self.circuits = {}
        self.inner.load(parameters)

    def state(self) -> dict[str, Tensor]:
        """Return what the stores hold."""
        return {**self.inner.state(), **super().state()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what ``state`` returned."""
        self.inner.restore(state)
        super().restore(state)
        self.circuits = {}

    def _ports(self, nudge: Nudge | None, chip: int) -> Ports:
        """Return the circuit of a chip under a nudge of this kind, made once per write."""
        kind = (type(nudge), nudge.stiffness if isinstance(nudge, Spring) else 0.0, chip)
        if kind not in self.circuits:
            inputs, *_, outputs = (int(np.prod(s)) for s in self.network.state_shapes)
            one, ones = torch.ones(inputs), torch.ones(1, outputs)
            unit = nudge and nudge.through(lambda _: ones)
            if isinstance(unit, CurrentNudge):
                unit = replace(unit, beta=1.0)
            built = circuit_of(self.inner, one, unit, chip, self.wires)
            self.circuits[kind] = Ports.of(built, inputs, outputs)
        return self.circuits[kind]


def circuit_of(
    inner: Simulated,
    x: Tensor,
    nudge: Nudge | None = None,
    chip: int = 0,
    wires: Wires | None = None,
    timing: Timing | None = None,
    volts: float = 1.0,
    wired: bool = True,
) -> Built:
    """Return the circuit of one chip of a simulated machine, with what its stores hold.

    ``x``: input of one sample; ``wires``: of a network of resistors; ``timing``: what takes time,
    where anything does; ``volts`` on a line of a crossbar stand for a state of one; ``wired``:
    whether arrays have their wires. Read noise and converters are left out. Raises ``InputError``
    where there is no such circuit.
    """
    network, joints = inner.network, inner.network.joints
    if not all(line.ideal for line in inner.periphery.lines):
        raise InputError("lines and neurons that were drawn (machine.spread) have no circuit")
    if any(isinstance(joint, Resistive | Amplified) for joint in joints):
        parts = [_held(s, j, chip) for s, j in zip(inner.stores, joints, strict=True)]
        return resistive(network, parts, x, nudge, wires, timing)
    if wires is not None:
        raise InputError("wires of numbers need conductances: a network of resistors, or cells")
    if not all(type(joint) is Dense for joint in joints):
        raise InputError("only Dense joints have a circuit of crossbars and neurons")
    side: Side = "arrays"
    bars, units = [], list[float]()
    for store, joint in zip(inner.stores, joints, strict=True):
        own = cells_of(store)
        if own is None:
            weight, *bias = _held(store, joint, chip)
            bars.append(pairs(weight, bias[0] if bias else None))
            units.append(1.0)
            continue
        cells = own.cells
        if wired and own.wired is not None:
            wires, side = own.wired.wires, own.wired.side
            tiles = own.wired.tiles(*cells.shape[-2:])
            if tiles.rows * tiles.columns > 1:
                raise InputError(
                    f"the joint of layers {joint.ends} lies on {tiles.rows} x {tiles.columns} "
                    "tiles, which have no circuit with wires: take larger arrays or no wires"
                )
        bars.append(crossbars(cells.flatten(1, -3)[:, chip] if cells.dim() > 3 else cells, side))
        units.append(own.unit)
    return hopfield(network, bars, x, nudge, wires, timing, units, volts)


def _held(store: Store, joint: Joint, chip: int) -> list[Tensor]:
    """Return the parameters of one chip."""
    shapes = joint.parameters.values()
    return [
        p.reshape(-1, *shape)[chip if p.dim() > len(shape) else 0]
        for p, shape in zip(store.parameters, shapes, strict=True)
    ]


def _value(nudge: Nudge | None, shape: tuple[int, ...]) -> Tensor:
    """Return what a nudge drives or aims at for every sample, in ``shape``."""
    if nudge is None:
        return torch.zeros(shape, dtype=torch.float64)
    if isinstance(nudge, CurrentNudge):
        value = nudge.beta * nudge.gradient
    elif isinstance(nudge, Spring | Hold):
        value = nudge.target if isinstance(nudge, Spring) else nudge.value
    else:
        raise InputError(f"nudge {type(nudge).__name__} has no circuit (allowed: Current, Spring, "
                         "Hold)")  # fmt: skip
    if value.is_complex():
        raise InputError("a circuit has no complex currents: choose centred(beta), not holomorphic")
    return value.detach().double().expand(shape)


def crossbars(cells: Tensor, side: Side) -> list[Crossbar]:
    """Return the arrays on which the pairs ``(2, post, pre)`` of one chip lie.

    >>> bars = crossbars(torch.ones(2, 3, 4), "outputs")
    >>> bars[0].g.shape, bars[0].columns[:2]
    ((4, 6), ((0, 1), (0, -1)))
    """
    plus, minus = cells.mT.double()
    pair = (1, -1)
    rows, columns = (
        [(k, sign) for k in range(count) for sign in (pair if side == along else (1,))]
        for count, along in zip(plus.shape, ("inputs", "outputs"), strict=True)
    )
    return [
        Crossbar(g.numpy(), tuple(rows), tuple((k, sign * whole) for k, sign in columns))
        for g, whole in zip(paired(plus, minus, side), pair, strict=False)
    ]
