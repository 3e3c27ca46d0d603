"""Laws of nodes with non-linear devices to ground: Shockley diodes, a measured table.

Both obey ``network/laws.py``; they are smooth or piecewise, and never mere clips.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from madem.errors import InputError
from madem.network.laws import Curvature, Mover


@dataclass(frozen=True)
class Shockley:
    """A node with diodes to ground, ``i = I (exp(s / V) - 1)``, forward, backward or both.

    ``saturation`` is the current ``I``, A, and ``thermal`` the voltage ``V``, by default kT / q at
    300 K (CODATA 2019 constants). A forward diode limits the node from above, a backward one from
    below; both together are the antiparallel pair.

    >>> law = Shockley(1e-9, forward=True, backward=True)
    >>> s = law.rest(1e-3, torch.tensor([[1e-3]], dtype=torch.float64))
    >>> bool((1e-3 * s + 2e-9 * torch.sinh(s / law.thermal) - 1e-3).abs() < 1e-15)
    True
    """

    saturation: float
    thermal: float = 1.380649e-23 * 300 / 1.602176634e-19
    forward: bool = True
    backward: bool = False
    loaded: bool = True
    bound: None = None
    analytic: bool = True

    def __post_init__(self) -> None:
        """Refuse a diode that is none."""
        for name in ("saturation", "thermal"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise InputError(f"{name} must be positive, but is {value}")

    def _currents(self, at: Tensor) -> tuple[Tensor, Tensor]:
        """Return the saturation currents of both diodes as seen from the voltage ``at``."""
        rise = _within(at / self.thermal)
        up = self.saturation * self.forward * torch.exp(rise)
        down = self.saturation * self.backward * torch.exp(-rise)
        return up, down

    def rest(self, a: Curvature, d: Tensor) -> Tensor:
        """Return the voltage at which the load and the diodes carry ``d`` together."""
        return self.mover(torch.zeros_like(d), d)(a, d)

    def mover(self, at: Tensor, excess: Tensor) -> Mover:
        """Return ``u`` with ``a u + I+ expm1(u / V) - I- expm1(-u / V) = change``."""
        del excess
        up, down = self._currents(at)

        def move(a: Curvature, change: Tensor) -> Tensor:
            load = a.detach() if isinstance(a, Tensor) else a
            u = _diodes(load, change.detach(), up.detach(), down.detach(), self.thermal)
            # one more step of Newton's, for the last digits and for the derivative by a, d and at
            rise = _within(u / self.thermal)
            flow = a * u + up * torch.expm1(rise) - down * torch.expm1(-rise)
            slope = load + self.slope(at + u, u).detach()
            return u - (flow - change) / slope

        return move

    def slope(self, at: Tensor, excess: Tensor) -> Tensor:
        """Return the conductance of the diodes, S."""
        del excess
        up, down = self._currents(at)
        return (up + down) / self.thermal

    def energy(self, s: Tensor) -> Tensor:
        """Return the co-content of the diodes, the integral of the current by the voltage, W."""
        scaled = s / self.thermal
        up = self.forward * (torch.expm1(_within(scaled)) - scaled)
        down = self.backward * (torch.expm1(_within(-scaled)) + scaled)
        return self.saturation * self.thermal * (up + down)


def _within(exponent: Tensor) -> Tensor:
    """Return the exponent where its exponential is finite: no diode times infinity is NaN."""
    if exponent.is_complex():
        return exponent
    most = 80.0 if exponent.dtype != torch.float64 else 700.0
    return exponent.clamp(-most, most)


def _diodes(a: Curvature, d: Tensor, up: Tensor, down: Tensor, thermal: float) -> Tensor:
    """Solve for the voltage by Newton's method, kept in a bracket where voltages are real."""

    def both(v: Tensor) -> tuple[Tensor, Tensor]:
        rise = _within(v / thermal)
        flow = a * v + up * torch.expm1(rise) - down * torch.expm1(-rise) - d
        return flow, a + (up * torch.exp(rise) + down * torch.exp(-rise)) / thermal

    if d.is_complex():  # a small nudge: Newton from rest
        v = torch.zeros_like(d)
        for _ in range(60):
            flow, slope = both(v)
            v = v - flow / slope
        return v
    wide = d / a if isinstance(a, Tensor) or a else torch.full_like(d, math.inf) * d.sign()
    wide = torch.nan_to_num(wide, nan=0.0)
    high = torch.minimum(wide, thermal * torch.log1p(d / up)).where(d > 0, d * 0)
    low = torch.maximum(wide, -thermal * torch.log1p(-d / down)).where(d < 0, d * 0)
    v = torch.where(d > 0, high, low)
    for _ in range(100):
        flow, slope = both(v)
        high = torch.where(flow > 0, v, high)
        low = torch.where(flow < 0, v, low)
        step = v - flow / slope
        inside = (step >= low) & (step <= high)
        new = torch.where(inside, step, (low + high) / 2)
        done = bool(((new - v).abs() <= 4e-16 * v.abs() + 1e-30).all())
        v = new
        if done:
            break
    return v


def check_rising(points: Mapping[str, Sequence[float]]) -> None:
    """Refuse columns that are not two or more points, rising in each."""
    (one, first), (two, second) = points.items()
    if len(first) != len(second) or len(first) < 2:
        raise InputError(
            f"{one} and {two} must be two or more pairs, but are {len(first)} and {len(second)}"
        )
    for name, values in points.items():
        if any(not later > earlier for earlier, later in pairwise(values)):
            raise InputError(f"{name} must rise from point to point, but is {values}")


def piecewise(points: Tensor, values: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``values`` given at rising ``points``, and their slopes, linear between and beyond.

    >>> piecewise(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 1.0, 4.0]), torch.tensor([3.0]))
    (tensor([7.]), tensor([3.]))
    """
    slopes, piece = values.diff() / points.diff(), _piece(points, at)
    return values[piece] + slopes[piece] * (at - points[piece]), slopes[piece]


def _piece(points: Tensor, at: Tensor) -> Tensor:
    """Return the number of the piece in which each of ``at`` lies."""
    return torch.searchsorted(points[1:-1].contiguous(), at.detach().contiguous())


@dataclass(frozen=True)
class Table:
    """A node with a measured non-linear resistor to ground: current at given voltages.

    ``volts`` and ``amperes`` both rise, and hold the point (0, 0) or straddle it; between points
    the current is linear, beyond the ends it continues with the last slope.

    >>> law = Table((-1.0, 0.0, 1.0), (-1.0, 0.0, 3.0))
    >>> law.rest(1.0, torch.tensor([[2.0, -2.0]])).tolist()
    [[0.5, -1.0]]
    """

    volts: tuple[float, ...]
    amperes: tuple[float, ...]
    loaded: bool = True
    bound: None = None
    analytic: bool = False

    def __post_init__(self) -> None:
        """Refuse a table that no passive device could have."""
        check_rising({"volts": self.volts, "amperes": self.amperes})

    def _points(self, like: Tensor) -> tuple[Tensor, Tensor]:
        volts = torch.tensor(self.volts, dtype=like.dtype, device=like.device)
        return volts, torch.tensor(self.amperes, dtype=like.dtype, device=like.device)

    def current(self, s: Tensor) -> Tensor:
        """Return the current at the voltages ``s``, A."""
        return piecewise(*self._points(s), s)[0]

    def rest(self, a: Curvature, d: Tensor) -> Tensor:
        """Return the voltage at which the load and the device carry ``d`` together."""
        zero = torch.zeros_like(d)
        return self.mover(zero, zero)(a, d - self.current(zero))

    def mover(self, at: Tensor, excess: Tensor) -> Mover:
        """Return the displacement, exactly: the piece is searched, then one line is solved."""
        del excess
        volts, amperes = self._points(at)
        slopes = amperes.diff() / volts.diff()
        rises = volts - at[..., None]
        carried, own = amperes - self.current(at)[..., None], _piece(volts, at)

        def move(a: Curvature, change: Tensor) -> Tensor:
            load = (a if isinstance(a, Tensor) else torch.full_like(change, a)).expand_as(change)
            flows = load[..., None] * rises + carried
            piece = (change[..., None] > flows[..., 1:-1]).sum(-1)
            slope = load + slopes[piece]
            rise, flow = (of.gather(-1, piece[..., None])[..., 0] for of in (rises, flows))
            return torch.where(piece == own, change / slope, rise + (change - flow) / slope)

        return move

    def slope(self, at: Tensor, excess: Tensor) -> Tensor:
        """Return the differential conductance, S."""
        del excess
        return piecewise(*self._points(at), at)[1]

    def energy(self, s: Tensor) -> Tensor:
        """Return the integral of the current from zero, W."""
        volts, amperes = self._points(s)
        whole = (amperes[1:] + amperes[:-1]) / 2 * volts.diff()
        before = torch.cat([whole.new_zeros(1), whole.cumsum(0)])

        def integral(v: Tensor) -> Tensor:
            piece, width = _piece(volts, v), v - volts[_piece(volts, v)]
            slope = piecewise(volts, amperes, v)[1]
            return before[piece] + amperes[piece] * width + slope * width.square() / 2

        return integral(s) - integral(torch.zeros_like(s))
