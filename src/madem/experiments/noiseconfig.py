"""The config of the question whether temporal noise regularises: every field with its default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from madem.data.braille import read_words
from madem.errors import InputError
from madem.experiments.config import ChipConfig, Conductance, Probability, Strict, explain

Size = Annotated[int, Field(ge=2)]


class SetsConfig(Strict):
    """One kind of data: ``sizes`` of the training sets, and the ``hidden`` units that learn them.

    ``steps``: batches of a training, each drawn anew from the set.
    """

    sizes: tuple[Size, ...]
    hidden: int = Field(30, ge=1)
    steps: int = Field(1000, ge=1)


class NoiseConfig(Strict):
    """Networks of two layers on chips that differ in nothing but the noise of their reads.

    ``levels``: standard deviation of one cell's conductance from one settling to the next; all are
    ours, from none to severe. ``chips``: of each level; each has a training set (the same ones at
    every level), first weights and cells of its own. ``flip_probability``: of the dots of
    Braille words. ``chip``: what else is not ideal.
    """

    experiment: Literal["noise"] = "noise"
    seed: int = Field(0, ge=0)
    chips: int = Field(12, ge=2)
    words: tuple[str, ...] = Field(min_length=2)
    letters: int = Field(10, ge=1)
    flip_probability: Probability = 0.2
    levels: tuple[Conductance, ...] = Field(
        ("0 uS", "1 uS", "2 uS", "4 uS", "8 uS", "16 uS", "32 uS", "64 uS"), min_length=2
    )
    batch: int = Field(32, ge=1)
    test_samples: int = Field(2000, ge=100)
    braille: SetsConfig | None = SetsConfig(sizes=(64, 128, 256, 512))
    digits: SetsConfig | None = SetsConfig(sizes=(100, 400, 1400))
    resamples: int = Field(4000, ge=100)
    chip: ChipConfig = ChipConfig(lines=80)


def make_noise(values: Mapping[str, Any]) -> NoiseConfig:
    """Return the config that ``values`` describe, or raise ``InputError`` in one line.

    >>> make_noise({"levels": ["0 uS", "2"]})
    Traceback (most recent call last):
    ...
    madem.errors.InputError: levels.1: '2' needs a unit compatible with siemens, e.g. '2 siemens'
    """
    held = dict(values)
    if not held.get("words"):
        held["words"] = read_words()
    try:
        return NoiseConfig.model_validate(held)
    except ValidationError as error:
        raise InputError(explain(error, NoiseConfig)) from None
