"""Node laws: what one neuron does with the current that it receives.

A law is the scalar problem that a node solves, ``rest(a, d) = argmin_s a s^2 / 2 - d s + phi(s)``,
where the curvature ``a`` is what the couplings load the node with (0 in a Hopfield network, the
sum of conductances in a resistive one) and ``d`` is the drive. Laws differ in ``phi`` and nowhere
else. ``move`` answers the same question for a *displacement* from a state at rest, in
a form that keeps its relative precision however small the displacement is:

    move(a, change, at, excess) = argmin_u a u^2 / 2 - change u + phi(at + u) - excess u

with ``excess = d - a at``, the current that the law itself takes at ``at``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from madem.errors import InputError

Curvature = Tensor | float
"""What a node is loaded with: one number, or a tensor of the layer's shape."""

Mover = Callable[[Curvature, Tensor], Tensor]
"""The displacement from rest under a load and a change of the drive; made once for many changes."""


@runtime_checkable
class Law(Protocol):
    """What a layer's neurons do. ``loaded`` is False where the layer only listens.

    A subclass with a ``rest`` of its own should have a ``mover``, ``slope`` and ``energy`` that go
    with it; without a mover of its own, displacements are taken by subtraction.
    """

    @property
    def loaded(self) -> bool:
        """Whether the current from the network moves the node (else only the nudge does)."""

    @property
    def bound(self) -> float | None:
        """Largest magnitude of the state, None where it has none."""

    @property
    def analytic(self) -> bool:
        """Whether the law also holds for complex states."""

    def rest(self, a: Curvature, d: Tensor) -> Tensor:
        """Return the state at rest, of the shape of ``d``."""

    def mover(self, at: Tensor, excess: Tensor) -> Mover:
        """Return what gives the displacement from ``at`` under a load and a change of the drive."""

    def slope(self, at: Tensor, excess: Tensor) -> Tensor:
        """Return ``phi''`` at ``at``; infinite where a clamp holds the node."""

    def energy(self, s: Tensor) -> Tensor:
        """Return ``phi(s)`` of every node."""


@dataclass(frozen=True)
class Box:
    """A node between two limits: ``phi = leak s^2 / 2``, and ``low <= s <= high``.

    With ``leak`` 1 and no load it is a hard sigmoid, ``s = clip(d, low, high)``; with ``leak`` 0
    and a resistive load a node with two ideal diodes. Either limit may be infinite.

    >>> Box().rest(0.0, torch.tensor([[-3.0, 0.5]])).tolist()
    [[-1.0, 0.5]]
    >>> Box(0.0, math.inf, leak=0.0).rest(2.0, torch.tensor([[-3.0, 0.5]])).tolist()
    [[0.0, 0.25]]
    """

    low: float = -1.0
    high: float = 1.0
    leak: float = 1.0
    loaded: bool = True
    analytic: bool = False

    def __post_init__(self) -> None:
        """Refuse an empty box."""
        if not self.low < self.high:
            raise InputError(f"low must be below high, but is {self.low} with high {self.high}")
        _check_leak(self.leak)

    @property
    def bound(self) -> float | None:
        """The larger of the limits, None where it is infinite."""
        largest = max(abs(self.low), abs(self.high))
        return largest if math.isfinite(largest) else None

    def rest(self, a: Curvature, d: Tensor) -> Tensor:
        """Return ``clip(d / (a + leak), low, high)``."""
        return _over(d, a, self.leak).clamp(self.low, self.high)

    def mover(self, at: Tensor, excess: Tensor) -> Mover:
        """Return the clipped displacement; a node inside its box has no excess to overcome."""
        inside = (at > self.low) & (at < self.high)
        held = torch.sub(excess, at, alpha=self.leak).masked_fill(inside, 0.0)
        low, high = self.low - at, self.high - at
        return lambda a, change: _over(change + held, a, self.leak).clamp_(low, high)

    def slope(self, at: Tensor, excess: Tensor) -> Tensor:
        """Return the leak inside, infinity where the current presses the node on a limit."""
        held = excess - self.leak * at
        pressed = ((at <= self.low) & (held <= 0)) | ((at >= self.high) & (held >= 0))
        return torch.full_like(at, self.leak).masked_fill(pressed, math.inf)

    def energy(self, s: Tensor) -> Tensor:
        """Return ``leak s^2 / 2``."""
        return self.leak / 2 * s.square()


@dataclass(frozen=True)
class Free:
    """A linear node, ``s = d / (a + leak)``: an output inside the energy.

    >>> Free().rest(0.0, torch.tensor([[2.5]])).item()
    2.5
    """

    leak: float = 1.0
    loaded: bool = True
    bound: None = None
    analytic: bool = True

    def __post_init__(self) -> None:
        """Refuse a negative leak."""
        _check_leak(self.leak)

    def rest(self, a: Curvature, d: Tensor) -> Tensor:
        """Return ``d / (a + leak)``."""
        return _over(d, a, self.leak)

    def mover(self, at: Tensor, excess: Tensor) -> Mover:
        """Return ``change / (a + leak)``."""
        del at, excess
        return lambda a, change: _over(change, a, self.leak)

    def slope(self, at: Tensor, excess: Tensor) -> Tensor:
        """Return the leak."""
        del excess
        return torch.full_like(at, self.leak)

    def energy(self, s: Tensor) -> Tensor:
        """Return ``leak s^2 / 2``."""
        return self.leak / 2 * s.square()


@dataclass(frozen=True)
class Readout:
    """An output outside the energy: sensed at virtual ground, driven by the nudge alone.

    In the free phase its state is zero, so that it does not load the layer below; in a nudged
    phase the same lines are driven, and feed the nudge back by the transposed read. The energy
    therefore stays convex however strong the output couplings grow.

    >>> Readout().rest(0.0, torch.tensor([[-0.1]])).item() < 0
    True
    """

    loaded: bool = False
    bound: None = None
    analytic: bool = True

    def rest(self, a: Curvature, d: Tensor) -> Tensor:
        """Return the drive, which for this law is the nudge alone."""
        del a
        return d

    def mover(self, at: Tensor, excess: Tensor) -> Mover:
        """Return the change, which for this law is the nudge alone."""
        del at, excess
        return lambda _, change: change

    def slope(self, at: Tensor, excess: Tensor) -> Tensor:
        """Return infinity: the network does not move it."""
        del excess
        return torch.full_like(at, math.inf)

    def energy(self, s: Tensor) -> Tensor:
        """Return zero."""
        return torch.zeros_like(s)


@dataclass(frozen=True)
class Tanh:
    """A smooth neuron, ``s = tanh(d)``: ``phi`` is the integral of the inverse of tanh.

    It must not be loaded by resistors, whose curvature would make the rest transcendental.

    >>> Tanh().rest(0.0, torch.tensor([[0.0]])).item()
    0.0
    """

    loaded: bool = True
    bound: float = 1.0
    analytic: bool = True

    def rest(self, a: Curvature, d: Tensor) -> Tensor:
        """Return ``tanh(d)``."""
        if isinstance(a, Tensor) or a != 0:
            raise InputError("law Tanh cannot be loaded by resistors; use Box or Shockley")
        return torch.tanh(d)

    def mover(self, at: Tensor, excess: Tensor) -> Mover:
        """Return ``tanh(artanh(at) + change) - at``, by the addition theorem."""
        del excess
        slope = 1 - at.square()

        def move(a: Curvature, change: Tensor) -> Tensor:
            del a
            t = torch.tanh(change)
            return t * slope / (1 + at * t)

        return move

    def slope(self, at: Tensor, excess: Tensor) -> Tensor:
        """Return ``1 / (1 - s^2)``."""
        del excess
        return 1 / (1 - at.square())

    def energy(self, s: Tensor) -> Tensor:
        """Return ``((1 + s) log(1 + s) + (1 - s) log(1 - s)) / 2``."""
        up: Tensor = torch.special.xlog1py(1 + s, s)
        down: Tensor = torch.special.xlog1py(1 - s, -s)
        return (up + down) / 2


@dataclass(frozen=True)
class Halves:
    """Two laws in one layer, one for the first half of its units and one for the second.

    Resistive networks have excitatory and inhibitory nodes, limited from below and from above.

    >>> law = diodes()
    >>> law.rest(1.0, torch.tensor([[-1.0, 2.0, -3.0, 4.0]])).tolist()
    [[0.0, 2.0, -3.0, 0.0]]
    """

    laws: tuple[Law, Law]
    axis: int = -1
    loaded: bool = True

    @property
    def bound(self) -> float | None:
        """The larger of both bounds."""
        bounds = [law.bound for law in self.laws]
        return None if None in bounds else max(bound or 0.0 for bound in bounds)

    @property
    def analytic(self) -> bool:
        """Whether both are."""
        return all(law.analytic for law in self.laws)

    def _split(self, *values: Curvature) -> list[tuple[Law, list[Any]]]:
        """Return each law with its half of every value."""
        halves = [v.chunk(2, self.axis) if isinstance(v, Tensor) else (v, v) for v in values]
        return [(law, [half[i] for half in halves]) for i, law in enumerate(self.laws)]

    def rest(self, a: Curvature, d: Tensor) -> Tensor:
        """Return each half's rest."""
        return torch.cat([law.rest(*part) for law, part in self._split(a, d)], self.axis)

    def mover(self, at: Tensor, excess: Tensor) -> Mover:
        """Return each half's displacement."""
        moves = [mover(law, *part) for law, part in self._split(at, excess)]

        def move(a: Curvature, change: Tensor) -> Tensor:
            parts = zip(moves, self._split(a, change), strict=True)
            return torch.cat([each(*part) for each, (_, part) in parts], self.axis)

        return move

    def slope(self, at: Tensor, excess: Tensor) -> Tensor:
        """Return each half's slope."""
        return torch.cat([law.slope(*part) for law, part in self._split(at, excess)], self.axis)

    def energy(self, s: Tensor) -> Tensor:
        """Return each half's energy."""
        return torch.cat([law.energy(*part) for law, part in self._split(s)], self.axis)

    def along(self, at: Tensor, v: Tensor) -> Tensor:
        """Return each half's displacement."""
        return torch.cat([along(law, *part) for law, part in self._split(at, v)], self.axis)

    def across(self, at: Tensor, force: Tensor) -> Tensor:
        """Return each half's product with the transpose."""
        return torch.cat([across(law, *part) for law, part in self._split(at, force)], self.axis)

    def sizes(self, units: int) -> tuple[int, int]:
        """Return how many of ``units`` each half has, as ``chunk`` cuts them."""
        return units - units // 2, units // 2


@dataclass(frozen=True)
class Weighted:
    """A law whose currents count ``share`` times in the energy, behind amplifiers."""

    law: Law
    share: float

    @property
    def loaded(self) -> bool:
        """Whether the law is."""
        return self.law.loaded

    @property
    def bound(self) -> float | None:
        """That of the law."""
        return self.law.bound

    @property
    def analytic(self) -> bool:
        """Whether the law is."""
        return self.law.analytic

    def rest(self, a: Curvature, d: Tensor) -> Tensor:
        """Return the law's rest under its own load and drive."""
        return self.law.rest(a / self.share, d / self.share)

    def mover(self, at: Tensor, excess: Tensor) -> Mover:
        """Return the law's displacement under its own load and drive."""
        move = mover(self.law, at, excess / self.share)
        return lambda a, change: move(a / self.share, change / self.share)

    def slope(self, at: Tensor, excess: Tensor) -> Tensor:
        """Return the weighted slope."""
        return self.share * self.law.slope(at, excess / self.share)

    def energy(self, s: Tensor) -> Tensor:
        """Return the weighted energy."""
        return self.share * self.law.energy(s)

    def along(self, at: Tensor, v: Tensor) -> Tensor:
        """Return the law's displacement."""
        return along(self.law, at, v)

    def across(self, at: Tensor, force: Tensor) -> Tensor:
        """Return the law's product with the transpose."""
        return across(self.law, at, force)


def diodes(axis: int = -1) -> Halves:
    """Return the ideal diodes of a resistive network: one half at least zero, the other at most.

    ``axis`` is -1 for a dense layer, -3 (the channels) for a convolutional one.
    """
    return Halves((Box(0.0, math.inf, leak=0.0), Box(-math.inf, 0.0, leak=0.0)), axis)


def leakless(law: Law) -> bool:
    """Return whether a law is known to leave its node to the couplings alone, within limits.

    >>> leakless(diodes()), leakless(Free())
    (True, False)
    """
    if type(law) is Halves:
        return all(leakless(half) for half in law.laws)
    if type(law) is Weighted:
        return leakless(law.law)
    return (type(law) is Box or type(law) is Free) and law.leak == 0


def mover(law: Law, at: Tensor, excess: Tensor) -> Mover:
    """Return the law's mover; by subtraction where a subclass has a rest of its own, and no mover.

    >>> class Odd(Free):
    ...     def rest(self, a, d):
    ...         return d**3
    >>> mover(Odd(), torch.tensor(1.0), torch.tensor(1.0))(0.0, torch.tensor(1.0)).item()
    7.0
    """
    if not overridden(law, "rest", "mover"):
        return law.mover(at, excess)
    return lambda a, change: law.rest(a, a * at + excess + change) - at


def along(law: Law, at: Tensor, v: Tensor) -> Tensor:
    """Return a displacement ``B v`` that a law allows, for any ``v``; ``v`` where it has no limit.

    A law whose units share something has an ``along`` of its own, and an ``across``.
    """
    own = getattr(law, "along", None)
    return v if own is None else own(at, v)


def across(law: Law, at: Tensor, force: Tensor) -> Tensor:
    """Return ``B^T force``."""
    own = getattr(law, "across", None)
    return force if own is None else own(at, force)


def overridden(value: object, method: str, beside: str) -> bool:
    """Return whether a class has a ``method`` of its own, but no ``beside`` that goes with it.

    What it inherits as ``beside`` speaks of another ``method`` than its own.
    """
    kinds = [vars(kind) for kind in type(value).__mro__]
    first: Mapping[str, Any] = next((k for k in kinds if method in k or beside in k), {beside: 0})
    return beside not in first


def _over(d: Tensor, a: Curvature, leak: float) -> Tensor:
    """Return ``d / (a + leak)``."""
    if not isinstance(a, Tensor) and a + leak == 1:
        return d
    return d / (a + leak)


def _check_leak(leak: float) -> None:
    if not (leak >= 0 and math.isfinite(leak)):
        raise InputError(f"leak must be zero or positive, but is {leak}")
