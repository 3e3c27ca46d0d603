"""Coverage of the 95 % intervals of `madem device fit`, over synthetic data whose truth is known.

    python benchmarks/fits.py                      # every model, 100 draws each: the table of docs
    python benchmarks/fits.py --draws 20 stuck     # some models

The generators below are written with NumPy alone and share nothing with the forms, the cells or the
likelihoods of the package. Every draw goes through the whole fit, the choice of the model included.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from madem.device.fitting import Fit
from madem.device.noise import fit_noise
from madem.device.programming import fit_errors
from madem.device.pulses import fit_pulses
from madem.device.retention import fit_retention
from madem.device.tables import Table, Trains
from madem.errors import InputError

Array = NDArray[np.float64]
U = 1e-6  # S


@dataclass(frozen=True)
class Model:
    """Data of one kind: a draw and its fit, the numbers that made it (SI), and its right name."""

    fit: Callable[[Generator], Fit]
    truth: Mapping[str, float]
    name: str


def table(**columns: Array) -> Table:
    """Return columns ``(devices, rows)``, SI, as a table."""
    devices, rows = next(iter(columns.values())).shape
    numbers = {key: np.ravel(values) for key, values in columns.items()}
    return Table("drawn", numbers, {}, [str(i) for i in range(devices) for _ in range(rows)])


def errors(
    rng: Generator, rows: int, sigma: tuple[float, float] = (3.894, 0.0), stuck: float = 0.0,
    level: tuple[float, float] = (0.0, 150.0), tails: float = math.inf,
) -> Table:  # fmt: skip
    """Return programming errors: targets from 10 to 150 uS, a mean of 0.108 uS.

    ``sigma``: at 0 uS, uS, and its slope; ``stuck``: share of cells stuck, uniform over ``level``,
    uS; ``tails``: degrees of freedom of Student's distribution.
    """
    target = rng.uniform(10, 150, rows)
    if math.isinf(tails):
        normal = rng.standard_normal(rows)
    else:
        normal = rng.standard_t(tails, rows) * math.sqrt((tails - 2) / tails)
    read = target + 0.108 + (sigma[0] + sigma[1] * target) * normal
    read = np.where(rng.random(rows) < stuck, rng.uniform(*level, rows), read)
    return table(target=U * target[None], read=U * read[None])


def white(rng: Generator, devices: int, reads: int, sigma: float = 0.5) -> Array:
    """Return reads of 50 uS with white noise, uS, ``(devices, reads)``."""
    return 50 + sigma * rng.standard_normal((devices, reads))


def telegraph(
    rng: Generator, devices: int, reads: int, enter: float, leave: float, step: float = 2.0
) -> Array:
    """Return a two-state chain that adds ``step``, uS: its chances per read to enter and leave."""
    state = rng.random(devices) < enter / (enter + leave)
    seen = np.empty((devices, reads))
    for index in range(reads):
        seen[:, index] = state
        state = np.where(state, rng.random(devices) >= leave, rng.random(devices) < enter)
    return step * seen


def pink(rng: Generator, devices: int, reads: int, size: float = 0.4) -> Array:
    """Return noise of density ``size^2 / f`` from a 64th of 1 / record to the Nyquist frequency."""
    count = 64 * reads
    f = np.fft.rfftfreq(count)[1:-1]
    phases = rng.standard_normal((2, devices, len(f)))
    parts = (phases[0] + 1j * phases[1]) * size / np.sqrt(f) * math.sqrt(count) / 2
    whole = np.zeros((devices, count // 2 + 1), dtype=complex)
    whole[:, 1:-1] = parts
    noise: Array = np.fft.irfft(whole, count)[:, :reads]
    return noise


def reads(values: Array) -> Table:
    """Return reads, uS, a second apart."""
    return table(time=np.tile(np.arange(values.shape[1]) * 1.0, (len(values), 1)), read=U * values)


def drifting(
    rng: Generator, devices: int, times: Array, mean: float, rate: float, offset: float,
    sigma: float,
) -> Table:  # fmt: skip
    """Return conductances of 50 uS that drift with ln t: numbers in uS, one normal a device."""
    log = np.log(np.maximum(times, 1.0))
    own = rng.standard_normal((devices, 1))
    path = mean * log + (offset * (times >= 1) + rate * log) * own
    seen = 50 + path + sigma * rng.standard_normal(path.shape)
    return table(time=np.tile(times, (devices, 1)), conductance=U * seen)


PULSES = {
    "pulse_step": 6 * U, "up_down": 0.25, "high": 120 * U, "low": 20 * U, "pulse_spread": 0.2,
    "high_spread": 0.05, "low_spread": 2 * U, "pulse_cycle": 0.3, "read_sigma": 0.5 * U,
}  # fmt: skip


def trains(
    rng: Generator, up: Callable[[Array], Array], down: Callable[[Array], Array], devices: int = 8
) -> Trains:
    """Return 30 pulses up and 30 down, twice, of devices with the numbers of ``PULSES``.

    ``up``, ``down``: the size of a step, in nominal ones, where a share of the range is filled.
    """
    normal = rng.standard_normal
    factor = 1 + 0.2 * normal(devices)
    low, high = 20 + 2 * normal(devices), 120 * (1 + 0.05 * normal(devices))
    g = low + 0.05 * (high - low)
    ways, seen = ([True] * 30 + [False] * 30) * 2, [g + 0.5 * normal(devices)]
    for way in ways:
        x = (g - low) / (high - low)
        size = 6 * factor * up(x) if way else -6 * (factor - 0.25) * down(x)
        g = np.clip(g + size * (1 + 0.3 * normal(devices)), low, high)
        seen.append(g + 0.5 * normal(devices))
    flags = np.tile(ways, (devices, 1))
    names = tuple(str(i) for i in range(devices))
    return Trains(
        U * np.stack(seen, 1), flags, np.ones_like(flags), np.arange(devices), names
    )  # fmt: skip


def trap(enter: float, leave: float, dwell: bool = True) -> dict[str, float]:
    """Return what a fit should find of a trap that lowers 52 uS to 50 uS."""
    empty = enter / (enter + leave)
    rate = -math.log(1 - enter - leave) if dwell else math.inf
    found = {
        "read_sigma": 0.5 * U, "noise.depth": 2 / (50 + 2 * empty), "noise.filled": 1 - empty,
        "noise.amplitude": 2 * U,
    }  # fmt: skip
    if dwell:
        found |= {
            "noise.dwell_filled": 1 / rate / empty,
            "noise.dwell_empty": 1 / rate / (1 - empty),
        }
    return found


CONSTANT = {"error_mean": 0.108 * U, "error_sigma": 3.894 * U, "stuck_fraction": 0.0}
LINEAR = {"error_mean": 0.108 * U, "error_sigma": 1 * U, "error.linear": 0.03}
EARLY, LATE = np.array([0.1, 1, 10, 100, 1e3, 1e4, 1e5]), np.logspace(0, 5, 12)
DRIFT = {
    "retention.mean": -0.089 * U, "retention.rate": 0.042 * U, "retention.offset": 0.41 * U,
    "read_sigma": 0.17 * U,
}  # fmt: skip
HIDDEN = "telegraph, hidden Markov"
MODELS: dict[str, Model] = {
    "errors, constant, 25 rows": Model(
        lambda rng: fit_errors(errors(rng, 25)), CONSTANT, "constant sigma"
    ),
    "errors, constant, 60 rows": Model(
        lambda rng: fit_errors(errors(rng, 60)), CONSTANT, "constant sigma"
    ),
    "errors, linear, 1,000 rows": Model(
        lambda rng: fit_errors(errors(rng, 1000, (1.0, 0.03))), LINEAR, "linear sigma"
    ),
    "errors, 5 % stuck anywhere, 1,000 rows": Model(
        lambda rng: fit_errors(errors(rng, 1000, stuck=0.05)),
        CONSTANT | {"stuck_fraction": 0.05}, "constant sigma, stuck anywhere",
    ),
    "errors, 5 % stuck anywhere, 60 rows": Model(
        lambda rng: fit_errors(errors(rng, 60, stuck=0.05)),
        CONSTANT | {"stuck_fraction": 0.05}, "constant sigma, stuck anywhere",
    ),
    "errors, 10 % stuck near zero, 500 rows": Model(
        lambda rng: fit_errors(errors(rng, 500, stuck=0.1, level=(0.5, 1.5))),
        CONSTANT | {"stuck_fraction": 0.1}, "constant sigma, stuck at one level",
    ),
    "errors, heavy tails, 1,000 rows": Model(
        lambda rng: fit_errors(errors(rng, 1000, tails=4.0)),
        CONSTANT, "constant sigma, heavy tails",
    ),
    "noise, white, 3 x 40 reads": Model(
        lambda rng: fit_noise(reads(white(rng, 3, 40))), {"read_sigma": 0.5 * U}, "white"
    ),
    "noise, 1/f, 4 x 400 reads": Model(
        lambda rng: fit_noise(reads(white(rng, 4, 400) + pink(rng, 4, 400))),
        {"read_sigma": 0.5 * U, "noise.constant": 0.4 * U}, "flicker",
    ),
    "noise, telegraph, dwells of 10 and 20 reads, 4 x 400 reads": Model(
        lambda rng: fit_noise(reads(white(rng, 4, 400) + telegraph(rng, 4, 400, 0.05, 0.1))),
        trap(0.05, 0.1), HIDDEN,
    ),
    "noise, telegraph, dwells of 10 and 20 reads, 1 x 400 reads": Model(
        lambda rng: fit_noise(reads(white(rng, 1, 400) + telegraph(rng, 1, 400, 0.05, 0.1))),
        trap(0.05, 0.1), HIDDEN,
    ),
    "noise, telegraph, reads further apart, 4 x 400 reads": Model(
        lambda rng: fit_noise(reads(white(rng, 4, 400) + telegraph(rng, 4, 400, 0.3, 0.7))),
        trap(0.3, 0.7, dwell=False), "telegraph",
    ),
    "retention, drift with offset, 40 devices": Model(
        lambda rng: fit_retention(drifting(rng, 40, EARLY, -0.089, 0.042, 0.41, 0.17)),
        DRIFT, "log-drift with offset",
    ),
    "retention, drift, 10 devices": Model(
        lambda rng: fit_retention(drifting(rng, 10, LATE, -0.2, 0.1, 0.0, 0.1)),
        {"retention.mean": -0.2 * U, "retention.rate": 0.1 * U, "read_sigma": 0.1 * U},
        "log-drift",
    ),
    "retention, stable, 10 devices": Model(
        lambda rng: fit_retention(drifting(rng, 10, EARLY, 0.0, 0.0, 0.0, 0.3)),
        {"read_sigma": 0.3 * U}, "stable",
    ),
    "pulses, soft bounds, 8 x 120": Model(
        lambda rng: fit_pulses(trains(rng, lambda x: 1 - x, lambda x: x)), PULSES, "soft-bounds"
    ),
    "pulses, constant step, 8 x 120": Model(
        lambda rng: fit_pulses(trains(rng, np.ones_like, np.ones_like)), PULSES, "constant step"
    ),
    "pulses, linear step, 8 x 120": Model(
        lambda rng: fit_pulses(
            trains(rng, lambda x: 1 - 0.6 * x, lambda x: 1 - 0.4 * (1 - x))
        ),
        PULSES | {"response.slope_up": 0.6, "response.slope_down": 0.4}, "linear-step",
    ),
    "pulses, exponential step, 8 x 120": Model(
        lambda rng: fit_pulses(
            trains(
                rng, lambda x: 1 + 2 * np.exp(-5 * x), lambda x: 1 + 2 * np.exp(5 * x - 5)
            )
        ),
        PULSES | {
            "response.amplitude_up": -2.0, "response.amplitude_down": -2 * math.exp(-5),
            "response.gamma_up": 5.0, "response.gamma_down": 5.0,
        },
        "exponential-step",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Coverage:
    """Of each number, in how many draws its interval held the truth, and the mean estimate.

    A draw in which another model was chosen counts as a miss of the numbers that it does not have;
    one whose notes say that the number is left out counts in ``left_out`` alone.
    """

    held: Mapping[str, float]
    left_out: Mapping[str, int]
    mean: Mapping[str, float]
    chosen: Mapping[str, int]
    refused: int


def coverage(model: Model, draws: int) -> Coverage:
    """Draw and fit so many times."""
    held: dict[str, list[bool]] = defaultdict(list)
    values: dict[str, list[float]] = defaultdict(list)
    chosen: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    refused = 0
    for seed in range(draws):
        try:
            fit = model.fit(np.random.default_rng([2017, seed]))
        except InputError:
            refused += 1
            continue
        chosen[fit.candidates[0].name] += 1
        found = {p.key: p for p in fit.parameters}
        for key, truth in model.truth.items():
            if key not in found and any(f"{key} is left out" in note for note in fit.notes):
                left_out[key] += 1
                continue
            held[key].append(key in found and found[key].low <= truth <= found[key].high)
            if key in found:
                values[key].append(found[key].value)
    return Coverage(
        {key: float(np.mean(each)) for key, each in held.items()},
        left_out,
        {key: float(np.mean(each)) for key, each in values.items()},
        chosen,
        refused,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", help="parts of the names of models (default: all)")
    parser.add_argument("--draws", type=int, default=100)
    given = parser.parse_args()
    print("| data | seconds a fit | chosen rightly | refused | covers the truth (mean estimate) |")
    print("|---|---|---|---|---|", flush=True)
    for name, model in MODELS.items():
        if given.names and not any(part in name for part in given.names):
            continue
        start = time.process_time()
        found = coverage(model, given.draws)
        seconds = (time.process_time() - start) / given.draws
        numbers = ", ".join(
            f"`{key}` {100 * share:.0f} %"
            + (f" of {given.draws - found.left_out[key]}" if found.left_out[key] else "")
            + _ratio(found.mean.get(key), model.truth[key])
            for key, share in found.held.items()
        )
        right = f"{found.chosen[model.name]} of {given.draws}"
        print(f"| {name} | {seconds:.1f} | {right} | {found.refused} | {numbers} |", flush=True)


def _ratio(mean: float | None, truth: float) -> str:
    return f" ({mean / truth:.3f} of it)" if mean is not None and truth else ""


if __name__ == "__main__":
    main()
