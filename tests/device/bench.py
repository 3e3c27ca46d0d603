"""Data that a laboratory could have measured, simulated: never passed off as measured."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from madem.device import Cell, draw, load, pulse, read
from madem.device.fitting import Fit
from madem.device.forms import SoftBounds
from madem.device.tables import Table, Trains
from madem.randomness import stream


def soft_cell() -> Cell:
    """A cell with soft bounds whose every number is known."""
    return replace(
        load("ideal"), response=SoftBounds(), high=120e-6, low=20e-6, high_spread=0.05,
        low_spread=2e-6, pulse_step=6e-6, pulse_spread=0.2, pulse_cycle=0.3, read_sigma=0.5e-6,
        up_down=0.25,
    )  # fmt: skip


def trains(cell: Cell, devices: int, pulses: int, seed: int) -> Trains:
    """Each device: so many pulses up and down, twice, from near its lowest conductance."""
    static = draw(cell, (devices,), stream(seed, "cells"))
    draws, reads = stream(seed, "pulses"), stream(seed, "reads")
    g = static.low.double() + 0.05 * (static.high - static.low)
    seen, ups = [read(cell, g, reads)], ([True] * pulses + [False] * pulses) * 2
    for up in ups:
        g = pulse(cell, g, torch.full((devices,), up), static, draws)
        seen.append(read(cell, g, reads))
    names = tuple(str(i) for i in range(devices))
    flags = np.tile(ups, (devices, 1))
    return Trains(
        torch.stack(seen, 1).numpy(), flags, np.ones_like(flags), np.arange(devices), names
    )


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Write a CSV file."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def long_form(path: Path, held: Trains) -> Path:
    """Write trains with a row a read."""
    rows = [
        (name, "start" if n == 0 else "up" if held.up[d, n - 1] else "down", f"{1e6 * g:.6f}")
        for d, name in enumerate(held.names)
        for n, g in enumerate(held.reads[d])
    ]
    return write_csv(path, ["device", "direction", "conductance_uS"], rows)


def rescaled(table: Table, factor: float) -> Table:
    """Return a table whose conductances are ``factor`` times as large."""
    numbers = {k: v if k == "time" else v * factor for k, v in table.numbers.items()}
    return replace(table, numbers=numbers)


POWERS = {"": 0, "percent": 0, "s": 0, "uS": 1, "1/uS": -1, "1/uS**2": -2}


def same_fit(first: Fit, other: Fit, factor: float) -> None:
    """Assert that ``other`` is ``first`` with conductances ``factor`` times as large."""
    assert [c.name for c in first.candidates] == [c.name for c in other.candidates]
    assert [p.key for p in first.parameters] == [p.key for p in other.parameters]
    for ours, theirs in zip(first.parameters, other.parameters, strict=True):
        scale = factor ** POWERS[ours.unit]
        for part in ("value", "error", "low", "high"):
            expected = getattr(ours, part) * scale
            np.testing.assert_allclose(
                getattr(theirs, part), expected, rtol=1e-8, atol=1e-8 * abs(ours.error) * scale,
                err_msg=f"{ours.key} {part}",
            )  # fmt: skip
    for ours, theirs in zip(first.candidates, other.candidates, strict=True):
        above = [c.bic - fit.candidates[0].bic for c, fit in ((ours, first), (theirs, other))]
        np.testing.assert_allclose(above[1], above[0], rtol=1e-6, atol=1e-4)
