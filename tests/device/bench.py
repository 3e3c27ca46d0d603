"""Data that a laboratory could have measured, simulated: never passed off as measured."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from madem.device import Cell, draw, load, pulse, read
from madem.device.forms import SoftBounds
from madem.device.tables import Trains
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
