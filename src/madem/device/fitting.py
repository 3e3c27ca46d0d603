"""What a fit of a device is: parameters with uncertainty, candidates, and curves to look at."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import kstest, norm, t
from torch import Tensor

from madem.device.tables import Table
from madem.errors import InputError

Array = NDArray[np.float64]
T = TypeVar("T")
SCALES = {"": 1.0, "s": 1.0, "uS": 1e-6, "percent": 0.01, "1/uS": 1e6, "1/uS**2": 1e12}
"""What one of each unit of a parameter is in SI units."""


@dataclass(frozen=True)
class Parameter:
    """An estimate in SI units: standard error and 95 % interval; ``key`` is a preset's.

    ``unit``: of the number in a preset.
    ``bound``: nothing was seen, and ``high`` is a one-sided 95 % upper bound.
    ``preset``: whether a preset has this number; one that is reported only has none.
    An ``error`` of zero: the number follows from the data's layout and is not estimated.
    """

    key: str
    value: float
    error: float
    low: float
    high: float
    unit: str = ""
    bound: bool = False
    preset: bool = True

    @property
    def scale(self) -> float:
        """What one of its unit is in SI units, 1e-6 for ``uS``."""
        return SCALES[self.unit]

    @property
    def text(self) -> str:
        """The number as a preset has it.

        >>> Parameter("high", 1.5e-4, 1e-6, 0.0, 1.0, "uS").text
        '150 uS'
        """
        return f"{self.value / self.scale:.6g} {self.unit}".strip()

    @property
    def interval(self) -> str:
        """The 95 % interval in words, with its unit.

        >>> Parameter("high", 1.5e-4, 1e-6, 1.48e-4, 1.52e-4, "uS").interval
        '148 to 152 uS'
        >>> Parameter("stuck_fraction", 0.0, 0.01, 0.0, 0.03, "percent", bound=True).interval
        'at most 3 percent (one-sided bound)'
        """
        if self.error == 0:
            return "not estimated"
        low, high = (f"{edge / self.scale:.4g}" for edge in (self.low, self.high))
        if self.bound:
            return f"at most {high} {self.unit} (one-sided bound)"
        return f"{low} to {high} {self.unit}".strip()


def known(key: str, value: float, unit: str, preset: bool = True) -> Parameter:
    """Return a number, SI, that follows from the layout of the data: it has no uncertainty."""
    return Parameter(key, value, 0.0, value, value, unit, preset=preset)


@dataclass(frozen=True)
class Candidate:
    """A model that was tried: its log-likelihood, free parameters, and both criteria.

    The log-likelihood is that of the data in a unit of their own, so that it does not depend on
    the unit they come in.
    """

    name: str
    log_likelihood: float
    parameters: int
    samples: int

    @property
    def aic(self) -> float:
        """Akaike's criterion, ``2 k - 2 ln L``."""
        return 2 * self.parameters - 2 * self.log_likelihood

    @property
    def bic(self) -> float:
        """Schwarz's criterion with its correction for few samples, ``k n ln n / (n - k - 2)``.

        Infinite where there are not more samples than ``k + 2``. Source of the correction:
        McQuarrie, Statistics & Probability Letters 44 (1999) 79.
        """
        room = self.samples - self.parameters - 2
        if room <= 0:
            return math.inf
        cost = self.parameters * math.log(self.samples) * self.samples / room
        return cost - 2 * self.log_likelihood


@dataclass(frozen=True)
class Curve:
    """One panel of the page: dots of data and lines of the model, labels with units.

    ``dots``, ``lines``: name -> (x, y); ``band``: (x, lower, upper), two sigma of the model.
    """

    title: str
    x: str
    y: str
    dots: Mapping[str, tuple[Array, Array]]
    lines: Mapping[str, tuple[Array, Array]]
    band: tuple[Array, Array, Array] | None = None
    logarithmic: bool = False


@dataclass(frozen=True)
class Fit:
    """What came of a fit; ``candidates`` have the preferred one first.

    ``forms``: form of a preset -> its name, for ``error``, ``response``, ``noise``, ``retention``.
    ``goodness``: name -> number, and what to expect of it. ``notes``: what was left out, and why.
    """

    kind: str
    devices: int
    samples: int
    candidates: Sequence[Candidate]
    parameters: Sequence[Parameter]
    goodness: Mapping[str, tuple[float, str]]
    forms: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    curves: Sequence[Curve] = ()

    def __getitem__(self, key: str) -> Parameter:
        """Return the parameter ``key``."""
        return next(p for p in self.parameters if p.key == key)


@dataclass(frozen=True)
class Objective:
    """A negative log-likelihood of parameters ``(k,)``, with its slope and its bend.

    ``own``: so many of the last parameters belong to one device each, so that no second derivative
    joins two of them.
    """

    negative: Callable[[Tensor], Tensor]
    own: int = 0

    def value(self, place: Array) -> tuple[float, Array]:
        """Return the value and the gradient."""
        point = torch.tensor(place, requires_grad=True)
        total = self.negative(point)
        (slope,) = torch.autograd.grad(total, point)
        return total.item(), slope.numpy()

    def bend(self, place: Array) -> Array:
        """Return the Hessian; what devices have of their own costs one row for all.

        Raises ``FloatingPointError`` where it is not finite.
        """
        point = torch.tensor(place, requires_grad=True)
        (slope,) = torch.autograd.grad(self.negative(point), point, create_graph=True)
        shared = len(place) - self.own
        parts = [*slope[:shared], *([slope[shared:].sum()] if self.own else [])]
        rows = [torch.autograd.grad(part, point, retain_graph=True)[0].numpy() for part in parts]
        found = np.zeros((len(place), len(place)))
        found[:shared] = rows[:shared]
        found[:, :shared] = found[:shared].T
        if self.own:
            found[shared:, shared:] = np.diag(rows[-1][shared:])
        if not np.isfinite(found).all():
            raise FloatingPointError("the likelihood has no curvature here")
        return found

    def least(self, start: Array, basis: Array, slope: float = 1e-6) -> tuple[Array, float]:
        """Return where the value is least on ``start + basis p``, and that value.

        ``slope``: what the gradient may still be; the value is right to its square.
        """

        def at(p: Array) -> tuple[float, Array]:
            value, gradient = self.value(start + basis @ p)
            return value, basis.T @ gradient

        def curved(p: Array) -> Array:
            bend: Array = basis.T @ self.bend(start + basis @ p) @ basis
            return bend

        if not basis.shape[1]:
            return start, self.value(start)[0]
        found = minimize(
            at, np.zeros(basis.shape[1]), jac=True, hess=curved, method="trust-exact",
            options={"gtol": slope, "maxiter": 30},
        )  # fmt: skip
        place: Array = start + basis @ found.x
        return place, float(found.fun)


@dataclass(frozen=True)
class Maximum:
    """A maximum of a likelihood: where, its covariance, the log-likelihood, and the objective.

    ``log_likelihood`` compares candidates; intervals are the objective's, which may be restricted.

    ``freedom``: degrees of freedom of the noise, which decide Student's quantile.
    """

    place: Array
    covariance: Array
    log_likelihood: float
    objective: Objective
    freedom: float = math.inf

    def interval(self, direction: Array) -> tuple[float, float]:
        """Return the 95 % interval of ``direction . place`` by the profile likelihood.

        Where the likelihood never falls far enough on one side, that edge is infinite. With few
        samples the fall is that of Student's distribution, ``f ln(1 + t^2 / f)``.
        """
        quantile = float(t.ppf(0.975, self.freedom))
        if math.isfinite(self.freedom):
            quantile = math.sqrt(self.freedom * math.log1p(quantile**2 / self.freedom))
        low, high = (self._edge(direction, sign, quantile) for sign in (-1.0, 1.0))
        return low, high

    def _edge(self, direction: Array, sign: float, quantile: float) -> float:
        """Return where the signed root of twice the fall is ``quantile``, by secants."""
        spread = self.covariance @ direction
        error = math.sqrt(direction @ spread)
        basis = np.linalg.svd(direction[None])[2][1:].T
        middle, best = float(direction @ self.place), self.objective.value(self.place)[0]
        place, at, step = self.place, 0.0, quantile * error
        for _ in range(25):
            place = place + sign * (step - at) * spread / error**2
            try:
                place, least = self.objective.least(place, basis, 1e-2)
            except FloatingPointError:
                break
            root, at = math.sqrt(max(2 * (least - best), 0.0)), step
            if not math.isfinite(root) or at > 50 * quantile * error:
                break
            if abs(root - quantile) < 1e-3 * quantile:
                return middle + sign * at * quantile / root
            step = at * min(max(quantile / max(root, 1e-9), 0.4), 2.0)
        return sign * math.inf

    def parameter(self, index: int, key: str, unit: str, size: float) -> Parameter:
        """Return parameter ``index``; ``size``: what one of its place is in SI units."""
        error = math.sqrt(self.covariance[index, index])
        low, high = self.interval(np.eye(len(self.place))[index])
        value = float(self.place[index]) * size
        return Parameter(key, value, error * size, low * size, high * size, unit)

    def positive(
        self, direction: Array, key: str, unit: str, size: float, preset: bool = True
    ) -> Parameter:
        """Return the exponential of ``direction . place``, times ``size`` (SI)."""
        error = math.sqrt(direction @ self.covariance @ direction)
        value = math.exp(direction @ self.place) * size
        low, high = (size * float(np.exp(edge)) for edge in self.interval(direction))
        return Parameter(key, value, value * error, low, high, unit, preset=preset)

    def share(self, direction: Array, key: str) -> Parameter:
        """Return the share whose logit is ``direction . place``."""
        low, value, high = (
            1 / (1 + float(np.exp(-each)))
            for each in np.sort([*self.interval(direction), direction @ self.place])
        )
        error = value * (1 - value) * math.sqrt(direction @ self.covariance @ direction)
        return Parameter(key, value, error, low, high, "percent")


def maximise(
    objective: Objective, start: Sequence[float], names: Sequence[str], missing: str,
    freedom: float = math.inf,
) -> Maximum:  # fmt: skip
    """Return the minimum of ``objective``, a negative log-likelihood, by Newton's method.

    Raises ``InputError`` where the data leave a direction free: it names the parameter that is
    least determined and says what is ``missing``.

    >>> normal = Objective(lambda p: ((p - 3) ** 2).sum() / 2)
    >>> found = maximise(normal, [0.0], ["mean"], "rows are missing")
    >>> [round(float(found.place[0]), 6), round(float(found.covariance[0, 0]), 6)]
    [3.0, 1.0]
    >>> [round(edge, 2) for edge in found.interval(np.ones(1))]
    [1.04, 4.96]
    """
    try:
        place, _ = objective.least(np.array(start, dtype=np.float64), np.eye(len(start)))
        values, vectors = np.linalg.eigh(objective.bend(place))
    except FloatingPointError:
        raise InputError(f"the data do not determine {names[-1]}: {missing}") from None
    last = objective.value(place)[1]
    if values[0] <= 1e-9 * max(values[-1], 1.0) or last @ last > 1e-2 * values[0]:
        loose = names[min(int(np.abs(vectors[:, 0]).argmax()), len(names) - 1)]
        raise InputError(f"the data do not determine {loose}: {missing}")
    covariance = vectors @ np.diag(1 / values) @ vectors.T
    place = place - covariance @ last  # the last digits, so that data in another unit give the same
    return Maximum(place, covariance, -objective.value(place)[0], objective, freedom)


def tried(
    models: Mapping[str, Callable[[], T]], needed: bool = True
) -> tuple[dict[str, T], list[str]]:
    """Fit every model; return those that could be fitted, and a note of those that could not.

    Raises ``InputError`` with the first model's reason where none could be and one is ``needed``.
    """
    found: dict[str, T] = {}
    lost: dict[str, list[str]] = {}
    for name, fit in models.items():
        try:
            found[name] = fit()
        except InputError as why:
            lost.setdefault(str(why), []).append(name)
        except (np.linalg.LinAlgError, torch.linalg.LinAlgError):  # type: ignore[attr-defined]
            lost.setdefault("the data leave a direction free: more are needed", []).append(name)
    if needed and not found:
        raise InputError(next(iter(lost)))
    return found, [f"left out: {', '.join(names)} ({why})" for why, names in lost.items()]


def preferred(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the candidates, the lowest BIC first, but the simplest of those within 2 of it before.

    A difference below 2 is no evidence. Source of the rule: Kass and Raftery, Journal of the
    American Statistical Association 90 (1995) 773.

    >>> near = [Candidate("linear", 13.0, 3, 900), Candidate("constant", 9.3, 2, 900)]
    >>> [(each.name, round(each.bic, 1)) for each in preferred(near)]
    [('constant', -4.9), ('linear', -5.5)]
    """
    ranked = sorted(candidates, key=lambda each: each.bic)
    near = [each for each in ranked if each.bic <= ranked[0].bic + 2]
    first = min(near, key=lambda each: each.parameters)
    return [first, *(each for each in ranked if each is not first)]


@dataclass(frozen=True)
class Series:
    """Devices that were read at the same ``times``, s: ``values``, S, ``(devices, times)``."""

    names: tuple[str, ...]
    times: Array
    values: Array


def series(table: Table, column: str, least_devices: int, least_times: int) -> list[Series]:
    """Return what each device showed over time, those of the same times together.

    Raises ``InputError`` with fewer devices, or a device with fewer times, than the least.
    """
    place, rows = np.array(table.device), dict[bytes, tuple[Array, dict[str, Array]]]()
    for name in dict.fromkeys(table.device):
        mine = place == name
        order = np.argsort(table.numbers["time"][mine], kind="stable")
        times = table.numbers["time"][mine][order]
        if len(times) < least_times or len(np.unique(times)) < len(times):
            raise InputError(
                f"{table.name!r}: device {name!r} has {len(times)} reads: at least {least_times} "
                "are needed, each at its own time"
            )
        values = table.numbers[column][mine][order]
        rows.setdefault(times.tobytes(), (times, {}))[1][name] = values
    if len(set(table.device)) < least_devices:
        raise InputError(
            f"{table.name!r} holds {len(set(table.device))} device(s): at least {least_devices} "
            "are needed to tell the spread over devices"
        )
    return [
        Series(tuple(held), times, np.stack(list(held.values()))) for times, held in rows.values()
    ]


def normality(residuals: Array) -> dict[str, tuple[float, str]]:
    """Return how good a fit is whose ``residuals`` should be standard normal."""
    return {"Kolmogorov-Smirnov p": (float(kstest(residuals, "norm").pvalue), "above 0.05")}


def normal_plot(residuals: Array) -> Curve:
    """Return the quantiles of standardised residuals against those of a normal distribution."""
    expected = norm.ppf((np.arange(len(residuals)) + 0.5) / len(residuals))
    keep = np.unique(np.linspace(0, len(residuals) - 1, 200).astype(int))
    ends = np.array([expected[0], expected[-1]])
    return Curve(
        "residuals against a normal distribution",
        "expected quantile",
        "measured quantile",
        {"standardised residuals": (expected[keep], np.sort(residuals)[keep])},
        {"normal": (ends, ends)},
    )
