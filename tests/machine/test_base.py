"""The interface itself: a scripted chip that knows nothing of the simulator, under estimators."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from madem.errors import InputError
from madem.learn import (
    Equilibrium,
    Implicit,
    OutputMove,
    RelativeMove,
    centred,
    compare,
)
from madem.machine import Machine, Observed, Simulated
from madem.machine.base import Start
from madem.network import Box, CrossEntropy, Current, Free, Layer, Network, Nudge
from tests.zoo import TIGHT, ZOO, batch_of, machine_of

NETWORK = ZOO["pair"]


class Chip(Machine):
    """A chip in a laboratory, scripted: it relaxes slowly, and shows absolute states alone."""

    def __init__(self, network: Network, parameters: Sequence[Tensor]) -> None:
        self.network, self.held = network, list(parameters)

    @property
    def parameters(self) -> list[Tensor]:
        return self.held

    def settle(self, x: Tensor, nudge: Nudge | None = None, start: Start = None) -> Observed:
        del start
        w, b, v, c = self.held
        y = torch.zeros(len(x), len(c), dtype=x.dtype)
        for _ in range(200):
            h = (x @ w.T + b + y @ v).clamp(0, 1)
            y = h @ v.T + c
            y = nudge.rest(Free(), 0.0, y) if nudge else y
        converged = torch.ones(len(x), dtype=torch.bool)
        self.count(converged)
        return Observed((x, h, y), y, converged)

    def write(self, changes: Sequence[Tensor]) -> tuple[None, ...]:
        self.held = [p + c for p, c in zip(self.held, changes, strict=True)]
        return (None, None)


def chip() -> Chip:
    return Chip(NETWORK, machine_of("pair").parameters)


@pytest.mark.parametrize("estimator", [centred(1e-3), centred(OutputMove(1e-3))])
def test_a_scripted_chip_measures_the_exact_gradient(estimator: object) -> None:
    x, target = batch_of("pair")
    exact = Implicit()(machine_of("pair"), x, target, CrossEntropy()).weights
    found = estimator(chip(), x, target, CrossEntropy()).weights  # type: ignore[operator]
    assert all(float((a - b).norm() / b.norm()) < 1e-8 for a, b in zip(found, exact, strict=True))


def test_a_scripted_chip_learns_what_the_ideal_machine_learns() -> None:
    x, target = batch_of("pair", 32)
    chips: list[Machine] = [chip(), machine_of("pair")]
    for machine in chips:
        for _ in range(6):
            gradient = centred(1e-3)(machine, x, target, CrossEntropy())
            machine.write([-0.1 * g for g in gradient.weights])
    ours, ideal = (machine.settle(x).output for machine in chips)
    assert torch.allclose(ours, ideal, atol=1e-5)
    assert not torch.allclose(ours, chip().settle(x).output, atol=0.05)
    assert (chips[0].settled, chips[0].unsettled) == (32 * 19, 0)


def test_what_a_scripted_chip_cannot_do_is_said() -> None:
    machine, (x, target) = chip(), batch_of("pair")
    with pytest.raises(InputError, match="choose a strength of order 1"):
        centred(RelativeMove())(machine, x, target, CrossEntropy())
    with pytest.raises(InputError, match="does not sense the lines of its input"):
        machine.reaction(machine.settle(x), machine.settle(x))
    with pytest.raises(InputError, match="settlings of its own, but was given Observed"):
        machine_of("pair").contrast(machine.settle(x), machine.settle(x))


def test_a_scripted_chip_is_a_module() -> None:
    module = Equilibrium(chip(), centred(1e-3))
    x, target = batch_of("pair")
    torch.nn.functional.cross_entropy(module(x), target).backward()
    exact = Implicit()(machine_of("pair"), x, target, CrossEntropy()).weights
    for p, wanted in zip(module.parameters(), exact, strict=True):
        assert p.grad is not None
        assert float((p.grad - wanted).norm() / wanted.norm()) < 1e-4
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(p - (torch.zeros(()) if p.grad is None else p.grad))
    module.commit()
    assert (
        float((module.machine.parameters[0] - next(module.parameters())).detach().abs().max())
        < 1e-12
    )
    assert module.metrics == {"settled": 15, "unsettled": 0}


def test_counts_and_numbers_travel_with_the_state() -> None:
    network = Network(2, (Layer(2, Box()),))
    ours, other = (
        Simulated.ideal(network, network.initial(torch.Generator().manual_seed(seed)), TIGHT)
        for seed in (0, 1)
    )
    ours.settle(torch.ones(3, 2))
    other.restore(ours.state())
    assert other.settled == 3
    assert torch.equal(other.parameters[0], ours.parameters[0])
    assert other.names == ["1.weight", "1.bias"]
    assert isinstance(ours, Machine)


def test_watching_leaves_no_trace() -> None:
    machine, (x, _) = machine_of("pair"), batch_of("pair")
    watch = machine.watched(torch.Generator())
    watch.settle(x)
    assert (machine.settled, watch.settled) == (0, 5)
    assert watch.parameters[0] is machine.parameters[0]


def test_states_of_an_exact_machine_are_displacements() -> None:
    machine, (x, _) = machine_of("pair"), batch_of("pair")
    free = machine.settle(x)
    rows = compare(machine, x, batch_of("pair")[1], CrossEntropy(), (centred(1e-5), Implicit()))
    assert max(row.relative_error for row in rows) < 1e-8
    nudged = machine.settle(x, Current(1e-3, torch.ones(5, 4, dtype=x.dtype)), free)
    assert nudged.origin is free
    assert not bool(nudged.states[0].any())
