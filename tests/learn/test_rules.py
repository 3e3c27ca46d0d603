"""Rules: what is asked for adds up to what descent would ask for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from madem.errors import InputError
from madem.learn import Accumulate, Adam, Descent, Momentum, Rule, Sparse
from madem.randomness import stream


def test_sparse_changes_are_right_on_average() -> None:
    gradient = torch.linspace(-0.9, 0.9, 19).expand(4000, 19)
    wanted, _ = Sparse((1.0,), stream(0, "sparse")).update((), (gradient,), (1.0,))
    share = gradient[0].abs()
    error = (share * (1 - share) / 4000).sqrt()
    assert bool(((wanted[0].mean(0) + gradient[0]).abs() <= 4 * error + 1e-7).all())
    assert set(wanted[0].abs().unique().tolist()) == {0.0, 1.0}


def test_sparse_leaves_large_changes_whole() -> None:
    gradient = torch.tensor([-3.0, 1.5, 0.0])
    wanted, _ = Sparse((1.0,), stream(0, "sparse")).update((), (gradient,), (1.0,))
    assert wanted[0].tolist() == [3.0, -1.5, 0.0]


def test_accumulated_changes_add_up_to_descent() -> None:
    draws = stream(0, "gradients")
    rule, plain = Accumulate((0.3,)), Descent()
    memory = rule.init([torch.zeros(50)])
    total, steady = torch.zeros(50), torch.zeros(50)
    for _ in range(40):
        gradient = torch.randn(50, generator=draws)
        wanted, memory = rule.update(memory, (gradient,), (0.1,))
        total, steady = total + wanted[0], steady + plain.update((), (gradient,), (0.1,))[0][0]
    torch.testing.assert_close(total + memory[0], steady)
    assert float(memory[0].abs().max()) <= 0.3


def test_a_threshold_must_be_one() -> None:
    with pytest.raises(InputError, match="threshold must be positive"):
        Sparse((0.1, 0.0), stream(0, "sparse"))
    with pytest.raises(InputError, match="threshold must be zero or positive, but is -1e-06"):
        Accumulate((0.1, -1e-6))
    assert Accumulate((0.0,)).thresholds == (0.0,)


def followed(rule: Rule, start: list[torch.Tensor], rates: tuple[float, ...]) -> list[torch.Tensor]:
    """Return the parameters after 50 steps down a bent valley, and the memory kept as tensors."""
    at, memory = [each.clone() for each in start], rule.init(start)
    for _ in range(50):
        wanted, memory = rule.update(memory, slopes(at), rates)
        at = [each + change for each, change in zip(at, wanted, strict=True)]
    assert all(isinstance(each, torch.Tensor) for each in memory)
    return at


def slopes(at: list[torch.Tensor]) -> list[torch.Tensor]:
    leaves = [each.detach().clone().requires_grad_() for each in at]
    first, second = leaves
    (
        ((first @ second).sin().square() + 0.1 * first.square()).sum() + second.cosh().sum()
    ).backward()
    return [each.grad for each in leaves if each.grad is not None]


@pytest.mark.parametrize(
    ("rule", "optimiser"),
    [
        (Descent(), torch.optim.SGD),
        (Momentum(0.8), lambda groups: torch.optim.SGD(groups, momentum=0.8)),
        (Adam(), torch.optim.Adam),
        (Adam(0.8, 0.95, 1e-3), lambda groups: torch.optim.Adam(groups, betas=(0.8, 0.95),
                                                                eps=1e-3)),
    ],
)  # fmt: skip
def test_rules_step_as_the_optimisers_of_torch(rule: Rule, optimiser: Any) -> None:
    draws = stream(0, "start")
    start = [torch.randn(4, 4, generator=draws, dtype=torch.float64) for _ in range(2)]
    rates = (0.01, 0.003)
    leaves = [each.clone().requires_grad_() for each in start]
    theirs = optimiser([{"params": [p], "lr": r} for p, r in zip(leaves, rates, strict=True)])
    for _ in range(50):
        for leaf, slope in zip(leaves, slopes(leaves), strict=True):
            leaf.grad = slope
        theirs.step()
    for ours, leaf, begun in zip(followed(rule, start, rates), leaves, start, strict=True):
        torch.testing.assert_close(ours, leaf.detach(), rtol=1e-6, atol=1e-6)
        assert float((ours - begun).abs().max()) > 0.01


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Momentum(1.0), "share must be at least 0 and below 1, but is 1.0"),
        (lambda: Adam(square_share=-0.1), "square_share must be at least 0 and below 1"),
        (lambda: Adam(mean_share=float("nan")), "mean_share must be at least 0 and below 1"),
        (lambda: Adam(epsilon=0.0), "epsilon must be positive, but is 0.0"),
    ],
)
def test_rules_that_cannot_be(made: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        made()
