"""Every energy of the zoo against what physics demands of it: minima, slopes, Kirchhoff."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from madem.errors import InputError
from madem.network import (
    Amplified,
    Box,
    Conv,
    CrossEntropy,
    Dense,
    Free,
    Halves,
    Layer,
    Logistic,
    Matrix,
    Maximum,
    Move,
    Network,
    Readout,
    Recurrent,
    Resistive,
    Resistors,
    Shockley,
    Skip,
    Softmax,
    Spring,
    SquaredError,
    Table,
    Tanh,
    diodes,
)
from madem.network.laws import Weighted
from madem.randomness import stream
from madem.solver import Sweep
from tests.zoo import ANALYTIC, DOUBLE, FLAT, IV, SINGLE, SMOOTH, ZOO, batch_of, machine_of


def within(law: object, s: Tensor) -> Tensor:
    """States where a law allows them."""
    if isinstance(law, Weighted):
        return within(law.law, s)
    if isinstance(law, Halves):
        parts = zip(law.laws, s.chunk(2, law.axis), strict=True)
        return torch.cat([within(each, part) for each, part in parts], law.axis)
    if isinstance(law, Box):
        return s.clamp(law.low, law.high)
    if isinstance(law, Softmax):
        return s.clamp_min(0) / s.clamp_min(0).sum(-1, keepdim=True)
    return s.clamp(-1, 1) if isinstance(law, Tanh) else s


@pytest.mark.parametrize("name", ZOO)
def test_rest_is_a_minimum_of_the_energy(name: str) -> None:
    machine = machine_of(name)
    settled = machine.settle(batch_of(name)[0])
    assert bool(settled.rest.converged.all())
    problem, states = settled.problem, settled.rest.states
    draws = stream(0, "moves")
    for size in (1e-2, 1e-4):
        for _ in range(20):
            moved = []
            for site, s in zip(problem.sites, states, strict=True):
                step = size * torch.randn(s.shape, generator=draws, dtype=s.dtype)
                near = within(site.law, s + step)
                moved.append(near if site.law.loaded else s)
            assert bool((problem.energy(moved) >= problem.energy(states) - 1e-12).all())


@pytest.mark.parametrize(
    "name", [n for n in ZOO if n not in {"recurrent", "custom", "conv-maximum"}]
)
def test_every_jump_lowers_the_energy(name: str) -> None:
    machine = machine_of(name)
    problem = machine.network.bind(machine.couple(machine.parameters), batch_of(name)[0])
    states = list(problem.zeros)
    energy = problem.energy(states)
    for index in [*problem.order] * 4:
        states[index] = problem.rest(index, states, None)
        lower = problem.energy(states)
        assert bool((lower <= energy + 1e-12).all())
        energy = lower


@pytest.mark.parametrize("name", ZOO)
def test_drive_and_load_are_the_slope_of_the_energy(name: str) -> None:
    machine = machine_of(name)
    problem = machine.network.bind(machine.couple(machine.parameters), batch_of(name)[0])
    states = [
        (0.5 * torch.randn(s.shape, generator=stream(0, "s", i), dtype=s.dtype)).requires_grad_()
        for i, s in enumerate(problem.zeros)
    ]
    couplings = sum(
        (coupling.energy([problem._state(e, states) for e in ends]).sum()
         for coupling, ends in zip(problem.couplings, problem.ends, strict=True)),
        torch.zeros(()),
    )  # fmt: skip
    slopes = torch.autograd.grad(couplings, states)
    for index, (state, slope) in enumerate(zip(states, slopes, strict=True)):
        force = problem.loads[index] * state - problem.drive(index, states)
        torch.testing.assert_close(force, slope)


@pytest.mark.parametrize("sides", ["both", "high", "low"])
@pytest.mark.parametrize("name", ZOO)
def test_contrast_is_the_difference_of_energy_slopes(name: str, sides: str) -> None:
    machine = machine_of(name)
    x = batch_of(name)[0]
    scale = torch.rand(len(x), generator=stream(0, "scale"), dtype=x.dtype)

    def states(of: str) -> list[Tensor]:
        problem = machine.network.bind(machine.couple(machine.parameters), x)
        return [
            0.5 * torch.randn(s.shape, generator=stream(0, of, i), dtype=s.dtype)
            for i, s in enumerate(problem.zeros)
        ]

    def slopes(at: list[Tensor]) -> tuple[Tensor, ...]:
        leaves = [p.detach().requires_grad_() for p in machine.parameters]
        problem = machine.network.bind(machine.couple(leaves), x)
        return torch.autograd.grad((problem.energy(at) * scale).sum(), leaves)

    at, up, down = states("at"), states("up"), states("down")
    up, down = (
        side if sides in ("both", which) else [None] * len(at)
        for which, side in (("high", up), ("low", down))
    )
    high, low = (
        [a if m is None else a + m for a, m in zip(at, side, strict=True)] for side in (up, down)
    )
    expected = [h - b for h, b in zip(slopes(high), slopes(low), strict=True)]
    problem = machine.network.bind(machine.couple(machine.parameters), x)
    found = []
    for coupling, ends in zip(problem.couplings, problem.ends, strict=True):
        moves = [Move(x, scale=scale)]
        moves += [Move(*parts, scale) for parts in zip(at, up, down, strict=True)]
        found += coupling.contrast([moves[e] for e in ends])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ZOO)
def test_displacements_feel_the_change_of_the_pulls(name: str) -> None:
    machine = machine_of(name)
    free = machine.settle(batch_of(name)[0])
    moved = [
        0.1 * torch.randn(s.shape, generator=stream(0, "m", i), dtype=s.dtype)
        for i, s in enumerate(free.rest.states)
    ]
    whole = [s + u for s, u in zip(free.rest.states, moved, strict=True)]
    for index in range(len(moved)):
        change = free.problem.drive(index, whole) - free.problem.drive(index, free.rest.states)
        found = free.displacements.drive(index, moved)
        torch.testing.assert_close(found, change, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "law",
    [Box(-0.2, 0.3), diodes(), Free(0.5), Tanh(), Softmax(5.0), SINGLE, DOUBLE, IV, Shockley(1e-9)],
    ids=str,
)
def test_move_is_the_difference_of_two_rests(law: Box) -> None:
    draws = stream(0, "law")
    a = (
        0.0
        if isinstance(law, Tanh | Softmax)
        else 0.7 + torch.rand(6, generator=draws, dtype=torch.float64)
    )
    d = 2 * torch.randn(40, 6, generator=draws, dtype=torch.float64)
    at = law.rest(a, d)
    for size in (1.0, 1e-3, 1e-9):
        change = size * torch.randn(40, 6, generator=draws, dtype=torch.float64)
        expected = law.rest(a, d + change) - at
        moved = law.mover(at, d - a * at)(a, change)
        torch.testing.assert_close(moved, expected, rtol=1e-7, atol=1e-14)


@pytest.mark.parametrize("law", [SINGLE, DOUBLE, IV, Shockley(1e-12)], ids=str)
def test_rest_obeys_kirchhoff(law: Table) -> None:
    draws = stream(0, "kirchhoff")
    a = 10 ** (-3 + 3 * torch.rand(6, generator=draws, dtype=torch.float64))
    d = 10 ** (-6 + 7 * torch.rand(200, 6, generator=draws, dtype=torch.float64))
    d = d * torch.where(torch.rand(d.shape, generator=draws) < 0.5, -1.0, 1.0)
    v = law.rest(a, d).requires_grad_()
    (current,) = torch.autograd.grad(law.energy(v).sum(), v)
    assert float(((a * v + current - d) / d).detach().abs().max()) < 1e-11


@pytest.mark.parametrize("name", sorted(ANALYTIC))
def test_analytic_laws_hold_for_complex_states(name: str) -> None:
    law = ZOO[name].layers[0].law
    assert law.analytic
    a: float | Tensor = 0.0 if isinstance(law, Tanh) else 1.0
    d = torch.linspace(-0.5, 0.5, 8, dtype=torch.float64)[None]
    at = law.rest(a, d)
    nudge = torch.full_like(d, 1e-6)
    across = law.mover(at, d - a * at)(a, nudge * 1j)  # by Cauchy and Riemann: i times the slope
    along = law.mover(at, d - a * at)(a, nudge)
    torch.testing.assert_close(across.imag, along, rtol=1e-4, atol=1e-12)


def test_transposed_read_is_the_transpose() -> None:
    weight = torch.randn(2, 3, 5, generator=stream(0, "w"), dtype=torch.float64)
    coupling = Matrix(weight)
    pre, post = (torch.randn(2, 7, n, generator=stream(0, n), dtype=torch.float64) for n in (5, 3))
    across = (post * coupling.pull(1, [pre, post])).sum(-1)
    torch.testing.assert_close(across, (pre * coupling.pull(0, [pre, post])).sum(-1))


@pytest.mark.parametrize("coupling", [Matrix, Resistors])
def test_contrast_of_chips_with_a_scale_a_sample(coupling: type[Matrix | Resistors]) -> None:
    draws = stream(0, "chips")
    weight = torch.rand(3, 2, 4, generator=draws, dtype=torch.float64)
    pre, post = (torch.randn(4, 3, 5, n, generator=draws, dtype=torch.float64) for n in (4, 2))
    scale = torch.rand(3, 5, generator=draws, dtype=torch.float64)
    moves = [Move(part[0], part[1], part[2], scale) for part in (pre, post)]
    leaf = weight.requires_grad_()
    ends = [[part[0] + part[i] for part in (pre, post)] for i in (1, 2)]
    change = coupling(leaf).energy(ends[0]) - coupling(leaf).energy(ends[1])
    (wanted,) = torch.autograd.grad((scale * change).sum(), leaf)
    (found,) = coupling(weight.detach()).contrast(moves)
    torch.testing.assert_close(found, wanted)


def test_contrast_keeps_a_small_difference_in_float32() -> None:
    # products of about one that differ by 1e-6: subtracted as they are, float32 keeps one digit
    pre, at = torch.ones(1, 4), torch.ones(1, 2)
    moved = torch.full((1, 2), 2.0**-20)
    (found,) = Matrix(torch.zeros(2, 4)).contrast([Move(pre), Move(at, moved)])
    torch.testing.assert_close(found, torch.full((2, 4), -(2.0**-20)), rtol=1e-6, atol=0)


@pytest.mark.parametrize("cost", [CrossEntropy(), Logistic(), SquaredError()], ids=str)
def test_cost_gradients(cost: CrossEntropy | Logistic | SquaredError) -> None:
    output = torch.randn(2, 5, 4, generator=stream(0, "y"), dtype=torch.float64)
    target: Tensor = torch.randint(4, (2, 5), generator=stream(0, "t"))
    if isinstance(cost, Logistic):
        target = torch.randn(2, 5, 4, generator=stream(0, "t"), dtype=torch.float64).sign()
    leaf = output.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(cost.value(leaf, target).sum(), leaf)
    torch.testing.assert_close(cost.gradient(output, target), slopes)


def test_a_resistive_divider_by_hand() -> None:
    # 2 V through 1 S and 0 V through 3 S: 0.5 V; the diode of the second node holds it at 0
    network = Network(2, (Layer(2, diodes()),), (Resistive((2,), 2, bias=False),))
    g = torch.tensor([[1.0, 3.0], [1.0, 3.0]])
    problem = network.bind(network.couple([[g]]), torch.tensor([[2.0, 0.0]]))
    assert Sweep().settle(problem).states[0].tolist() == [[0.5, 0.0]]


@pytest.mark.parametrize("name", ["amplified", "amplified-readout"])
def test_amplifiers_of_one_ratio_keep_kirchhoffs_laws(name: str) -> None:
    # each node's own balance, in amperes, with the currents that its amplifiers pass back
    machine = machine_of(name)
    x, _ = batch_of(name)
    v = [x, *machine.settle(x).rest.states]
    joints = machine.network.joints
    inside = [layer for layer in machine.network.layers if layer.law.loaded]
    for i, site in enumerate(inside):
        g, bias = machine.stores[i].parameters
        flow = (2.0 * v[i]) @ g.mT - g.sum(1) * v[i + 1] + bias
        if i + 1 < len(joints):
            above, back = machine.stores[i + 1].parameters[0], joints[i + 1].current_gain
            flow = flow + back * (v[i + 2] @ above - 2.0 * above.sum(0) * v[i + 1])
        node = v[i + 1].clone().requires_grad_()
        (taken,) = torch.autograd.grad(site.law.energy(node).sum(), node)
        held = node.detach() == 0  # by an ideal diode
        assert float((flow - taken)[~held].abs().max()) < 1e-10


BAD = {
    "x must have the shape": lambda: machine_of("pair").settle(torch.zeros(2, 3)),
    "a node of layer 1 floats": lambda: _floating(),  # noqa: PLW0108
    "x must be finite": lambda: machine_of("pair").settle(torch.full((2, 9), math.nan)),
    "layers must hold at least one": lambda: Network(2, ()),
    "only the last layer can be a readout": lambda: Network(
        2, (Layer(2, Readout()), Layer(2, Free()))
    ),
    "is nudged by a current": lambda: machine_of("readout").settle(
        batch_of("readout")[0], Spring(0.1, torch.zeros(5, 4))
    ),
    "layer 1 has the shape": lambda: Network(2, (Layer(3, Free()),), (Dense((2,), 4),)),
    "ends at layer 2": lambda: Network(2, (Layer(3, Free()),), (Dense((2,), 3, (0, 2)),)),
    "joined to nothing": lambda: Network(
        2, (Layer(3, Free()), Layer(3, Free())), (Dense((2,), 3),)
    ),
    "a skip joins two layers of one shape": lambda: Network(
        2, (Layer(3, Free()),), (Dense((2,), 3), Skip((0, 1)))
    ),
    "a convolution needs": lambda: Network(
        4, (Layer((1, 2, 2), Free()),), (Conv(1, 1, 3, pool=Maximum()),)
    ),
    "larger than the image": lambda: Network(
        (1, 2, 2), (Layer((1, 1, 1), Free()),), (Conv(1, 1, 3),)
    ),
    "must be one number for all lines": lambda: Amplified(Resistive((2,), 1), 2.0, (1.0, 0.5)),
    "voltage_gain must be one number": lambda: Amplified(
        Resistive((2,), 1), (2.0, 1.0), (1.0, 0.5)
    ),
    "inputs must be a positive integer, or several, but is -4": lambda: Network(-4, ()),
    "units must be a positive integer, or several, but is 1.5": lambda: Layer(1.5, Free()),  # type: ignore[arg-type]
    "or several, but is .2, 0.": lambda: Layer((2, 0), Free()),
    "voltage_gain must be .* positive": lambda: Amplified(Resistive((2,), 1), 0.0, 1.0),
    "low must be below high": lambda: Box(1.0, 1.0),
    "leak must be zero or positive": lambda: Free(-1.0),
    "saturation must be positive": lambda: Shockley(0.0),
    "volts must rise": lambda: Table((0.0, 0.0), (0.0, 1.0)),
    "two or more pairs": lambda: Table((0.0,), (0.0, 1.0)),
    "g_min must be": lambda: Resistive((2,), 1, g_min=-1.0),
    "mirror must be": lambda: Resistive((2,), 1, mirror=-1.0),
    "cannot be loaded by resistors": lambda: Tanh().rest(torch.ones(1), torch.ones(1, 1)),
    "Softmax cannot be loaded": lambda: Softmax().rest(torch.ones(1), torch.ones(1, 1)),
    "gain of Softmax must be positive": lambda: Softmax(0.0),
    "not bounded below": lambda: _unbounded(),  # noqa: PLW0108
}  # fmt: skip


def _floating() -> None:
    network = Network(2, (Layer(2, Free(leak=0.0)),), (Resistive((2,), 2, bias=False),))
    network.bind(network.couple([[torch.tensor([[1.0, 1.0], [0.0, 0.0]])]]), torch.ones(1, 2))


def _unbounded() -> None:
    network = Network(1, (Layer(2, Free()),), (Dense((1,), 2, bias=False), Recurrent(2, 1)))
    couplings = network.couple([[torch.ones(2, 1)], [torch.full((2, 2), 3.0)]])
    Sweep(1e-6, 5000).settle(network.bind(couplings, torch.ones(1, 1)))


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_one_clear_error(message: str) -> None:
    with pytest.raises(InputError, match=message):
        BAD[message]()


def test_the_zoo_is_what_it_says() -> None:
    assert set(ZOO) >= SMOOTH | ANALYTIC | FLAT
