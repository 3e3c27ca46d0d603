"""Yardsticks: gradients and networks that no chip could have, to set results beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from madem.errors import InputError
from madem.network import Cost, Dense, Network
from madem.solver import Sweep


def settled_cost(
    network: Network,
    solver: Sweep,
    weights: Sequence[Tensor],
    x: Tensor,
    target: Tensor,
    cost: Cost,
) -> Tensor:
    """Return the batch-mean cost at rest, differentiable through every sweep of the settling.

    Summed over chips, so that each chip's weights receive their own gradient.
    """
    problem = network.bind([Dense(weight) for weight in weights], x)
    rest = solver.settle(problem)
    return cost.value(problem.output(rest.states), target).mean(-1).sum()


def unrolled_gradient(
    network: Network,
    solver: Sweep,
    weights: Sequence[Tensor],
    x: Tensor,
    target: Tensor,
    cost: Cost,
) -> tuple[Tensor, ...]:
    """Return ``dC/d[W b]`` by backpropagation through the settling, one tensor a coupling."""
    leaves = [weight.detach().clone().requires_grad_() for weight in weights]
    settled_cost(network, solver, leaves, x, target, cost).backward()
    return tuple(leaf.grad for leaf in leaves if leaf.grad is not None)


def backpropagate(
    network: Network,
    weights: Sequence[Tensor],
    cost: Cost,
    batch: Callable[[], tuple[Tensor, Tensor]],
    steps: int,
    rate: float,
    tell: Callable[[int], None] = lambda _: None,
) -> tuple[Tensor, ...]:
    """Return ``weights`` after ideal digital training: backpropagation, Adam, one-cycle rate.

    ``weights``: one tensor ``(*chips, post, pre + 1)`` a coupling; ``batch`` returns inputs and
    targets; ``rate`` is the largest learning rate. Raises ``InputError`` where there are no steps.
    """
    if steps < 1:
        raise InputError(f"steps must be at least 1, but is {steps}")
    leaves = [weight.detach().clone().requires_grad_() for weight in weights]
    optimiser = torch.optim.Adam(leaves, lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=steps, pct_start=0.1
    )
    for step in range(steps):
        x, target = batch()
        loss = settled_cost(network, Sweep(), leaves, x, target, cost)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        tell(step + 1)
    return tuple(leaf.detach() for leaf in leaves)
