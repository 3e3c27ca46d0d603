"""The forms a memristor's response, errors, noise and retention take: values with small interfaces.

A cell holds the scales (a step, a standard deviation); a form says how they vary with the
conductance and with time. Every field names its unit, which a preset's numbers must have.
"""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field, fields
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from madem.errors import InputError
from madem.randomness import normal, uniform

POSITIVE = math.ulp(0.0)
"""The least number above zero."""


def number(
    unit: str, default: Any = MISSING, least: float = -math.inf, most: float = math.inf
) -> Any:
    """Return a field that holds a number of ``unit``; ``percent`` is held as a fraction.

    ``least``, ``most``: the range that ``Numbers`` holds it to.
    """
    return field(default=default, metadata={"unit": unit, "least": least, "most": most})


@dataclass(frozen=True)
class Numbers:
    """What has fields made by ``number``: each finite, and within the range of its field."""

    def __post_init__(self) -> None:
        """Refuse any other number, by the name of its field."""
        for each in (each for each in fields(self) if each.metadata):
            unit, least, most = each.metadata.values()
            held = getattr(self, each.name)
            for value in held if isinstance(held, tuple) else (held,):
                if not math.isfinite(value):
                    raise InputError(f"{each.name} must be finite, but is {value}")
                if not least <= value <= most:
                    size, tail = (100, " percent") if unit == "percent" else (1, "")
                    words = {(POSITIVE, math.inf): "positive", (0.0, math.inf): "zero or positive",
                             (-math.inf, most): f"at most {size * most:g}{tail}"}  # fmt: skip
                    wanted = words.get((least, most), f"from {least:g} to {size * most:g}{tail}")
                    raise InputError(f"{each.name} must be {wanted}, but is {size * value:g}{tail}")


def _check_rising(name: str, values: tuple[float, ...], what: str) -> None:
    """Refuse what cannot be interpolated in."""
    if len(values) < 2 or any(b <= a for a, b in pairwise(values)):
        raise InputError(f"{name} must be two or more rising {what}, but is {list(values)}")


@runtime_checkable
class Response(Protocol):
    """What one pulse does on average."""

    def change(self, g: Tensor, up: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return the signed change in units of the cell's step, of ``g``'s shape.

        ``g``, ``low``, ``high``: conductance and the cell's own bounds, S; ``up``: the direction.
        """


@dataclass(frozen=True)
class SoftBounds(Numbers):
    """Steps that shrink towards the bound: ``(high - g) / a`` up, ``(g - low) / b`` down.

    ``centre``, S: where a step has its nominal size, ``a = high - centre``, ``b = centre - low``
    (the analog kit's convention, weight zero). Default 0: no centre, ``a = b = high - low``, so
    that a step is nominal at the far bound.

    >>> g, zero, one = torch.tensor([0.25]), torch.tensor([0.0]), torch.tensor([1.0])
    >>> SoftBounds().change(g, torch.tensor([True]), zero, one).item()
    0.75
    """

    centre: float = number("siemens", 0.0, least=0.0)

    def change(self, g: Tensor, up: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return the signed change in units of the cell's step."""
        room = torch.where(up, high - g, low - g)
        if not self.centre:
            return room / (high - low)
        least = 1e-3 * self.centre  # a cell whose bound lies beyond the centre
        return room / torch.where(up, high - self.centre, self.centre - low).clamp_min(least)


@dataclass(frozen=True)
class LinearStep(Numbers):
    """Steps that change linearly over the range: ``1 - slope x``, ``x`` from the near bound.

    ``x = (g - low) / (high - low)`` up and one minus it down. Slope 0 (default) is a constant step
    with hard bounds, slope 1 is soft bounds.

    >>> g, zero, one = torch.tensor([0.25]), torch.tensor([0.0]), torch.tensor([1.0])
    >>> LinearStep(slope_down=0.4).change(g, torch.tensor([False]), zero, one).item()
    -0.699999988079071
    """

    slope_up: float = number("dimensionless", 0.0, most=1.0)
    slope_down: float = number("dimensionless", 0.0, most=1.0)

    def change(self, g: Tensor, up: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return the signed change in units of the cell's step."""
        x = (g - low) / (high - low)
        return torch.where(up, 1 - self.slope_up * x, self.slope_down * (1 - x) - 1)


@dataclass(frozen=True)
class ExponentialStep(Numbers):
    """Up ``max(0, 1 - A_up exp(-gamma_up x))``, down ``max(0, 1 - A_down exp(gamma_down x))``.

    ``x = 1/2 + (g - centre) / (high - low)``, or ``(g - low) / (high - low)`` with ``centre`` 0
    (the default). Source of the equation: the analog kit's exponential-step device with its a = b =
    -0.5; an ``A`` below zero makes the step larger.

    >>> g, zero, one = torch.tensor([0.0]), torch.tensor([0.0]), torch.tensor([1.0])
    >>> round(ExponentialStep(-1.0, -0.5, 5.0, 5.0).change(g, g == 0, zero, one).item(), 6)
    2.0
    """

    amplitude_up: float = number("dimensionless")
    amplitude_down: float = number("dimensionless")
    gamma_up: float = number("dimensionless", least=0.0, most=50.0)
    gamma_down: float = number("dimensionless", least=0.0, most=50.0)
    centre: float = number("siemens", 0.0, least=0.0)

    def change(self, g: Tensor, up: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return the signed change in units of the cell's step."""
        span = high - low
        x = (g - self.centre) / span + 0.5 if self.centre else (g - low) / span
        rise = (1 - self.amplitude_up * torch.exp(-self.gamma_up * x)).clamp_min(0)
        fall = (1 - self.amplitude_down * torch.exp(self.gamma_down * x)).clamp_min(0)
        return torch.where(up, rise, -fall)


@dataclass(frozen=True)
class Table(Numbers):
    """Measured steps, interpolated linearly between places in the range.

    ``at``: places ``x = (g - low) / (high - low)``, rising; ``up``, ``down``: sizes there, in units
    of the cell's step; beyond the ends the first or last value holds.

    >>> g, zero, one = torch.tensor([0.25]), torch.tensor([0.0]), torch.tensor([1.0])
    >>> Table((0.0, 1.0), (1.0, 0.0), (0.0, 1.0)).change(g, g > 0, zero, one).item()
    0.75
    """

    at: tuple[float, ...] = number("dimensionless")
    up: tuple[float, ...] = number("dimensionless")
    down: tuple[float, ...] = number("dimensionless")

    def __post_init__(self) -> None:
        """Refuse a table that cannot be interpolated."""
        super().__post_init__()
        _check_rising("at", self.at, "places")
        if {len(self.up), len(self.down)} != {len(self.at)}:
            raise InputError(
                f"up and down must have {len(self.at)} values like at, "
                f"but have {len(self.up)} and {len(self.down)}"
            )

    def change(self, g: Tensor, up: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return the signed change in units of the cell's step."""
        at, rise, fall = (
            torch.tensor(v, dtype=g.dtype, device=g.device) for v in (self.at, self.up, self.down)
        )
        x = ((g - low) / (high - low)).clamp(self.at[0], self.at[-1])
        right = torch.bucketize(x, at).clamp(1, len(self.at) - 1)
        share = (x - at[right - 1]) / (at[right] - at[right - 1])
        return torch.where(
            up,
            torch.lerp(rise[right - 1], rise[right], share),
            -torch.lerp(fall[right - 1], fall[right], share),
        )


@runtime_checkable
class Scatter(Protocol):
    """How a step varies from cell to cell."""

    def factors(self, spread: float, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """Return factors of mean or median one and relative ``spread``."""


@dataclass(frozen=True)
class Normal:
    """Normal, of mean one, cut at 0.1."""

    def factors(self, spread: float, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """Return factors of mean one and relative ``spread``."""
        factor = 1 + spread * normal(shape, generator)
        return factor.clamp_min(0.1)


@dataclass(frozen=True)
class LogNormal:
    """Log-normal, of median one; ``spread`` is the standard deviation of the logarithm."""

    def factors(self, spread: float, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """Return factors of median one."""
        return torch.exp(spread * normal(shape, generator))


@runtime_checkable
class ErrorForm(Protocol):
    """How the programming error varies over the range."""

    def sigma(self, constant: float, g: Tensor) -> Tensor | float:
        """Return the standard deviation, S, at target ``g``, S."""


@dataclass(frozen=True)
class Constant:
    """The same standard deviation everywhere."""

    def sigma(self, constant: float, g: Tensor) -> Tensor | float:
        """Return ``constant``."""
        del g
        return constant


@dataclass(frozen=True)
class Polynomial(Numbers):
    """``sigma = constant + linear g + quadratic g^2 + cubic g^3``, zero where that is negative.

    >>> form = Polynomial(linear=0.1)
    >>> round(form.sigma(1e-6, torch.tensor([1e-5])).item() * 1e6, 3)
    2.0
    """

    linear: float = number("dimensionless")
    quadratic: float = number("1/siemens", 0.0)
    cubic: float = number("1/siemens**2", 0.0)

    def sigma(self, constant: float, g: Tensor) -> Tensor | float:
        """Return the standard deviation, S, at target ``g``, S."""
        return (constant + g * (self.linear + g * (self.quadratic + g * self.cubic))).clamp_min(0)


@runtime_checkable
class Noise(Protocol):
    """What reads add to their white noise."""

    def sample(self, g: Tensor, seconds: float | None, generator: Generator) -> Tensor | float:
        """Return what one read adds to ``g``, S, ``seconds`` after the write (None: at once)."""


@dataclass(frozen=True)
class White:
    """Nothing: reads have their white noise alone."""

    def sample(self, g: Tensor, seconds: float | None, generator: Generator) -> Tensor | float:
        """Return zero, without a draw."""
        del g, seconds, generator
        return 0.0


@dataclass(frozen=True)
class Flicker(Numbers):
    """1/f noise: ``sigma = (constant + decade log10(g / 1 uS)) sqrt(ln((t + onset) / (2 onset)))``.

    ``t`` is the time since the write; before ``onset`` and without a time there is none. Source of
    the equation: the analog kit's CMO/HfOx noise model (``constant`` 0).

    >>> noise = Flicker(constant=0.0, decade=0.02773e-6, onset=1e-6)
    >>> round(noise.sigma(torch.tensor([50e-6]), 1.0).item() * 1e6, 4)
    0.1707
    """

    constant: float = number("siemens", least=0.0)
    decade: float = number("siemens", least=0.0)
    onset: float = number("second", least=POSITIVE)

    def sigma(self, g: Tensor, seconds: float) -> Tensor:
        """Return the standard deviation, S, of a read ``seconds`` after the write."""
        growth = math.sqrt(math.log(max((seconds + self.onset) / (2 * self.onset), 1.0)))
        level = self.constant + self.decade * torch.log10((g * 1e6).clamp_min(1e-9))
        return level.clamp_min(0) * growth

    def sample(self, g: Tensor, seconds: float | None, generator: Generator) -> Tensor | float:
        """Return what one read adds, S."""
        if seconds is None:
            return 0.0
        return self.sigma(g, seconds) * normal(g.shape, generator, g.device)


@dataclass(frozen=True)
class Telegraph(Numbers):
    """Random telegraph noise: one trap per cell, which lowers ``g`` by ``depth g`` while filled.

    ``filled``: the share of the time. Reads are taken to be further apart than the trap's dwell
    times, so each finds it filled or empty anew; the mean stays ``g``.

    >>> from madem.randomness import stream
    >>> seen = Telegraph(0.1, 0.5).sample(torch.ones(4), None, stream(0, "trap"))
    >>> sorted(set(round(v, 6) for v in seen.tolist()))
    [-0.05, 0.05]
    """

    depth: float = number("percent", least=0.0, most=1.0)
    filled: float = number("percent", least=0.0, most=1.0)

    def sample(self, g: Tensor, seconds: float | None, generator: Generator) -> Tensor | float:
        """Return what one read adds, S."""
        del seconds
        filled = uniform(g.shape, generator, g.device) < self.filled
        return g * self.depth * (self.filled - filled.to(g.dtype))


@runtime_checkable
class Retention(Protocol):
    """What time does to a written conductance."""

    def shift(self, g: Tensor, seconds: float, generator: Generator) -> Tensor | float:
        """Return the change, S, from the write (or its first read, at 1 s) to ``seconds`` later."""


@dataclass(frozen=True)
class Stable:
    """No drift."""

    def shift(self, g: Tensor, seconds: float, generator: Generator) -> Tensor | float:
        """Return zero, without a draw."""
        del g, seconds, generator
        return 0.0


@dataclass(frozen=True)
class LogDrift(Numbers):
    """Normal, of mean ``mean ln t`` and sigma ``offset + rate ln t``, ``t`` in seconds.

    ``t`` below 1 s counts as none. Source of the equation: the analog kit's CMO/HfOx noise model.

    >>> from madem.randomness import stream
    >>> drift = LogDrift(mean=-1e-6, rate=0.0, offset=0.0)
    >>> round(drift.shift(torch.ones(1), math.e, stream(0, "t")).item() * 1e6, 3)
    -1.0
    """

    mean: float = number("siemens")
    rate: float = number("siemens", least=0.0)
    offset: float = number("siemens", least=0.0)

    def shift(self, g: Tensor, seconds: float, generator: Generator) -> Tensor | float:
        """Return the change, S: one normal number per cell, so equal generators follow them."""
        if seconds < 1:
            return 0.0
        log = math.log(seconds)
        drawn = normal(g.shape, generator, g.device)
        return self.mean * log + (self.offset + self.rate * log) * drawn


@dataclass(frozen=True)
class Relaxation(Numbers):
    """Spread that grows after programming: ``sigma(x)`` from the target, a polynomial a time.

    ``x = g / high``; ``times``, s, rising; ``coefficients``, S: as many numbers for each time in
    turn, constant first. What is added after the first time has the variance that is missing to the
    total, between the times linear in ``ln t``, after the last one constant.

    >>> form = Relaxation(1e-5, (1.0, 1e5), (1e-6, 0.0, 2e-6, 0.0))
    >>> round(form.sigma(torch.tensor([5e-6]), 1e5).item() * 1e6, 3)
    2.0
    """

    high: float = number("siemens", least=POSITIVE)
    times: tuple[float, ...] = number("second")
    coefficients: tuple[float, ...] = number("siemens")

    def __post_init__(self) -> None:
        """Refuse tables that do not fit together."""
        super().__post_init__()
        _check_rising("times", self.times, "times")
        if not self.coefficients or len(self.coefficients) % len(self.times):
            raise InputError(
                f"coefficients must be as many for each of {len(self.times)} times, "
                f"but there are {len(self.coefficients)}"
            )

    def sigma(self, g: Tensor, seconds: float) -> Tensor:
        """Return the standard deviation from the target, S, at ``seconds`` after programming."""
        count = len(self.coefficients) // len(self.times)
        x, sigmas = (g / self.high).clamp(0, 1), []
        for first in range(0, len(self.coefficients), count):
            total = torch.zeros_like(x)
            for coefficient in reversed(self.coefficients[first : first + count]):
                total = total * x + coefficient
            sigmas.append(total.clamp_min(0))
        logs = [math.log(time) for time in self.times]
        now = min(max(math.log(max(seconds, self.times[0])), logs[0]), logs[-1])
        right = next(i for i in range(1, len(logs)) if now <= logs[i])
        share = (now - logs[right - 1]) / (logs[right] - logs[right - 1])
        return torch.lerp(sigmas[right - 1], sigmas[right], share)

    def shift(self, g: Tensor, seconds: float, generator: Generator) -> Tensor | float:
        """Return the change, S, since the first time."""
        more = self.sigma(g, seconds) ** 2 - self.sigma(g, self.times[0]) ** 2
        return more.clamp_min(0).sqrt() * normal(g.shape, generator, g.device)
