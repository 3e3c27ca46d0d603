"""What one memristor does: pure functions on conductances, in siemens.

Every function takes the cells' conductances (any shape), their static draw of the same shape
and a random generator; none keeps anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import torch
from torch import Generator, Tensor

from madem.errors import InputError, nearest


@dataclass(frozen=True)
class Cell:
    """The numbers of a memristor cell, SI units; presets give each with its source.

    ``high``: largest conductance used. ``read_voltage``: of a full-scale read.
    ``tolerance``: program-and-verify stops within this of its target.
    ``error_mean``, ``error_sigma``: read-back minus target after program-and-verify.
    ``stuck_fraction``: share of the cells that hold a conductance drawn at random for ever.
    ``read_sigma``: standard deviation of the conductance seen from one settling to the next.
    ``high_spread``: relative spread over the cells of the largest reachable conductance.
    ``pulse_step``: largest change by one pulse (soft bounds: it shrinks towards the bound).
    ``pulse_spread``, ``pulse_cycle``: relative spread of the step over cells, and over pulses.
    """

    high: float
    read_voltage: float
    tolerance: float
    error_mean: float
    error_sigma: float
    stuck_fraction: float
    read_sigma: float
    high_spread: float
    pulse_step: float
    pulse_spread: float
    pulse_cycle: float

    def __post_init__(self) -> None:
        """Refuse numbers that no cell can have."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not math.isfinite(value):
                raise InputError(f"{field.name} must be finite, but is {value}")
            positive = field.name in ("high", "read_voltage", "tolerance", "pulse_step")
            if field.name != "error_mean" and (value < 0 or (positive and value == 0)):
                need = "positive" if positive else "zero or positive"
                raise InputError(f"{field.name} must be {need}, but is {value}")
        if self.stuck_fraction >= 1:
            raise InputError(f"stuck_fraction must be below 1, but is {self.stuck_fraction}")


SWITCHES: dict[str, tuple[str, ...]] = {
    "programming_error": ("error_mean", "error_sigma"),
    "stuck_cells": ("stuck_fraction",),
    "read_noise": ("read_sigma",),
    "device_spread": ("high_spread", "pulse_spread"),
    "cycle_spread": ("pulse_cycle",),
}
"""Which numbers of a cell each named non-ideality stands for."""


def without(cell: Cell, switches: Iterable[str]) -> Cell:
    """Return ``cell`` with the named non-idealities off.

    >>> from madem.device import load
    >>> without(load("taox-1t1m"), ["read_noise"]).read_sigma
    0.0
    """
    for name in switches:
        if name not in SWITCHES:
            raise InputError(f"unknown non-ideality {name!r}: {nearest(name, SWITCHES)}")
        cell = replace(cell, **dict.fromkeys(SWITCHES[name], 0.0))
    return cell


@dataclass(frozen=True)
class Static:
    """What never changes in a set of cells, one value a cell.

    ``stuck``: whether the cell answers no write; ``level``: where it is stuck, S;
    ``high``: its largest conductance, S; ``step``: its pulse step, S.
    """

    stuck: Tensor
    level: Tensor
    high: Tensor
    step: Tensor

    def at(self, index: tuple[Tensor, ...]) -> Static:
        """Return the draw of the cells at ``index``."""
        return Static(self.stuck[index], self.level[index], self.high[index], self.step[index])


def draw(cell: Cell, shape: tuple[int, ...], generator: Generator) -> Static:
    """Draw the static non-idealities of ``shape`` cells.

    Stuck levels are uniform over the range; spreads are normal, cut at 10 % of the mean.

    >>> from madem.device import load
    >>> from madem.randomness import stream
    >>> static = draw(load("taox-1t1m"), (2, 64, 64), stream(0, "cells"))
    >>> 0 < float(static.stuck.float().mean()) < 0.03
    True
    """

    def spread(mean: float, relative: float) -> Tensor:
        factor = 1 + relative * torch.randn(shape, generator=generator)
        return mean * factor.clamp_min(0.1)

    stuck = torch.rand(shape, generator=generator) < cell.stuck_fraction
    level = torch.rand(shape, generator=generator) * cell.high
    high = spread(cell.high, cell.high_spread)
    step = spread(cell.pulse_step, cell.pulse_spread)
    return Static(stuck, level, high, step)


def program(cell: Cell, target: Tensor, static: Static, generator: Generator) -> Tensor:
    """Return the conductances after program-and-verify to ``target``, S.

    Result minus target is normal with ``error_mean`` and ``error_sigma``; a target outside the
    cell's own range ends at the bound; a stuck cell stays where it is.
    """
    noise = torch.randn(target.shape, generator=generator)
    reached = target.clamp_min(0).minimum(static.high) + cell.error_mean + cell.error_sigma * noise
    return torch.where(static.stuck, static.level, reached.clamp_min(0))


def pulse(cell: Cell, start: Tensor, up: Tensor, static: Static, generator: Generator) -> Tensor:
    """Return the conductances, S, after one pulse each, up where ``up`` is true.

    Soft bounds: a pulse up moves by ``step (1 - g / high)``, a pulse down by ``step g / high``,
    times ``1 + pulse_cycle * normal``.
    """
    room = torch.where(up, static.high - start, -start) / static.high
    factor = 1 + cell.pulse_cycle * torch.randn(start.shape, generator=generator)
    moved = (start + static.step * room * factor).clamp_min(0).minimum(static.high)
    return torch.where(static.stuck, static.level, moved)


def read(cell: Cell, conductance: Tensor, generator: Generator) -> Tensor:
    """Return the conductances, S, as one verify read sees them, each with its own noise."""
    return conductance + cell.read_sigma * torch.randn(conductance.shape, generator=generator)
