"""The config of a network that learns images: every field with its default."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from madem.errors import InputError
from madem.experiments.config import ChipConfig, Conductance, Resistance, Strict, Unit, explain

Positive = Annotated[float, Field(gt=0)]
Units = Annotated[int, Field(ge=1)]


def refuse_idle(config: Strict, keys: Iterable[str], where: str, path: str = "") -> None:
    """Raise ``ValueError`` for a key that was changed, though it does nothing ``where``."""
    for key in keys:
        value = getattr(config, key)
        if value != type(config).model_fields[key].get_default():
            raise ValueError(
                f"{path}{key} does nothing where {where}, but is {value!r}: leave it out"
            )


IDLE = {
    "hopfield": ("input_gain", "g_min", "g_max", "law", "saturation", "kernel", "padding"),
    "conv-hopfield": ("input_gain", "g_min", "g_max", "law", "saturation", "wire"),
    "resistive": ("kernel", "padding", "readout"),
}
"""Keys that a kind of network has no use for."""


class DataConfig(Strict):
    """Which images.

    ``path``: a folder of IDX files (Fashion-MNIST where null); ``size``: of digits, pixels a side;
    ``train``: use so many of the training images, all where null; ``shift``: whenever a training
    image is shown it is moved at random by up to so many pixels each way.
    """

    name: Literal["digits", "idx"] = "digits"
    path: str | None = None
    size: int = Field(28, ge=8)
    train: int | None = Field(None, ge=1)
    shift: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _has_no_idle_keys(self) -> DataConfig:
        refuse_idle(self, ("path",) if self.name == "digits" else ("size",), f"name is {self.name}")
        return self


class NetworkConfig(Strict):
    """Which network. Tuples hold one value a layer, from the input up.

    ``hidden``: units of the hidden layers (``hopfield``, ``resistive``) or channels of the images
    (``conv-hopfield``, each a convolution of ``kernel`` and ``padding``, and a maximum of 2 x 2).
    ``gain``: weights start uniform within ``gain / sqrt(inputs)``. ``input_gain``: volts of an
    input of 1 on the mirrored lines of a resistive network. ``g_min``, ``g_max``: range of its
    conductances. ``law``: of its diodes, ``saturation`` that of Shockley's at 300 K;
    ``voltage_gain``, ``current_gain``: of the bidirectional amplifiers behind every layer but the
    input, none where both are 1: a current gain below 1 weakens the feedback, so that fewer sweeps
    settle it; ``readout``: whether the outputs are sensed outside the energy, so that they feed
    nothing back in the free phase (Hopfield networks); ``wire``: resistance of a segment of wire of
    its crossbars, of a driver and of a sense input, for circuits (``madem spice``): training knows
    none without chips.
    """

    kind: Literal["hopfield", "resistive", "conv-hopfield"] = "hopfield"
    hidden: tuple[Units, ...] = (512,)
    gain: Positive = 0.7
    input_gain: Positive = 300.0
    g_min: float = Field(0.0, ge=0)
    g_max: float | None = Field(None, gt=0)
    law: Literal["ideal", "shockley"] = "ideal"
    saturation: str = "1 nA"
    voltage_gain: Positive = 1.0
    current_gain: Positive = 1.0
    readout: bool = False
    wire: Resistance | None = None
    kernel: int = Field(5, ge=1)
    padding: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _has_no_idle_keys(self) -> NetworkConfig:
        refuse_idle(self, IDLE[self.kind], f"kind is {self.kind}")
        if self.law == "ideal":
            refuse_idle(self, ("saturation",), "law is ideal")
        return self


class SolverConfig(Strict):
    """How it comes to rest; with ``tolerance`` 0 after exactly ``budget`` sweeps.

    What misses the tolerance is counted; with 0 nothing is, so look with ``madem gradcheck``. A
    sweep carries a change across two layers, so that more layers need more sweeps.
    """

    name: Literal["sweep", "synchronous", "over-relaxed", "anderson", "newton", "flow"] = "sweep"
    tolerance: float = Field(1e-4, ge=0, lt=1)
    budget: int = Field(100, ge=1)


class EstimatorConfig(Strict):
    """How the gradient is measured.

    ``beta``: strength of the nudge; behind amplifiers it is multiplied by the share that the nudged
    layer has in the energy, so that it moves that layer as far at every gain. ``nudge``:
    ``current`` or ``spring`` (squared error, and no readout).
    """

    name: Literal[
        "centred", "positive", "negative", "random-sign", "richardson", "holomorphic",
        "contrastive", "coupled", "implicit", "unrolled",
    ] = "centred"  # fmt: skip
    beta: Positive = 0.1
    nudge: Literal["current", "spring"] = "current"


class LearningConfig(Strict):
    """How it learns. ``rates``: one learning rate a joint, or one for all; ``decay``: of the rates.

    ``estimator`` below says how gradients are measured: ``unrolled`` is backpropagation through the
    settling. ``fall``: rates fall by ``decay`` every epoch, or as a half cosine to zero.
    """

    cost: Literal["squared-error", "cross-entropy"] = "squared-error"
    optimiser: Literal["sgd", "adam"] = "sgd"
    rates: tuple[Positive, ...] = (0.05,)
    momentum: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    fall: Literal["exponential", "cosine"] = "exponential"
    decay: float = Field(0.99, gt=0, le=1)
    batch: int = Field(32, ge=1)
    epochs: int = Field(30, ge=1)

    @model_validator(mode="after")
    def _has_no_idle_keys(self) -> LearningConfig:
        if self.optimiser == "adam":
            refuse_idle(self, ("momentum",), "optimiser is adam")
        if self.fall == "cosine":
            refuse_idle(self, ("decay",), "fall is cosine")
        return self


class WritingConfig(Strict):
    """How ``chips`` are written, where the network lies on any.

    ``units``: conductance of weight one, a layer each or one for all; ``threshold``: an accumulated
    change is written once it is larger.
    """

    chips: int = Field(1, ge=1)
    units: tuple[Unit, ...] = ("100 uS",)
    threshold: Conductance = "15 uS"


class ImagesConfig(Strict):
    """A network, its data, and how it settles, measures and learns.

    With ``chip`` it lies on memristor arrays, on tiles of ``chip.lines`` where a layer is larger
    than one, and is written by program-and-verify; else it is ideal.
    """

    experiment: Literal["images"] = "images"
    seed: int = Field(0, ge=0)
    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    solver: SolverConfig = SolverConfig()
    estimator: EstimatorConfig = EstimatorConfig()
    learning: LearningConfig = LearningConfig()
    chip: ChipConfig | None = None
    writing: WritingConfig = WritingConfig()

    @model_validator(mode="after")
    def _has_no_idle_keys(self) -> ImagesConfig:
        if self.chip is None:
            refuse_idle(self.writing, WritingConfig.model_fields, "there is no chip", "writing.")
        return self


def make_images(held: Mapping[str, Any]) -> ImagesConfig:
    """Return the config that ``held`` describes, or raise ``InputError`` in one line.

    >>> make_images({"solver": {"name": "swep"}})
    Traceback (most recent call last):
    ...
    madem.errors.InputError: solver.name: unknown name 'swep': did you mean 'sweep'? (allowed: \
anderson, flow, newton, over-relaxed, sweep, synchronous)
    """
    try:
        return ImagesConfig.model_validate(held)
    except ValidationError as error:
        raise InputError(explain(error, ImagesConfig)) from None
