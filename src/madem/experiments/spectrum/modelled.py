"""Backpropagation through an ideal model of a chip: what rules with a model do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from madem.experiments.spectrum.imperfections import SETTLES
from madem.experiments.spectrum.joules import arithmetic
from madem.learn import Gradient
from madem.machine import Machine, Settled, Simulated
from madem.machine.base import silent
from madem.network import Cost
from madem.solver import Solver


@dataclass(frozen=True)
class Modelled:
    """Backpropagation through the weights that chips were asked to hold (``AsAsked``).

    At the states that they show, where these are ``measured``, else at those of an ideal network.
    For chains of arrays whose hidden units clip at 1 and whose outputs feed nothing back. States
    and errors come to rest as ``solver`` says.
    """

    measured: bool
    solver: Solver = SETTLES

    def __call__(self, machine: Machine, x: Tensor, target: Tensor, cost: Cost) -> Gradient:
        """Return the gradient of the batch-mean cost at input ``x``."""
        weights, up = machine.parameters, None
        matrices = [w[..., :-1] for w in weights]
        if self.measured:
            free = machine.settle(x)
        else:
            parts = [[w, b[..., -1]] for w, b in zip(matrices, weights, strict=True)]
            free = Simulated.ideal(machine.network, parts, self.solver).settle(x)
            assert isinstance(free, Settled)
            up = float(free.rest.sweeps.double().mean())
        slope = cost.gradient(free.output, target) / x.shape[-2]
        errors, down = backward(matrices, free.states[1:-1], slope, self.solver)
        if isinstance(machine, Simulated) and machine.listener is not silent:
            for event in arithmetic(machine.network, x.shape[-2], up, down):
                machine.listener(event)
        found = []
        for k, (error, below) in enumerate(zip(errors, free.states, strict=False)):
            lines = torch.cat([below, torch.ones_like(below[..., :1])], -1)
            each = error.mT @ lines
            if 0 < k < len(errors) - 1:  # both ends move
                each[..., :-1] += free.states[k + 1].mT @ errors[k - 1]
            found.append(each)
        return Gradient(tuple(found), free)


def backward(
    weights: Sequence[Tensor], hidden: Sequence[Tensor], slope: Tensor, solver: Solver
) -> tuple[list[Tensor], float]:
    """Return the cost's gradient by the current into each layer, and in how many sweeps it rests.

    ``weights``: ``(*chips, post, pre)`` of every joint; ``hidden``: states, those at their limit
    held there; ``slope``: of the cost by the outputs. Hidden layers feed each other, and so do
    their errors: one layer after another, from the outputs down, until they rest. Where a sample's
    would not, as at states that are measured far from a minimum of the model's energy, they are
    left as they were before a sweep moved them further than the one before. Each sample stops when
    it may; sweeps are the mean.
    """
    count, width = len(hidden), slope.shape[:-1]
    errors = [torch.zeros_like(s) for s in hidden]
    before, going = torch.full(width, torch.inf), torch.ones(width, dtype=torch.bool)
    taken = torch.ones(width, dtype=torch.float64)
    for sweep in range(1, solver.budget + 1):
        now = [*errors, slope]
        for k in reversed(range(count)):
            into = now[k + 1] @ weights[k + 1]
            if k and sweep > 1:
                into = into + now[k - 1] @ weights[k].mT
            now[k] = into * (hidden[k].abs() < 1)
        if count < 2:
            return now, 1.0
        taken[going] = sweep
        moved = largest([n - e for n, e in zip(now, errors, strict=False)])
        going = going & (moved <= before)
        errors = [torch.where(going[..., None], *e) for e in zip(now, errors, strict=False)]
        going = going & (moved > solver.tolerance * largest(errors))
        if not bool(going.any()):
            break
        before = moved
    return [*errors, slope], float(taken.mean())


def largest(states: Sequence[Tensor]) -> Tensor:
    """Return the largest magnitude of each sample, over all layers."""
    return torch.stack([s.abs().amax(-1) for s in states]).amax(0)
