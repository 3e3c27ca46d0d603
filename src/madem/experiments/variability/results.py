"""What came of the Monte Carlo over chips, as its ``summary.json`` holds it."""

from __future__ import annotations

from typing import Literal

from madem.experiments.running.results import Result


class Curve(Result):
    """Accuracy over steps, mean and standard deviation over chips, ``[look][level]``."""

    step: list[int]
    mean: list[list[float]]
    sd: list[list[float]]


class Way(Result):
    """Chips that got their weights one way, level by level.

    ``good``: share of the chips that reach the target at the last look, and Wilson's 95 % interval;
    ``most``: the largest level up to which at least half of them do, None where they do at none.
    """

    curve: Curve
    good: list[tuple[float, float, float]]
    most: float | None


class Flawed(Result):
    """Cells that get a flaw ``at`` a step: chips trained through it, and programmed once before it.

    ``looks``: the numbers of those just before and just after it, of chips that are trained;
    ``back``: the share of what they lost that the last look has again, None where nothing was lost.
    """

    levels: list[float]
    at: int
    looks: tuple[int, int]
    in_situ: Way
    ex_situ: Way
    back: list[float | None]


class Forgetting(Result):
    """Trained chips that learn on with a biased measurement.

    ``curves``: by estimator and biased phase, such as ``centred.nudged``; ``change``: how much
    accuracy each level gained from the first look to the last.
    """

    levels: list[float]
    curves: dict[str, Curve]
    change: dict[str, list[float]]


class VariabilityResults(Result):
    """The answers: ``flaws`` (``defects``, ``spread``, ``damage``); ``chips`` of every level."""

    experiment: Literal["variability"] = "variability"
    seed: int
    chips: int
    target: float
    flaws: dict[str, Flawed]
    forgetting: Forgetting
