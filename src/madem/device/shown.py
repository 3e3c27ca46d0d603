"""Curves of a preset to look at: pulses, programming errors, reads and drift of simulated cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from madem.device.cell import Cell, draw, drift, program, pulse, read
from madem.device.fitting import Array, Curve
from madem.device.forms import Stable
from madem.randomness import stream

CELLS = 2000
TIMES = np.logspace(-1, 6, 29)


def curves_of(cell: Cell, seed: int = 0) -> Sequence[Curve]:
    """Return the panels of ``madem device show``, from cells drawn with ``seed``."""
    return [panel(cell, seed) for panel in (pulses, errors, noise, retention)]


def pulses(cell: Cell, seed: int) -> Curve:
    """Return five cells, and the mean over many, over pulses up and then down.

    As many each way as take a mean cell from its middle to near its bound, but from 20 to 2,000.
    """
    count = int(np.clip(1.5 * (cell.high - cell.low) / cell.pulse_step, 20, 2000))
    static = draw(cell, (CELLS,), stream(seed, "show", "cells"))
    draws, reads = stream(seed, "show", "pulses"), stream(seed, "show", "reads")
    g = torch.where(static.stuck, static.level, static.low + 0.02 * (static.high - static.low))
    seen = [read(cell, g, reads)]
    for index in range(2 * count):
        g = pulse(cell, g, torch.full((CELLS,), index < count), static, draws)
        seen.append(read(cell, g, reads))
    reads_of = 1e6 * torch.stack(seen).double().numpy()
    working = ~static.stuck.numpy()
    n = np.arange(2 * count + 1.0)
    few = slice(None, None, max(1, count // 100))  # enough to see, not a cloud
    lines = {f"cell {i + 1}": (n[few], reads_of[few, i]) for i in np.flatnonzero(working)[:5]}
    lines["mean of the working cells"] = (n, reads_of[:, working].mean(1))
    title = f"{count} pulses up, then {count} down"
    return Curve(title, "pulse", "conductance read (uS)", {}, lines)


def errors(cell: Cell, seed: int) -> Curve:
    """Return read-back minus target over the range."""
    span = cell.high - cell.low
    target = cell.low + span * torch.linspace(0.02, 0.98, CELLS)
    static = draw(cell, (CELLS,), stream(seed, "show", "programmed"))
    static = replace(
        static, high=torch.full((CELLS,), cell.high), low=torch.full((CELLS,), cell.low)
    )
    reached = program(cell, target, static, stream(seed, "show", "program"))
    error = 1e6 * (reached - target)[~static.stuck].double().numpy()
    g = 1e6 * target.double().numpy()
    sigma = 1e6 * np.broadcast_to(np.asarray(cell.error.sigma(cell.error_sigma, target)), g.shape)
    mean = np.full_like(g, 1e6 * cell.error_mean)
    return Curve(
        "programming error",
        "target (uS)",
        "read-back minus target (uS)",
        {"working cells": (g[~static.stuck.numpy()], error)},
        {"mean": (g, mean)},
        (g, mean - 2 * sigma, mean + 2 * sigma),
    )


def noise(cell: Cell, seed: int) -> Curve:
    """Return how far reads of a conductance half-way scatter, over the time since the write."""
    g = torch.full((CELLS,), (cell.low + cell.high) / 2)
    draws = stream(seed, "show", "noise")
    sigma = [1e6 * float((read(cell, g, draws, t) - g).std()) for t in TIMES]
    lines = {"half-way": (TIMES, np.array(sigma))}
    return Curve(
        "read noise", "time since the write (s)", "sigma of a read (uS)", {}, lines, None, True
    )


def retention(cell: Cell, seed: int) -> Curve:
    """Return how a conductance half-way drifts: five cells, mean and two sigma."""
    g = torch.full((CELLS,), (cell.low + cell.high) / 2)
    static = draw(replace(cell, stuck_fraction=0.0), (CELLS,), stream(seed, "show", "drifting"))
    paths: Array = 1e6 * np.stack(
        [
            drift(cell, g, float(t), static, stream(seed, "show", "drift")).double().numpy()
            for t in TIMES
        ]
    )
    mean, sigma = paths.mean(1), paths.std(1)
    lines = {f"cell {i + 1}": (TIMES, paths[:, i]) for i in range(5)}
    if isinstance(cell.retention, Stable):
        lines = {}
    lines["mean"] = (TIMES, mean)
    band = (TIMES, mean - 2 * sigma, mean + 2 * sigma)
    return Curve("retention", "time since the write (s)", "conductance (uS)", {}, lines, band, True)
