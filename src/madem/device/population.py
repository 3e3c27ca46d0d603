"""Means and spreads over devices that are known well, badly or not at all (a random-effects model).

Each device's number is its true one plus an error of its own and an error that all have in common;
the true ones are normal over devices. Sources: R. C. Paule and J. Mandel, Journal of Research of
the National Bureau of Standards 87 (1982) 377 (the spread); W. Viechtbauer, Statistics in Medicine
26 (2007) 37 (its interval by Cochran's Q); J. Hartung and G. Knapp, Statistics in Medicine 20
(2001) 1771 (the error of the mean).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.stats import chi2, t

from madem.device.filtering import OWN, Array, Flags, Model, Scored, lower_fall, mirrored
from madem.device.fitting import SCALES, Parameter
from madem.device.tables import Trains
from madem.errors import InputError

EVIDENCE = 5.0
"""A log-likelihood higher by as much is very strong evidence (Kass and Raftery, JASA 1995)."""


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
            variance = self.variance(count - 1.0)
            value, weight = self._weighed(variance)
            scatter = float(weight @ (self.values - value) ** 2) / (count - 1)
            own = scatter / float(weight.sum())
            both = own + float(((weight @ common / weight.sum()) ** 2).sum())
            freedom = (count - 1) * (both / own) ** 2  # Satterthwaite: what is common is normal
            error, wide = math.sqrt(both), float(t.ppf(0.975, freedom))
        edges = (size * (value - wide * error), size * (value + wide * error))
        return Parameter(key, size * value, size * error, *edges, unit, SCALES[unit])

    def spread(self, key: str, unit: str, size: float) -> Parameter:
        """Return the standard deviation over three devices or more as a parameter."""
        freedom = len(self.values) - 1.0
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


def _least_errors(model: Model, scored: Scored, trains: Trains) -> dict[str, Array]:
    """Return the least that the error of each device's bounds can be, from bounds further out.

    Where no pulse ran into a bound the likelihood is flat beyond it, and an error from its bend at
    the maximum would be far too small. Infinite where the profile likelihood does not end; from its
    fall where that is no strong evidence and far from what the error says; else zero.
    """
    span = np.exp(scored.theta[:, 3])
    slopes = {"low": _slope(scored, (2, 1.0)), "high": _slope(scored, (2, 1.0), (3, span))}
    found = {}
    for key, (held, fit) in (("low", (trains, scored)), ("high", mirrored(trains, scored))):
        errors = np.sqrt(np.einsum("ka,kab,kb->k", slopes[key], scored.covariance, slopes[key]))
        far = np.maximum(span / 10, 4 * errors)
        fall = lower_fall(model, held, fit, far)
        weak = np.where(fall > 1.96**2 / 2, far / np.sqrt(2 * np.maximum(fall, 1)), np.inf)
        strong = np.minimum((far / errors) ** 2 / 10, EVIDENCE)  # a fifth of what the error says
        found[key] = np.where(fall > strong, 0.0, weak)
    return found


def _slope(scored: Scored, *pairs: tuple[int, Array | float]) -> Array:
    """Return how a number of each device moves with its parameters: pairs of index and slope."""
    slope = np.zeros_like(scored.theta)
    for index, value in pairs:
        slope[:, index] = value
    return slope


def _several(scored: Scored, values: Array, slope: Array, told: Flags) -> Population:
    """Return the number ``values`` of the devices ``told``, with its errors, own and common."""
    cov, slope = scored.covariance[told], slope[told]
    common = np.linalg.cholesky(cov[0, OWN:, OWN:])
    together = np.linalg.solve(common, np.einsum("ka,kac->ck", slope, cov[:, :, OWN:])).T
    whole = np.einsum("ka,kab,kb->k", slope, cov, slope)
    own = np.maximum(whole - (together**2).sum(1), 1e-12 * whole)  # of round-off
    return Population(values[told], np.sqrt(own), together)


def populations(
    model: Model, scored: Scored, trains: Trains, unit: float
) -> tuple[list[Parameter], list[str]]:
    """Return means over devices, spreads where there are several, and notes of what is left out.

    ``unit``: that of the ``trains`` in S.

    Raises ``InputError`` where too few devices tell where a bound lies.
    """
    theta, least = scored.theta, _least_errors(model, scored, trains)
    step, ratio, span = np.exp(theta[:, 0]), np.exp(theta[:, 1]), np.exp(theta[:, 3])
    falls = step.mean() < (step * ratio).mean()
    nominal = step * ratio if falls else step
    uneven = (step - step * ratio) / nominal.mean()
    lean = float(uneven.mean())  # a ratio of means: nominal steps vary in it too
    leaning = lean * nominal / nominal.mean()
    found, notes = [], []
    for key, values, pairs in (
        ("pulse_step", nominal, ((0, nominal), (1, nominal * falls))),
        ("high", theta[:, 2] + span, ((2, 1.0), (3, span))),
        ("low", theta[:, 2], ((2, 1.0),)),
        ("up_down", uneven - leaning + lean,
         ((0, uneven - leaning), (1, -step * ratio / nominal.mean() - falls * leaning))),
    ):  # fmt: skip
        least_error = least.get(key, np.zeros(len(theta)))
        told = np.isfinite(least_error)
        count, devices = int(told.sum()), len(told)
        if count < min(2, devices):
            raise InputError(
                f"the data do not determine {key} ({count} of {devices} devices reach that bound): "
                "trains that approach both bounds are needed"
            )
        seen = _several(scored, values, _slope(scored, *pairs), told)
        errors = np.maximum(seen.errors, least_error[told])
        if key in least:  # errors go with the values: sharp ones count no more than the median
            errors = np.maximum(errors, np.median(errors))
        else:  # they grow with the step: weights would lean to small ones
            errors = np.full(devices, np.sqrt((errors**2).mean()))
        seen = replace(seen, errors=errors)
        size, text = (1.0, "") if key == "up_down" else (unit, "uS")
        found.append(seen.mean(key, text, size))
        name = {"pulse_step": "pulse_spread", "up_down": ""}.get(key, f"{key}_spread")
        if name and count > 2:
            relative = key != "low"
            size = size / abs(found[-1].value) if relative else size
            found.append(seen.spread(name, "percent" if relative else "uS", size))
        if count < devices:
            left = "" if count > 2 else f"; {name} is left out, the base's is kept"
            notes.append(f"{key} is told by {count} of {devices} devices: no others reach it{left}")
    return found, notes
