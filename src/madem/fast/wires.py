"""Crossbars with wires, by the kernel ``native/wires.inl``: sixteen reads side by side."""

from __future__ import annotations

import torch
from torch import Tensor

from madem.fast.native import kernels
from madem.network.wires import Conductances

Parts = tuple[Tensor | None, ...]
"""Currents sensed and drawn, voltages of word and bit nodes and across cells, and the rest."""


def conjugate(
    given: tuple[Tensor, Tensor, Tensor | None],
    wires: Conductances,
    asked: tuple[bool, bool, bool],
    how: tuple[float, float, int, str | None],
) -> Parts | None:
    """Return what reads find by conjugate gradients, iterations, residuals; None off a CPU.

    ``given``: conductances ``(chips, m, n)``, S, voltages ``(chips, batch, m)``, V, and sources
    ``(chips, m, n, batch)``, A, or None. ``asked``: whether for the voltages of all nodes, for the
    currents drawn, and for the voltages across cells. ``how``: tolerance, steepest step, largest
    number of iterations, and an instruction set, "" for the best of the processor, None for none.
    """
    g, v, _ = given
    if kernels is None or how[-1] is None or g.device.type != "cpu":
        return None
    (chips, m, n), batch = g.shape, v.shape[1]
    nodes, drawn, across = asked
    shapes = {"sensed": (batch, n), "drawn": (batch, m), "word": (batch, m, n)}
    shapes |= {"bit": (batch, m, n), "across": (m, n, batch), "residual": (batch,)}
    wanted = True, drawn, nodes, nodes, across, True
    parts = [
        g.new_empty(chips, *shape) if want else None
        for shape, want in zip(shapes.values(), wanted, strict=True)
    ]
    parts.insert(-1, torch.empty(chips, batch, dtype=torch.int32))  # iterations
    arrays = [None if p is None else p.detach().numpy() for p in (*given, *parts)]
    kernels.read_wires(*arrays[:3], wires, *arrays[3:], *how)
    return tuple(parts)
