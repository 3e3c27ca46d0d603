"""Means and spreads over devices, and which devices tell where their bounds lie.

Each device's number is its true one plus an error of its own and an error that all have in common;
the true ones are normal over devices. All devices that tell a number count the same: their errors
go with their values, so that weights by them would lean to one side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, t

from madem.device.filtering import OWN, Array, Model, Scored, lower_fall, mirrored
from madem.device.fitting import Parameter
from madem.device.tables import Trains
from madem.errors import InputError

FAR = 4.0
"""A device whose error is above so many medians tells next to nothing and is left out."""
EVIDENCE = 5.0
"""A log-likelihood higher by as much is very strong evidence (Kass and Raftery, JASA 1995)."""


@dataclass(frozen=True)
class Population:
    """One number of every device that tells it.

    ``values``, ``(devices,)``; ``errors``: their own standard errors; ``together``, ``(devices,
    k)``: what ``k`` independent standard normal errors, the same for all devices, do to each.

    >>> seen = Population(np.array([9.0, 11.0, 10.0]), np.ones(3), np.zeros((3, 0)))
    >>> seen.spread("low_spread", "", 1.0).value  # no more than their own errors explain
    0.0
    """

    values: Array
    errors: Array
    together: Array

    def mean(self, key: str, unit: str, size: float) -> Parameter:
        """Return the mean as a parameter; ``size``: what one of the values is in SI units.

        Its interval is Student's, wider by what is common (degrees of freedom by Satterthwaite).
        """
        count, value = len(self.values), float(self.values.mean())
        common = float((self.together.mean(0) ** 2).sum())
        if count == 1:
            error, wide = math.sqrt(float(self.errors[0]) ** 2 + common), 1.96
        else:
            own = float(self.values.var(ddof=1)) / count
            freedom = (count - 1) * (1 + common / max(own, 1e-9 * common + 1e-300)) ** 2
            error, wide = math.sqrt(own + common), float(t.ppf(0.975, freedom))
        edges = (size * (value - wide * error), size * (value + wide * error))
        return Parameter(key, size * value, size * error, *edges, unit)

    def spread(self, key: str, unit: str, size: float) -> Parameter:
        """Return the standard deviation over devices, freed of their own errors, as a parameter."""
        freedom = len(self.values) - 1
        own, total = float((self.errors**2).mean()), float(self.values.var(ddof=1))
        ends = [freedom * total / float(chi2.ppf(q, freedom)) for q in (0.975, 0.025)]
        low, middle, high = (math.sqrt(max(v - own, 0.0)) for v in (ends[0], total, ends[1]))
        error = total * math.sqrt(2 / freedom) / (2 * max(middle, math.sqrt(total) / 3))
        middle, error, low, high = (size * each for each in (middle, error, low, high))
        return Parameter(key, middle, error, low, high, unit)


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


def _several(scored: Scored, values: Array, slope: Array, least: Array | float) -> Population:
    """Return a number of the devices that tell it, with its own and common errors.

    ``least``: what errors of its own are at least. Left out are devices without a finite error, or
    with one far above that of the others.
    """
    common = np.linalg.cholesky(scored.covariance[0, OWN:, OWN:])
    joined = np.einsum("ka,kac->ck", slope, scored.covariance[:, :, OWN:])
    together = np.linalg.solve(common, joined).T
    whole = np.einsum("ka,kab,kb->k", slope, scored.covariance, slope)
    errors = np.maximum(np.sqrt(np.maximum(whole - (together**2).sum(1), 0.0)), least)
    finite = errors[np.isfinite(errors)]
    told = errors <= FAR * np.median(finite) if len(finite) else np.zeros(len(errors), bool)
    return Population(values[told], errors[told], together[told])


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
        seen = _several(scored, values, _slope(scored, *pairs), least.get(key, 0.0))
        count, devices = len(seen.values), len(theta)
        if count < min(2, devices):
            raise InputError(
                f"the data do not determine {key} ({count} of {devices} devices reach that bound): "
                "trains that approach both bounds are needed"
            )
        size, text = (1.0, "") if key == "up_down" else (unit, "uS")
        found.append(seen.mean(key, text, size))
        name = {"pulse_step": "pulse_spread", "up_down": ""}.get(key, f"{key}_spread")
        if name and count > 2:
            relative = key != "low"
            size = size / abs(found[-1].value) if relative else size
            found.append(seen.spread(name, "percent" if relative else "uS", size))
        if count < devices:
            left = "" if count > 2 else f"; {name} is left out, the base's is kept"
            notes.append(f"{key} is told by {count} of {devices} devices: the others do not{left}")
    return found, notes
