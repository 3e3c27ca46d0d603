"""Estimators: the gradient from the activities of two settlings, and from nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from madem.errors import InputError
from madem.machine import Nudge, Settled
from madem.network import Cost


@runtime_checkable
class Machine(Protocol):
    """The three verbs; a simulated chip, a circuit simulator and a real chip all have them."""

    def settle(
        self, x: Tensor, nudge: Nudge | None = None, start: Settled | None = None
    ) -> Settled:
        """Come to rest."""

    def contrast(self, high: Settled, low: Settled) -> tuple[Tensor, ...]:
        """Return the difference of ``dE/dtheta`` between two settlings."""


@dataclass(frozen=True)
class Gradient:
    """An estimate of ``dC/d[W b]``, one tensor ``(*chips, post, pre + 1)`` a coupling.

    ``free`` is the free settling that it started from, for whoever wants to see it.
    """

    weights: tuple[Tensor, ...]
    free: Settled


@runtime_checkable
class Estimator(Protocol):
    """How two settlings become a gradient."""

    def __call__(self, machine: Machine, x: Tensor, target: Tensor, cost: Cost) -> Gradient:
        """Return the gradient of the batch-mean cost at input ``x``."""


@dataclass(frozen=True)
class Centred:
    """Contrast of the states nudged both ways, ``(dE(+beta) - dE(-beta)) / (2 beta)``.

    Exact where the network is linear between its clamps, as long as no unit changes its clamp;
    of second order in ``beta`` elsewhere (FACTS 4). The nudge is the current ``beta dC/dy`` at
    the free state, so any cost with a gradient will do.

    >>> Centred(0.0)
    Traceback (most recent call last):
    ...
    madem.errors.InputError: beta must be positive, but is 0.0
    """

    beta: float

    def __post_init__(self) -> None:
        """Refuse a nudge of the wrong sign."""
        _check(self.beta)

    def __call__(self, machine: Machine, x: Tensor, target: Tensor, cost: Cost) -> Gradient:
        """Return the gradient of the batch-mean cost at input ``x``."""
        free = machine.settle(x)
        gradient = cost.gradient(free.output, target)
        high = machine.settle(x, Nudge(self.beta, gradient), start=free)
        low = machine.settle(x, Nudge(-self.beta, gradient), start=free)
        scale = 1 / (2 * self.beta)
        return Gradient(tuple(scale * part for part in machine.contrast(high, low)), free)


@dataclass(frozen=True)
class OneSided:
    """Contrast of the state nudged towards the target with the free one; of first order."""

    beta: float

    def __post_init__(self) -> None:
        """Refuse a nudge of the wrong sign."""
        _check(self.beta)

    def __call__(self, machine: Machine, x: Tensor, target: Tensor, cost: Cost) -> Gradient:
        """Return the gradient of the batch-mean cost at input ``x``."""
        free = machine.settle(x)
        gradient = cost.gradient(free.output, target)
        high = machine.settle(x, Nudge(self.beta, gradient), start=free)
        scale = 1 / self.beta
        return Gradient(tuple(scale * part for part in machine.contrast(high, free)), free)


def _check(beta: float) -> None:
    if not (beta > 0 and torch.isfinite(torch.tensor(beta))):
        raise InputError(f"beta must be positive, but is {beta}")
