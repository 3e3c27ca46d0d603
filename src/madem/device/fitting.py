"""What a fit of a device is: parameters with uncertainty, candidates, and curves to look at."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from madem.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Parameter:
    """An estimate in SI units: standard error and 95 % interval; ``key`` is a preset's.

    ``unit``: of the number in a preset; ``scale`` of it in SI units (1e-6 for ``uS``).
    """

    key: str
    value: float
    error: float
    low: float
    high: float
    unit: str = ""
    scale: float = 1.0

    @property
    def text(self) -> str:
        """The number as a preset has it.

        >>> Parameter("high", 1.5e-4, 1e-6, 0.0, 1.0, "uS", 1e-6).text
        '150 uS'
        """
        return f"{self.value / self.scale:.6g} {self.unit}".strip()


@dataclass(frozen=True)
class Candidate:
    """A model that was tried: its log-likelihood, free parameters, and both criteria."""

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
        """Schwarz's criterion, ``k ln n - 2 ln L``."""
        return self.parameters * math.log(self.samples) - 2 * self.log_likelihood


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
class Maximum:
    """A maximum of a likelihood: where, its covariance, and the log-likelihood."""

    place: Array
    covariance: Array
    log_likelihood: float

    def parameter(self, index: int, key: str, unit: str, scale: float) -> Parameter:
        """Return parameter ``index`` with a normal interval; its place is in units of ``scale``."""
        value, error = float(self.place[index]), math.sqrt(self.covariance[index, index])
        bounds = (value - 1.96 * error, value + 1.96 * error)
        return Parameter(
            key, value * scale, error * scale, bounds[0] * scale, bounds[1] * scale, unit, scale
        )


def maximise(
    negative: Callable[[Tensor], Tensor], start: Sequence[float], names: Sequence[str], missing: str
) -> Maximum:
    """Return the minimum of ``negative``, a negative log-likelihood, by Newton's method.

    Raises ``InputError`` where the data leave a direction free: it names the parameter that is
    least determined and says what is ``missing``.

    >>> found = maximise(lambda p: ((p - 3) ** 2).sum() / 2, [0.0], ["mean"], "rows")
    >>> [round(float(found.place[0]), 6), round(float(found.covariance[0, 0]), 6)]
    [3.0, 1.0]
    """

    def value(place: Array) -> tuple[float, Array]:
        point = torch.tensor(place, requires_grad=True)
        total = negative(point)
        (slope,) = torch.autograd.grad(total, point)
        return total.item(), slope.numpy()

    def bend(place: Array) -> Array:
        hessian = torch.autograd.functional.hessian(negative, torch.tensor(place))
        return torch.as_tensor(hessian).numpy()

    found = minimize(
        value, np.array(start), jac=True, hess=bend, method="trust-exact", options={"gtol": 1e-5}
    )
    values, vectors = np.linalg.eigh(bend(found.x))
    if not np.isfinite(values).all() or values[0] <= 1e-9 * max(values[-1], 1.0):
        loose = names[int(np.abs(vectors[:, 0]).argmax())]
        raise InputError(f"the data do not determine {loose}: {missing}")
    return Maximum(found.x, vectors @ np.diag(1 / values) @ vectors.T, -float(found.fun))
