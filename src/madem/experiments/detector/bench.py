"""What all strategies share, and what each of them finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from madem.data.detector import Kind, Shift
from madem.experiments.detector.config import DetectorConfig
from madem.experiments.running.online import Calibrated
from madem.ledger import Ledger
from madem.randomness import stream

REJECTED = 0.9
"""The share of frames without a hit that is to be rejected."""


@dataclass(frozen=True, eq=False)
class Bench:
    """What all strategies share: frames, labels, and networks calibrated on either kind of inputs.

    ``asked``, ``label``: which frames get a label, and what it says; ``delay``: how late, s;
    ``trained``: by kind of inputs and ``chip`` or ``ideal``; ``nearest``: of every
    block, the scattering vector at which it is, 1/angstrom.
    """

    config: DetectorConfig
    shift: Shift
    asked: Tensor
    label: Tensor
    delay: float
    trained: Mapping[tuple[Kind, str], Calibrated]
    seed: int
    nearest: Tensor
    tell: Callable[[int], None] = lambda _: None

    @property
    def tested(self) -> slice:
        """The frames that are judged: those of validation, then the shift."""
        return slice(self.config.validating.start, None)

    def draws(self, name: str) -> Generator:
        """Return the stream of a strategy."""
        return stream(self.seed, "detector", name)

    def inputs(self, kind: Kind) -> Tensor:
        """Return all frames as inputs of a network."""
        return self.shift.inputs(kind, self.config.calibrating)


@dataclass(frozen=True, eq=False)
class Found:
    """How a strategy scored every tested frame, ``(chips, frames)``, more for likelier hits.

    ``writes``: of all cells in the shift, each chip; ``alarms``: of chip, after how many labels.
    """

    score: Tensor
    writes: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.float64))
    judging: Ledger | None = None
    learning: Ledger | None = None
    alarms: tuple[tuple[int, int], ...] = ()


Doing = Callable[[Bench, str], Found]
"""A strategy at work, given its name."""


@dataclass(frozen=True)
class Strategy:
    """A ``title`` for people, and what is done."""

    title: str
    run: Doing
