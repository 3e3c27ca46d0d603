"""Block coordinate descent: each layer jumps to its exact minimum, the others fixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Settling(Protocol):
    """All that a solver sees of the physics: layers, each with an exact rest."""

    @property
    def order(self) -> tuple[int, ...]:
        """The layers in the order in which they should move."""

    @property
    def direct(self) -> bool:
        """Whether one pass is exact."""

    def rest(self, index: int, states: Sequence[Tensor], nudge: Tensor | None) -> Tensor:
        """Return the exact minimiser of one layer, the others fixed."""

    def start(self) -> list[Tensor]:
        """Return a state to start from."""


@dataclass(frozen=True)
class Rest:
    """Where a solver stopped.

    ``residual`` is the largest distance of any unit from its rest, ``converged`` whether that
    is within the tolerance, ``sweeps`` how many passes over the layers it took.
    """

    states: tuple[Tensor, ...]
    sweeps: int
    residual: float
    converged: bool


@dataclass(frozen=True)
class Sweep:
    """Let every layer jump to its rest in turn, until no unit moves by more than ``tolerance``.

    ``budget`` bounds the sweeps. States are dimensionless. Where one pass is exact, one is made.

    >>> import torch
    >>> from madem.network import Dense, Free, Layer, Network
    >>> problem = Network(1, (Layer(1, Free()),)).bind(
    ...     [Dense(torch.tensor([[2.0, 1.0]]))], torch.tensor([[3.0]]))
    >>> Sweep().settle(problem).states[0].item()
    7.0
    """

    tolerance: float = 1e-5
    budget: int = 100

    def settle(
        self,
        problem: Settling,
        nudge: Tensor | None = None,
        start: Sequence[Tensor] | None = None,
    ) -> Rest:
        """Return the rest of ``problem`` under ``nudge``, a current drawn from the outputs."""
        states = list(problem.start() if start is None else start)
        residual = 0.0
        for sweep in range(1, self.budget + 1):
            before = list(states)
            for index in problem.order:
                states[index] = problem.rest(index, states, nudge)
            if problem.direct:
                return Rest(tuple(states), sweep, 0.0, True)
            residual = max(
                float((now - then).detach().abs().max())
                for now, then in zip(states, before, strict=True)
            )
            if residual <= self.tolerance:
                return Rest(tuple(states), sweep, residual, True)
        return Rest(tuple(states), self.budget, residual, False)
