"""Estimators: the gradient from the activities of two settlings, and from nothing else.

Every estimator is a sum of contrasts ``weight (dE(s^high) - dE(s^low))`` between two strengths of
the nudge; they differ in which. What the nudge is (a current, a spring, outputs held) is a value
of its own, so that contrastive and coupled learning are the same contrasts with outputs held.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Generator, Tensor

from madem.errors import InputError
from madem.learn.strengths import (
    Even,
    Measured,
    OutputMove,
    Push,
    RelativeMove,
    Strength,
    check_beta,
    dithered,
    evened,
)
from madem.machine import Machine, Observed
from madem.network import Cost, Current, Hold, Spring, SquaredError
from madem.randomness import uniform

Pushing = Callable[[Cost, Tensor, Tensor], Push]
"""How outputs and targets of a batch become a push."""


@dataclass(frozen=True)
class Gradient:
    """An estimate of ``dC/dtheta``, one tensor for each of the machine's parameters.

    ``free`` is the free settling that it started from, for whoever wants to see it; ``x`` the
    gradient by the input where it was asked for.
    """

    weights: tuple[Tensor, ...]
    free: Observed
    x: Tensor | None = None


@runtime_checkable
class Estimator(Protocol):
    """How a machine is asked for a gradient."""

    def __call__(self, machine: Machine, x: Tensor, target: Tensor, cost: Cost) -> Gradient:
        """Return the gradient of the batch-mean cost at input ``x``."""


def currents(cost: Cost, output: Tensor, target: Tensor) -> Push:
    """Return the push by the current ``beta dC/dy``, which works with any differentiable cost."""
    gradient = cost.gradient(output, target)
    return lambda beta: Current(beta, gradient)


def springs(cost: Cost, output: Tensor, target: Tensor) -> Push:
    """Return the push by springs of stiffness ``beta`` to the target: squared error alone."""
    aim = _aim(cost, output, target)
    return lambda beta: Spring(_real(beta, "a spring"), aim)


def holds(cost: Cost, output: Tensor, target: Tensor) -> Push:
    """Return the push that holds outputs at ``free + beta (target - free)``.

    With ``beta`` 1 the outputs are held at the target: contrastive learning; with a small one it
    is coupled learning. What results is the gradient of a contrast, not of the cost.
    """
    aim = _aim(cost, output, target)
    return lambda beta: Hold(output + _real(beta, "a held output") * (aim - output))


def _aim(cost: Cost, output: Tensor, target: Tensor) -> Tensor:
    if not isinstance(cost, SquaredError):
        raise InputError(
            f"outputs can be drawn to a target for the cost SquaredError alone, but the cost is "
            f"{type(cost).__name__}: use currents"
        )
    return cost.aim(output, target)


def _real(beta: Strength, what: str) -> float:
    if isinstance(beta, (int, float)):
        return float(beta)
    raise InputError(f"{what} has one real strength for all samples, but beta is {beta}")


Rough = tuple[tuple[Tensor, ...], Tensor, Tensor]
Measurement = tuple["Gradient", Callable[[], Rough]]
"""A gradient, and what it would be with what converters round away drawn anew (``dithered``)."""

Beta = float | OutputMove | RelativeMove | Even | Measured
Number = float | complex
Phases = Mapping[Number, Observed]
Pair = tuple[Number, Number, Number]
"""``(high, low, weight)``: adds ``weight / beta (dE at high beta - dE at low beta)``."""


@dataclass(frozen=True)
class Contrast:
    """What all estimators do: settle at every strength that the ``pairs`` name, and contrast.

    ``beta``: the unit of strength, a number, or set for each sample by an ``OutputMove`` or a
    ``RelativeMove``; ``pushing``: ``currents``, ``springs`` or ``holds``.
    """

    beta: Beta
    pairs: tuple[Pair, ...]
    pushing: Pushing = currents

    def __post_init__(self) -> None:
        """Refuse a nudge of no strength."""
        check_beta(self.beta)

    def __call__(self, machine: Machine, x: Tensor, target: Tensor, cost: Cost) -> Gradient:
        """Return the gradient of the batch-mean cost at input ``x``."""
        free = machine.settle(x)
        push = self.pushing(cost, free.output, target)
        return self.measure(machine, free, push, 1 / max(1, free.converged.shape[-1]))

    def measure(
        self,
        machine: Machine,
        free: Observed,
        push: Push,
        scale: float | Tensor,
        wants_x: bool = False,
    ) -> Gradient:
        """Return the gradient under ``push`` from a free settling.

        ``scale``: how often each sample counts, one number or one per sample, ``(*chips, batch)``.
        """
        if isinstance(self.beta, float | int):
            phases = self._phases(machine, free, push, self.beta)
            return self._contrasted(machine, phases, scale / self.beta, wants_x)
        axes = free.converged.dim()
        push, size = evened(push, axes)

        def at(beta: Tensor) -> Measurement:
            phases = self._phases(machine, free, push, beta)
            unit = scale * size / beta.flatten(axes - 1)

            def rough() -> Rough:
                others, far, steps = dithered(phases, machine)
                return self._contrasted(machine, others, unit).weights, far, steps

            return self._contrasted(machine, phases, unit, wants_x), rough

        if isinstance(self.beta, Measured) and not machine.exact:
            return self.beta.measure(free, size, self.order, self.shared, at)
        return at(self.beta.strength(machine, free, push))[0]

    @property
    def order(self) -> int:
        """The order in beta of its error, where the pairs are real and nothing clamps."""
        for p in range(1, 9):
            if (
                abs(sum(w * (high ** (p + 1) - low ** (p + 1)) for high, low, w in self.pairs))
                > 1e-9
            ):
                return p
        return 9

    @property
    def shared(self) -> float:
        """Which share of its noise is the free phase's, where every settling is as noisy."""
        counts: dict[Number, Number] = {}
        for high, low, weight in self.pairs:
            counts[high] = counts.get(high, 0.0) + weight
            counts[low] = counts.get(low, 0.0) - weight
        return abs(counts.get(0.0, 0.0)) ** 2 / sum(abs(each) ** 2 for each in counts.values())

    def _phases(self, machine: Machine, free: Observed, push: Push, beta: Strength) -> Phases:
        """Return the settlings at all strengths, in units of ``beta``."""
        strengths = dict.fromkeys(side for pair in self.pairs for side in pair[:2] if side)
        nudges = [push(strength * beta) for strength in strengths]
        return {0.0: free, **dict(zip(strengths, machine.settle_each(free, nudges), strict=True))}

    def _contrasted(
        self, machine: Machine, phases: Phases, unit: float | Tensor, wants_x: bool = False
    ) -> Gradient:
        """Return the gradient from the settlings, each of whose samples counts ``unit`` times."""
        total: tuple[Tensor, ...] = ()
        total_x = None
        for high, low, weight in self.pairs:
            sides = phases[high], phases[low], weight * unit
            parts = tuple(_real_part(p) for p in machine.contrast(*sides))
            total = tuple(t + p for t, p in zip(total, parts, strict=True)) if total else parts
            if wants_x:
                part = _real_part(machine.reaction(*sides))
                total_x = part if total_x is None else total_x + part
        return Gradient(total, phases[0.0], total_x)

    def __str__(self) -> str:
        """Return its name and the unit of its strengths."""
        makers = (centred, positive, negative, richardson)
        known = {make(1.0).pairs: make.__name__ for make in makers}
        name = known.get(self.pairs, f"contrast of {len(self.pairs)} pairs")
        return (
            f"{name}({self.beta}{'' if self.pushing is currents else f', {self.pushing.__name__}'})"
        )


def _real_part(value: Tensor) -> Tensor:
    return value.real if value.is_complex() else value


def centred(beta: Beta, pushing: Pushing = currents) -> Contrast:
    """Return the contrast of the states nudged both ways, ``(dE(+b) - dE(-b)) / (2 b)``.

    Exact where the network is linear between its clamps, as long as no unit changes its clamp;
    of second order in ``beta`` elsewhere. The default of the package.

    >>> centred(0.0)
    Traceback (most recent call last):
    ...
    madem.errors.InputError: beta must be positive, but is 0.0
    """
    return Contrast(beta, ((1.0, -1.0, 0.5),), pushing)


def positive(beta: Beta, pushing: Pushing = currents) -> Contrast:
    """Return the contrast of the state nudged towards the target with the free one: first order."""
    return Contrast(beta, ((1.0, 0.0, 1.0),), pushing)


def negative(beta: Beta, pushing: Pushing = currents) -> Contrast:
    """Return the contrast of the free state with one nudged away from the target: first order."""
    return Contrast(beta, ((0.0, -1.0, 1.0),), pushing)


def richardson(beta: Beta, pushing: Pushing = currents) -> Contrast:
    """Return Richardson's extrapolation of centred contrasts at ``beta / 2`` and ``beta``.

    ``(4 g(b / 2) - g(b)) / 3``: of fourth order in ``beta``, for twice the settlings.
    """
    return Contrast(beta, ((0.5, -0.5, 4 / 3), (1.0, -1.0, -1 / 6)), pushing)


def holomorphic(beta: float, points: int = 4) -> Contrast:
    """Return the mean over ``points`` nudges on a circle of radius ``beta`` in the complex plane.

    Exact up to the order ``beta^points`` where the energy is analytic, for any one size of beta:
    ``g = sum_k exp(-i t_k) dE(s(b exp(i t_k))) / (points b)`` (Laborieux and Zenke, 2022).

    >>> len(holomorphic(0.1, 4).pairs)
    4
    """
    if points < 2:
        raise InputError(f"points must be at least 2, but is {points}")
    turns = [complex(math.cos(t), math.sin(t)) for t in
             (2 * math.pi * k / points for k in range(points))]  # fmt: skip
    return Contrast(beta, tuple((turn, 0.0, turn.conjugate() / points) for turn in turns))


def contrastive() -> Contrast:
    """Return contrastive learning: free outputs against outputs held at the target."""
    return Contrast(1.0, ((1.0, 0.0, 1.0),), holds)


def coupled(eta: float) -> Contrast:
    """Return coupled learning: outputs held a share ``eta`` of the way towards the target."""
    check_beta(eta, "eta")
    return Contrast(eta, ((1.0, 0.0, 1.0),), holds)


@dataclass(frozen=True)
class RandomSign:
    """A one-sided contrast whose sign is drawn for every batch: of second order on average."""

    beta: Beta
    draws: Generator
    pushing: Pushing = currents

    def __post_init__(self) -> None:
        """Refuse a nudge of the wrong sign."""
        check_beta(self.beta)

    def __call__(self, machine: Machine, x: Tensor, target: Tensor, cost: Cost) -> Gradient:
        """Return the gradient of the batch-mean cost at input ``x``."""
        up = bool(uniform((), self.draws) < 0.5)
        side = positive if up else negative
        return side(self.beta, self.pushing)(machine, x, target, cost)
