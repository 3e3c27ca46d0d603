"""Nudges: what is done to the outputs in a nudged phase: a current, a spring, or they are held."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from madem.errors import InputError
from madem.network.laws import Curvature, Law, Mover


@runtime_checkable
class Nudge(Protocol):
    """What is done to the outputs in a nudged phase.

    A subclass with a ``rest`` of its own should have a ``move`` that goes with it; without one,
    displacements are taken by subtraction.
    """

    @property
    def stiffness(self) -> float:
        """What it adds to the second derivative of the energy at an output."""

    def rest(self, law: Law, a: Curvature, d: Tensor) -> Tensor:
        """Return where an output of this law, load and drive comes to rest."""

    def move(self, law: Law, move: Mover, a: Curvature, change: Tensor, at: Tensor) -> Tensor:
        """Return the displacement from ``at`` at which it comes to rest."""

    def take(self, rows: Tensor) -> Nudge:
        """Return the nudge of the samples ``rows`` alone."""

    def through(self, convert: Callable[[Tensor], Tensor]) -> Nudge:
        """Return the nudge as input converters put it on the lines."""


@dataclass(frozen=True)
class Current:
    """A current ``beta gradient`` drawn from the outputs: ``E + beta gradient . y``.

    ``gradient`` is ``dC/dy`` at the free state, so any differentiable cost will do. ``beta`` is one
    number, or one per sample, ``(*chips, batch, 1)``; a complex one makes a holomorphic nudge.

    >>> from madem.network.laws import Free
    >>> nudge = Current(1.0, torch.tensor([[0.5]]))
    >>> nudge.rest(Free(), 0.0, torch.tensor([[2.0]])).item()
    1.5
    """

    beta: float | complex | Tensor
    gradient: Tensor
    stiffness: float = 0.0

    def rest(self, law: Law, a: Curvature, d: Tensor) -> Tensor:
        """Return the law's rest under what is left of the drive."""
        return law.rest(a, d - self.beta * self.gradient)

    def move(self, law: Law, move: Mover, a: Curvature, change: Tensor, at: Tensor) -> Tensor:
        """Return the law's displacement under what is left of the change."""
        del law, at
        return move(a, change - self.beta * self.gradient)

    def take(self, rows: Tensor) -> Current:
        """Return the current of some samples."""
        beta = self.beta[rows] if isinstance(self.beta, Tensor) else self.beta
        return replace(self, beta=beta, gradient=self.gradient[rows])

    def through(self, convert: Callable[[Tensor], Tensor]) -> Current:
        """Return the current as input converters put it on the lines."""
        return replace(self, gradient=convert(self.gradient))


@dataclass(frozen=True)
class Spring:
    """A spring to the target, ``E + stiffness |y - target|^2 / 2``: squared error in the circuit.

    A resistor to a voltage source, negative where the stiffness is. Raises ``InputError`` where
    so negative a resistor leaves the energy unbounded below.

    >>> from madem.network.laws import Free
    >>> Spring(1.0, torch.tensor([[4.0]])).rest(Free(), 0.0, torch.tensor([[2.0]])).item()
    3.0
    """

    stiffness: float
    target: Tensor

    def _load(self, law: Law, a: Curvature, at: Tensor) -> Curvature:
        load = a + self.stiffness
        if self.stiffness < 0:
            least = law.slope(at, torch.zeros_like(at)) + a
            if bool((least + self.stiffness <= 0).any()):
                raise InputError(
                    f"a spring of stiffness {self.stiffness:g} leaves the energy unbounded below: "
                    f"beta must be below {float(least.min()):g}, what else holds the outputs"
                )
        return load

    def rest(self, law: Law, a: Curvature, d: Tensor) -> Tensor:
        """Return the law's rest with the spring."""
        load = self._load(law, a, torch.zeros_like(d))
        return law.rest(load, d + self.stiffness * self.target)

    def move(self, law: Law, move: Mover, a: Curvature, change: Tensor, at: Tensor) -> Tensor:
        """Return the law's displacement with the spring."""
        pulled = change + self.stiffness * (self.target - at)
        return move(self._load(law, a, at), pulled)

    def take(self, rows: Tensor) -> Spring:
        """Return the spring of some samples."""
        return replace(self, target=self.target[rows])

    def through(self, convert: Callable[[Tensor], Tensor]) -> Spring:
        """Return the spring to the target as input converters put it on the lines."""
        return replace(self, target=convert(self.target))


@dataclass(frozen=True)
class Hold:
    """Outputs held at ``value`` by voltage sources: contrastive and coupled learning.

    >>> from madem.network.laws import Free
    >>> Hold(torch.tensor([[4.0]])).rest(Free(), 0.0, torch.tensor([[2.0]])).item()
    4.0
    """

    value: Tensor
    stiffness: float = math.inf

    def rest(self, law: Law, a: Curvature, d: Tensor) -> Tensor:
        """Return the value."""
        del law, a, d
        return self.value

    def move(self, law: Law, move: Mover, a: Curvature, change: Tensor, at: Tensor) -> Tensor:
        """Return how far the value is."""
        del law, move, a, change
        return self.value - at

    def take(self, rows: Tensor) -> Hold:
        """Return the values of some samples."""
        return replace(self, value=self.value[rows])

    def through(self, convert: Callable[[Tensor], Tensor]) -> Hold:
        """Return the values as input converters put them on the lines."""
        return replace(self, value=convert(self.value))
