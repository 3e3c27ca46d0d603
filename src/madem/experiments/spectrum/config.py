"""The config of the spectrum of training: rules against imperfections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, model_validator

from madem.data.braille import cells, dots
from madem.data.images import digit_images
from madem.data.task import Finite
from madem.data.words import Classify
from madem.experiments.config.base import Strict
from madem.experiments.config.machines import base_of
from madem.experiments.config.quantities import (
    Conductance,
    Count,
    Different,
    Samples,
    Seed,
    Steps,
    Words,
    cells_need,
)
from madem.experiments.spectrum.benches import Bench
from madem.experiments.spectrum.imperfections import ideal_cell

TUNING = 1_000_000
"""Added to the seed for the chips, data and draws of the tuning."""

RuleName = Literal[
    "ex-situ", "noise-aware", "in-situ", "in-the-loop", "tiki-taka",
    "centred", "positive", "auto", "sampled", "contrastive", "coupled", "sparse",
]  # fmt: skip
ImperfectionName = Literal[
    "gain", "offset", "stuck", "programming", "pulses", "read-noise", "flicker", "mismatch",
    "converters", "wires", "together",
]  # fmt: skip
TaskName = Literal["braille", "braille-deep", "digits", "digits-deep"]
RULES: tuple[RuleName, ...] = RuleName.__args__  # type: ignore[attr-defined]
EVERY: tuple[ImperfectionName, ...] = ImperfectionName.__args__  # type: ignore[attr-defined]
IMPERFECTIONS: tuple[ImperfectionName, ...] = tuple(each for each in EVERY if each != "flicker")
"""What is tried where nothing else is said: read noise is white."""

FULL: dict[str, Any] = {
    "tasks": list(TaskName.__args__), "chips": 64, "steps": 2000, "tuning_chips": 8,  # type: ignore[attr-defined]
}  # fmt: skip
"""What ``full`` changes, where nothing else is said."""


class SpectrumConfig(Strict):
    """Rules against imperfections on the same chips, data and number of samples.

    ``levels``: how many of the severities of every imperfection, from the mildest; ``stated``: the
    one that the heat map shows, from 1. ``steps`` of ``batch`` samples for every rule. Every rule
    is tuned over as many candidates, on ``tuning_chips`` other chips, which are good, and, if
    ``fair``, once more under each imperfection at the ``stated`` level. ``writes``: also compare
    ways of writing on digits, over ``writes_steps`` steps of twice the batch; ``pulses``: leave the
    list of pulses of one chip, and each way, in ``pulses/``.
    ``base``: the conductance around which a weight is programmed.
    """

    experiment: Literal["spectrum"] = "spectrum"
    seed: Seed = 0
    full: bool = False
    words: Words
    tasks: Different[TaskName] = ("braille", "digits")
    rules: Different[RuleName] = RULES
    imperfections: Different[ImperfectionName] = IMPERFECTIONS
    chips: int = Field(32, ge=2, le=1_000_000)
    levels: int = Field(4, ge=1, le=4)
    stated: int = Field(3, ge=1, le=4)
    steps: Steps = 160
    batch: Count = 16
    tuning_chips: Count = 4
    fair: bool = True
    test_samples: Samples = 1000
    base: Conductance = "20 uS"
    writes: bool = True
    writes_steps: Steps = 2500
    pulses: bool = False

    @model_validator(mode="after")
    def _fits_together(self) -> SpectrumConfig:
        if self.stated > self.levels:
            raise ValueError(f"stated must be one of {self.levels} levels, but is {self.stated}")
        return self

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> SpectrumConfig:
        """Return the config that ``values`` describe, or raise ``InputError`` in one line.

        >>> SpectrumConfig.of({"rules": ["centered"]})
        Traceback (most recent call last):
        ...
        madem.errors.InputError: rules.0: unknown name 'centered': did you mean 'centred'? \
(allowed: auto, centred, contrastive, coupled, ex-situ, in-situ, in-the-loop, noise-aware, \
positive, sampled, sparse, tiki-taka)
        """
        return super().of({**(FULL if values.get("full") is True else {}), **values})

    def bench(self, name: str, tuning: bool = False) -> Bench:
        """Return the task ``name``, for the chips of ``tuning`` or those that are told of.

        Digits come without their first pixel, which is always blank: with the bias, 64 lines.
        Raises ``InputError`` where it cannot be built.
        """
        task: Classify | Finite
        if name.startswith("digits"):
            task = digit_images(8, signed=True, validation=300, seed=self.seed)
            task = replace(task.mapped(lambda x: x.flatten(1)[:, 1:]), drawn=True)
            task = task if tuning else replace(task, validation=task.test)
        else:
            codes = dots(self.words, max(len(cells(word)) for word in self.words))
            task = Classify(codes, 0.2, looked=self.test_samples)
        base = base_of(self.base, ideal_cell(), "base")
        seed, chips = self.seed, self.chips
        if tuning:
            seed, chips = seed + TUNING, self.tuning_chips
        return Bench(name, seed, chips, self.steps, self.batch, base, task)

    def chance(self, name: str) -> float:
        """Return the share of the task ``name`` that guesses get right."""
        return 1 / (10 if name.startswith("digits") else len(self.words))

    def needs(self) -> Mapping[str, float]:
        """Return about how many bytes the tasks take, as if all had a hidden layer."""
        dots, words = 6 * max(len(word) for word in self.words), len(self.words)
        layers = (
            (63, 31, 10) if self.tasks == ("digits",) else (max(dots, 63), 31, 31, max(words, 10))
        )
        tests = {"test_samples or words": 4.0 * self.test_samples * (2 * dots + words)}
        return cells_need(max(self.chips, self.tuning_chips), layers, self.batch) | tests
