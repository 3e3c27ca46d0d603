"""The networks that a config can describe: a few kinds, and any layers and joints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from madem.errors import InputError
from madem.experiments.config.base import Strict, refuse_idle
from madem.experiments.config.names import JOINTS, LAWS
from madem.experiments.config.naming import Part
from madem.experiments.config.quantities import Amount, Amperes, Count, Positive, Resistance
from madem.network import (
    Amplified,
    Box,
    Conv,
    Dense,
    Free,
    Halves,
    Joint,
    Law,
    Layer,
    Maximum,
    Network,
    Readout,
    Resistive,
    Shockley,
    diodes,
)
from madem.training.plan import spread_over
from madem.units import parse

Shape = tuple[int, ...]


class HopfieldConfig(Strict):
    """Dense layers of signed weights, ``E = sum |s|^2 / 2 - sum s_l . (W_l s_{l-1} + b_l)``.

    ``hidden``: units of the hidden layers, from the input up, of the ``law``; ``gain``: weights
    start uniform within ``gain / sqrt(inputs)``, one value per joint or one for all; ``readout``:
    whether the outputs are sensed outside the energy, so that they feed nothing back in the free
    phase; ``voltage_gain``, ``current_gain``: of the bidirectional amplifiers behind every layer
    but the input, none where both are 1: a current gain below 1 weakens the feedback, so that fewer
    sweeps settle it.
    """

    kind: Literal["hopfield"] = "hopfield"
    hidden: tuple[Count, ...] = Field((), max_length=1000)
    law: Annotated[Part, LAWS] = LAWS.part("box")
    gain: tuple[Amount, ...] = (0.7,)
    readout: bool = False
    voltage_gain: Positive = 1.0
    current_gain: Positive = 1.0

    def build(self, inputs: Shape, outputs: int) -> Network:
        """Return the network from ``inputs`` to ``outputs``.

        >>> HopfieldConfig(hidden=(31,)).build((60,), 32).state_shapes
        ((60,), (31,), (32,))
        """
        units = (math.prod(inputs), *self.hidden, outputs)
        gains = spread_over(self.gain, len(units) - 1, "network.gain")
        pairs = zip(pairwise(units), gains, strict=True)
        joints = [Dense((a,), b, (i, i + 1), gain=g) for i, ((a, b), g) in enumerate(pairs)]
        law = self.law.make(where="network.law")
        hidden = [Layer(n, law) for n in self.hidden]
        top = Layer(outputs, Readout() if self.readout else Free())
        return staged(units[0], (*hidden, top), joints, (self.voltage_gain, self.current_gain))


class ResistiveConfig(Strict):
    """Resistors between nodes with diodes, ``E = sum g (v_i - v_j)^2 / 2``.

    ``hidden``: nodes of the hidden layers, even, half of them of either diode; ``gain``:
    conductances start within ``gain / sqrt(inputs)``; ``input_gain``: volts of an input of 1 on the
    mirrored lines; ``g_min``, ``g_max``: range of the conductances; ``law``: of the diodes,
    ``saturation`` that of Shockley's at 300 K; ``wire``: resistance of a segment of wire of its
    crossbars, of a driver and of a sense input, where ``machine.kind`` is circuit.
    """

    kind: Literal["resistive"] = "resistive"
    hidden: tuple[Count, ...] = Field((), max_length=1000)
    law: Literal["ideal", "shockley"] = "ideal"
    saturation: Amperes = "1 nA"
    gain: Positive = 0.7
    input_gain: Positive = 300.0
    g_min: Amount = 0.0
    g_max: Positive | None = None
    wire: Resistance | None = None
    voltage_gain: Positive = 1.0
    current_gain: Positive = 1.0

    @model_validator(mode="after")
    def _has_no_idle_keys(self) -> ResistiveConfig:
        if self.law == "ideal":
            refuse_idle(self, ("saturation",), "law is ideal")
        return self

    def build(self, inputs: Shape, outputs: int) -> Network:
        """Return the network from ``inputs`` to ``outputs``."""
        units = (math.prod(inputs), *self.hidden, outputs)
        top = math.inf if self.g_max is None else self.g_max
        odd = [n for n in self.hidden if n % 2]
        if odd:
            raise InputError(
                f"network.hidden must be even, half of the nodes a kind, but has {odd[0]}"
            )
        joints = [
            Resistive((a,), b, (i, i + 1), gain=self.gain, g_min=self.g_min,
                      g_max=top, mirror=None if i else self.input_gain)
            for i, (a, b) in enumerate(pairwise(units))
        ]  # fmt: skip
        law: Law = diodes()
        if self.law == "shockley":
            saturation = parse(self.saturation, "ampere", "network.saturation")
            law = Halves((Shockley(saturation, forward=False, backward=True), Shockley(saturation)))
        hidden = [Layer(n, law) for n in self.hidden]
        layers = (*hidden, Layer(outputs, Free(leak=0.0)))
        return staged(units[0], layers, joints, (self.voltage_gain, self.current_gain))


class ConvolutionalConfig(Strict):
    """Convolutions of ``kernel`` and ``padding``, each with a maximum of 2 x 2, and a dense output.

    ``hidden``: channels of the hidden images, from the input up; the rest as for ``hopfield``.
    """

    kind: Literal["convolutional"] = "convolutional"
    hidden: tuple[Count, ...] = Field((32,), max_length=1000)
    kernel: int = Field(5, ge=1, le=1024)
    padding: int = Field(0, ge=0, le=1024)
    gain: Positive = 0.7
    readout: bool = False
    voltage_gain: Positive = 1.0
    current_gain: Positive = 1.0

    def build(self, inputs: Shape, outputs: int) -> Network:
        """Return the network from images ``inputs`` (channels, rows, columns) to ``outputs``."""
        if len(inputs) != 3:
            raise InputError("network.kind convolutional needs images (channels, rows, columns), "
                             f"but the task has inputs of {inputs}")  # fmt: skip
        layers, joints, below = list[Layer](), list[Joint](), tuple(inputs)
        for i, channels in enumerate(self.hidden):
            joints.append(Conv(below[0], channels, self.kernel, (i, i + 1), padding=self.padding,
                               pool=Maximum(2), gain=self.gain))  # fmt: skip
            pixels = [(n + 2 * self.padding - self.kernel + 1) // 2 for n in below[1:]]
            if min(pixels) < 1:
                raise InputError(
                    f"network.hidden has {len(self.hidden)} layers, but after {i} the image of "
                    f"{below[1]} x {below[2]} is too small for a kernel of {self.kernel} and a "
                    "pooling"
                )
            below = (channels, pixels[0], pixels[1])
            layers.append(Layer(below, Box(0.0, 1.0)))
        joints.append(Dense(below, outputs, (len(layers), len(layers) + 1), gain=self.gain))
        layers.append(Layer(outputs, Readout() if self.readout else Free()))
        return staged(inputs, tuple(layers), joints, (self.voltage_gain, self.current_gain))


class LayerConfig(Strict):
    """One layer: ``units`` of a ``law``."""

    units: Count
    law: Annotated[Part, LAWS] = LAWS.part("box")


class LayersConfig(Strict):
    """Any layers and joints: ``layers`` from the first above the input to the outputs.

    ``joints``: what joins which of them, 0 being the input.
    """

    kind: Literal["layers"] = "layers"
    layers: tuple[LayerConfig, ...] = Field(min_length=1)
    joints: tuple[Annotated[Part, JOINTS], ...] = Field(min_length=1)

    def build(self, inputs: Shape, outputs: int) -> Network:
        """Return the network; its last layer must have as many units as the task has outputs."""
        units = [layer.units for layer in self.layers]
        if units[-1] != outputs:
            raise InputError(f"network.layers: the last one must have {outputs} units, as the task "
                             f"has outputs, but has {units[-1]}")  # fmt: skip
        shapes = [(math.prod(inputs),), *((n,) for n in units)]
        layers = (Layer(each.units, each.law.make(where="network.layers")) for each in self.layers)
        return Network(shapes[0], tuple(layers), tuple(_joint(j, shapes) for j in self.joints))


def _joint(part: Any, shapes: Sequence[Shape]) -> Joint:
    """Return a joint between layers of ``shapes``, what it needs to know of them filled in."""
    ends = part.ends if hasattr(part, "ends") else (part.layer,)
    known = [end for end in ends if 0 <= end < len(shapes)]
    if len(known) < len(ends):
        raise InputError(
            f"network.joints: a joint ends at layers {tuple(ends)}, but the layers are 0 (the "
            f"input) to {len(shapes) - 1}"
        )
    below, above = shapes[ends[0]], shapes[ends[-1]]
    given = {"pre": below, "post": above[0], "units": above[0], "channels": below[0]}
    found: Joint = part.make(given, "network.joints")
    return found


NetworkConfig = Annotated[
    HopfieldConfig | ResistiveConfig | ConvolutionalConfig | LayersConfig,
    Field(discriminator="kind"),
]


def staged(
    inputs: int | Shape,
    layers: tuple[Layer, ...],
    joints: Sequence[Joint],
    gains: tuple[float, float],
) -> Network:
    """Return the network with amplifiers of voltage and current ``gains``, none where both are 1.

    They stand behind every layer but the input, and but the last hidden one below a readout, which
    feeds nothing back.
    """
    if gains == (1.0, 1.0):
        return Network(inputs, layers, tuple(joints))
    fed = range(1, len(layers) if layers[-1].law.loaded else len(layers) - 1)
    if not fed:
        raise InputError(
            f"network.voltage_gain and current_gain are {gains[0]:g} and {gains[1]:g}, but there "
            "is no stage that feeds back and could be amplified: leave them at 1"
        )
    amplified = (Amplified(j, *gains) if i in fed else j for i, j in enumerate(joints))
    return Network(inputs, layers, tuple(amplified))
