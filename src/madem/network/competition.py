"""Units of one layer that compete: a law of the whole layer, and thresholds that balance their use.

Each of ``Softmax`` units remembers one pattern, as in a modern Hopfield network (Krotov and
Hopfield, arXiv 2008.06996). As a circuit: subthreshold transistors that share one tail current.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from madem.errors import InputError
from madem.network.couplings import Coupling, Moves, Shape, States
from madem.network.joints import Signed, match_shapes
from madem.network.laws import Curvature, Mover


@dataclass(frozen=True)
class Softmax:
    """Units that share an activity of one: ``s = softmax(gain d)`` along the last axis.

    ``phi(s) = sum s log s / gain`` where activities are positive and sum to one, which is convex.
    A larger ``gain`` leaves fewer winners. Not to be loaded by resistors.

    >>> Softmax(2.0).rest(0.0, torch.zeros(1, 2)).tolist()
    [[0.5, 0.5]]
    """

    gain: float = 1.0
    loaded: ClassVar[bool] = True
    bound: ClassVar[float] = 1.0
    analytic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse a gain that is none."""
        if not (self.gain > 0 and math.isfinite(self.gain)):
            raise InputError(f"gain of Softmax must be positive, but is {self.gain}")

    def rest(self, a: Curvature, d: Tensor) -> Tensor:
        """Return ``softmax(gain d)``."""
        _check_load(a)
        return torch.softmax(self.gain * d, -1)

    def mover(self, at: Tensor, excess: Tensor) -> Mover:
        """Return ``at (exp(gain (change - common)) - 1)``; ``common`` keeps the sum at one.

        A large change is taken from the logarithms of the states, which hold what underflowed.
        """
        logs = torch.log_softmax(self.gain * excess, -1)

        def move(a: Curvature, change: Tensor) -> Tensor:
            _check_load(a)
            up = self.gain * (change - (at * change).sum(-1, keepdim=True))
            near = torch.log1p((at * torch.expm1(up.clamp(-1, 1))).sum(-1, keepdim=True))
            far = torch.logsumexp(logs + up, -1, keepdim=True)
            up = up - torch.where(up.abs().amax(-1, keepdim=True) < 1, near, far)
            return torch.where(up < 1, at * torch.expm1(up.clamp_max(1)), (logs + up).exp() - at)

        return move

    def slope(self, at: Tensor, excess: Tensor) -> Tensor:
        """Return ``1 / (gain s)``, for displacements that sum to zero: others cannot be."""
        del excess
        return 1 / (self.gain * at)

    def energy(self, s: Tensor) -> Tensor:
        """Return ``s log(s) / gain``."""
        return torch.xlogy(s, s) / self.gain

    def along(self, at: Tensor, v: Tensor) -> Tensor:
        """Return ``B v``, ``B = diag(q) (1 - q q^T)`` with ``q = sqrt(s)``, which sums to zero.

        ``B^T phi'' B`` is ``1 / gain`` however small a state is, so that linear systems keep their
        digits, and ``gain B B^T f = gain (s f - s (s . f))`` is the slope of the softmax.
        """
        q = at.sqrt()
        return q * (v - q * (q * v).sum(-1, keepdim=True))

    def across(self, at: Tensor, force: Tensor) -> Tensor:
        """Return ``B^T force``."""
        q = at.sqrt()
        return q * force - q * (at * force).sum(-1, keepdim=True)


@dataclass(frozen=True)
class Thresholds(Signed):
    """A current into each of the ``units`` of ``layer``, held in a register beside the neuron.

    It lies on no array, so that no cell bounds it: a converter per unit makes it. Starts at zero.

    >>> Thresholds(3).parameters
    {'bias': (3,)}
    """

    units: int
    layer: int = 1

    @property
    def ends(self) -> tuple[int]:
        """The one layer."""
        return (self.layer,)

    @property
    def parameters(self) -> dict[str, Shape]:
        """The currents."""
        return {"bias": (self.units,)}

    def check(self, shapes: Sequence[Shape]) -> None:
        """Refuse a layer of another shape."""
        match_shapes(self, shapes, ((self.units,),))

    def initial(self, draws: Generator) -> list[Tensor]:
        """Return zeros."""
        return [torch.zeros(self.units, device=draws.device)]

    def overuse(self, states: Sequence[Tensor]) -> Tensor:
        """Return by how much each unit's free activity, mean over the batch, lies above its share.

        ``states`` of the input and of every layer; ``(*chips, units)``. A current that falls with
        it balances how much units are used, by what each neuron itself shows: units that compete
        and never win else stay as they were drawn. A readout shows none.

        >>> Thresholds(2).overuse([torch.zeros(1, 3), torch.tensor([[1.0, 0.0]])])
        tensor([ 0.5000, -0.5000])
        """
        used = states[self.layer].mean(-2)
        return used - used.mean(-1, keepdim=True)

    def couple(self, parameters: Sequence[Tensor]) -> Bias:
        """Return the coupling."""
        return Bias(parameters[0])


@dataclass(frozen=True)
class Bias(Coupling):
    """Constant currents into one layer: ``E = -bias . s``; ``bias``: ``(*chips, units)``."""

    bias: Tensor

    def pull(self, end: int, states: States) -> Tensor:
        """Return none: it feels nothing."""
        del end
        return states[0].new_zeros(())

    def felt(self, end: int) -> tuple[int, ...]:
        """Return none."""
        del end
        return ()

    def constant(self, end: int) -> Tensor:
        """Return the currents, a row for all samples."""
        del end
        return self.bias.unsqueeze(-2)

    def energy(self, states: States) -> Tensor:
        """Return ``-bias . s``."""
        return -(states[0] * self.bias.unsqueeze(-2)).sum(-1)

    def contrast(self, moves: Moves) -> tuple[Tensor]:
        """Return minus the change of the states, summed over samples."""
        change = moves[0].change
        return (torch.zeros_like(self.bias) if change is None else -change.sum(-2),)

    def displaced(self, at: States) -> Bias:
        """Return itself: of displacements no constant counts."""
        del at
        return self


def _check_load(a: Curvature) -> None:
    if isinstance(a, Tensor) or a != 0:
        raise InputError("law Softmax cannot be loaded by resistors; use Box or Shockley")
