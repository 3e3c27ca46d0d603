"""A network as a circuit against the ideal machine: states, gradients, training, refusals."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from madem.device import load
from madem.errors import InputError
from madem.learn import (
    Contrast,
    Implicit,
    RelativeMove,
    centred,
    contrastive,
    currents,
    holomorphic,
    positive,
    springs,
)
from madem.machine import CircuitMachine, Exact, SignedPair, Simulated, Wired, verified
from madem.network import (
    Box,
    Conv,
    Cost,
    CrossEntropy,
    Free,
    Layer,
    Network,
    Readout,
    SquaredError,
    Wires,
)
from madem.randomness import stream
from madem.solver import Sweep
from tests.zoo import TIGHT, ZOO, batch_of, machine_of

CASES: dict[str, tuple[Contrast, Cost, float]] = {
    "pair": (centred(1e-3), CrossEntropy(), 1e-9),
    "hopfield": (centred(RelativeMove(1e-3)), CrossEntropy(), 1e-9),
    "readout": (centred(1e-3), CrossEntropy(), 1e-9),
    "resistive": (centred(1e-2), CrossEntropy(), 1e-3),  # real diodes give way by 1e-4
    "resistive-mirror": (centred(1e-2), CrossEntropy(), 1e-3),
    "single-diodes": (positive(1e-2), CrossEntropy(), 1e-6),
    "double-diodes": (centred(1e-2, springs), SquaredError(), 1e-6),
    "table": (contrastive(), SquaredError(), 1e-6),
}


def circuit_of(machine: Simulated) -> CircuitMachine:
    return CircuitMachine(machine.network, machine.stores)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_ideal_machine(name: str) -> None:
    estimator, cost, tolerance = CASES[name]
    (x, target), ideal = batch_of(name), machine_of(name)
    ours = estimator(circuit_of(ideal), x, target, cost)
    theirs = estimator(ideal, x, target, cost)
    assert bool(ours.free.converged.all())
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        assert float((a - b).norm()) < tolerance * float(b.norm())


def test_the_gradient_by_the_input() -> None:
    x, target = batch_of("pair")
    ideal = machine_of("pair")
    exact = Implicit()(ideal, x, target, CrossEntropy())
    machine = circuit_of(ideal)
    free = machine.settle(x)
    push = currents(CrossEntropy(), free.output, target)
    found = centred(1e-3).measure(machine, free, push, 1 / len(x), wants_x=True)
    assert found.x is not None
    assert exact.x is not None
    assert float((found.x - exact.x).norm() / exact.x.norm()) < 1e-9


def rings() -> tuple[Tensor, Tensor]:
    """Points inside and outside of a circle: no line parts them."""
    x = 2 * torch.rand(120, 2, generator=stream(0, "rings")) - 1
    return torch.cat([x, x.square()], 1), (x.norm(dim=1) > 0.75).long()


def trained(machine: CircuitMachine | Simulated) -> float:
    x, target = rings()
    for _ in range(40):
        gradient = centred(0.1)(machine, x, target, CrossEntropy())
        machine.write([-0.5 * g for g in gradient.weights])
    return float(CrossEntropy().correct(machine.settle(x).output, target).float().mean())


def test_two_layers_learn_as_well_as_the_ideal_ones() -> None:
    network = Network(4, (Layer(8, Box(0.0, 1.0)), Layer(2, Readout())))
    drawn = [network.initial(stream(0, "weights")) for _ in range(2)]
    ideal, machine = Simulated.ideal(network, drawn[0], TIGHT), Simulated.ideal(network, drawn[1])
    found = trained(ideal), trained(circuit_of(machine))
    assert found[0] == found[1] > 0.95
    for a, b in zip(ideal.parameters, machine.parameters, strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def pairs_of(network: Network, wired: Wired | None = None) -> list[SignedPair]:
    cell = load("taox-1t1m")
    return [
        SignedPair(
            cell, 0.2 * torch.randn(3, *shape, generator=stream(i, "w")), 100e-6, 20e-6,
            stream(i, "cells"), stream(i, "writes"), verified, wired,
        )
        for i, shape in enumerate(network.shapes)
    ]  # fmt: skip


@pytest.mark.parametrize("side", ["arrays", "outputs", "inputs"])
def test_three_chips_of_pairs_with_wires(side: str) -> None:
    """The weights that wires leave are followed by the simulated machine to a share of 1e-4."""
    network = Network(3, (Layer(4, Box()), Layer(2, Free())))
    stores = pairs_of(network, Wired(Wires(100.0, 100.0), side))  # type: ignore[arg-type]
    for store in stores:
        store.fluctuation = 0.0
    x = torch.rand(3, 6, 3)
    ours = CircuitMachine(network, stores).settle(x)
    theirs = Simulated(network, Sweep(1e-7, 300), stores).settle(x)
    bare = CircuitMachine(network, pairs_of(network)).settle(x)
    assert torch.allclose(ours.output, theirs.output, atol=3e-4)
    assert not torch.allclose(ours.output, bare.output, atol=1e-2)


def test_writes_and_states_are_seen() -> None:
    ideal, (x, _) = machine_of("pair"), batch_of("pair")
    machine = circuit_of(ideal)
    before, held = machine.settle(x).output, machine.state()
    machine.write([torch.full_like(p, 0.1) for p in machine.parameters])
    assert torch.allclose(machine.settle(x).output, ideal.settle(x).output, atol=1e-9)
    assert not torch.allclose(machine.settle(x).output, before, atol=3e-4)
    machine.restore(held)
    assert torch.equal(machine.settle(x).output, before)


def test_what_has_no_circuit_is_refused_in_one_line() -> None:
    def of(network: Network) -> CircuitMachine:
        drawn = zip(network.joints, network.initial(stream(0, "w")), strict=True)
        return CircuitMachine(network, [Exact(j, p) for j, p in drawn])

    with pytest.raises(InputError, match="law Tanh.* has no behavioural neuron"):
        of(ZOO["tanh"])
    with pytest.raises(InputError, match="only Dense joints have a circuit"):
        of(Network((1, 4, 4), (Layer((2, 2, 2), Box()),), (Conv(1, 2, 3),)))
    with pytest.raises(InputError, match="need conductances"):
        CircuitMachine(ZOO["pair"], machine_of("pair").stores, Wires(1.0, 1.0))
    x, target = batch_of("pair")
    with pytest.raises(InputError, match="no complex currents"):
        holomorphic(0.1)(circuit_of(machine_of("pair")), x, target, CrossEntropy())
