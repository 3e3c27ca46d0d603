"""Digital training: what its recipe says, to the letter."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from madem.data.task import Finite
from madem.device import load
from madem.learn import Descent, centred
from madem.network import Box, Dense, Free, Layer, Network, Readout, SquaredError
from madem.randomness import stream
from madem.training import (
    Cells,
    Digital,
    Ideal,
    OnChips,
    Plan,
    Schedule,
    first_weights,
    train_digitally,
)

TWO = Network(
    4, (Layer(5, Box()), Layer(3, Readout())),
    (Dense((4,), 5, (0, 1)), Dense((5,), 3, (1, 2))),
)  # fmt: skip


def batch(seed: int) -> tuple[Tensor, Tensor]:
    """Return one batch of two networks."""
    draws = stream(seed, "batch")
    return torch.randn(2, 8, 4, generator=draws), torch.randint(3, (2, 8), generator=draws)


@dataclass(frozen=True)
class Given(Finite):
    """A task whose batches are those of ``batch``."""

    def batches(self, *_: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield them one after another."""
        return map(batch, range(1000))


@pytest.mark.parametrize("limit", [math.inf, 0.3])
def test_plain_descent_is_that_of_a_feed_forward_network(limit: float) -> None:
    """The same network in five lines of PyTorch, each of two stacked networks by itself."""
    steps, rates, sets = 20, (0.3, 0.2), [(torch.zeros(2, 4), torch.zeros(2).long())] * 3
    cells = Cells(load("ideal"), 0.0, (1e-4,))
    plan = Plan(
        "p", 0, Given(*sets, outputs=3), TWO, OnChips(2, cells), centred(1.0), Descent(),
        Schedule(steps, 8, rates),
    )  # fmt: skip
    start = first_weights(replace(plan, name="p.test"))
    assert not torch.equal(start[0][0][0], start[0][0][1])
    how = Digital(torch.optim.SGD, rates, (limit, limit), (0.0, 0.0))
    found = train_digitally(plan, how, "test")
    for chip in range(2):
        w, b, v, c = (p[chip].clone().clamp(-limit, limit) for mine in start for p in mine)
        held = [p.requires_grad_() for p in (w, b, v, c)]
        for step in range(steps):
            x, target = (part[chip] for part in batch(step))
            hidden = (x @ held[0].mT + held[1]).clamp(-1, 1)
            loss = torch.nn.functional.cross_entropy(hidden @ held[2].mT + held[3], target)
            slopes = torch.autograd.grad(loss, held)
            fall = (1 + math.cos(math.pi * step / steps)) / 2
            with torch.no_grad():
                for i, (p, slope) in enumerate(zip(held, slopes, strict=True)):
                    p.sub_(rates[i // 2] * fall * slope).clamp_(-limit, limit)
        ours = [p[chip] for mine in found for p in mine]
        for mine, theirs in zip(ours, held, strict=True):
            torch.testing.assert_close(mine, theirs.detach(), rtol=1e-4, atol=1e-5)


def test_noise_in_training_scatters_a_linear_fit_about_its_optimum() -> None:
    """Noise on the weights of a linear fit moves no optimum: what is learned only scatters."""
    line = Network(1, (Layer(1, Free()),))
    one = torch.ones(4, 1)
    task = Finite(*[(one, 2 * one)] * 3, outputs=1, cost=SquaredError())

    def fit(sigma: float, seed: int) -> float:
        plan = Plan(
            "p", seed, task, line, Ideal(), centred(1.0), Descent(), Schedule(200, 4, (0.1,))
        )
        how = Digital(torch.optim.SGD, (0.1,), (math.inf,), (sigma,), 0.0)
        (found,) = train_digitally(plan, how, "test")
        return float(sum(p.sum() for p in found))

    assert fit(0.0, 0) == pytest.approx(2.0, abs=1e-3)
    noisy = torch.tensor([fit(0.5, seed) for seed in range(20)])
    assert 0.01 < float(noisy.std()) < 0.5
    assert float(noisy.mean()) == pytest.approx(2.0, abs=4 * float(noisy.std()) / 20**0.5)
