"""How the error of a gradient depends on the strength of the nudge, and which one is best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from torch import Tensor

from madem.errors import InputError
from madem.learn import Contrast, Estimator, Even, Measured, RelativeMove, currents
from madem.machine import Machine
from madem.machine.strength import largest
from madem.network import Cost

FACTOR, STEPS = 3.0, 5
"""The curve goes by so many steps of this factor to either side of the strength of the nudge."""

Errors = Callable[[Estimator], tuple[float, float]]
"""The error of what an estimator finds on a machine, and its bias, over the exact gradient."""


@dataclass(frozen=True)
class Nudged:
    """How far off the gradient is at one strength of the nudge, over the exact one.

    ``beta``: as a config has it; ``error``: of the machine as it is; ``bias``: what a still machine
    is off.
    """

    beta: float
    error: float
    bias: float


@dataclass(frozen=True)
class Bench:
    """A machine and the batch on which it is looked at: ``x`` with its ``target`` and ``cost``."""

    machine: Machine
    x: Tensor
    target: Tensor
    cost: Cost

    def measured(self, estimator: Contrast) -> Even:
        """Return the strength that an ``estimator`` measures there, the median of the chips'."""
        fresh = Measured()
        replace(estimator, beta=fresh)(self.machine, self.x, self.target, self.cost)
        return Even(fresh.amount)

    def fixed(self, estimator: Estimator) -> Estimator:
        """Return ``estimator`` with a strength that it would measure as a fixed one."""
        if not isinstance(estimator, Contrast) or not isinstance(estimator.beta, Measured):
            return estimator
        exact = self.machine.exact
        return replace(estimator, beta=RelativeMove() if exact else self.measured(estimator))

    def auto(self, estimator: Estimator, share: float, errors: Errors) -> Nudged | None:
        """Return what is found at the strength that ``estimator`` would measure, where it can.

        Its ``beta`` is that of the same current in the units of the estimator's own.
        """
        if not isinstance(estimator, Contrast) or estimator.pushing is not currents:
            return None
        if self.machine.exact or any(isinstance(high, complex) for high, *_ in estimator.pairs):
            return None
        even = self.measured(estimator)
        beta = even.amount
        if not isinstance(estimator.beta, Even):
            free = self.machine.settle(self.x)
            slope = self.cost.gradient(free.output, self.target).double()
            size = largest(slope, free.converged.dim()).square().mean().sqrt()
            beta /= max(float(size), 1e-30) * share
        return Nudged(beta, *errors(replace(estimator, beta=even)))


def curve(estimator: Estimator, share: float, errors: Errors) -> tuple[float | None, list[Nudged]]:
    """Return the strength of ``estimator``, where it is a number, and the errors around it.

    ``share``: of the nudged layer in the energy, by which configs multiply such a number. What a
    machine does not bear, such as a spring that pushes too hard, is left out.
    """
    beta = getattr(estimator, "beta", None)
    if not isinstance(estimator, Contrast) or not isinstance(beta, Even | float | int):
        return None, []
    own, found = beta.amount if isinstance(beta, Even) else beta / share, list[Nudged]()
    for factor in (FACTOR**step for step in range(-STEPS, STEPS + 1)):
        each = Even(beta.amount * factor) if isinstance(beta, Even) else beta * factor
        with suppress(InputError):
            found.append(Nudged(own * factor, *errors(replace(estimator, beta=each))))
    return own, found


def best_of(now: float, around: Sequence[Nudged], auto: Nudged | None) -> list[str]:
    """Return in words which strength is best, where that is better than an error of ``now``.

    The one that is measured, where it does as well as any of the others but for half.

    >>> best_of(0.5, [Nudged(0.1, 0.5, 0.0), Nudged(0.3, 0.2, 0.0)], None)
    ['the gradient is off by 50 %; at estimator.beta=0.3 it is by 20 %, the least of all strengths']
    """
    known = [*around, *([auto] if auto else [])]
    best = min(known, key=lambda each: each.error, default=None)
    if best is None:
        return []
    beta, least = f"{best.beta:.2g}", "the least of all strengths"
    if auto and auto.error < max(1.5 * best.error, 0.15):
        best, beta, least = auto, "auto", f"a strength of {auto.beta:.2g} here"
    if best.error > 0.8 * now:
        return []
    return [
        f"the gradient is off by {100 * now:.2g} %; at estimator.beta={beta} it is by "
        f"{100 * best.error:.2g} %, {least}"
    ]
