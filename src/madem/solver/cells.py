"""Cells whose current is not proportional to their voltage, in crossbars with wires.

A cell is a curve ``i(g, v)``, increasing in ``v``. Newton's method replaces every cell by its
tangent at a voltage of its own, a conductance and a current source, and the crossbar of tangents is
linear: the kernel of ``wires.py`` solves it. Each input has tangents of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from madem.errors import InputError
from madem.network import Wires
from madem.network.diodes import check_rising, piecewise
from madem.solver.wires import Reading, check_tensors, chip_axes, drops


@runtime_checkable
class Curve(Protocol):
    """What a cell of conductance ``g``, S, at small voltages carries."""

    def flow(self, g: Tensor, volts: Tensor) -> tuple[Tensor, Tensor]:
        """Return current, A, and its slope, S, at ``volts``."""

    def limited(self, wanted: Tensor, before: Tensor) -> Tensor:
        """Return how far Newton's method may go towards ``wanted`` from ``before``: all the way.

        As suits slopes that are bounded, by pieces that are few or by a conductance in series.
        """
        del before
        return wanted


@dataclass(frozen=True)
class Sinh:
    """A cell whose current bends up, ``i = g V sinh(v / V)``; ``bend``: V, volts.

    >>> current, slope = Sinh(0.5).flow(torch.tensor(1e-4), torch.tensor([0.0, 0.5]))
    >>> [round(float(i) / 5e-5, 4) for i in current]
    [0.0, 1.1752]
    """

    bend: float

    def __post_init__(self) -> None:
        """Refuse a curve that does not increase."""
        if not self.bend > 0:
            raise InputError(f"bend must be positive, in volts, but is {self.bend}")

    def flow(self, g: Tensor, volts: Tensor) -> tuple[Tensor, Tensor]:
        """Return current and slope."""
        bent = (volts / self.bend).clamp(-80.0, 80.0)
        return g * self.bend * bent.sinh(), g * bent.cosh()

    def limited(self, wanted: Tensor, before: Tensor) -> Tensor:
        """Grow no faster than as the logarithm of the step, as the current does."""
        return _logarithmic(wanted, before, self.bend)


@dataclass(frozen=True)
class Measured(Curve):
    """A measured curve: ``i = g f(v)``, ``f`` linear between the points and beyond them.

    ``volts``: rising, V; ``flows``: currents at them over the conductance at small voltages, V,
    rising too. Raises ``InputError`` for others.

    >>> curve = Measured((-1.0, 0.0, 1.0), (-1.0, 0.0, 3.0))
    >>> curve.flow(torch.tensor(2.0), torch.tensor([0.5, -2.0]))[0]
    tensor([ 3., -4.])
    """

    volts: tuple[float, ...]
    flows: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse a curve that does not increase."""
        check_rising({"volts": self.volts, "flows": self.flows})

    def flow(self, g: Tensor, volts: Tensor) -> tuple[Tensor, Tensor]:
        """Return current and slope."""
        at, flows = (torch.tensor(p).to(volts) for p in (self.volts, self.flows))
        flow, slope = piecewise(at, flows, volts)
        return g * flow, g * slope


@dataclass(frozen=True)
class Selected(Curve):
    """A linear cell in series with a selector, ``i = I sinh(v / V)``; ``saturation`` A, ``bend`` V.

    The voltage divides as ``v = i / g + V asinh(i / I)``, which Newton's method solves.

    >>> curve = Selected(1e-8, 0.05)
    >>> g, volts = torch.tensor([[1e-4], [0.5]], dtype=torch.float64)
    >>> current, _ = curve.flow(g, volts)
    >>> bool(abs(current / g + 0.05 * (current / 1e-8).asinh() - volts) < 1e-12)
    True
    """

    saturation: float
    bend: float

    def __post_init__(self) -> None:
        """Refuse a selector that carries nothing."""
        for name in ("saturation", "bend"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be positive, but is {getattr(self, name)}")

    def flow(self, g: Tensor, volts: Tensor) -> tuple[Tensor, Tensor]:
        """Return current and slope, by Newton's method on ``u = asinh(i / I)``, which is convex."""
        scale, v = self.saturation / g.clamp_min(torch.finfo(g.dtype).tiny), volts.abs()
        u = torch.minimum(v / self.bend, (v / scale).asinh())
        for _ in range(30):
            off = scale * u.sinh() + self.bend * u - v
            u = (u - off / (scale * u.cosh() + self.bend)).clamp_min(0.0)
        current = self.saturation * u.sinh() * volts.sign()
        slope = self.saturation * u.cosh() / (scale * u.cosh() + self.bend)
        return torch.where(g > 0, current, 0.0), torch.where(g > 0, slope, 0.0)


def read_cells(
    g: Float[Tensor, "*chips m n"],
    v: Float[Tensor, "*any batch rows"],
    wires: Wires,
    curve: Curve,
    tolerance: float | None = None,
    budget: int = 60,
) -> Reading:
    """Drive the word lines of crossbars of non-linear cells with ``v``, V, as ``drops`` does.

    ``tolerance``: the largest move of a cell's voltage at which Newton's method stops, relative to
    the largest input; by default 1e-6 (float32) or 1e-11 (float64). ``iterations`` are Newton's,
    ``residual`` its last move. Autograd may listen. Raises ``InputError`` where ``budget``
    iterations do not suffice, by how much and where.

    >>> wires = Wires(1.0, 1.0, 1.0, 1.0)
    >>> found = read_cells(torch.tensor([[0.5]]), torch.tensor([[3.0]]), wires, Sinh(1.0))
    >>> round(float(found.currents), 3)  # 0.75 A if it were linear
    0.85
    """
    check_tensors({"g": g, "v": v})
    chips = chip_axes(g, v)
    if tolerance is None:
        tolerance = {torch.float32: 1e-6, torch.float64: 1e-11}[g.dtype]
    many = g[..., None, :, :].expand(*chips, v.shape[-2], *g.shape[-2:])
    single = v.expand(*chips, *v.shape[-2:]).unsqueeze(-2)
    size = max(float(v.detach().abs().max()) if v.numel() else 0.0, torch.finfo(v.dtype).tiny)

    def tangent(at: Tensor) -> tuple[Reading, Tensor]:
        """Solve the crossbar of the tangents at ``at``; return what the cells see, too."""
        current, slope = curve.flow(many, at)
        found = drops(slope, single, wires, (current - slope * at).unsqueeze(-1))
        assert found.across is not None
        return found, found.across.squeeze(-1)

    with torch.no_grad():
        at, taken = torch.zeros_like(many), 0
        moved = torch.full(many.shape[:-2], torch.inf, dtype=g.dtype, device=g.device)
        while taken < budget:
            taken += 1
            found, seen = tangent(at)
            ahead = curve.limited(seen, at)
            moved = (ahead - at).abs().amax((-2, -1)) / size
            at = ahead
            if bool((moved <= tolerance).all()):
                break
        else:
            missed = ~(moved <= tolerance)
            raise InputError(
                f"{int(missed.sum())} of {missed.numel()} reads did not come to rest within "
                f"{budget} iterations: cells still moved by {float(moved[missed].max()):.1e} of "
                f"the largest input; the first is (chip, input) {missed.nonzero()[0].tolist()}: "
                "ask for a larger budget or tolerance"
            )
    if torch.is_grad_enabled() and (g.requires_grad or v.requires_grad):
        found, seen = tangent(at)  # at rest a step of Newton's method has the whole derivative
    return replace(
        found,
        currents=found.currents.squeeze(-2),
        across=seen.movedim(-3, -1),
        iterations=torch.full_like(moved, taken, dtype=torch.int32),
        residual=moved,
    )


def _logarithmic(wanted: Tensor, before: Tensor, scale: float) -> Tensor:
    size = before.abs().clamp_min(scale)
    grown = size * (1 + (wanted.abs() / size).log1p())
    return torch.where(wanted.abs() > 2 * size, wanted.sign() * grown, wanted)
