"""Networks: frozen physics that holds no tensors, and the problem that comes to rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from numbers import Integral

import torch
from torch import Generator, Tensor

from madem.errors import InputError, shown
from madem.network.amplifiers import Amplified, Amplifier
from madem.network.competition import Thresholds
from madem.network.couplings import Coupling, Shape
from madem.network.joints import Dense, Joint
from madem.network.laws import Law, Weighted, leakless
from madem.network.problem import Problem, Site


def _refuse_shape(name: str, given: int | Shape) -> None:
    shape = given if isinstance(given, tuple | list) else (given,)
    if not all(isinstance(n, Integral) and n > 0 for n in shape):
        raise InputError(f"{name} must be a positive integer, or several, but is {shown(given)}")


@dataclass(frozen=True)
class Layer:
    """Neurons under one ``law``: ``units`` of them, or an image (channels, height, width).

    >>> from madem.network import Readout
    >>> Layer((8, 4, 4), Readout()).shape
    (8, 4, 4)
    """

    units: int | Shape
    law: Law

    def __post_init__(self) -> None:
        """Refuse what is neither a number of neurons nor a shape of them."""
        _refuse_shape("units", self.units)

    @property
    def shape(self) -> Shape:
        """The shape of one sample's state."""
        return (self.units,) if isinstance(self.units, int) else tuple(self.units)


@dataclass(frozen=True)
class Network:
    """Layers above a clamped input, and the joints between them.

    The energy is the sum of the joints' energies and of ``phi`` of every node. ``inputs`` is the
    number or the shape of the inputs; layers count from 1, the input is 0. Without ``joints`` it
    is a chain of dense couplings with biases,
    ``E = sum_l |s_l|^2 / 2 - sum_l s_l . (W_l s_{l-1} + b_l)`` for laws of unit leak.

    >>> from madem.network.laws import Box, Readout
    >>> Network(60, (Layer(31, Box()), Layer(32, Readout()))).shapes
    ((31, 61), (32, 32))
    """

    inputs: int | Shape
    layers: tuple[Layer, ...]
    joints: tuple[Joint, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        _refuse_shape("inputs", self.inputs)
        if not self.layers:
            raise InputError("layers must hold at least one layer, but is empty")
        for layer in self.layers[:-1]:
            if not layer.law.loaded:
                raise InputError("only the last layer can be a readout outside the energy")
        if not self.joints:
            chain = pairwise(self.state_shapes)
            dense = (Dense(pre, math.prod(post), (i, i + 1)) for i, (pre, post) in enumerate(chain))
            object.__setattr__(self, "joints", tuple(dense))
        joined = {end for joint in self.joints for end in joint.ends}
        for end in sorted(joined | set(range(len(self.layers) + 1)), reverse=True):
            if not 0 <= end <= len(self.layers):
                raise InputError(
                    f"a joint ends at layer {end}, but the layers are 0 (the input) to "
                    f"{len(self.layers)}"
                )
            if end not in joined:
                raise InputError(f"layer {end} is joined to nothing")
        for joint in self.joints:
            joint.check(self.state_shapes)

    @property
    def state_shapes(self) -> tuple[Shape, ...]:
        """Shapes of the input's and of every layer's state."""
        inputs = (self.inputs,) if isinstance(self.inputs, int) else tuple(self.inputs)
        return (inputs, *(layer.shape for layer in self.layers))

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Shape ``(post, pre + 1)`` of every coupling on crossbars, the bias line included.

        ``(post, pre)`` where a joint has no bias. Raises ``InputError`` for what is no chain of
        dense joints: only that lies on crossbars. ``Thresholds`` lie beside them.
        """
        found = list[tuple[int, int]]()
        for number, joint in enumerate(self.joints, 1):
            if type(joint) is Thresholds:
                continue
            if type(joint) is not Dense or joint.ends != (len(found), len(found) + 1):
                raise InputError(
                    "only chains of Dense joints lie on crossbars, from every layer to the next, "
                    f"but joint {number} is a {type(joint).__name__} of layers {joint.ends}"
                )
            found.append((joint.post, math.prod(joint.pre) + joint.bias))
        return tuple(found)

    @cached_property
    def shares(self) -> tuple[float, ...]:
        """Weight of every layer's currents in the one energy: 1 without amplifiers."""
        shares = {0: 1.0}
        for joint in sorted(self.joints, key=lambda j: max(j.ends)):
            ratio = joint.ratio if isinstance(joint, Amplified) else 1.0
            below, above = min(joint.ends), max(joint.ends)
            if below == above:
                continue
            share = shares.get(below, 1.0) * ratio
            if abs(shares.setdefault(above, share) - share) > 1e-12 * share:
                raise InputError(
                    f"the joints into layer {above} come through amplifiers of different ratios "
                    "of current gain to voltage gain, so there is no energy"
                )
        return tuple(shares.get(i, 1.0) for i in range(len(self.layers) + 1))

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """What every layer knows of its place: law, shape, and the ends of joints that reach it."""
        reached = [
            [(j, e) for j, joint in enumerate(self.joints) for e, at in enumerate(joint.ends)
             if at == i]
            for i in range(1, len(self.layers) + 1)
        ]  # fmt: skip
        laws = [
            layer.law if share == 1 else Weighted(layer.law, share)
            for layer, share in zip(self.layers, self.shares[1:], strict=True)
        ]
        return tuple(
            Site(law, layer.shape, tuple(ends))
            for law, layer, ends in zip(laws, self.layers, reached, strict=True)
        )

    def initial(self, draws: Generator) -> list[list[Tensor]]:
        """Draw parameters to start from, one list per joint."""
        return [joint.initial(draws) for joint in self.joints]

    def couple(self, parameters: Sequence[Sequence[Tensor]]) -> list[Coupling]:
        """Return the couplings with ``parameters``, one list per joint."""
        held = enumerate(zip(self.joints, parameters, strict=True))
        return [self.shared(i, joint.couple(list(mine))) for i, (joint, mine) in held]

    def shared(self, index: int, coupling: Coupling) -> Coupling:
        """Return the coupling of joint ``index`` with its share of the energy."""
        share = self.shares[max(self.joints[index].ends)]
        if isinstance(coupling, Amplifier):
            return replace(coupling, share=share)
        return coupling if share == 1 else Amplifier(coupling, 1.0, share)

    def bind(self, couplings: Sequence[Coupling], x: Tensor) -> Problem:
        """Join couplings and input ``x``, ``(*chips, batch, *inputs)``.

        What the clamped input drives, the biases and the loads are computed here, once.
        Raises ``InputError`` where ``x`` has another shape or is not finite, or a node floats.
        """
        wanted = self.state_shapes[0]
        if tuple(x.shape[-len(wanted) :]) != wanted or x.dim() <= len(wanted):
            raise InputError(f"x must have the shape (batch, {', '.join(map(str, wanted))}), but "
                             f"has {tuple(x.shape)}")  # fmt: skip
        if not math.isfinite(x.detach().sum()) and not torch.isfinite(x).all():
            raise InputError("x must be finite, but holds NaN or infinity")
        sums = [self._sums(site, couplings, x) for site in self.sites]
        loads, fixed = zip(*sums, strict=True)
        for number, (site, load) in enumerate(zip(self.sites, loads, strict=True), 1):
            least = load.detach().min() if isinstance(load, Tensor) else load
            if leakless(site.law) and not float(least) > 0:
                raise InputError(
                    f"a node of layer {number} floats: its law has no leak, and none of its "
                    "conductances is above zero"
                )
        return Problem(
            self.sites,
            tuple(couplings),
            tuple(joint.ends for joint in self.joints),
            x,
            fixed,
            loads,
        )

    def _sums(
        self, site: Site, couplings: Sequence[Coupling], x: Tensor
    ) -> tuple[Tensor | float, Tensor]:
        """Return a layer's load and the currents into it that never change."""
        load: Tensor | float = 0.0
        total: Tensor | None = None
        for joint, end in site.ends:
            coupling, ends = couplings[joint], self.joints[joint].ends
            clamped = not any(ends[k] for k in coupling.felt(end))
            for part in (coupling.pull(end, [x] * len(ends)) if clamped else None,
                         coupling.constant(end)):  # fmt: skip
                if part is not None:
                    total = part if total is None else total + part
            load = load + coupling.curvature(end)
        total = x.new_zeros(()) if total is None else total
        batch = x.shape[: x.dim() - len(self.state_shapes[0])]
        shape = (*batch, *site.shape)
        if tuple(total.shape) != shape:
            total = torch.broadcast_tensors(total, x.new_empty(()).expand(shape))[0]
        return load, total
