"""What all solvers share: sweep, measure the residual of every sample, stop, report.

A solver maps the states to new ones and may then choose, from both, where the next sweep starts.
The residual of a sample is the largest move of any unit in the last sweep, relative to the
sample's largest state; it is compared with the tolerance sample by sample. A displacement spreads
from the outputs, and may be far smaller in each layer below: its residual must meet the tolerance
in as many sweeps in a row as there are layers on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from madem.errors import InputError
from madem.network import Nudge, Problem

States = list[Tensor]
Start = Sequence[Tensor] | None
"""The states to begin from, zeros where None."""


@dataclass(frozen=True)
class Rest:
    """Where a solver stopped, a number per sample (shape ``(*chips, batch)``).

    ``sweeps``: passes over the layers until the residual met the tolerance, or until the budget;
    ``residual``: how far the units still moved in the last one, relative to the largest state;
    ``converged``: whether that met the tolerance (a tolerance of 0 asks for sweeps, not for rest).
    ``output``: what the output lines show where that lags behind the states.
    """

    states: tuple[Tensor, ...]
    sweeps: Tensor
    residual: Tensor
    converged: Tensor
    output: Tensor | None = None


Map = Callable[[Problem, States, Nudge | None], States]
"""One sweep: new states from old ones."""

Jump = Callable[[Problem, States, States, Nudge | None], States]
"""Where the next sweep starts: from the states before and after this one."""


def gauss_seidel(problem: Problem, states: States, nudge: Nudge | None) -> States:
    """Let the layers move one after another, each seeing those that moved before it."""
    states = list(states)
    for index in problem.order:
        states[index] = problem.rest(index, states, nudge)
    return states


def jacobi(problem: Problem, states: States, nudge: Nudge | None) -> States:
    """Let all layers move at once."""
    return [problem.rest(index, states, nudge) for index in range(len(states))]


def after(problem: Problem, before: States, now: States, nudge: Nudge | None) -> States:
    """Go on from where the sweep ended: no jump."""
    del problem, before, nudge
    return now


def relax(
    problem: Problem,
    nudge: Nudge | None,
    start: Start,
    tolerance: float,
    budget: int,
    sweep: Map = gauss_seidel,
    jump: Jump = after,
) -> Rest:
    """Return where ``problem`` comes to rest; with ``tolerance`` 0 after exactly ``budget`` sweeps.

    Raises ``InputError`` where states grow beyond all numbers: the energy is not bounded below.
    """
    states = list(problem.zeros if start is None else start)
    if problem.direct:
        return _settled(gauss_seidel(problem, states, nudge), problem)
    whole, rows = states, None
    residual = torch.full(problem.batch, torch.inf, device=states[0].device)
    sweeps = torch.zeros(problem.batch, dtype=torch.int32, device=states[0].device)
    met, reach = sweeps, problem.reach
    for count in range(1, budget + 1):
        now = sweep(problem, states, nudge)
        if not tolerance and count < budget:
            states = jump(problem, states, now, nudge)
            continue
        moved = residuals(problem.batch, states, now).to(residual.dtype)
        residual = moved if rows is None else residual.index_copy(0, rows, moved)
        met = torch.where(residual <= tolerance, met + 1, 0)
        sweeps = torch.where((sweeps == 0) & (met >= reach), count, sweeps)
        still = (met if rows is None else met[rows]) < reach
        left = int(still.sum())
        if left == 0 or count == budget:
            whole = _put(whole, rows, now)
            break
        if 2 * left <= still.numel() and jump is after and problem.separable:
            whole = _put(whole, rows, now)
            keep = still.nonzero()[:, 0]
            rows = keep if rows is None else rows[keep]
            problem, nudge = problem.take(keep), nudge.take(keep) if nudge else None
            now = [s[keep] for s in now]
        states = jump(problem, states, now, nudge)
    sweeps = torch.where(sweeps == 0, count, sweeps)
    if not all(bool(torch.isfinite(s).all()) for s in whole):
        raise InputError(
            "the states grow without bound: the energy is not bounded below "
            "(couplings too strong for layers without limits)"
        )
    at_rest = met >= reach if tolerance else torch.ones_like(met, dtype=torch.bool)
    return Rest(tuple(whole), sweeps, residual, at_rest)


def _settled(states: States, problem: Problem) -> Rest:
    """Return the record of a problem that one pass has solved exactly."""
    still = torch.zeros(problem.batch, device=states[0].device)
    return Rest(tuple(states), still.int() + 1, still, still == 0)


def _put(whole: States, rows: Tensor | None, part: States) -> States:
    """Return ``whole`` with the states of the samples ``rows`` replaced."""
    if rows is None:
        return part
    return [s.index_copy(0, rows, p) for s, p in zip(whole, part, strict=True)]


def residuals(batch: torch.Size, before: Sequence[Tensor], now: Sequence[Tensor]) -> Tensor:
    """Return the largest move of any unit of each sample, relative to its largest state."""
    moved = torch.zeros(batch, device=now[0].device, dtype=now[0].real.dtype)
    largest = torch.zeros_like(moved)
    for old, new in zip(before, now, strict=True):
        largest = torch.maximum(largest, _size(new, batch))
        if old is not new:
            moved = torch.maximum(moved, _size(new - old, batch))
    return torch.where(moved > 0, moved / largest, moved)


def _size(state: Tensor, batch: torch.Size) -> Tensor:
    """Return the largest magnitude of each sample."""
    axes = tuple(range(len(batch), state.dim()))
    return state.detach().abs().amax(axes).expand(batch)
