"""The likelihood of pulse trains: an extended Kalman filter, all trains of all devices at once.

A train is a hidden conductance ``g`` that pulses move by ``s (r(x) (1 + c n) + j n)``, ``x = (g -
low) / span``, ``n`` normal, and that reads see with normal noise. The filter predicts each read
from the reads before; the restricted likelihood of its innovations is maximised by Fisher scoring.
Conductances are in units that the caller chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from madem.device.tables import Trains

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

COMMON = ("step", "ratio", "low", "span", "spread", "noise")
"""What every response has, as logarithms but for ``low``: step up, down over up, c or j, reads."""

OWN = 4
"""So many of them every device has for itself; the rest, and the shape, is common to all."""

VARIANCES = slice(4, 6)
"""Where the logarithms of the spread over pulses and of the read noise are."""


@dataclass(frozen=True)
class Rate:
    """A response at some places: r, dr/dx, d2r/dx2, and how r and dr/dx move with the shape."""

    value: Array
    slope: Array
    bend: Array
    by_shape: Array
    slope_by_shape: Array


@dataclass(frozen=True)
class Model:
    """A response to fit; ``start``: first guess of its shape; ``jitter``: spread is j, not c."""

    name: str
    rate: Callable[[Array, Flags, Array], Rate]
    shape: tuple[str, ...] = ()
    start: tuple[float, ...] = ()
    jitter: bool = False


def constant(x: Array, up: Flags, shape: Array) -> Rate:
    """Return a step of one, up or down."""
    del shape
    zero, none = np.zeros_like(x), np.zeros((0, len(x)))
    return Rate(np.where(up, 1.0, -1.0), zero, zero, none, none)


def soft(x: Array, up: Flags, shape: Array) -> Rate:
    """Return steps that shrink to zero at the bound."""
    del shape
    zero, none = np.zeros_like(x), np.zeros((0, len(x)))
    return Rate(np.where(up, 1 - x, -x), zero - 1, zero, none, none)


def linear(x: Array, up: Flags, shape: Array) -> Rate:
    """Return steps of slopes ``shape``, up and down."""
    rise, fall = shape
    zero = np.zeros_like(x)
    return Rate(
        np.where(up, 1 - rise * x, fall * (1 - x) - 1),
        -np.where(up, rise, fall),
        zero,
        np.stack([np.where(up, -x, 0), np.where(up, 0, 1 - x)]),
        np.stack([np.where(up, -1.0, 0), np.where(up, 0, -1.0)]),
    )


def exponential(x: Array, up: Flags, shape: Array) -> Rate:
    """Return exponential steps: ``shape`` is A up, A down at the far bound, and ln gamma."""
    gamma = np.exp(np.clip(shape[2], -3, 3))
    place = np.where(up, -x, x - 1)
    grown = np.exp(np.clip(gamma * place, -50, 50))
    size, sign = np.where(up, shape[0], shape[1]), np.where(up, -1.0, 1.0)
    value, slope = sign * size * grown + np.where(up, 1, -1), gamma * size * grown
    bend = np.where(up, -gamma, gamma) * slope
    turn = gamma * place
    return Rate(
        value,
        slope,
        bend,
        np.stack([np.where(up, -grown, 0), np.where(up, 0, grown), sign * size * grown * turn]),
        np.stack(
            [np.where(up, gamma * grown, 0), np.where(up, 0, gamma * grown), slope * (1 + turn)]
        ),
    )


class Moments(NamedTuple):
    """Means and variances of normal numbers, ``(trains, ...)``, and their derivatives.

    Derivatives have an axis of parameters in front.
    """

    mean: Array
    variance: Array
    by_mean: Array
    by_variance: Array


def clipped(free: Moments, bounds: tuple[Array, Array], moving: tuple[Array, Array]) -> Moments:
    """Return the moments of a number clipped to ``bounds``, ``moving`` being their derivatives."""
    (low, high), sigma = bounds, np.sqrt(free.variance)
    a, b = (low - free.mean) / sigma, (high - free.mean) / sigma
    at_low, at_high, inside = ndtr(a), ndtr(-b), ndtr(b) - ndtr(a)
    pa, pb = (np.exp(-0.5 * each**2) / np.sqrt(2 * np.pi) for each in (a, b))
    first = free.mean * inside + sigma * (pa - pb)
    mean = low * at_low + high * at_high + first
    away = free.mean - mean  # second moments about the new mean, which keeps their digits
    second = (low - mean) ** 2 * at_low + (high - mean) ** 2 * at_high
    second += (away**2 + free.variance) * inside
    second += sigma * ((away + low - mean) * pa - (away + high - mean) * pb)
    d_sigma = free.by_variance / (2 * sigma)
    d_low, d_high = moving
    by_mean = inside * free.by_mean + (pa - pb) * d_sigma + at_low * d_low + at_high * d_high
    about = away * inside + sigma * (pa - pb)
    stretch = away * (pa - pb) + sigma * (inside + a * pa - b * pb)
    by_variance = 2 * (about * free.by_mean + stretch * d_sigma)
    by_variance += 2 * ((low - mean) * at_low * d_low + (high - mean) * at_high * d_high)
    return Moments(mean, np.maximum(second, 1e-12 * free.variance), by_mean, by_variance)


def predict(model: Model, trains: Trains, theta: Array) -> Moments:
    """Return the moments of reads, ``(trains, pulses)``.

    ``theta``, ``(devices, 6 + shape)``: ``COMMON``, then the model's shape.
    """
    mine = theta[trains.device].T
    step, ratio, span, noise = (np.exp(mine[i]) for i in (0, 1, 3, 5))
    low, spread, noise = mine[2], np.exp(mine[4]), noise**2
    count, rows = len(mine), len(trains.reads)
    unit = np.eye(count)[:, :, None]
    d_low, d_span, d_noise = unit[2] + np.zeros(rows), unit[3] * span, 2 * unit[5] * noise
    mean, dm = trains.reads[:, 0], np.zeros((count, rows))
    variance, dv = noise, d_noise
    kept: tuple[list[Array], ...] = ([], [], [], [])
    for index in range(trains.up.shape[1]):
        up = trains.up[:, index]
        size = step * np.where(up, 1.0, ratio)
        d_size = size * (unit[0] + np.where(up, 0.0, 1.0) * unit[1])
        x = (mean - low) / span
        dx = (dm - d_low - x * d_span) / span
        rate = model.rate(x, up, mine[6:])
        d_rate, d_slope = rate.slope * dx, rate.bend * dx
        d_rate[6:] += rate.by_shape
        d_slope[6:] += rate.slope_by_shape
        moved = mean + size * rate.value
        d_moved = dm + d_size * rate.value + size * d_rate
        reach = rate.slope * size / span
        carry, d_carry = 1 + reach, (d_size * rate.slope + size * d_slope - reach * d_span) / span
        level = 1.0 if model.jitter else rate.value
        own = size * spread * level
        d_own = own * unit[4] + d_size * spread * level
        if not model.jitter:
            d_own = d_own + size * spread * d_rate
        dv = 2 * carry * d_carry * variance + carry**2 * dv + 2 * own * d_own
        variance = carry**2 * variance + own**2
        grown = Moments(moved, variance, d_moved, dv)
        moved, variance, d_moved, dv = clipped(grown, (low, low + span), (d_low, d_low + d_span))
        total, d_total = variance + noise, dv + d_noise
        for held, value in zip(kept, (moved, total, d_moved, d_total), strict=True):
            held.append(value)
        gain = variance / total
        d_gain = (dv - gain * d_total) / total
        error = trains.reads[:, index + 1] - moved
        mean, dm = moved + gain * error, d_moved + d_gain * error - gain * d_moved
        variance, dv = (1 - gain) * variance, (1 - gain) * dv - d_gain * variance
    return Moments(*(np.stack(held, -1) for held in kept))


def mean_path(model: Model, trains: Trains, theta: Array) -> Array:
    """Return the path from the first read without any noise, ``(trains, pulses)``."""
    mine = theta[trains.device].T
    step, ratio, low, span = np.exp(mine[0]), np.exp(mine[1]), mine[2], np.exp(mine[3])
    g, path = trains.reads[:, 0], []
    for index in range(trains.up.shape[1]):
        up = trains.up[:, index]
        rate = model.rate((g - low) / span, up, mine[6:]).value
        g = np.clip(g + step * np.where(up, 1.0, ratio) * rate, low, low + span)
        path.append(g)
    return np.stack(path, -1)


@dataclass(frozen=True)
class Scored:
    """A fit: estimates, covariance and log-likelihood of each device, standardised innovations.

    ``theta``, ``(devices, parameters)``: those after ``OWN`` are the same in every row.
    """

    theta: Array
    covariance: Array
    log_likelihood: Array
    residuals: Array


@dataclass(frozen=True)
class _Look:
    """What one look at the likelihood gives, a row per device."""

    aim: float
    plain: Array
    pull: Array
    info: Array
    residuals: Array


def _look(
    model: Model, trains: Trains, theta: Array, start: Array, width: Array, tilt: Array
) -> _Look:
    """Return likelihood, score and information at ``theta``, with the wide prior.

    ``tilt``: slope of the restriction along the two variances.
    """
    seen = predict(model, trains, theta)

    def gather(per_train: Array) -> Array:
        total = np.zeros((len(theta), *per_train.shape[1:]))
        np.add.at(total, trains.device, per_train)
        return total

    valid = trains.valid.astype(float)
    weight = valid / seen.variance
    error = trains.reads[:, 1:] - seen.mean
    squared = error**2 * weight
    plain = gather(-0.5 * (squared + valid * np.log(2 * np.pi * seen.variance)).sum(1))
    relative = seen.by_variance / seen.variance
    info = gather(np.einsum("akp,bkp,kp->kab", seen.by_mean, seen.by_mean, weight))
    info += gather(0.5 * np.einsum("akp,bkp,kp->kab", relative, relative, valid))
    info += np.diag(width**-2)
    slope = seen.by_mean * error * weight + 0.5 * relative * (squared - valid)
    off = (theta - start) / width
    pull = gather(slope.sum(2).T) - off / width
    pull[:, VARIANCES] += tilt / len(theta)
    return _Look(
        float(plain.sum() + tilt @ theta[0, VARIANCES] - 0.5 * (off**2).sum()),
        plain,
        pull,
        info,
        error / np.sqrt(seen.variance),
    )


def _newton(look: _Look, damping: float) -> Array:
    """Return the damped step: own parameters of every device, the shared ones in common."""
    info = look.info * (1 + damping * np.eye(look.info.shape[1]))
    own, cross = info[:, :OWN, :OWN], info[:, :OWN, OWN:]
    both = np.concatenate([cross, look.pull[:, :OWN, None]], 2)
    solved = np.linalg.solve(own, both)
    shared = info[:, OWN:, OWN:] - cross.mT @ solved[..., :-1]
    pull = look.pull[:, OWN:] - (cross.mT @ solved[..., -1:])[..., 0]
    common = np.linalg.solve(shared.sum(0), pull.sum(0))
    mine = solved[..., -1] - solved[..., :-1] @ common
    step: Array = np.concatenate([mine, np.tile(common, (len(mine), 1))], 1)
    return np.clip(step, -1, 1)


@dataclass(frozen=True)
class Effort:
    """How far to climb: at most ``rounds`` steps, until the logarithm grows by less than ``gain``.

    ``restrictions``: how often the restriction is taken as linear anew, and climbed again.
    """

    rounds: int = 200
    gain: float = 1e-6
    restrictions: int = 2


def score(model: Model, trains: Trains, start: Array, width: Array, effort: Effort) -> Scored:
    """Maximise the restricted likelihood by damped Fisher scoring.

    The restriction, ``-1/2 ln det`` of the information on what devices have for themselves, moves
    slowly with the variances: it is taken as linear in them.

    ``start``, ``(devices, parameters)``, and ``width``, ``(parameters,)``: a normal prior so wide
    that it matters only where the data say nothing.
    """
    theta, tilt = start, np.zeros(2)

    def look(place: Array) -> _Look:
        return _look(model, trains, place, start, width, tilt)

    for again in range(effort.restrictions + 1):
        if again:
            tilt = _tilt(look, theta)
        theta, now = _climb(look, theta, effort)
    return Scored(theta, covariance(now.info), now.plain, now.residuals)


def _climb(look: Callable[[Array], _Look], theta: Array, effort: Effort) -> tuple[Array, _Look]:
    """Return where the likelihood is highest, by damped steps."""
    now, damping = look(theta), 1e-2
    for _ in range(effort.rounds):
        step = _newton(now, damping)
        tried = look(theta + step)
        gain = tried.aim - now.aim
        if gain > 0:
            theta, now, damping = theta + step, tried, max(damping / 5, 1e-9)
        else:
            damping *= 8
        if 0 <= gain < effort.gain or damping > 1e8:
            break
    return theta, now


def _tilt(look: Callable[[Array], _Look], theta: Array) -> Array:
    """Return the slope of ``-1/2 ln det`` of the devices' own information along the variances."""
    slopes = []
    for index in range(VARIANCES.start, VARIANCES.stop):
        step = np.zeros(theta.shape[1])
        step[index] = 0.01
        sizes = [
            float(np.linalg.slogdet(look(theta + sign * step).info[:, :OWN, :OWN])[1].sum())
            for sign in (1, -1)
        ]
        slopes.append(-0.5 * (sizes[0] - sizes[1]) / 0.02)
    return np.array(slopes)


def covariance(info: Array) -> Array:
    """Return each device's covariance, its uncertainty of the shared parameters being theirs."""
    own, cross = info[:, :OWN, :OWN], info[:, :OWN, OWN:]
    solved = np.linalg.solve(own, cross)
    common = np.linalg.inv((info[:, OWN:, OWN:] - cross.mT @ solved).sum(0))
    mine = np.linalg.inv(own) + solved @ common @ solved.mT
    between = -solved @ common
    everyone = np.broadcast_to(common, (len(own), *common.shape))
    return np.concatenate(
        [np.concatenate([mine, between], 2), np.concatenate([between.mT, everyone], 2)], 1
    )


def lower_fall(model: Model, trains: Trains, found: Scored, further: Array) -> Array:
    """Return by how much each device's log-likelihood falls with its lower bound moved down.

    ``further``, ``(devices,)``: how far; the device's other numbers are fitted to it again.
    """
    theta = found.theta.copy()
    theta[:, 2] -= further
    theta[:, 3] = np.log(np.exp(theta[:, 3]) + further)
    return found.log_likelihood - own_score(model, trains, theta, (0, 1, 3)).log_likelihood


def own_score(model: Model, trains: Trains, start: Array, free: Sequence[int]) -> Scored:
    """Return a quick fit in which parameters other than ``free`` stay at ``start``."""
    width = np.full(start.shape[1], 1e-6)
    width[list(free)] = 1.0
    width[2] *= float(np.exp(start[:, 3]).mean())
    return score(model, trains, start, width, Effort(20, 1e-2, 0))


def mirrored(trains: Trains, found: Scored) -> tuple[Trains, Scored]:
    """Return trains upside down, and the fit to them, without its covariance turned."""
    theta = found.theta.copy()
    theta[:, 0] += theta[:, 1]
    theta[:, 1] *= -1
    theta[:, 2] = -(theta[:, 2] + np.exp(theta[:, 3]))
    theta[:, 6:8] = theta[:, 6:8][:, ::-1]
    return replace(trains, reads=-trains.reads, up=~trains.up), replace(found, theta=theta)
