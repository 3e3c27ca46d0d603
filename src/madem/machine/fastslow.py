"""Two arrays for one coupling: a fast one that feels every pulse, a slow one that holds the weight.

The Tiki-Taka family (Gokmen and Haensch, Frontiers in Neuroscience 2020; with the digital buffer,
Gokmen, Frontiers in Artificial Intelligence 2021). Pulses of unequal size both ways pull a weight
towards the conductance where they are equal; the fast array rests there, where that is a weight of
zero, so that what it gathers is the gradient and not the asymmetry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from madem.device import read
from madem.errors import InputError
from madem.ledger import Event
from madem.machine.stores import Behind, SignedPair, check_fit, part_of
from madem.machine.writing import Written


@dataclass(eq=False)
class FastSlow(Behind):
    """A coupling held by ``pairs``, the slow array, and written through ``fast``, of equal shape.

    Every write goes to the fast array. At every ``every``-th, one input line of it is read, the
    next one in turn; ``gain`` times what was read is added to a digital buffer, and what has grown
    there past ``threshold`` (both in units of the slow array's weight) is written to the slow
    array. Every read of a line is told as an array read and as many conversions as there are
    outputs.
    """

    fast: SignedPair
    pairs: SignedPair
    every: int
    gain: float
    threshold: float
    written: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Begin with an empty buffer, at the first line."""
        fast, slow = (tuple(each.weight.shape) for each in (self.fast, self.pairs))
        if fast != slow:
            raise InputError(f"fast and slow must have one shape, but have {fast} and {slow}")
        for name in ("every", "gain", "threshold"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be positive, but is {getattr(self, name)}")
        self.buffer = torch.zeros_like(self.pairs.weight)

    def write(self, changes: Sequence[Tensor]) -> Written:
        """Write ``changes`` to the fast array, and hand one line of it on where that is due."""
        written = self.fast.write(changes)
        self.written += 1
        if self.written % self.every:
            return written
        line = (self.written // self.every - 1) % self.buffer.shape[-1]
        handed, told = self._hand_on(line)
        return replace(
            written,
            cells=written.cells + handed.cells,
            events=(*written.events, *told, *handed.events),
        )

    def _hand_on(self, line: int) -> tuple[Written, tuple[Event, ...]]:
        """Read one line of the fast array, and write what the buffer then owes."""
        cell = self.fast.cell
        pair = self.fast.cells[..., line]
        seen = read(cell, pair, self.fast.writes)
        self.buffer[..., line] += self.gain * (seen[0] - seen[1]) / self.pairs.unit
        due = torch.zeros_like(self.buffer)
        column = self.buffer[..., line]
        due[..., line] = torch.where(column.abs() > self.threshold, column, 0.0)
        self.buffer = self.buffer - due
        watts = pair.sum(0).sum(-1) * cell.read_voltage**2
        told = (
            Event("array read", 1.0, watts),
            Event("output conversion", float(self.buffer.shape[-2])),
        )
        return self.pairs.write([due]), told

    def state(self) -> dict[str, Tensor]:
        """Return all that both arrays and the buffer hold, and how often was written."""
        arrays = {"fast": self.fast, "slow": self.pairs}
        held = {f"{k}.{name}": t for k, s in arrays.items() for name, t in s.state().items()}
        return {**held, "buffer": self.buffer, "written": torch.tensor(self.written)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what ``state`` returned."""
        check_fit(state, self.state())
        self.fast.restore(part_of(state, "fast."))
        self.pairs.restore(part_of(state, "slow."))
        self.buffer = state["buffer"].clone()
        self.written = int(state["written"])
