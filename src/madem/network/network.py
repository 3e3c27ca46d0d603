"""Networks: frozen physics that holds no tensors, and the problem that a machine lets settle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from madem.errors import InputError
from madem.network.couplings import Coupling
from madem.network.laws import Law


@dataclass(frozen=True)
class Layer:
    """``units`` neurons under one ``law``."""

    units: int
    law: Law


@dataclass(frozen=True)
class Network:
    """A chain of layers above a clamped input, joined by dense couplings with a bias line.

    ``E = sum_l |s_l|^2 / 2 - sum_l s_l^T (W_l s_{l-1} + b_l)`` over the loaded layers, each
    state kept where its law allows (DESIGN 2).

    >>> from madem.network.laws import Box, Readout
    >>> Network(60, (Layer(31, Box()), Layer(32, Readout()))).shapes
    ((31, 61), (32, 32))
    """

    inputs: int
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        """Refuse what cannot be a chain."""
        if not self.layers:
            raise InputError("layers must hold at least one layer, but is empty")
        for layer in self.layers[:-1]:
            if not layer.law.loaded:
                raise InputError("only the last layer can be a readout outside the energy")

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Shape ``(post, pre + 1)`` of every coupling's weight, the bias line included."""
        below = (self.inputs, *(layer.units for layer in self.layers))
        return tuple((post, pre + 1) for pre, post in pairwise(below))

    def bind(self, couplings: Sequence[Coupling], x: Float[Tensor, "... inputs"]) -> Problem:
        """Join parameters and input. The drive of the clamped input is computed here, once."""
        return Problem(self.layers, tuple(couplings), x, couplings[0].forward(x))


@dataclass(frozen=True)
class Problem:
    """What comes to rest: layers, their couplings, the clamped input ``x`` and its drive."""

    layers: tuple[Layer, ...]
    couplings: tuple[Coupling, ...]
    x: Tensor
    clamped: Tensor

    @property
    def order(self) -> tuple[int, ...]:
        """Layers in the order in which they should move: those the nudge alone moves go first."""
        return tuple(sorted(range(len(self.layers)), key=lambda i: self.layers[i].law.loaded))

    @property
    def direct(self) -> bool:
        """Whether one pass is exact, since at most one layer feels another that moves."""
        return sum(layer.law.loaded for layer in self.layers) <= 1

    def pull(self, index: int, states: Sequence[Tensor]) -> Tensor:
        """Return the current into layer ``index`` from its neighbours."""
        below = self.clamped if index == 0 else self.couplings[index].forward(states[index - 1])
        if index + 1 == len(self.layers):
            return below
        return below + self.couplings[index + 1].backward(states[index + 1])

    def rest(self, index: int, states: Sequence[Tensor], nudge: Tensor | None) -> Tensor:
        """Return the exact minimiser of the energy in layer ``index``, the others fixed.

        ``nudge`` is a current drawn from the last layer, None in the free phase.
        """
        last = index + 1 == len(self.layers)
        law = self.layers[index].law
        drive = self.pull(index, states) if law.loaded else torch.zeros_like(states[index])
        return law.rest(drive - nudge if last and nudge is not None else drive)

    def start(self) -> list[Tensor]:
        """Return all states at zero."""
        shape = self.clamped.shape[:-1]
        return [self.clamped.new_zeros((*shape, layer.units)) for layer in self.layers]

    def output(self, states: Sequence[Tensor]) -> Tensor:
        """Return what the output lines carry: the pull on the last layer.

        For a free output at rest that is its state, for a readout what is sensed.
        """
        return self.pull(len(self.layers) - 1, states)

    def energy(self, states: Sequence[Tensor]) -> Tensor:
        """Return the energy of each sample, shape ``(*chips, batch)``.

        >>> from madem.network import Dense, Free
        >>> net = Network(1, (Layer(1, Free()),))
        >>> problem = net.bind([Dense(torch.tensor([[2.0, 0.0]]))], torch.tensor([[3.0]]))
        >>> problem.energy([torch.tensor([[6.0]])]).item()  # 36 / 2 - 6 * 6
        -18.0
        """
        total = torch.zeros_like(self.clamped[..., 0])
        for index, (coupling, state) in enumerate(zip(self.couplings, states, strict=True)):
            pre = self.x if index == 0 else states[index - 1]
            if self.layers[index].law.loaded:
                total = total + state.square().sum(-1) / 2
            total = total + coupling.energy(pre, state)
        return total
