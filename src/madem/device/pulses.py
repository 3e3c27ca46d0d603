"""Fit pulse trains: which response the data prefer, its numbers, and their spread over devices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, product

import numpy as np

from madem.device import filtering
from madem.device.filtering import (
    COMMON,
    OWN,
    Array,
    Effort,
    Model,
    Scored,
    mean_path,
    own_score,
    score,
)
from madem.device.fitting import (
    Candidate,
    Curve,
    Fit,
    Parameter,
    normal_plot,
    normality,
    preferred,
    tried,
)
from madem.device.population import populations
from madem.device.tables import Trains
from madem.errors import InputError

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
JITTER = ", jitter"
PARTS = 100
"""The filter works in a hundredth of the range that was seen."""
LOOK, GLANCE, SEARCH = Effort(0, 0.0, 0), Effort(6, 3e-3, 0), Effort(40, 3e-3, 1)
SHORT = 32
"""Trains are cut into pieces of at most so many pulses for the search."""
NEAR = 60.0
"""Candidates within so much of the best one's BIC on short trains are fitted to whole ones."""
MARGINS = (-0.02, 0.05)
"""Bounds are looked for so far beyond what was seen, in shares of it: just inside, just outside."""
LOOSE = 0.7
"""A logarithm with a standard error above it is not determined: the number could be its double."""


@dataclass(frozen=True)
class Tried:
    """A candidate and its fit."""

    model: Model
    scored: Scored
    candidate: Candidate


def fit_pulses(trains: Trains, told: Callable[[str], None] = lambda _: None) -> Fit:
    """Fit every candidate and return what the preferred one (by BIC) says.

    Candidates are looked for on trains cut short, which a filter passes all at once; those that
    come near the best one are then fitted to the whole trains, and the best to the last digits.
    Raises ``InputError`` where the trains do not determine the numbers: a direction is missing,
    there are too few pulses, or a bound is never approached. ``told`` hears what is being done.
    """
    _check(trains)
    unit = float(np.ptp(np.concatenate([trains.reads[:, 0], trains.reads[:, 1:][trains.valid]])))
    unit /= PARTS
    scaled = replace(trains, reads=trains.reads / unit)
    found, notes = tried({model.name: partial(_search, model, scaled, told) for model in RESPONSES})
    every = sorted(chain.from_iterable(found.values()), key=lambda each: each.candidate.bic)
    told("fitting whole trains")
    whole = {each.model.name: _whole(each, scaled, every[0]) for each in every}
    every = [whole[each.name] for each in preferred(e.candidate for e in whole.values())]
    first, lost = _determined(every)
    best = _tried(first.model, scaled, first.scored.theta, Effort())
    names = {"constant step": "linear-step"}
    form = best.model.name.removesuffix(JITTER)
    residuals = best.scored.residuals[trains.valid]
    parameters, few = populations(best.model, best.scored, scaled, unit)
    return Fit(
        kind="pulses",
        devices=len(trains.names),
        samples=int(trains.valid.sum()),
        candidates=[best.candidate, *(each.candidate for each in every[every.index(first) + 1 :])],
        parameters=[*parameters, *_shared(best, unit)],
        goodness={
            "variance of standardised residuals": (float(residuals.var()), "1"),
            **normality(residuals),
        },
        forms={"response": names.get(form, form)},
        notes=[*_notes(best, len(trains.names)), *few, *lost, *notes],
        curves=_curves(best, scaled, unit),
    )


def _check(trains: Trains) -> None:
    """Refuse trains that cannot tell what a pulse does."""
    for index, name in enumerate(trains.names):
        count = int(trains.valid[trains.device == index].sum())
        if count < 20:
            raise InputError(
                f"device {name!r} has {count} pulses: a fit needs at least 20 a device"
            )
        for word, flags in (("up", trains.up), ("down", ~trains.up)):
            if not (flags & trains.valid)[trains.device == index].any():
                raise InputError(
                    f"device {name!r} has no pulses {word}: give trains in both directions"
                )
        reads = trains.reads[trains.device == index, 1:][trains.valid[trains.device == index]]
        if np.ptp(reads) == 0:
            raise InputError(f"device {name!r} never moves: leave stuck devices out")
    _check_turns(trains)


def _check_turns(trains: Trains) -> None:
    """Refuse a train whose directions do not join: its first pulse back goes far the wrong way."""
    for row, name in enumerate(trains.names[i] for i in trains.device):
        valid, up, moves = trains.valid[row], trains.up[row], np.diff(trains.reads[row])
        span = np.ptp(trains.reads[row, : int(valid.sum()) + 1])
        turned = valid & np.concatenate([[False], up[1:] != up[:-1]])
        wrong = turned & (np.where(up, -moves, moves) > 2 / 3 * span)
        if wrong.any():
            index = int(wrong.argmax())
            before, after = 1e6 * trains.reads[row, index : index + 2]
            way = "up" if up[index] else "down"
            raise InputError(
                f"device {name!r}: the first pulse {way} moves it from {before:.4g} uS to "
                f"{after:.4g} uS, the wrong way: the train {way} did not start where the one "
                "before ended. Give rows conductance_uS, direction, with a new 'start' where a "
                "train begins"
            )


def _start(model: Model, trains: Trains, below: float, above: float) -> Array:
    """Return first guesses; bounds lie shares ``below``, ``above`` of the seen range beyond it."""
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
        low = held.min() - below * span
        rows.append([np.log(up), np.log(down / up), low, np.log((1 + below + above) * span), -0.7,
                     np.log(noise), *model.start])  # fmt: skip
    start = np.array(rows, dtype=np.float64)
    start[:, OWN : len(COMMON)] = start[:, OWN : len(COMMON)].mean(0)
    return start


def _short(trains: Trains) -> Trains:
    """Return the trains cut into equal pieces of at most ``SHORT`` pulses, each a train itself."""
    longest = trains.up.shape[1]
    parts = -(-longest // SHORT)
    size = -(-longest // parts)
    grown = parts * size - longest
    reads = np.pad(trains.reads, ((0, 0), (0, grown)), mode="edge")
    up, valid = (np.pad(each, ((0, 0), (0, grown))) for each in (trains.up, trains.valid))
    pieces = [slice(first, first + size) for first in range(0, parts * size, size)]
    kept = np.concatenate([valid[:, piece].any(1) for piece in pieces])
    return Trains(
        np.concatenate([reads[:, p.start : p.stop + 1] for p in pieces])[kept],
        np.concatenate([up[:, p] for p in pieces])[kept],
        np.concatenate([valid[:, p] for p in pieces])[kept],
        np.tile(trains.device, parts)[kept],
        trains.names,
    )


def _search(model: Model, trains: Trains, told: Callable[[str], None]) -> list[Tried]:
    """Fit ``model`` to short trains, with a spread over pulses of both kinds."""
    told(f"fitting {model.name}")
    short = _short(trains)
    starts = (_start(model, short, margin, margin) for margin in MARGINS)
    looks = [_tried(model, short, start, GLANCE) for start in starts]
    best = max(looks, key=lambda each: each.scored.log_likelihood.sum()).scored.theta
    found = [_tried(model, short, best, SEARCH)]
    if model.name != "constant step":  # there both spreads are one
        told(f"fitting {model.name}{JITTER}")
        jitter = replace(model, name=model.name + JITTER, jitter=True)
        found.append(_tried(jitter, short, found[0].scored.theta, SEARCH))
    return found


def _whole(found: Tried, trains: Trains, best: Tried) -> Tried:
    """Return what was found on short trains on whole ones, fitted again where it may be best."""
    if found.candidate.bic >= best.candidate.bic + NEAR:
        return _tried(found.model, trains, found.scored.theta, LOOK)
    theta = _elsewhere(found, _short(trains))
    return _tried(found.model, trains, theta, SEARCH)


def _elsewhere(found: Tried, trains: Trains) -> Array:
    """Return the estimates, with other bounds of single devices where those fit far better.

    A climb moves a bound no further than the next place where the likelihood falls on both sides.
    """
    theta = found.scored.theta
    best = _tried(found.model, trains, theta, LOOK).scored.log_likelihood
    for margins in product(MARGINS, MARGINS):
        start = theta.copy()
        start[:, 2:OWN] = _start(found.model, trains, *margins)[:, 2:OWN]
        other = own_score(found.model, trains, start, range(OWN))
        better = other.log_likelihood > best + 1
        theta = np.where(better[:, None], other.theta, theta)
        best = np.where(better, other.log_likelihood, best)
    return theta


def _tried(model: Model, trains: Trains, start: Array, effort: Effort) -> Tried:
    """Fit ``model`` from ``start``, which is the centre of its wide prior too."""
    scale = float(np.exp(start[:, 3]).mean())
    width = np.array([4.0, 2.0, scale, 2.0, 4.0, 4.0, *[2.0] * len(model.shape)])
    found = score(model, trains, start, width, effort)
    count = OWN * len(trains.names) + 2 + len(model.shape)
    samples = int(trains.valid.sum())
    fit = float(found.log_likelihood.sum())
    return Tried(model, found, Candidate(model.name, fit, count, samples))


def _determined(every: Sequence[Tried]) -> tuple[Tried, list[str]]:
    """Return the first candidate whose shape the data determine, and notes of those before it.

    Raises ``InputError`` where a number that all candidates have could as well be another.
    """
    notes, why = [], None
    for best in every:
        errors = np.sqrt(np.diagonal(best.scored.covariance, axis1=1, axis2=2))
        loose = [
            name for index, name in enumerate(best.model.shape, len(COMMON)) if errors[0, index] > 1
        ]
        if loose:
            why = why or (
                f"the data do not determine {loose[0]} of the {best.model.name} response: "
                "more devices, or longer trains in both directions, are needed"
            )
            notes.append(f"left out: {best.model.name} ({loose[0]} is not determined)")
            continue
        _check_bounds(best, errors)
        return best, notes
    raise InputError(str(why))


def _check_bounds(best: Tried, errors: Array) -> None:
    """Refuse a step, a ratio or bounds that could as well be others."""
    relative = errors[:, :OWN].copy()
    relative[:, 2] = errors[:, 2] / np.exp(best.scored.theta[:, 3])
    worst = np.sqrt((relative**2).mean(0))
    for index, said, needed in (
        (3, "the range", "trains that approach both bounds"),
        (2, "the lowest conductance", "trains that approach both bounds"),
        (0, "the step", "more pulses"),
        (1, "the ratio of down to up", "more pulses in both directions"),
    ):
        if worst[index] > LOOSE:
            raise InputError(
                f"the data do not determine {said} (relative uncertainty "
                f"{100 * worst[index]:.0f} %): {needed} are needed"
            )


def _shared(best: Tried, unit: float) -> list[Parameter]:
    """Return what all devices have in common."""
    theta = best.scored.theta[0]
    errors = np.sqrt(np.diag(best.scored.covariance[0]))

    def positive(index: int, key: str, text: str, size: float = 1.0) -> Parameter:
        value, error = math.exp(theta[index]) * size, errors[index]
        low, high = (value * math.exp(sign * 1.96 * error) for sign in (-1, 1))
        return Parameter(key, value, value * error, low, high, text)

    if best.model.jitter:
        found = [positive(4, "pulse_jitter", "")]
    else:
        found = [positive(4, "pulse_cycle", "percent")]
    found.append(positive(5, "read_sigma", "uS", unit))
    for index, name in enumerate(best.model.shape, len(COMMON)):
        if name == "gamma":
            found += [positive(index, f"response.{key}", "") for key in ("gamma_up", "gamma_down")]
            continue
        value, error = float(theta[index]), float(errors[index])
        if name == "amplitude_down":  # at x = 0 in a preset, at x = 1 here
            gamma = math.exp(theta[-1])
            shrink = math.exp(-gamma)
            slope = np.array([shrink, -value * gamma * shrink])
            pair = best.scored.covariance[0][np.ix_([index, -1], [index, -1])]
            value, error = value * shrink, math.sqrt(slope @ pair @ slope)
        edges = (value - 1.96 * error, value + 1.96 * error)
        if name == "amplitude_down" and abs(theta[index]) > 1.96 * errors[index]:
            # of a known sign: its logarithm, mostly -gamma, is what is normal
            factor = math.exp(1.96 * error / abs(value))
            edges = (min(value / factor, value * factor), max(value / factor, value * factor))
        found.append(Parameter(f"response.{name}", value, error, *edges))
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


def _curves(best: Tried, trains: Trains, unit: float) -> list[Curve]:
    """Return the first trains with what the model expects, and the residuals."""
    plain, micro = mean_path(best.model, trains, best.scored.theta), 1e6 * unit
    curves = []
    for row in range(min(6, len(trains.reads))):
        count = int(trains.valid[row].sum())
        n = np.arange(count + 1.0)
        curves.append(
            Curve(
                f"device {trains.names[trains.device[row]]}",
                "pulse",
                "conductance (uS)",
                {"measured": (n, micro * trains.reads[row, : count + 1])},
                {best.model.name: (n[1:], micro * plain[row, :count])},
            )
        )
    residuals = np.sort(best.scored.residuals[trains.valid])
    return [*curves, normal_plot(residuals)]
