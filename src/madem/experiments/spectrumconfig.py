"""The config of the spectrum of training: rules against imperfections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from madem.data.braille import read_words
from madem.errors import InputError
from madem.experiments.config import Conductance, Strict, explain

RuleName = Literal[
    "ex-situ", "noise-aware", "in-situ", "in-the-loop", "tiki-taka",
    "centred", "one-sided", "contrastive", "coupled", "sparse",
]  # fmt: skip
ImperfectionName = Literal[
    "gain", "offset", "stuck", "programming", "pulses", "read-noise", "mismatch", "converters",
    "wires", "together",
]  # fmt: skip
TaskName = Literal["braille", "braille-deep", "digits"]
RULES: tuple[RuleName, ...] = RuleName.__args__  # type: ignore[attr-defined]
IMPERFECTIONS: tuple[ImperfectionName, ...] = ImperfectionName.__args__  # type: ignore[attr-defined]

FULL: dict[str, Any] = {
    "tasks": ["braille", "braille-deep", "digits"],
    "chips": 64,
    "steps": 2000,
    "tuning_chips": 8,
}
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
    seed: int = Field(0, ge=0)
    full: bool = False
    words: tuple[str, ...]
    tasks: tuple[TaskName, ...] = Field(("braille", "digits"), min_length=1)
    rules: tuple[RuleName, ...] = Field(RULES, min_length=1)
    imperfections: tuple[ImperfectionName, ...] = Field(IMPERFECTIONS, min_length=1)
    chips: int = Field(32, ge=2)
    levels: int = Field(4, ge=1, le=4)
    stated: int = Field(3, ge=1, le=4)
    steps: int = Field(160, ge=1)
    batch: int = Field(16, ge=1)
    tuning_chips: int = Field(4, ge=1)
    test_samples: int = Field(1000, ge=100)
    base: Conductance = "20 uS"
    writes: bool = True
    writes_steps: int = Field(2500, ge=1)
    pulses: bool = False


def make_spectrum(held: Mapping[str, Any]) -> SpectrumConfig:
    """Return the config that ``held`` describes, or raise ``InputError`` in one line.

    >>> make_spectrum({"rules": ["centered"]})
    Traceback (most recent call last):
    ...
    madem.errors.InputError: rules.0: unknown name 'centered': did you mean 'centred'? (allowed: \
centred, contrastive, coupled, ex-situ, in-situ, in-the-loop, noise-aware, one-sided, sparse, \
tiki-taka)
    """
    values = {"words": read_words(), **(FULL if held.get("full") else {}), **held}
    try:
        config = SpectrumConfig.model_validate(values)
    except ValidationError as error:
        raise InputError(explain(error, SpectrumConfig)) from None
    if config.stated > config.levels:
        raise InputError(f"stated must be one of {config.levels} levels, but is {config.stated}")
    for name in ("tasks", "rules", "imperfections"):
        given = getattr(config, name)
        if len(set(given)) < len(given):
            raise InputError(f"{name}: each can be given once, but is {list(given)}")
    return config
