"""Fit programming errors: their mean, their sigma over the range, stuck cells and heavy tails."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import beta, norm, t
from torch import Tensor

from madem.device.fitting import (
    Array,
    Candidate,
    Curve,
    Fit,
    Maximum,
    Objective,
    Parameter,
    known,
    maximise,
    normal_plot,
    normality,
    preferred,
    tried,
)
from madem.device.tables import Table
from madem.errors import InputError

POWERS = ("error_sigma", "error.linear", "error.quadratic", "error.cubic")
UNITS = ("uS", "", "1/uS", "1/uS**2")
ORDERS = ("constant", "linear", "quadratic", "cubic")
ROWS = 20
"""Rows that each coefficient of sigma asks for: with fewer, chance often looks like a slope."""
LEAST = 1e-3
"""Least sigma that is tried, in units of the robust one: a wall, beyond which nothing is fitted."""
FAR = 6.0
"""Beyond so many sigma a normal error is practically excluded (2 in a billion)."""


def _normal(z: Tensor, _: Tensor) -> Tensor:
    return -(z**2) / 2 - 0.5 * math.log(2 * math.pi)


def _student(z: Tensor, extra: Tensor) -> Tensor:
    """Return the log-density of Student's distribution of variance one, ``nu = 2 + e^extra``."""
    nu, over = 2 + extra.exp(), extra.exp()
    size = torch.lgamma((nu + 1) / 2) - torch.lgamma(nu / 2) - (math.pi * over).log() / 2
    return size - (nu + 1) / 2 * torch.log1p(z**2 / over)


@dataclass(frozen=True)
class Errors:
    """Errors in a robust sigma of theirs, ``unit`` (S), at targets in their largest, ``reach``."""

    unit: float
    reach: float
    target: Array
    error: Array
    read: Array

    def sigma(self, coefficients: Array) -> Array:
        """Return sigma at the targets, in ``unit``."""
        sigma: Array = np.maximum(np.polyval(coefficients[::-1], self.target), LEAST)
        return sigma


@dataclass(frozen=True)
class Kind:
    """How errors are distributed: the working cells' log-density, and that of stuck cells' reads.

    ``extra``: first guess of the one number beyond mean and sigma, if there is one (the logit of
    the stuck share, or ``ln(nu - 2)`` of Student's distribution); ``stuck``: log-density of each
    row's read, were it stuck; ``ends``: where stuck cells are, from and to; ``counted``: parameters
    that were read off the data beforehand.
    """

    name: str
    extra: tuple[float, ...] = ()
    density: Callable[[Tensor, Tensor], Tensor] = _normal
    stuck: Array | None = None
    counted: int = 0
    ends: tuple[float, float] = (0.0, 0.0)


def fit_errors(table: Table) -> Fit:
    """Fit mean and sigma of read-back minus target, sigma a polynomial in the target.

    Errors are normal, normal beside cells that are stuck anywhere (uniform over what targets and
    reads span) or at one level, or of Student's distribution. Every coefficient of sigma asks for
    20 rows. Raises ``InputError`` with fewer, or where no candidate is determined.
    """
    held = _scaled(table)
    levels = len(np.unique(held.target))
    orders = min(len(ORDERS), levels, len(held.error) // ROWS)
    found, notes = _every(held, orders)
    candidates = preferred(each.candidate for each in found.values())
    best = found[candidates[0].name]
    count = len(held.error)
    stuck = best.stuck_odds(held) > 0
    residuals = best.residuals(held)[~stuck]
    if orders < len(ORDERS):
        notes.append(
            f"sigma is tried up to {ORDERS[orders - 1]} in the target: each coefficient needs a "
            f"target and {ROWS} rows, and there are {levels} and {count}"
        )
    return Fit(
        kind="errors",
        devices=len(set(table.device)),
        samples=count,
        candidates=candidates,
        parameters=[*_moments(best, held), *_stuck(best, held)],
        goodness=normality(residuals),
        forms={"error": "polynomial" if best.order else "constant"},
        notes=[*_said(best, held, int(stuck.sum())), *notes],
        curves=[_error_curve(best, held, ~stuck), normal_plot(residuals)],
    )


def _every(held: Errors, orders: int) -> tuple[dict[str, Found], list[str]]:
    """Fit every kind with sigma of every order; kinds that fail with a constant one are dropped."""

    def name(kind: Kind, order: int) -> str:
        return kind.name.format(ORDERS[order])

    first, gone = tried({name(kind, 0): partial(_fit, held, kind, 0) for kind in _kinds(held)})
    more, lost = tried(
        {
            name(each.kind, order): partial(_fit, held, each.kind, order)
            for each in first.values()
            for order in range(1, orders)
        },
        needed=False,
    )
    return first | more, gone + lost


def _scaled(table: Table) -> Errors:
    target, read = table.numbers["target"], table.numbers["read"]
    if len(target) < ROWS:
        raise InputError(
            f"{table.name!r} has {len(target)} rows: programming errors need {ROWS} or more"
        )
    error = read - target
    rough = 1.4826 * float(np.median(np.abs(error - np.median(error))))
    if rough <= 1e-12 * float(np.abs(target).max()):
        raise InputError(f"{table.name!r}: at least half of the errors are equal: nothing to fit")
    reach = float(np.abs(target).max()) or rough
    return Errors(rough, reach, target / reach, error / rough, read / rough)


def _kinds(held: Errors) -> list[Kind]:
    """Return the distributions that come in question."""
    kinds = [Kind("{} sigma"), Kind("{} sigma, heavy tails", (1.0,), _student)]
    far = np.abs(held.error - np.median(held.error)) > FAR
    if not far.any():
        return kinds
    start = (math.log(far.mean() / max(1 - far.mean(), 0.1)),)
    goals = held.read - held.error
    low, high = (float(f([f(held.read), f(goals)])) for f in (np.min, np.max))
    even = np.full_like(held.read, -math.log(high - low))
    kinds.append(Kind("{} sigma, stuck anywhere", start, stuck=even, counted=1, ends=(low, high)))
    if far.sum() >= 3:
        level = float(np.median(held.read[far]))
        width = max(1.4826 * float(np.median(np.abs(held.read[far] - level))), 0.05)
        one: Array = norm.logpdf(held.read, level, width)
        half = math.sqrt(3) * width
        ends = (level - half, level + half)
        kinds.append(Kind("{} sigma, stuck at one level", start, stuck=one, counted=3, ends=ends))
    return kinds


@dataclass(frozen=True)
class Found:
    """A candidate that could be fitted: mean, sigma's coefficients, then what its kind adds."""

    kind: Kind
    order: int
    candidate: Candidate
    maximum: Maximum

    def residuals(self, held: Errors) -> Array:
        """Return errors that are standard normal if the candidate is true and the cells work."""
        place = self.maximum.place
        z: Array = (held.error - place[0]) / held.sigma(place[1 : self.order + 2])
        if self.kind.density is _student:
            nu = 2 + math.exp(place[-1])
            z = norm.ppf(t.cdf(z * math.sqrt(nu / (nu - 2)), nu))
        return z

    def stuck_odds(self, held: Errors) -> Array:
        """Return the logarithm of how much likelier each cell is stuck than working."""
        if self.kind.stuck is None:
            return np.full_like(held.error, -math.inf)
        sigma = held.sigma(self.maximum.place[1 : self.order + 2])
        works: Array = norm.logpdf(held.error, self.maximum.place[0], sigma)
        odds: Array = self.kind.stuck + self.maximum.place[-1] - works
        return odds


def _fit(held: Errors, kind: Kind, order: int) -> Found:
    """Maximise the likelihood, restricted for the mean (so that sigma is not too small)."""
    powers = torch.tensor(np.stack([held.target**i for i in range(order + 1)]))
    y = torch.tensor(held.error)
    stuck = None if kind.stuck is None else torch.tensor(kind.stuck)
    count = order + 2

    def negative(place: Tensor) -> Tensor:
        sigma = (place[1:count, None] * powers).sum(0)
        wall = ((LEAST - sigma).clamp_min(0) / LEAST).sum()
        sigma = sigma.clamp_min(LEAST)
        each = kind.density((y - place[0]) / sigma, place[-1]) - sigma.log()
        if stuck is not None:
            shares = torch.nn.functional.logsigmoid(torch.stack([-place[-1], place[-1]]))
            each = torch.logsumexp(torch.stack([shares[0] + each, shares[1] + stuck]), 0)
        return wall - each.sum() + 0.5 * (sigma**-2).sum().log()

    start = [float(y.median()), 1.0, *[0.0] * order, *kind.extra]
    last = "the weight of the tails" if stuck is None else "stuck_fraction"
    names = ["error_mean", *POWERS[: order + 1], last][: len(start)]
    missing = "more targets over the range are needed"
    found = maximise(Objective(negative), start, names, missing, float(len(y) - 1))
    if held.sigma(found.place[1:count]).min() < 2 * LEAST:
        raise InputError(f"sigma falls to zero within the range: {missing}")
    if kind.extra and found.covariance[-1, -1] > FAR**2:
        raise InputError(f"the data do not determine {last}: {missing}")
    counted = count + kind.counted + int(kind.density is _student)
    name = kind.name.format(ORDERS[order])
    return Found(kind, order, Candidate(name, found.log_likelihood, counted, len(y)), found)


def _moments(best: Found, held: Errors) -> list[Parameter]:
    """Return the mean and sigma's coefficients."""
    parameters = [best.maximum.parameter(0, "error_mean", "uS", held.unit)]
    for power in range(best.order + 1):
        size = held.unit / held.reach**power
        parameters.append(best.maximum.parameter(power + 1, POWERS[power], UNITS[power], size))
    return parameters


def _stuck(best: Found, held: Errors) -> list[Parameter]:
    """Return the share of stuck cells and their levels, or a bound where none is seen."""
    if best.kind.stuck is not None:
        share = best.maximum.share(np.eye(len(best.maximum.place))[-1], "stuck_fraction")
        ends = [max(end, 0.0) * held.unit for end in best.kind.ends]
        return [share, known("stuck_low", ends[0], "uS"), known("stuck_high", ends[1], "uS")]
    most = _bounds(best, held)[1]
    return [Parameter("stuck_fraction", 0.0, most / 3, 0.0, most, "percent", bound=True)]


def _bounds(best: Found, held: Errors) -> tuple[float, float]:
    """Return 95 % upper bounds of the share of stuck cells: of those beyond six sigma, and of all.

    The first is exact, near ``3 / n`` where there are none. The second divides it by the chance
    that a level, uniform over what targets and reads span, lies beyond six sigma of its target.
    """
    count = len(held.error)
    far = int((np.abs(best.residuals(held)) > FAR).sum()) if best.kind.extra else 0
    told = float(beta.ppf(0.95, far + 1, count - far))
    goals, reach = held.read - held.error, FAR * held.sigma(best.maximum.place[1 : best.order + 2])
    low, high = (float(f([f(held.read), f(goals)])) for f in (np.min, np.max))
    hidden = np.minimum(goals + reach, high) - np.maximum(goals - reach, low)
    seen = 1 - float(hidden.mean()) / (high - low)
    return told, min(told / max(seen, told), 1.0)


def _said(best: Found, held: Errors, stuck: int) -> list[str]:
    """Return what a reader has to know about tails and stuck cells."""
    count = len(held.error)
    if best.kind.stuck is not None:
        return [
            f"{stuck} of {count} cells are likelier stuck than working; stuck_fraction counts "
            "those that cannot be told apart too"
        ]
    if not best.kind.extra:
        told, most = (100 * each for each in _bounds(best, held))
        return [
            f"no cell of {count} looks stuck: at most {told:.2g} percent (3 / n) are and lie "
            f"beyond six sigma, at most {most:.2g} percent with those too near their target to tell"
        ]
    nu = 2 + math.exp(best.maximum.place[-1])
    place = best.maximum.place
    far = np.abs(held.error - place[0]) > FAR * held.sigma(place[1 : best.order + 2])
    return [
        f"errors have heavier tails than normal ones (Student's distribution, {nu:.2g} degrees of "
        f"freedom; {int(far.sum())} of {count} beyond six sigma are taken as tails, not as stuck "
        "cells); error_sigma is their standard deviation, and machines draw normal errors"
    ]


def _error_curve(best: Found, held: Errors, works: NDArray[np.bool_]) -> Curve:
    micro = 1e6 * held.unit
    target, error = 1e6 * held.reach * held.target[works], micro * held.error[works]
    x = np.linspace(held.target.min(), held.target.max(), 100)
    coefficients = best.maximum.place[1 : best.order + 2]
    sigma = micro * np.maximum(np.polyval(coefficients[::-1], x), LEAST)
    g, mean = 1e6 * held.reach * x, np.full_like(x, micro * best.maximum.place[0])
    some = np.unique(np.linspace(0, len(target) - 1, 2000).astype(int))
    return Curve(
        "programming errors",
        "target (uS)",
        "read-back minus target (uS)",
        {"measured": (target[some], error[some])},
        {"mean": (g, mean)},
        (g, mean - 2 * sigma, mean + 2 * sigma),
    )
