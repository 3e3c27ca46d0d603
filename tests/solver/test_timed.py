"""States at the end of a phase: against closed forms, against rest, against whole circuits."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from madem.circuit import Timing, hopfield, pairs, transient
from madem.errors import InputError
from madem.machine import Simulated
from madem.network import Box, Current, Free, Layer, Network, Readout
from madem.solver import Sweep, Timed
from tests.zoo import DTYPE, batch_of, machine_of

TAU = 1e-9


@pytest.mark.parametrize("length", [0.1, 1.0, 7.5])
def test_two_coupled_neurons_follow_their_modes(length: float) -> None:
    """``ds/dt = b - (1 - W) s`` of two neurons that pull on each other, by its eigenvalues."""
    network = Network(1, (Layer(1, Free()), Layer(1, Free())))
    own = [[torch.ones(1, 1, dtype=DTYPE), torch.zeros(1, dtype=DTYPE)],
           [torch.full((1, 1), 0.6, dtype=DTYPE), torch.zeros(1, dtype=DTYPE)]]  # fmt: skip
    problem = Simulated.ideal(network, own).settle(torch.ones(1, 1, dtype=DTYPE)).problem
    found = Timed(free=length, step=0.01).settle(problem).states
    slow, fast = (1 - math.exp(-r * length) for r in (0.4, 1.6))
    wanted = slow / 0.8 + fast / 3.2, slow / 0.8 - fast / 3.2
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.item() == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("name", ["hopfield", "pair", "readout", "conv-maximum"])
@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_long_phases_come_to_rest(name: str, beta: float) -> None:
    machine, (x, _) = machine_of(name), batch_of(name, 3)
    free = machine.settle(x)
    problem = free.problem
    nudge = Current(beta, torch.ones_like(free.output)) if beta else None
    found = Timed(free=200.0, nudged=200.0, step=1.0).settle(problem, nudge)
    wanted = Sweep(1e-14, 2000).settle(problem, nudge)
    assert found.output is not None
    pairs_ = [*zip(found.states, wanted.states, strict=True)]
    if not beta:
        pairs_.append((found.output, problem.output(wanted.states)))
    for ours, theirs in pairs_:
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["hopfield", "pair", "readout"])
@pytest.mark.parametrize("beta", [0.0, -0.3])
@pytest.mark.parametrize("length", [0.3, 2.0])
def test_the_whole_circuit_has_come_as_far(name: str, beta: float, length: float) -> None:
    """To 1 % of the largest state, with the default step."""
    machine, (x, _) = machine_of(name), batch_of(name, 3)
    network, p = machine.network, machine.parameters
    problem = network.bind(machine.couple(p), x)
    push = torch.linspace(-0.5, 0.5, 4, dtype=torch.float64).expand(3, 4)
    rest = Timed(free=length, nudged=length).settle(problem, Current(beta, push) if beta else None)
    assert rest.output is not None
    shown = rest.states
    if name == "readout":  # driven by the nudge, else sensed through a pole of its own
        shown = rest.states[:-1] if beta else (*rest.states[:-1], rest.output)
    bars = [pairs(1e-4 * w, 1e-4 * b) for w, b in zip(p[::2], p[1::2], strict=True)]
    units = [1e-4] * len(bars)
    for k in range(3):
        nudge = Current(beta, push[k : k + 1]) if beta else None
        built = hopfield(network, bars, x[k], nudge, None, Timing(tau=TAU), units)
        record = transient(built.circuit)
        theirs = built.states(record)
        times = torch.as_tensor(record.times)
        late = int(torch.searchsorted(times, length * TAU))
        share = float((length * TAU - times[late - 1]) / (times[late] - times[late - 1]))
        size = max(float(abs(s[k]).max()) for s in shown)
        for ours, layer in zip(shown, theirs, strict=False):
            wanted = (1 - share) * layer[late - 1] + share * layer[late]
            assert abs(ours[k].numpy() - wanted).max() < 0.01 * size


@pytest.mark.parametrize("length", [1.0, 2.0])
def test_strong_weights_are_followed_to_one_percent(length: float) -> None:
    """Neurons that clip, with weights as large as training makes them, at the default step.

    Against a solver of differential equations that chooses its own, to 1e-9.
    """
    sizes, draws = (6, 20, 15, 4), torch.Generator().manual_seed(0)
    w, v, u = (
        (4.0 * torch.randn(n, m, generator=draws, dtype=DTYPE) / m**0.5).numpy()
        for m, n in pairwise(sizes)
    )
    x = torch.randn(6, generator=draws, dtype=DTYPE)

    def slope(time: float, state: np.ndarray) -> np.ndarray:
        del time
        a, b, _ = np.split(state, [20, 35])
        asked = (w @ x.numpy() + v.T @ b).clip(-1, 1), (v @ a).clip(-1, 1), u @ b
        return np.concatenate(asked) - state

    ends = solve_ivp(slope, (0, length), np.zeros(39), rtol=1e-9, atol=1e-11, max_step=0.01)
    wanted = ends.y[:, -1]
    layers = (Layer(20, Box(-1.0, 1.0)), Layer(15, Box(-1.0, 1.0)), Layer(4, Readout()))
    own = [[torch.as_tensor(each), torch.zeros(len(each), dtype=DTYPE)] for each in (w, v, u)]
    rest = Timed(free=length).settle(
        Simulated.ideal(Network(6, layers), own).settle(x[None]).problem)  # fmt: skip
    assert rest.output is not None
    found = torch.cat([*rest.states[:-1], rest.output], -1)[0].numpy()
    assert abs(found - wanted).max() < 0.01 * abs(wanted).max()


def test_a_cut_phase_says_how_far_it_still_moves() -> None:
    machine, (x, _) = machine_of("hopfield"), batch_of("hopfield", 3)
    problem = machine.settle(x).problem
    moving = [float(Timed(free=t).settle(problem).residual.max()) for t in (1.0, 4.0, 16.0)]
    assert moving[0] > moving[1] > moving[2] > 0
    assert not bool(Timed(1e-3, free=1.0).settle(problem).converged.any())
    assert bool(Timed(free=1.0).settle(problem).converged.all())


def test_phases_that_end_are_never_displacements() -> None:
    """An ideal machine whose phases end starts each from zero, and contrasts states as they are."""
    network = Network(1, (Layer(1, Box(-1.0, 1.0)), Layer(1, Free())))
    weights = [[torch.ones(1, 1), torch.zeros(1)], [torch.full((1, 1), 0.5), torch.zeros(1)]]
    machine = Simulated.ideal(network, weights, Timed(free=2.0, nudged=1.0))
    assert not machine.exact
    free = machine.settle(torch.ones(1, 1))
    nudge = Current(0.1, torch.ones(1, 1))
    nudged = machine.settle(torch.ones(1, 1), nudge, free)
    assert nudged.origin is None
    alone = machine.settle(torch.ones(1, 1), nudge)
    for ours, theirs in zip(nudged.states, alone.states, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("changed", [{"free": 0.05}, {"nudged": math.inf}, {"step": 0.0}])
def test_phases_in_which_nothing_moves(changed: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(changed))):
        Timed(**changed)
