"""The physics against what it must obey: minima, reciprocity, finite differences."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from madem.errors import InputError
from madem.network import (
    Box,
    CrossEntropy,
    Dense,
    Free,
    Layer,
    Logistic,
    Network,
    Readout,
    dense_contrast,
)
from madem.randomness import stream
from madem.solver import Sweep

NETWORKS = {
    "linear": Network(5, (Layer(3, Free()),)),
    "readout": Network(5, (Layer(4, Box()), Layer(3, Readout()))),
    "deep": Network(5, (Layer(6, Box()), Layer(4, Box()), Layer(3, Free()))),
}


def weights_of(network: Network, scale: float = 0.3, chips: int = 2) -> list[Tensor]:
    draws = stream(0, "weights")
    return [
        scale * torch.randn(chips, *shape, generator=draws, dtype=torch.float64)
        for shape in network.shapes
    ]


def inputs_of(network: Network, chips: int = 2, batch: int = 7) -> Tensor:
    shape = (chips, batch, network.inputs)
    return torch.randn(shape, generator=stream(0, "x"), dtype=torch.float64)


@pytest.mark.parametrize("name", NETWORKS)
def test_rest_is_a_minimum_of_the_energy(name: str) -> None:
    network = NETWORKS[name]
    problem = network.bind([Dense(w) for w in weights_of(network)], inputs_of(network))
    rest = Sweep(tolerance=1e-13, budget=500).settle(problem)
    assert rest.converged
    lowest = problem.energy(rest.states)
    draws = stream(0, "moves")
    for _ in range(50):
        moved = [
            layer.law.rest(s + 1e-3 * torch.randn(s.shape, generator=draws, dtype=s.dtype))
            if layer.law.loaded
            else s
            for layer, s in zip(network.layers, rest.states, strict=True)
        ]
        assert bool((problem.energy(moved) >= lowest - 1e-14).all())


@pytest.mark.parametrize("name", NETWORKS)
def test_every_jump_lowers_the_energy(name: str) -> None:
    network = NETWORKS[name]
    problem = network.bind([Dense(w) for w in weights_of(network)], inputs_of(network))
    states = problem.start()
    energy = problem.energy(states)
    for index in [*problem.order] * 5:
        states[index] = problem.rest(index, states, None)
        lower = problem.energy(states)
        assert bool((lower <= energy + 1e-14).all())
        energy = lower


def test_pulls_are_minus_the_derivative_of_the_energy() -> None:
    network = NETWORKS["deep"]
    problem = network.bind([Dense(w) for w in weights_of(network)], inputs_of(network))
    states = [
        torch.randn(s.shape, generator=stream(0, "s", i), dtype=s.dtype).requires_grad_()
        for i, s in enumerate(problem.start())
    ]
    slopes = torch.autograd.grad(problem.energy(states).sum(), states)
    for index, (state, slope) in enumerate(zip(states, slopes, strict=True)):
        torch.testing.assert_close(problem.pull(index, states), state - slope)


def test_transposed_read_is_the_transpose() -> None:
    coupling = Dense(weights_of(NETWORKS["linear"])[0])
    pre = inputs_of(NETWORKS["linear"])
    post = torch.randn(2, 7, 3, generator=stream(0, "post"), dtype=torch.float64)
    bias = coupling.forward(torch.zeros_like(pre))
    across = (post * (coupling.forward(pre) - bias)).sum(-1)
    torch.testing.assert_close(across, (pre * coupling.backward(post)).sum(-1))


def test_contrast_is_the_difference_of_energy_slopes() -> None:
    def slope(pre: Tensor, post: Tensor) -> Tensor:
        weight = torch.zeros(2, 3, 6, dtype=torch.float64, requires_grad=True)
        (slopes,) = torch.autograd.grad(Dense(weight).energy(pre, post).mean(-1).sum(), weight)
        return slopes

    def draw(name: str, units: int) -> Tensor:
        return torch.randn(2, 7, units, generator=stream(0, name), dtype=torch.float64)

    high, low = (draw("pre high", 5), draw("post high", 3)), (draw("pre low", 5), draw("l", 3))
    expected = slope(*high) - slope(*low)
    torch.testing.assert_close(dense_contrast((high[0], low[0]), (high[1], low[1])), expected)


def test_contrast_keeps_a_small_difference_in_float32() -> None:
    # products of about one that differ by 1e-6: subtracted as they are, float32 keeps one digit
    pre = torch.ones(1, 4)
    high, low = torch.full((1, 2), 1.0 + 2.0**-20), torch.ones(1, 2)
    expected = torch.full((2, 5), -(2.0**-20))
    torch.testing.assert_close(dense_contrast((pre, pre), (high, low)), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("cost", [CrossEntropy(), Logistic()])
def test_cost_gradients(cost: CrossEntropy | Logistic) -> None:
    output = torch.randn(2, 5, 4, generator=stream(0, "y"), dtype=torch.float64)
    target: Tensor
    if isinstance(cost, CrossEntropy):
        target = torch.randint(4, (2, 5), generator=stream(0, "t"))
    else:
        target = torch.randn(2, 5, 4, generator=stream(0, "t"), dtype=torch.float64).sign()
    leaf = output.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(cost.value(leaf, target).sum(), leaf)
    torch.testing.assert_close(cost.gradient(output, target), slopes)


def test_missed_tolerance_is_reported() -> None:
    network = NETWORKS["deep"]
    couplings: Sequence[Dense] = [Dense(w) for w in weights_of(network, scale=3.0)]
    rest = Sweep(tolerance=1e-12, budget=2).settle(network.bind(couplings, inputs_of(network)))
    assert not rest.converged
    assert rest.sweeps == 2
    assert rest.residual > 1e-12


def test_readout_only_on_top() -> None:
    with pytest.raises(InputError, match="only the last layer can be a readout"):
        Network(2, (Layer(2, Readout()), Layer(2, Free())))
