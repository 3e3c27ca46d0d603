"""Two layers that only clip, in the form of the kernel ``native/relax_pair.inl``.

What has that form is known by its exact type: a subclass, or a coupling of one's own, may do
anything, and settles by the general sweep.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from madem.native import takes
from madem.network.couplings import Coupling, Matrix
from madem.network.laws import Box, Curvature, Free, Halves, Law
from madem.network.nudges import Current, Nudge, Spring
from madem.network.resistors import Resistors

if TYPE_CHECKING:
    from madem.network.problem import Problem, Site


Run = tuple[int, float, float, float]
"""So many units, and the lower limit, upper limit and leak of each."""


@dataclass(frozen=True)
class Nodes:
    """A layer that only clips: ``s = clip(ease (drive + pulls), low, high)``.

    ``drive``: a row per sample; ``ease``, ``low``, ``high``: one row for all of them.
    """

    drive: Tensor
    ease: Any
    low: Any
    high: Any

    @property
    def arrays(self) -> tuple[Any, ...]:
        """All four as arrays for a kernel, rows together."""
        drive = self.drive.detach()
        drive = drive if drive.stride(-1) == 1 else drive.contiguous()
        return drive.numpy(), self.ease, self.low, self.high


@dataclass(frozen=True)
class Pair:
    """Two layers that only clip, and the matrix ``(upper, lower)`` between them.

    ``nudge``: a current into the upper layer, one nudge's samples after another's; ``stiffness``:
    what each nudge adds to its load. Where ``at`` is given, states are displacements from it, at
    rest without a nudge.
    """

    weight: Tensor
    lower: Nodes
    upper: Nodes
    nudge: Tensor
    stiffness: tuple[float, ...]
    at: tuple[Tensor, ...]


@dataclass(frozen=True)
class Clipped:
    """A problem of two layers that only clip, whatever the nudge."""

    weight: Tensor
    lower: Nodes
    upper: Nodes

    def under(self, nudges: Sequence[Nudge | None], at: tuple[Tensor, ...]) -> Pair | None:
        """Return it under ``nudges``, None where one is neither a current nor a spring."""
        currents, stiffness = [], []
        for nudge in nudges:
            push = self._push(nudge, at)
            if push is None:
                return None
            currents.append(push[0])
            stiffness.append(push[1])
        current = torch.cat(currents) if len(currents) > 1 else currents[0]
        return Pair(self.weight, self.lower, self.upper, current, tuple(stiffness), at)

    def _push(self, nudge: Nudge | None, at: tuple[Tensor, ...]) -> tuple[Tensor, float] | None:
        """Return a nudge as a real current into the outputs and a stiffness, None if it is not."""
        drive, stiffness = self.upper.drive, 0.0
        if nudge is None:
            current = drive.new_zeros(1, drive.shape[-1])
        elif type(nudge) is Current:
            current = -nudge.beta * nudge.gradient
        elif type(nudge) is Spring:
            stiffness = nudge.stiffness
            current = stiffness * (nudge.target - at[1] if at else nudge.target)
            if stiffness < 0 and not (stiffness * self.upper.ease > -1).all():
                return None
        else:
            return None
        if current.is_complex():
            return None
        return current.to(drive.dtype).expand(drive.shape), stiffness


def clipped(problem: Problem) -> Clipped | None:
    """Return ``problem`` as two layers that only clip, None where it is anything else.

    Both layers are flat, one batch axis comes first, one matrix or one layer of resistors joins
    them, and all other couplings pull on them by the clamped input alone.
    """
    sites, fixed = problem.sites, problem.fixed
    flat = fixed[0].dim() == 2 and all(len(site.shape) == 1 for site in sites)
    if len(sites) != 2 or not flat or not takes(problem.x, *fixed):
        return None
    between = _between(problem)
    if between is None or between.dim() != 2:
        return None
    lower, upper = (_nodes(sites[i], fixed[i], problem.loads[i]) for i in (0, 1))
    return None if lower is None or upper is None else Clipped(between.contiguous(), lower, upper)


def _between(problem: Problem) -> Tensor | None:
    """Return what joins the two layers, None where there is more than that and the input."""
    between = None
    for coupling, ends in zip(problem.couplings, problem.ends, strict=True):
        if ends == (1, 2) and between is None:
            between = _weight(coupling)
            if between is None:
                return None
        elif any(ends[k] for end, at in enumerate(ends) if at for k in coupling.felt(end)):
            return None
    return between


def _weight(coupling: Coupling) -> Tensor | None:
    """Return what a matrix, or resistors, multiply states by."""
    if type(coupling) is Matrix:
        return coupling.weight
    return coupling.g if type(coupling) is Resistors else None


def _nodes(site: Site, drive: Tensor, load: Curvature) -> Nodes | None:
    """Return a layer under ``drive`` and ``load``, None where its law is no mere clip."""
    single = drive.dtype == torch.float32
    key = (load, single) if isinstance(load, float) else single
    if key not in site.rows:
        site.rows[key] = _rows(site.law, drive.shape[-1], load, np.float32 if single else float)
    if not site.rows[key]:
        return None
    ease, low, high, leak = site.rows[key]
    if isinstance(load, Tensor):
        ease = 1 / (leak + load.detach().numpy()).reshape(1, -1)
    return Nodes(drive, ease, low, high)


def _rows(law: Law, units: int, load: Curvature, kind: Any) -> list[Any]:
    """Return ease, lower limits, upper limits and leaks of a layer, a row each; none if no clip."""
    runs = _runs(law, units)
    if not runs:
        return []
    counts, *values = zip(*runs, strict=True)
    low, high, leak = (np.repeat(value, counts)[None] for value in values)
    with np.errstate(divide="ignore"):
        ease = 1 / (leak + (load if isinstance(load, float) else 0.0))
    return [np.asarray(row, kind) for row in (ease, low, high, leak)]


def _runs(law: Law, units: int) -> list[Run]:
    """Return the runs of equal units of a layer, none where its law is no mere clip."""
    if type(law) is Box:
        return [(units, law.low, law.high, law.leak)]
    if type(law) is Free:
        return [(units, -math.inf, math.inf, law.leak)]
    if type(law) is not Halves or law.axis != -1:
        return []
    first, second = (_runs(half, n) for half, n in zip(law.laws, law.sizes(units), strict=True))
    return first + second if first and second else []
