"""Bidirectional amplifiers between layers: a joint behind them, and its coupling.

The published circuit (arXiv 2006.01981) restores levels with them; with a current gain far below 1
what comes back is feeble, so that few sweeps settle a network and its rest is nearly the forward
pass of the same layers. What is behind amplifiers counts ``network.shares`` times in the energy, so
that a nudge of strength ``beta shares[-1]`` moves the outputs as far as ``beta`` without them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Generator, Tensor

from madem.errors import InputError
from madem.network.couplings import Around, Move, Moves, Shape, States, displaced
from madem.network.joints import Joint, Limits


@dataclass(frozen=True)
class Amplified:
    """A joint behind bidirectional amplifiers: ``voltage_gain`` forward, ``current_gain`` back.

    What the upper layer sees of the lower one is multiplied by ``voltage_gain``, what comes back by
    ``current_gain``, numbers without unit. The joint then counts ``current_gain / voltage_gain``
    times in the energy: a ratio that must be one for all lines of the stage, as both numbers are.

    >>> from madem.network.joints import Dense
    >>> Amplified(Dense((4,), 2, (1, 2)), 1.0, 0.01).ratio
    0.01

    >>> Amplified(Dense((2,), 1), 2.0, (0.5, 1.0))
    Traceback (most recent call last):
    ...
    madem.errors.InputError: current_gain must be one number for all lines of a stage, or there is \
no energy, positive and finite, but is (0.5, 1.0)
    """

    joint: Joint
    voltage_gain: float
    current_gain: float

    def __post_init__(self) -> None:
        """Refuse amplifiers without an energy."""
        for name in ("voltage_gain", "current_gain"):
            gain = getattr(self, name)
            if not (isinstance(gain, int | float) and 0 < gain < math.inf):
                raise InputError(
                    f"{name} must be one number for all lines of a stage, or there is no energy, "
                    f"positive and finite, but is {gain}"
                )

    @property
    def ratio(self) -> float:
        """Current gain over voltage gain."""
        return self.current_gain / self.voltage_gain

    @property
    def ends(self) -> tuple[int, ...]:
        """Those of the joint."""
        return self.joint.ends

    @property
    def parameters(self) -> dict[str, Shape]:
        """Those of the joint."""
        return self.joint.parameters

    @property
    def limits(self) -> dict[str, Limits]:
        """Those of the joint."""
        return self.joint.limits

    def check(self, shapes: Sequence[Shape]) -> None:
        """Refuse what the joint refuses."""
        self.joint.check(shapes)

    def initial(self, draws: Generator) -> list[Tensor]:
        """Draw what the joint draws."""
        return self.joint.initial(draws)

    def couple(self, parameters: Sequence[Tensor]) -> Amplifier:
        """Return the coupling behind the amplifier, in a share of 1 of the energy."""
        return Amplifier(self.joint.couple(parameters), self.voltage_gain, 1.0)


@dataclass(frozen=True)
class Amplifier(Around):
    """Any coupling behind a bidirectional amplifier: ``E = share E'(gain pre, post)``.

    ``gain``: voltage gain forward; ``share``: the product of (current gain) / (voltage gain) of all
    stages from the input up to here. With it the currents of every node derive from one energy,
    though each stage passes back a current of its own choice.

    >>> import torch
    >>> from madem.network.resistors import Resistors
    >>> Amplifier(Resistors(torch.ones(1, 1)), 4.0, 1.0).curvature(0).item()
    16.0
    """

    gain: float
    share: float

    def _driven(self, states: States) -> list[Tensor]:
        """Return what the coupling sees; at gain 1 the very same states, by which it knows them."""
        return list(states) if self.gain == 1 else [self.gain * states[0], *states[1:]]

    def pull(self, end: int, states: States) -> Tensor:
        """Return the pull in units of the one energy."""
        factor = self.share * (self.gain if end == 0 else 1.0)
        pull = self.coupling.pull(end, self._driven(states))
        return pull if factor == 1 else factor * pull

    def constant(self, end: int) -> Tensor | None:
        """Return the constant in units of the one energy."""
        value = self.coupling.constant(end)
        return None if value is None else self.share * value

    def curvature(self, end: int) -> Tensor | float:
        """Return the load in units of the one energy."""
        factor = self.share * (self.gain**2 if end == 0 else 1.0)
        return factor * self.coupling.curvature(end)

    def energy(self, states: States) -> Tensor:
        """Return this stage's part of the one energy."""
        return self.share * self.coupling.energy(self._driven(states))

    def contrast(self, moves: Moves) -> tuple[Tensor, ...]:
        """Return the coupling's contrast between the amplified states."""
        if self.gain != 1:
            pre, gain = moves[0], self.gain
            high, low = (None if side is None else gain * side for side in (pre.high, pre.low))
            moves = [Move(gain * pre.at, high, low, pre.scale), *moves[1:]]
        parts = self.coupling.contrast(moves)
        return tuple(self.share * part for part in parts)

    def displaced(self, at: States) -> Amplifier:
        """Return the displaced coupling behind the same amplifier."""
        return replace(self, coupling=displaced(self.coupling, self._driven(at)))
