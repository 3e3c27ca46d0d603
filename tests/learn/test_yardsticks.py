"""Digital training: what its recipe says, to the letter."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from madem.errors import InputError
from madem.learn import Digital, backpropagate
from madem.network import Box, CrossEntropy, Free, Layer, Network, Readout, SquaredError
from madem.randomness import stream

TWO = Network(4, (Layer(5, Box()), Layer(3, Readout())))


def batches(seed: int) -> tuple[Tensor, Tensor]:
    """Return one batch of two networks."""
    draws = stream(seed, "batch")
    return torch.randn(2, 8, 4, generator=draws), torch.randint(3, (2, 8), generator=draws)


def weights(draws: torch.Generator) -> list[Tensor]:
    return [0.5 * torch.randn(2, *shape, generator=draws) for shape in TWO.shapes]


@pytest.mark.parametrize("limit", [math.inf, 0.3])
def test_plain_descent_is_that_of_a_feed_forward_network(limit: float) -> None:
    """The same network in five lines of PyTorch, each of two stacked networks by itself."""
    start, steps, rates = weights(stream(0, "first")), 20, (0.3, 0.2)
    count = iter(range(steps))
    found = backpropagate(
        TWO, start, CrossEntropy(), lambda: batches(next(count)),
        Digital(torch.optim.SGD, rates, (limit, limit), (0.0, 0.0)), stream(0, "noise"), steps,
    )  # fmt: skip
    for chip in range(2):
        first, second = (w[chip].clone().requires_grad_() for w in start)
        for step in range(steps):
            x, target = (part[chip] for part in batches(step))
            hidden = (x @ first[:, :-1].mT + first[:, -1]).clamp(-1, 1)
            loss = torch.nn.functional.cross_entropy(
                hidden @ second[:, :-1].mT + second[:, -1], target
            )
            slopes = torch.autograd.grad(loss, [first, second])
            fall = (1 + math.cos(math.pi * step / steps)) / 2
            with torch.no_grad():
                for w, slope, rate in zip((first, second), slopes, rates, strict=True):
                    w.sub_(rate * fall * slope).clamp_(-limit, limit)
        torch.testing.assert_close(found[0][chip], first.detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found[1][chip], second.detach(), rtol=1e-4, atol=1e-5)


def test_noise_in_training_scatters_a_linear_fit_about_its_optimum() -> None:
    """Noise on the weights of a linear fit moves no optimum: what is learned only scatters."""
    line = Network(1, (Layer(1, Free()),))
    x = torch.ones(1, 4, 1)

    def fit(sigma: float, seed: int) -> float:
        (found,) = backpropagate(
            line, [torch.zeros(1, 1, 2)], SquaredError(), lambda: (x, 2 * x),
            Digital(torch.optim.SGD, (0.1,), (math.inf,), (sigma,)), stream(seed, "noise"), 200,
        )  # fmt: skip
        return float(found.sum())

    assert fit(0.0, 0) == pytest.approx(2.0, abs=1e-3)
    noisy = torch.tensor([fit(0.5, seed) for seed in range(20)])
    assert 0.01 < float(noisy.std()) < 0.5
    assert float(noisy.mean()) == pytest.approx(2.0, abs=4 * float(noisy.std()) / 20**0.5)


def test_no_steps_are_refused() -> None:
    recipe = Digital(torch.optim.SGD, (0.1, 0.1), (1.0, 1.0), (0.0, 0.0))
    with pytest.raises(InputError, match="steps must be at least 1, but is 0"):
        backpropagate(
            TWO, weights(stream(0, "first")), CrossEntropy(), lambda: batches(0), recipe,
            stream(0, "noise"), 0,
        )  # fmt: skip
