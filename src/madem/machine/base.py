"""What a machine is: something that settles, contrasts two settlings and can be written.

Simulated chips, circuits and chips in a laboratory are machines. Estimators, trainers and modules
ask for what stands here, and for nothing else.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from madem.errors import InputError
from madem.ledger import Event
from madem.machine.writing import Written
from madem.network import Move, Network, Nudge
from madem.network.joints import Limits

Scale = Tensor | complex | float
"""How often each sample counts: one number, or one per sample, ``(*chips, batch)``."""

Listener = Callable[[Event], None]
"""Who hears what a machine did, such as a ``Ledger``."""


def silent(event: Event) -> None:
    """Hear an event, and forget it."""
    del event


@dataclass(frozen=True)
class Observed:
    """What a machine at rest shows of itself.

    ``states``: the sensed activities of the clamped input and of every layer, each of the shape
    ``(*chips, batch, *units)``. Where ``origin`` is given, the free settling from which the nudge
    moved the machine, they are displacements from the states of ``origin``, which keep their
    precision however small they are. ``output``: what the output lines read, in a free phase;
    ``converged``: whether each sample came to rest, ``(*chips, batch)``.
    """

    states: tuple[Tensor, ...]
    output: Tensor
    converged: Tensor
    origin: Observed | None = None


Start = Observed | Sequence[Tensor] | None
"""Where a settling begins: at a free settling of the same input, at states of the layers, or at
nothing."""


@runtime_checkable
class Machine(Protocol):
    """The verbs of a machine. Who inherits from it writes ``settle`` and ``write`` alone.

    ``network``: the layers and joints that it computes with; ``settled``, ``unsettled``: how many
    samples it has settled so far, and how many of them missed the tolerance.
    """

    network: Network
    settled: int = 0
    unsettled: int = 0

    @property
    @abstractmethod
    def parameters(self) -> list[Tensor]:
        """The parameters as they stand, one joint's after another's; new tensors after a write."""

    @abstractmethod
    def settle(self, x: Tensor, nudge: Nudge | None = None, start: Start = None) -> Observed:
        """Come to rest with ``x``, ``(*chips, batch, *inputs)``, on the input; free without nudge.

        ``start``: the free settling of the same ``x`` from which a nudged phase starts, or the
        states of the layers to start from.
        """

    @abstractmethod
    def write(self, changes: Sequence[Tensor]) -> tuple[Written | None, ...]:
        """Change the parameters by ``changes`` as well as the machine can; zeros are left alone.

        Returns what that took, one per joint, None where it took nothing.
        """

    def settle_each(self, free: Observed, nudges: Sequence[Nudge]) -> Sequence[Observed]:
        """Come to rest under each of ``nudges``, from the free settling ``free``."""
        return [self.settle(free.states[0], nudge, free) for nudge in nudges]

    def contrast(self, high: Observed, low: Observed, scale: Scale = 1.0) -> tuple[Tensor, ...]:
        """Return ``dE/dtheta`` at ``high`` minus at ``low``, one per parameter.

        Summed over samples, by the network's own rule from the sensed activities, such as
        ``-(post pre^T)``.
        """
        moves = between(high, low, scale)
        parts: list[Tensor] = []
        couplings = self.network.couple(self.parted(self.parameters))
        for joint, coupling in zip(self.network.joints, couplings, strict=True):
            parts += coupling.contrast([moves[end] for end in joint.ends])
        return tuple(parts)

    def reaction(self, high: Observed, low: Observed, scale: Scale = 1.0) -> Tensor:
        """Return ``dE/dx`` at ``high`` minus at ``low``, the shape of ``x``.

        Raises ``InputError`` where the machine does not sense its input's lines.
        """
        del high, low, scale
        raise InputError(
            f"a {type(self).__name__} does not sense the lines of its input, so that there is no "
            "gradient by x: give it an x that needs none"
        )

    def strength(self, free: Observed, current: Tensor, share: float | None) -> Tensor:
        """Return for each sample how strong a nudge by ``current`` moves it by ``share`` of itself.

        ``(*chips, batch)``. Raises ``InputError`` where so small a move would not be seen.
        """
        del free, current, share
        raise InputError(
            "a RelativeMove would be lost in the noise or the converters of this machine: choose a "
            "strength of order 1, as centred(1.0)"
        )

    @property
    def exact(self) -> bool:
        """Whether the same settling always shows the same states, as they are."""
        return False

    @property
    def bare(self) -> bool:
        """Whether the machine is nothing but its parameters: exact numbers, and no other state."""
        return False

    @property
    def names(self) -> list[str]:
        """A name for each parameter, such as ``1.weight`` for that of the first joint."""
        return [f"{i}.{n}" for i, j in enumerate(self.network.joints, 1) for n in j.parameters]

    @property
    def limits(self) -> list[Limits | None]:
        """Between which values ``load`` takes each parameter; None for one that is only written."""
        return [None for _ in self.parameters]

    def load(self, parameters: Sequence[Tensor]) -> None:
        """Compute with ``parameters`` from now on, where ``limits`` says that they are numbers."""
        del parameters

    def watched(self, noise: Generator, listener: Listener = silent) -> Machine:
        """Return the same machine for who only looks: it draws from ``noise``, tells ``listener``.

        What cannot be looked at without a trace, such as a chip in a laboratory, is itself.
        """
        del noise, listener
        return self

    def part(self, *names: str | int) -> None:
        """Draw noise of its own for ``names`` from now on, where noise is drawn at all."""
        del names

    def state(self) -> dict[str, Tensor]:
        """Return all that can be taken out, for ``restore``: here, how many samples settled."""
        return {"settlings": torch.tensor([self.settled, self.unsettled])}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what ``state`` returned; nothing has changed where that is refused."""
        self.settled, self.unsettled = state["settlings"].tolist()

    def count(self, converged: Tensor) -> None:
        """Count settled samples."""
        self.settled += converged.numel()
        if not bool(converged.all()):
            self.unsettled += int((~converged).sum())

    def parted(self, parameters: Sequence[Tensor]) -> list[list[Tensor]]:
        """Return ``parameters`` as a list per joint."""
        left = iter(parameters)
        return [[next(left) for _ in joint.parameters] for joint in self.network.joints]


def between(high: Observed, low: Observed, scale: Scale = 1.0) -> list[Move]:
    """Return how the input and every layer moved between two settlings.

    Displacements from one free settling stay what they are; of states that were sensed, the low
    ones are the origin.

    >>> rest = Observed((torch.ones(1, 1), torch.ones(1, 1)), torch.ones(1, 1), torch.ones(1) > 0)
    >>> still, move = between(rest, rest)
    >>> still.change, move.change.item()
    (None, 0.0)
    """
    origin = high.origin or low.origin
    sides = zip(high.states[1:], low.states[1:], strict=True)
    if origin is None:
        moves = [Move(b, h - b, scale=scale) for h, b in sides]
        return [Move(low.states[0], scale=scale), *moves]
    moves = [
        Move(at, h if high.origin else None, b if low.origin else None, scale)
        for at, (h, b) in zip(origin.states[1:], sides, strict=True)
    ]
    return [Move(origin.states[0], scale=scale), *moves]
