"""Fit retention: conductances that stay, or drift with the logarithm of time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
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

FORMS = {
    "stable": ("noise",),
    "log-drift": ("noise", "mean", "rate"),
    "log-drift with offset": ("noise", "mean", "rate", "offset"),
}


def fit_retention(table: Table) -> Fit:
    """Fit conductances over time: stable, or drifting with ``ln t`` (mean, rate, and offset).

    The first read is the reference. An offset at 1 s is fitted where it is earlier than 1 s; else
    the drift from the first read on. Raises ``InputError`` with fewer than 5 devices, or where the
    times span less than a decade beyond 1 s.
    """
    held = series(table, "conductance", 5, 3)
    early, late = max(each.times[0] for each in held), min(each.times[-1] for each in held)
    if late < 10 * max(early, 1.0):
        raise InputError(
            f"{table.name!r}: reads up to {late:g} s span less than a decade beyond "
            f"{max(early, 1.0):g} s: drift needs longer times"
        )
    changes = [each.values[:, 1:] - each.values[:, :1] for each in held]
    flat = np.concatenate([each.ravel() for each in changes])
    unit = float(np.sqrt((flat**2).mean()))
    if unit <= 1e-12 * max(float(np.abs(each.values).max()) for each in held):
        raise InputError(f"{table.name!r}: no conductance ever changes: nothing to fit")
    forms = {k: parts for k, parts in FORMS.items() if early < 1.0 or "offset" not in parts}
    found, notes = tried({k: partial(_fit, parts, held, unit) for k, parts in forms.items()})
    candidates = preferred(
        Candidate(name, each.log_likelihood, len(each.place), len(flat))
        for name, each in found.items()
    )
    best, drifts = found[candidates[0].name], candidates[0].name != "stable"
    residuals = np.concatenate([_residuals(each, best, unit) for each in held])
    if early >= 1.0:
        notes = ["no read before 1 s: drift is from the first read on, without offset", *notes]
    return Fit(
        kind="retention",
        devices=sum(len(each.names) for each in held),
        samples=len(flat),
        candidates=candidates,
        parameters=_parameters(best, unit),
        goodness=normality(residuals),
        forms={"retention": "log-drift" if drifts else "stable"},
        notes=notes,
        curves=[_curve(held, changes, best, unit), normal_plot(residuals)],
    )


def _fit(parts: Sequence[str], held: Sequence[Series], unit: float) -> Maximum:
    """Maximise the likelihood of all changes since the first read, for the named numbers.

    It is restricted for the mean, so that spreads of few devices are not too small; the
    log-likelihood that is returned is not, because candidates differ in their means.
    """
    groups = []
    for each in held:
        log = torch.tensor(np.log(np.maximum(each.times, 1.0)))
        change = torch.tensor((each.values[:, 1:] - each.values[:, :1]) / unit)
        after = torch.tensor((each.times[1:] >= 1.0).astype(float))  # where the offset is
        known_part = torch.eye(len(after), dtype=torch.float64) + 1  # the reference is in all
        groups.append((log[1:] - log[0], change, after, known_part))
    count = sum(change.numel() for _, change, _, _ in groups)
    devices = sum(len(each.names) for each in held)

    def negative(place: Tensor, restricted: bool = True) -> Tensor:
        named = dict(zip(parts, place, strict=True))
        mean, rate, offset = (named.get(k, torch.zeros(())) for k in ("mean", "rate", "offset"))
        total = torch.tensor(0.5 * count * math.log(2 * math.pi))
        known_mean = torch.zeros(())
        for log, change, after, both in groups:
            path = offset * after + rate * log
            lower = torch.linalg.cholesky((2 * place[0]).exp() * both + torch.outer(path, path))
            white = torch.linalg.solve_triangular(lower, (change - mean * log).T, upper=False)
            total = total + (white**2).sum() / 2 + len(change) * lower.diagonal().log().sum()
            way = torch.linalg.solve_triangular(lower, log[:, None], upper=False)
            known_mean = known_mean + len(change) * (way**2).sum()
        return total + 0.5 * known_mean.log() if restricted and "mean" in named else total

    longest = max(float(log[-1]) for log, _, _, _ in groups)
    start = [-0.7, 0.0, 1 / longest, 0.5][: len(parts)]
    missing = "more devices or longer times are needed"
    found = maximise(Objective(negative), start, parts, missing, devices - 1.0)
    sign = np.ones(len(parts))
    sign[2:] = -1.0 if len(parts) > 2 and found.place[2] < 0 else 1.0  # it holds for both
    whole = negative(torch.tensor(found.place), restricted=False).item()
    mirrored = Objective(lambda place: negative(place * torch.tensor(sign)))
    return Maximum(
        found.place * sign, found.covariance * np.outer(sign, sign), -whole, mirrored, found.freedom
    )  # fmt: skip


def _moved(times: Array, place: Array) -> tuple[float, Array, Array]:
    """Return the mean change per logarithm of time, that logarithm, and the devices' spread."""
    mean, rate, offset = (*place[1:], 0.0, 0.0, 0.0)[:3]
    log = np.log(np.maximum(times, 1.0))
    log = log[1:] - log[0]
    return mean, log, offset * (times[1:] >= 1.0) + rate * log


def _residuals(each: Series, best: Maximum, unit: float) -> Array:
    """Return residuals that are standard normal and independent if the candidate is true."""
    mean, log, path = _moved(each.times, best.place)
    noise = math.exp(2 * best.place[0]) * (np.eye(len(path)) + 1)
    off = (each.values[:, 1:] - each.values[:, :1]) / unit - mean * log
    return np.linalg.solve(np.linalg.cholesky(noise + np.outer(path, path)), off.T).ravel()


def _parameters(best: Maximum, unit: float) -> list[Parameter]:
    axis = np.eye(len(best.place))[0]
    found = [best.positive(axis, "read_sigma", "uS", unit)]
    names = ("retention.mean", "retention.rate", "retention.offset")
    found += [
        best.parameter(index, name, "uS", unit)
        for index, name in enumerate(names[: len(best.place) - 1], 1)
    ]
    return [*found, known(names[2], 0.0, "uS")] if len(best.place) == 3 else found


def _curve(held: Sequence[Series], changes: Sequence[Array], best: Maximum, unit: float) -> Curve:
    times = held[0].times
    mean, log, path = _moved(times, best.place)
    noise = math.exp(best.place[0])
    middle, two = 1e6 * unit * mean * log, 2e6 * unit * np.sqrt(path**2 + 2 * noise**2)
    at = np.concatenate([np.tile(s.times[1:], len(s.names)) for s in held])
    return Curve(
        "change since the first read",
        "time (s)",
        "change (uS)",
        {"measured": (at, 1e6 * np.concatenate([each.ravel() for each in changes]))},
        {"mean": (times[1:], middle)},
        (times[1:], middle - two, middle + two),
        logarithmic=True,
    )
