"""How the lines of an array are driven, as far as that takes power."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Loads:
    """How lines are driven, summed over the batch: ``powers`` squared, ``sizes`` in magnitude.

    Each ``(*chips, units)``. Cells dissipate by the square of their voltage, and a driver takes
    from its supply by the magnitude of its current.
    """

    powers: Tensor
    sizes: Tensor

    @staticmethod
    def of(activity: Tensor) -> Loads:
        """Return those of lines at ``activity``, ``(*chips, batch, units)``."""
        return Loads(activity.square().sum(-2), activity.abs().sum(-2))

    def on(self, lines: int, samples: int) -> Loads:
        """Return these on ``lines`` lines: the last, at 1, is the bias's where it is one more."""
        one = torch.full_like(self.powers[..., : lines - self.powers.shape[-1]], samples)
        return Loads(*(torch.cat([each, one], -1) for each in (self.powers, self.sizes)))

    def off(self) -> Loads:
        """Return lines that are not driven."""
        return Loads(torch.zeros_like(self.powers), torch.zeros_like(self.sizes))
