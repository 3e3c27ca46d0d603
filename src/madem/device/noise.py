"""Fit repeated reads: white noise, 1/f noise, or random telegraph noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from scipy.special import ndtri, sici
from scipy.stats import norm
from torch import Tensor

from madem.device.fitting import (
    Array,
    Candidate,
    Curve,
    Fit,
    Maximum,
    Objective,
    Parameter,
    Series,
    known,
    maximise,
    normal_plot,
    normality,
    preferred,
    series,
    tried,
)
from madem.device.tables import Table
from madem.errors import InputError

LONGEST = 1000
"""The cost of 1/f noise grows with the cube of the reads: longer records are cut, and every piece
has a level of its own, as if it were another device."""
WHITE, FLICKER, APART, HIDDEN = "white", "flicker", "telegraph", "telegraph, hidden Markov"
NAMES = ("read_sigma", "noise.depth", "noise.filled", "noise.dwell_filled")
MISSING = "more reads are needed"


def fit_noise(table: Table) -> Fit:
    """Fit repeated reads: white, white with 1/f, or white with telegraph noise.

    1/f noise has the one-sided power spectral density ``Q^2 / f`` up to the Nyquist frequency of
    the shortest time between two reads, the onset; faster fluctuations count as white. Telegraph
    noise is that of one trap per device: either reads are further apart than its dwell times, so
    that each finds it filled or empty anew, or a hidden Markov model follows it from read to read.
    Each device has a level of its own, which costs one degree of freedom. Raises ``InputError``
    with fewer than 20 reads per device.
    """
    read = series(table, "read", 1, 20)
    if any((np.ptp(each.values, axis=1) == 0).any() for each in read):
        raise InputError(f"{table.name!r}: a device's reads are all equal: nothing to fit")
    pieces = [cut for each in read for cut in _cut(each)]
    onset = min(float(np.diff(each.times).min()) for each in pieces)
    unit = math.sqrt(np.mean([v.var(ddof=1) for each in pieces for v in each.values]))
    models: dict[str, Callable[[], Maximum]] = {
        WHITE: partial(_gaussian, pieces, unit, None),
        FLICKER: partial(_gaussian, pieces, unit, onset),
        APART: partial(_telegraph, pieces, unit, None),
        HIDDEN: partial(_telegraph, pieces, unit, onset),
    }
    found, notes = tried(models)
    samples = sum(each.values.size for each in pieces)
    count = {WHITE: 1, FLICKER: 2, APART: 3, HIDDEN: 4}
    candidates = preferred(
        Candidate(name, each.log_likelihood, count[name], samples) for name, each in found.items()
    )
    name = candidates[0].name
    best, mean = found[name], float(np.mean([each.values.mean() for each in pieces]))
    residuals = _residuals(name, best, pieces, unit, onset)
    return Fit(
        kind="noise",
        devices=len(set(table.device)),
        samples=samples,
        candidates=candidates,
        parameters=_parameters(name, best, unit, onset, mean),
        goodness=normality(residuals),
        forms={"noise": name.partition(",")[0]},
        notes=[*_said(name, read, onset), *notes],
        curves=[*_curves(read), normal_plot(residuals)],
    )


def _cut(whole: Series) -> list[Series]:
    """Return ``whole`` in equal pieces of consecutive reads, none longer than ``LONGEST``."""
    parts = -(-len(whole.times) // LONGEST)
    return [
        Series(whole.names, times, values)
        for times, values in zip(
            np.array_split(whole.times, parts), np.array_split(whole.values, parts, 1), strict=True
        )
    ]


def spectrum(times: Array, onset: float) -> tuple[Array, Array]:
    """Return contrasts ``(n, n - 1)`` and their variances under 1/f noise of ``Q = 1``.

    The contrasts are orthonormal, free of the mean and independent of each other, under white noise
    too. The mean square change over ``t`` of noise with the density ``Q^2 / f`` up to
    ``1 / (2 onset)`` is ``2 Q^2 Cin(pi t / onset)``, ``Cin(x) = gamma + ln x - Ci(x)`` (integral of
    ``2 (1 - cos 2 pi f t) Q^2 / f``); ``Q`` is that of the analog kit's read noise, whose
    ``ln((t + onset) / (2 onset))`` is the integral of the same density.
    """
    x = math.pi * np.abs(times[:, None] - times) / onset
    near = np.where(x > 0, x, 1.0)
    change = np.where(x > 0, np.euler_gamma + np.log(near) - sici(near)[1], 0.0)
    centre = np.eye(len(times)) - 1 / len(times)
    values, vectors = np.linalg.eigh(-centre @ change @ centre)
    null = int(np.abs(vectors.sum(0)).argmax())  # the mean
    kept = np.delete(np.arange(len(times)), null)
    return vectors[:, kept], np.maximum(values[kept], 0.0)


def _freedom(pieces: Sequence[Series]) -> float:
    """Return the degrees of freedom of the noise beyond one level per device."""
    return float(sum(each.values.size - len(each.values) for each in pieces))


def _gaussian(pieces: Sequence[Series], unit: float, onset: float | None) -> Maximum:
    """Return the restricted fit of white noise, with 1/f noise where an ``onset`` is given."""
    parts, constant = [], 0.0  # sums of squares, variances of Q = 1, and how many squares
    for each in pieces:
        devices, count = each.values.shape
        y = (each.values - each.values.mean(1, keepdims=True)) / unit
        if onset is None:
            parts.append(np.array([[(y**2).sum()], [0.0], [float(devices * (count - 1))]]))
        else:
            basis, shape = spectrum(each.times, onset)
            parts.append(np.stack([((y @ basis) ** 2).sum(0), shape, np.full(count - 1, devices)]))
        constant += 0.5 * devices * ((count - 1) * math.log(2 * math.pi) + math.log(count))
    square, shapes, many = torch.tensor(np.concatenate(parts, 1))

    def negative(place: Tensor) -> Tensor:
        variance = (2 * place[0]).exp() * torch.ones_like(shapes)
        if onset is not None:
            variance = variance + (2 * place[1]).exp() * shapes
        total: Tensor = 0.5 * (square / variance + many * variance.log()).sum() + constant
        return total

    start = [0.0] if onset is None else [-0.3, -1.5]
    names = ["read_sigma", "noise.constant"]
    return maximise(Objective(negative), start, names, MISSING, _freedom(pieces))


def _two_levels(place: Tensor, levels: Tensor, reads: Tensor) -> Tensor:
    """Return the log-density of reads ``(devices, times)`` in both states (filled, empty), last."""
    sigma, depth, filled = place[0].exp(), place[1].exp(), torch.sigmoid(place[2])
    ends = torch.stack([1 - depth * (1 - filled), 1 + depth * filled])
    z = (reads[..., None] - levels[:, None, None] * ends) / sigma
    return -(z**2) / 2 - place[0] - 0.5 * math.log(2 * math.pi)


def _forward(filled: Tensor, memory: Tensor, dense: Tensor) -> Tensor:
    """Return the log-likelihood of a two-state hidden Markov model, ``(devices,)``.

    ``memory``: ``exp(-(1 / dwell_filled + 1 / dwell_empty) dt)`` for each time but the first, by
    which the state keeps to what it was; ``dense``: log-densities ``(devices, times, 2)``.
    The product of the forward algorithm's matrices is taken in pairs (scaled at every level), so
    that a record costs as many steps as the logarithm of its length.
    """
    rest = torch.stack([filled, 1 - filled])
    stay = torch.cat([torch.zeros(1, dtype=memory.dtype), memory])[:, None, None]
    moves = stay * torch.eye(2, dtype=memory.dtype) + (1 - stay) * rest  # the first: from rest
    top = dense.detach().amax(-1, keepdim=True)
    total = top.sum((1, 2))
    product = moves * (dense - top).exp()[..., None, :]
    while product.shape[1] > 1:
        if product.shape[1] % 2:
            last = torch.eye(2, dtype=memory.dtype).expand(len(product), 1, 2, 2)
            product = torch.cat([product, last], 1)
        product = product[:, ::2] @ product[:, 1::2]
        size = product.detach().amax((-2, -1), keepdim=True)
        total = total + size.log().sum((1, 2, 3))
        product = product / size
    return total + product[:, 0, 0].sum(-1).log()


def _telegraph(pieces: Sequence[Series], unit: float, onset: float | None) -> Maximum:
    """Return the fit of two levels per device, whose own is integrated out by Laplace's method.

    With an ``onset`` (the unit of time) a hidden Markov model; without one, independent reads.
    """
    means = np.concatenate([each.values.mean(1) for each in pieces])
    if means.min() <= 0:
        raise InputError("telegraph noise is relative to a device's mean, which has to be positive")
    shared = 3 if onset is None else 4
    reads = [torch.tensor(each.values / unit) for each in pieces]
    gaps = [torch.tensor(np.diff(each.times) / (onset or 1.0)) for each in pieces]
    level = torch.tensor(means / unit)
    sizes = [len(each) for each in reads]

    def negative(place: Tensor) -> Tensor:
        own = torch.split(level + place[shared:], sizes)
        filled = torch.sigmoid(place[2])
        rate = math.inf if onset is None else (-place[3]).exp() / (1 - filled)
        total = torch.zeros((), dtype=torch.float64)
        for read, gap, mine in zip(reads, gaps, own, strict=True):
            dense = _two_levels(place, mine, read)
            total = total - _forward(filled, torch.exp(-rate * gap), dense).sum()
        return total

    start = _start(negative, reads, float(level.mean()), shared, len(means))
    found = maximise(
        Objective(negative, len(means)), start, [*NAMES[:shared], "level"], MISSING,
        _freedom(pieces),
    )  # fmt: skip
    if found.place[1] > 0 or found.covariance[:shared, :shared].diagonal().max() > 4:
        raise InputError(f"the two levels and their dwell times cannot be told: {MISSING}")
    own = np.linalg.slogdet(np.linalg.inv(found.covariance)[shared:, shared:])[1]
    integrated = found.log_likelihood - 0.5 * own + 0.5 * len(means) * math.log(2 * math.pi)
    return replace(found, log_likelihood=float(integrated))


def _start(
    negative: Callable[[Tensor], Tensor], reads: Sequence[Tensor], level: float, shared: int,
    own: int,
) -> list[float]:  # fmt: skip
    """Return the likeliest of a few first guesses of sigma, depth, share and dwell time."""
    spread = math.sqrt(float(torch.cat([r.var(1) for r in reads]).mean()))
    guesses = [
        [
            math.log(white * spread),
            math.log(math.sqrt((1 - white**2) / (filled * (1 - filled))) * spread / level),
            math.log(filled / (1 - filled)),
            math.log(dwell / (1 - filled)),
        ][:shared]
        for white in (0.2, 0.5, 0.8)
        for filled in (0.15, 0.5, 0.85)
        for dwell in ((1.5, 6.0, 25.0) if shared > 3 else (1.0,))
    ]
    level_too = [[*each, *[0.0] * own] for each in guesses]
    return min(level_too, key=lambda each: float(negative(torch.tensor(each, dtype=torch.float64))))


def _residuals(
    name: str, best: Maximum, pieces: Sequence[Series], unit: float, onset: float
) -> Array:
    """Return residuals that are standard normal and independent if the candidate is true."""
    found, first = [], 0
    for each in pieces:
        devices, count = each.values.shape
        y, own = each.values / unit, slice(first, first + devices)
        first += devices
        if name in (WHITE, FLICKER):
            y = y - y.mean(1, keepdims=True)
            variance = np.full(count - 1, math.exp(2 * best.place[0]))
            basis, shape = spectrum(each.times, onset)
            if name == FLICKER:
                variance = variance + math.exp(2 * best.place[1]) * shape
            found.append(((y @ basis) / np.sqrt(variance)).ravel())
            continue
        shared = len(best.place) - sum(len(piece.values) for piece in pieces)
        level = each.values.mean(1) / unit + best.place[shared:][own]
        found.append(_forecast(best.place[:shared], level, y, np.diff(each.times) / onset).ravel())
    return np.concatenate(found)


def _forecast(place: Array, level: Array, y: Array, gaps: Array) -> Array:
    """Return normal quantiles of each read's place in its forecast from the reads before it."""
    filled = 1 / (1 + math.exp(-place[2]))
    rest, dense = np.array([filled, 1 - filled]), _two_levels(*map(torch.tensor, (place, level, y)))
    rate = math.exp(-place[3]) / (1 - filled) if len(place) > 3 else math.inf
    ends = np.array([1 - math.exp(place[1]) * (1 - filled), 1 + math.exp(place[1]) * filled])
    below = norm.cdf((y[..., None] - level[:, None, None] * ends) / math.exp(place[0]))
    now, places = np.tile(rest, (len(y), 1)), []
    for index, memory in enumerate(np.exp(-rate * np.array([np.inf, *gaps]))):
        now = memory * now + (1 - memory) * rest
        places.append((now * below[:, index]).sum(1))
        now = now * dense[:, index].exp().numpy()
        now /= now.sum(1, keepdims=True)
    quantiles: Array = ndtri(np.clip(np.stack(places, 1), 1e-15, 1 - 1e-15))
    return quantiles


def _parameters(
    name: str, best: Maximum, unit: float, onset: float, mean: float
) -> list[Parameter]:
    axes = np.eye(len(best.place))
    found = [best.positive(axes[0], "read_sigma", "uS", unit)]
    if name == FLICKER:
        found.append(best.positive(axes[1], "noise.constant", "uS", unit))
        found += [known("noise.onset", onset, "s"), known("noise.decade", 0.0, "uS")]
    if name in (APART, HIDDEN):
        depth = best.positive(axes[1], "noise.depth", "percent", 1.0)
        value, error, low, high = (
            mean * each for each in (depth.value, depth.error, depth.low, depth.high)
        )
        amplitude = Parameter("noise.amplitude", value, error, low, high, "uS", preset=False)
        found += [depth, best.share(axes[2], "noise.filled"), amplitude]
    if name == HIDDEN:
        found.append(best.positive(axes[3], "noise.dwell_filled", "s", onset, preset=False))
        empty = axes[3] - axes[2]
        found.append(best.positive(empty, "noise.dwell_empty", "s", onset, preset=False))
    return found


def _said(name: str, read: Sequence[Series], onset: float) -> list[str]:
    """Return what a reader has to know about the model."""
    said = {
        FLICKER: f"1/f noise is that up to the Nyquist frequency of reads {onset:g} s apart: what "
        "is faster counts as read_sigma",
        APART: f"the dwell times are shorter than reads {onset:g} s apart can show: an upper bound",
        HIDDEN: "a preset has no dwell times: machines draw the trap anew at every read, and keep "
        "its depth and share alone. noise.amplitude is the difference of the two levels at the "
        "devices' mean; dwell_empty and dwell_filled are the times to capture and to emission",
    }
    cut = f"records longer than {LONGEST} reads are cut, with a level for each piece"
    long = any(len(each.times) > LONGEST for each in read)
    return [cut] * long + [note for model, note in said.items() if model == name]


def _curves(read: Sequence[Series]) -> list[Curve]:
    """Return the reads of the first devices."""
    return [
        Curve(
            f"device {name}",
            "time (s)",
            "read (uS)",
            {"measured": (each.times, 1e6 * row)},
            {"mean": (each.times[[0, -1]], np.full(2, 1e6 * row.mean()))},
        )
        for each in read
        for name, row in zip(each.names, each.values, strict=True)
    ][:6]
