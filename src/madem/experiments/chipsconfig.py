"""The config of the Monte Carlo over chips: every field with its default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from madem.data.braille import read_words
from madem.errors import InputError
from madem.experiments.config import ChipConfig, Strict, explain

Share = Annotated[float, Field(ge=0, lt=1)]
Amount = Annotated[float, Field(ge=0)]


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
    seed: int = Field(0, ge=0)
    chips: int = Field(40, ge=2)
    words: tuple[str, ...] = Field(min_length=2)
    letters: int = Field(10, ge=1)
    network: Literal[
        "classify.one_layer", "classify.two_layer", "reconstruct.one_layer", "reconstruct.two_layer"
    ] = "classify.one_layer"
    steps: int = Field(500, ge=4)
    ideal_steps: int = Field(3000, ge=1)
    target: float = Field(0.98, gt=0, lt=1)
    defect_rates: tuple[Share, ...] = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
    spreads: tuple[Amount, ...] = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)
    damage: tuple[Share, ...] = (0.0, 0.05, 0.1, 0.2, 0.4)
    offsets: tuple[Amount, ...] = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
    bias_steps: int = Field(300, ge=1)
    bias_rate: float = Field(0.2, gt=0)
    looks: int = Field(16, ge=2)
    chip: ChipConfig = ChipConfig()


def make_chips(values: Mapping[str, Any]) -> ChipsConfig:
    """Return the config that ``values`` describe, or raise ``InputError`` in one line.

    >>> make_chips({"defect_rates": [0.0, 1.2]})
    Traceback (most recent call last):
    ...
    madem.errors.InputError: defect_rates.1: input should be less than 1, but is 1.2
    """
    held = dict(values)
    if not held.get("words"):
        held["words"] = read_words()
    try:
        return ChipsConfig.model_validate(held)
    except ValidationError as error:
        raise InputError(explain(error, ChipsConfig)) from None
