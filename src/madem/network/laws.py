"""Node laws: what one neuron does with the current that it receives.

A law is the scalar problem that a node solves, ``argmin_s s^2/2 - d s + phi(s)``, for a drive
``d``. Laws differ in ``phi`` and nowhere else (DESIGN 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Law(Protocol):
    """What a layer's neurons do. ``loaded`` is False where the layer only listens."""

    @property
    def loaded(self) -> bool:
        """Whether the current from the network moves the node (else only the nudge does)."""

    @property
    def bound(self) -> float | None:
        """Largest magnitude of the state, None where it has none."""

    def rest(self, drive: Float[Tensor, "*batch units"]) -> Float[Tensor, "*batch units"]:
        """Return the state at rest under ``drive`` (both dimensionless)."""


@dataclass(frozen=True)
class Box:
    """A leaky node between two limits, a hard sigmoid: ``s = clip(d, -limit, limit)``.

    In the circuit: an amplifier with unit leak that saturates, or two diodes.

    >>> import torch
    >>> Box(1.0).rest(torch.tensor([[-3.0, 0.5]])).tolist()
    [[-1.0, 0.5]]
    """

    limit: float = 1.0
    loaded: bool = True

    @property
    def bound(self) -> float:
        """The limit itself."""
        return self.limit

    def rest(self, drive: Float[Tensor, "*batch units"]) -> Float[Tensor, "*batch units"]:
        """Return the clipped drive."""
        return drive.clamp(-self.limit, self.limit)


@dataclass(frozen=True)
class Free:
    """A linear node with unit leak, ``s = d``: an output inside the energy.

    >>> import torch
    >>> Free().rest(torch.tensor([[2.5]])).item()
    2.5
    """

    loaded: bool = True
    bound: None = None

    def rest(self, drive: Float[Tensor, "*batch units"]) -> Float[Tensor, "*batch units"]:
        """Return the drive."""
        return drive


@dataclass(frozen=True)
class Readout:
    """An output outside the energy: sensed at virtual ground, driven by the nudge alone.

    In the free phase its state is zero, so that it does not load the layer below; in a nudged
    phase the same lines are driven, and feed the nudge back by the transposed read. The energy
    therefore stays convex however strong the output couplings grow.

    >>> import torch
    >>> Readout().rest(torch.tensor([[-0.1]])).item() < 0
    True
    """

    loaded: bool = False
    bound: None = None

    def rest(self, drive: Float[Tensor, "*batch units"]) -> Float[Tensor, "*batch units"]:
        """Return the drive, which for this law is the nudge alone."""
        return drive
