"""What the cells of a crossbar see in a read: voltages, currents, and what wires take of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from madem.circuit import Crossbar
from madem.circuit.elements import Array
from madem.errors import InputError
from madem.experiments.brailleconfig import BrailleConfig
from madem.experiments.circuits import on_bench, trainer_of
from madem.experiments.running.rundir import RunDirectory
from madem.machine import SignedPair
from madem.machine.circuit import crossbars
from madem.network import Wires
from madem.solver import Sweep, read


@dataclass(frozen=True)
class Map:
    """One array in the forward read of a settled free phase; word lines are rows.

    ``g``: S; ``driven``: voltages of the drivers, V, ``(m,)``; ``across``: voltages that the cells
    see, V, ``(m, n)``; ``wires``: None where they are ideal.
    """

    name: str
    g: Array
    driven: Array
    across: Array
    wires: Wires | None

    @property
    def current(self) -> Array:
        """The currents through the cells, A, ``(m, n)``."""
        return self.g * self.across

    @property
    def drop(self) -> Array:
        """What wires take of the driver's voltage at every cell, V, ``(m, n)``.

        Negative where the other lines pull a bit line the other way, so that a cell sees more.
        """
        sign = np.where(self.driven < 0, -1.0, 1.0)[:, None]
        return sign * (self.driven[:, None] - self.across)


def maps(
    config: BrailleConfig, run: RunDirectory | None, name: str | None, chip: int, sample: int
) -> list[Map]:
    """Return the arrays of a chip of the Braille network ``name`` while it rests with a word.

    Cells hold what they hold; read noise and converters are left out. Raises ``InputError`` for an
    unknown network and for a chip that is not there.
    """
    trainer = trainer_of(config, run, name)
    one, machine = trainer.plan, trainer.machine
    if not 0 <= chip < one.chips:
        raise InputError(f"chip must be from 0 to {one.chips - 1}, but is {chip}")
    x, _ = on_bench(trainer, sample)
    problem = one.network.bind(machine.couple(machine.parameters), x)
    settled = Sweep(1e-6, 500).settle(problem).states
    states = [x[0].double(), *(state[chip, 0].double() for state in settled)]
    found = []
    for index, placement in enumerate(one.placements):
        store = machine.stores[index]
        assert isinstance(store, SignedPair)
        lines = torch.cat([states[index], torch.ones(1, dtype=torch.float64)]).numpy()
        bars = crossbars(store.cells[:, chip], placement.side)
        for number, bar in zip(placement.arrays, bars, strict=True):
            title = f"array {number + 1}, layer {index + 1}"
            found.append(_map(title, bar, one.cell.read_voltage * lines, one.wires))
    return found


def _map(name: str, bar: Crossbar, lines: Array, wires: Wires | None) -> Map:
    """Return one array, its word lines driven with the voltages of their ``lines``."""
    driven = np.array([sign * lines[k] for k, sign in bar.rows])
    if wires is None:
        return Map(name, bar.g, driven, np.repeat(driven[:, None], bar.g.shape[1], 1), None)
    g = torch.from_numpy(np.ascontiguousarray(bar.g))
    found = read(g, torch.from_numpy(driven)[None], wires, nodes=True)
    assert found.word is not None
    assert found.bit is not None
    return Map(name, bar.g, driven, (found.word - found.bit)[0].numpy(), wires)
