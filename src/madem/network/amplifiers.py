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
from madem.network.couplings import Coupling, Move, Moves, Shape, States, displaced
from madem.network.joints import Joint, Limits


@dataclass(frozen=True)
class Amplified:
    """A joint behind bidirectional amplifiers: ``voltage_gain`` forward, ``current_gain`` back.

    Each is one number, or one per line of the lower layer, without unit. What the upper layer sees
    of the lower one is multiplied by ``voltage_gain``, what comes back by ``current_gain``. The
    joint then counts ``current_gain / voltage_gain`` times in the energy: a ratio that must be one
    for all lines of the stage, or there is no energy.

    >>> from madem.network.joints import Dense
    >>> Amplified(Dense((4,), 2, (1, 2)), 1.0, 0.01).ratio
    0.01

    >>> Amplified(Dense((2,), 1), (2.0, 2.0), (0.5, 1.0))
    Traceback (most recent call last):
    ...
    madem.errors.InputError: voltage_gain (2.0, 2.0) with current_gain (0.5, 1.0): the ratio of \
current gain to voltage gain must be one number for all lines of a stage, or there is no energy
    """

    joint: Joint
    voltage_gain: float | tuple[float, ...]
    current_gain: float | tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse amplifiers without an energy."""
        sides = (self.voltage_gain, self.current_gain)
        up, back = (side if isinstance(side, tuple) else (side,) for side in sides)
        count = max(len(up), len(back))
        up, back = (side * count if len(side) == 1 else side for side in (up, back))
        if len(up) != len(back) or not all(v > 0 and math.isfinite(v) for v in (*up, *back)):
            raise InputError(
                "voltage_gain and current_gain must be positive, one number or one per line, but "
                f"are {self.voltage_gain} and {self.current_gain}"
            )
        ratios = [b / u for u, b in zip(up, back, strict=True)]
        if any(abs(r - ratios[0]) > 1e-12 * ratios[0] for r in ratios):
            raise InputError(
                f"voltage_gain {self.voltage_gain} with current_gain {self.current_gain}: the "
                "ratio of current gain to voltage gain must be one number for all lines of a "
                "stage, or there is no energy"
            )
        if any(u != up[0] for u in up):
            raise InputError(
                f"voltage_gain must be one number for all lines of a stage, but is {up}"
            )

    @property
    def _gains(self) -> tuple[float, float]:
        up, back = (
            side[0] if isinstance(side, tuple) else side
            for side in (self.voltage_gain, self.current_gain)
        )
        return up, back

    @property
    def ratio(self) -> float:
        """Current gain over voltage gain."""
        up, back = self._gains
        return back / up

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
        return Amplifier(self.joint.couple(parameters), self._gains[0], 1.0)


@dataclass(frozen=True)
class Amplifier:
    """Any coupling behind a bidirectional amplifier: ``E = share E'(gain pre, post)``.

    ``gain``: voltage gain forward; ``share``: the product of (current gain) / (voltage gain) of all
    stages from the input up to here. With it the currents of every node derive from one energy,
    though each stage passes back a current of its own choice.

    >>> import torch
    >>> from madem.network.resistors import Resistors
    >>> Amplifier(Resistors(torch.ones(1, 1)), 4.0, 1.0).curvature(0).item()
    16.0
    """

    coupling: Coupling
    gain: float
    share: float

    def felt(self, end: int) -> tuple[int, ...]:
        """Return what the coupling feels."""
        return self.coupling.felt(end)

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
