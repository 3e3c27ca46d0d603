"""Where the names of an images config become objects."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from madem.data.images import FASHION, Images, digits, idx
from madem.errors import InputError
from madem.experiments.imagesconfig import ImagesConfig
from madem.learn import (
    Contrast,
    Estimator,
    Implicit,
    RandomSign,
    Unrolled,
    centred,
    contrastive,
    coupled,
    currents,
    holomorphic,
    negative,
    positive,
    richardson,
    springs,
)
from madem.machine import Simulated
from madem.network import (
    Amplified,
    Box,
    Conv,
    Cost,
    CrossEntropy,
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
    SquaredError,
    Wires,
    diodes,
)
from madem.randomness import stream
from madem.solver import Anderson, Flow, Newton, OverRelaxed, Solver, Sweep, Synchronous
from madem.units import parse

SOLVERS: dict[str, type[Solver]] = {
    "sweep": Sweep,
    "synchronous": Synchronous,
    "over-relaxed": OverRelaxed,
    "anderson": Anderson,
    "newton": Newton,
    "flow": Flow,
}

NUDGED: dict[str, Callable[..., Contrast]] = {
    "centred": centred,
    "positive": positive,
    "negative": negative,
    "richardson": richardson,
}

COSTS: dict[str, Cost] = {"squared-error": SquaredError(), "cross-entropy": CrossEntropy()}


def images_of(config: ImagesConfig) -> Images:
    """Return the images that the config names."""
    data = config.data
    if data.name == "digits":
        found = digits(data.size, config.seed)
    else:
        found = idx(Path(data.path) if data.path else FASHION)
    if data.train is not None and data.train > len(found.train):
        raise InputError(f"data.train must be at most {len(found.train)}, the images there are "
                         f"to train on, but is {data.train}")  # fmt: skip
    if data.train is not None:
        found = Images(
            found.train[: data.train], found.train_classes[: data.train],
            found.test, found.test_classes,
        )  # fmt: skip
    return found


def network_of(config: ImagesConfig, shape: tuple[int, ...], classes: int = 10) -> Network:
    """Return the network for images of ``shape`` (channels, rows, columns), an output a class.

    >>> network_of(ImagesConfig(), (1, 28, 28)).state_shapes
    ((784,), (512,), (10,))
    """
    net = config.network
    if net.kind == "conv-hopfield":
        return _convolutional(config, shape, classes)
    units = (math.prod(shape), *net.hidden, classes)
    pairs = list(enumerate(pairwise(units)))
    if net.kind == "resistive":
        top = math.inf if net.g_max is None else net.g_max
        odd = [n for n in net.hidden if n % 2]
        if odd:
            raise InputError(
                f"network.hidden must be even, half of the nodes a kind, but has {odd[0]}"
            )
        joints: tuple[Joint, ...] = tuple(
            Resistive((a,), b, (i, i + 1), gain=net.gain, g_min=net.g_min,
                      g_max=top, mirror=None if i else net.input_gain)
            for i, (a, b) in pairs
        )  # fmt: skip
        hidden = [Layer(n, _diodes(config)) for n in net.hidden]
        return _staged(config, units[0], (*hidden, Layer(classes, Free(leak=0.0))), joints)
    joints = tuple(Dense((a,), b, (i, i + 1), gain=net.gain) for i, (a, b) in pairs)
    hidden = [Layer(n, Box(0.0, 1.0)) for n in net.hidden]
    return _staged(config, units[0], (*hidden, _outputs(config, classes)), joints)


def _outputs(config: ImagesConfig, classes: int) -> Layer:
    """Return the outputs of a Hopfield network, inside its energy or outside."""
    return Layer(classes, Readout() if config.network.readout else Free())


def _staged(
    config: ImagesConfig,
    inputs: int | tuple[int, ...],
    layers: tuple[Layer, ...],
    joints: Sequence[Joint],
) -> Network:
    """Return the network with the amplifiers of the config, where it has any.

    They stand behind every layer but the input, and but the last hidden one below a readout, which
    feeds nothing back.
    """
    gains = config.network.voltage_gain, config.network.current_gain
    if gains == (1.0, 1.0):
        return Network(inputs, layers, tuple(joints))
    fed = range(1, len(layers) if layers[-1].law.loaded else len(layers) - 1)
    if not fed:
        raise InputError(
            f"network.voltage_gain and current_gain are {gains[0]:g} and {gains[1]:g}, but one "
            "hidden layer below a readout has no stage to amplify: leave them at 1"
        )
    staged = (Amplified(j, *gains) if i in fed else j for i, j in enumerate(joints))
    return Network(inputs, layers, tuple(staged))


def refuse_amplifiers(config: ImagesConfig, where: str) -> None:
    """Raise ``InputError`` where the network has amplifiers, which there are none of ``where``."""
    gains = config.network.voltage_gain, config.network.current_gain
    if gains != (1.0, 1.0):
        raise InputError(f"network.voltage_gain and current_gain must be 1 {where}, but are "
                         f"{gains[0]:g} and {gains[1]:g}")  # fmt: skip


def _diodes(config: ImagesConfig) -> Law:
    """Return the diodes of half of the nodes, and the opposite ones of the others."""
    if config.network.law == "ideal":
        return diodes()
    saturation = parse(config.network.saturation, "ampere", "network.saturation")
    return Halves((Shockley(saturation, forward=False, backward=True), Shockley(saturation)))


def wires_of(config: ImagesConfig) -> Wires | None:
    """Return the wires of the crossbars, None where they are ideal."""
    if config.network.wire is None:
        return None
    ohm = parse(config.network.wire, "ohm", "network.wire")
    return Wires(ohm, ohm, ohm, ohm)


def _convolutional(config: ImagesConfig, shape: tuple[int, ...], classes: int) -> Network:
    """Return convolutions with maxima of 2 x 2, and a dense output."""
    net, layers, joints = config.network, list[Layer](), list[Joint]()
    below = shape
    for i, channels in enumerate(net.hidden):
        joints.append(
            Conv(below[0], channels, net.kernel, (i, i + 1), padding=net.padding,
                 pool=Maximum(2), gain=net.gain)
        )  # fmt: skip
        pixels = [(n + 2 * net.padding - net.kernel + 1) // 2 for n in below[1:]]
        if min(pixels) < 1:
            raise InputError(
                f"network.hidden has {len(net.hidden)} layers, but after {i} the image of "
                f"{below[1]} x {below[2]} is too small for a kernel of {net.kernel} and a pooling"
            )
        below = (channels, *pixels)
        layers.append(Layer(below, Box(0.0, 1.0)))
    joints.append(Dense(below, classes, (len(layers), len(layers) + 1), gain=net.gain))
    return _staged(config, shape, (*layers, _outputs(config, classes)), joints)


def beta_of(config: ImagesConfig, network: Network) -> float:
    """Return beta in units of the one energy: the config's, times the share of the outputs in it.

    So one beta moves the nudged layer as far at every gain of the amplifiers.
    """
    return config.estimator.beta * network.shares[-1]


def estimator_of(config: ImagesConfig, network: Network) -> Estimator:
    """Return the estimator that the config names, for ``network``.

    Raises ``InputError`` for one that the network has no answer to.
    """
    given, beta = config.estimator, beta_of(config, network)
    held = given.name in ("contrastive", "coupled")
    if config.network.readout and (held or given.nudge == "spring"):
        field = f"name must not be {given.name}" if held else "nudge must be current, not spring,"
        raise InputError(f"estimator.{field} where network.readout is true: there is no output "
                         "inside the energy to hold")  # fmt: skip
    if given.name == "holomorphic" and not all(la.law.analytic for la in network.layers):
        raise InputError(
            "estimator.name holomorphic needs laws without limits, which of these networks "
            "network.kind=resistive with network.law=shockley alone has"
        )
    pushing = springs if given.nudge == "spring" else currents
    if given.name in NUDGED:
        return NUDGED[given.name](beta, pushing)
    others: dict[str, Callable[[], Any]] = {
        "random-sign": lambda: RandomSign(beta, stream(config.seed, "sign"), pushing),
        "holomorphic": lambda: holomorphic(beta),
        "contrastive": contrastive,
        "coupled": lambda: coupled(given.beta),
        "implicit": Implicit,
        "unrolled": Unrolled,
    }
    found: Estimator = others[given.name]()
    return found


def machine_of(config: ImagesConfig, network: Network, dtype: torch.dtype) -> Simulated:
    """Return the ideal machine at its start."""
    solver = SOLVERS[config.solver.name](config.solver.tolerance, config.solver.budget)
    drawn = network.initial(stream(config.seed, "parameters"))
    parameters = [[p.to(dtype) for p in mine] for mine in drawn]
    return Simulated.ideal(network, parameters, solver)


def flat_for(network: Network, images: Tensor) -> Tensor:
    """Return images in the shape of the network's inputs."""
    return images.reshape(-1, *network.state_shapes[0])
