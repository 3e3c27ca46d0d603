"""The config of the main job: every field with its default, checked at the door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field

from madem.experiments.config.base import Strict, made
from madem.experiments.config.quantities import (
    Amount,
    Chips,
    Conductance,
    Farads,
    Letters,
    Positive,
    Probability,
    Resistance,
    Samples,
    Seconds,
    Seed,
    Share,
    Steps,
    Unit,
    Units,
    Words,
    cells_need,
)


class ChipConfig(Strict):
    """The chip: arrays, converters (those of the device's preset where null), what is not ideal.

    ``base``: conductance around which a weight is programmed at the start. ``output_limit``:
    range of the outputs' converters, in units of their state. ``wire``: resistance of a segment of
    wire between two cells, of a driver and of a sense input; no wires where null. ``voltages``:
    what the rule multiplies where there are wires, those at the terminals or those across every
    cell. ``sums``: how tiles of a layer larger than an array add, as currents or each after its
    conversion, in a range of ``sum_limit`` in units of state. ``neuron_tau``: the one pole of a
    neuron and its sense amplifier; ``line_capacitance``: of every node of wire; both are ours (1 ns
    is a bandwidth of 160 MHz). The switches turn the device's non-idealities off one by one.
    """

    device: str = "taox-1t1m"
    arrays: Chips = 2
    lines: int = Field(64, ge=2, le=100_000)
    base: Conductance = "20 uS"
    wire: Resistance | None = None
    voltages: Literal["terminals", "cells"] = "terminals"
    sums: Literal["currents", "converted"] = "currents"
    sum_limit: Positive = 4.0
    neuron_tau: Seconds = "1 ns"
    line_capacitance: Farads = "1 fF"
    dac_bits: int | None = Field(None, ge=2, le=24)
    adc_bits: int | None = Field(None, ge=2, le=24)
    output_limit: Positive = 20.0
    programming_error: bool = True
    stuck_cells: bool = True
    read_noise: bool = True
    device_spread: bool = True
    cycle_spread: bool = True
    converters: bool = True


class Digital(Strict):
    """How a yardstick is trained digitally, on as many samples as the chips learn from.

    ``rates``: learning rates at the start, one per layer, falling to zero as a half cosine.
    ``units``: conductance of weight one, which decides how large a weight of each layer fits the
    chip's range; where ``bounded``, none may be larger. Both are those of the chips where null.
    ``noise``: standard deviation of what every weight is off, drawn anew in every step, as a
    conductance of the pair. ``gain``: standard deviation of the first weights times the square root
    of the lines. The shipped ones are the best of ``python benchmarks/tune.py``
    ``backprop`` and ``ex_situ`` (``benchmarks/results/``).
    """

    optimiser: Literal["sgd", "adam"] = "sgd"
    rates: tuple[Positive, ...] | None = None
    units: tuple[Unit, ...] | None = None
    bounded: bool = True
    noise: Conductance = "0 uS"
    gain: Amount = 0.5


class Training(Strict):
    """How one network learns. Tuples hold one value per layer, from the input up.

    ``units``: conductance of weight one. ``threshold``: an accumulated change is written once
    it is larger than this. ``rates``: learning rates at the start, falling to zero as a half
    cosine. ``initial_spread``: standard deviation of the weights programmed at the start.
    ``backprop``, ``ex_situ``: the yardsticks of the same architecture, as good as can be in exact
    numbers, and as good as can be after being programmed once. ``python benchmarks/tune.py chips``
    tries other settings than the chips' own.
    """

    units: tuple[Unit, ...]
    rates: tuple[Positive, ...]
    initial_spread: tuple[Amount, ...]
    hidden: Units = 31
    steps: Steps = 3000
    batch: Units = 32
    estimator: Literal["centred", "one-sided"] = "centred"
    beta: Positive = 0.5
    writing: Literal["accumulate", "every-step", "pulses"] = "accumulate"
    threshold: Conductance = "15 uS"
    backprop: Digital = Digital()
    ex_situ: Digital = Digital()


class ClassifyConfig(Strict):
    """Which word is it?"""

    flip_probability: Probability = 0.2
    one_layer: Training = Training(
        units=("400 uS",),
        rates=(0.5,),
        initial_spread=(0.0,),
        beta=2.0,
        backprop=Digital(bounded=False, rates=(0.0625,)),
        ex_situ=Digital(rates=(2.0,)),
    )
    two_layer: Training = Training(
        units=("700 uS", "100 uS"),
        rates=(0.25, 0.5),
        initial_spread=(0.05, 0.1),
        steps=4000,
        backprop=Digital(optimiser="adam", rates=(5e-3, 5e-3), units=("990 uS", "70.7 uS")),
        ex_situ=Digital(optimiser="adam", rates=(2e-2, 2e-2), units=("1400 uS", "70.7 uS")),
    )


class ReconstructConfig(Strict):
    """What are all its dots?"""

    flip_probability: Probability = 0.05
    hidden_probability: Share = 0.2
    one_layer: Training = Training(
        units=("70 uS",),
        rates=(0.5,),
        initial_spread=(0.0,),
        threshold="5 uS",
        beta=2.0,
        backprop=Digital(bounded=False, rates=(2.0,)),
        ex_situ=Digital(noise="16 uS"),
    )
    two_layer: Training = Training(
        units=("200 uS", "50 uS"),
        rates=(1.0, 1.0),
        initial_spread=(0.05, 0.1),
        steps=4000,
        beta=0.1,
        backprop=Digital(optimiser="adam", rates=(0.32, 0.32), units=("200 uS", "25 uS"), gain=1.0),
        ex_situ=Digital(optimiser="adam", rates=(0.16, 0.16), units=("283 uS", "70.7 uS")),
    )


class BrailleConfig(Strict):
    """The main job. ``words`` are in the config, so that a run directory is self-contained."""

    experiment: Literal["braille"] = "braille"
    seed: Seed = 0
    chips: Chips = 16
    letters: Letters = 10
    words: Words
    test_samples: Samples = 10_000
    test_flips: tuple[Probability, ...] = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    curve_points: int = Field(25, ge=1, le=10_000)
    compare_writing: bool = True
    chip: ChipConfig = ChipConfig()
    classify: ClassifyConfig = ClassifyConfig()
    reconstruct: ReconstructConfig = ReconstructConfig()

    def needs(self) -> Mapping[str, float]:
        """Return about how many bytes the largest network takes at least."""
        dots, words, part = 6 * self.letters, len(self.words), self.classify.two_layer
        batch = max(each.batch for task in (self.classify, self.reconstruct)
                    for each in (task.one_layer, task.two_layer))  # fmt: skip
        hidden = self.reconstruct.two_layer.hidden
        layers = max(
            ((dots, dots), (dots, words), (dots, hidden, dots), (dots, part.hidden, words)),
            key=lambda units: sum(a * b for a, b in pairwise(units)),
        )
        return {
            **cells_need(self.chips, layers, batch),
            "test_samples, letters or words": self.test_samples * (12.0 * dots + 8 * words),
            "chip.lines or chip.arrays": 24.0 * self.chip.arrays * self.chip.lines**2,
        }


def defaults(words: Sequence[str]) -> dict[str, Any]:
    """Return the default config for ``words`` as plain values, to be changed key by key.

    >>> defaults(["a", "b"])["chip"]["device"]
    'taox-1t1m'
    """
    values: dict[str, Any] = BrailleConfig(words=("a", "b")).model_dump(mode="json")
    return values | {"words": list(words)}


def make(values: Mapping[str, Any]) -> BrailleConfig:
    """Return the config that ``values`` describe, or raise ``InputError`` in one line.

    >>> make({"words": ["a", "b"], "sede": 1})
    Traceback (most recent call last):
    ...
    madem.errors.InputError: unknown key 'sede': did you mean 'seed'? (allowed: chip, chips, \
classify, compare_writing, curve_points, experiment, letters, reconstruct, seed, test_flips, \
test_samples, words)
    """
    return made(BrailleConfig, values)
