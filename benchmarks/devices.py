"""What the sources of the device presets state, and what simulated cells give.

    python benchmarks/devices.py                  # the table of docs/devices.md
    python benchmarks/devices.py --kit kit.json   # and pulse responses beside the analog kit's own

``kit_curves.py`` writes ``kit.json``. The tests hold every row to four standard errors.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from scipy.stats import foldnorm
from torch import Tensor

from madem.device import Cell, draw, drift, load, program, pulse, read, without
from madem.device.cell import SWITCHES
from madem.randomness import stream

CELLS = 20_000
UNIT, ZERO = 25e-6, 75e-6  # the mapping of the analog kit's weights to siemens
KIT = ("hfo2-exponential", "hfo2-softbounds", "array-om", "array-hfo2")


@dataclass(frozen=True)
class Row:
    """A statistic, its source's value, the simulated one and its standard error, in ``unit``."""

    preset: str
    statistic: str
    unit: str
    stated: float
    simulated: float
    error: float


def spread(preset: str, what: str, unit: str, stated: float, values: Tensor) -> Row:
    """Return the row of a standard deviation (its standard error from the fourth moment)."""
    values = values.double().flatten()
    sd, deviation = values.std(), values - values.mean()
    error = ((deviation**4).mean() - sd**4).clamp_min(0).sqrt() / (2 * sd * len(values) ** 0.5)
    return Row(preset, what, unit, stated, float(sd), float(error))


def centre(preset: str, what: str, unit: str, stated: float, values: Tensor) -> Row:
    """Return the row of a mean."""
    values = values.double().flatten()
    error = float(values.std()) / len(values) ** 0.5
    return Row(preset, what, unit, stated, float(values.mean()), error)


def errors(name: str, target: float) -> Tensor:
    """Return programming errors of working cells, uS."""
    cell = load(name)
    goal = torch.full((CELLS,), target * 1e-6)
    static = draw(cell, (CELLS,), stream(0, name, "cells"))
    reached = program(cell, goal, static, stream(0, name, "program", str(target)))
    return 1e6 * (reached - goal)[~static.stuck]


def programming() -> Iterator[Row]:
    """Programming errors of the presets that state them."""
    taox = errors("taox-1t1m", 75)
    yield centre("taox-1t1m", "programming error, mean", "uS", 0.108, taox)
    yield spread("taox-1t1m", "programming error, sigma", "uS", 3.894, taox)
    laws: dict[str, tuple[Callable[[float], float], tuple[float, ...]]] = {
        "cmo-hfox": (lambda g: 0.00106879 * g + 0.00081107, (10, 50, 89)),
        "cmo-hfox-coarse": (lambda g: 0.01129027 * g + 0.01121854, (10, 50, 89)),
        "milo-2021": (lambda g: -0.009107 * g + 4.782, (55, 140, 220)),
        "neurram": (
            lambda g: 1.536e-4 * g**3 - 1.167e-2 * g**2 + 0.2374 * g + 1.053,
            (8, 20, 35),
        ),
    }
    for name, (law, targets) in laws.items():
        for g in targets:
            what = f"programming error at {g:g} uS, sigma"
            yield spread(name, what, "uS", law(g), errors(name, g))


def time() -> Iterator[Row]:
    """Read noise and drift where a source states them."""
    name = "cmo-hfox"
    cell = load(name)
    static = draw(cell, (CELLS,), stream(0, name, "cells"))
    g = torch.full((CELLS,), 50e-6)
    for t in (1e2, 1e5):
        moved = 1e6 * (drift(cell, g, t, static, stream(0, name, "drift", str(t))) - g)
        log = math.log(t)
        yield centre(name, f"drift at {t:g} s, mean", "uS", -0.08900206 * log, moved)
        stated = 0.04201137 * log + 0.41183342
        yield spread(name, f"drift at {t:g} s, sigma", "uS", stated, moved)
        quiet = replace(cell, read_sigma=0.0)
        seen = 1e6 * (read(quiet, g, stream(0, name, "read", str(t)), t) - g)
        stated = 0.0277316483 * math.log10(50) * math.sqrt(math.log((t + 1e-6) / 2e-6))
        yield spread(name, f"read noise at 50 uS, {t:g} s, sigma", "uS", stated, seen)
    name = "neurram"
    cell, g = load(name), torch.full((CELLS,), 20e-6)
    static = draw(cell, (CELLS,), stream(0, name, "cells"))
    fits = {
        "1 s": [0.348, 16.030, -43.853, 45.393, -16.815],
        "1 day": [0.701, 22.086, -50.773, 47.095, -16.458],
        "2 days": [0.782, 20.274, -43.507, 37.062, -11.934],
    }
    total = {key: sum(c * 0.5**i for i, c in enumerate(v)) for key, v in fits.items()}
    for days in (1, 2):
        key = "1 day" if days == 1 else "2 days"
        stated = math.sqrt(total[key] ** 2 - total["1 s"] ** 2)
        moved = 1e6 * (drift(cell, g, days * 86400.0, static, stream(0, name, key)) - g)
        yield spread(name, f"relaxation at 20 uS, 1 s to {key}, sigma", "uS", stated, moved)


KIT_NUMBERS: dict[str, dict[str, float]] = {
    "hfo2-exponential": {"dw_min": 0.00135, "d2d": 0.2, "c2c": 5.0, "write": 75,
                         "up_down": 0.259359, "w_max": 1.0, "w_min": -1.0,
                         "max_d2d": 0.3, "min_d2d": 0.3},
    "hfo2-softbounds": {"dw_min": 0.002, "d2d": 0.3, "c2c": 3.75, "write": 56, "up_down": 0.0,
                        "w_max": 1.25, "w_min": -0.75, "max_d2d": 0.3, "min_d2d": 0.3},
    "array-om": {"dw_min": 0.0949, "d2d": 0.7829, "c2c": 0.4158, "write": 1.4113, "up_down": 0.0,
                 "w_max": 1.0, "w_min": -1.0, "max_d2d": 0.3499, "min_d2d": 0.5695,
                 "corrupt": 0.1348},
    "array-hfo2": {"dw_min": 0.4622, "d2d": 0.7125, "c2c": 0.2174, "write": 0.5841, "up_down": 0.0,
                   "w_max": 1.0, "w_min": -1.0, "max_d2d": 0.4295, "min_d2d": 0.5990,
                   "corrupt": 0.0977},
}  # fmt: skip


def kit_statistics(name: str) -> Iterator[Row]:
    """Statistics of a preset of the analog kit, in its own unit of weight."""
    stated, cell = KIT_NUMBERS[name], load(name)
    static = draw(cell, (CELLS,), stream(0, name, "cells"))
    step = ((static.step + static.down) / cell.pulse_step + stated["up_down"]) / 2
    log = name.startswith("array")
    what = "step over cells, sigma of the logarithm" if log else "step over cells, relative sigma"
    yield spread(name, what, "", stated["d2d"], step.log() if log else step)
    if stated["up_down"]:
        uneven = (static.step - static.down) / cell.pulse_step
        yield centre(name, "steps up minus down, of dw_min", "", stated["up_down"], uneven)
    for key, bound in (("max", static.high), ("min", static.low)):
        weight = (bound - ZERO) / UNIT
        mean, sd = stated[f"w_{key}"], stated[f"{key}_d2d"]
        if log:  # what the kit makes of bounds beyond weight zero
            sign, law = math.copysign(1.0, mean), foldnorm(abs(mean) / sd, scale=sd)
            mean, sd = sign * law.mean(), law.std()
        yield centre(name, f"w_{key}, mean", "w", mean, weight)
        yield spread(name, f"w_{key} over cells, sigma", "w", sd, weight)
    one = replace(without(cell, ("device_spread", "stuck_cells")), pulse_jitter=cell.pulse_jitter)
    same = draw(one, (CELLS,), stream(0, name, "same"))
    start = torch.full((CELLS,), ZERO)
    up = torch.ones(CELLS, dtype=torch.bool)
    quiet = replace(one, pulse_cycle=0.0, pulse_jitter=0.0)
    plain = (pulse(quiet, start, up, same, stream(0, name, "plain")) - start).double()
    moved = (pulse(one, start, up, same, stream(0, name, "pulse")) - start).double()
    mean = float(plain[0])
    first = stated["dw_min"]
    if name == "hfo2-exponential":
        first *= 1 + 1.18445 * math.exp(-2.5)
    yield centre(name, "first step up from weight zero", "w", first, moved / UNIT)
    yield spread(name, "that step over pulses, relative sigma", "", stated["c2c"], moved / mean)
    seen = read(one, start, stream(0, name, "read")) - start
    yield spread(name, "write noise, sigma", "w", stated["write"] * stated["dw_min"], seen / UNIT)
    if "corrupt" in stated:
        yield centre(name, "corrupt cells, share", "", stated["corrupt"], static.stuck.double())


def levels() -> Iterator[Row]:
    """Of 2,048 levels, how many cells read back as their own."""
    cell = load("rao-2023")
    count = 2048
    which = torch.arange(CELLS) % count
    spacing = cell.high / count
    goal = (which + 0.5) * spacing
    static = draw(cell, (CELLS,), stream(0, "rao", "cells"))
    found = program(cell, goal.double(), static, stream(0, "rao", "program"))
    right = ((found / spacing).floor() == which).double()
    share = math.erf(math.sqrt(12) / 2 / math.sqrt(2))  # normal errors of a uniform one's sigma
    yield centre("rao-2023", "cells within their own of 2,048 levels, share", "", share, right)


def rows() -> Iterator[Row]:
    """Every statistic that a source states."""
    yield from programming()
    yield from time()
    for name in KIT:
        yield from kit_statistics(name)
    yield from levels()


def trace(cell: Cell, cells: int, pulses: int, name: str) -> Tensor:
    """Return weights, ``(2 pulses, cells)``: so many pulses up, then as many down, from zero."""
    static = draw(cell, (cells,), stream(0, name, "kit cells"))
    draws, reads = stream(0, name, "kit pulses"), stream(0, name, "kit reads")
    g, seen = torch.full((cells,), ZERO), []
    for index in range(2 * pulses):
        up = torch.full((cells,), index < pulses)
        g = pulse(cell, g, up, static, draws)
        seen.append(read(cell, g, reads))
    return (torch.stack(seen) - ZERO) / UNIT


def beside_kit(name: str, kit: Mapping[str, Any]) -> dict[str, float]:
    """Return the largest differences from the kit's curves, weights and standard errors."""
    cell = without(load(name), ("stuck_cells",))  # the kit's own default has none
    every, pulses, count = kit["every"], kit["pulses"], kit["devices"]
    ours = trace(cell, count, pulses, name)[every - 1 :: every].double()
    plain = trace(without(cell, SWITCHES), 1, pulses, name)[every - 1 :: every, 0].double()
    mean, error, sd = (
        torch.tensor(kit[key], dtype=torch.float64) for key in ("mean", "mean_error", "sd")
    )
    expected = (error**2 + sd**2 / count).sqrt()
    return {
        "plain": float((plain - torch.tensor(kit["plain"])).abs().max()),
        "mean": float((ours.mean(1) - mean).abs().max()),
        "mean_errors": float(((ours.mean(1) - mean) / expected).abs().max()),
        "sd": float((ours.std(1) / sd - 1).abs().max()),
    }


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kit", type=Path, help="what kit_curves.py wrote")
    given = parser.parse_args()
    print("| preset | statistic | source | simulated | standard error |\n|---|---|---|---|---|")
    for row in rows():
        unit = f" {row.unit}" if row.unit else ""
        print(
            f"| {row.preset} | {row.statistic} | {row.stated:.4g}{unit} | "
            f"{row.simulated:.4g}{unit} | {row.error:.1g} |"
        )
    if given.kit:
        print("\n| preset | without spread, largest difference | mean of 10,000 cells, largest "
              "difference | the same in standard errors | sigma, largest relative difference |"
              "\n|---|---|---|---|---|")  # fmt: skip
        for name, kit in json.loads(given.kit.read_text()).items():
            found = beside_kit(name, kit)
            print(
                f"| {name} | {found['plain']:.1e} w | {found['mean']:.1e} w | "
                f"{found['mean_errors']:.1f} | {100 * found['sd']:.1f} % |"
            )


if __name__ == "__main__":
    main()
