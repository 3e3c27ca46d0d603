"""The PyTorch bridge: gradients, dtypes, chains, conversion, hardware, refusals."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from madem.device import Cell
from madem.errors import InputError
from madem.learn import Implicit, centred
from madem.learn.convert import equilibrium
from madem.learn.module import Equilibrium
from madem.machine import SignedPair, Simulated, verified
from madem.network import Box, Free, Layer, Network
from madem.randomness import stream
from madem.solver import Sweep
from tests.zoo import ANALYTIC, SMOOTH, ZOO, batch_of, machine_of


def smooth_loss(y: Tensor) -> Tensor:
    return nn.functional.gelu(y).square().sum() + y[:, 0].sin().sum()


@pytest.mark.parametrize("name", sorted(ZOO))
def test_backward_fills_what_implicit_differentiation_gives(name: str) -> None:
    machine = machine_of(name, Sweep(1e-10, 5000))
    module = Equilibrium(machine, centred(1e-6 if name in SMOOTH else 1e-5))
    x = batch_of(name)[0].requires_grad_()
    smooth_loss(module(x)).backward()
    exact = Implicit().at(module.machine, module.settle(x.detach()), smooth_loss)
    assert x.grad is not None
    assert exact.x is not None
    for found, wanted in zip([*(p.grad for p in module.parameters()), x.grad],
                             [*exact.weights, exact.x], strict=True):  # fmt: skip
        assert found is not None
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-8)


def test_a_chain_of_blocks_trains_with_any_loss_and_optimiser() -> None:
    torch.manual_seed(0)
    blocks = [Network(8, (Layer(8, Box()), Layer(6, Free()))),
              Network(6, (Layer(5, Box()), Layer(4, Free())))]  # fmt: skip
    solver = Sweep(1e-4, 1000)
    net = nn.Sequential(
        nn.Linear(8, 8),
        Equilibrium(blocks[0], solver=solver),
        nn.LayerNorm(6),
        Equilibrium(blocks[1], solver=solver),
    )
    x = torch.rand(64, 8)
    target = x[:, :4] - x[:, 4:]
    optimiser = torch.optim.AdamW(net.parameters(), 2e-2)
    costs = []
    for _ in range(300):
        optimiser.zero_grad()
        cost = nn.functional.smooth_l1_loss(net(x), target)
        cost.backward()
        optimiser.step()
        costs.append(cost.item())
    assert costs[-1] < 0.5 * costs[0]
    again = nn.Sequential(
        nn.Linear(8, 8),
        Equilibrium(blocks[0], solver=solver, seed=1),
        nn.LayerNorm(6),
        Equilibrium(blocks[1], solver=solver),
    )
    again.load_state_dict(net.state_dict())
    torch.testing.assert_close(again(x), net(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_dtypes(dtype: torch.dtype) -> None:
    module = Equilibrium(Network(6, (Layer(5, Box(0.0, 1.0)), Layer(3, Free()))),
                         centred(0.05), Sweep(1e-2, 50)).to(dtype)  # fmt: skip
    y = module(torch.rand(4, 6, dtype=dtype))
    y.float().square().sum().backward()
    assert y.dtype == dtype
    assert all(p.grad is not None and p.grad.dtype == dtype for p in module.parameters())


def test_conductances_stay_within_their_limits() -> None:
    module = Equilibrium(machine_of("resistive"))
    with torch.no_grad():
        for p in module.parameters():
            p.fill_(-1.0)
    module(batch_of("resistive")[0])
    assert all(bool((p >= 0.01).all()) for n, p in module.named_parameters() if "weight" in n)


def test_warm_start_and_record() -> None:
    module = Equilibrium(machine_of("hopfield", Sweep(1e-9, 500)))
    x, _ = batch_of("hopfield")
    cold = module.settle(x)
    warm = module.settle(x, start=cold.rest.states)
    assert int(warm.rest.sweeps.max()) < int(cold.rest.sweeps.min())
    assert cold.energy.shape == (5,)
    torch.testing.assert_close(module(x, cold.rest.states), module(x))


def test_unsettled_samples_are_counted_and_warned_of_once() -> None:
    module = Equilibrium(machine_of("hopfield", Sweep(1e-9, 2)))
    x, _ = batch_of("hopfield")
    with pytest.warns(RuntimeWarning, match="5 of 5 samples did not settle to the tolerance"):
        module(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module(x)
    assert module.metrics == {"settled": 10, "unsettled": 10}


def test_the_same_module_runs_on_crossbars(cell: Cell) -> None:
    network = Network(6, (Layer(3, Free()),))
    store = SignedPair(cell, torch.zeros(2, 3, 7), 400e-6, 20e-6,
                       stream(0, "cells"), stream(0, "writes"), verified)  # fmt: skip
    machine = Simulated(network, Sweep(), [store], noise=stream(0, "noise"))
    module = Equilibrium(machine, centred(0.5))
    x = torch.rand(2, 32, 6, generator=stream(0, "x"))
    target = (x[..., :3] > 0.5).float()
    optimiser = torch.optim.SGD(module.parameters(), 2.0)
    costs = []
    for _ in range(40):
        optimiser.zero_grad()
        cost = (module(x) - target).square().mean()
        cost.backward()
        optimiser.step()
        module.commit()
        costs.append(cost.item())
    assert costs[-1] < 0.7 * costs[0]
    torch.testing.assert_close(next(module.parameters()).detach(), store.weight)


def test_second_derivatives_are_refused() -> None:
    module = Equilibrium(machine_of("pair"))
    x = batch_of("pair")[0].requires_grad_()
    with pytest.raises(InputError, match="has no second derivative"):
        torch.autograd.grad(module(x).sum(), x, create_graph=True)


def test_parameters_written_before_backward_are_refused() -> None:
    module = Equilibrium(ZOO["pair"])
    loss = module(torch.rand(2, 9)).sum()
    with torch.no_grad():
        next(module.parameters()).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_mismatched_dtype_is_named() -> None:
    with pytest.raises(InputError, match="x is torch.float32 on cpu, but parameter 1_weight is"):
        Equilibrium(machine_of("pair"))(torch.zeros(2, 9))


def test_a_sequential_becomes_an_equilibrium_of_the_same_shape() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(64, 8), nn.Hardtanh(0.0, 1.0), nn.Linear(8, 3),
    )  # fmt: skip
    module = equilibrium(model, (1, 8, 8), solver=Sweep(1e-4, 1000))
    assert module.network.state_shapes == ((1, 8, 8), (4, 4, 4), (8,), (3,))
    for ours, theirs in zip(module.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert module(torch.rand(2, 1, 8, 8)).shape == (2, 3)


REFUSED = {
    "depends on the other samples": nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)),
    "not monotonic": nn.Sequential(nn.Linear(4, 3), nn.GELU()),
    "draws new units": nn.Sequential(nn.Linear(4, 3), nn.Dropout()),
    "no energy for it here": nn.Sequential(nn.Linear(4, 3), nn.Bilinear(3, 3, 2)),
    "takes 5 inputs": nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(5, 2)),
    "has no image": nn.Sequential(nn.Linear(4, 4), nn.MaxPool2d(2)),
    "needs an image": nn.Sequential(nn.Conv2d(1, 2, 3)),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_has_no_energy_is_refused_with_the_reason(reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        equilibrium(REFUSED[reason], 4)


def test_analytic_is_smooth() -> None:
    assert ANALYTIC <= SMOOTH
