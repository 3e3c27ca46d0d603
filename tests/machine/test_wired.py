"""Wired arrays: derivatives against differences, following writes, the rule by cell voltages."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from madem.device import load, without
from madem.learn import Implicit, centred
from madem.machine import SignedPair, Simulated, verified
from madem.machine.placement import Side
from madem.machine.tiles import Tiles
from madem.machine.wired import FOLLOWED, Wired
from madem.network import (
    Box,
    CrossEntropy,
    Layer,
    Matrix,
    Move,
    Network,
    Readout,
    Wires,
)
from madem.network.joints import Dense
from madem.randomness import stream
from madem.solver import Sweep, effective

SIDES: list[Side] = ["arrays", "outputs", "inputs"]
WIRES = Wires(20.0, 15.0, 30.0, 10.0)


def cells_of(post: int, pre: int, dtype: torch.dtype = torch.float64) -> Tensor:
    draws = torch.Generator().manual_seed(0)
    return (1e-6 + 99e-6 * torch.rand(2, 3, post, pre, generator=draws, dtype=dtype)).to(dtype)


@pytest.mark.parametrize("lines", [64, 4])
@pytest.mark.parametrize("side", SIDES)
def test_derivatives_by_every_cell(side: Side, lines: int) -> None:
    wired, cells = Wired(WIRES, side, lines=lines), cells_of(5, 7)
    solved = wired.solve(cells)
    exact = wired.join(effective(wired.lay(cells).contiguous(), WIRES), *cells.shape[-2:])
    assert (
        float(
            (wired.join(solved.matrix, *cells.shape[-2:]) - exact).abs().max() / exact.abs().max()
        )
        < 1e-4
    )
    way = torch.randn(cells.shape, dtype=cells.dtype, generator=torch.Generator().manual_seed(1))
    ends = []
    for sign in (1, -1):
        moved = wired.lay(cells + sign * 1e-9 * way).contiguous()
        ends.append(wired.join(effective(moved, WIRES), *cells.shape[-2:]))
    slope = (ends[0] - ends[1]) / 2e-9
    moved = wired.lay(cells + 1e-9 * way)
    followed = solved.follow(solved.matrix, wired.lay(cells), moved)
    assert followed is not None
    found = (
        wired.join(followed, *cells.shape[-2:]) - wired.join(solved.matrix, *cells.shape[-2:])
    ) / 1e-9
    assert float((found - slope).abs().max() / slope.abs().max()) < 1e-3
    gamma = torch.randn(3, 5, 7, dtype=cells.dtype, generator=torch.Generator().manual_seed(2))
    through = solved.gradient(wired.spread(gamma))
    total = (through * wired.lay(way)).sum((0, 2, 3))
    assert torch.allclose(total, (slope * gamma).sum((1, 2)), rtol=2e-3, atol=0)


@pytest.mark.parametrize("side", SIDES)
def test_weights_follow_writes(side: Side) -> None:
    """The bound that FOLLOWED states, and one that single cells keep."""
    wires = Wires(2.0, 2.0, 2.0, 2.0)
    wired = Wired(wires, side)
    shape = {"arrays": (60, 61), "outputs": (31, 61), "inputs": (60, 32)}[side]
    cells = cells_of(*shape, torch.float32)
    draws = torch.Generator().manual_seed(3)
    solved = wired.solve(cells)
    matrix, steps = solved.matrix, 0
    while True:
        some = torch.rand(cells.shape, generator=draws) < 0.005
        change = 15e-6 * torch.randn(cells.shape, generator=draws)
        after = (cells + some * change).clamp(0, 150e-6)
        followed = solved.follow(matrix, wired.lay(cells), wired.lay(after))
        if followed is None:
            break
        cells, matrix, steps = after, followed, steps + 1
    assert steps > 10
    whole = wired.lay(cells).double().contiguous()
    exact = wired.join(effective(whole, wires), *cells.shape[-2:])
    error = (wired.join(matrix, *cells.shape[-2:]) - exact) / exact.abs().max()
    assert float(error.square().mean().sqrt()) < 1e-3
    assert float(error.abs().max()) < 2e-2
    moved = (wired.lay(after) - solved.arrays).abs().sum((-2, -1)) / solved.arrays.sum((-2, -1))
    assert float(moved.max()) > FOLLOWED


@pytest.mark.parametrize("side", SIDES)
def test_tiles_add_their_currents(side: Side) -> None:
    """Tiles by hand: every block read on its own, with lines in its corner; ideal wires agree."""
    wires, cells = Wires(20.0, 15.0, 30.0, 10.0), cells_of(5, 7)
    found = Wired(wires, side, lines=4).weigh(cells)
    whole = Wired(wires, side).lay(cells)
    m, n = whole.shape[-2:]
    tiles = Tiles(m, n, 4)
    total = torch.zeros(whole.shape[0], 3, n, m, dtype=cells.dtype)
    first = tiles.rows * tiles.height - m
    for r in range(tiles.rows):
        rows = slice(max(0, r * tiles.height - first), (r + 1) * tiles.height - first)
        for c in range(tiles.columns):
            columns = slice(c * tiles.width, min(n, (c + 1) * tiles.width))
            block = whole[..., rows, columns].contiguous()
            total[..., columns, rows] = effective(block, wires)
    wanted = Wired(wires, side).join(total, 5, 7)
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-4
    ideal = Wired(Wires(1e-6, 1e-6, 1e-6, 1e-6), side, lines=4).weigh(cells)
    assert float((ideal - (cells[0] - cells[1])).abs().max()) < 1e-4 * 100e-6


def machine_of(seen: bool, ohm: float, side: Side, lines: int) -> Simulated:
    """Chips without noise, whose wires are long."""
    wires = Wires(ohm, ohm, ohm, ohm)
    shapes = ((6, 10), (4, 7))
    joints = (Dense((9,), 6, (0, 1)), Dense((6,), 4, (1, 2)))
    network = Network(9, (Layer(6, Box()), Layer(4, Readout())), joints)
    quiet = without(load("taox-1t1m"), ["read_noise"])
    weights = [0.5 * torch.randn(2, *shape, generator=stream(1, "w")) for shape in shapes]
    stores = [
        SignedPair(
            quiet, weight, 100e-6, 20e-6, stream(0, "c", i), stream(0, "w", i),
            verified, Wired(wires, side, seen, lines),
        )
        for i, weight in enumerate(weights)
    ]  # fmt: skip
    return Simulated(network, Sweep(1e-9, 500), stores)


@pytest.mark.parametrize("lines", [64, 5])
@pytest.mark.parametrize("side", SIDES)
def test_the_rule_by_cell_voltages_is_exact(side: Side, lines: int) -> None:
    """Against implicit differentiation and the chain rule through the wires; terminals are off."""
    x = torch.rand(2, 12, 9, generator=stream(0, "x"))
    target = torch.randint(4, (2, 12), generator=stream(0, "t"))
    cost = CrossEntropy()
    seen = machine_of(True, 200.0, side, lines)
    estimate = centred(1e-3)
    found = estimate(seen, x, target, cost).weights
    terminal = estimate(machine_of(False, 200.0, side, lines), x, target, cost).weights
    held = [[w[..., :-1].double(), w[..., -1].double()] for w in seen.parameters]
    exact = Implicit()(
        Simulated.ideal(seen.network, held, Sweep(1e-12, 2000)), x.double(), target, cost
    ).weights
    for i, store in enumerate(seen.stores):
        assert isinstance(store, SignedPair)
        assert store.wired is not None
        assert store.solved is not None
        at_terminals = torch.cat([exact[2 * i], exact[2 * i + 1].unsqueeze(-1)], -1)
        through = store.wired.through(store.solved, at_terminals.float())
        assert float((found[i] - through).norm() / through.norm()) < 1e-2
        assert float((terminal[i] - through).norm() / through.norm()) > 3e-2


@pytest.mark.parametrize("lines", [64, 4])
@pytest.mark.parametrize("side", SIDES)
def test_the_rule_by_cell_voltages_where_both_ends_move(side: Side, lines: int) -> None:
    wired, cells = Wired(WIRES, side, lines=lines), cells_of(5, 7)
    solved, draws = wired.solve(cells), stream(0, "both")
    moves = [
        Move(*torch.randn(3, 3, 4, n, generator=draws, dtype=cells.dtype).unbind()) for n in (6, 5)
    ]
    lines = wired.weigh(cells)
    weight, bias = Matrix(lines[..., :-1], lines[..., -1]).contrast(moves)
    wanted = wired.through(solved, torch.cat([weight, bias.unsqueeze(-1)], -1))
    torch.testing.assert_close(wired.contrast(solved, moves), wanted)
