"""Stores: what holds a coupling's weights, and what a write really does to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from madem.device import Cell, draw, program
from madem.errors import InputError
from madem.machine.placement import Side
from madem.machine.writing import Writing, Written
from madem.network import Coupling, Joint, Matrix, Wires, effective


@runtime_checkable
class Store(Protocol):
    """What holds the parameters of one coupling."""

    @property
    def parameters(self) -> list[Tensor]:
        """The parameters as they stand."""

    @property
    def fluctuation(self) -> float:
        """Standard deviation of a weight from one settling to the next."""

    def couple(self, parameters: Sequence[Tensor]) -> Coupling:
        """Return the coupling with ``parameters`` in the store's form."""

    def join(self, contrast: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return a coupling's contrasts in the form of the store's parameters."""

    def dissipation(self, pre: Tensor, post: Tensor) -> Tensor:
        """Return the power, W a chip, summed over reads.

        ``pre`` and ``post`` are the squared activities of the driven lines, summed over the
        reads, shapes ``(*chips, pre + 1)`` and ``(*chips, post)``.
        """

    def write(self, changes: Sequence[Tensor]) -> Written | None:
        """Change the parameters by ``changes`` as well as the store can; zeros are left alone."""


@runtime_checkable
class Weighing(Protocol):
    """What the wires of the arrays make of the conductances: such as ``Wired``."""

    def weigh(self, cells: Tensor) -> Tensor:
        """Return the signed conductances between terminals, S, of ``(2, *chips, post, pre)``."""


class Exact:
    """Parameters as plain numbers: the ideal network.

    >>> from madem.network import Dense
    >>> store = Exact(Dense((1,), 1, bias=False), [torch.zeros(1, 1)])
    >>> store.write([torch.ones(1, 1)])
    >>> store.parameters[0].item()
    1.0
    """

    fluctuation = 0.0

    def __init__(self, joint: Joint, parameters: Sequence[Tensor]) -> None:
        """Hold ``parameters``, one for each that ``joint`` names; chips may come first."""
        self.joint = joint
        self.parameters = list(parameters)
        wanted = list(joint.parameters.values())
        shapes = [tuple(p.shape) for p in self.parameters]
        if len(shapes) != len(wanted) or any(
            shape[len(shape) - len(w) :] != w for shape, w in zip(shapes, wanted, strict=True)
        ):
            raise InputError(f"parameters must have the shapes {wanted}, but have {shapes}")

    def couple(self, parameters: Sequence[Tensor]) -> Coupling:
        """Return the coupling of the joint."""
        return self.joint.couple(parameters)

    def join(self, contrast: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the contrasts as they are."""
        return tuple(contrast)

    def dissipation(self, pre: Tensor, post: Tensor) -> Tensor:
        """Return zero: numbers take no power."""
        return torch.zeros(torch.broadcast_shapes(pre.shape[:-1], post.shape[:-1]))

    def write(self, changes: Sequence[Tensor]) -> None:
        """Add ``changes``, within the joint's limits."""
        limits = self.joint.limits
        for i, (name, change) in enumerate(zip(self.joint.parameters, changes, strict=True)):
            new = self.parameters[i] + change
            self.parameters[i] = new.clamp(*limits[name]) if name in limits else new


@dataclass(frozen=True)
class Wired:
    """Wires of the arrays that hold the pairs, and along which ``side`` of them the pairs lie.

    The arrays' corner of drivers and sense inputs is the corner of the cells in use. Word lines are
    the lines driven in a forward read, with the same terminations in a transposed one.
    """

    wires: Wires
    side: Side = "arrays"

    def weigh(self, cells: Tensor) -> Tensor:
        """Return the signed conductances between terminals, S, of ``(2, *chips, post, pre)``."""
        plus, minus = cells.mT
        if self.side == "arrays":
            both = self._effective(torch.stack([plus, minus]))
            return both[0] - both[1]
        if self.side == "outputs":
            both = self._effective(torch.stack([plus, minus], -1).flatten(-2))
            return both[..., 0::2, :] - both[..., 1::2, :]
        both = self._effective(torch.stack([plus, minus], -2).flatten(-3, -2))
        return both[..., 0::2] - both[..., 1::2]

    def _effective(self, g: Tensor) -> Tensor:
        return effective(g.contiguous(), self.wires, WEIGHT_TOLERANCE)


WEIGHT_TOLERANCE = 1e-4
"""Relative residual of the weights that training sees: far below their read noise."""


class SignedPair:
    """Differential pairs of memristors: ``W = (G+ - G-) / unit``.

    ``cells`` holds the conductances, S, shape ``(2, *chips, post, pre)``; ``unit`` is the
    conductance of weight one, S. A new store is programmed to ``weight`` around ``base``, S:
    half of the pair at the base, the other above it by the magnitude of the weight.

    >>> from madem.device import load
    >>> from madem.machine.writing import verified
    >>> from madem.randomness import stream
    >>> store = SignedPair(load("taox-1t1m"), torch.full((1, 2, 3), 0.5), 100e-6, 20e-6,
    ...                    stream(0, "cells"), stream(0, "writes"), verified)
    >>> (store.parameters[0] - 0.5).abs().max().item() < 0.3
    True

    Its parameter is one tensor ``[W b]``, ``(*chips, post, pre + 1)``: the last column is the
    bias, a line that is always driven with 1. Where the arrays are ``wired``, the weights are those
    between the terminals, solved anew after every write. ``counts``: how often each cell was
    written, where ``writing`` counts.
    """

    def __init__(
        self,
        cell: Cell,
        weight: Tensor,
        unit: float,
        base: float,
        static: Generator,
        writes: Generator,
        writing: Writing,
        wired: Weighing | None = None,
    ) -> None:
        """Draw the cells from ``static`` and program them with errors from ``writes``."""
        self.cell = cell
        self.wired = wired
        self.unit = unit
        self.writing = writing
        self.writes = writes
        self.static = draw(cell, (2, *weight.shape), static)
        scaled = weight * unit
        target = base + torch.stack([scaled.clamp_min(0), (-scaled).clamp_min(0)])
        self.cells = program(cell, target, self.static, writes)
        self.counts: Tensor | None = None
        self._derive()

    def _derive(self) -> None:
        """Compute, once a write, what every read needs."""
        if self.wired is None:
            self.weight = (self.cells[0] - self.cells[1]) / self.unit
        else:
            self.weight = self.wired.weigh(self.cells) / self.unit
        total = self.cells.sum(0)
        self.line_sums = total.sum(-2), total.sum(-1)

    @property
    def fluctuation(self) -> float:
        """Read noise of both cells of a pair, in units of weight."""
        return float(2**0.5 * self.cell.read_sigma / self.unit)

    @property
    def parameters(self) -> list[Tensor]:
        """The weights that the conductances stand for."""
        return [self.weight]

    def couple(self, parameters: Sequence[Tensor]) -> Matrix:
        """Return the matrix ``[W b]``."""
        return Matrix.of_lines(parameters[0])

    def join(self, contrast: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the contrasts as they lie on the lines."""
        return (torch.cat([contrast[0], contrast[1].unsqueeze(-1)], -1),)

    def dissipation(self, pre: Tensor, post: Tensor) -> Tensor:
        """Return ``sum g v^2`` of the forward and of the transposed read, W a chip.

        Wires make it less: cells then see less than the whole voltage.
        """
        driven, sensed = self.line_sums
        watts = (driven * pre).sum(-1) + (sensed * post).sum(-1)
        return watts * self.cell.read_voltage**2

    def write(self, changes: Sequence[Tensor]) -> Written:
        """Write the cells whose weight is to change."""
        (change,) = changes
        index = change.nonzero(as_tuple=True)
        written = self.writing(self, index, change[index] * self.unit)
        if index[0].numel():
            self._derive()
        return written

    def restore(self, cells: Tensor, counts: Tensor | None = None) -> None:
        """Take back the conductances ``cells``, S, and how often each was written.

        The static draw comes back from its seed.
        """
        self.cells = cells.view_as(self.cells)
        self.counts = counts if counts is None else counts.view_as(self.cells)
        self._derive()
