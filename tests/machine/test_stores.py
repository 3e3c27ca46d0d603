"""What stores and machines hold can be taken out and put back, bit for bit, or is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from madem.device import Cell
from madem.errors import InputError
from madem.machine import FastSlow, Periphery, SignedPair, Simulated, Wired, draw_lines, verified
from madem.machine.periphery import Spread
from madem.machine.writing import Enduring, single_pulse
from madem.network import Box, Free, Layer, Network, Wires
from madem.randomness import stream
from madem.solver import Sweep

NETWORK = Network(6, (Layer(4, Box(0.0, 1.0)), Layer(3, Free())))
SHAPES = (4, 7), (3, 5)


def pair(cell: Cell, shape: tuple[int, ...], seed: int, **settings: object) -> SignedPair:
    held = {"unit": 400e-6, "writing": verified, "wired": None} | settings
    return SignedPair(
        cell, torch.full((2, *shape), 0.1), held["unit"], 20e-6, stream(seed, "cells", *shape),
        stream(seed, "writes", *shape), held["writing"], held["wired"],
    )  # fmt: skip


def machine_of(cell: Cell, seed: int, bits: int = 8) -> Simulated:
    """A chip with all that can be drawn: a wired layer whose cells wear out, and two arrays."""
    spread = Spread(line_gain=0.1, sense_offset=0.01)
    lines = tuple(draw_lines(spread, (2, *s), stream(seed, "lines", *s)) for s in SHAPES)
    wired = pair(cell, SHAPES[0], seed, writing=Enduring(single_pulse, 3), wired=Wired(Wires()))
    arrays = FastSlow(pair(cell, SHAPES[1], seed), pair(cell, SHAPES[1], seed + 10), 2, 0.5, 0.01)
    return Simulated(
        NETWORK, Sweep(), [wired, arrays], Periphery(8, bits, lines=lines), stream(seed, "noise")
    )


def use(machine: Simulated, seed: int) -> list[Tensor]:
    """Read and write three times; return all that was seen."""
    x, draws, seen = torch.rand(2, 5, 6, generator=stream(seed, "x")), stream(seed, "dw"), []
    for _ in range(3):
        seen.append(machine.settle(x).output)
        machine.write([0.2 * torch.randn(2, *shape, generator=draws) for shape in SHAPES])
        seen += machine.parameters
    return seen


def test_a_machine_goes_on_bit_for_bit_from_its_state(cell: Cell) -> None:
    machine, other = machine_of(cell, 0), machine_of(cell, 1)
    use(machine, 0)
    other.restore(machine.state())
    for ours, theirs in zip(use(machine, 1), use(other, 1), strict=True):
        assert torch.equal(ours, theirs)
    assert other.stores[0].cells is not machine.stores[0].cells  # type: ignore[attr-defined]


def test_the_state_of_another_chip_is_refused_and_nothing_has_changed(cell: Cell) -> None:
    machine = machine_of(cell, 0)
    state, other = machine.state(), machine_of(replace(cell, read_sigma=1e-6), 1)
    before = other.state()
    with pytest.raises(InputError, match=r"another chip: its cell.read_sigma is .*, but here"):
        other.restore(state)
    with pytest.raises(InputError, match=r"its adc_bits is 8, but here it is 6"):
        machine_of(cell, 1, bits=6).restore(state)
    with pytest.raises(InputError, match="its unit is 0.0004 S, but here it is 0.0002 S"):
        pair(cell, (4, 7), 0, unit=200e-6).restore(pair(cell, (4, 7), 0).state())
    with pytest.raises(InputError, match=r"its 'cells' is \(2, 2, 3, 5\), but here it is"):
        pair(cell, (4, 7), 0).restore(pair(cell, (3, 5), 0).state())
    with pytest.raises(InputError, match="its stores is SignedPair, FastSlow"):
        Simulated.ideal(NETWORK, NETWORK.initial(stream(0))).restore(state)
    damaged = {name: held for name, held in state.items() if name != "1.slow.cells"}
    with pytest.raises(InputError, match="the state lacks '1.slow.cells'"):
        machine_of(cell, 1).restore(damaged)
    broken = {**state, "1.buffer": torch.zeros(1)}
    fresh = machine_of(cell, 1)
    own = fresh.state()
    with pytest.raises(InputError, match="its '1.buffer' is"):
        fresh.restore(broken)
    for now, then in ((other.state(), before), (fresh.state(), own)):
        assert now.keys() == then.keys()
        assert all(torch.equal(now[name], held) for name, held in then.items())
