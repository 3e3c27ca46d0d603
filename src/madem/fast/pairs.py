"""Two layers that only clip, by the kernel ``native/relax_pair.inl``.

What has that form is known by its exact type: a subclass, or a coupling of one's own, may do
anything, and settles by the general sweep.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from madem.fast.native import kernels, takes
from madem.network.couplings import Coupling, Matrix
from madem.network.laws import Box, Curvature, Free, Halves, Law
from madem.network.nudges import Current, Nudge, Spring
from madem.network.problem import Problem, Site
from madem.network.resistors import Resistors

Run = tuple[int, float, float, float]
"""So many units, and the lower limit, upper limit and leak of each."""

Found = tuple[tuple[Tensor, Tensor], Tensor, Tensor]
"""The states of both layers at rest, and of every sample its sweeps and its residual."""

Clipping = tuple[Any, Any, Any, Any]
"""Arrays of a layer ``s = clip(ease (drive + pulls), low, high)``: drive, ease, low and high.

The drive has a row a sample, the others one row for all of them.
"""

Form = tuple[Tensor, Clipping, Clipping]
"""The matrix ``(upper, lower)`` between two layers, and both."""


@dataclass(frozen=True)
class Bound(Problem):
    """A problem whose form for the kernel is found once; a changed copy finds its own."""

    @cached_property
    def form(self) -> Form | None:
        """The form that the kernel takes, None where the problem has another."""
        return _form(self)


def relax_pair(
    problem: Problem,
    nudges: Sequence[Nudge | None],
    start: Sequence[Tensor] | None,
    tolerance: float,
    budget: int,
    instructions: str = "",
) -> list[Found]:
    """Return where two layers come to rest under each nudge, nothing where the kernel cannot say.

    As block coordinate descent, but every sample stops on its own. Both layers are flat, one batch
    axis comes first, one matrix or one layer of resistors joins them, and all other couplings pull
    on them by the clamped input alone. ``start``, of one nudge alone, is where both layers begin,
    ``(batch, units)`` each; zeros by default. ``instructions`` names an instruction set, by default
    the best of the processor.
    """
    at_rest, at = problem.origin or problem, problem.at
    if not nudges or not takes(at_rest.x, *at_rest.fixed):
        return []
    form = at_rest.form if isinstance(at_rest, Bound) else _form(at_rest)
    if form is None or not takes(form[0]):
        return []
    weight, *layers = form
    pushes = [_push(nudge, at_rest.fixed[1], layers[1], at) for nudge in nudges]
    samples = len(at_rest.x)
    if None in pushes or weight.shape[0] > kernels.most_upper or not samples:
        return []
    currents, stiffness = zip(*pushes, strict=True)
    # arrays, not tensors: each of so many small steps costs less than in PyTorch
    rows, kind = samples * len(nudges), layers[0][0].dtype
    s, y = (np.empty((rows, units), kind) for units in reversed(weight.shape))
    if start is not None:
        s[:], y[:] = (state.detach().numpy() for state in start)
    sweeps, residual = np.empty(rows, np.int32), np.empty(rows, kind)
    origin: list[Any] = [state.detach().contiguous().numpy() for state in at] or [None, None]
    pushed = (torch.cat(currents) if len(currents) > 1 else currents[0]).detach().contiguous()
    kernels.relax_pair(
        weight.detach().numpy(), *layers, pushed.numpy(), stiffness, *origin,
        start is not None, s, y, sweeps, residual, tolerance, budget, instructions,
    )  # fmt: skip
    found = []
    for first in range(0, rows, samples):
        part = slice(first, first + samples)
        own = [torch.from_numpy(each[part]) for each in (s, y, sweeps, residual)]
        found.append(((own[0], own[1]), own[2], own[3]))
    return found


def _form(problem: Problem) -> Form | None:
    """Return the form that the kernel takes, None where the problem has another."""
    weight = _between(problem)
    if weight is None:
        return None
    each = zip(problem.sites, problem.fixed, problem.loads, strict=True)
    lower, upper = (_layer(*layer) for layer in each)
    return None if lower is None or upper is None else (weight.contiguous(), lower, upper)


def _between(problem: Problem) -> Tensor | None:
    """Return the matrix ``(upper, lower)`` that joins two flat layers, None where more does."""
    flat = all(len(site.shape) == 1 for site in problem.sites)
    if len(problem.sites) != 2 or problem.fixed[0].dim() != 2 or not flat:
        return None
    between = None
    for coupling, ends in zip(problem.couplings, problem.ends, strict=True):
        if ends == (1, 2) and between is None:
            between = _weight(coupling)
            if between is None or between.dim() != 2:
                return None
        elif any(ends[k] for end, at in enumerate(ends) if at for k in coupling.felt(end)):
            return None
    return between


def _weight(coupling: Coupling) -> Tensor | None:
    """Return what a matrix, or resistors, multiply states by."""
    if type(coupling) is Matrix:
        return coupling.weight
    return coupling.g if type(coupling) is Resistors else None


def _push(
    nudge: Nudge | None, drive: Tensor, upper: Clipping, at: tuple[Tensor, ...]
) -> tuple[Tensor, float] | None:
    """Return a nudge as a real current into the outputs and a stiffness, None if it is not."""
    stiffness = 0.0
    if nudge is None:
        return torch.zeros_like(drive), stiffness
    if type(nudge) is Current:
        current = -nudge.beta * nudge.gradient
    elif type(nudge) is Spring:
        stiffness = nudge.stiffness
        current = stiffness * (nudge.target - at[1] if at else nudge.target)
        if stiffness < 0 and not (stiffness * upper[1] > -1).all():
            return None
    else:
        return None
    if current.is_complex():
        return None
    return current.to(drive.dtype).expand(drive.shape), stiffness


def _layer(site: Site, drive: Tensor, load: Curvature) -> Clipping | None:
    """Return a layer under ``drive`` and ``load``, None where its law is no mere clip."""
    runs = _runs(site.law, drive.shape[-1])
    if not runs:
        return None
    kind = np.float32 if drive.dtype == torch.float32 else np.float64
    ease, low, high, leak = _rows(runs, load if isinstance(load, float) else 0.0, kind)
    if isinstance(load, Tensor):
        ease = 1 / (leak + load.detach().numpy()).reshape(1, -1)
    drive = drive.detach()
    return (drive if drive.stride(-1) == 1 else drive.contiguous()).numpy(), ease, low, high


@lru_cache
def _rows(runs: tuple[Run, ...], load: float, kind: Any) -> tuple[Any, ...]:
    """Return ease, lower limits, upper limits and leaks of a layer, a row each."""
    counts, *values = zip(*runs, strict=True)
    low, high, leak = (np.repeat(value, counts)[None] for value in values)
    with np.errstate(divide="ignore"):
        return tuple(np.asarray(row, kind) for row in (1 / (leak + load), low, high, leak))


def _runs(law: Law, units: int) -> tuple[Run, ...]:
    """Return the runs of equal units of a layer, none where its law is no mere clip."""
    if type(law) is Box:
        return ((units, law.low, law.high, law.leak),)
    if type(law) is Free:
        return ((units, -math.inf, math.inf, law.leak),)
    if type(law) is not Halves or law.axis != -1:
        return ()
    first, second = (_runs(half, n) for half, n in zip(law.laws, law.sizes(units), strict=True))
    return first + second if first and second else ()
