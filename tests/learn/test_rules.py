"""Rules: what is asked for adds up to what descent would ask for."""

from __future__ import annotations

import pytest
import torch

from madem.errors import InputError
from madem.learn import Accumulate, Descent, Sparse
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
    with pytest.raises(InputError, match="thresholds must be positive"):
        Sparse((0.1, 0.0), stream(0, "sparse"))
