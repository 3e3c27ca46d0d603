"""What the cells of a chip see in a read: voltages, currents, and what wires take of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from madem.circuit.elements import Array
from madem.errors import InputError
from madem.inspect.subject import Subject
from madem.machine import Wired, cells_of
from madem.network import Amplified, Joint, Wires
from madem.solver import Sweep, read
from madem.training import chips_of

ANY = Wires(1.0, 1.0, 1.0, 1.0)
"""Stands for wires where only the places of cells are asked for."""


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


def maps(subject: Subject, chip: int, sample: int) -> list[Map]:
    """Return the arrays of a chip while it rests with test sample ``sample``.

    Cells hold what they hold; read noise and converters are left out. Raises ``InputError`` for a
    machine without chips, and for a chip or a sample that is not there.
    """
    plan, making = subject.plan, chips_of(subject.plan)
    if not 0 <= chip < making.chips:
        raise InputError(f"chip must be from 0 to {making.chips - 1}, but is {chip}")
    x, _ = subject.sample(sample)
    machine = subject.still(torch.float64, Sweep(1e-6, 500))
    states = machine.settle(x.double().expand(making.chips, *x.shape)).states
    places, found = iter(making.placements(plan.network)), []
    for index, (joint, store) in enumerate(zip(plan.network.joints, machine.stores, strict=True)):
        own = cells_of(store)
        if own is None:
            continue
        place, lines = next(places), making.cells.lines
        wired = Wired(making.cells.wires or ANY, place.side, lines=lines)
        below = machine.periphery.line(index).drive(1, _driving(joint, states[joint.ends[0]]))
        above = torch.zeros_like(states[joint.ends[-1]])
        driven = wired.driven(below[..., : own.cells.shape[-1]], above)[0][:, chip, 0]
        arrays = wired.lay(own.cells)[:, chip]
        for number, g, volts in zip(place.arrays, arrays, driven, strict=True):
            title = f"array {number + 1}, joint {index + 1}"
            found.append(_map(title, g, own.cell.read_voltage * volts, making.cells.wires))
    return found


def _driving(joint: Joint, state: Tensor) -> Tensor:
    """Return what drives the word lines of ``joint``, ``(*chips, batch, lines)``, bias last."""
    gain = torch.as_tensor(joint.voltage_gain if isinstance(joint, Amplified) else 1.0)
    flat = gain * state.flatten(2)
    return torch.cat([flat, torch.ones_like(flat[..., :1])], -1)


def _map(name: str, g: Tensor, driven: Tensor, wires: Wires | None) -> Map:
    """Return one array, its word lines at the voltages ``driven``."""
    across = driven[:, None].expand(g.shape)
    if wires is not None:
        found = read(g.contiguous(), driven[None], wires, nodes=True)
        assert found.word is not None
        assert found.bit is not None
        across = (found.word - found.bit)[0]
    return Map(name, g.numpy(), driven.numpy(), across.numpy(), wires)
