"""What the main job is measured against: the same networks trained digitally, on the same words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from madem.experiments.brailleconfig import Digital
from madem.experiments.build import Plan
from madem.learn import Digital as Recipe
from madem.learn import backpropagate
from madem.machine import Simulated
from madem.network import Matrix
from madem.randomness import stream
from madem.solver import Sweep
from madem.units import parse

OPTIMISERS: dict[str, Callable[[list[dict[str, Any]]], torch.optim.Optimizer]] = {
    "sgd": partial(torch.optim.SGD, foreach=True),
    "adam": partial(torch.optim.Adam, foreach=True),
}


def units_of(plan: Plan, how: Digital) -> list[float]:
    """Return the conductance of weight one of each layer, S, as ``how`` has it."""
    return [
        parse(text, "siemens", f"{plan.name}.units") for text in how.units or plan.training.units
    ]


def train_digitally(
    plan: Plan, how: Digital, name: str, tell: Callable[[int], None] = lambda _: None
) -> tuple[Tensor, ...]:
    """Return the weights of a network per chip trained as ``how`` says, ``(chips, post, pre + 1)``.

    As many samples as the chips see, drawn like theirs; first weights are normal with standard
    deviation ``gain / sqrt(lines)``. ``name`` names the streams of the draws.
    """
    units = units_of(plan, how)
    limits = [
        (plan.cell.high - plan.base) / unit if how.bounded else float("inf") for unit in units
    ]
    sigma = parse(how.noise, "siemens", f"{plan.name}.{name}.noise")
    first = stream(plan.seed, plan.name, name, "initial")
    data = stream(plan.seed, plan.name, name, "data")
    start = [
        (how.gain / shape[1] ** 0.5 * torch.randn(plan.chips, *shape, generator=first)).clamp(-m, m)
        for shape, m in zip(plan.network.shapes, limits, strict=True)
    ]

    def batch() -> tuple[Tensor, Tensor]:
        x, target, _ = plan.task.sample((plan.chips, plan.training.batch), data)
        return x, target

    recipe = Recipe(
        OPTIMISERS[how.optimiser],
        how.rates or plan.training.rates,
        limits,
        [sigma / unit for unit in units],
    )
    noise, steps = stream(plan.seed, plan.name, name, "noise"), plan.training.steps
    return backpropagate(plan.network, start, plan.task.cost, batch, recipe, noise, steps, tell)


def programmed(
    plan: Plan, networks: int | None = None, tell: Callable[[int], None] = lambda _: None
) -> Simulated:
    """Return the chips of ``plan`` with weights trained digitally for their range, written once.

    Trained as ``plan.training.ex_situ`` says: one network per chip, or ``networks`` of them, which
    the chips take in turn.
    """
    how, count = plan.training.ex_situ, networks or plan.chips
    trained = train_digitally(replace(plan, chips=count), how, "ex situ", tell)
    weights = [weight.repeat(plan.chips // count, 1, 1) for weight in trained]
    return plan.machine(weights, units_of(plan, how))


def ideal_output(plan: Plan, weights: tuple[Tensor, ...], x: Tensor) -> Tensor:
    """Return the outputs of the ideal network, shape ``(chips, samples, outputs)``."""
    problem = plan.network.bind([Matrix.of_lines(weight) for weight in weights], x)
    return problem.output(Sweep().settle(problem).states)
