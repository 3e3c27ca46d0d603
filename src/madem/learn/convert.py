"""From a feed-forward ``nn.Sequential`` to the equilibrium network of the same shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from madem.errors import InputError
from madem.learn.estimators import Contrast
from madem.learn.module import Equilibrium
from madem.network import (
    Average,
    Box,
    Conv,
    Dense,
    Free,
    Joint,
    Law,
    Layer,
    Maximum,
    Network,
    Readout,
    Tanh,
)
from madem.network.pooling import Pool
from madem.solver import Solver

WHY_NOT = {
    nn.BatchNorm1d: "its output depends on the other samples, which no energy of one sample holds",
    nn.BatchNorm2d: "its output depends on the other samples, which no energy of one sample holds",
    nn.LayerNorm: "it divides by a norm of the whole layer, which no passive node does",
    nn.Dropout: "it draws new units at every pass; use the noise of a device instead",
    nn.GELU: "it is not monotonic, so no energy of a node has it as its rest",
    nn.SiLU: "it is not monotonic, so no energy of a node has it as its rest",
    nn.Softmax: "leave it to the loss: a softmax is a readout outside the energy",
    nn.LogSoftmax: "leave it to the loss: a softmax is a readout outside the energy",
}


def equilibrium(
    model: nn.Sequential,
    inputs: int | Sequence[int],
    estimator: Contrast | None = None,
    solver: Solver | None = None,
    readout: bool = False,
) -> Equilibrium:
    """Return the equilibrium network of the shape of ``model``, starting from its parameters.

    ``inputs``: shape of one sample. Each ``Linear`` or ``Conv2d``, with a pooling and an activation
    behind it, becomes a layer that feels the next one too, so outputs differ from the model's: it
    is a network of the same shape, to be trained. The last ``Linear`` is free, or with ``readout``
    outside the energy, which keeps strong couplings settling. Activations: ``ReLU``, ``ReLU6``,
    ``Hardtanh``, ``Hardsigmoid`` (slope 1 here), ``Tanh``, ``Identity``. Raises ``InputError``
    with the reason for what has no energy.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> equilibrium(model, 4)(torch.zeros(1, 4)).shape
    torch.Size([1, 2])
    """
    shapes = [(inputs,) if isinstance(inputs, int) else tuple(inputs)]
    layers: list[Layer] = []
    joints: list[Joint] = []
    values: list[Tensor] = []
    modules = [m for m in model if not isinstance(m, nn.Flatten)]
    while modules:
        part = modules.pop(0)
        pool = _pool(modules)
        joint, shape = _joint(part, pool, shapes[-1], len(layers))
        layers.append(Layer(shape, _law(modules)))
        joints.append(joint)
        shapes.append(shape)
        values += [p.detach().clone() for p in part.parameters()]
    if readout and layers and isinstance(layers[-1].law, Free):
        layers[-1] = Layer(layers[-1].units, Readout())
    network = Network(shapes[0], tuple(layers), tuple(joints))
    module = Equilibrium(network, estimator, solver)
    with torch.no_grad():
        for p, value in zip(module.parameters(), values, strict=True):
            p.data = value
    return module


def _joint(
    part: nn.Module, pool: Pool, below: tuple[int, ...], index: int
) -> tuple[Joint, tuple[int, ...]]:
    """Return the joint that a module becomes, and the shape of the layer above it."""
    ends = (index, index + 1)
    if isinstance(part, nn.Linear):
        if pool != Average():
            raise InputError(f"layer {index + 1}: a pooling follows {part}, which has no image")
        joint: Joint = Dense(below, part.out_features, ends, part.bias is not None)
        if part.in_features != math.prod(below):
            raise InputError(
                f"layer {index + 1}: {part} takes {part.in_features} inputs, but the layer below "
                f"has the shape {below}"
            )
        return joint, (part.out_features,)
    if isinstance(part, nn.Conv2d):
        size, stride, padding = part.kernel_size[0], part.stride[0], part.padding
        square = {part.kernel_size, part.stride, part.padding, part.dilation}
        if any(isinstance(s, str) or s[0] != s[1] for s in square) or part.groups > 1:
            raise InputError(
                f"layer {index + 1}: {part} must be square, with numbers, in one group"
            )
        pad = int(padding[0])
        if part.dilation[0] != 1 or len(below) != 3:
            raise InputError(f"layer {index + 1}: {part} needs an image below it, and no dilation")
        pixels = [(n + 2 * pad - size) // stride + 1 for n in below[1:]]
        pooled = pool(torch.zeros(1, 1, *pixels))[0].shape[-2:]
        joint = Conv(
            part.in_channels, part.out_channels, size, ends, stride, pad, pool,
            part.bias is not None,
        )  # fmt: skip
        return joint, (part.out_channels, *pooled)
    reason = WHY_NOT.get(type(part), "there is no energy for it here")
    raise InputError(f"layer {index + 1}: {part} cannot be part of an equilibrium: {reason}")


def _pool(modules: list[nn.Module]) -> Pool:
    """Take a pooling off the front of ``modules``, or one that follows an activation that rises."""
    for place in (0, 1):
        if len(modules) <= place:
            break
        found = modules[place]
        if isinstance(found, (nn.MaxPool2d, nn.AvgPool2d)):
            if place and isinstance(found, nn.AvgPool2d):
                raise InputError(f"{found} must come before its activation, not after it")
            size, stride = found.kernel_size, found.stride
            if not isinstance(size, int) or stride not in (size, None) or found.padding:
                raise InputError(f"{found} must be square, without overlap or padding")
            del modules[place]
            return Maximum(size) if isinstance(found, nn.MaxPool2d) else Average(size)
        if not _is_law(found):
            break
    return Average()


def _is_law(module: nn.Module) -> bool:
    kinds = (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Hardsigmoid, nn.Tanh, nn.Identity)
    return isinstance(module, kinds)


def _law(modules: list[nn.Module]) -> Law:
    """Take an activation off the front of ``modules``; without one the layer is free."""
    if not modules or not _is_law(modules[0]):
        return Free()
    found = modules.pop(0)
    if isinstance(found, nn.ReLU):
        return Box(0.0, math.inf)
    if isinstance(found, nn.Hardtanh):  # ReLU6 is one
        return Box(float(found.min_val), float(found.max_val))
    if isinstance(found, nn.Hardsigmoid):
        return Box(0.0, 1.0)
    return Tanh() if isinstance(found, nn.Tanh) else Free()
