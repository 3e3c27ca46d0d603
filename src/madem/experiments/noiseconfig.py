"""The config of the question whether temporal noise regularises: every field with its default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from madem.experiments.brailleconfig import ChipConfig
from madem.experiments.config.base import Strict, made
from madem.experiments.config.quantities import (
    Conductance,
    Letters,
    Probability,
    Samples,
    Seed,
    Steps,
    Units,
    Words,
    cells_need,
)

Size = Annotated[int, Field(ge=2, le=10_000_000)]


class SetsConfig(Strict):
    """One kind of data: ``sizes`` of the training sets, and the ``hidden`` units that learn them.

    ``steps``: batches of a training, each drawn anew from the set.
    """

    sizes: tuple[Size, ...] = Field(min_length=1)
    hidden: Units = 30
    steps: Steps = 1000


class NoiseConfig(Strict):
    """Networks of two layers on chips that differ in nothing but the noise of their reads.

    ``levels``: standard deviation of one cell's conductance from one settling to the next; all are
    ours, from none to severe. ``chips``: of each level; each has a training set (the same ones at
    every level), first weights and cells of its own. ``flip_probability``: of the dots of
    Braille words. ``chip``: what else is not ideal.
    """

    experiment: Literal["noise"] = "noise"
    seed: Seed = 0
    chips: int = Field(12, ge=2, le=1_000_000)
    letters: Letters = 10
    words: Words
    flip_probability: Probability = 0.2
    levels: tuple[Conductance, ...] = Field(
        ("0 uS", "1 uS", "2 uS", "4 uS", "8 uS", "16 uS", "32 uS", "64 uS"), min_length=2
    )
    batch: Units = 32
    test_samples: Samples = 2000
    braille: SetsConfig | None = SetsConfig(sizes=(64, 128, 256, 512))
    digits: SetsConfig | None = SetsConfig(sizes=(100, 400, 1400))
    resamples: int = Field(4000, ge=100, le=1_000_000)
    chip: ChipConfig = ChipConfig(lines=80)

    def needs(self) -> Mapping[str, float]:
        """Return about how many bytes the chips and sets of all levels take at least."""
        found: dict[str, float] = {}
        chips, dots = len(self.levels) * self.chips, 6 * self.letters
        for part, layer, outputs in ((self.braille, dots, len(self.words)), (self.digits, 64, 10)):
            if part is not None:
                sets = 4.0 * chips * max(part.sizes) * layer
                each = cells_need(chips, (layer, part.hidden, outputs), self.batch)
                mine = each | {"sizes, chips or levels": sets}
                found = max(found, mine, key=lambda held: sum(held.values()))
        test = 4.0 * self.test_samples * dots + 8.0 * self.resamples * chips
        return found | {"test_samples, resamples or letters": test}


def make_noise(values: Mapping[str, Any]) -> NoiseConfig:
    """Return the config that ``values`` describe, or raise ``InputError`` in one line.

    >>> make_noise({"levels": ["0 uS", "2"]})
    Traceback (most recent call last):
    ...
    madem.errors.InputError: levels.1: '2' needs a unit compatible with siemens, e.g. '2 siemens'
    """
    return made(NoiseConfig, values)
