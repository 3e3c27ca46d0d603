"""All that a training needs, as data: what learns what, on which machine, how, and how long."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from madem.data.task import Task
from madem.errors import InputError
from madem.learn.estimators import Estimator
from madem.learn.rules import Rate, Rule
from madem.machine import Machine
from madem.machine.base import Listener, silent
from madem.network import Joint, Network, Thresholds
from madem.randomness import stream

Value = TypeVar("Value")


@dataclass(frozen=True)
class Cosine:
    """Rates that fall to zero as a half cosine, once in every ``every`` steps.

    >>> [round(Cosine()(step, 4), 3) for step in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """

    every: int = 1

    def __call__(self, step: int, steps: int) -> float:
        """Return what all rates are multiplied by at ``step`` of ``steps``."""
        return (1 + math.cos(math.pi * (step - step % self.every) / steps)) / 2


@dataclass(frozen=True)
class Exponential:
    """Rates multiplied by ``decay`` once in every ``every`` steps; constant where that is 1.

    >>> Exponential(0.5, every=2)(3, 4)
    0.5
    """

    decay: float = 1.0
    every: int = 1

    def __call__(self, step: int, steps: int) -> float:
        """Return what all rates are multiplied by at ``step`` of ``steps``."""
        del steps
        return float(self.decay ** (step // self.every))


def spread_over(values: Sequence[Value], count: int, field: str) -> list[Value]:
    """Return one value for each of ``count`` joints, from as many or from one.

    Raises ``InputError``, which names the ``field``, where there are neither.
    """
    if len(values) not in (1, count):
        raise InputError(f"{field} needs 1 or {count} values, one per joint, but has {len(values)}")
    return list(values) * (count // len(values))


@dataclass(frozen=True)
class Schedule:
    """How long a training lasts, and how fast it learns.

    ``steps`` of ``batch`` samples; ``rates``: the learning rate of every joint at the start, or one
    for all; ``fall`` multiplies them; ``weight_decay``: what is added of each parameter to its
    gradient; ``looks``: after which steps the network is tested, besides before the first;
    ``first_input``: what inputs are multiplied by at first, growing geometrically to 1 over
    ``input_share`` of the steps: units that compete for small inputs share them; ``balance``: what
    is added to the gradient of ``Thresholds`` of how much more than its share each unit is used.

    >>> Schedule(10, 32, (0.5,)).at(5, 2)
    [0.25, 0.25]
    """

    steps: int
    batch: int
    rates: tuple[Rate, ...]
    fall: Cosine | Exponential = Cosine()
    weight_decay: float = 0.0
    looks: tuple[int, ...] = ()
    first_input: float = 1.0
    input_share: float = 0.6
    balance: float = 0.0

    def __post_init__(self) -> None:
        """Refuse inputs that would not rise, and what does not balance."""
        if not (self.balance >= 0 and math.isfinite(self.balance)):
            raise InputError(f"schedule.balance must be zero or positive, but is {self.balance}")
        for name in ("first_input", "input_share"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"schedule.{name} must be above 0 and at most 1, but is "
                                 f"{getattr(self, name)}")  # fmt: skip

    def amplitude(self, step: int) -> float:
        """Return what inputs are multiplied by at ``step``.

        >>> Schedule(10, 32, (0.5,), first_input=0.01, input_share=0.4).amplitude(2)
        0.1
        """
        return float(self.first_input ** max(0.0, 1 - step / (self.input_share * self.steps)))

    def balancing(self, joint: Joint, states: Sequence[Tensor]) -> Tensor | float:
        """Return what ``balance`` adds to the gradient of ``joint`` at free ``states``."""
        return self.balance * joint.overuse(states) if isinstance(joint, Thresholds) else 0.0

    def at(self, step: int, joints: int) -> list[Rate]:
        """Return the learning rate of each of ``joints`` joints at ``step``.

        Raises ``InputError`` where there are neither one rate nor as many as joints.
        """
        fall = self.fall(step, self.steps)
        return [rate * fall for rate in spread_over(self.rates, joints, "schedule.rates")]


def looks_at(steps: int, looks: int) -> tuple[int, ...]:
    """Return about ``looks`` steps, evenly spread in their logarithm, the last one among them.

    >>> looks_at(1000, 4)
    (1, 10, 100, 1000)
    """
    last = max(1, looks - 1)
    return tuple(sorted({round(steps ** (index / last)) for index in range(looks)} | {steps}))


@runtime_checkable
class Making(Protocol):
    """Which machine learns: ``Ideal``, ``OnChips`` or ``OnCircuit`` (``assemble.py``)."""

    @property
    def ensemble(self) -> tuple[int, ...]:
        """The leading axes of every tensor: ``(chips,)``, or nothing for one ideal network."""

    def assemble(
        self,
        plan: Plan,
        weights: Sequence[Sequence[Tensor]] | None = None,
        listener: Listener = silent,
    ) -> Machine:
        """Return the machine of ``plan`` at its start, or holding ``weights``, a list per joint.

        ``listener`` hears what its hardware does, where it has any.
        """


@dataclass(frozen=True)
class Plan:
    """One network on one task, and how it learns. It holds no state: everything is drawn by name.

    ``name`` and ``seed`` name every random draw.
    """

    name: str
    seed: int
    task: Task
    network: Network
    making: Making
    estimator: Estimator
    rule: Rule
    schedule: Schedule

    @property
    def ensemble(self) -> tuple[int, ...]:
        """The leading axes of every tensor: ``(chips,)``, or nothing for one ideal network."""
        return self.making.ensemble

    def held(self, part: Literal["training", "validation", "test"]) -> tuple[Tensor, Tensor]:
        """Return a set of the task, inputs and targets: the same for all that is measured by it."""
        return self.task.held(part, stream(self.seed, self.name, part))
