"""Crossbars with wires: every node between drivers and virtual grounds, by Kirchhoff's laws.

A crossbar of ``m`` word lines and ``n`` bit lines has a cell of conductance ``g[i, j]`` between
node ``(i, j)`` of word line ``i`` and node ``(i, j)`` of bit line ``j``. Neighbouring nodes of a
line are joined by a segment of wire. Word line ``i`` is driven at column 0 through ``drive``; bit
line ``j`` is sensed at row ``m - 1`` through ``sense``, at virtual ground; the other ends are open.
At fixed conductances the currents sensed are ``A(G) v``, with one matrix ``A`` a write, and by
reciprocity a transposed read, with the same terminations, is ``A^T``.

Word lines are eliminated exactly, and conjugate gradients run on the bit lines, preconditioned by
the bit lines themselves. On a CPU the kernel ``native/wires.inl`` does it. They take about
``2 n sqrt(g r)`` iterations (cells ``g``, ``n`` segments ``r`` a line). Arrays that need more than
a budget, and those through which gradients are wanted, are solved directly; what float32 cannot
resolve is solved in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from madem.errors import InputError
from madem.network import Wires
from madem.solver.crossbars import TOLERANCES, Reads, solve

BUDGET = 100
"""Iterations of conjugate gradients that take about as long as a direct solve of 64 x 64."""


@dataclass(frozen=True)
class Reading:
    """What a read found. ``(*chips, batch)`` in front of every shape.

    ``currents``: into the sense inputs, A, ``(n,)``; ``drawn``: from the drivers, A, ``(m,)``;
    ``word``, ``bit``: voltages of all nodes, V, ``(m, n)``; ``across``: those of the cells, with
    the inputs last, ``(*chips, m, n, batch)``. What was not asked for is None.
    ``iterations``, ``residual``: of conjugate gradients, the latter relative to where they started;
    of arrays solved directly 0, and the last correction relative to the largest voltage.
    """

    currents: Float[Tensor, "*chips batch n"]
    drawn: Float[Tensor, "*chips batch m"] | None
    word: Float[Tensor, "*chips batch m n"] | None
    bit: Float[Tensor, "*chips batch m n"] | None
    across: Float[Tensor, "*chips m n batch"] | None
    iterations: Int[Tensor, "*chips batch"]
    residual: Float[Tensor, "*chips batch"]


def read(
    g: Float[Tensor, "*chips m n"],
    v: Float[Tensor, "*any batch rows"],
    wires: Wires,
    nodes: bool = False,
    drawn: bool = True,
    tolerance: float | None = None,
    budget: int = BUDGET,
    instructions: str | None = "",
) -> Reading:
    """Drive the word lines of crossbars ``g``, S, with ``v``, V, and sense the bit lines.

    ``nodes``: return the voltages of all nodes; ``drawn``: and what the drivers give (always with
    ``nodes``). ``tolerance``: relative residual, by default such that voltages are right to 1e-6
    (float32) or 1e-9 (float64) of the largest, currents to 5e-6 or 1e-9 of the largest at a
    terminal; ``budget``: largest number of iterations before arrays are solved directly.
    ``instructions`` names an instruction set of the kernel, by default the best of the processor;
    None asks for PyTorch. Autograd may listen: arrays are then solved directly. Raises
    ``InputError`` for conductances that are negative or not finite, for shapes and types that do
    not fit, and where the tolerance is missed.

    >>> read(torch.tensor([[0.5]]), torch.tensor([[3.0]]), Wires(1.0, 1.0, 1.0, 1.0)).currents
    tensor([[0.7500]])
    """
    asked = nodes, drawn or nodes, False
    return _solve(g, v, None, wires, asked, (tolerance, budget, instructions))


def drops(
    g: Float[Tensor, "*chips m n"],
    v: Float[Tensor, "*any batch rows"],
    wires: Wires,
    sources: Float[Tensor, "*other m n inputs"] | None = None,
    tolerance: float | None = None,
    budget: int = BUDGET,
    instructions: str | None = "",
) -> Reading:
    """As ``read``, but return in ``across`` the voltage that every cell sees, ``(m, n, batch)``.

    ``sources``: currents, A, that flow through every cell besides ``g`` times its voltage, from the
    word line to the bit line.

    >>> drops(torch.tensor([[0.5]]), torch.tensor([[3.0]]), Wires(1.0, 1.0, 1.0, 1.0)).across
    tensor([[[1.5000]]])
    """
    asked = False, False, True
    return _solve(g, v, sources, wires, asked, (tolerance, budget, instructions))


def effective(
    g: Float[Tensor, "*chips m n"],
    wires: Wires,
    tolerance: float | None = None,
    budget: int = BUDGET,
    instructions: str | None = "",
) -> Float[Tensor, "*chips n m"]:
    """Return ``A`` with ``currents = A v``, S: unit reads along the shorter side of the arrays.

    >>> effective(torch.tensor([[0.5]]), Wires(1.0, 1.0, 1.0, 1.0))
    tensor([[0.2500]])
    """
    check_tensors({"g": g})
    m, n = g.shape[-2:] if g.dim() >= 2 else (1, 1)
    forward = m <= n
    unit = torch.eye(min(m, n), dtype=g.dtype, device=g.device)
    driven, along = (g, wires) if forward else (turned(g), wires.transposed)
    found = read(driven, unit, along, False, False, tolerance, budget, instructions).currents
    return found.mT if forward else found.flip(-2, -1)


def turned(g: Float[Tensor, "*chips m n"]) -> Float[Tensor, "*chips n m"]:
    """Return the crossbars as a transposed read meets them, from where the bit lines are sensed.

    Its word lines are the bit lines in reverse order, each from its terminal, and so its inputs and
    its currents are in reverse order too.

    >>> turned(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[4., 2.],
            [3., 1.]])
    """
    return g.mT.flip(-2, -1)


def check_tensors(given: dict[str, Tensor]) -> None:
    """Refuse by its name what is no finite tensor of float32 or float64; and ``g`` below 0."""
    for name, value in given.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta:
            raise InputError(
                f"{name} must be a dense tensor, but is {type(value).__name__}: "
                "torch.as_tensor makes one of an array"
            )
    kinds = {(value.dtype, value.device) for value in given.values()}
    if len(kinds) > 1 or any(kind not in TOLERANCES for kind, _ in kinds):
        raise InputError(
            f"{' and '.join(given)} must be float32 or float64, alike and on one device, but are "
            + " and ".join(f"{value.dtype} on {value.device}" for value in given.values())
        )
    for name, value in given.items():
        least, most = map(float, value.detach().aminmax()) if value.numel() else (0.0, 0.0)
        lowest = 0.0 if name == "g" else -math.inf  # NaN is both the least and the most
        if not (lowest <= least > -math.inf and most < math.inf):
            place = (~(torch.isfinite(value) & (value >= lowest))).nonzero()[0].tolist()
            what = "a conductance must be finite and not negative" if name == "g" else ""
            raise InputError(
                f"{what or name + ' must be finite'}, but {name}{place} is {value[tuple(place)]:g}"
            )


def _solve(
    g: Tensor, v: Tensor, sources: Tensor | None, wires: Wires, asked: tuple[bool, bool, bool],
    how: tuple[float | None, int, str | None],
) -> Reading:  # fmt: skip
    """Check what was given, lay all chips along one axis, and solve."""
    check_tensors({"g": g, "v": v} | ({} if sources is None else {"sources": sources}))
    chips = chip_axes(g, v, sources)
    count = math.prod(chips)
    many = g.expand(*chips, *g.shape[-2:]).reshape(count, *g.shape[-2:]).contiguous()
    inputs = v.expand(*chips, *v.shape[-2:]).reshape(count, *v.shape[-2:]).contiguous()
    if sources is not None:
        shape = *many.shape, v.shape[-2]
        sources = sources.expand(*chips, *shape[1:]).reshape(shape).contiguous()
    tolerance, budget, instructions = how
    if budget < 0 or (tolerance is not None and not tolerance > 0):
        raise InputError(
            f"tolerance must be positive and budget not negative, but are {tolerance} and {budget}"
        )
    reads = Reads(many, inputs, sources, wires.conductances, *asked)
    parts = solve(reads, tolerance, budget, instructions)
    shaped = [None if p is None else p.reshape(*chips, *p.shape[1:]) for p in parts]
    return Reading(*shaped)  # type: ignore[arg-type]


def chip_axes(g: Tensor, v: Tensor, sources: Tensor | None = None) -> tuple[int, ...]:
    """Return the axes of chips. Raises ``InputError`` where shapes do not fit."""
    if g.dim() >= 2 and v.dim() >= 2 and v.shape[-1] == g.shape[-2] and 0 not in g.shape[-2:]:
        try:
            # not torch.broadcast_shapes: its first call imports sympy, most of a second
            chips = np.broadcast_shapes(g.shape[:-2], v.shape[:-2])
            shape = *chips, *g.shape[-2:], v.shape[-2]
            if sources is None or np.broadcast_shapes(shape, sources.shape) == shape:
                return chips
        except ValueError:
            pass
    also = "" if sources is None else f", {tuple(sources.shape)} of sources (*chips, m, n, batch)"
    raise InputError(
        "v must have the shape (*chips, batch, m) for conductances (*chips, m, n), but they have "
        f"{tuple(v.shape)} and {tuple(g.shape)}{also}"
    )
