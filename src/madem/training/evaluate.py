"""What a machine has learned: scores of its decisions, without changing it."""

from __future__ import annotations

import torch
from torch import Tensor

from madem.machine import Machine
from madem.network import Cost, SquaredError
from madem.randomness import stream
from madem.training.plan import Plan

TOGETHER = 1000
"""How many samples settle at once."""


def outputs(plan: Plan, machine: Machine, x: Tensor, name: str) -> Tensor:
    """Return the free outputs for ``x``, ``(*ensemble, samples, outputs)``.

    ``x`` is of one set for all chips, ``(samples, *inputs)``, or each has its own. Reads draw from
    a stream of that ``name``, so that looking at a machine does not change its training.
    """
    watch = machine.watched(stream(plan.seed, plan.name, name))
    axis = -1 - len(plan.network.state_shapes[0])
    each = x if x.dim() + axis > 0 else x.expand(*plan.ensemble, *x.shape)
    return torch.cat([watch.settle(part).output for part in each.split(TOGETHER, axis)], -2)


def scores(plan: Plan, machine: Machine, x: Tensor, target: Tensor, name: str) -> Tensor:
    """Return the score of every sample, ``(*ensemble, samples)``, float64.

    One where the decision is right and zero where it is not; where numbers are predicted, the mean
    of their squared errors.
    """
    return score(plan.task.cost, outputs(plan, machine, x, name), target)


def score(cost: Cost, output: Tensor, target: Tensor) -> Tensor:
    """Return the score of every decision, ``(*ensemble, samples)``, float64.

    >>> score(SquaredError(), torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 1.0]])).tolist()
    [2.0]
    """
    if predicts(cost, target):
        return (output - target).double().square().mean(-1)
    goal = target.expand(output.shape if target.is_floating_point() else output.shape[:-1])
    return cost.correct(output, goal).double()


def predicts(cost: Cost, target: Tensor) -> bool:
    """Return whether ``target`` are numbers to predict, and not decisions to take."""
    return isinstance(cost, SquaredError) and target.is_floating_point()
