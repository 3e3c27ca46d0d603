"""The config of a chip that learns one writer's hand: every field with its default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field

from madem.data.braille import dots
from madem.data.hand import WORDS, Hands
from madem.data.task import Finite, Samples
from madem.experiments.config.base import Strict
from madem.experiments.config.machines import ChipConfig
from madem.experiments.config.names import BESIDE, ESTIMATORS, RULES
from madem.experiments.config.naming import Part
from madem.experiments.config.networks import HopfieldConfig, NetworkConfig
from madem.experiments.config.parts import Learning, ScheduleConfig, WritingConfig
from madem.experiments.config.quantities import (
    Amount,
    Different,
    Letters,
    Listed,
    Seconds,
    Seed,
    cells_need,
)
from madem.learn.continual import Labels, Reservoir, Teaching
from madem.training import Plan

Condition = Literal["hand", "mild", "turns", "scarce", "none"]
"""What happens in a session."""

CONDITIONS: dict[Condition, str] = {
    "hand": "one writer's hand",
    "mild": "a milder hand",
    "turns": "a hand that changes",
    "scarce": "few labels",
    "none": "a hand like everybody's",
}

Count = Annotated[int, Field(ge=50, le=10_000_000)]


class PersonalConfig(Learning, Strict):
    """A chip that reads everybody's Braille learns one writer's hand from corrections.

    ``seeds``: how many, from ``seed`` on; each has a writer of its own, and ``writers`` of whose
    words ``calibration`` train everything and ``validation`` set alarms. Then comes the ``session``
    of the one writer, a word every ``interval``, judged in blocks of ``block`` before anything is
    learned from them; ``late``: the share, at its end, whose words count. After it ``others`` words
    of as many other writers are read. ``strength``: how far the writer's hand is from no hand, in
    units of usual ones; ``mild``: likewise, in the condition of that name; it is 1 in ``none``.
    ``turn``: how much of another such hand it becomes in the condition ``turns``, in quarter turns.
    ``scarce``: how labels come in the condition of that name. ``tuning``: how many other such
    writers digital rivals are tuned on. ``retrain``: after how many words, for a share of which
    labels have come, the digital network is trained again; ``alert``: from how many labels is
    learned after an alarm. ``resamples``: of the bootstrap.
    """

    experiment: Literal["personal"] = "personal"
    seed: Seed = 0
    seeds: int = Field(5, ge=1, le=1000)
    conditions: Different[Condition] = tuple(CONDITIONS)
    letters: Letters = 4
    words: Listed = WORDS
    hands: Annotated[Part, BESIDE["hands"]] = BESIDE["hands"].part({})
    writers: int = Field(40, ge=1, le=100_000)
    strength: Amount = 3.0
    mild: Amount = 2.0
    turn: Amount = 0.5
    calibration: Count = 2000
    validation: Count = 500
    session: Count = 2000
    others: Count = 1000
    interval: Seconds = "3 s"
    block: int = Field(20, ge=1, le=100_000)
    late: float = Field(0.4, gt=0, lt=1)
    labels: Annotated[Part, BESIDE["labels"]] = BESIDE["labels"].part(
        {"share": 0.5, "delay": "30 s", "wrong": 0.02}
    )
    scarce: Annotated[Part, BESIDE["labels"]] = BESIDE["labels"].part(
        {"share": 0.1, "delay": "30 s", "wrong": 0.02}
    )
    tuning: int = Field(2, ge=1, le=100)
    machine: ChipConfig = ChipConfig(chips=4, arrays=1)
    network: NetworkConfig = HopfieldConfig(gain=(0.0,), readout=True)
    estimator: Annotated[Part, ESTIMATORS] = ESTIMATORS.part({"kind": "centred", "beta": 2.0})
    rule: Annotated[Part, RULES] = RULES.part("accumulate")
    writing: WritingConfig = WritingConfig(units=("100 uS",))
    schedule: ScheduleConfig = ScheduleConfig(steps=1000, rates=(0.5,), looks=1)
    online: Annotated[Part, BESIDE["teaching"]] = BESIDE["teaching"].part(
        {"rate": 0.4, "decay": 0.0}
    )
    reservoir: Annotated[Part, BESIDE["reservoir"]] = BESIDE["reservoir"].part({"room": 40})
    retrain: Count = 400
    alert: Count = 200
    resamples: int = Field(1000, ge=100, le=1_000_000)

    def handwriting(self) -> Hands:
        """Return how hands differ, and how well they are felt."""
        found: Hands = self.hands.make(where="hands")
        return found

    def codes(self) -> torch.Tensor:
        """Return the dots of the words, -1 or +1, ``(words, dots)``."""
        return dots(self.words, self.letters)

    def size(self, condition: Condition) -> float:
        """Return how far the writer's hand is from no hand under a ``condition``."""
        return {"none": 1.0, "mild": self.mild}.get(condition, self.strength)

    def labelling(self, condition: Condition) -> Labels:
        """Return how labels come under a ``condition``."""
        part, where = (self.scarce, "scarce") if condition == "scarce" else (self.labels, "labels")
        found: Labels = part.make(where=where)
        return found

    def teaching(self, groups: int = 0) -> Teaching:
        """Return how is learned in a session, from a reservoir of so many ``groups`` of words."""
        given = {"classes": groups * len(self.words)}
        reservoir: Reservoir | None = self.reservoir.make(given, "reservoir") if groups else None
        found: Teaching = self.online.make({"reservoir": reservoir}, "online")
        return found

    def plan(self, seed: int, training: Samples, validation: Samples) -> Plan:
        """Return the plan of learning to read everybody."""
        task = Finite(training, validation, validation, outputs=len(self.words), drawn=True)
        return self.learning_plan("personal", seed, task, self.machine)

    def needs(self) -> Mapping[str, float]:
        """Return about how many bytes a job takes at least."""
        lines, words = 6 * self.letters, len(self.words)
        all_words = 1.0 * (self.calibration + self.validation + self.session + self.others)
        return cells_need(
            self.machine.chips, [lines, words], self.schedule.batch, "machine."
        ) | {
            "calibration, session, others or machine.chips":
                all_words * (8 * lines + 8 * words + 20 * self.machine.chips),
            "resamples or session": 8.0 * self.resamples * self.late * self.session,
        }  # fmt: skip
