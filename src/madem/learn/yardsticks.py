"""Yardsticks: gradients and networks that no chip could have, to set results beside.

The references have the form of an estimator, so that any two can be compared. They need the
machine's equations, and so a simulated machine. None of them uses a contrast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from madem.errors import InputError
from madem.learn.estimators import Estimator, Gradient
from madem.machine import Settled, Simulated
from madem.network import Cost, Coupling, Network, Problem
from madem.solver import Solver, conjugate_gradients


@dataclass(frozen=True)
class Implicit:
    """Implicit differentiation at the free state: the exact gradient of the settled cost.

    ``H u = dC/ds`` on the nodes that are free to move, by conjugate gradients of at most ``steps``
    products, then ``dC/dtheta = u . d(force)/dtheta``. Both derivatives come from autograd on the
    pulls. Exact as far as the machine has settled.
    """

    steps: int = 2000

    def __call__(self, machine: Simulated, x: Tensor, target: Tensor, cost: Cost) -> Gradient:
        """Return the gradient of the batch-mean cost at input ``x``."""
        free = machine.settle(x)
        return self.at(machine, free, lambda y: cost.value(y, target).mean(-1).sum())

    def at(self, machine: Simulated, free: Settled, loss: Callable[[Tensor], Tensor]) -> Gradient:
        """Return the gradient of ``loss(outputs)`` at a free settling, by parameters and input."""
        states = [s.detach().requires_grad_() for s in free.rest.states]
        leaves, problem = _bound(machine, free.states[0])
        wanted = [*leaves, problem.x]
        with torch.enable_grad():
            total = loss(problem.output(states))
        slopes = _gradients(total, [*states, *wanted])
        onto, direct = slopes[: len(states)], slopes[len(states) :]
        mobile, _, stiffness, spread, gather = problem.linearised(states, None)
        onto = gather([torch.where(m, g, 0.0) for m, g in zip(mobile, onto, strict=True)])
        if not bool(free.converged.all()):
            raise InputError(
                f"{int((~free.converged).sum())} of {free.converged.numel()} samples "
                "did not settle: implicit differentiation holds at a minimum alone"
            )
        u = conjugate_gradients(stiffness, onto, self.steps, len(problem.batch))
        _check_solved(stiffness(u), onto, len(problem.batch))
        u = spread(u)
        fixed = [s.detach() for s in states]
        with torch.enable_grad():
            work = sum(
                (v * (problem.drive(i, fixed) - problem.loads[i] * s)).sum()
                for i, (v, s) in enumerate(zip(u, fixed, strict=True))
                if problem.sites[i].law.loaded
            )
        through = _gradients(work, wanted) if isinstance(work, Tensor) else direct
        *parts, by_x = [a + b for a, b in zip(through, direct, strict=True)]
        return Gradient(tuple(parts), free, by_x)


def _check_solved(found: Sequence[Tensor], wanted: Sequence[Tensor], axes: int) -> None:
    """Refuse a solve that stalled, as it does where the energy curves downwards."""
    left = sum((f - w).square().flatten(axes).sum(-1) for f, w in zip(found, wanted, strict=True))
    size = sum(w.square().flatten(axes).sum(-1) for w in wanted)
    if isinstance(left, Tensor) and isinstance(size, Tensor):
        worst = torch.where(size > 0, left / size, 0.0).sqrt()
        if not bool((worst < 1e-3).all()):
            raise InputError(
                f"at {int((~(worst < 1e-3)).sum())} of {worst.numel()} samples the free state is "
                "not a minimum of the energy (it curves downwards there), so it has no gradient"
            )


@dataclass(frozen=True)
class Unrolled:
    """Backpropagation through every sweep of the settling."""

    def __call__(self, machine: Simulated, x: Tensor, target: Tensor, cost: Cost) -> Gradient:
        """Return the gradient of the batch-mean cost at input ``x``."""
        leaves, problem = _bound(machine, x)
        with torch.enable_grad():
            rest = machine.solver.settle(problem)
            total = cost.value(problem.output(rest.states), target).mean(-1).sum()
        *parts, by_x = _gradients(total, [*leaves, problem.x])
        return Gradient(tuple(parts), machine.settle(x), by_x)


@dataclass(frozen=True)
class FiniteDifference:
    """Central differences of the settled cost, one parameter after another: slow, and obvious."""

    step: float = 1e-5

    def __call__(self, machine: Simulated, x: Tensor, target: Tensor, cost: Cost) -> Gradient:
        """Return the gradient of the batch-mean cost at input ``x``."""
        parameters = [p.detach().clone() for p in machine.parameters]

        def settled() -> Tensor:
            couplings = machine.couple(parameters)
            return settled_cost(machine.network, machine.solver, couplings, x, target, cost)

        slopes = []
        for parameter in parameters:
            flat, slope = parameter.view(-1), torch.zeros_like(parameter).view(-1)
            for i in range(flat.numel()):
                middle = flat[i].clone()
                costs = []
                for sign in (1, -1):
                    flat[i] = middle + sign * self.step
                    costs.append(settled())
                flat[i] = middle
                slope[i] = (costs[0] - costs[1]) / (2 * self.step)
            slopes.append(slope.view_as(parameter))
        return Gradient(tuple(slopes), machine.settle(x))


def _bound(machine: Simulated, x: Tensor) -> tuple[list[Tensor], Problem]:
    """Return leaves for the machine's parameters, and its problem bound to them and to a leaf x."""
    with torch.enable_grad():
        leaves = [p.detach().clone().requires_grad_() for p in machine.parameters]
        x = x.detach().clone().requires_grad_()
        return leaves, machine.network.bind(machine.couple(leaves), x)


def _gradients(total: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    """Return ``d total / d leaf`` for each leaf, zero where there is no way to it."""
    if not total.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    found = torch.autograd.grad(total, leaves, retain_graph=True, allow_unused=True)
    return [
        torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves, strict=True)
    ]


@dataclass(frozen=True)
class Agreement:
    """How an estimate compares with a reference, for one parameter.

    ``cosine`` of the angle between them, ``norm_ratio`` and ``relative_error``, both over the norm
    of the reference.
    """

    name: str
    cosine: float
    norm_ratio: float
    relative_error: float


def compare(
    machine: Simulated,
    x: Tensor,
    target: Tensor,
    cost: Cost,
    pair: tuple[Estimator, Estimator],
) -> list[Agreement]:
    """Return how the first estimator of ``pair`` agrees with the second, a line per parameter.

    Parameters are named by the number of their joint, from 1.
    """
    ours, theirs = (estimator(machine, x, target, cost).weights for estimator in pair)
    return agreements(machine.names, ours, theirs)


def agreements(
    labels: Sequence[str], ours: Sequence[Tensor], theirs: Sequence[Tensor]
) -> list[Agreement]:
    """Return how gradients agree with reference gradients.

    >>> agreements(["w"], [torch.tensor([2.0])], [torch.tensor([1.0])])[0].norm_ratio
    2.0
    """
    rows = []
    for label, mine, exact in zip(labels, ours, theirs, strict=True):
        a, b = mine.detach().double().flatten(), exact.detach().double().flatten()
        size, length = float(b.norm()), float(a.norm())
        error = float((a - b).norm())
        if size and length:
            rows.append(
                Agreement(label, float(a @ b) / (length * size), length / size, error / size)
            )
        else:
            rows.append(Agreement(label, float(size == length), float(size == length), error))
    return rows


def settled_cost(
    network: Network,
    solver: Solver,
    couplings: Sequence[Coupling],
    x: Tensor,
    target: Tensor,
    cost: Cost,
) -> Tensor:
    """Return the batch-mean cost at rest, differentiable through every sweep of the settling.

    Summed over chips, so that each chip's weights receive their own gradient.
    """
    problem = network.bind(couplings, x)
    rest = solver.settle(problem)
    each = cost.value(problem.output(rest.states), target)
    return (each.mean(-1) if each.shape[-1] else each).sum()
