"""What one memristor does: pure functions on conductances, in siemens.

Every function takes the cells' conductances (any shape), their static draw of the same shape
and a random generator; none keeps anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Generator, Tensor

from madem.device.forms import (
    POSITIVE,
    Constant,
    ErrorForm,
    Noise,
    Normal,
    Numbers,
    Response,
    Retention,
    Scatter,
    SoftBounds,
    Stable,
    White,
    number,
)
from madem.errors import InputError, nearest
from madem.randomness import normal, uniform


@dataclass(frozen=True)
class Cell(Numbers):
    """A memristor cell: the scales, SI units, and the forms; presets give each with its source.

    ``high``: largest conductance used. ``read_voltage``: of a full-scale read.
    ``tolerance``: program-and-verify stops within this of its target.
    ``error_mean``, ``error_sigma``: read-back minus target after program-and-verify; a form of
    ``error`` adds to the sigma what depends on the target.
    ``stuck_fraction``: share of the cells that hold a conductance drawn at random for ever.
    ``read_sigma``: standard deviation of the conductance seen from one settling to the next.
    ``high_spread``: relative spread over the cells of the largest reachable conductance.
    ``pulse_step``: change by one pulse, times what the ``response`` says of where the cell stands.
    ``pulse_spread``, ``pulse_cycle``: relative spread of the step over cells, and over pulses.
    ``low``, ``low_spread``: smallest conductance, and its spread over the cells.
    ``fold``: bounds of a cell that would lie beyond it are reflected there; 0: nowhere.
    ``stuck_low``, ``stuck_high``: between these stuck cells lie; 0 for ``stuck_high`` is ``high``.
    ``up_down``: asymmetry ``(up - down) / step`` of pulses; the weaker direction is reduced by it.
    ``up_down_spread``: half of its standard deviation over cells.
    ``pulse_jitter``: spread over pulses that does not shrink with the response, in steps.
    ``response``, ``scatter``, ``error``, ``noise``, ``retention``: see ``madem.device.forms``.

    >>> from madem.device import load
    >>> load("cmo-hfox").low
    8e-06
    """

    high: float = number("siemens", least=POSITIVE)
    read_voltage: float = number("volt", least=POSITIVE)
    tolerance: float = number("siemens", least=POSITIVE)
    error_mean: float = number("siemens")
    error_sigma: float = number("siemens")
    stuck_fraction: float = number("percent", least=0.0)
    read_sigma: float = number("siemens", least=0.0)
    high_spread: float = number("percent", least=0.0, most=10.0)
    pulse_step: float = number("siemens", least=POSITIVE)
    pulse_spread: float = number("percent", least=0.0, most=10.0)
    pulse_cycle: float = number("percent", least=0.0, most=10.0)
    low: float = number("siemens", 0.0, least=0.0)
    low_spread: float = number("siemens", 0.0, least=0.0)
    fold: float = number("siemens", 0.0, least=0.0)
    stuck_low: float = number("siemens", 0.0, least=0.0)
    stuck_high: float = number("siemens", 0.0, least=0.0)
    up_down: float = number("dimensionless", 0.0)
    up_down_spread: float = number("dimensionless", 0.0, least=0.0)
    pulse_jitter: float = number("dimensionless", 0.0, least=0.0)
    response: Response = SoftBounds()
    scatter: Scatter = Normal()
    error: ErrorForm = Constant()
    noise: Noise = White()
    retention: Retention = Stable()

    def __post_init__(self) -> None:
        """Refuse numbers that no cell can have."""
        super().__post_init__()
        if isinstance(self.error, Constant) and self.error_sigma < 0:
            raise InputError(f"error_sigma must be zero or positive, but is {self.error_sigma}")
        for f in fields(self):
            value = getattr(self, f.name)
            if f.metadata.get("unit") == "siemens" and abs(value) > 10 * self.high:
                raise InputError(f"{f.name} must be at most ten times high, {self.high:g} S, "
                                 f"but is {value:g} S")  # fmt: skip
        if self.stuck_fraction >= 1:
            raise InputError(f"stuck_fraction must be below 1, but is {self.stuck_fraction}")
        if abs(self.up_down) >= 1:
            raise InputError(f"up_down must be between -1 and 1, but is {self.up_down}")
        ends = {"low": self.high, "stuck_low": self.stuck_high or self.high}
        for name, high in ends.items():
            if (low := getattr(self, name)) >= high:
                raise InputError(
                    f"{name} must be below {high:g} S, but is {low:g} S: the range is empty"
                )


SWITCHES: dict[str, tuple[str, ...]] = {
    "programming_error": ("error_mean", "error_sigma", "error"),
    "stuck_cells": ("stuck_fraction",),
    "read_noise": ("read_sigma", "noise"),
    "device_spread": ("high_spread", "low_spread", "pulse_spread", "up_down_spread"),
    "cycle_spread": ("pulse_cycle", "pulse_jitter"),
}
"""Which numbers and forms of a cell each named non-ideality stands for."""

_IDEAL = {"error": Constant(), "noise": White()}


def without(cell: Cell, switches: Iterable[str]) -> Cell:
    """Return ``cell`` with the named non-idealities off.

    What a pulse does on average and how a conductance drifts are not switches:
    ``replace(cell, response=..., retention=Stable())``.

    >>> from madem.device import load
    >>> without(load("taox-1t1m"), ["read_noise"]).read_sigma
    0.0
    """
    for name in switches:
        if name not in SWITCHES:
            raise InputError(f"unknown non-ideality {name!r}: {nearest(name, SWITCHES)}")
        off = {entry: _IDEAL.get(entry, 0.0) for entry in SWITCHES[name]}
        cell = replace(cell, **off)  # type: ignore[arg-type]
    return cell


@dataclass(frozen=True)
class Static:
    """What never changes in a set of cells, one value per cell.

    ``stuck``: whether the cell answers no write; ``level``: where it is stuck, S;
    ``high``, ``low``: its largest and smallest conductance, S; ``step``, ``down``: its pulse
    steps up and down, S.
    """

    stuck: Tensor
    level: Tensor
    high: Tensor
    step: Tensor
    low: Tensor
    down: Tensor

    def at(self, index: tuple[Tensor | slice, ...]) -> Static:
        """Return the draw of the cells at ``index``."""
        return self._each(lambda part: part[index])

    @cached_property
    def flat(self) -> Static:
        """The draw of all cells one after another, made once."""
        return self._each(torch.flatten)

    def to(self, device: torch.device) -> Static:
        """Return the draw on ``device``."""
        return self._each(lambda part: part.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Static:
        once = {id(part): part for part in (getattr(self, f.name) for f in fields(self))}
        changed = {key: change(part) for key, part in once.items()}
        return Static(*(changed[id(getattr(self, f.name))] for f in fields(self)))


def draw(
    cell: Cell,
    shape: tuple[int, ...],
    generator: Generator,
    device: torch.device | None = None,
) -> Static:
    """Draw the static non-idealities of ``shape`` cells, on ``device`` (default: the generator's).

    Stuck levels are uniform over their range; spreads are normal (the step's as ``scatter``
    says), ``high`` cut at 10 % of its mean and at 10 % of the range above ``low``.

    >>> from madem.device import load
    >>> from madem.randomness import stream
    >>> static = draw(load("taox-1t1m"), (2, 64, 64), stream(0, "cells"))
    >>> 0 < float(static.stuck.float().mean()) < 0.03
    True
    """
    stuck = uniform(shape, generator) < cell.stuck_fraction
    top = cell.stuck_high or cell.high
    level = cell.stuck_low + uniform(shape, generator) * (top - cell.stuck_low)
    high = cell.high * Normal().factors(cell.high_spread, shape, generator)
    factor = cell.scatter.factors(cell.pulse_spread, shape, generator)
    step, low = (
        cell.pulse_step * factor,
        torch.tensor(cell.low, device=generator.device).expand(shape),
    )
    down = step
    if cell.low_spread:
        low = (low + cell.low_spread * normal(shape, generator)).clamp_min(0)
    if cell.fold:
        high = cell.fold + (high - cell.fold).abs()
        low = (cell.fold - (cell.fold - low).abs()).clamp_min(0)
    if cell.low_spread or (cell.low and cell.high_spread):
        high = high.maximum(low + 0.1 * (cell.high - cell.low))
    if cell.up_down or cell.up_down_spread:
        uneven = torch.zeros(shape, device=generator.device)
        if cell.up_down_spread:
            uneven = cell.up_down_spread * normal(shape, generator)
        step = cell.pulse_step * (factor + min(cell.up_down, 0.0) + uneven).clamp_min(0)
        down = cell.pulse_step * (factor - max(cell.up_down, 0.0) - uneven).clamp_min(0)
    drawn = Static(stuck, level, high, step, low, down)
    return drawn if device is None else drawn.to(device)


def program(cell: Cell, target: Tensor, static: Static, generator: Generator) -> Tensor:
    """Return the conductances after program-and-verify to ``target``, S.

    Result minus target is normal with ``error_mean`` and the sigma of ``error`` at the target; a
    target outside the cell's own range ends at the bound; a stuck cell stays where it is.
    """
    noise = normal(target.shape, generator, target.device)
    wanted = target.maximum(static.low).minimum(static.high)
    reached = wanted + cell.error_mean + cell.error.sigma(cell.error_sigma, wanted) * noise
    return torch.where(static.stuck, static.level, reached.clamp_min(0))


def pulse(cell: Cell, start: Tensor, up: Tensor, static: Static, generator: Generator) -> Tensor:
    """Return the conductances, S, after one pulse each, up where ``up`` is true.

    A pulse moves by ``step (r (1 + pulse_cycle n) + pulse_jitter n)``, ``r`` the signed change
    that ``response`` states and ``n`` normal, within the cell's own bounds.
    """
    room = cell.response.change(start, up, static.low, static.high)
    step = static.step if static.down is static.step else torch.where(up, static.step, static.down)
    drawn = normal(start.shape, generator, start.device)
    move = step * room * (1 + cell.pulse_cycle * drawn)
    if cell.pulse_jitter:
        move = move + step * cell.pulse_jitter * drawn
    moved = (start + move).maximum(static.low).minimum(static.high)
    return torch.where(static.stuck, static.level, moved)


def read(
    cell: Cell, conductance: Tensor, generator: Generator, seconds: float | None = None
) -> Tensor:
    """Return the conductances, S, as one verify read sees them, each with its own noise.

    ``seconds``: time since the write, where the cell's ``noise`` grows with it (default: a read at
    once, with white noise, and telegraph noise where the cell has it).
    """
    seen = conductance + cell.read_sigma * normal(conductance.shape, generator, conductance.device)
    return seen + cell.noise.sample(conductance, seconds, generator)


def drift(
    cell: Cell, conductance: Tensor, seconds: float, static: Static, generator: Generator
) -> Tensor:
    """Return the conductances, S, ``seconds`` after they were written; stuck cells stay.

    One normal number per cell: generators in the same state at two times follow the same cells.

    >>> from madem.device import load
    >>> from madem.randomness import stream
    >>> cell = load("cmo-hfox")
    >>> static = draw(cell, (10_000,), stream(0, "cells"))
    >>> later = drift(cell, torch.full((10_000,), 50e-6), 1e4, static, stream(0, "drift"))
    >>> round(1e6 * (later.mean().item() - 50e-6), 1)  # -0.089 ln(1e4)
    -0.8
    """
    moved = (conductance + cell.retention.shift(conductance, seconds, generator)).clamp_min(0)
    return torch.where(static.stuck, conductance, moved)
