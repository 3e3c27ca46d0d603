"""Activity differences against backpropagation through the settling and finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from madem.errors import InputError
from madem.learn import (
    Accumulate,
    Centred,
    Descent,
    OneSided,
    settled_cost,
    unrolled_gradient,
)
from madem.machine import Exact, Simulated
from madem.network import Cost, CrossEntropy, Logistic, Network
from madem.randomness import stream
from madem.solver import Sweep
from tests.network.test_energy import NETWORKS, inputs_of, weights_of

SOLVER = Sweep(tolerance=1e-15, budget=1000)


def case(name: str, cost: Cost) -> tuple[Network, list[Tensor], Tensor, Tensor]:
    network = NETWORKS[name]
    target: Tensor = torch.randint(3, (2, 7), generator=stream(0, "target"))
    if isinstance(cost, Logistic):
        target = torch.randn(2, 7, 3, generator=stream(0, "t"), dtype=torch.float64).sign()
    return network, weights_of(network), inputs_of(network), target


@pytest.mark.parametrize("cost", [CrossEntropy(), Logistic()], ids=["softmax", "logistic"])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("estimator", [Centred(1e-3), OneSided(1e-3)], ids=["centred", "one-sided"])
def test_gradient_is_that_of_backpropagation(
    name: str, cost: Cost, estimator: Centred | OneSided
) -> None:
    network, weights, x, target = case(name, cost)
    machine = Simulated(network, SOLVER, [Exact(w) for w in weights])
    measured = estimator(machine, x, target, cost).weights
    exact = unrolled_gradient(network, SOLVER, weights, x, target, cost)
    # one-sided: the update of a readout multiplies by the mean of free and nudged activities
    allowed = 1e-10 if isinstance(estimator, Centred) else 1e-2
    for ours, theirs in zip(measured, exact, strict=True):
        assert float((ours - theirs).norm() / theirs.norm()) < allowed


def test_one_sided_error_falls_with_beta() -> None:
    network, weights, x, target = case("readout", CrossEntropy())
    machine = Simulated(network, SOLVER, [Exact(w) for w in weights])
    exact = unrolled_gradient(network, SOLVER, weights, x, target, CrossEntropy())[1]
    errors = []
    for beta in (1e-2, 1e-3):
        ours = OneSided(beta)(machine, x, target, CrossEntropy()).weights[1]
        errors.append(float((ours - exact).norm()))
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.05)  # first order


def test_backpropagation_through_the_settling_against_finite_differences() -> None:
    network, weights, x, target = case("deep", CrossEntropy())
    exact = unrolled_gradient(network, SOLVER, weights, x, target, CrossEntropy())
    for layer, place in ((0, (0, 1, 2)), (1, (1, 2, 3)), (2, (0, 2, 4))):
        costs = []
        for step in (1e-6, -1e-6):
            moved = [w.clone() for w in weights]
            moved[layer][place] += step
            costs.append(float(settled_cost(network, SOLVER, moved, x, target, CrossEntropy())))
        slope = (costs[0] - costs[1]) / 2e-6
        assert float(exact[layer][place]) == pytest.approx(slope, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("beta", [0.0, -0.1, float("nan"), float("inf")])
@pytest.mark.parametrize("kind", [Centred, OneSided])
def test_beta_must_be_positive(kind: type[Centred] | type[OneSided], beta: float) -> None:
    with pytest.raises(InputError, match="beta must be positive, but is"):
        kind(beta)


def test_accumulate_asks_only_for_what_has_grown_and_forgets_it() -> None:
    rule = Accumulate((0.15,))
    memory = rule.init([torch.zeros(1, 3)])
    asked = torch.zeros(1, 3)
    for _ in range(10):
        wanted, memory = rule.update(memory, (torch.tensor([[0.04, -0.2, 0.0]]),), (1.0,))
        assert bool(((wanted[0] == 0) | (wanted[0].abs() > 0.15)).all())
        asked = asked + wanted[0]
    torch.testing.assert_close(asked + memory[0], torch.tensor([[-0.4, 2.0, 0.0]]))


def test_descent_asks_for_everything() -> None:
    wanted, _ = Descent().update((), (torch.tensor([[1.0, -2.0]]),), (0.1,))
    torch.testing.assert_close(wanted[0], torch.tensor([[-0.1, 0.2]]))
