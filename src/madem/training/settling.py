"""How long chips take to settle, over all samples and chips at once, and what it costs.

``tau ds/dt = rest(s) - s``, where ``rest`` is what the lines ask of a neuron with one pole ``tau``.
It neglects the charging of wires, drivers and converters, and read noise; a readout's drivers
follow at once. ``madem.inspect.circuits.phases`` settles one circuit in full.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from madem.errors import InputError
from madem.learn import Contrast
from madem.ledger import Price, lasting
from madem.machine import Machine, Simulated
from madem.network import Nudge, Problem
from madem.solver import Sweep
from madem.training.assemble import chips_of
from madem.training.plan import Plan

SAMPLES = 256
BITS = 8
"""Resolution where converters are ideal: ours."""

SHARE = 0.95
STEP = 0.1
LONGEST = 200.0

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
    none is sensed; ``output``: of what a readout senses, which follows through a pole of its own.
    Steps of ``STEP`` by the exponential trapezoidal rule, exact where the rests stay. Raises
    ``InputError`` for what has not settled after ``LONGEST``.
    """
    rest = Sweep(1e-5, 500).settle(problem, nudge).states
    last, size = len(problem.sites) - 1, len(problem.batch)
    wanted = [*rest, problem.output(rest)]
    limits = [*tolerances, math.inf if output is None else output]
    loaded = [site.law.loaded for site in problem.sites]

    def asked(state: Sequence[Tensor]) -> list[Tensor]:
        units = [problem.rest(i, state[:-1], nudge) for i in range(last + 1)]
        return [*units, problem.drive(last, state[:-1]) if not loaded[last] else units[last]]

    def off(state: Sequence[Tensor]) -> Tensor:
        parts = [((s - w).abs() / t).flatten(size).amax(-1)
                 for s, w, t in zip(state, wanted, limits, strict=True)]  # fmt: skip
        return torch.stack(parts).amax(0)

    def driven(state: list[Tensor]) -> list[Tensor]:
        """Put what drives the lines of a readout there at once."""
        if not loaded[last]:
            state[last] = problem.rest(last, state[:-1], nudge)
        return state

    begun = [s.expand_as(r).clone() for s, r in zip(start, rest, strict=True)]
    state = driven([*begun, problem.output(begun)])
    if output is not None and nudge is None:
        state[-1] = torch.zeros_like(state[-1])
    kept, bend = math.exp(-STEP), (math.exp(-STEP) - 1 + STEP) / STEP
    before = off(state)
    settled = torch.where(before > 1, math.inf, 0.0)
    for step in range(int(LONGEST / STEP)):
        if bool((before <= 0.1).all()):
            return settled
        first = asked(state)
        ahead = driven([kept * s + (1 - kept) * r for s, r in zip(state, first, strict=True)])
        second = asked(ahead)
        changes = zip(ahead, first, second, strict=True)
        state = driven([a + bend * (g - f) for a, f, g in changes])
        now = off(state)
        share = before.log() / (before / now.clamp_min(1e-30)).log()
        settled = torch.where((before > 1) & (now <= 1), STEP * (step + share), settled)
        settled = torch.where(now > 1, math.inf, settled)
        before = now
    raise InputError(f"{int((before > 0.1).sum())} of {before.numel()} samples had not settled "
                     f"after {LONGEST:g} times the neurons' pole")  # fmt: skip


def settling(plan: Plan, machine: Machine, samples: int = SAMPLES) -> dict[str, Tensor]:
    """Return the settling times of both phases, s: free ``(chips, samples)``, each nudge as many.

    Until all that is converted stays within half a step of its converter, from rest: lines and
    neurons are off while one phase's states are converted, so that nothing is left of it when the
    next one begins. The nudges are the estimator's; the same samples and targets every time.
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
    goal = target.expand(*plan.ensemble, *target.shape)
    nudges = phases_of(plan, problem.output(rest), goal)
    found["nudged"] = torch.cat([
        follow(problem, nudge.through(periphery.drive), problem.zeros, tolerances)
        for nudge in nudges
    ], -1)  # fmt: skip
    return {phase: making.timing.tau * times.double() for phase, times in found.items()}


def phases_of(plan: Plan, output: Tensor, target: Tensor) -> list[Nudge]:
    """Return the nudges of the plan's estimator for free outputs, in the order it asks for them.

    Raises ``InputError`` for an estimator that does not contrast settlings of a fixed strength.
    """
    strengths, estimator = strengths_of(plan), plan.estimator
    assert isinstance(estimator, Contrast)
    push = estimator.pushing(plan.task.cost, output, target)
    return [push(strength * estimator.beta) for strength in strengths]  # type: ignore[operator]


def strengths_of(plan: Plan) -> list[float | complex]:
    """Return how strong the nudges of the plan's estimator are, in units of its beta.

    Raises ``InputError`` for an estimator that does not contrast settlings of a fixed strength.
    """
    estimator = plan.estimator
    if not isinstance(estimator, Contrast) or not isinstance(estimator.beta, float | int):
        raise InputError(
            f"estimator: {estimator} has no phases of a fixed strength, which could be settled one "
            "by one"
        )
    return list(dict.fromkeys(s for pair in estimator.pairs for s in pair[:2] if s))


def slow(times: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the time, s, within which ``SHARE`` of the settlings of each phase are over.

    >>> slow({"free": torch.linspace(0, 1, 101, dtype=torch.float64)})
    {'free': 0.95}
    """
    return {
        phase: round(float(torch.quantile(t.flatten().double(), SHARE)), 15)
        for phase, t in times.items()
    }


def prices_of(
    plan: Plan, prices: Mapping[str, Price], times: Mapping[str, float]
) -> dict[str, Price]:
    """Return the prices of a chip whose phases take ``times``, s."""
    making = chips_of(plan)
    bits, changed = making.periphery.adc_bits or BITS, dict(prices)
    for phase, seconds in times.items():
        text = (
            f"The {phase} phase takes {1e9 * seconds:.3g} ns: {100 * SHARE:g} % of the inputs "
            f"settle in it to half a step of {bits} bits, before and after training; one pole of "
            f"{1e9 * making.timing.tau:g} ns per neuron (ours), wires neglected."
        )
        changed = lasting(changed, dict.fromkeys(ITEMS[phase], seconds), text)
    return changed
