"""Two arrays for one coupling: a fast one that feels every pulse, a slow one that holds the weight.

The Tiki-Taka family (Gokmen and Haensch, Frontiers in Neuroscience 2020; with the digital buffer,
Gokmen, Frontiers in Artificial Intelligence 2021). Pulses of unequal size both ways pull a weight
towards the conductance where they are equal; the fast array rests there, where that is a weight of
zero, so that what it gathers is the gradient and not the asymmetry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from madem.device import read
from madem.errors import InputError
from madem.ledger import Event
from madem.machine.stores import SignedPair, Store, check_fit, part_of
from madem.machine.writing import Written
from madem.network import Coupling, Joint
from madem.network.couplings import Moves
from madem.network.joints import Limits


class FastSlow:
    """A coupling held by ``slow`` and written through ``fast``, two stores of equal shape.

    Every write goes to the fast array. At every ``every``-th, one input line of it is read, the
    next one in turn; ``gain`` times what was read is added to a digital buffer, and what has grown
    there past ``threshold`` (both in units of the slow array's weight) is written to the slow
    array. Every read of a line is told as an array read and as many conversions as there are
    outputs.
    """

    def __init__(
        self, fast: SignedPair, slow: SignedPair, every: int, gain: float, threshold: float
    ) -> None:
        """Begin with an empty buffer, at the first line."""
        if fast.weight.shape != slow.weight.shape:
            raise InputError(
                f"fast and slow must have one shape, but have {tuple(fast.weight.shape)} and "
                f"{tuple(slow.weight.shape)}"
            )
        for name, value in (("every", every), ("gain", gain), ("threshold", threshold)):
            if not value > 0:
                raise InputError(f"{name} must be positive, but is {value}")
        self.fast = fast
        self.slow = slow
        self.every = every
        self.gain = gain
        self.threshold = threshold
        self.buffer = torch.zeros_like(slow.weight)
        self.written = 0

    @property
    def fluctuation(self) -> float | Tensor:
        """Read noise of the slow array, in units of weight."""
        return self.slow.fluctuation

    @property
    def parameters(self) -> list[Tensor]:
        """The weights of the slow array: the only ones that compute."""
        return self.slow.parameters

    @property
    def limits(self) -> list[Limits | None]:
        """None: cells are written."""
        return [None]

    def load(self, parameters: Sequence[Tensor]) -> None:
        """Leave the cells, which are written."""

    def couple(self, parameters: Sequence[Tensor], joint: Joint) -> Coupling:
        """Return the coupling that the slow array holds."""
        return self.slow.couple(parameters, joint)

    def contrast(self, coupling: Coupling, moves: Moves) -> tuple[Tensor, ...]:
        """Return the contrast as it lies on the lines."""
        return self.slow.contrast(coupling, moves)

    def dissipation(self, pre: Tensor, post: Tensor) -> Tensor:
        """Return the power of the slow array's reads, W per chip."""
        return self.slow.dissipation(pre, post)

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
        self.buffer[..., line] += self.gain * (seen[0] - seen[1]) / self.slow.unit
        due = torch.zeros_like(self.buffer)
        column = self.buffer[..., line]
        due[..., line] = torch.where(column.abs() > self.threshold, column, 0.0)
        self.buffer = self.buffer - due
        watts = pair.sum(0).sum(-1) * cell.read_voltage**2
        told = (
            Event("array read", 1.0, watts),
            Event("output conversion", float(self.buffer.shape[-2])),
        )
        return self.slow.write([due]), told

    def state(self) -> dict[str, Tensor]:
        """Return all that both arrays and the buffer hold, and how often was written."""
        arrays = {"fast": self.fast, "slow": self.slow}
        held = {f"{k}.{name}": t for k, s in arrays.items() for name, t in s.state().items()}
        return {**held, "buffer": self.buffer, "written": torch.tensor(self.written)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what ``state`` returned."""
        check_fit(state, {"buffer": self.buffer, "written": torch.tensor(0)})
        self.fast.restore(part_of(state, "fast."))
        self.slow.restore(part_of(state, "slow."))
        self.buffer = state["buffer"].clone()
        self.written = int(state["written"])


def cells_of(store: Store) -> SignedPair | None:
    """Return the pairs of cells that compute in ``store``, None where numbers do."""
    found = store.slow if isinstance(store, FastSlow) else store
    return found if isinstance(found, SignedPair) else None
