"""Activity differences against implicit differentiation, unrolled settling, finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from madem.errors import InputError
from madem.learn import (
    Accumulate,
    Contrast,
    Descent,
    FiniteDifference,
    Implicit,
    OutputMove,
    RandomSign,
    Unrolled,
    centred,
    compare,
    contrastive,
    coupled,
    holds,
    holomorphic,
    negative,
    positive,
    richardson,
    springs,
)
from madem.machine import Simulated
from madem.network import (
    Amplified,
    Box,
    Cost,
    CrossEntropy,
    Dense,
    Free,
    Layer,
    Network,
    Readout,
    Resistive,
    SquaredError,
    diodes,
)
from madem.randomness import stream
from madem.solver import Sweep, Synchronous
from tests.zoo import ANALYTIC, SMOOTH, TIGHT, ZOO, batch_of, machine_of

COSTS = {"softmax": CrossEntropy(), "squares": SquaredError()}


def worst(name: str, ours: object, theirs: object, cost: Cost | None = None) -> float:
    """The largest relative error of a parameter's gradient."""
    x, target = batch_of(name)
    rows = compare(machine_of(name), x, target, cost or CrossEntropy(), (ours, theirs))  # type: ignore[arg-type]
    return max(row.relative_error for row in rows)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("name", sorted(set(ZOO) - SMOOTH))
def test_centred_is_exact_between_clamps(name: str, cost: str) -> None:
    assert worst(name, centred(1e-5), Implicit(), COSTS[cost]) < 1e-8


@pytest.mark.parametrize("name", ["pair", "readout", "conv-maximum", "resistive", "table"])
def test_springs_and_output_moves_are_exact_too(name: str) -> None:
    assert worst(name, centred(OutputMove(1e-6)), Implicit()) < 1e-8
    if name != "readout":  # outside the energy nothing holds the outputs against a spring
        errors = [
            worst(name, centred(b, springs), Implicit(), SquaredError()) for b in (1e-3, 1e-4)
        ]
        assert errors[0] / errors[1] == pytest.approx(100, rel=0.2)


@pytest.mark.parametrize("name", sorted(SMOOTH))
def test_observed_orders_in_beta(name: str) -> None:
    def order(make: Callable[[float], Contrast], beta: float) -> float:
        errors = [worst(name, make(b), Implicit()) for b in (beta, beta / 2)]
        return math.log2(errors[0] / errors[1])

    scale = 0.1 if name == "amplified" else 1.0  # currents count in units of the one energy
    assert order(positive, 1e-2 * scale) == pytest.approx(1, abs=0.1)
    assert order(negative, 1e-2 * scale) == pytest.approx(1, abs=0.1)
    assert order(centred, 1e-2 * scale) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("name", sorted(ANALYTIC))
def test_better_than_second_order(name: str) -> None:
    plain = worst(name, centred(3e-3), Implicit())
    assert worst(name, richardson(3e-3), Implicit()) < plain / 100
    assert worst(name, holomorphic(3e-3, 6), Implicit()) < plain / 1000


@pytest.mark.parametrize("name", sorted(set(ZOO) - {"conv-maximum", "conv"}))
def test_references_agree(name: str) -> None:
    assert worst(name, Unrolled(), Implicit()) < 1e-9


@pytest.mark.parametrize("name", ["pair", "custom", "softmax", "softmax-amplified"])
def test_implicit_against_finite_differences(name: str) -> None:
    assert worst(name, FiniteDifference(1e-6), Implicit()) < 1e-7


def test_feeble_feedback_gives_the_gradient_of_backpropagation() -> None:
    """What comes back through a stage is weakened: then the rest is the forward pass."""
    x, target = batch_of("feeble", 32)
    held = machine_of("feeble").parameters
    leaves = [p.detach().clone().requires_grad_() for p in held]
    s = x
    for weight, bias in zip(leaves[::2], leaves[1::2], strict=True):
        s = torch.nn.functional.linear(s, weight, bias)
        s = s if len(weight) == 4 else s.clamp(0, 1)
    wanted = torch.autograd.grad(CrossEntropy().value(s, target).mean(), leaves)
    below, stage, above = ZOO["feeble"].joints
    errors = []
    for gain in (1e-4, 1e-5):  # weak enough that no unit leaves or meets a limit
        network = replace(
            ZOO["feeble"],
            joints=(below, replace(stage, current_gain=gain), above),  # type: ignore[type-var]
        )
        machine = Simulated.ideal(network, [held[i : i + 2] for i in (0, 2, 4)], TIGHT)
        found = centred(1e-4 * gain)(machine, x, target, CrossEntropy()).weights
        errors.append(max(float((f - w).norm() / w.norm())
                          for f, w in zip(found, wanted, strict=True)))  # fmt: skip
    assert errors[0] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.1)


def test_feeble_feedback_reaches_the_lowest_layer() -> None:
    """Displacements fall by the gain from layer to layer, far below the tolerance."""
    hidden = tuple(Layer(8, Box(0.0, 1.0)) for _ in range(4))
    joints = [Dense((8,), 4 if i == 4 else 8, (i, i + 1), gain=2.0) for i in range(5)]
    fed = [Amplified(j, 1.0, 1e-4) if 0 < i < 4 else j for i, j in enumerate(joints)]
    network = Network(8, (*hidden, Layer(4, Readout())), tuple(fed))
    drawn = [[p.double() for p in mine] for mine in network.initial(stream(7, "feeble"))]
    x = torch.rand(16, 8, generator=stream(8, "feeble"), dtype=torch.float64)
    target = torch.arange(16) % 4
    beta = 1e-4 * network.shares[-1]  # of the one energy
    for solver in (Sweep(1e-4), Synchronous(1e-4)):
        machine = Simulated.ideal(network, drawn, solver)
        rows = compare(machine, x, target, CrossEntropy(), (centred(beta), Implicit()))
        assert max(row.relative_error for row in rows) < 1e-3


def test_random_sign_draws_both() -> None:
    draws = stream(0, "sign")
    x, target = batch_of("tanh")
    found = {
        round(float(RandomSign(0.1, draws)(machine_of("tanh"), x, target, CrossEntropy())
                    .weights[0].sum()), 9)
        for _ in range(12)
    }  # fmt: skip
    assert len(found) == 2


def test_contrastive_and_coupled_learning_descend() -> None:
    x, target = batch_of("pair", 32)
    for estimator in (contrastive(), coupled(0.1)):
        machine, costs = machine_of("pair"), []
        for _ in range(60):
            gradient = estimator(machine, x, target, SquaredError())
            costs.append(float(SquaredError().value(gradient.free.output, target).mean()))
            machine.write([-0.05 * g for g in gradient.weights])
        assert costs[-1] < 0.7 * costs[0]


def deep_resistive(hidden: int, gain: float) -> tuple[Network, float]:
    units = (784, *[256] * hidden, 10)
    joints = tuple(
        Resistive((a,), b, (i, i + 1), mirror=None if i else gain)
        for i, (a, b) in enumerate(pairwise(units))
    )
    layers = [Layer(n, diodes()) for n in units[1:-1]]
    return Network(784, (*layers, Layer(10, Free(leak=0.0))), joints), {1: 1.0, 2: 1.0, 3: 2.0}[
        hidden
    ]


@pytest.mark.parametrize(("hidden", "gain"), [(1, 480.0), (2, 2000.0), (3, 4000.0)])
def test_float32_keeps_the_first_layer_at_the_published_gains(hidden: int, gain: float) -> None:
    network, beta = deep_resistive(hidden, gain)
    drawn = network.initial(stream(0, "deep"))
    x = torch.rand(16, 784, generator=stream(1, "x")) * (torch.rand(16, 784) > 0.8)
    target = torch.randint(10, (16,), generator=stream(2, "t"))
    solver = Sweep(1e-6, 300)
    estimator = centred(1e-3 * beta)

    def gradient(dtype: torch.dtype) -> list[torch.Tensor]:
        machine = Simulated.ideal(network, [[p.to(dtype) for p in ps] for ps in drawn], solver)
        return list(estimator(machine, x.to(dtype), target, SquaredError()).weights)

    machine = Simulated.ideal(
        network, [[p.double() for p in ps] for ps in drawn], Sweep(1e-13, 3000)
    )
    exact = Implicit()(machine, x.double(), target, SquaredError()).weights
    for ours, theirs in zip(gradient(torch.float32), exact, strict=True):
        assert float((ours - theirs).norm() / theirs.norm()) < 1e-2


@pytest.mark.parametrize("beta", [0.0, -0.1, float("nan"), float("inf")])
@pytest.mark.parametrize("make", [centred, positive, negative, richardson, holomorphic, OutputMove])
def test_beta_must_be_positive(make: Callable[[float], object], beta: float) -> None:
    with pytest.raises(InputError, match="(beta|amount) must be positive, but is"):
        make(beta)


def test_springs_and_holds_want_squares() -> None:
    x, target = batch_of("pair")
    for pushing in (springs, holds):
        with pytest.raises(InputError, match="SquaredError alone, but the cost is CrossEntropy"):
            centred(0.1, pushing)(machine_of("pair"), x, target, CrossEntropy())


def test_a_spring_too_negative_is_refused() -> None:
    x, target = batch_of("hopfield")
    with pytest.raises(InputError, match="unbounded below: beta must be below 1"):
        centred(2.0, springs)(machine_of("hopfield"), x, target, SquaredError())


def test_strong_couplings_are_reported_not_hidden() -> None:
    machine = machine_of("recurrent", Sweep(1e-12, 50))
    machine.stores[-2].parameters[0].fill_(-5.0)  # units that push each other down
    x, target = batch_of("recurrent", 20)
    gradient = centred(0.01)(machine, x, target, CrossEntropy())
    assert machine.unsettled > 0
    assert not bool(gradient.free.rest.converged.all())
    with pytest.raises(InputError, match="not a minimum|did not settle"):
        Implicit()(machine, x, target, CrossEntropy())


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
