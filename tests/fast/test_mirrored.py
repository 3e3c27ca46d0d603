"""Mirrored lines: the kernels of few samples against plain products."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from madem.fast.mirrored import FEW, Few, read
from madem.fast.native import kernels
from madem.network import Free, Layer, Move, Network, Resistive
from madem.network.couplings import displaced
from madem.network.resistors import Mirrored, Resistors
from tests.conftest import skip_without


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("instructions", ["baseline", "avx2", "avx512"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("pre", [1, 7, 16, 33, 150])
@pytest.mark.parametrize("samples", [1, 3, 8, 11])
def test_kernels(instructions: str, dtype: torch.dtype, pre: int, samples: int) -> None:
    skip_without(instructions)
    g, x = drawn(5, 2 * pre, dtype=dtype), drawn(samples, pre, dtype=dtype) - 0.3
    drive, load = x.new_empty(samples, 5), x.new_empty(5)
    arrays = (t.numpy() for t in (drive, load))
    kernels.read_mirrored(g.numpy(), x.numpy(), 3.0, *arrays, instructions)
    lines = 3.0 * torch.cat([x, -x], -1)
    close = 10 * pre * torch.finfo(dtype).eps
    torch.testing.assert_close(drive, lines @ g.mT, rtol=close, atol=close)
    torch.testing.assert_close(load, g.sum(-1), rtol=close, atol=close)

    change, middle = drawn(samples, 5, dtype=dtype) - 0.5, drawn(samples, 5, dtype=dtype)
    found = torch.full_like(g, torch.nan)
    arrays = (t.numpy() for t in (change, middle, x))
    kernels.contrast_mirrored(*arrays, 3.0, found.numpy(), instructions)
    branches = middle[:, :, None] - lines[:, None, :]
    torch.testing.assert_close(
        found, (change[:, :, None] * branches).sum(0), rtol=close, atol=close
    )


@pytest.mark.parametrize("samples", [1, FEW, FEW + 1])
@pytest.mark.parametrize("bias", [True, False])
def test_few_samples_or_many(samples: int, bias: bool) -> None:
    x, post = drawn(samples, 7), drawn(samples, 6)
    mirrored = read(Mirrored(drawn(6, 14), drawn(6) if bias else None, 2.0), x)
    assert (type(mirrored) is Few) == (kernels is not None and samples <= FEW)
    lines = Resistors(mirrored.g, mirrored.bias)
    doubled = torch.cat([2 * x, -2 * x], -1)
    torch.testing.assert_close(mirrored.pull(1, [x, post]), lines.pull(1, [doubled, post]))
    torch.testing.assert_close(mirrored.curvature(1), lines.curvature(1))
    up = Move(post, drawn(samples, 6) - 0.5, drawn(samples, 6) - 0.2, 0.7)
    found = mirrored.contrast([Move(x, scale=0.7), up])
    for part, wanted in zip(found, lines.contrast([Move(doubled, scale=0.7), up]), strict=True):
        torch.testing.assert_close(part, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gain_may_be_any_number(dtype: torch.dtype) -> None:
    g, x, post = drawn(6, 14, dtype=dtype), drawn(3, 7, dtype=dtype), drawn(3, 6, dtype=dtype)
    wanted = Resistors(g).pull(1, [torch.cat([2 * x, -2 * x], -1), post])
    network = Network(7, (Layer(6, Free()),), (Resistive((7,), 6, mirror=2.0, bias=False),))
    coupling = network.couple([[g]])[0]
    object.__setattr__(coupling, "gain", 2)  # a whole number, as where nobody checks types
    coupling = read(coupling, x)  # type: ignore[arg-type]
    torch.testing.assert_close(coupling.pull(1, [x, post]), wanted)
    torch.testing.assert_close(coupling.curvature(1), g.sum(-1))


def test_results_are_not_lost_in_a_copy() -> None:
    skip_without("baseline")
    g, x = drawn(6, 14), drawn(3, 7)
    with pytest.raises(TypeError):
        kernels.read_mirrored(g.numpy(), x.numpy(), 2.0, *(t.numpy() for t in (x.float(), g)), "")


def test_autograd_follows_few_samples() -> None:
    g, x = drawn(6, 14).requires_grad_(), drawn(2, 7)
    read(Mirrored(g, None, 2.0), x).pull(1, [x, drawn(2, 6)]).sum().backward()
    assert g.grad is not None
    with torch.no_grad():
        quiet = read(Mirrored(g, None, 2.0), x)
    assert quiet.curvature(1).requires_grad  # type: ignore[union-attr]
    torch.testing.assert_close(
        g.grad, 2 * torch.cat([drawn(2, 7), -drawn(2, 7)], -1).sum(0).expand(6, -1)
    )


def test_other_states_than_the_input_are_pulled_anew() -> None:
    g, x, other = drawn(6, 14), drawn(3, 7), drawn(3, 7) + 1
    plain = Mirrored(g, None, 2.0)
    mirrored = read(plain, x)
    for end, states in ((1, [other, drawn(3, 6)]), (0, [x, drawn(3, 6)])):
        torch.testing.assert_close(mirrored.pull(end, states), plain.pull(end, states))
        torch.testing.assert_close(mirrored.curvature(end), plain.curvature(end))
    moved = displaced(mirrored, [x, drawn(3, 6)])
    assert type(moved) is Mirrored
    torch.testing.assert_close(moved.pull(1, [other, drawn(3, 6)]), plain.pull(1, [other, other]))
