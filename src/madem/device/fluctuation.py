"""How a cell fluctuates in time: its spectrum, its correlation over a lag, and draws of it.

A cell's conductance fluctuates by ``read_sigma``; a spectrum says how fast. What is slow is the
same in settlings that follow one another, and cancels in their difference. Below it lies the noise
that no conductor is without, which is white: thermal and shot noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Generator, Tensor

from madem.device.forms import POSITIVE, Numbers, number
from madem.errors import InputError
from madem.randomness import normal, uniform

BOLTZMANN, ELEMENTARY_CHARGE = 1.380649e-23, 1.602176634e-19
KELVIN = 300.0
PER_DECADE = 2
"""Bands a decade of 1/f noise: their sum then lies within 0.1 % of 1/f (4 sech(pi^2 / h), h the
logarithm of a band's width), but for half a decade at either end, where it rolls off."""

Siemens = TypeVar("Siemens", float, Tensor)


def noise_floor(conductance: Siemens, volts: float, tau: float) -> Siemens:
    """Return the standard deviation, S, that ``conductance``, S, has from the noise of its current.

    Thermal noise of the density ``4 k T G`` at 300 K and shot noise of ``2 q I``, at the current
    that ``volts``, V, drive, over the noise bandwidth ``1 / (4 tau)`` of one pole ``tau``, s,
    relative to the same ``volts``. An upper bound: a short metallic conductor has a third of the
    shot noise, a long one none (Beenakker and Buettiker, Phys. Rev. B 46, 1889, 1992).

    >>> round(1e6 * noise_floor(50e-6, 0.2, 1e-9), 3)
    0.159
    """
    density = 4 * BOLTZMANN * KELVIN + 2 * ELEMENTARY_CHARGE * volts
    found: Siemens = (conductance * (density / (4 * tau))) ** 0.5 / volts
    return found


@dataclass(frozen=True)
class Bands:
    """A sum of independent fluctuations, each of exponential correlation and Lorentzian spectrum.

    ``times``: their correlation times, s; ``shares``: their variances, in that of a cell, to which
    they add up until some are split off or averaged. ``levels``: whether each jumps between two
    levels (one trap), instead of being normal (Ornstein-Uhlenbeck); the spectrum is the same.

    >>> Bands((1e-3,), (1.0,)).correlation(1e-3) == math.exp(-1)
    True
    """

    times: tuple[float, ...]
    shares: tuple[float, ...]
    levels: bool = False

    def density(self, hertz: float) -> float:
        """Return the one-sided power spectral density at a frequency, variance per Hz."""
        return sum(4 * w * t / (1 + (2 * math.pi * hertz * t) ** 2) for t, w in self._each)

    def correlation(self, lag: float) -> float:
        """Return the autocovariance at a ``lag``, s: ``sum_i shares_i exp(-lag / times_i)``."""
        return sum(w * math.exp(-abs(lag) / t) for t, w in self._each)

    @property
    def _each(self) -> list[tuple[float, float]]:
        return list(zip(self.times, self.shares, strict=True))

    def split(self, seconds: float) -> tuple[Bands, Bands]:
        """Return the bands that are slower than ``seconds``, and the others."""

        def part(slow: bool) -> Bands:
            each = [(t, w) for t, w in self._each if (t > seconds) is slow]
            return Bands(tuple(t for t, _ in each), tuple(w for _, w in each), self.levels)

        return part(True), part(False)

    def seen(self, tau: float) -> Bands:
        """Return what is left of them behind one pole ``tau``, s, which averages what is faster.

        Exact for the variance of each, ``t / (t + tau)``, and for its correlation where ``t`` is
        far above ``tau``.
        """
        shares = tuple(w * t / (t + tau) for t, w in self._each)
        return Bands(self.times, shares, self.levels)

    def arrived(self, lag: float, ends: tuple[float, float]) -> float:
        """Return the covariance of what a neuron shows of them at the ends of two phases from zero.

        ``ends``: how long the phases last, in the neuron's pole, as are the times of these bands;
        the second one ends ``lag`` after the first and begins no sooner, or is the same one at 0.
        In units of what a constant of the same phases shows, which is ``1 - exp(-end)``: closed
        forms of ``ds/dt = a(t) - s`` for an ``a`` of exponential correlation.

        >>> round(Bands((1e-9,), (1e9,)).arrived(0.0, (1.0, 1.0)), 3)  # white: coth(1 / 2)
        2.164
        >>> round(Bands((1e9,), (1.0,)).arrived(0.0, (1.0, 1.0)), 3)  # static
        1.0
        """
        first, second = ends
        constant = math.expm1(-first) * math.expm1(-second)
        total = 0.0
        for time, share in self._each:
            k = 1 / time + 1e-6  # for the limit at one
            if lag == 0:
                found = 2 * (_gone(2.0, first) - _gone(1 + k, first)) / (k - 1)
            else:
                left = (math.exp(-k * second) - math.exp(-second)) / (1 - k)
                found = math.exp(-k * (lag - second)) * _gone(1 + k, first) * left
            total += share * found / constant
        return total

    def begin(self, shape: tuple[int, ...], draws: Generator) -> Tensor:
        """Return a first state of pairs of cells of ``shape``, each band in its rest.

        ``(bands, *shape)``, in units of the band's own deviation; with levels one for each cell of
        the pair, ``(bands, 2, *shape)``.
        """
        if self.levels:
            return 1 - 2 * (uniform((len(self.times), 2, *shape), draws) < 0.5).float()
        return normal((len(self.times), *shape), draws)

    def after(self, state: Tensor, seconds: Tensor, draws: Generator) -> Tensor:
        """Return the ``state`` that long later; ``seconds`` of all, or of each chip.

        ``seconds``: ``(*chips)``, in front of the two axes of an array.

        Exact however long it was: a normal band is an autoregression, a trap flips with the
        probability ``(1 - exp(-seconds / time)) / 2``.
        """
        times = torch.tensor(self.times, dtype=torch.float64)
        lags = seconds[..., None, None] / times.reshape(-1, *[1] * (state.dim() - 1))
        if self.levels:
            finely = torch.rand(state.shape, dtype=torch.float64, generator=draws)
            flips = finely < -0.5 * torch.expm1(-lags)
            return torch.where(flips, -state, state)
        kept, new = torch.exp(-lags), (-torch.expm1(-2 * lags)).sqrt()
        found = normal(tuple(state.shape), draws).to(state)
        return found.mul_(new.to(state)).addcmul_(kept.to(state), state)

    def value(self, state: Tensor, lag: float = 0.0) -> Tensor:
        """Return how far pairs of cells in ``state`` are off, in units of a pair's deviation.

        Like a ``state`` without its axis of bands (and of the two cells of a pair). ``lag``: what
        of it is expected to be left so many s later.
        """
        pairs = (state[:, 0] - state[:, 1]) / 2**0.5 if self.levels else state
        left = [math.sqrt(w) * math.exp(-lag / t) for t, w in self._each]
        found: Tensor = torch.tensordot(torch.tensor(left, dtype=state.dtype), pairs, 1)
        return found


def _gone(rate: float, end: float) -> float:
    """Return the integral of ``exp(-rate t)`` from zero to ``end``."""
    return -math.expm1(-rate * end) / rate


@runtime_checkable
class Spectrum(Protocol):
    """How the fluctuation of a cell is spread over frequencies."""

    @property
    def bands(self) -> Bands | None:
        """The bands that it is the sum of; None where every settling draws it anew."""


@dataclass(frozen=True)
class White:
    """Drawn anew in every settling, however soon one follows another."""

    @property
    def bands(self) -> None:
        """None."""
        return None


@dataclass(frozen=True)
class OneOverF(Numbers):
    """1/f noise: the variance lies between two frequencies, as much in every decade.

    ``low``, ``high``: the ends of the band, a decade apart or more. A sum of bands that are each
    normal, ``PER_DECADE`` a decade.

    >>> bands = OneOverF(1.0, 1e8).bands
    >>> round(bands.density(1e4) * 1e4 * math.log(1e8), 2)  # 1 / (f ln(high / low))
    1.0
    """

    low: float = number("hertz", least=POSITIVE)
    high: float = number("hertz", least=POSITIVE)

    def __post_init__(self) -> None:
        """Refuse a band that is empty, or too narrow for a sum of bands that each fall slowly."""
        super().__post_init__()
        if self.low * 10 > self.high:
            raise InputError(
                f"low must be below high, {self.high:g} Hz, by a decade or more, but is "
                f"{self.low:g} Hz"
            )

    @property
    def bands(self) -> Bands:
        """The bands, evenly spread in the logarithm."""
        wide = math.log(self.high / self.low)
        count = max(1, round(PER_DECADE * wide / math.log(10)))
        corners = [self.low * math.exp(wide * (i + 0.5) / count) for i in range(count)]
        return Bands(tuple(1 / (2 * math.pi * f) for f in corners), (1 / count,) * count)


@dataclass(frozen=True)
class TwoLevel(Numbers):
    """Random telegraph noise: one trap in every cell, filled half of the time.

    ``corner``: frequency above which the spectrum falls as 1/f^2, ``1 / (2 pi t)`` for a
    correlation time ``t``; a level is kept for ``2 t`` in the mean.

    >>> two = TwoLevel(1e3).bands
    >>> round(two.density(1e6) / two.density(2e6), 3)
    4.0
    """

    corner: float = number("hertz", least=POSITIVE)

    @property
    def bands(self) -> Bands:
        """The one band."""
        return Bands((1 / (2 * math.pi * self.corner),), (1.0,), levels=True)
