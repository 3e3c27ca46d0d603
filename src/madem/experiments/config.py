"""The config of the main job: every field with its default, checked at the door."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from madem.errors import InputError, nearest
from madem.units import parse


def _conductance(text: str) -> str:
    if parse(text, "siemens") < 0:
        raise ValueError(f"must be zero or positive, but is {text!r}")
    return text


def _unit(text: str) -> str:
    if parse(text, "siemens") <= 0:
        raise ValueError(f"must be positive, but is {text!r}")
    return text


def _text(value: object) -> object:
    """Let a bare number through as text, so that what it gets told is that its unit is missing."""
    return str(value) if isinstance(value, (int, float)) else value


def _resistance(text: str) -> str:
    if parse(text, "ohm") <= 0:
        raise ValueError(f"must be positive, but is {text!r}")
    return text


def _seconds(text: str) -> str:
    if parse(text, "second") <= 0:
        raise ValueError(f"must be positive, but is {text!r}")
    return text


def _farads(text: str) -> str:
    if parse(text, "farad") < 0:
        raise ValueError(f"must be zero or positive, but is {text!r}")
    return text


Seconds = Annotated[str, BeforeValidator(_text), AfterValidator(_seconds)]
"""A time above zero, such as ``"1 ns"``."""

Farads = Annotated[str, BeforeValidator(_text), AfterValidator(_farads)]
"""A capacitance, such as ``"1 fF"``."""

Resistance = Annotated[str, BeforeValidator(_text), AfterValidator(_resistance)]
"""A resistance above zero, such as ``"2 ohm"``."""

Conductance = Annotated[str, BeforeValidator(_text), AfterValidator(_conductance)]
"""A number with its unit, such as ``"150 uS"``; kept as it was written."""

Unit = Annotated[str, BeforeValidator(_text), AfterValidator(_unit)]
"""A conductance above zero."""

Rate = Annotated[float, Field(gt=0)]
Probability = Annotated[float, Field(ge=0, lt=0.5)]


class Strict(BaseModel):
    """A part of the config: frozen, and without keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
    arrays: int = Field(2, ge=1)
    lines: int = Field(64, ge=2)
    base: Conductance = "20 uS"
    wire: Resistance | None = None
    voltages: Literal["terminals", "cells"] = "terminals"
    sums: Literal["currents", "converted"] = "currents"
    sum_limit: float = Field(4.0, gt=0)
    neuron_tau: Seconds = "1 ns"
    line_capacitance: Farads = "1 fF"
    dac_bits: int | None = Field(None, ge=2, le=24)
    adc_bits: int | None = Field(None, ge=2, le=24)
    output_limit: float = Field(20.0, gt=0)
    programming_error: bool = True
    stuck_cells: bool = True
    read_noise: bool = True
    device_spread: bool = True
    cycle_spread: bool = True
    converters: bool = True


class Training(Strict):
    """How one network learns. Tuples hold one value a layer, from the input up.

    ``units``: conductance of weight one. ``threshold``: an accumulated change is written once
    it is larger than this. ``rates``: learning rates at the start, falling to zero as a half
    cosine. ``initial_spread``: standard deviation of the weights programmed at the start.
    """

    units: tuple[Unit, ...]
    rates: tuple[Rate, ...]
    initial_spread: tuple[Annotated[float, Field(ge=0)], ...]
    hidden: int = Field(31, ge=1)
    steps: int = Field(3000, ge=1)
    batch: int = Field(32, ge=1)
    estimator: Literal["centred", "one-sided"] = "centred"
    beta: float = Field(0.5, gt=0)
    writing: Literal["accumulate", "every-step", "pulses"] = "accumulate"
    threshold: Conductance = "15 uS"
    backprop_rate: float = Field(3e-3, gt=0)
    backprop_gain: float = Field(0.5, gt=0)


class ClassifyConfig(Strict):
    """Which word is it?"""

    flip_probability: Probability = 0.2
    one_layer: Training = Training(units=("400 uS",), rates=(0.5,), initial_spread=(0.0,), beta=2.0)
    two_layer: Training = Training(
        units=("700 uS", "100 uS"), rates=(0.25, 0.5), initial_spread=(0.05, 0.1), steps=4000
    )


class ReconstructConfig(Strict):
    """What are all its dots?"""

    flip_probability: Probability = 0.05
    hidden_probability: float = Field(0.2, ge=0, lt=1)
    one_layer: Training = Training(
        units=("70 uS",),
        rates=(0.5,),
        initial_spread=(0.0,),
        threshold="5 uS",
        beta=2.0,
        backprop_rate=2e-2,
    )
    two_layer: Training = Training(
        units=("200 uS", "50 uS"),
        rates=(1.0, 1.0),
        initial_spread=(0.05, 0.1),
        steps=4000,
        beta=0.1,
        backprop_rate=1e-2,
    )


class BrailleConfig(Strict):
    """The main job. ``words`` are in the config, so that a run directory is self-contained."""

    experiment: Literal["braille"] = "braille"
    seed: int = Field(0, ge=0)
    chips: int = Field(16, ge=1)
    words: tuple[str, ...]
    letters: int = Field(10, ge=1)
    test_samples: int = Field(10_000, ge=100)
    test_flips: tuple[Probability, ...] = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    curve_points: int = Field(25, ge=1)
    compare_writing: bool = True
    chip: ChipConfig = ChipConfig()
    classify: ClassifyConfig = ClassifyConfig()
    reconstruct: ReconstructConfig = ReconstructConfig()


def defaults(words: Sequence[str]) -> dict[str, Any]:
    """Return the default config for ``words`` as plain values, to be changed key by key.

    >>> defaults(["a", "b"])["chip"]["device"]
    'taox-1t1m'
    """
    values: dict[str, Any] = BrailleConfig(words=tuple(words)).model_dump(mode="json")
    return values


def make(values: Mapping[str, Any]) -> BrailleConfig:
    """Return the config that ``values`` describe, or raise ``InputError`` in one line.

    >>> make({"words": ["a", "b"], "sede": 1})
    Traceback (most recent call last):
    ...
    madem.errors.InputError: unknown key 'sede': did you mean 'seed'? (allowed: chip, chips, \
classify, compare_writing, curve_points, experiment, letters, reconstruct, seed, test_flips, \
test_samples, words)
    """
    try:
        return BrailleConfig.model_validate(values)
    except ValidationError as error:
        raise InputError(explain(error, BrailleConfig)) from None


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return one line on the first fault that pydantic found in values for ``model``."""
    fault = error.errors()[0]
    path = [str(part) for part in fault["loc"]]
    field = ".".join(path)
    if fault["type"] == "extra_forbidden":
        return f"unknown key {field!r}: {nearest(path[-1], _keys(path[:-1], model))}"
    if fault["type"] == "literal_error":
        allowed = re.findall(r"'([^']+)'", fault["ctx"]["expected"])
        return f"{field}: unknown name {fault['input']!r}: {nearest(str(fault['input']), allowed)}"
    if fault["type"] == "value_error":
        return f"{field}: {fault['ctx']['error']}" if field else str(fault["ctx"]["error"])
    message = fault["msg"]
    return f"{field}: {message[0].lower() + message[1:]}, but is {fault['input']!r}"


def _keys(path: list[str], model: Any) -> list[str]:
    """Return the keys of ``model`` allowed at ``path``."""
    for part in path:
        model = model.model_fields[part].annotation
    return list(model.model_fields)


def merged(held: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``held`` with every key of ``values`` in its place, key by key.

    >>> merged({"chip": {"arrays": 2, "lines": 64}}, {"chip": {"lines": 32}})
    {'chip': {'arrays': 2, 'lines': 32}}
    """
    whole = dict(held)
    for key, value in values.items():
        under = whole.get(key)
        both = isinstance(under, Mapping) and isinstance(value, Mapping)
        whole[key] = merged(under, value) if both else value  # type: ignore[arg-type]
    return whole


def override(values: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """Return ``values`` with each ``key.of.field=value`` set; values are read as YAML.

    >>> override({}, ["chip.adc_bits=6", "classify.one_layer.threshold=10 uS"])["chip"]
    {'adc_bits': 6}
    """
    result = yaml.safe_load(yaml.safe_dump(values))
    for setting in settings:
        key, sign, text = setting.partition("=")
        if not sign or not key:
            raise InputError(f"--set takes key=value, but is {setting!r}")
        *parents, last = key.split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise InputError(f"--set: unknown key {key!r}: {parent!r} has no parts")
        try:
            place[last] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"--set {key}: {text!r} is not a YAML value") from None
    return dict(result)
