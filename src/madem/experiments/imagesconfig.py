"""The config of a network that learns images: every field with its default."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field, model_validator

from madem.experiments.brailleconfig import ChipConfig
from madem.experiments.config.base import Strict, made
from madem.experiments.config.quantities import (
    Amount,
    Amperes,
    Chips,
    Conductance,
    Positive,
    Resistance,
    Seed,
    Share,
    Unit,
    Units,
    cells_need,
)


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
    size: int = Field(28, ge=8, le=1024)
    train: Units | None = None
    shift: int = Field(0, ge=0, le=1024)

    @model_validator(mode="after")
    def _has_no_idle_keys(self) -> DataConfig:
        refuse_idle(self, ("path",) if self.name == "digits" else ("size",), f"name is {self.name}")
        return self


class NetworkConfig(Strict):
    """Which network. Tuples hold one value per layer, from the input up.

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
    hidden: tuple[Units, ...] = Field((512,), max_length=1000)
    gain: Positive = 0.7
    input_gain: Positive = 300.0
    g_min: Amount = 0.0
    g_max: Positive | None = None
    law: Literal["ideal", "shockley"] = "ideal"
    saturation: Amperes = "1 nA"
    voltage_gain: Positive = 1.0
    current_gain: Positive = 1.0
    readout: bool = False
    wire: Resistance | None = None
    kernel: int = Field(5, ge=1, le=1024)
    padding: int = Field(0, ge=0, le=1024)

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
    tolerance: Share = 1e-4
    budget: int = Field(100, ge=1, le=1_000_000)


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
    """How it learns. ``rates``: one learning rate per joint, or one for all joints.

    ``estimator`` below says how gradients are measured: ``unrolled`` is backpropagation through the
    settling. ``fall``: rates fall by ``decay`` every epoch, or as a half cosine to zero.
    """

    cost: Literal["squared-error", "cross-entropy"] = "squared-error"
    optimiser: Literal["sgd", "adam"] = "sgd"
    rates: tuple[Positive, ...] = (0.05,)
    momentum: Share = 0.0
    weight_decay: Share = 0.0
    fall: Literal["exponential", "cosine"] = "exponential"
    decay: float = Field(0.99, gt=0, le=1)
    batch: Units = 32
    epochs: int = Field(30, ge=1, le=1_000_000)

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

    chips: Chips = 1
    units: tuple[Unit, ...] = ("100 uS",)
    threshold: Conductance = "15 uS"


class ImagesConfig(Strict):
    """A network, its data, and how it settles, measures and learns.

    With ``chip`` it lies on memristor arrays, on tiles of ``chip.lines`` where a layer is larger
    than one, and is written by program-and-verify; else it is ideal.
    """

    experiment: Literal["images"] = "images"
    seed: Seed = 0
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

    def needs(self) -> Mapping[str, float]:
        """Return about how many bytes data, network and batches take at least."""
        pixels, hidden, chips = self.data.size**2, self.network.hidden, self.writing.chips
        batch, kernel = max(self.learning.batch, 360), self.network.kernel
        shifting = 4.0 * self.learning.batch * (self.data.size + 2 * self.data.shift) ** 2
        held = {"data.size": 8.0 * 1797 * pixels if self.data.name == "digits" else 0.0,
                "data.shift or learning.batch": shifting if self.data.shift else 0.0}  # fmt: skip
        if self.network.kind != "conv-hopfield":
            many = {k.replace("chips", "writing.chips"): v for k, v in
                    cells_need(chips, (pixels, *hidden, 10), batch).items()}  # fmt: skip
            few = {"network.hidden or data.size": 20.0 * sum(a * b for a, b in pairwise(
                   (pixels, *hidden, 10)))}  # fmt: skip
            return held | (few if self.chip is None else many)
        wide = (1, *hidden)
        kernels = 12.0 * kernel**2 * sum(a * b for a, b in pairwise(wide))
        padded = 4.0 * batch * wide[0] * (self.data.size + 2 * self.network.padding) ** 2
        maps = 4.0 * batch * hidden[0] * (self.data.size + 2 * self.network.padding - kernel) ** 2
        return held | {
            "network.hidden or kernel": kernels,
            "network.padding or hidden": padded + maps,
        }


def make_images(held: Mapping[str, Any]) -> ImagesConfig:
    """Return the config that ``held`` describes, or raise ``InputError`` in one line.

    >>> make_images({"solver": {"name": "swep"}})
    Traceback (most recent call last):
    ...
    madem.errors.InputError: solver.name: unknown name 'swep': did you mean 'sweep'? (allowed: \
anderson, flow, newton, over-relaxed, sweep, synchronous)
    """
    return made(ImagesConfig, held)
