"""Every solver against every other, on every energy; the kernel against its reference."""

from __future__ import annotations

import pytest
import torch

from madem.errors import InputError
from madem.fast import relax_pair
from madem.machine import Simulated
from madem.network import Box, Current, Free, Layer, Network, Spring
from madem.randomness import stream
from madem.solver import Anderson, Flow, Newton, OverRelaxed, Solver, Sweep, Synchronous
from madem.solver.relax import relax
from tests.conftest import skip_without
from tests.zoo import ZOO, batch_of, machine_of

SOLVERS: list[Solver] = [
    Synchronous(1e-13, 4000),
    OverRelaxed(1e-13, 2000),
    Anderson(1e-13, 2000),
    Newton(1e-13, 500),
    Flow(1e-13, 8000),
]


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("name", ZOO)
def test_all_solvers_find_the_same_rest(name: str, solver: Solver) -> None:
    machine = machine_of(name)
    x, _ = batch_of(name)
    expected = machine.settle(x).rest
    found = solver.settle(machine.settle(x).problem)
    assert bool(found.converged.all())
    assert found.sweeps.shape == found.residual.shape == (len(x),)
    for ours, theirs in zip(found.states, expected.states, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["hopfield", "conv-maximum", "resistive"])
def test_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    machine = machine_of(name, Sweep(1e-9, 1000))
    x, _ = batch_of(name, 9)
    whole = machine.settle(x).rest
    alone = machine.settle(x[:1]).rest
    assert int(whole.sweeps[0]) == int(alone.sweeps[0])
    for ours, theirs in zip(whole.states, alone.states, strict=True):
        torch.testing.assert_close(ours[:1], theirs, rtol=1e-7, atol=1e-9)


def test_missed_tolerance_is_reported_sample_by_sample() -> None:
    machine = machine_of("hopfield", Sweep(1e-12, 3))
    rest = machine.settle(batch_of("hopfield", 6)[0]).rest
    assert not bool(rest.converged.any())
    assert rest.sweeps.tolist() == [3] * 6
    assert bool((rest.residual > 1e-12).all())


def test_zero_tolerance_asks_for_sweeps() -> None:
    machine = machine_of("hopfield", Sweep(0.0, 7))
    assert machine.settle(batch_of("hopfield")[0]).rest.sweeps.tolist() == [7] * 5


@pytest.mark.parametrize("name", ["pair", "resistive-mirror"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("instructions", ["baseline", "avx2", "avx512"])
def test_kernel_against_its_reference(name: str, dtype: torch.dtype, instructions: str) -> None:
    skip_without(instructions)
    machine = machine_of(name, dtype=dtype)
    x, _ = batch_of(name, 7, dtype)
    free = machine.settle(x)
    way = torch.randn(7, 4, generator=stream(0, "way"), dtype=dtype)
    cases = [
        (free.problem, None, 9, 0.0),
        (free.problem, Current(0.1, way), 200, 1e-5),
        (free.displacements, Current(0.1, way), 9, 0.0),
        (free.displacements, Spring(0.2, way), 9, 0.0),
        (free.displacements, Spring(-0.1, way), 200, 1e-5),
    ]
    accuracy = 2e-5 if dtype == torch.float32 else 1e-12
    for problem, nudge, budget, tolerance in cases:
        ((ours, sweeps, _),) = relax_pair(problem, [nudge], None, tolerance, budget, instructions)
        theirs = relax(problem, nudge, None, tolerance, budget)
        for mine, reference in zip(ours, theirs.states, strict=True):
            size = float(reference.abs().max())
            assert float((mine - reference).abs().max()) < max(accuracy, tolerance) * size
        assert int((sweeps - theirs.sweeps).abs().max()) <= 1


@pytest.mark.parametrize("upper", [1, 5, 9, 10, 16])
@pytest.mark.parametrize("lower", [17, 65, 130])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("instructions", ["baseline", "avx2", "avx512"])
def test_kernel_of_every_width(
    lower: int, upper: int, dtype: torch.dtype, instructions: str
) -> None:
    skip_without(instructions)
    network = Network(6, (Layer(lower, Box(0.0, 1.0)), Layer(upper, Free())))
    parameters = [[p.to(dtype) for p in joint] for joint in network.initial(stream(0, "width"))]
    machine = Simulated.ideal(network, parameters)
    x = torch.rand(3, 6, generator=stream(1, "width"), dtype=dtype)
    free, nudge = machine.settle(x), Spring(0.2, torch.ones(3, upper, dtype=dtype))
    for problem, push in ((free.problem, None), (free.displacements, nudge)):
        ((ours, _, _),) = relax_pair(problem, [push], None, 0.0, 6, instructions)
        theirs = relax(problem, push, None, 0.0, 6)
        for mine, reference in zip(ours, theirs.states, strict=True):
            accuracy = (1e-5 if dtype == torch.float32 else 1e-13) * float(reference.abs().max())
            torch.testing.assert_close(mine, reference, rtol=0, atol=accuracy)


@pytest.mark.parametrize("name", ["pair", "resistive-mirror"])
def test_nudges_together_are_nudges_one_by_one(name: str) -> None:
    solver = Sweep(1e-9, 500)
    problem = machine_of(name).settle(batch_of(name, 7)[0]).displacements
    units = problem.fixed[-1].shape[-1]
    way = torch.randn(7, units, generator=stream(0, "ways"), dtype=torch.float64)
    nudges = [
        Current(0.1, way),
        Spring(0.2, way),
        Spring(-0.1, way),
        Current(-0.3, way[:1].float()),
    ]
    together = solver.settle_each(problem, nudges)
    for nudge, found in zip(nudges, together, strict=True):
        alone = solver.settle(problem, nudge)
        assert torch.equal(found.sweeps, alone.sweeps)
        assert torch.equal(found.converged, alone.converged)
        for ours, theirs in zip(found.states, alone.states, strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("kind", [Sweep, Synchronous, OverRelaxed, Anderson, Newton, Flow])
def test_settings_are_checked(kind: type[Sweep]) -> None:
    with pytest.raises(InputError, match="tolerance must be at least 0 and below 1, but is -1"):
        kind(tolerance=-1.0)
    with pytest.raises(InputError, match="budget must be at least 1 sweep, but is 0"):
        kind(budget=0)
