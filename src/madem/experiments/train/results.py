"""What came of a training, as its ``summary.json`` holds it."""

from __future__ import annotations

from typing import Literal

from madem.experiments.running.results import Mean, Result


class Look(Result):
    """What one look found: ``validation`` and ``training`` scores, means over chips."""

    step: int
    validation: float
    training: float | None
    cost: float | None
    unsettled: float | None


class Spent(Result):
    """Joules and seconds per chip, of the memristors alone and of everything that is counted."""

    array_joules: float
    array_seconds: float
    joules: float
    seconds: float


class TrainResults(Result):
    """A training and its yardsticks.

    ``score``: what the numbers are, the share of right decisions or the mean squared error, in
    units of the standard deviation of what is predicted. ``spread``: the standard deviation over
    chips. ``gain``: what the chips have more than each yardstick, chip by chip and sample by
    sample. ``classes``: share of right decisions in each, where their names are known. ``written``:
    share of the cells that a step writes. ``spent``: of the whole training, None where the
    ledger cannot count it (no chips, or no chain of arrays).
    """

    experiment: Literal["train"] = "train"
    seed: int
    chips: int
    score: Literal["accuracy", "squared error"]
    test: Mean
    spread: float
    backprop: Mean | None = None
    ex_situ: Mean | None = None
    gain: dict[str, Mean] = {}
    classes: dict[str, float] = {}
    written: float | None
    unsettled: float | None
    spent: Spent | None
    curve: list[Look]
