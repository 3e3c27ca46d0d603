"""The config of a network that learns images: every field with its default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from madem.errors import InputError
from madem.experiments.config import ChipConfig, Conductance, Resistance, Strict, Unit, explain

Positive = Annotated[float, Field(gt=0)]
Units = Annotated[int, Field(ge=1)]


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
    nothing back in the free phase (not ``resistive``); ``wire``: resistance of a segment of wire of
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


class SolverConfig(Strict):
    """How it comes to rest; with ``tolerance`` 0 after exactly ``budget`` sweeps."""

    name: Literal["sweep", "synchronous", "over-relaxed", "anderson", "newton", "flow"] = "sweep"
    tolerance: float = Field(1e-4, ge=0, lt=1)
    budget: int = Field(100, ge=1)


class EstimatorConfig(Strict):
    """How the gradient is measured. ``nudge``: ``current`` or ``spring`` (squared error)."""

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
