"""Means and spreads over devices that are known well, badly or not at all (a random-effects model).

Each device's number is its true one plus an error of its own and an error that all have in common;
the true ones are normal over devices. Sources: R. C. Paule and J. Mandel, Journal of Research of
the National Bureau of Standards 87 (1982) 377 (the spread); W. Viechtbauer, Statistics in Medicine
26 (2007) 37 (its interval by Cochran's Q); J. Hartung and G. Knapp, Statistics in Medicine 20
(2001) 1771 (the error of the mean).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import chi2, t

from madem.device.fitting import SCALES, Parameter

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """One number of every device that tells it.

    ``values``, ``(devices,)``; ``errors``: their own standard errors; ``together``, ``(devices,
    k)``: what ``k`` independent standard normal errors, the same for all devices, do to each.

    >>> seen = Population(np.array([9.0, 11.0, 10.0]), np.ones(3), np.zeros((3, 0)))
    >>> seen.variance(2.0)  # the devices differ by no more than their own errors explain
    0.0
    """

    values: Array
    errors: Array
    together: Array

    def variance(self, level: float) -> float:
        """Return the variance over devices at which Cochran's Q is ``level``; 0 where none is."""

        def beyond(variance: float) -> float:
            mean, weight = self._weighed(variance)
            return float(weight @ (self.values - mean) ** 2) - level

        if beyond(0.0) <= 0:
            return 0.0
        top = float(((self.values - self.values.mean()) ** 2).sum()) / level
        return float(brentq(beyond, 0.0, top, xtol=1e-12 * top))

    def mean(self, key: str, unit: str, size: float) -> Parameter:
        """Return the mean as a parameter; ``size``: what one of the values is in SI units."""
        count, common = len(self.values), self.together
        if count == 1:
            value, wide = float(self.values[0]), 1.96
            error = math.hypot(float(self.errors[0]), *common[0])
        else:
            variance = self.variance(count - 1)
            value, weight = self._weighed(variance)
            scatter = float(weight @ (self.values - value) ** 2) / (count - 1)
            own = max(1.0, scatter) / float(weight.sum())
            both = own + float(((weight @ common / weight.sum()) ** 2).sum())
            freedom = (count - 1) * (both / own) ** 2  # Satterthwaite: what is common is normal
            error, wide = math.sqrt(both), float(t.ppf(0.975, freedom))
        edges = (size * (value - wide * error), size * (value + wide * error))
        return Parameter(key, size * value, size * error, *edges, unit, SCALES[unit])

    def spread(self, key: str, unit: str, size: float) -> Parameter:
        """Return the standard deviation over three devices or more as a parameter."""
        freedom = len(self.values) - 1
        levels = [float(chi2.ppf(q, freedom)) for q in (0.975, 0.025)]
        low, middle, high = (
            math.sqrt(self.variance(level)) for level in (levels[0], freedom, levels[1])
        )
        total = len(self.values) / float(self._weighed(middle**2)[1].sum())
        error = total * math.sqrt(2 / freedom) / (2 * max(middle, math.sqrt(total) / 3))
        value, error, low, high = (size * each for each in (middle, error, low, high))
        return Parameter(key, value, error, low, high, unit, SCALES[unit])

    def _weighed(self, variance: float) -> tuple[float, Array]:
        """Return the weighted mean, and the weights, with ``variance`` over devices."""
        weight: Array = 1 / (variance + self.errors**2)
        return float(weight @ self.values / weight.sum()), weight
