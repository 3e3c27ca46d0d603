"""The PyTorch bridge: gradients, dtypes, chains, what others do to a module, refusals."""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import config
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils import parametrizations, prune

from madem.errors import InputError
from madem.learn import (
    Contrast,
    Equilibrium,
    Implicit,
    OutputMove,
    centred,
    contrastive,
    equilibrium,
    holomorphic,
    positive,
    richardson,
)
from madem.machine import Simulated
from madem.network import Box, Conv, Dense, Free, Layer, Network, Readout, Resistive, Shockley, Tanh
from madem.solver import (
    Anderson,
    Flow,
    Newton,
    OverRelaxed,
    Solver,
    Sweep,
    Synchronous,
)
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


def test_analytic_is_smooth() -> None:
    assert ANALYTIC <= SMOOTH


# --- the default nudge ---


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", sorted(ZOO))
def test_the_default_nudge_is_exact_for_every_energy(name: str, dtype: torch.dtype) -> None:
    double = dtype == torch.float64
    machine = machine_of(name, Sweep(1e-13 if double else 1e-6, 5000), dtype)
    module, x = Equilibrium(machine), batch_of(name)[0].to(dtype).requires_grad_()
    smooth_loss(module(x)).backward()
    same = [[p.double() for p in store.parameters] for store in machine.stores]
    ideal = Simulated.ideal(machine.network, same, Sweep(1e-13, 5000))
    exact = Implicit().at(ideal, ideal.settle(x.detach().double()), smooth_loss)
    limit = 1e-9 if double else 1e-3 if name == "custom" else 3e-5
    assert x.grad is not None
    assert exact.x is not None
    for found, wanted in zip([*(p.grad for p in module.parameters()), x.grad],
                             [*exact.weights, exact.x], strict=True):  # fmt: skip
        assert found is not None
        assert relative(found, wanted) < limit


THERMAL, SATURATION = 0.025852, 1e-9


def circuit(g1: np.ndarray, g2: np.ndarray, x: np.ndarray, unit: float) -> np.ndarray:
    """Outputs of resistors and antiparallel diodes on the hidden nodes, by Newton, in volts."""
    hidden, outputs = g1.shape[0], g2.shape[0]
    flow = SATURATION * unit
    v = np.zeros(hidden + outputs)
    for _ in range(400):
        h, y = v[:hidden], v[hidden:]
        into = g1 @ x - g1.sum(1) * h + g2.T @ y - g2.sum(0) * h - 2 * flow * np.sinh(h / THERMAL)
        slope = g1.sum(1) + g2.sum(0) + 2 * flow / THERMAL * np.cosh(h / THERMAL)
        matrix = np.block([[np.diag(slope), -g2.T], [-g2, np.diag(g2.sum(1))]])
        step = np.linalg.solve(matrix, np.concatenate([into, g2 @ h - g2.sum(1) * y]))
        v += step * min(1.0, 0.02 / np.abs(step).max())
        if np.abs(step).max() < 1e-15:
            return np.asarray(v[hidden:])
    raise AssertionError("Newton did not converge")


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3, 1e5], ids=lambda u: f"{1e-5 * u:g} S")
def test_a_network_in_siemens_has_the_gradient_of_its_circuit(unit: float) -> None:
    """Against finite differences of Kirchhoff's laws, solved here."""
    law = Shockley(SATURATION * unit, THERMAL, forward=True, backward=True)
    joints = Resistive((6,), 5, (0, 1)), Resistive((5,), 3, (1, 2))
    network = Network(6, (Layer(5, law), Layer(3, Free(leak=0.0))), joints)
    draws = np.random.default_rng(0)
    g1, g2 = (unit * 1e-5 * draws.uniform(0.05, 0.95, s) for s in ((5, 6), (3, 5)))
    x = draws.normal(size=6)
    module = Equilibrium(network, solver=Sweep(1e-13, 20_000)).double()
    with torch.no_grad():
        for name, p in module.named_parameters():
            held = {"1_weight": g1, "2_weight": g2}.get(name)
            p.copy_(torch.zeros_like(p) if held is None else torch.from_numpy(held))
    y = module(torch.from_numpy(x)[None])
    np.testing.assert_allclose(y.detach()[0], circuit(g1, g2, x, unit), rtol=1e-9)
    y.square().sum().backward()
    for label, g in (("1_weight", g1), ("2_weight", g2)):
        slope = np.zeros_like(g)
        for place in np.ndindex(g.shape):
            sides = []
            for sign in (1, -1):
                moved = g.copy()
                moved[place] *= 1 + sign * 1e-4
                pair = (moved, g2) if label == "1_weight" else (g1, moved)
                sides.append(np.square(circuit(*pair, x, unit)).sum())
            slope[place] = (sides[0] - sides[1]) / (2e-4 * g[place])
        found = dict(module.named_parameters())[label].grad
        assert found is not None
        assert relative(found, torch.from_numpy(slope)) < 1e-6


@pytest.mark.parametrize("size", [1e-6, 1e-2, 1e3, 1e6])
def test_the_unit_of_voltage_does_not_matter(size: float) -> None:
    """Ideal diodes are alike at every scale: gradients by weights scale with it, squared."""
    machine = machine_of("resistive", Sweep(1e-13, 5000))
    with torch.no_grad():
        for store in machine.stores:
            for p in store.parameters[1:]:
                p.zero_()
    x, grads = batch_of("resistive")[0].clone(), []
    x[0] = 0  # this sample rests at zero, where nothing but its own gradient has a unit
    for scale in (1.0, size):
        module = Equilibrium(machine)
        (module(scale * x) - scale).square().sum().backward()
        grads.append([p.grad for n, p in module.named_parameters() if "weight" in n])
    for one, other in zip(*grads, strict=True):
        assert one is not None
        assert other is not None
        assert relative(other / size**2, one) < 1e-9


@pytest.mark.parametrize("gain", [1.0, 1e5])
def test_a_readout_of_large_weights_does_not_overpower_what_is_below(gain: float) -> None:
    network = Network(9, (Layer(8, Tanh()), Layer(4, Readout())))
    module = Equilibrium(network, solver=Sweep(1e-13, 100)).double()
    with torch.no_grad():
        dict(module.named_parameters())["2_weight"].mul_(gain)
    x = batch_of("readout")[0]
    module(x).sin().sum().backward()
    held = [p.detach().requires_grad_() for p in module.parameters()]
    hidden = torch.tanh(nn.functional.linear(x, held[0], held[1]))
    nn.functional.linear(hidden, held[2], held[3]).sin().sum().backward()
    for ours, theirs in zip(module.parameters(), held, strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert relative(ours.grad, theirs.grad) < 1e-9


@pytest.mark.parametrize("factor", [1e-30, 1e-8, 1e8, 1e30])
def test_a_small_gradient_is_not_drowned_by_a_large_one(factor: float) -> None:
    module = Equilibrium(machine_of("hopfield", Sweep(1e-13, 5000)))
    x = batch_of("hopfield")[0].requires_grad_()
    weight = torch.ones(5, 1, dtype=torch.float64)
    (module(x).sin() * weight).sum().backward()
    alone, x.grad = x.grad, None
    weight[2] = factor
    (module(x).sin() * weight).sum().backward()
    assert alone is not None
    assert x.grad is not None
    for row in range(5):
        assert relative(x.grad[row] / float(weight[row]), alone[row]) < 1e-9


@pytest.mark.parametrize(
    ("name", "estimator"),
    [("hopfield", None), ("pair", None), ("readout", centred(0.3)), ("tanh", centred(0.3)),
     ("table", centred(OutputMove(0.1)))],
)  # fmt: skip
def test_the_gradient_does_not_depend_on_how_a_batch_is_split(
    name: str, estimator: Contrast | None
) -> None:
    """Neither where one sample weighs a million times the others, nor with a large nudge."""
    module = Equilibrium(machine_of(name, Sweep(1e-13, 5000)), estimator)
    x = batch_of(name, 6)[0]
    weight = torch.tensor([1.0, 1e6, 1.0, 1e-6, 1.0, 10.0], dtype=torch.float64)[:, None]
    slopes: list[list[Tensor]] = []
    for parts in ([list(range(6))], [[0, 1], [2], [3, 4, 5]]):
        module.zero_grad()
        for part in parts:
            (module(x[part]).sin() * weight[part]).sum().backward()
        slopes.append([p.grad for p in module.parameters() if p.grad is not None])
    for one, other in zip(*slopes, strict=True):
        assert relative(other, one) < 1e-9


# --- what others do to a module ---

SOLVERS: tuple[Solver, ...] = (
    Sweep(), Sweep(0.0, 3), Synchronous(), Flow(), OverRelaxed(), Anderson(), Newton(),
)  # fmt: skip


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
@pytest.mark.parametrize("name", sorted(ZOO))
def test_an_empty_batch_has_empty_outputs_and_no_gradient(name: str, solver: Solver) -> None:
    estimators = [None, centred(1e-3), centred(OutputMove(1e-3)), positive(0.1), richardson(0.1)]
    for estimator in [*estimators, *([holomorphic(0.1)] if name in ANALYTIC else [])]:
        module = Equilibrium(machine_of(name, solver), estimator)
        x = batch_of(name, 0)[0].requires_grad_()
        y = module(x)
        y.sum().backward()
        assert y.shape == (0, 4)
        assert x.grad is not None
        assert x.grad.shape == x.shape
        assert all(p.grad is not None and not p.grad.any() for p in module.parameters())


def two_layers() -> Equilibrium:
    return Equilibrium(Network(6, (Layer(5, Box(0.0, 1.0)), Layer(3, Readout()))))


def forward(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """What two layers with a readout compute: the forward pass of an ordinary network."""
    return nn.functional.linear(nn.functional.linear(x, w1, b1).clamp(0, 1), w2, b2)


@pytest.mark.parametrize("way", ["prune", "weight_norm", "spectral_norm"])
def test_pruned_and_normalised_parameters(way: str) -> None:
    torch.manual_seed(0)  # spectral_norm draws from there, and x must reach some hidden unit
    module = two_layers()
    if way == "prune":
        prune.l1_unstructured(module, "1_weight", 0.5)  # type: ignore[no-untyped-call]
    else:
        getattr(parametrizations, way)(module, "1_weight")
        module.eval()  # in training the spectral norm is estimated anew at every look
    x = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    module(x).square().sum().backward()
    found = [p.grad for p in module.parameters()]
    assert all(grad is not None for grad in found)
    module.zero_grad()
    held = [getattr(module, label) for label in module.labels]
    assert prune.is_pruned(module) == (way == "prune")  # type: ignore[no-untyped-call]
    if way == "prune":
        hook = next(iter(module._forward_pre_hooks.values()))
        hook(module, ())
        held = [getattr(module, label) for label in module.labels]
    y = forward(x, *held)
    torch.testing.assert_close(module(x), y)
    y.square().sum().backward()
    for grad, p in zip(found, module.parameters(), strict=True):
        assert grad is not None
        assert p.grad is not None
        assert relative(grad, p.grad) < 1e-5
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    optimiser.step()
    settled = module.settle(x).output
    torch.testing.assert_close(settled, module(x))


def test_autocast_computes_in_the_type_of_the_parameters() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 6), two_layers(), nn.Linear(3, 2))
    x = torch.rand(4, 6, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen = net[0](x)
        y = net[1](seen)
        y.retain_grad()
        cost = net[2](y).float().square().sum()
        cost.backward()  # within autocast, as some do
    assert seen.dtype == torch.bfloat16
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, forward(seen.float(), *net[1].parameters()))
    assert x.grad is not None
    held = [p.detach().requires_grad_() for p in net[1].parameters()]
    wanted = torch.autograd.grad(forward(seen.detach().float(), *held), held, y.grad)
    for p, theirs in zip(net[1].parameters(), wanted, strict=True):
        assert p.grad is not None
        assert relative(p.grad, theirs) < 1e-5


def test_autocast_takes_states_to_start_from_in_either_type() -> None:
    module = Equilibrium(machine_of("hopfield", Sweep(1e-6, 500), torch.float32))
    x = batch_of("hopfield")[0].float()
    begun = module.settle(x).rest.states
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for start in (begun, [state.bfloat16() for state in begun]):
            torch.testing.assert_close(module(x, start), module(x), rtol=1e-4, atol=1e-4)


def test_frozen_parameters_get_no_gradient() -> None:
    module = two_layers()
    first = next(module.parameters()).requires_grad_(False)
    module(torch.rand(4, 6)).sum().backward()
    assert first.grad is None
    assert sum(p.grad is not None for p in module.parameters()) == 3
    for p in module.parameters():
        p.requires_grad_(False)
    assert not module(torch.rand(4, 6)).requires_grad
    x = torch.rand(4, 6, requires_grad=True)
    module(x).sum().backward()
    assert x.grad is not None
    assert bool(x.grad.any())


def test_copies_and_checkpoints_are_independent_and_strict() -> None:
    module, x = two_layers(), torch.rand(4, 6)
    before = module(x).detach()
    copies = [copy.deepcopy(module), pickle.loads(pickle.dumps(module))]
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
    assert not module(x).any()
    for other in copies:
        assert torch.equal(other(x), before)
        other(x).sum().backward()
    assert list(module.state_dict()) == ["1_weight", "1_bias", "2_weight", "2_bias"]
    with pytest.raises(RuntimeError, match="Missing key"):
        module.load_state_dict({})
    with pytest.raises(RuntimeError, match="Unexpected key"):
        module.load_state_dict({**copies[0].state_dict(), "more": x})
    with pytest.raises(RuntimeError, match="size mismatch"):
        module.load_state_dict({**copies[0].state_dict(), "1_bias": x})


def test_a_module_used_twice_in_one_graph_and_backward_twice() -> None:
    module, x = two_layers(), torch.rand(4, 6)
    loss = module(x[:2]).square().sum() + module(x[2:]).square().sum()
    loss.backward(retain_graph=True)
    once = [p.grad.clone() for p in module.parameters() if p.grad is not None]
    loss.backward()
    for grad, p in zip(once, module.parameters(), strict=True):
        torch.testing.assert_close(p.grad, 2 * grad)
    module.zero_grad()
    module(x).square().sum().backward()
    for grad, p in zip(once, module.parameters(), strict=True):
        torch.testing.assert_close(p.grad, grad)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_no_number_is_refused_and_named(value: float) -> None:
    module = two_layers()
    y = module(torch.rand(4, 6))
    slope = torch.ones_like(y)
    slope[2, 1] = value
    with pytest.raises(InputError, match="NaN or infinity in 1 of 4 samples, the first of them 2"):
        y.backward(slope)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_transforms_of_functions_are_refused_in_words() -> None:
    module = two_layers()
    with pytest.raises(InputError, match="cannot be transformed by torch.func"):
        torch.func.vmap(module)(torch.rand(3, 2, 6))
    with pytest.raises(InputError, match="cannot be transformed by torch.func"):
        torch.func.grad(lambda x: module(x).sum())(torch.rand(2, 6))
    with forward_ad.dual_level(), pytest.raises(InputError, match="cannot be transformed"):
        module(forward_ad.make_dual(torch.rand(2, 6), torch.rand(2, 6)))


def test_images_as_outputs() -> None:
    network = Network((1, 5, 5), (Layer((2, 3, 3), Free()),), (Conv(1, 2, 3),))
    for estimator in (None, centred(OutputMove(0.1)), centred(0.1)):
        module, x = Equilibrium(network, estimator), torch.rand(3, 1, 5, 5)
        module(x).sin().sum().backward()
        held = [p.detach().requires_grad_() for p in module.parameters()]
        nn.functional.conv2d(x, *held).sin().sum().backward()
        for ours, theirs in zip(module.parameters(), held, strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_its_representation_names_layers_machine_cells_and_estimator() -> None:
    text = repr(two_layers())
    assert "6 -> 5 Box -> 3 Readout" in text
    assert "machine=ideal, Sweep(tolerance=0.0001, budget=300)" in text
    assert "cells=none" in text
    assert "estimator=centred(RelativeMove(share=None))" in text
    assert "positive(0.5)" in repr(Equilibrium(ZOO["pair"], positive(0.5)))


WRONG = {
    "must be a Network or a Machine, but is a int": lambda: Equilibrium(3),  # type: ignore[arg-type]
    "but is the class Network": lambda: Equilibrium(Network),  # type: ignore[arg-type]
    "a machine has its own": lambda: Equilibrium(machine_of("pair"), solver=Sweep()),
    "solver must be a Solver": lambda: equilibrium(nn.Sequential(nn.Linear(2, 1)), 2, solver="s"),  # type: ignore[arg-type]
    "must be a Contrast by currents": lambda: Equilibrium(ZOO["pair"], contrastive()),
    "but is Implicit": lambda: Equilibrium(ZOO["pair"], Implicit()),  # type: ignore[arg-type]
    "x must be a tensor, but is a ndarray": lambda: two_layers()(np.zeros((2, 6))),  # type: ignore[arg-type]
    r"x must have the shape \(batch, 6\), but has \(6,\)": lambda: two_layers()(torch.zeros(6)),
    "x is torch.int64": lambda: two_layers()(torch.zeros(2, 6, dtype=torch.long)),
    "x is torch.complex64": lambda: two_layers()(torch.zeros(2, 6, dtype=torch.complex64)),
    "x must be finite": lambda: two_layers()(torch.full((2, 6), math.nan)),
}


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Switch off the type checks of the test run, which would refuse before the code does."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("reason", WRONG)
def test_what_a_module_refuses_in_one_line(reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        WRONG[reason]()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_the_parameters_given_are_not_changed_by_training() -> None:
    network = Network(6, (Layer(3, Free()),), (Dense((6,), 3),))
    mine = network.initial(torch.Generator().manual_seed(0))
    held = [p.clone() for p in mine[0]]
    module = Equilibrium(Simulated.ideal(network, mine))
    module(torch.rand(2, 6)).sum().backward()
    torch.optim.SGD(module.parameters(), 1.0).step()
    assert all(torch.equal(a, b) for a, b in zip(mine[0], held, strict=True))


ROUND = torch.zeros(5, 3), torch.zeros(5, 2)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (ROUND[:1], "start must be states"),
        ((torch.zeros(5, 7), ROUND[1]), r"\(5, 7\)"),
        ((torch.zeros(4, 3), torch.zeros(4, 2)), r"\(4, 3\)"),
        ((ROUND[0] * math.nan, ROUND[1]), "start must be finite"),
    ],
)
def test_odd_starts_are_refused_in_words(start: Any, message: str) -> None:
    module = Equilibrium(Network(4, (Layer(3, Box(0.0, 1.0)), Layer(2, Free()))))
    for settle in (module, module.settle):
        with pytest.raises(InputError, match=message):
            settle(torch.rand(5, 4), start)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Tensor.to_sparse, "sparse"),
        (lambda x: x.to("meta"), "meta"),
        (lambda x: torch.nested.as_nested_tensor(list(x), layout=torch.jagged), "nested"),
        (Tensor.double, "move one with"),
    ],
)
def test_odd_tensors_are_refused_in_words(change: Callable[[Tensor], Any], message: str) -> None:
    module = Equilibrium(Network(4, (Layer(2, Free()),)))
    for settle in (module, module.settle):
        with pytest.raises(InputError, match=message):
            settle(change(torch.rand(5, 4)))


def test_thresholds_that_are_none_are_refused() -> None:
    module = Equilibrium(Network(4, (Layer(2, Free()),)))
    for threshold in (-1.0, math.inf, math.nan):
        with pytest.raises(InputError, match="threshold must be"):
            module.commit(threshold)


@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_what_does_not_settle_is_warned_of_at_the_users_line(phase: str) -> None:
    network = Network(4, (Layer(6, Box(0.0, 1.0)), Layer(3, Free())))
    module = Equilibrium(network, solver=Sweep(1e-12, 1 if phase == "forward" else 300))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        outputs = module(torch.rand(5, 4))
        module.machine.solver = Sweep(1e-12, 1)
        outputs.square().sum().backward()
    assert [warning.filename for warning in told] == [__file__]
    assert "readout=True" in str(told[0].message)
