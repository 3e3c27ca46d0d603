"""Ways of writing: what they do to cells, what they say of it, and what a laboratory can replay."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from madem.device import Cell
from madem.errors import InputError
from madem.ledger import Ledger
from madem.machine import (
    Disturbed,
    Enduring,
    FastSlow,
    Placement,
    SignedPair,
    Simulated,
    Train,
    lay_out,
    place,
    single_pulse,
    verified,
)
from madem.machine.pulses import rows
from madem.machine.writing import Writing
from madem.network import Free, Layer, Network
from madem.randomness import stream
from madem.solver import Sweep

UNIT, BASE = 100e-6, 20e-6


def store_of(
    cell: Cell, shape: tuple[int, ...], writing: Writing, base: float = BASE
) -> SignedPair:
    return SignedPair(
        cell, torch.zeros(shape), UNIT, base, stream(0, "cells"), stream(0, "writes"), writing
    )


def some_changes(shape: tuple[int, ...]) -> Tensor:
    draws = stream(0, "changes")
    change = 0.2 * torch.randn(shape, generator=draws)
    return torch.where(torch.rand(shape, generator=draws) < 0.3, change, 0.0)


def test_trains_are_whole_pulses_up_to_the_most(ideal_cell: Cell) -> None:
    cell = replace(ideal_cell, pulse_step=1e-6, high=1e-3)
    store = store_of(cell, (1, 1, 4), Train(5), base=0.5e-3)
    change = torch.tensor([[[0.0004, 0.026, -0.04, 0.5]]]) * 1e-4 / UNIT  # 0.04, 2.6, -4, 50 pulses
    written = store.write([change])
    assert written.cells.tolist() == [6]  # three pairs; the first change is no whole pulse
    assert written.amounts.tolist() == [3, -4, 5, -3, 4, -5]
    assert float(written.events[0].count) == 24
    assert written.events[0].item == "pulse"
    moved = (store.parameters[0] * UNIT)[0, 0] / cell.pulse_step
    torch.testing.assert_close(moved, torch.tensor([0.0, 3, -4, 5]), atol=0.02, rtol=0)


def test_stochastic_trains_are_right_on_average(ideal_cell: Cell) -> None:
    cell = replace(ideal_cell, pulse_step=1e-6, high=1e-3)
    store = store_of(cell, (1, 100, 100), Train(5, stochastic=True), base=0.5e-3)
    store.write([torch.full((1, 100, 100), 0.3e-6 / UNIT)])
    mean = float(store.parameters[0].mean() * UNIT / cell.pulse_step)
    assert mean == pytest.approx(0.3, abs=4 * (0.21 / 10_000) ** 0.5)


def test_asymmetry_shortens_pulses_down(ideal_cell: Cell) -> None:
    cell = replace(ideal_cell, pulse_step=1e-6, high=1e-3)
    plain, lame = (
        store_of(cell, (1, 1, 1), Train(1, asymmetry=a), base=0.5e-3) for a in (0.0, 0.5)
    )
    for store in (plain, lame):
        store.write([torch.ones(1, 1, 1)])
    assert float(lame.cells[0] - 0.5e-3) == pytest.approx(float(plain.cells[0] - 0.5e-3), rel=1e-3)
    ratio = float((lame.cells[1] - 0.5e-3) / (plain.cells[1] - 0.5e-3))
    assert ratio == pytest.approx(0.5, rel=1e-3)


def test_a_train_of_one_is_a_single_pulse(cell: Cell) -> None:
    one, other = store_of(cell, (2, 3, 4), Train(1)), store_of(cell, (2, 3, 4), single_pulse)
    change = torch.full((2, 3, 4), 5e-6 / UNIT)
    one.write([change])
    other.write([change])
    assert bool((one.cells == other.cells).all())


def test_neighbours_on_the_same_lines_are_disturbed(ideal_cell: Cell) -> None:
    store = store_of(ideal_cell, (1, 5, 5), Disturbed(verified, 0.1))
    change = torch.zeros(1, 5, 5)
    change[0, 2, 2] = 0.5
    store.write([change])
    moved = (store.cells - BASE).abs()
    assert float(moved.max()) == pytest.approx(50e-6, rel=1e-4)
    near = [(1, 2), (3, 2), (2, 1), (2, 3)]
    half = int(moved.flatten(1).max(1).values.argmax())
    for post, pre in near:
        assert float(moved[half, 0, post, pre]) == pytest.approx(5e-6, rel=1e-3)
    assert int((moved > 1e-9).sum()) == 5  # nobody else, nor the other half of the pair


def test_cells_wear_out_where_they_are(ideal_cell: Cell) -> None:
    store = store_of(ideal_cell, (1, 1, 1), Enduring(single_pulse, 3))
    seen = []
    for _ in range(5):
        store.write([torch.ones(1, 1, 1)])
        seen.append(float(store.cells[0]))
    assert seen[0] < seen[1] < seen[2]
    assert seen[2] == seen[3] == seen[4]
    assert bool(store.static.stuck.all())
    again = store_of(ideal_cell, (1, 1, 1), Enduring(single_pulse, 3))
    again.restore(store.state())
    again.write([torch.ones(1, 1, 1)])
    assert float(again.cells[0]) == seen[2]


@pytest.mark.parametrize("writing", [verified, single_pulse, Train(3)])
@pytest.mark.parametrize("side", ["arrays", "outputs", "inputs"])
def test_the_list_of_pulses_names_every_cell_that_moved(
    cell: Cell, writing: Writing, side: str
) -> None:
    """Replayed on the layout, the list touches the cells that differ, and no other."""
    store = store_of(cell, (2, 3, 5), writing)
    placement = Placement(3, 5, side, (0, 1) if side == "arrays" else (0,))  # type: ignore[arg-type]
    before = lay_out([placement], [store.cells], 10)
    written = store.write([some_changes((2, 3, 5))])
    after = lay_out([placement], [store.cells], 10)
    for chip in (0, 1):
        listed = {row[1:4] for row in rows(4, [written], [placement], chip)}
        moved = (after[chip] != before[chip]) & ~after[chip].isnan()
        assert {tuple(place) for place in moved.nonzero().tolist()} <= listed
        assert len(listed) == int(written.cells[chip])
    first = next(rows(4, [written], [placement], 0))
    assert first[0] == 4
    assert bool(first[5]) == written.verified


def test_targets_of_the_list_are_where_ideal_cells_went(ideal_cell: Cell) -> None:
    store = store_of(ideal_cell, (1, 3, 5), verified)
    (placement,) = place([(3, 5)])
    written = store.write([some_changes((1, 3, 5))])
    laid = lay_out([placement], [store.cells])[0]
    for _, array, row, column, _, target in rows(0, [written], [placement]):
        wanted = min(max(float(target), 0.0), ideal_cell.high)
        assert float(laid[array, row, column]) == pytest.approx(wanted, rel=1e-5)


def test_fast_arrays_hand_on_line_by_line(ideal_cell: Cell) -> None:
    cell = replace(ideal_cell, pulse_step=1e-6, high=100e-6)
    slow = store_of(cell, (2, 3, 4), verified)
    fast = store_of(cell, (2, 3, 4), Train(10), base=50e-6)
    network = Network(3, (Layer(3, Free()),))
    ledger = Ledger()
    store = FastSlow(fast, slow, every=2, gain=1.0, threshold=0.03)
    machine = Simulated(network, Sweep(), [store], listener=ledger)
    change = torch.full((2, 3, 4), 2e-6 / UNIT)
    for _ in range(2):  # two pulses each: after the second write, line 0 is read and handed on
        machine.write([change])
    weight = store.parameters[0]
    assert float(weight[..., 0].min()) == pytest.approx(4e-6 / UNIT, rel=0.1)
    assert float(weight[..., 1:].abs().max()) < 1e-9
    assert float(torch.as_tensor(ledger.totals["array read"][0])) == 1
    assert float(torch.as_tensor(ledger.totals["output conversion"][0])) == 3
    assert torch.as_tensor(ledger.totals["verified write"][0]).tolist() == [3, 3]
    assert torch.as_tensor(ledger.totals["pulse"][0]).tolist() == [2 * 2 * 2 * 12] * 2


def test_what_is_too_little_to_hand_on_waits_in_the_buffer(ideal_cell: Cell) -> None:
    """Lines gather half of 0.02, 0.04 and so on, each in its turn; the first has enough again."""
    cell = replace(ideal_cell, pulse_step=1e-6, high=100e-6)
    slow = store_of(cell, (2, 3, 4), verified)
    fast = store_of(cell, (2, 3, 4), Train(10), base=50e-6)
    ledger = Ledger()
    store = FastSlow(fast, slow, every=1, gain=0.5, threshold=0.05)
    machine = Simulated(Network(3, (Layer(3, Free()),)), Sweep(), [store], listener=ledger)
    watts = 0.0
    for step in range(5):
        machine.write([torch.full((2, 3, 4), 2e-6 / UNIT)])
        watts += float(fast.cells[..., step % 4].sum()) / 2 * cell.read_voltage**2
    held = torch.tensor([0.0, 0.02, 0.03, 0.04]).expand(2, 3, 4)
    torch.testing.assert_close(store.buffer, held, rtol=0.1, atol=1e-6)
    handed = torch.tensor([0.06, 0.0, 0.0, 0.0]).expand(2, 3, 4)
    torch.testing.assert_close(store.parameters[0], handed, rtol=0.1, atol=1e-6)
    assert float(ledger.totals["array read"][1].mean()) == pytest.approx(watts, rel=1e-5)  # type: ignore[union-attr]


def test_what_cannot_be_written_with(cell: Cell) -> None:
    for wrong in (
        lambda: Train(3, asymmetry=1.0),
        lambda: Disturbed(verified, -0.1),
        lambda: Enduring(verified, 0),
        lambda: FastSlow(
            store_of(cell, (1, 2, 3), verified), store_of(cell, (1, 2, 4), verified), 1, 1.0, 1.0
        ),
    ):
        with pytest.raises(InputError):
            wrong()
