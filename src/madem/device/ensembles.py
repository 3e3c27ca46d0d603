"""Fit programming errors, read noise and retention: maximum likelihood over all devices at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kstest
from torch import Tensor

from madem.device.fitting import Array, Candidate, Curve, Fit, Maximum, Parameter, maximise
from madem.device.pulses import normal_plot
from madem.device.tables import Table
from madem.errors import InputError

UNIT = 1e-6  # likelihoods work in microsiemens
TWO_PI = 2 * math.pi
POWERS = ("error_sigma", "error.linear", "error.quadratic", "error.cubic")
POWER_UNITS = ("uS", "", "1/uS", "1/uS**2")


def fit_errors(table: Table) -> Fit:
    """Fit the mean and the sigma of read-back minus target, a polynomial in the target.

    Cells more than six sigma away count as stuck. Raises ``InputError`` with fewer than 20 rows.
    """
    target, read = table.numbers["target"] / UNIT, table.numbers["read"] / UNIT
    if len(target) < 20:
        raise InputError(
            f"{table.name!r} has {len(target)} rows: programming errors need 20 or more"
        )
    error, levels = read - target, len(np.unique(target))
    middle = np.median(error)
    rough = 1.4826 * np.median(np.abs(error - middle))
    if rough == 0:
        raise InputError(f"{table.name!r}: at least half of the errors are equal: nothing to fit")
    kept = np.abs(error - middle) < 8 * rough
    for _ in range(2):  # once to find what lies beyond six sigma, once without
        found = [
            (order, *_polynomial(order, target[kept], error[kept]))
            for order in range(min(4, levels))
        ]
        found.sort(key=lambda each: each[1].bic)
        order, _, best = found[0]
        residuals = (error - best.place[0]) / _sigma(best.place[1:], target)
        kept = np.abs(residuals) < 6
    lost = int((~kept).sum())
    share = lost / len(error)
    inside = residuals[kept]
    parameters = [best.parameter(0, "error_mean", "uS", UNIT)]
    for power in range(order + 1):
        scale = UNIT ** (1 - power)
        parameters.append(best.parameter(power + 1, POWERS[power], POWER_UNITS[power], scale))
    spread = math.sqrt(max(share * (1 - share), 1 / len(error)) / len(error))
    parameters.append(
        Parameter("stuck_fraction", share, spread, max(share - 1.96 * spread, 0.0),
                  share + 1.96 * spread, "percent", 0.01)
    )  # fmt: skip
    notes = (
        [f"{lost} of {len(error)} cells lie beyond six sigma and count as stuck"] if lost else []
    )
    if levels < 4:
        notes.append(f"{levels} target(s): sigma's dependence beyond that is not determined")
    return Fit(
        kind="errors",
        devices=len(set(table.device)),
        samples=int(kept.sum()),
        candidates=[each[1] for each in found],
        parameters=parameters,
        goodness={"Kolmogorov-Smirnov p": (float(kstest(inside, "norm").pvalue), "above 0.05")},
        forms={"error": "polynomial" if order else "constant"},
        notes=notes,
        curves=[_error_curve(target[kept], error[kept], best), normal_plot(inside)],
    )


def _sigma(coefficients: Array, g: Array) -> Array:
    sigma: Array = np.maximum(np.polyval(coefficients[::-1], g), 1e-9)
    return sigma


def _polynomial(order: int, target: Array, error: Array) -> tuple[Candidate, Maximum]:
    """Return the fit of a sigma of one ``order``; the target is scaled while fitting."""
    scale = float(target.max()) or 1.0
    x, y = torch.tensor(target / scale), torch.tensor(error)
    powers = torch.stack([x**i for i in range(order + 1)])

    def negative(place: Tensor) -> Tensor:
        sigma = (place[1:, None] * powers).sum(0)
        safe = sigma.clamp_min(1e-6)
        below = ((1e-6 - sigma).clamp_min(0) * 1e6).sum()  # a wall where sigma would be negative
        return (((y - place[0]) / safe) ** 2 / 2 + safe.log()).sum() + below

    start = [float(y.mean()), float(y.std()), *[0.0] * order]
    names = ["error_mean", *POWERS[: order + 1]]
    found = maximise(negative, start, names, "more targets over the range are needed")
    back = np.array([1.0, *(scale**-i for i in range(order + 1))])
    log_likelihood = found.log_likelihood - 0.5 * len(y) * math.log(TWO_PI)
    name = ("constant", "linear", "quadratic", "cubic")[order] + " sigma"
    return (
        Candidate(name, log_likelihood, order + 2, len(y)),
        Maximum(found.place * back, found.covariance * np.outer(back, back), log_likelihood),
    )


def _error_curve(target: Array, error: Array, best: Maximum) -> Curve:
    g = np.linspace(target.min(), target.max(), 100)
    sigma = _sigma(best.place[1:], g)
    mean = np.full_like(g, best.place[0])
    some = np.unique(np.linspace(0, len(target) - 1, 2000).astype(int))
    return Curve(
        "programming errors",
        "target (uS)",
        "read-back minus target (uS)",
        {"measured": (target[some], error[some])},
        {"mean": (g, mean)},
        (g, mean - 2 * sigma, mean + 2 * sigma),
    )


def grid(table: Table, column: str, least_devices: int, least_times: int) -> tuple[Array, Array]:
    """Return times and values in uS, ``(devices, times)``, of devices read at the same times.

    Raises ``InputError`` where their times differ, or there are too few of either.
    """
    place, values = np.array(table.device), table.numbers[column] / UNIT
    rows: list[Array] = []
    times: NDArray[np.float64] | None = None
    for name in dict.fromkeys(table.device):
        mine = place == name
        order = np.argsort(table.numbers["time"][mine], kind="stable")
        own = table.numbers["time"][mine][order]
        if times is not None and not np.array_equal(own, times):
            raise InputError(
                f"{table.name!r}: device {name!r} has other times than the first: all devices "
                "must be read at the same times"
            )
        times = own
        rows.append(values[mine][order])
    assert times is not None
    if len(rows) < least_devices:
        raise InputError(
            f"{table.name!r} holds {len(rows)} device(s): at least {least_devices} are needed to "
            "tell the spread over devices"
        )
    if len(times) < least_times or len(np.unique(times)) < len(times):
        raise InputError(
            f"{table.name!r}: a device needs at least {least_times} reads, each at its own time"
        )
    return times, np.stack(rows)


def fit_noise(table: Table) -> Fit:
    """Fit repeated reads: white, white with 1/f, or telegraph.

    1/f noise has the mean square change ``k^2 ln(1 + t / t0)``.

    ``t0``, the onset, is the shortest time between two reads, which the data cannot tell apart from
    white noise. Each device has a level of its own, which costs one degree of freedom.
    """
    times, reads = grid(table, "read", 1, 20)
    if (np.ptp(reads, axis=1) == 0).any():
        raise InputError(f"{table.name!r}: a device's reads are all equal: nothing to fit")
    if len(times) > 400:  # the likelihood of 1/f noise grows with the cube of the reads
        keep = np.linspace(0, len(times) - 1, 400).astype(int)
        times, reads = times[keep], reads[:, keep]
    onset = float(np.diff(times).min())
    y = torch.tensor(reads)
    fits = {
        "white": _white(y, None),
        "flicker": _white(y, torch.tensor(np.log1p(np.abs(times[:, None] - times) / onset))),
        "telegraph": _telegraph(y),
    }
    count = {"white": 1, "flicker": 2, "telegraph": 3}
    candidates = [
        Candidate(name, found.log_likelihood, count[name], y.numel())
        for name, found in fits.items()
        if found
    ]
    candidates.sort(key=lambda each: each.bic)
    name = candidates[0].name
    best = fits[name]
    assert best is not None
    parameters = [_log_parameter(best, 0, "read_sigma", "uS", UNIT)]
    if name == "flicker":
        parameters.append(_log_parameter(best, 1, "noise.constant", "uS", UNIT))
        parameters.append(Parameter("noise.onset", onset, 0.0, onset, onset, "s"))
        parameters.append(Parameter("noise.decade", 0.0, 0.0, 0.0, 0.0, "uS", UNIT))
    if name == "telegraph":
        parameters.append(_log_parameter(best, 1, "noise.depth", "percent", 1.0))
        share = 1 / (1 + math.exp(-best.place[2]))
        error = math.sqrt(best.covariance[2, 2])
        edges = [1 / (1 + math.exp(-best.place[2] - s * 1.96 * error)) for s in (-1, 1)]
        slope = share * (1 - share) * error
        parameters.append(
            Parameter("noise.filled", share, slope, edges[0], edges[1], "percent", 0.01)
        )
    level = reads - reads.mean(1, keepdims=True)
    residuals = (level / level.std(1, keepdims=True)).ravel()
    return Fit(
        kind="noise",
        devices=len(reads),
        samples=reads.size,
        candidates=candidates,
        parameters=parameters,
        goodness={"Kolmogorov-Smirnov p, white noise alone": (
            float(kstest(residuals, "norm").pvalue), "above 0.05 where white is preferred")},
        forms={"noise": name},
        curves=[
            Curve(f"device {device}", "time (s)", "read (uS)", {"measured": (times, row)},
                  {"mean": (times[[0, -1]], np.full(2, row.mean()))})
            for device, row in list(zip(dict.fromkeys(table.device), reads, strict=True))[:6]
        ] + [normal_plot(np.sort(residuals))],
    )  # fmt: skip


def _log_parameter(found: Maximum, index: int, key: str, unit: str, scale: float) -> Parameter:
    """Return a parameter that was fitted as a logarithm."""
    value, error = math.exp(found.place[index]), math.sqrt(found.covariance[index, index])
    low, high = (value * math.exp(sign * 1.96 * error) * scale for sign in (-1, 1))
    small = 0.01 if unit == "percent" else scale
    return Parameter(key, value * scale, value * error * scale, low, high, unit, small)


def _white(y: Tensor, variogram: Tensor | None) -> Maximum | None:
    """Return the restricted fit of white noise, with 1/f noise of ``variogram`` where given."""
    devices, count = y.shape
    basis = torch.linalg.svd(torch.ones(1, count, dtype=y.dtype)).Vh[1:]  # contrasts to the mean
    contrasts, shape = y @ basis.T, -basis @ variogram @ basis.T if variogram is not None else None

    def negative(place: Tensor) -> Any:
        if shape is None:
            variance = (2 * place[0]).exp()
            return (contrasts**2).sum() / (2 * variance) + contrasts.numel() * place[0]
        matrix = (2 * place[0]).exp() * torch.eye(count - 1, dtype=y.dtype)
        lower = torch.linalg.cholesky(matrix + (2 * place[1]).exp() / 2 * shape)
        white = torch.linalg.solve_triangular(lower, contrasts.T, upper=False)
        return (white**2).sum() / 2 + devices * lower.diagonal().log().sum()

    start = math.log(float(contrasts.std()))
    try:
        places = [start] if shape is None else [start - 0.3, start - 0.7]
        found = maximise(
            negative, places, ["read_sigma", "noise.constant"], "more reads are needed"
        )
    except InputError:
        return None
    constant = 0.5 * contrasts.numel() * math.log(TWO_PI) + 0.5 * devices * math.log(count)
    return Maximum(found.place, found.covariance, found.log_likelihood - float(constant))


def _telegraph(y: Tensor) -> Maximum | None:
    """Return the fit of two levels a device, whose own is integrated out by Laplace's method."""
    devices = len(y)
    level = y.mean(1)

    def negative(place: Tensor) -> Tensor:
        sigma, depth, filled = place[0].exp(), place[1].exp(), torch.sigmoid(place[2])
        own = level + place[3:]
        low = (y - own[:, None] * (1 - depth * (1 - filled))) / sigma
        high = (y - own[:, None] * (1 + depth * filled)) / sigma
        both = torch.stack([filled.log() - low**2 / 2, (1 - filled).log() - high**2 / 2])
        return -torch.logsumexp(both, 0).sum() + y.numel() * sigma.log()

    spread = (y - level[:, None]).std()
    skew = float((((y - level[:, None]) / spread) ** 3).mean())
    start = [math.log(float(spread) / 3), math.log(2 * float((spread / level.mean()).abs())), skew]
    names = ["read_sigma", "noise.depth", "noise.filled", *["level"] * devices]
    try:
        found = maximise(negative, [*start, *[0.0] * devices], names, "more reads are needed")
    except (InputError, ValueError, np.linalg.LinAlgError):
        return None
    if found.place[1] > 0 or found.covariance[:3, :3].diagonal().max() > 4:
        return None
    own = np.linalg.slogdet(np.linalg.inv(found.covariance)[3:, 3:])[1]
    constant = 0.5 * y.numel() * math.log(TWO_PI) + 0.5 * own - 0.5 * devices * math.log(TWO_PI)
    return Maximum(found.place, found.covariance, found.log_likelihood - float(constant))


def fit_retention(table: Table) -> Fit:
    """Fit conductances over time: stable, or drifting with ``ln t`` (mean, rate, and offset).

    The first read is the reference. An offset at 1 s is fitted where it is earlier than 1 s; else
    the drift from the first read on. Raises ``InputError`` with fewer than 5 devices, or where the
    times span less than a decade beyond 1 s.
    """
    times, values = grid(table, "conductance", 5, 3)
    if times[-1] < 10 * max(times[0], 1.0):
        raise InputError(
            f"{table.name!r}: reads up to {times[-1]:g} s span less than a decade beyond "
            f"{max(times[0], 1.0):g} s: drift needs longer times"
        )
    change = torch.tensor(values[:, 1:] - values[:, :1])
    log = torch.tensor(np.log(np.maximum(times, 1.0)))
    log, early = log[1:] - log[0], times[0] < 1.0
    after = torch.tensor((times[1:] >= 1.0).astype(float))
    forms = {"stable": ("noise",), "log-drift": ("noise", "mean", "rate")}
    if early:
        forms["log-drift with offset"] = ("noise", "mean", "rate", "offset")
    fits, candidates = {}, []
    spread = float(change.std()) or 1e-6
    for name, parts in forms.items():
        start = [math.log(spread / 2), 0.0, spread / float(log[-1]), spread / 2][: len(parts)]
        negative = _drifting(parts, change, log, after)
        fits[name] = maximise(negative, start, parts, "more devices or longer times are needed")
        whole = fits[name].log_likelihood - 0.5 * change.numel() * math.log(TWO_PI)
        candidates.append(Candidate(name, whole, len(parts), change.numel()))
    candidates.sort(key=lambda each: each.bic)
    best = fits[candidates[0].name]
    drifts = candidates[0].name != "stable"
    best = _upright(best) if drifts else best
    last = change[:, -1]
    last = (last - last.mean()) / last.std()
    late = "no read before 1 s: drift is from the first read on, without offset"
    return Fit(
        kind="retention",
        devices=len(values),
        samples=change.numel(),
        candidates=candidates,
        parameters=_drift_parameters(best),
        goodness={
            "Kolmogorov-Smirnov p, change at the last time": (
                float(kstest(last.numpy(), "norm").pvalue),
                "above 0.05",
            )
        },
        forms={"retention": "log-drift" if drifts else "stable"},
        notes=[] if early else [late],
        curves=[_drift_curve(times, change.numpy(), best, drifts)],
    )


def _drifting(
    parts: tuple[str, ...], change: Tensor, log: Tensor, after: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return the negative log-likelihood of changes ``(devices, times)`` for the named numbers.

    ``log``: ln t since the first read; ``after``: one from 1 s on, where the offset is.
    """
    known = torch.eye(len(log), dtype=torch.float64) + 1  # the reference's noise is in every change

    def negative(place: Tensor) -> Any:
        named = dict(zip(parts, place, strict=True))
        mean, rate, offset = (named.get(k, torch.zeros(())) for k in ("mean", "rate", "offset"))
        path = offset * after + rate * log
        lower = torch.linalg.cholesky((2 * place[0]).exp() * known + torch.outer(path, path))
        white = torch.linalg.solve_triangular(lower, (change - mean * log).T, upper=False)
        return (white**2).sum() / 2 + len(change) * lower.diagonal().log().sum()

    return negative


def _drift_parameters(best: Maximum) -> list[Parameter]:
    found = [_log_parameter(best, 0, "read_sigma", "uS", UNIT)]
    if len(best.place) > 1:
        found.append(best.parameter(1, "retention.mean", "uS", UNIT))
        found.append(best.parameter(2, "retention.rate", "uS", UNIT))
    if len(best.place) > 3:
        found.append(best.parameter(3, "retention.offset", "uS", UNIT))
    elif len(best.place) > 1:
        found.append(Parameter("retention.offset", 0.0, 0.0, 0.0, 0.0, "uS", UNIT))
    return found


def _upright(best: Maximum) -> Maximum:
    """Return the same drift with a rate above zero: one sign holds for rate and offset."""
    sign = np.ones(len(best.place))
    if best.place[2] < 0:
        sign[2:] = -1.0
    return Maximum(best.place * sign, best.covariance * np.outer(sign, sign), best.log_likelihood)


def _drift_curve(times: Array, change: Array, best: Maximum, drifts: bool) -> Curve:
    seen = np.maximum(times[1:], 1.0)
    mean = best.place[1] if drifts else 0.0
    rate = best.place[2] if drifts else 0.0
    offset = best.place[3] if len(best.place) > 3 else 0.0
    log = np.log(seen) - math.log(max(times[0], 1.0))
    total = np.sqrt((offset * (times[1:] >= 1) + rate * log) ** 2 + 2 * math.exp(2 * best.place[0]))
    return Curve(
        "change since the first read",
        "time (s)",
        "change (uS)",
        {"measured": (np.tile(times[1:], len(change)), change.ravel())},
        {"mean": (times[1:], mean * log)},
        (times[1:], mean * log - 2 * total, mean * log + 2 * total),
        logarithmic=True,
    )
