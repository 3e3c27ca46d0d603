"""From a feed-forward ``nn.Sequential`` to the equilibrium network of the same shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from madem.errors import InputError
from madem.learn.estimators import Contrast
from madem.learn.module import Equilibrium
from madem.learn.parts import ACTIVE, POOLING, Part, parameters_of, parts_of
from madem.machine import Simulated
from madem.network import (
    Average,
    Box,
    Conv,
    Dense,
    Free,
    Law,
    Layer,
    Maximum,
    Network,
    Readout,
    Tanh,
)
from madem.network.convolutions import slid
from madem.network.pooling import Pool
from madem.solver import Solver, Sweep

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """A layer to be: the ``part`` and the ``joint`` that couple it to the one below, and its law.

    ``shape``: of one sample's states; ``law``: None until an activation follows.
    """

    part: Part
    joint: Dense | Conv
    shape: Shape
    law: Law | None = None


def equilibrium(
    model: nn.Module,
    inputs: int | Sequence[int],
    estimator: Contrast | None = None,
    solver: Solver | None = None,
    readout: bool = False,
) -> Equilibrium:
    """Return the equilibrium network of the shape of ``model``, starting from its parameters.

    ``inputs``: shape of one sample. Each ``Linear`` or ``Conv2d``, with a pooling and an activation
    behind it, becomes a layer that feels the next one too, so outputs differ from the model's: it
    is a network of the same shape, to be trained. The last layer is free, or with ``readout``
    outside the energy, which keeps strong couplings settling; with at most one more layer below it
    the outputs are then the model's own. Activations: ``ReLU``, ``ReLU6``, ``Hardtanh``, ``Tanh``;
    ``Identity``, ``Flatten`` and nested ``Sequential`` are taken as they are. Parameters are
    copies, of the model's dtype and device, frozen where they were. The default solver is
    ``Sweep(1e-4, 300)``, less exact in bfloat16 and float16.

    Raises ``InputError``, one line with the place and the reason, for whatever would become
    another model: modules of a class of their own, hooks, shared or computed parameters, settings
    of convolutions and poolings that have no counterpart, what has no energy.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> equilibrium(model, 4)(torch.zeros(1, 4)).shape
    torch.Size([1, 2])
    """
    parts, first = parts_of(model), _shape_of(inputs)
    rows = _rows(parts, first)
    parameters = parameters_of(parts)
    laws = [row.law or Free() for row in rows]
    if readout:
        if not isinstance(laws[-1], Free):
            raise rows[-1].part.refused("with readout nothing may follow the last layer")
        laws[-1] = Readout()
    layers = tuple(Layer(row.shape, law) for row, law in zip(rows, laws, strict=True))
    network = Network(first, layers, tuple(row.joint for row in rows))
    values = [p.detach().clone() for p in parameters]
    tolerance = max(1e-4, 4 * torch.finfo(values[0].dtype).eps)
    left = iter(values)
    drawn = [[next(left) for _ in joint.parameters] for joint in network.joints]
    machine = Simulated.ideal(network, drawn, solver or Sweep(tolerance, 300))
    module = Equilibrium(machine, estimator)
    for ours, theirs in zip(module.parameters(), parameters, strict=True):
        ours.requires_grad_(theirs.requires_grad)
    return module.train(model.training)


def _shape_of(inputs: object) -> Shape:
    """Return the shape of one sample."""
    shape = inputs if isinstance(inputs, tuple | list) else (inputs,)
    if len(shape) not in (1, 3) or not all(type(n) is int and n > 0 for n in shape):
        raise InputError(
            "inputs must be the number of inputs of one sample or its shape (channels, height, "
            f"width), but is {str(inputs)[:80]}"
        )
    return tuple(shape)


def _rows(parts: Sequence[Part], first: Shape) -> list[Row]:
    """Return the layers that ``parts`` become, on samples of the shape ``first``."""
    rows: list[Row] = []
    shape = first  # of what the next part is given, in the model
    for part in parts:
        module, ends = part.module, (len(rows), len(rows) + 1)
        if isinstance(module, nn.Flatten):
            shape = _flattened(part, module, shape)
        elif isinstance(module, POOLING):
            rows[-1:] = [_pooled(part, module, rows, shape)]
            shape = rows[-1].shape
        elif isinstance(module, ACTIVE):
            if not rows or rows[-1].law is not None:
                raise part.refused("an activation follows one Linear or Conv2d, and no other one")
            rows[-1] = replace(rows[-1], law=_law(module))
        elif isinstance(module, nn.Conv2d):
            rows.append(_image(part, module, shape, ends))
            shape = rows[-1].shape
        elif isinstance(module, nn.Linear):
            below = rows[-1].shape if rows else first
            _check_flat(part, module, shape)
            shape = (module.out_features,)
            joint = Dense(below, module.out_features, ends, module.bias is not None)
            rows.append(Row(part, joint, shape))
    if rows[-1].shape != shape:
        raise parts[-1].refused(
            f"outputs stay an image of the shape {rows[-1].shape}; flatten them outside"
        )
    return rows


def _flattened(part: Part, module: nn.Flatten, shape: Shape) -> Shape:
    """Return the shape of a sample after a ``Flatten``, which must flatten all of it."""
    try:
        batch, *after = torch.empty(2, *shape, device="meta").flatten(
            module.start_dim, module.end_dim
        ).shape  # fmt: skip
    except (IndexError, RuntimeError):
        batch, after = 0, []
    if batch != 2 or (len(after) > 1 and tuple(after) != shape):
        raise part.refused(
            f"it flattens axes {module.start_dim} to {module.end_dim} of (batch, "
            f"{', '.join(map(str, shape))}), which is not all of each sample"
        )
    return tuple(after)


def _check_flat(part: Part, module: nn.Linear, shape: Shape) -> None:
    """Refuse a ``Linear`` that is given samples of another shape than it takes."""
    if len(shape) != 1:
        raise part.refused(f"it is given the shape {shape}; put nn.Flatten() before it")
    if module.in_features != shape[0]:
        raise part.refused(
            f"it takes {module.in_features} inputs, but the layer below has the shape {shape}"
        )


def _padding(module: nn.Conv2d) -> int:
    """Return how many zeros a convolution sets around an image."""
    if isinstance(module.padding, str):
        return 0 if module.padding == "valid" else (module.kernel_size[0] - 1) // 2
    return int(module.padding[0])


def _image(part: Part, module: nn.Conv2d, shape: Shape, ends: tuple[int, int]) -> Row:
    """Return the layer that a ``Conv2d`` makes of one of ``shape``."""
    size, stride, padding = module.kernel_size[0], module.stride[0], _padding(module)
    pairs = [module.kernel_size, module.stride, module.dilation]
    pairs += [] if isinstance(module.padding, str) else [module.padding]
    if any(pair[0] != pair[1] for pair in pairs):
        raise part.refused(f"it must be square, but has kernel, stride, dilation, padding {pairs}")
    for name, usual in (("groups", 1), ("dilation", (1, 1)), ("padding_mode", "zeros")):
        if getattr(module, name) != usual:
            raise part.refused(f"its {name} must be {usual}, but is {getattr(module, name)}")
    if module.padding == "same" and size % 2 == 0:
        raise part.refused(f"padding 'same' pads unevenly where the kernel is even, {size}")
    if len(shape) != 3:
        raise part.refused(f"it needs an image below it, but is given the shape {shape}")
    if module.in_channels != shape[0]:
        raise part.refused(f"it takes {module.in_channels} channels, but is given {shape}")
    pixels = slid(shape, size, stride, padding)
    if min(pixels) < 1:
        raise part.refused(f"its kernel of {size} is larger than the image {shape}")
    of, bias = (shape[0], module.out_channels), module.bias is not None
    joint = Conv(*of, size, ends, stride, padding, bias=bias)
    return Row(part, joint, (module.out_channels, *pixels))


def _pooled(
    part: Part, module: nn.MaxPool2d | nn.AvgPool2d, rows: Sequence[Row], shape: Shape
) -> Row:
    """Return the last of ``rows`` with a pooling."""
    joint = rows[-1].joint if rows and len(shape) == 3 else None
    if not isinstance(joint, Conv) or joint.pool != Average():
        raise part.refused(f"it pools {shape}, which has no image of one Conv2d in it")
    size, stride, padding = (
        {value} if isinstance(value, int) else set(value)
        for value in (module.kernel_size, module.stride, module.padding)
    )
    if len(size) > 1 or stride != size or padding != {0}:
        raise part.refused("a pooling must be square, without overlap or padding")
    n = size.pop()
    uneven = any(pixels % n for pixels in shape[1:])
    if min(shape[1:]) < n or (module.ceil_mode and uneven):
        raise part.refused(f"windows of {n} must lie within the image {shape}, without ceil_mode")
    pool: Pool = Average(n)
    if isinstance(module, nn.MaxPool2d):
        if module.return_indices or module.dilation not in (1, (1, 1)):
            raise part.refused("it must have neither return_indices nor a dilation")
        pool = Maximum(n)
    elif rows[-1].law is not None:
        raise part.refused("an average must come before its activation, not after it")
    elif module.divisor_override not in (None, n * n):
        raise part.refused(f"its divisor_override must be None, but is {module.divisor_override}")
    pooled = (shape[0], shape[1] // n, shape[2] // n)
    return replace(rows[-1], joint=replace(joint, pool=pool), shape=pooled)


def _law(module: nn.Module) -> Law:
    """Return the law of an activation."""
    if isinstance(module, nn.ReLU):
        return Box(0.0, math.inf)
    if isinstance(module, nn.Hardtanh):  # ReLU6 is one
        return Box(float(module.min_val), float(module.max_val))
    return Tanh()
