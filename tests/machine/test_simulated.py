"""The simulated machine: what is seen, what fluctuates, what is counted."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from madem.device import Cell, load, without
from madem.device.cell import SWITCHES
from madem.errors import InputError
from madem.ledger import Event, Ledger, load_prices
from madem.machine import Periphery, Placement, SignedPair, Simulated, lay_out, verified
from madem.machine.periphery import Partial
from madem.machine.placement import Side
from madem.machine.wired import Wired
from madem.network import (
    Box,
    Conv,
    Current,
    Dense,
    Free,
    Layer,
    Network,
    Readout,
    Wires,
)
from madem.randomness import stream
from madem.solver import Sweep, read

UNIT, BASE = 100e-6, 20e-6


def store_of(cell: Cell, weight: Tensor, name: str = "a") -> SignedPair:
    return SignedPair(
        cell, weight, UNIT, BASE, stream(0, name, "cells"), stream(0, name, "writes"), verified
    )


def chip(cell: Cell, network: Network, listener: Ledger | None = None) -> Simulated:
    weights = [
        0.3 * torch.randn(2, *shape, generator=stream(0, "w", i))
        for i, shape in enumerate(network.shapes)
    ]
    stores = [store_of(cell, w, str(i)) for i, w in enumerate(weights)]
    noise = stream(0, "noise")
    if listener is None:
        return Simulated(network, Sweep(), stores, noise=noise)
    return Simulated(network, Sweep(), stores, noise=noise, listener=listener)


TWO = Network(4, (Layer(3, Box()), Layer(2, Readout())))


def test_reads_fluctuate_as_independent_cells_would(cell: Cell) -> None:
    """The sum over a line of every cell's own read noise, drawn cell by cell, has one spread."""
    network = Network(8, (Layer(1, Free()),))
    noisy = without(cell, [name for name in SWITCHES if name != "read_noise"])
    store = store_of(noisy, torch.zeros(1, 1, 9))
    x = torch.rand(1, 1, 8, generator=stream(0, "x")).expand(1, 40_000, 8)
    machine = Simulated(network, Sweep(), [store], noise=stream(0, "noise"))
    seen = machine.settle(x).output[0, :, 0]
    drive = torch.cat([x[0, 0], torch.ones(1)])
    cells = torch.randn(40_000, 2, 9, generator=stream(0, "cells")) * noisy.read_sigma / UNIT
    one_by_one = (cells[:, 0] - cells[:, 1]) @ drive
    assert float(seen.std()) == pytest.approx(float(one_by_one.std()), rel=0.02)


def test_contrast_is_deterministic_and_settling_is_not(cell: Cell) -> None:
    machine = chip(cell, TWO)
    x = torch.ones(2, 5, 4)
    free = machine.settle(x)
    nudge = Current(0.1, torch.ones(2, 5, 2))
    high = machine.settle(x, nudge, start=free)
    once, again = machine.contrast(high, free), machine.contrast(high, free)
    assert all(bool((a == b).all()) for a, b in zip(once, again, strict=True))
    assert not bool((machine.settle(x).states[1] == free.states[1]).all())


def test_all_sweeps_of_one_settling_feel_the_same_chip(cell: Cell) -> None:
    deep = Network(4, (Layer(3, Box()), Layer(3, Box()), Layer(2, Free())))
    machine = chip(cell, deep)
    converged = machine.settle(torch.ones(2, 5, 4)).rest.converged
    assert bool(converged.all())  # noise a sweep would never settle
    assert machine.unsettled == 0


def test_missed_tolerance_is_counted(ideal_cell: Cell) -> None:
    deep = Network(4, (Layer(3, Box()), Layer(3, Box()), Layer(2, Free())))
    machine = chip(ideal_cell, deep)
    machine.solver = Sweep(tolerance=1e-9, budget=1)
    machine.settle(torch.ones(2, 5, 4))
    assert machine.unsettled == 2 * 5


def test_two_stores_differ(cell: Cell) -> None:
    weight = torch.zeros(1, 8, 8)
    one, two = store_of(cell, weight, "0"), store_of(cell, weight, "1")
    assert not bool((one.cells == two.cells).any())
    assert not bool((one.cells[0] == one.cells[1]).any())  # nor the halves of a pair


def test_ideal_cells_are_exact_numbers(ideal_cell: Cell) -> None:
    weight = 0.5 * torch.randn(2, 3, 5, generator=stream(0, "w")).clamp(-2, 2)
    store = store_of(ideal_cell, weight)
    torch.testing.assert_close(store.parameters[0], weight)
    change = torch.zeros_like(weight)
    change[0, 1, 2], change[1, 0, 0] = 0.1, -0.2
    written = store.write([change])
    torch.testing.assert_close(store.parameters[0], weight + change)
    assert written.cells.tolist() == [1, 1]


def test_a_write_touches_only_what_is_asked(cell: Cell) -> None:
    store = store_of(cell, torch.zeros(2, 4, 5))
    before = store.cells
    change = torch.zeros(2, 4, 5)
    change[1, 2, 3] = 0.3
    store.write([change])
    moved = (store.cells != before).nonzero().tolist()
    assert len(moved) == 1
    assert moved[0][1:] == [1, 2, 3]
    assert before is not store.cells  # what was settled on stays what it was


def test_the_partner_of_a_stuck_cell_is_moved(cell: Cell) -> None:
    store = store_of(cell, torch.zeros(4, 40, 40))
    plus, minus = store.static.stuck
    alone = plus ^ minus
    assert int(alone.sum()) > 10
    before = store.parameters[0]
    store.write([torch.where(alone, 0.2, 0.0)])
    moved = (store.parameters[0] - before)[alone]
    room = torch.where(plus, store.cells[1] > 0, store.cells[0] < 0.9 * cell.high)[alone]
    assert float(moved[room].mean()) > 0.15


def test_dissipation_is_that_of_every_cell(ideal_cell: Cell) -> None:
    store = store_of(ideal_cell, 0.1 * torch.randn(1, 3, 5, generator=stream(0, "w")))
    pre = torch.randn(1, 6, 5, generator=stream(0, "pre"))
    post = torch.randn(1, 6, 3, generator=stream(0, "post"))
    volts = ideal_cell.read_voltage
    by_cell = sum(
        float((store.cells[half, 0] * (volts * pre[0, b][None]) ** 2).sum())
        + float((store.cells[half, 0] * (volts * post[0, b][:, None]) ** 2).sum())
        for half in (0, 1)
        for b in range(6)
    )
    watts = store.dissipation(pre.square().sum(1), post.square().sum(1))
    assert float(watts) == pytest.approx(by_cell, rel=1e-5)


def test_events_are_counted_as_by_hand(ideal_cell: Cell) -> None:
    ledger = Ledger()
    machine = chip(ideal_cell, TWO, ledger)
    x = torch.ones(2, 5, 4)
    free = machine.settle(x)
    counts = {item: count for item, (count, _) in ledger.mean().items()}
    # 5 words: 4 lines driven; 3 hidden neurons settle; 3 hidden states and 2 outputs converted
    assert counts.pop("line drive") > 0
    assert counts == {
        "input conversion": 20,
        "neuron settling": 15,
        "sample and hold": 25,
        "output conversion": 25,
        "array read": 5,
    }
    ledger.totals.clear()
    high = machine.settle(x, Current(0.1, torch.ones(2, 5, 2)), start=free)
    counts = {item: count for item, (count, _) in ledger.mean().items()}
    # nudged: the 2 output lines are driven too, and not converted
    assert counts.pop("nudged line drive") > 0
    assert counts == {
        "input conversion": 30,
        "nudged neuron settling": 15,
        "sample and hold": 15,
        "output conversion": 15,
        "nudged array read": 5,
    }
    ledger.totals.clear()
    machine.contrast(high, free)
    changes = [torch.zeros(2, *shape) for shape in TWO.shapes]
    changes[0][0, 0, 0] = 0.1
    machine.write(changes)
    # of the first layer the lower end is clamped: one product a weight; of the second both move
    assert float(ledger.totals["activity product"][0]) == 5 * (3 * 5 + 2 * 2 * 4)
    assert float(ledger.totals["accumulator access"][0]) == 5 * (3 * 5 + 2 * 4)
    assert ledger.totals["verified write"][0].tolist() == [1, 0]  # type: ignore[union-attr]


def test_drivers_are_fed_from_their_rail(ideal_cell: Cell) -> None:
    """An ideal class-B driver takes ``|i| V`` from a rail of 0.9 V; ``g v^2`` is the cells'."""
    ledger, one = Ledger(), Network(2, (Layer(3, Free()),))
    machine = chip(ideal_cell, one, ledger)
    x = torch.tensor([[0.5, -1.0], [0.25, 0.0]])
    machine.settle(x.expand(2, 2, 2))
    (store,) = machine.stores
    assert isinstance(store, SignedPair)
    line = store.cells.sum((0, 2))  # S of each driven line and of the bias line, a chip
    volts = 0.2 * torch.cat([x, torch.ones(2, 1)], -1)
    rows = {row["item"]: row for row in ledger.rows(load_prices())}
    amperes = (volts.abs() @ line.mT).sum(0).mean()
    dissipated = (volts.square() @ line.mT).sum(0).mean()
    both = float(rows["array read"]["joules"]) + float(rows["line drive"]["joules"])
    assert float(rows["array read"]["joules"]) == pytest.approx(float(dissipated) * 10e-9)
    assert both == pytest.approx(0.9 * float(amperes) * 10e-9)


def test_partial_sums_are_counted_as_by_hand(ideal_cell: Cell) -> None:
    ledger, three = Ledger(), Network(4, (Layer(3, Box()), Layer(6, Box()), Layer(2, Readout())))
    machine = chip(ideal_cell, three, ledger)
    machine.periphery = Periphery(partial=tuple(Partial(r, c, 9.0) for r, c in ((2, 1),) * 3))
    x = torch.ones(2, 5, 4)
    free = machine.settle(x)
    sweeps = free.rest.sweeps.sum(-1)
    # the input once: 2 tiles of 3 outputs; hidden layers there (2 x 6) and back (3) every sweep;
    # outputs once: 2 x 2
    there = torch.tensor(5 * (2 * 3 + 2 * 2))
    assert torch.equal(ledger.totals["partial sum conversion"][0], there + (12 + 3) * sweeps)
    ledger.totals.clear()
    nudged = machine.settle(x, Current(0.1, torch.ones(2, 5, 2)), start=free)
    sweeps = nudged.rest.sweeps.sum(-1)
    # the input's sums are kept; the outputs' current comes back to 6 units, in every sweep
    assert torch.equal(ledger.totals["partial sum conversion"][0], (12 + 3 + 6) * sweeps)
    assert ledger.rows(load_prices())


def test_converters_quantise_what_is_seen_and_not_what_settles(ideal_cell: Cell) -> None:
    machine = chip(ideal_cell, TWO)
    machine.periphery = Periphery(dac_bits=8, adc_bits=3, output_limit=3.0)
    settled = machine.settle(torch.full((2, 5, 4), 0.3))
    levels = settled.states[1] * 3  # three bits: levels at thirds
    torch.testing.assert_close(levels, levels.round())
    assert not bool((settled.rest.states[0] * 3 == (settled.rest.states[0] * 3).round()).all())
    assert bool((settled.output.abs() <= 3).all())


def test_ideal_machine_and_ideal_chip_agree(ideal_cell: Cell) -> None:
    machine = chip(ideal_cell, TWO)
    joined = [s.parameters[0] for s in machine.stores]
    exact = Simulated.ideal(TWO, [[w[..., :-1], w[..., -1]] for w in joined])
    x = torch.rand(2, 5, 4, generator=stream(0, "x"))
    torch.testing.assert_close(machine.settle(x).output, exact.settle(x).output)


def test_listener_hears_events_in_order(ideal_cell: Cell) -> None:
    heard: list[Event] = []
    machine = chip(ideal_cell, TWO)
    machine.listener = heard.append
    machine.settle(torch.ones(2, 5, 4))
    assert [event.item for event in heard][-1] == "array read"
    assert heard[-1].watts is not None


@pytest.mark.parametrize("side", ["arrays", "outputs", "inputs"])
def test_weights_between_terminals(side: Side) -> None:
    """Both cells of a pair see the wires of the array they lie on, wherever that is."""
    draws = torch.Generator().manual_seed(0)
    cells = 1e-6 + 99e-6 * torch.rand(2, 3, 5, 7, generator=draws, dtype=torch.float64)
    wires = Wires(10.0, 5.0, 20.0, 30.0)
    found = Wired(wires, side).weigh(cells)
    assert found.shape == (3, 5, 7)
    placement = Placement(5, 7, side, (0, 1) if side == "arrays" else (0,))
    laid = lay_out([placement], [cells], lines=14)  # unused cells are NaN, beyond those in use
    x = torch.randn(4, 7, generator=draws, dtype=torch.float64)
    if side == "arrays":
        plus, minus = laid[:, 0, :7, :5], laid[:, 1, :7, :5]
        wanted = read(plus, x, wires).currents - read(minus, x, wires).currents
    elif side == "outputs":
        both = read(laid[:, 0, :7, :10], x, wires).currents
        wanted = both[..., 0::2] - both[..., 1::2]
    else:
        lines = torch.stack([x, -x], -1).flatten(-2)
        wanted = read(laid[:, 0, :14, :5], lines, wires).currents
    assert float((x @ found.mT - wanted).abs().max() / wanted.abs().max()) < 1e-3
    ideal = Wired(Wires(1e-6, 1e-6, 1e-6, 1e-6), side).weigh(cells)
    assert float((ideal - (cells[0] - cells[1])).abs().max()) < 1e-4 * 100e-6


def test_wires_are_felt_by_every_write() -> None:
    """A store solves its arrays again after a write, and learns around its wires."""
    wired = Wired(Wires(20.0, 20.0, 20.0, 20.0))
    target = torch.full((2, 6, 9), 0.3)
    store = SignedPair(
        load("taox-1t1m"), torch.zeros(2, 6, 9), 200e-6, 20e-6,
        stream(0, "c"), stream(0, "w"), verified, wired,
    )  # fmt: skip
    programmed = SignedPair(
        load("taox-1t1m"), target, 200e-6, 20e-6,
        stream(0, "c"), stream(0, "w"), verified, wired,
    )  # fmt: skip
    for _ in range(10):
        store.write([target - store.parameters[0]])
    error = (store.parameters[0] - target).abs().mean()
    assert error < 0.6 * (programmed.parameters[0] - target).abs().mean()


def test_chips_beside_a_convolution_are_refused_in_words() -> None:
    joints = (Conv(1, 2, 3), Dense((2, 2, 2), 3, (1, 2)))
    network = Network((1, 4, 4), (Layer((2, 2, 2), Box()), Layer(3, Free())), joints)
    machine = Simulated.ideal(network, network.initial(stream(0, "weights")))
    assert machine.settle(torch.rand(5, 1, 4, 4)).output.shape == (5, 3)
    with pytest.raises(InputError, match=r"Conv joint of layers \(0, 1\) convolves .* \(3, 5, 1"):
        machine.settle(torch.rand(3, 5, 1, 4, 4))
