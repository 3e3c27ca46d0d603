"""The config of the spectrum of training: rules against imperfections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from madem.errors import shown
from madem.experiments.config.base import Strict, made
from madem.experiments.config.quantities import (
    Conductance,
    Samples,
    Seed,
    Steps,
    Units,
    Words,
    cells_need,
)

RuleName = Literal[
    "ex-situ", "noise-aware", "in-situ", "in-the-loop", "tiki-taka",
    "centred", "positive", "contrastive", "coupled", "sparse",
]  # fmt: skip
ImperfectionName = Literal[
    "gain", "offset", "stuck", "programming", "pulses", "read-noise", "mismatch", "converters",
    "wires", "together",
]  # fmt: skip
TaskName = Literal["braille", "braille-deep", "digits"]
RULES: tuple[RuleName, ...] = RuleName.__args__  # type: ignore[attr-defined]
IMPERFECTIONS: tuple[ImperfectionName, ...] = ImperfectionName.__args__  # type: ignore[attr-defined]

FULL: dict[str, Any] = {
    "tasks": list(TaskName.__args__), "chips": 64, "steps": 2000, "tuning_chips": 8,  # type: ignore[attr-defined]
}  # fmt: skip
"""What ``full`` changes, where nothing else is said."""


class SpectrumConfig(Strict):
    """Rules against imperfections on the same chips, data and number of samples.

    ``levels``: how many of the severities of every imperfection, from the mildest; ``stated``: the
    one that the heat map shows, from 1. ``steps`` of ``batch`` samples for every rule. Every rule
    is tuned over as many candidates, on ``tuning_chips`` other chips. ``writes``: also compare ways
    of writing on digits, over ``writes_steps`` steps of twice the batch; ``pulses``: leave the list
    of pulses of one chip, and each way, in ``pulses/``.
    ``base``: the conductance around which a weight is programmed.
    """

    experiment: Literal["spectrum"] = "spectrum"
    seed: Seed = 0
    full: bool = False
    words: Words
    tasks: tuple[TaskName, ...] = Field(("braille", "digits"), min_length=1)
    rules: tuple[RuleName, ...] = Field(RULES, min_length=1)
    imperfections: tuple[ImperfectionName, ...] = Field(IMPERFECTIONS, min_length=1)
    chips: int = Field(32, ge=2, le=1_000_000)
    levels: int = Field(4, ge=1, le=4)
    stated: int = Field(3, ge=1, le=4)
    steps: Steps = 160
    batch: Units = 16
    tuning_chips: Units = 4
    test_samples: Samples = 1000
    base: Conductance = "20 uS"
    writes: bool = True
    writes_steps: Steps = 2500
    pulses: bool = False

    @model_validator(mode="after")
    def _fits_together(self) -> SpectrumConfig:
        if self.stated > self.levels:
            raise ValueError(f"stated must be one of {self.levels} levels, but is {self.stated}")
        for name in ("tasks", "rules", "imperfections"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise ValueError(f"{name}: each can be given once, but is {shown(list(given))}")
        return self

    def needs(self) -> Mapping[str, float]:
        """Return about how many bytes the tasks take, as if all had a hidden layer."""
        dots, words = 6 * max(len(word) for word in self.words), len(self.words)
        layers = (63, 31, 10) if self.tasks == ("digits",) else (max(dots, 63), 31, max(words, 10))
        tests = {"test_samples or words": 4.0 * self.test_samples * (2 * dots + words)}
        return cells_need(max(self.chips, self.tuning_chips), layers, self.batch) | tests


def make_spectrum(held: Mapping[str, Any]) -> SpectrumConfig:
    """Return the config that ``held`` describes, or raise ``InputError`` in one line.

    >>> make_spectrum({"rules": ["centered"]})
    Traceback (most recent call last):
    ...
    madem.errors.InputError: rules.0: unknown name 'centered': did you mean 'centred'? (allowed: \
centred, contrastive, coupled, ex-situ, in-situ, in-the-loop, noise-aware, positive, sparse, \
tiki-taka)
    """
    return made(SpectrumConfig, {**(FULL if held.get("full") is True else {}), **held})
