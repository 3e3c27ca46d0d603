"""Stores: what holds a coupling's weights, and what a write really does to them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Generator, Tensor

from madem.device import Cell, Static, draw, program
from madem.errors import InputError
from madem.machine.arrays import array_of
from madem.machine.wired import Solved, Wired
from madem.machine.writing import Pairs, Writing, Written
from madem.network import Coupling, Joint, Matrix
from madem.network.couplings import Moves
from madem.network.joints import Limits


@runtime_checkable
class Store(Protocol):
    """What holds the parameters of one coupling."""

    @property
    def parameters(self) -> list[Tensor]:
        """The parameters as they stand."""

    @property
    def fluctuation(self) -> float | Tensor:
        """Standard deviation of a weight from one settling to the next, or of one per chip."""

    @property
    def limits(self) -> list[Limits | None]:
        """Between which values ``load`` takes each parameter, None where it takes none."""

    def load(self, parameters: Sequence[Tensor]) -> None:
        """Hold ``parameters``, where they are numbers; cells are only written."""

    def couple(self, parameters: Sequence[Tensor], joint: Joint) -> Coupling:
        """Return the coupling of ``joint`` with ``parameters`` in the store's form.

        Raises ``InputError`` where the store cannot hold such a joint.
        """

    def contrast(self, coupling: Coupling, moves: Moves) -> tuple[Tensor, ...]:
        """Return the contrast of ``coupling`` in the form of the store's parameters."""

    def dissipation(self, pre: Tensor, post: Tensor) -> Tensor:
        """Return the power, W per chip, summed over reads.

        ``pre`` and ``post`` are the squared activities of the driven lines, summed over the
        reads, shapes ``(*chips, pre + 1)`` and ``(*chips, post)``.
        """

    def write(self, changes: Sequence[Tensor]) -> Written | None:
        """Change the parameters by ``changes`` as well as the store can; zeros are left alone."""

    def state(self) -> dict[str, Tensor]:
        """Return all that the store holds, for ``restore``."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what ``state`` returned; nothing has changed where that is refused."""


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

    @property
    def limits(self) -> list[Limits | None]:
        """Those of the joint, infinite where it sets none."""
        whole = (-math.inf, math.inf)
        return [self.joint.limits.get(name, whole) for name in self.joint.parameters]

    def load(self, parameters: Sequence[Tensor]) -> None:
        """Hold ``parameters``, which must lie within the limits."""
        self.parameters[:] = parameters

    def couple(self, parameters: Sequence[Tensor], joint: Joint) -> Coupling:
        """Return the coupling of the joint."""
        return joint.couple(parameters)

    def contrast(self, coupling: Coupling, moves: Moves) -> tuple[Tensor, ...]:
        """Return the coupling's contrast; offsets of neurons are biases that no parameter holds."""
        return tuple(coupling.contrast(moves))[: len(self.parameters)]

    def dissipation(self, pre: Tensor, post: Tensor) -> Tensor:
        """Return zero: numbers take no power."""
        return pre.new_zeros(np.broadcast_shapes(pre.shape[:-1], post.shape[:-1]))

    def write(self, changes: Sequence[Tensor]) -> None:
        """Add ``changes``, within the joint's limits."""
        limits = self.joint.limits
        for i, (name, change) in enumerate(zip(self.joint.parameters, changes, strict=True)):
            new = self.parameters[i] + change
            self.parameters[i] = new.clamp(*limits[name]) if name in limits else new

    def state(self) -> dict[str, Tensor]:
        """Return the parameters by name."""
        return dict(zip(self.joint.parameters, self.parameters, strict=True))

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back the parameters."""
        check_fit(state, self.state())
        self.parameters[:] = [state[name].clone() for name in self.joint.parameters]


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
    bias, a line that is always driven with 1. ``fluctuation`` is the read noise of both cells of a
    pair in units of weight, one value or ``(*chips, 1, 1)``; ``fluctuate`` sets it anew. Where the
    arrays are ``wired``, the weights are those between the terminals, which follow every write.
    ``counts``: how often each cell was written, where ``writing`` counts.
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
        wired: Wired | None = None,
    ) -> None:
        """Draw the cells from ``static`` and program them with errors from ``writes``."""
        self.cell = cell
        self.wired = wired
        self.unit = unit
        self.writing = writing
        self.writes = writes
        self.fluctuation: float | Tensor = 0.0
        self.fluctuate(cell.read_sigma)
        self.static = draw(cell, (2, *weight.shape), static, weight.device)
        scaled = weight * unit
        target = base + torch.stack([scaled.clamp_min(0), (-scaled).clamp_min(0)])
        self.cells = program(cell, target, self.static, writes)
        self.solved: Solved | None = None
        self.matrix: Tensor | None = None
        self.counts: Tensor | None = None
        self._derive(self.cells)

    def _derive(self, before: Tensor) -> None:
        """Compute, once per write, what every read needs; cells held ``before`` until then."""
        if self.wired is not None:
            self.matrix = self._followed(self.wired, before)
        self._sum()

    def _sum(self) -> None:
        """Compute weights and line sums of the cells, and of the matrix of wired arrays."""
        if self.wired is None or self.matrix is None:
            self.weight = (self.cells[0] - self.cells[1]).div_(self.unit)
        else:
            self.weight = self.wired.join(self.matrix, *self.cells.shape[-2:]) / self.unit
        total = self.cells[0] + self.cells[1]
        self.line_sums = total.sum(-2), total.sum(-1)

    def _followed(self, wired: Wired, before: Tensor) -> Tensor:
        """Return the matrix of the arrays after a write: what it was, moved, or solved anew."""
        if self.solved is not None and self.matrix is not None:
            sides = wired.lay(before), wired.lay(self.cells)
            followed = self.solved.follow(self.matrix, *sides)
            if followed is not None:
                return followed
        self.solved = wired.solve(self.cells) if wired.worth(before, self.cells) else None
        return wired.matrix(self.cells) if self.solved is None else self.solved.matrix

    @property
    def parameters(self) -> list[Tensor]:
        """The weights that the conductances stand for."""
        return [self.weight]

    @property
    def limits(self) -> list[Limits | None]:
        """None: cells are written."""
        return [None]

    def load(self, parameters: Sequence[Tensor]) -> None:
        """Leave the cells, which are written."""

    def couple(self, parameters: Sequence[Tensor], joint: Joint) -> Coupling:
        """Return the coupling of ``joint``, which must be a matrix ``[W b]``, or ``W`` alone.

        It may be behind amplifiers.
        """
        (lines,) = parameters
        shapes = list(joint.parameters.values())
        post, pre = lines.shape[-2:]
        biased = shapes == [(post, pre - 1), (post,)]
        if biased or shapes == [(post, pre)]:
            coupling = joint.couple([lines[..., :-1], lines[..., -1]] if biased else [lines])
            if type(coupling) is not Matrix and self.wired is not None and self.wired.seen:
                raise InputError(
                    "the rule by the cells' own voltages knows no amplifiers in front of wired "
                    f"arrays, but has the {type(joint).__name__} joint of layers {joint.ends}"
                )
            if type(array_of(coupling)) is Matrix:
                return coupling
        raise InputError(
            f"pairs of cells hold a matrix and its bias, here {post} x {pre} lines, but the "
            f"{type(joint).__name__} joint of layers {joint.ends} has parameters {shapes}"
        )

    def contrast(self, coupling: Coupling, moves: Moves) -> tuple[Tensor, ...]:
        """Return the contrast as it lies on the lines, by the terminals' or the cells' voltages."""
        if self.wired is not None and self.wired.seen and self.solved is not None:
            return (self.wired.contrast(self.solved, moves, self.weight.shape[-1]),)
        weight, *bias = coupling.contrast(moves)
        if weight.shape[-1] == self.weight.shape[-1]:
            return (weight,)
        return (torch.cat([weight, bias[0].unsqueeze(-1)], -1),)

    def dissipation(self, pre: Tensor, post: Tensor) -> Tensor:
        """Return ``sum g v^2`` of the forward and of the transposed read, W per chip.

        Wires make it less: cells then see less than the whole voltage.
        """
        driven, sensed = self.line_sums
        watts = (driven * pre).sum(-1) + (sensed * post).sum(-1)
        return watts * self.cell.read_voltage**2

    def write(self, changes: Sequence[Tensor]) -> Written:
        """Write the cells whose weight is to change."""
        (change,) = changes
        index, before = places(change), self.cells
        held = Pairs(self.cell, before, self.static, self.counts)
        held, written = self.writing(held, index, change[index] * self.unit, self.writes)
        self.cells, self.static, self.counts = held.cells, held.static, held.counts
        if index[0].numel():
            self._derive(before)
        return written

    def wear(self, static: Static) -> None:
        """Become the cells ``static``: stuck ones hold their level, shrunk ones their largest."""
        before, shrunk = self.cells, static.high < self.static.high
        self.static = static
        held = torch.where(shrunk, before.minimum(static.high), before)
        self.cells = torch.where(static.stuck, static.level, held)
        self._derive(before)

    def fluctuate(self, sigma: float | Tensor) -> None:
        """Let every cell fluctuate by ``sigma``, S, between settlings; ``(*chips, 1, 1)`` each."""
        self.fluctuation = 2**0.5 * sigma / self.unit

    def through(self, gradient: Tensor) -> Tensor:
        """Return a gradient by the weights between terminals as one by the cells' own weights."""
        if self.wired is None:
            return gradient
        solved = self.solved or self.wired.solve(self.cells)
        return self.wired.through(solved, gradient.to(self.cells.dtype)).to(gradient.dtype)

    @property
    def about(self) -> Tensor:
        """What the cells are and stand for, as bytes (``as_bytes``); no use changes it."""
        cell = {f"cell.{f.name}": repr(getattr(self.cell, f.name)) for f in fields(self.cell)}
        return as_bytes({"unit": f"{self.unit!r} S", "wires": repr(self.wired), **cell})

    def state(self) -> dict[str, Tensor]:
        """Return all that the store holds: cells, static draw, write counts, generator."""
        held = {"cells": self.cells, "writes": self.writes.get_state(), "about": self.about}
        for each in fields(self.static):
            if each.name != "down" or self.static.down is not self.static.step:
                held[f"static.{each.name}"] = getattr(self.static, each.name).contiguous()
        if self.matrix is not None:
            held["matrix"] = self.matrix
        if self.solved is not None:
            held["arrays"] = self.solved.arrays
        if self.counts is not None:
            held["counts"] = self.counts
        return held

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what ``state`` returned, of cells of the same kind and shape.

        Raises ``InputError`` where those differ. A chip drawn from another seed becomes the one
        that ``state`` was taken of.
        """
        check_fit(state, self.state())
        held = {name: tensor.clone() for name, tensor in state.items()}
        step = held["static.step"]
        parts = (held.get(f"static.{each.name}", step) for each in fields(self.static))
        self.static = Static(*parts)
        self.cells = held["cells"]
        self.writes.set_state(held["writes"].cpu())
        self.counts = held.get("counts")
        if self.wired is not None:
            arrays = held.get("arrays")
            self.solved = None if arrays is None else self.wired.solve_arrays(arrays)
            self.matrix = held["matrix"]
        self._sum()


class Behind:
    """A store for which ``pairs`` of cells compute: what it does not say itself, they say."""

    pairs: SignedPair

    @property
    def fluctuation(self) -> float | Tensor:
        """Read noise of the cells, in units of weight."""
        return self.pairs.fluctuation

    @property
    def parameters(self) -> list[Tensor]:
        """The weights that compute."""
        return self.pairs.parameters

    @property
    def limits(self) -> list[Limits | None]:
        """None: cells are written."""
        return [None]

    def load(self, parameters: Sequence[Tensor]) -> None:
        """Leave the cells, which are written."""

    def couple(self, parameters: Sequence[Tensor], joint: Joint) -> Coupling:
        """Return the coupling that the cells hold."""
        return self.pairs.couple(parameters, joint)

    def contrast(self, coupling: Coupling, moves: Moves) -> tuple[Tensor, ...]:
        """Return the contrast as it lies on the lines."""
        return self.pairs.contrast(coupling, moves)

    def dissipation(self, pre: Tensor, post: Tensor) -> Tensor:
        """Return the power of the cells' reads, W per chip."""
        return self.pairs.dissipation(pre, post)


def cells_of(store: Store) -> SignedPair | None:
    """Return the pairs of cells that compute in ``store``, None where numbers do."""
    found = store.pairs if isinstance(store, Behind) else store
    return found if isinstance(found, SignedPair) else None


LOOSE = ("static.down", "counts", "matrix", "arrays")
"""What one state of a store may hold and another not: it depends on the use that was made of it."""


def check_fit(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse a ``state`` of other settings or shapes than ``own``, the present one, or incomplete.

    >>> check_fit({}, {"cells": torch.zeros(2)})
    Traceback (most recent call last):
    ...
    madem.errors.InputError: the state lacks 'cells': it holds nothing
    """
    for name in (name for name in own if name.endswith("about")):
        check_same(state.get(name, as_bytes({})), own[name])
    for name, tensor in own.items():
        if name.endswith(("about", *LOOSE)):
            continue
        if name not in state:
            held = ", ".join(sorted(state))[:100] or "nothing"
            raise InputError(f"the state lacks {name!r}: it holds {held}")
        if state[name].shape != tensor.shape:
            raise InputError(
                f"the state is of another shape: its {name!r} is {tuple(state[name].shape)}, but "
                f"here it is {tuple(tensor.shape)}"
            )


def as_bytes(settings: Mapping[str, str]) -> Tensor:
    """Return ``settings`` as the bytes of a JSON object, to lie among tensors."""
    return torch.tensor(list(json.dumps(settings).encode()), dtype=torch.uint8)


def check_same(given: Tensor, about: Tensor) -> None:
    """Refuse settings as bytes that are not those of ``about``.

    >>> check_same(as_bytes({"unit": "1 S"}), as_bytes({"unit": "2 S"}))
    Traceback (most recent call last):
    ...
    madem.errors.InputError: the state is of another chip: its unit is 1 S, but here it is 2 S
    """
    theirs, ours = (json.loads(bytes(of.tolist())) for of in (given, about))
    for name, value in ours.items():
        if theirs.get(name) != value:
            raise InputError(
                f"the state is of another chip: its {name} is {str(theirs.get(name))[:80]}, but "
                f"here it is {value[:80]}"
            )


def part_of(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the entries of ``state`` whose names begin with ``prefix``, without it.

    >>> part_of({"0.cells": torch.zeros(2), "noise": torch.zeros(1)}, "0.")
    {'cells': tensor([0., 0.])}
    """
    return {k.removeprefix(prefix): held for k, held in state.items() if k.startswith(prefix)}


def places(change: Tensor) -> tuple[Tensor, ...]:
    """Return where ``change`` is not zero, one contiguous index an axis.

    By NumPy on the CPU, which is six times as fast as ``Tensor.nonzero`` where little is found.

    >>> places(torch.tensor([[0.0, 2.0], [0.0, -1.0]]))
    (tensor([0, 1]), tensor([1, 1]))
    """
    if change.device.type != "cpu":
        return change.nonzero(as_tuple=True)
    flat = np.flatnonzero(change.detach().numpy() != 0)
    return tuple(torch.from_numpy(axis) for axis in np.unravel_index(flat, change.shape))
