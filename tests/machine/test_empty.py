"""Batches of no samples: shapes are right, gradients zero, nothing unsettled, nothing written."""

from __future__ import annotations

import pytest
import torch

from madem.device import load
from madem.learn import (
    Equilibrium,
    Estimator,
    FiniteDifference,
    Implicit,
    OutputMove,
    RandomSign,
    Unrolled,
    centred,
    contrastive,
    coupled,
    holomorphic,
    negative,
    positive,
    richardson,
    springs,
)
from madem.ledger import Ledger, load_prices
from madem.machine import Periphery, SignedPair, Simulated, verified
from madem.machine.wired import Wired
from madem.network import (
    Box,
    CrossEntropy,
    Current,
    Free,
    Law,
    Layer,
    Network,
    Readout,
    SquaredError,
    Wires,
)
from madem.randomness import stream
from madem.solver import Anderson, Flow, Newton, OverRelaxed, Solver, Sweep, Synchronous
from tests.zoo import ANALYTIC, ZOO, batch_of, machine_of

QUICK = Sweep(1e-6, 50)
SOLVERS: list[Solver] = [
    QUICK, Sweep(0.0, 5), Synchronous(1e-6, 50), OverRelaxed(1e-6, 50), Anderson(1e-6, 50),
    Newton(1e-6, 50), Flow(1e-6, 50),
]  # fmt: skip
ESTIMATORS: dict[str, Estimator] = {
    "centred": centred(0.1),
    "positive": positive(0.1),
    "negative": negative(0.1),
    "richardson": richardson(0.1),
    "output move": centred(OutputMove(1e-2)),
    "random sign": RandomSign(0.1, stream(0, "sign")),
    "implicit": Implicit(),
    "unrolled": Unrolled(),
}


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
@pytest.mark.parametrize("name", ZOO)
def test_every_solver(name: str, solver: Solver) -> None:
    machine = machine_of(name, solver)
    settled = machine.settle(batch_of(name, 0)[0])
    for state, layer in zip(settled.rest.states, machine.network.layers, strict=True):
        assert state.shape == (0, *layer.shape)
    assert settled.rest.sweeps.shape == settled.rest.converged.shape == (0,)
    assert (machine.settled, machine.unsettled) == (0, 0)


def check(machine: Simulated, estimator: Estimator, name: str, squared: bool = False) -> None:
    x, target = batch_of(name, 0)
    found = estimator(machine, x, target, SquaredError() if squared else CrossEntropy())
    for weight, parameter in zip(found.weights, machine.parameters, strict=True):
        assert weight.shape == parameter.shape
        assert not bool(weight.any())
    assert machine.unsettled == 0


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", ZOO)
def test_every_estimator(name: str, estimator: str) -> None:
    check(machine_of(name, QUICK), ESTIMATORS[estimator], name)


@pytest.mark.parametrize("name", sorted(ANALYTIC))
def test_every_estimator_of_other_nudges(name: str) -> None:
    for estimator in (contrastive(), coupled(0.1), centred(0.1, springs)):
        check(machine_of(name, QUICK), estimator, name, squared=True)
    check(machine_of(name, QUICK), holomorphic(0.1), name)


def test_finite_differences() -> None:
    check(machine_of("pair", QUICK), FiniteDifference(), "pair")


@pytest.mark.parametrize("chips", [(), (2,)])
@pytest.mark.parametrize("last", [Readout(), Free()], ids=["readout", "free"])
@pytest.mark.parametrize("wired", [None, Wired(Wires(1.0, 1.0, 1.0, 1.0), seen=True)])
def test_chips(chips: tuple[int, ...], last: Law, wired: Wired | None) -> None:
    network = Network(6, (Layer(5, Box()), Layer(4, last)))
    stores = [
        SignedPair(
            load("taox-1t1m"), 0.1 * torch.randn(*chips, *shape, generator=stream(0, "w", i)),
            100e-6, 20e-6, stream(0, "c", i), stream(0, "wr", i), verified, wired,
        )
        for i, shape in enumerate(network.shapes)
    ]  # fmt: skip
    ledger = Ledger()
    machine = Simulated(network, QUICK, stores, Periphery(8, 8), stream(0, "n"), ledger)
    x, target = torch.zeros(*chips, 0, 6), torch.zeros(*chips, 0, dtype=torch.long)
    found = centred(0.3)(machine, x, target, CrossEntropy())
    assert [tuple(w.shape) for w in found.weights] == [(*chips, *s) for s in network.shapes]
    assert not any(bool(w.any()) for w in found.weights)
    push = torch.zeros(*chips, 0, 4)
    phases = machine.settle_each(found.free, [Current(b, push) for b in (0.1, -0.1)])
    assert machine.reaction(*phases).shape == x.shape
    before = [store.cells for store in stores]
    machine.write([-w for w in found.weights])
    assert all(torch.equal(b, store.cells) for b, store in zip(before, stores, strict=True))
    assert machine.unsettled == 0
    assert all(float(torch.as_tensor(count).sum()) == 0 for count, _ in ledger.totals.values())
    assert ledger.rows(load_prices())


def test_a_module() -> None:
    module = Equilibrium(Network(6, (Layer(5, Box(0.0, 1.0)), Layer(3, Free()))))
    x = torch.zeros(0, 6, requires_grad=True)
    out = module(x)
    out.sum().backward()
    assert out.shape == (0, 3)
    assert x.grad is not None
    assert x.grad.shape == (0, 6)
    assert not any(bool(p.grad is None or p.grad.any()) for p in module.parameters())
