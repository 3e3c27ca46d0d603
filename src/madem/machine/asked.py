"""Pairs of cells beside the weights that they were asked to hold: what a model of a chip knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from madem.machine.stores import Behind, SignedPair, check_fit, part_of
from madem.machine.writing import Written
from madem.network import Coupling, Joint


@dataclass(eq=False)
class Asked(Behind):
    """A coupling that ``pairs`` hold, whose parameters are the weights that were asked for.

    ``asked``: those of the first programming, ``(*chips, post, pre + 1)``. The cells compute; what
    they really are is not to be seen in the parameters. A write asks for a change. Where
    ``absolute``, the cells in question are programmed to the whole weight that is asked for then,
    as far as a verify read shows it, which sees the cells and no wires; otherwise they are moved by
    the change, whatever went wrong before.
    """

    pairs: SignedPair
    asked: Tensor
    absolute: bool

    @property
    def parameters(self) -> list[Tensor]:
        """The weights that were asked for."""
        return [self.asked]

    def couple(self, parameters: Sequence[Tensor], joint: Joint) -> Coupling:
        """Return the coupling of the cells, with ``parameters`` instead of what was asked."""
        (lines,) = parameters
        return self.pairs.couple([self.pairs.weight + (lines - self.asked)], joint)

    def write(self, changes: Sequence[Tensor]) -> Written:
        """Write the cells whose weight is to change."""
        (change,) = changes
        self.asked = self.asked + change
        if self.absolute:
            there = (self.pairs.cells[0] - self.pairs.cells[1]) / self.pairs.unit
            change = torch.where(change != 0, self.asked - there, 0.0)
        return self.pairs.write([change])

    def state(self) -> dict[str, Tensor]:
        """Return what the pairs hold, and what was asked."""
        return {**{f"pairs.{k}": t for k, t in self.pairs.state().items()}, "asked": self.asked}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what ``state`` returned."""
        check_fit(state, self.state())
        self.pairs.restore(part_of(state, "pairs."))
        self.asked = state["asked"].clone()
