"""Machines on another device than their generators: the same numbers, and nothing in two places."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from madem.data.words import Classify, Reconstruct
from madem.device import draw, drift, load
from madem.learn import centred
from madem.ledger import Ledger
from madem.machine import (
    Disturbed,
    Enduring,
    FastSlow,
    Periphery,
    SignedPair,
    Simulated,
    Spread,
    Train,
    Writing,
    draw_lines,
    single_pulse,
    verified,
)
from madem.network import (
    Box,
    Cost,
    CrossEntropy,
    Current,
    Free,
    Layer,
    Logistic,
    Network,
    Readout,
    SquaredError,
)
from madem.randomness import stream
from madem.solver import Anderson, Flow, OverRelaxed, Solver, Sweep, Synchronous
from tests.far import FAR, Away, elsewhere, near
from tests.zoo import ZOO, batch_of

SPREAD = Spread(0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1)
PRESETS = ["taox-1t1m", "cmo-hfox"]
TWO = Network(5, (Layer(4, Box()), Layer(3, Readout())))
THREE = Network(5, (Layer(4, Box()), Layer(4, Box()), Layer(3, Free())))


def chip(network: Network, device: torch.device, preset: str, writing: Writing) -> Simulated:
    """A noisy chip whose lines and cells were drawn, with all its tensors on ``device``."""
    stores = [
        SignedPair(
            load(preset),
            (0.3 * torch.randn(2, *shape, generator=stream(0, "w", i))).to(device),
            100e-6, 20e-6, stream(0, "c", i), stream(0, "wr", i), writing,
        )
        for i, shape in enumerate(network.shapes)
    ]  # fmt: skip
    lines = tuple(
        draw_lines(SPREAD, (2, *shape), stream(0, "l", i), device=device)
        for i, shape in enumerate(network.shapes)
    )
    periphery = Periphery(8, 8, lines=lines)
    return Simulated(network, Sweep(1e-3, 50), stores, periphery, stream(0, "noise"), Ledger())


def step(network: Network, device: torch.device, preset: str, writing: Writing) -> list[Tensor]:
    """Everything that a machine returns in two steps of training."""
    machine = chip(network, device, preset, writing)
    seen: list[Tensor] = []
    for k in range(2):
        x = torch.randn(2, 6, 5, generator=stream(k, "x")).to(device)
        target = torch.randint(3, (2, 6), generator=stream(k, "t")).to(device)
        found = centred(0.3)(machine, x, target, CrossEntropy())
        push = torch.ones(2, 6, 3).to(device)
        phases = machine.settle_each(found.free, [Current(b, push) for b in (0.3, -0.3)])
        machine.write([-w for w in found.weights])
        seen += [*found.weights, *found.free.states, found.free.output, machine.reaction(*phases),
                 found.free.energy, *machine.parameters]  # fmt: skip
    return seen


def agree(make: Callable[[torch.device], Sequence[Tensor]]) -> None:
    """The same numbers there as here, and all of them there."""
    here = make(torch.device("cpu"))
    with elsewhere():
        there = make(FAR)
    for ours, theirs in zip(here, there, strict=True):
        assert isinstance(theirs, Away)
        torch.testing.assert_close(near(theirs), ours, rtol=2e-4, atol=2e-5)


WRITINGS: dict[str, Writing] = {
    "verified": verified,
    "pulse": single_pulse,
    "train": Train(8, stochastic=True, asymmetry=0.2),
    "disturbed": Disturbed(single_pulse, 0.1),
    "enduring": Enduring(verified, 1),
}


@pytest.mark.parametrize("writing", WRITINGS)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_noisy_chip_settles_contrasts_and_writes_elsewhere(preset: str, writing: str) -> None:
    agree(lambda device: step(TWO, device, preset, WRITINGS[writing]))


def test_a_deep_chip_elsewhere() -> None:
    agree(lambda device: step(THREE, device, "taox-1t1m", verified))


def test_fast_and_slow_arrays_elsewhere() -> None:
    def make(device: torch.device) -> list[Tensor]:
        pairs = [
            SignedPair(load("taox-1t1m"), torch.zeros(2, 3, 6).to(device), 100e-6, 20e-6,
                       stream(0, "c", k), stream(0, "w", k), single_pulse)
            for k in range(2)
        ]  # fmt: skip
        store = FastSlow(pairs[0], pairs[1], 1, 1.0, 1e-3)
        for _ in range(4):
            store.write([torch.ones(2, 3, 6).to(device)])
        return [*store.parameters, store.buffer]

    agree(make)


@pytest.mark.parametrize(
    "solver",
    [Synchronous(0.0, 8), OverRelaxed(0.0, 8), Anderson(0.0, 8), Flow(0.0, 8), Sweep(1e-2, 40)],
    ids=lambda s: type(s).__name__,
)
@pytest.mark.parametrize("name", ["hopfield", "resistive", "table", "recurrent"])
def test_solvers_elsewhere(name: str, solver: Solver) -> None:
    def make(device: torch.device) -> list[Tensor]:
        network = ZOO[name]
        drawn = network.initial(stream(1, name))
        machine = Simulated.ideal(network, [[p.to(device) for p in j] for j in drawn], solver)
        x = batch_of(name, dtype=torch.float32)[0].to(device)
        with torch.no_grad():
            free = machine.settle(x)
            push = torch.ones(len(x), 4).to(device)
            phases = machine.settle_each(free, [Current(b, push) for b in (0.1, -0.1)])
            return [*free.states, free.energy, *machine.contrast(*phases)]

    agree(make)


@pytest.mark.parametrize("cost", [CrossEntropy(), Logistic(), SquaredError()], ids=str)
def test_costs_rules_and_draws_elsewhere(cost: Cost) -> None:
    def make(device: torch.device) -> list[Tensor]:
        output = torch.randn(2, 6, 3, generator=stream(0, "y")).to(device)
        target: Tensor = torch.randint(3, (2, 6), generator=stream(0, "t")).to(device)
        if isinstance(cost, Logistic):
            target = torch.ones(2, 6, 3).to(device)
        cell = load("taox-1t1m")
        static = draw(cell, (4, 5), stream(0, "s"), output.device)
        aged = drift(cell, static.high, 100.0, static, stream(0, "d"))
        return [cost.value(output, target), cost.gradient(output, target), 1e6 * aged]

    agree(make)


def test_words_elsewhere() -> None:
    def make(device: torch.device) -> list[Tensor]:
        codes = torch.randn(7, 12, generator=stream(0, "codes")).sign().to(device)
        tasks = Classify(codes, 0.2), Reconstruct(codes, 0.2, 0.3)
        drawn = [part for task in tasks for part in task.sample((4, 3), stream(0, "draws"))]
        return [part.float() for part in drawn]

    agree(make)


def test_two_devices_are_noticed() -> None:
    """The pretended device does what the tests need it for."""
    with elsewhere():
        away = torch.ones(3).to(FAR)
        assert float((away * torch.tensor(2.0)).sum()) == 6
        with pytest.raises(RuntimeError, match="two devices"):
            away + torch.ones(3)
