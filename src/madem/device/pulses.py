"""Fit pulse trains: which response the data prefer, its numbers, and their spread over devices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import chi2, kstest, t

from madem.device import filtering
from madem.device.filtering import COMMON, OWN, Array, Model, Scored, mean_path, score
from madem.device.fitting import Candidate, Curve, Fit, Parameter
from madem.device.tables import Trains
from madem.errors import InputError

UNIT = 1e-6  # the filter works in microsiemens
RESPONSES = (
    Model("soft-bounds", filtering.soft),
    Model("constant step", filtering.constant),
    Model("linear-step", filtering.linear, ("slope_up", "slope_down"), (0.7, 0.7)),
    Model(
        "exponential-step",
        filtering.exponential,
        ("amplitude_up", "amplitude_down", "gamma"),
        (-2.0, -2.0, 1.0),
    ),
)
LOOSE = 0.7
"""A logarithm with a standard error above it is not determined: the number could be its double."""


@dataclass(frozen=True)
class Tried:
    """A candidate and its fit."""

    model: Model
    scored: Scored
    candidate: Candidate


def fit_pulses(trains: Trains, told: Callable[[str], None] = lambda _: None) -> Fit:
    """Fit every candidate and return what the preferred one (lowest BIC) says.

    Raises ``InputError`` where the trains do not determine it: a direction is missing, there are
    too few pulses, or a bound is never approached. ``told`` hears what is being done.
    """
    _check(trains)
    scaled = replace(trains, reads=trains.reads / UNIT)
    tried = []
    for model in RESPONSES:
        told(f"fitting {model.name}")
        tried.append(_try(model, scaled, _starts(model, scaled)))
        if model.name != "constant step":  # there both spreads are one
            jitter = replace(model, name=f"{model.name}, jitter", jitter=True)
            told(f"fitting {jitter.name}")
            tried.append(_try(jitter, scaled, [tried[-1].scored.theta]))
    tried.sort(key=lambda each: each.candidate.bic)
    best = tried[0]
    _check_determined(best)
    names = {"constant step": "linear-step"}
    form = best.model.name.removesuffix(", jitter")
    residuals = best.scored.residuals[trains.valid]
    return Fit(
        kind="pulses",
        devices=len(trains.names),
        samples=int(trains.valid.sum()),
        candidates=[each.candidate for each in tried],
        parameters=[*_population(best), *_shared(best)],
        goodness={
            "variance of standardised residuals": (float(residuals.var()), "1"),
            "Kolmogorov-Smirnov p": (float(kstest(residuals, "norm").pvalue), "above 0.05"),
        },
        forms={"response": names.get(form, form)},
        notes=_notes(best, len(trains.names)),
        curves=_curves(best, scaled),
    )


def _check(trains: Trains) -> None:
    """Refuse trains that cannot tell what a pulse does."""
    for direction, there in (("up", trains.up & trains.valid), ("down", ~trains.up & trains.valid)):
        if not there.any():
            raise InputError(f"the data hold no pulses {direction}: give trains in both directions")
    for index, name in enumerate(trains.names):
        count = int(trains.valid[trains.device == index].sum())
        if count < 20:
            raise InputError(
                f"device {name!r} has {count} pulses: a fit needs at least 20 a device"
            )
        for word, flags in (("up", trains.up), ("down", ~trains.up)):
            if not (flags & trains.valid)[trains.device == index].any():
                raise InputError(f"device {name!r} has no pulses {word}: both are needed")
        reads = trains.reads[trains.device == index, 1:][trains.valid[trains.device == index]]
        if np.ptp(reads) == 0:
            raise InputError(f"device {name!r} never moves: leave stuck devices out")


def _start(trains: Trains, margin: float) -> Array:
    """Return first guesses; the bounds lie ``margin`` of the seen range beyond it."""
    rows = []
    for index in range(len(trains.names)):
        mine = trains.device == index
        valid = trains.valid[mine]
        held = np.concatenate([trains.reads[mine, :1].ravel(), trains.reads[mine, 1:][valid]])
        moves = np.diff(trains.reads[mine], axis=1)
        span = np.ptp(held)
        small = span / 1e3
        up, down = (
            2 * max(abs(float(moves[flags[mine] & valid].mean())), small)
            for flags in (trains.up, ~trains.up)
        )
        noise = max(float(moves[valid].std()) / 3, small)
        low = held.min() - margin * span
        rows.append([np.log(up), np.log(down / up), low, np.log((1 + 2 * margin) * span), -0.7,
                     np.log(noise)])  # fmt: skip
    start = np.array(rows, dtype=np.float64)
    start[:, OWN:] = start[:, OWN:].mean(0)
    return start


def _starts(model: Model, trains: Trains) -> list[Array]:
    """Return starts with bounds just inside and just outside of what was seen."""
    found = []
    for margin in (-0.02, 0.05):
        start = _start(trains, margin)
        found.append(np.concatenate([start, np.tile(model.start, (len(start), 1))], 1))
    return found


def _try(model: Model, trains: Trains, starts: Sequence[Array]) -> Tried:
    """Fit ``model`` from the start that looks best after a few rounds."""

    def fitted(start: Array, rounds: int) -> Scored:
        scale = float(np.exp(start[:, 3]).mean())
        width = np.array([4.0, 2.0, scale, 2.0, 4.0, 4.0, *[2.0] * len(model.shape)])
        return score(model, trains, start, width, rounds)

    if len(starts) > 1:
        looks = [fitted(start, 6) for start in starts]
        starts = [max(looks, key=lambda each: each.log_likelihood).theta]
    best = fitted(starts[0], 40)
    count = OWN * len(trains.names) + 2 + len(model.shape)
    samples = int(trains.valid.sum())
    return Tried(model, best, Candidate(model.name, best.log_likelihood, count, samples))


def _check_determined(best: Tried) -> None:
    """Refuse a fit whose numbers could as well be others."""
    errors = np.sqrt(np.diagonal(best.scored.covariance, axis1=1, axis2=2))
    span = np.exp(best.scored.theta[:, 3])
    relative = errors[:, :OWN].copy()
    relative[:, 2] = errors[:, 2] / span
    said = ("the step", "the ratio of down to up", "the lowest conductance", "the range")
    needs = ("more pulses", "more pulses in both directions") + (
        "trains that approach both bounds",
    ) * 2
    worst = np.sqrt((relative**2).mean(0))
    for index in (3, 2, 0, 1):
        if worst[index] > LOOSE:
            raise InputError(
                f"the data do not determine {said[index]} (relative uncertainty "
                f"{100 * worst[index]:.0f} %): {needs[index]} are needed"
            )
    for index, name in enumerate(best.model.shape):
        if errors[0, len(COMMON) + index] > 1.0:
            raise InputError(
                f"the data do not determine {name} of the {best.model.name} response: "
                "more devices, or longer trains in both directions, are needed"
            )


def _population(best: Tried) -> list[Parameter]:
    """Return means over devices, and spreads where there are several."""
    theta, cov = best.scored.theta, best.scored.covariance
    step, ratio, span = np.exp(theta[:, 0]), np.exp(theta[:, 1]), np.exp(theta[:, 3])

    def gradient(*pairs: tuple[int, Array]) -> Array:
        slope = np.zeros_like(theta)
        for index, value in pairs:
            slope[:, index] += value
        errors: Array = np.sqrt(np.einsum("ka,kab,kb->k", slope, cov, slope))
        return errors

    nominal_up = ratio.mean() <= 1
    nominal = step if nominal_up else step * ratio
    nominal_se = gradient((0, nominal), (1, np.zeros_like(step) if nominal_up else nominal))
    uneven = 1 - ratio if nominal_up else 1 / ratio - 1
    uneven_se = gradient((1, ratio if nominal_up else 1 / ratio))
    high, high_se = theta[:, 2] + span, gradient((2, np.ones_like(span)), (3, span))
    low, low_se = theta[:, 2], gradient((2, np.ones_like(span)))
    return [
        *_mean_and_spread("pulse_step", nominal, nominal_se, "pulse_spread"),
        *_mean_and_spread("high", high, high_se, "high_spread"),
        *_mean_and_spread("low", low, low_se, "low_spread", relative=False),
        *_mean_and_spread("up_down", uneven, uneven_se, "", unit="", scale=1.0),
    ]


def _mean_and_spread(
    key: str, values: Array, errors: Array, spread: str, relative: bool = True, unit: str = "uS",
    scale: float = UNIT,
) -> list[Parameter]:  # fmt: skip
    """Return a mean with Student's interval, and a spread freed of the devices' own errors."""
    count, mean = len(values), float(values.mean())
    if count == 1:
        error, wide = float(errors[0]), 1.96
    else:
        error, wide = float(values.std(ddof=1)) / math.sqrt(count), float(t.ppf(0.975, count - 1))
    found = [
        Parameter(
            key, mean * scale, error * scale, (mean - wide * error) * scale,
            (mean + wide * error) * scale, unit, scale,
        )
    ]  # fmt: skip
    if not spread or count < 3:
        return found
    own, total = float((errors**2).mean()), float(values.var(ddof=1))
    freedom = count - 1
    edges = [freedom * total / float(chi2.ppf(q, freedom)) for q in (0.975, 0.025)]
    low, middle, high = (math.sqrt(max(v - own, 0.0)) for v in (edges[0], total, edges[1]))
    error = total * math.sqrt(2 / freedom) / (2 * max(middle, math.sqrt(total) / 3))
    factor, text = (1 / abs(mean), "percent") if relative else (scale, unit)
    found.append(
        Parameter(spread, middle * factor, error * factor, low * factor, high * factor, text,
                  0.01 if relative else scale)
    )  # fmt: skip
    return found


def _shared(best: Tried) -> list[Parameter]:
    """Return what all devices have in common."""
    theta = best.scored.theta[0]
    errors = np.sqrt(np.diag(best.scored.covariance[0]))

    def positive(index: int, key: str, unit: str, scale: float, size: float) -> Parameter:
        value, error = math.exp(theta[index]), errors[index]
        edges = [value * math.exp(sign * 1.96 * error) * size for sign in (-1, 1)]
        return Parameter(key, value * size, value * error * size, edges[0], edges[1], unit, scale)

    if best.model.jitter:
        found = [positive(4, "pulse_jitter", "", 1.0, 1.0)]
    else:
        found = [positive(4, "pulse_cycle", "percent", 0.01, 1.0)]
    found.append(positive(5, "read_sigma", "uS", UNIT, UNIT))
    for index, name in enumerate(best.model.shape, len(COMMON)):
        if name == "gamma":
            found += [
                replace(positive(index, f"response.{key}", "", 1.0, 1.0))
                for key in ("gamma_up", "gamma_down")
            ]
            continue
        value, error = float(theta[index]), float(errors[index])
        if name == "amplitude_down":  # at x = 0 in a preset, at x = 1 here
            gamma = math.exp(theta[-1])
            shrink = math.exp(-gamma)
            slope = np.array([shrink, -value * gamma * shrink])
            pair = best.scored.covariance[0][np.ix_([index, -1], [index, -1])]
            value, error = value * shrink, math.sqrt(slope @ pair @ slope)
        found.append(
            Parameter(f"response.{name}", value, error, value - 1.96 * error, value + 1.96 * error)
        )
    return found


def _notes(best: Tried, devices: int) -> list[str]:
    notes = []
    if devices < 3:
        notes.append(
            f"{devices} device(s) do not determine spreads over devices: the base's are kept"
        )
    if math.sqrt(best.scored.covariance[0, 5, 5]) > LOOSE:
        notes.append("read noise is below what the data can tell")
    if math.sqrt(best.scored.covariance[0, 4, 4]) > LOOSE:
        notes.append("the spread from pulse to pulse is below what the data can tell")
    return notes


def _curves(best: Tried, trains: Trains) -> list[Curve]:
    """Return the first trains with what the model expects, and the residuals."""
    plain = mean_path(best.model, trains, best.scored.theta)
    curves = []
    for row in range(min(6, len(trains.reads))):
        count = int(trains.valid[row].sum())
        n = np.arange(count + 1.0)
        curves.append(
            Curve(
                f"device {trains.names[trains.device[row]]}",
                "pulse",
                "conductance (uS)",
                {"measured": (n, trains.reads[row, : count + 1])},
                {best.model.name: (n[1:], plain[row, :count])},
            )
        )
    residuals = np.sort(best.scored.residuals[trains.valid])
    return [*curves, normal_plot(residuals)]


def normal_plot(residuals: Array) -> Curve:
    """Return the quantiles of standardised residuals against those of a normal distribution."""
    from scipy.stats import norm  # noqa: PLC0415

    ranks = (np.arange(len(residuals)) + 0.5) / len(residuals)
    expected = norm.ppf(ranks)
    keep = np.unique(np.linspace(0, len(residuals) - 1, 200).astype(int))
    ends = np.array([expected[0], expected[-1]])
    return Curve(
        "residuals against a normal distribution",
        "expected quantile",
        "measured quantile",
        {"standardised residuals": (expected[keep], np.sort(residuals)[keep])},
        {"normal": (ends, ends)},
    )
