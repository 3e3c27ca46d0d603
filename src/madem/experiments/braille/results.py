"""What came of the main job, as its ``summary.json`` holds it."""

from __future__ import annotations

from typing import Literal

from madem.experiments.running.results import Mean, Result


class Scope(Result):
    """Joules and seconds."""

    joules: float
    seconds: float


class Spent(Result):
    """Of the memristors alone, and of everything that is counted."""

    array_only: Scope
    all_in: Scope


class Nearly(Result):
    """The first look at which a network reads nearly what it reads at its best, and its totals."""

    words: int
    array_only: Scope
    all_in: Scope


class Errors(Result):
    """Standard errors: of words and chips drawn anew together, of other words, of other chips."""

    total: float
    words: float
    chips: float


class NetworkResult(Result):
    """One network and its yardsticks; see ``docs/summary.md``."""

    flip_probability: float
    accuracy_mean: float
    accuracy_sd: float
    accuracy_error: Errors
    bayes: float
    backprop: float
    ex_situ: float
    bayes_error: float
    backprop_error: float
    ex_situ_error: float
    bayes_limit: Mean
    gain: dict[str, Mean]
    untrained: float
    accuracy_by_flip: dict[str, float]
    written_fraction_per_step: float
    unsettled: int
    ledger: dict[str, Spent]
    nearly_learned: Nearly
    settling_seconds: dict[str, float]
    dot_accuracy_mean: float | None = None


class WritingResult(Result):
    """One way of writing, on ``classify.one_layer``."""

    accuracy_mean: float
    accuracy_sd: float
    written_fraction_per_step: float
    training_joules_all_in: float
    training_seconds_all_in: float


class BrailleResults(Result):
    """The main job: networks by task and depth, and ways of writing where those are compared."""

    experiment: Literal["braille"] = "braille"
    seed: int
    chips: int
    flip_probability: float
    tasks: dict[str, dict[str, NetworkResult]]
    writing: dict[str, WritingResult] | None = None
