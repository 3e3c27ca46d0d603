"""Elements of a circuit: each joins named nodes; node ``"0"`` is ground.

A name with dots says where an element lies: ``"tile1.r0_3"`` is in the part ``tile1``, which a
netlist writes as a subcircuit; so does the name of a node inside a part. Units are SI.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields, is_dataclass
from numbers import Real
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from madem.errors import InputError, nearest

Array = NDArray[np.float64]

GROUND = "0"

BOLTZMANN, ELEMENTARY_CHARGE = 1.38064852e-23, 1.6021766208e-19
"""ngspice's own constants (CODATA 2014), so that its diodes and ours are the same."""


@dataclass(frozen=True)
class Between:
    """What lies between the nodes ``a`` and ``b``."""

    name: str
    a: str
    b: str


@dataclass(frozen=True)
class Resistor(Between):
    """A resistor of ``siemens`` from ``a`` to ``b``; negative ones are active."""

    siemens: float


@dataclass(frozen=True)
class Source:
    """A voltage source: ``volts`` from ``minus`` to ``plus``. With 0 V it senses a current."""

    name: str
    plus: str
    minus: str
    volts: float


@dataclass(frozen=True)
class Current(Between):
    """A current source: ``amperes`` are drawn from ``a`` and pushed into ``b``."""

    amperes: float


@dataclass(frozen=True)
class Capacitor(Between):
    """A capacitor of ``farads``; it matters in time alone."""

    farads: float


@dataclass(frozen=True)
class Amplifier:
    """A bidirectional amplifier (``network/amplifiers.py``): ``v(above) = voltage_gain v(below)``.

    Of the current that ``above`` delivers it draws ``current_gain`` times as much from ``below``;
    with 0 it is an ideal driver. With ``tau``, s, ``above`` follows as a low-pass of one pole.
    """

    name: str
    below: str
    above: str
    voltage_gain: float
    current_gain: float = 0.0
    tau: float = 0.0


@dataclass(frozen=True)
class Neuron:
    """A behavioural neuron: ``v(out) = clip(sum factor i(sense) + offset, low, high)``, volts.

    ``senses``: names of sources and the ohms by which their currents count. With ``tau``, s, the
    output follows as a low-pass of one pole.
    """

    name: str
    out: str
    senses: tuple[tuple[str, float], ...]
    offset: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    tau: float = 0.0


@runtime_checkable
class Device(Protocol):
    """A passive non-linear element from ``a`` to ``b``; those of equal ``kind`` work together."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def a(self) -> str:
        """The node where positive current enters."""

    @property
    def b(self) -> str:
        """The node where it leaves."""

    @property
    def kind(self) -> object:
        """What may differ from device to device only in ``scale``."""

    @property
    def scale(self) -> float:
        """What the current is multiplied by."""

    def flow(self, volts: Array) -> tuple[Array, Array]:
        """Return current and its slope at ``volts``, for a scale of one."""

    def limited(self, wanted: Array, before: Array) -> Array:
        """Return how far Newton's method may go towards ``wanted`` from ``before``."""


@dataclass(frozen=True)
class Diode(Between):
    """A Shockley diode, ``i = I (exp(v / V) - 1)``: ``saturation`` A, ``thermal`` V.

    >>> float(Diode("d", "a", "b", 1e-9, 0.025).flow(np.array([0.0]))[1][0])
    40.0
    """

    saturation: float
    thermal: float

    @property
    def kind(self) -> object:
        """The thermal voltage."""
        return Diode, self.thermal

    @property
    def scale(self) -> float:
        """The saturation current, A."""
        return self.saturation

    def flow(self, volts: Array) -> tuple[Array, Array]:
        """Return the current and its slope."""
        rise = np.minimum(volts / self.thermal, 700.0)
        return np.expm1(rise), np.exp(rise) / self.thermal

    def limited(self, wanted: Array, before: Array) -> Array:
        """Rise, above 0.1 V or so, no faster than as the logarithm, which the current needs."""
        steep = (wanted - before > 2 * self.thermal) & (wanted > 5 * self.thermal)
        base = np.maximum(before, 0.0)
        grown = base + self.thermal * np.log1p(np.maximum(wanted - base, 0.0) / self.thermal)
        return np.where(steep, np.maximum(grown, np.minimum(wanted, 2 * self.thermal)), wanted)


@dataclass(frozen=True)
class Sinh(Between):
    """A memristor cell whose current bends up: ``i = g V sinh(v / V)``, ``siemens`` g, ``bend`` V.

    >>> Sinh("c", "a", "b", 1e-4, 0.5).flow(np.array([0.0]))[1].tolist()
    [1.0]
    """

    siemens: float
    bend: float

    @property
    def kind(self) -> object:
        """The voltage at which it bends."""
        return Sinh, self.bend

    @property
    def scale(self) -> float:
        """The conductance at small voltages, S."""
        return self.siemens

    def flow(self, volts: Array) -> tuple[Array, Array]:
        """Return the current and its slope."""
        bent = np.clip(volts / self.bend, -700.0, 700.0)
        return self.bend * np.sinh(bent), np.cosh(bent)

    def limited(self, wanted: Array, before: Array) -> Array:
        """Grow no faster than as the logarithm of the step, as the current does."""
        size = np.maximum(np.abs(before), self.bend)
        far = np.abs(wanted) > 2 * size
        grown = size * (1 + np.log1p(np.abs(wanted) / size))
        return np.where(far, np.sign(wanted) * grown, wanted)


@dataclass(frozen=True)
class Table(Between):
    """A measured device: current at given voltages, linear between and beyond them.

    >>> Table("t", "a", "b", (-1.0, 0.0, 1.0), (-1.0, 0.0, 3.0)).flow(np.array([0.5, -2.0]))[0]
    array([ 1.5, -2. ])
    """

    volts: tuple[float, ...]
    amperes: tuple[float, ...]
    scale: float = 1.0

    @property
    def kind(self) -> object:
        """The table."""
        return Table, self.volts, self.amperes

    def piece(self, volts: Array) -> NDArray[np.intp]:
        """Return the number of the piece on which each voltage lies."""
        return np.searchsorted(np.array(self.volts[1:-1]), volts)

    def flow(self, volts: Array) -> tuple[Array, Array]:
        """Return the current and its slope."""
        at, flows = np.array(self.volts), np.array(self.amperes)
        slopes = np.diff(flows) / np.diff(at)
        piece = self.piece(volts)
        return flows[piece] + slopes[piece] * (volts - at[piece]), slopes[piece]

    def limited(self, wanted: Array, before: Array) -> Array:
        """Stop within the next piece: what lies beyond is not yet known to be on the way."""
        at, piece = np.array(self.volts), self.piece(before)
        middles = np.concatenate([[-np.inf], (at[:-1] + at[1:]) / 2, [np.inf]])
        return np.clip(wanted, middles[piece], middles[piece + 2])


Element = Resistor | Source | Current | Capacitor | Amplifier | Neuron | Device


@dataclass(frozen=True)
class Circuit:
    """A circuit: nothing but its elements. ``title`` heads the netlist.

    Names of elements and nodes are of letters, digits and ``_``, with dots between parts. Raises
    ``InputError`` for other names, a title of more than one line, two elements of one name, a
    number that is none, and a neuron that senses anything but a source.

    >>> divider = Circuit((Source("v", "in", "0", 1.0), Resistor("r", "in", "out", 1.0),
    ...                    Resistor("s", "out", "0", 1.0)))
    >>> divider.nodes
    ('in', 'out')
    """

    elements: tuple[Element, ...]
    title: str = "circuit"

    def __post_init__(self) -> None:
        """Refuse what no netlist can hold, and names that are used twice."""
        if not isinstance(self.title, str) or not self.title.isprintable():
            raise InputError(f"title must be one line of text, but is {str(self.title)[:60]!r}")
        names: set[str] = set()
        for element in self.elements:
            _check(element)
            if element.name in names:
                raise InputError(f"two elements of the circuit are called {element.name!r}")
            names.add(element.name)
        sources = {e.name for e in self.elements if type(e) is Source}
        for neuron in (e for e in self.elements if type(e) is Neuron):
            for sensed, _ in neuron.senses:
                if sensed not in sources:
                    few = sources if len(sources) <= 8 else sorted(sources)[:8]
                    raise InputError(
                        f"neuron {neuron.name!r} senses {sensed!r}, which is no source of the "
                        f"circuit: {nearest(sensed, few)}"
                    )

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes but ground, in order of appearance."""
        seen = dict.fromkeys(node for element in self.elements for node in ends(element))
        seen.pop(GROUND, None)
        return tuple(seen)


def ends(element: Element) -> tuple[str, ...]:
    """Return the nodes of an element.

    >>> ends(Amplifier("a", "x", "y", 2.0))
    ('x', 'y')
    """
    if isinstance(element, Source):
        return element.plus, element.minus
    if isinstance(element, Amplifier):
        return element.below, element.above
    if isinstance(element, Neuron):
        return (element.out,)
    return element.a, element.b


NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


def check_name(name: object) -> None:
    """Refuse a name that a netlist would read as more than one, or as a command.

    >>> check_name("tile1.w0_3")
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(
            "names of nodes and elements must be letters, digits and _ with dots between, but one "
            f"is {str(name)[:60]!r}"
        )


def _check(element: Element) -> None:
    """Refuse an element whose names or numbers are none."""
    sensed = element.senses if isinstance(element, Neuron) else ()
    for name in (element.name, *ends(element), *(source for source, _ in sensed)):
        check_name(name)
    for field in fields(element) if is_dataclass(element) else ():
        if "float" not in str(field.type):
            continue
        value = getattr(element, field.name)
        for each in value if isinstance(value, tuple) else (value,):
            number = each[1] if isinstance(each, tuple) else each  # of a source that is sensed
            unbounded = field.name in ("low", "high") and number in (-math.inf, math.inf)
            if not isinstance(number, Real) or not (unbounded or math.isfinite(number)):
                raise InputError(
                    f"{field.name} of {element.name!r} must be finite, but is {repr(number)[:60]}"
                )


def part_of(name: str) -> str:
    """Return the part of the circuit in which an element or a node lies, "" for none.

    >>> part_of("tile1.r0_3")
    'tile1'
    """
    return name.rpartition(".")[0]
