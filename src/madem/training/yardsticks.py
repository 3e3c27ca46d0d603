"""What chips are measured against: the same network trained digitally, and programmed once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor

from madem.machine import Simulated
from madem.network import Joint, Network
from madem.randomness import normal, stream
from madem.solver import Sweep
from madem.training.assemble import Weights, chips_of, first_weights
from madem.training.plan import Plan

Optimiser = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Digital:
    """How a network is trained in exact numbers, on as many samples as the chips learn from.

    ``optimiser`` makes one of ``torch.optim`` from its groups of parameters; ``rates``: learning
    rates at the start, one per joint, falling to zero as a half cosine; ``limits``: largest
    magnitude of a parameter of each joint, infinite where it is free; ``noise``: standard deviation
    of what every weight is off, drawn anew in every step, so that what is learned forgives it;
    ``gain``: first weights are normal within ``gain / sqrt(inputs)``, or, where None, as the plan
    has them; ``units``: the conductance of weight one of every joint, S, where weights are
    programmed onto chips.
    """

    optimiser: Optimiser
    rates: Sequence[float]
    limits: Sequence[float]
    noise: Sequence[float]
    gain: float | None = None
    units: tuple[float, ...] = ()


def train_digitally(
    plan: Plan, how: Digital, name: str, tell: Callable[[int], None] = lambda _: None
) -> list[list[Tensor]]:
    """Return parameters of ``plan.network`` trained by backpropagation, one network per chip.

    The gradient is that of the cost at rest, through every sweep of the settling, with what the
    plan's schedule balances. As many samples as the plan's, drawn and rising like its own; ``name``
    names the streams of the draws; ``tell`` hears of every step.
    """
    network, schedule = plan.network, plan.schedule
    draws = {
        what: stream(plan.seed, plan.name, name, what) for what in ("initial", "data", "noise")
    }
    start = first_weights(replace(plan, name=f"{plan.name}.{name}"))
    if how.gain is not None:
        both = zip(network.joints, start, strict=True)
        start = [_normal(joint, mine, how.gain, draws["initial"]) for joint, mine in both]
    leaves = [[p.clone() for p in mine] for mine in start]
    confine(network, leaves, how.limits)
    for leaf in (leaf for mine in leaves for leaf in mine):
        leaf.requires_grad_()
    groups = [
        {"params": mine, "lr": rate} for mine, rate in zip(leaves, how.rates, strict=True) if mine
    ]
    optimiser = how.optimiser(groups)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, schedule.steps)
    batches = plan.task.batches((*plan.ensemble, schedule.batch), draws["data"], plan.seed, 0)
    for step, (x, target) in zip(range(schedule.steps), batches, strict=False):
        used = [
            [p + sigma * normal(tuple(p.shape), draws["noise"]) if sigma else p for p in mine]
            for mine, sigma in zip(leaves, how.noise, strict=True)
        ]
        problem = network.bind(network.couple(used), x * schedule.amplitude(step))
        rest = Sweep().settle(problem).states
        loss = plan.task.cost.value(problem.output(rest), target).mean(-1).sum()
        if schedule.balance:
            free = [x, *(s.detach() for s in rest)]
            both = zip(network.joints, leaves, strict=True)
            pairs = [(schedule.balancing(joint, free), p) for joint, mine in both for p in mine]
            loss = loss + sum((added * p).sum() for added, p in pairs)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        cosine.step()
        with torch.no_grad():
            confine(network, leaves, how.limits)
        tell(step + 1)
    return [[p.detach() for p in mine] for mine in leaves]


def _normal(joint: Joint, held: Sequence[Tensor], gain: float, draws: Generator) -> list[Tensor]:
    """Return the parameters of ``joint`` with its weights drawn anew."""
    drawn = []
    for p, shape in zip(held, joint.parameters.values(), strict=True):
        inputs = math.prod(shape[1:])
        drawn.append(gain / inputs**0.5 * normal(tuple(p.shape), draws) if len(shape) > 1 else p)
    return drawn


def confine(network: Network, held: Weights, limits: Sequence[float]) -> None:
    """Put the parameters of every joint back between its own limits and those given."""
    for joint, mine, limit in zip(network.joints, held, limits, strict=True):
        for p, name in zip(mine, joint.parameters, strict=True):
            low, high = joint.limits.get(name, (-math.inf, math.inf))
            p.clamp_(max(low, -limit), min(high, limit))


def programmed(
    plan: Plan,
    how: Digital,
    networks: int | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> Simulated:
    """Return the chips of ``plan`` with weights trained digitally as ``how`` says, written once.

    One network per chip, or ``networks`` of them, which the chips take in turn.
    """
    making = chips_of(plan)
    count = networks or making.chips
    few = replace(plan, making=replace(making, chips=count))
    trained = train_digitally(few, how, "ex situ", tell)
    weights = [[p.repeat(making.chips // count, *[1] * (p.dim() - 1)) for p in mine]
               for mine in trained]  # fmt: skip
    held = replace(making, cells=replace(making.cells, units=how.units))
    return held.assemble(plan, weights)


def ideal_outputs(plan: Plan, weights: Weights, x: Tensor) -> Tensor:
    """Return the outputs of the ideal network, shape ``(*ensemble, samples, outputs)``."""
    problem = plan.network.bind(plan.network.couple(weights), x)
    return problem.output(Sweep().settle(problem).states)
