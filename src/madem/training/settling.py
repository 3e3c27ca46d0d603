"""How long chips take to settle, over all samples and chips at once, and what it costs.

One pole a neuron (``madem.solver.timed``), without read noise; ``madem.inspect.circuits.phases``
settles one circuit in full.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from types import MappingProxyType

import torch
from torch import Tensor

from madem.errors import InputError
from madem.learn import Contrast, Even, Measured
from madem.learn.strengths import evened
from madem.ledger import Price, lasting
from madem.machine import Machine, Simulated
from madem.network import Nudge, Problem
from madem.solver import Sweep
from madem.solver.timed import course
from madem.training.assemble import OnChips, chips_of
from madem.training.plan import Plan

SAMPLES = 256
"""Of the validation set, on every chip, where nothing else is asked for."""

BITS = 8
"""Resolution where converters are ideal: ours."""

SHARE = 0.95
"""Of the settlings of a phase that are over when the phase ends."""

STEP, LONGEST = 0.1, 200.0
"""Of the course of a settling, and where it is given up, in the neurons' pole."""

ITEMS = {
    "free": ("array read", "line drive", "neuron settling"),
    "nudged": ("nudged array read", "nudged line drive", "nudged neuron settling"),
}
"""What lasts as long as each phase, in the ledger."""


def follow(
    problem: Problem,
    nudge: Nudge | None,
    start: Sequence[Tensor],
    tolerances: Sequence[float],
    output: float | None = None,
) -> Tensor:
    """Return when every sample has settled, in units of ``tau``, ``(*chips, batch)``.

    ``start``: states of the layers at t = 0; ``tolerances``: of each layer's states, infinite where
    none is sensed; ``output``: of what a readout senses. Raises ``InputError`` for what has not
    settled after ``LONGEST``.
    """
    rest = Sweep(1e-5, 500).settle(problem, nudge).states
    size = len(problem.batch)
    wanted = [*rest, problem.output(rest)]
    limits = [*tolerances, math.inf if output is None else output]

    def off(state: Sequence[Tensor]) -> Tensor:
        parts = [((s - w).abs() / t).flatten(size).amax(-1)
                 for s, w, t in zip(state, wanted, limits, strict=True)]  # fmt: skip
        return torch.stack(parts).amax(0)

    states = course(problem, nudge, start, STEP)
    before = off(next(states))
    settled = torch.where(before > 1, math.inf, 0.0)
    for step, state in enumerate(islice(states, int(LONGEST / STEP))):
        if bool((before <= 0.1).all()):
            return settled
        now = off(state)
        share = before.log() / (before / now.clamp_min(1e-30)).log()
        settled = torch.where((before > 1) & (now <= 1), STEP * (step + share), settled)
        settled = torch.where(now > 1, math.inf, settled)
        before = now
    raise InputError(f"{int((before > 0.1).sum())} of {before.numel()} samples had not settled "
                     f"after {LONGEST:g} times the neurons' pole")  # fmt: skip


def settling(
    plan: Plan, machine: Machine, samples: int = SAMPLES, nudged: bool = True
) -> dict[str, Tensor]:
    """Return the settling times of both phases, s: free ``(chips, samples)``, each nudge as many.

    Until all that is converted stays within half a step of its converter, from rest: lines and
    neurons are off while one phase's states are converted, so that nothing is left of it when the
    next one begins. The nudges are the estimator's; the same samples and targets every time. Of an
    estimator that is not ``nudged`` the free phase alone.
    """
    making = chips_of(plan)
    assert isinstance(machine, Simulated)
    periphery = machine.periphery
    x, target = plan.held("validation")
    x, target = x[:samples], target[:samples]
    couplings = machine.couple(machine.parameters)
    problem = plan.network.bind(couplings, periphery.drive(x))
    laws = [site.law for site in problem.sites]
    half = 0.5 / ((1 << ((periphery.adc_bits or BITS) - 1)) - 1)
    wide = periphery.output_limit
    tolerances = [half * (wide if law.bound is None else law.bound) for law in laws]
    sensed = None
    if not laws[-1].loaded:  # driven when nudged, else sensed through a pole of its own
        sensed, tolerances[-1] = tolerances[-1], math.inf
    rest = Sweep(1e-5, 500).settle(problem).states
    found = {"free": follow(problem, None, problem.zeros, tolerances, sensed)}
    if nudged:
        goal = target.expand(*plan.ensemble, *target.shape)
        found["nudged"] = torch.cat([
            follow(problem, nudge.through(periphery.drive), problem.zeros, tolerances)
            for nudge in phases_of(plan, problem.output(rest), goal)
        ], -1)  # fmt: skip
    return {phase: making.timing.tau * times.double() for phase, times in found.items()}


def phases_of(plan: Plan, output: Tensor, target: Tensor) -> list[Nudge]:
    """Return the nudges of the plan's estimator for free outputs, in the order it asks for them.

    Raises ``InputError`` for an estimator that does not contrast settlings of a fixed strength.
    """
    strengths, estimator = strengths_of(plan), plan.estimator
    assert isinstance(estimator, Contrast)
    push, beta = estimator.pushing(plan.task.cost, output, target), estimator.beta
    if isinstance(beta, Even | Measured):
        push, _ = evened(push, output.dim() - len(plan.network.layers[-1].shape))
        beta = beta.amount
    return [push(strength * beta) for strength in strengths]  # type: ignore[operator]


def strengths_of(plan: Plan) -> list[float | complex]:
    """Return how strong the nudges of the plan's estimator are, in units of its beta.

    A measured one is that of the last calibration. Raises ``InputError`` for an estimator that does
    not contrast settlings of a fixed strength.
    """
    estimator, fixed = plan.estimator, float | int | Even
    known = fixed | Measured if isinstance(plan.making, OnChips) else fixed
    if not isinstance(estimator, Contrast) or not isinstance(estimator.beta, known):
        raise InputError(
            f"estimator: {estimator} has no phases of a fixed strength, which could be settled one "
            "by one"
        )
    return list(dict.fromkeys(s for pair in estimator.pairs for s in pair[:2] if s))


def settled_within(times: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the time, s, within which ``SHARE`` of the settlings of each phase are over.

    >>> settled_within({"free": torch.linspace(0, 1, 101, dtype=torch.float64)})
    {'free': 0.95}
    """
    return {
        phase: round(float(torch.quantile(t.flatten().double(), SHARE)), 15)
        for phase, t in times.items()
    }


def longer(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return how long each phase lasts, s, of chips ``before`` and ``after`` they learned."""
    return {phase: max(seconds, before[phase]) for phase, seconds in after.items()}


def cut_phases(plan: Plan) -> dict[str, float]:
    """Return how long each phase lasts, s, where the machine says so; else nothing."""
    making = plan.making
    if not isinstance(making, OnChips) or making.phases is None:
        return {}
    return dict(zip(ITEMS, making.phases, strict=True))


def prices_of(
    plan: Plan, prices: Mapping[str, Price], times: Mapping[str, float] = MappingProxyType({})
) -> dict[str, Price]:
    """Return the prices of a chip whose phases take ``times``, s, or what its machine says."""
    cut, changed = cut_phases(plan), dict(prices)
    for phase, seconds in {**times, **cut}.items():
        making = chips_of(plan)
        bits = making.periphery.adc_bits or BITS
        until = (
            "it ends there, whether all has settled or not" if cut else
            f"{100 * SHARE:g} % of the inputs settle in it to half a step of {bits} bits, before "
            "and after training"
        )  # fmt: skip
        text = (
            f"The {phase} phase takes {1e9 * seconds:.3g} ns: {until}; one pole of "
            f"{1e9 * making.timing.tau:g} ns per neuron (ours), wires neglected."
        )
        changed = lasting(changed, dict.fromkeys(ITEMS[phase], seconds), text)
    return changed
