"""The config of the Monte Carlo over chips: every field with its default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from madem.experiments.brailleconfig import ChipConfig
from madem.experiments.config.base import Strict, made
from madem.experiments.config.quantities import (
    Amount,
    Letters,
    Positive,
    Seed,
    Share,
    Steps,
    Words,
    cells_need,
)


class ChipsConfig(Strict):
    """One network of the main job on many chips; all levels below are ours.

    ``chips``: of every level; all levels are one program. ``steps``: batches of a training;
    ``ideal_steps``: of the ideal network whose weights are programmed once.
    ``target``: the accuracy at which a chip counts as good. ``defect_rates``: shares of cells that
    are stuck from the start; ``spreads``: relative spread of the largest conductance of a cell;
    ``damage``: shares of cells that die half-way. ``offsets``: standard deviation over lines of
    what a biased measurement adds to the sensed activities, in units of the state;
    ``bias_steps``: batches learned with it after training, at ``bias_rate`` times the first rates.
    """

    experiment: Literal["chips"] = "chips"
    seed: Seed = 0
    chips: int = Field(40, ge=2, le=1_000_000)
    letters: Letters = 10
    words: Words
    network: Literal[
        "classify.one_layer", "classify.two_layer", "reconstruct.one_layer", "reconstruct.two_layer"
    ] = "classify.one_layer"
    steps: int = Field(500, ge=4, le=1_000_000_000)
    ideal_steps: Steps = 3000
    target: float = Field(0.98, gt=0, lt=1)
    defect_rates: tuple[Share, ...] = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
    spreads: tuple[Amount, ...] = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)
    damage: tuple[Share, ...] = (0.0, 0.05, 0.1, 0.2, 0.4)
    offsets: tuple[Amount, ...] = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
    bias_steps: Steps = 300
    bias_rate: Positive = 0.2
    looks: int = Field(16, ge=2, le=10_000)
    chip: ChipConfig = ChipConfig()

    def needs(self) -> Mapping[str, float]:
        """Return about how many bytes the chips of all levels of a question take at least."""
        levels = map(len, (self.defect_rates, self.spreads, self.damage, self.offsets))
        dots = 6 * self.letters
        task, depth = self.network.split(".")
        outputs = len(self.words) if task == "classify" else dots
        layers = (dots, outputs) if depth == "one_layer" else (dots, 31, outputs)
        return cells_need(max(levels) * self.chips, layers, 32)


def make_chips(values: Mapping[str, Any]) -> ChipsConfig:
    """Return the config that ``values`` describe, or raise ``InputError`` in one line.

    >>> make_chips({"defect_rates": [0.0, 1.2]})
    Traceback (most recent call last):
    ...
    madem.errors.InputError: defect_rates.1: input should be less than 1, but is 1.2
    """
    return made(ChipsConfig, values)
