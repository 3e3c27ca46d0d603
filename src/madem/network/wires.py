"""Crossbars with wires: every node between drivers and virtual grounds, by Kirchhoff's laws.

A crossbar of ``m`` word lines and ``n`` bit lines has a cell of conductance ``g[i, j]`` between
node ``(i, j)`` of word line ``i`` and node ``(i, j)`` of bit line ``j``. Neighbouring nodes of a
line are joined by a segment of wire. Word line ``i`` is driven at column 0 through ``drive``; bit
line ``j`` is sensed at row ``m - 1`` through ``sense``, at virtual ground; the other ends are open.
At fixed conductances the currents sensed are ``A(G) v``, with one matrix ``A`` a write, and by
reciprocity a transposed read, with the same terminations, is ``A^T``.

Word lines are eliminated exactly, and conjugate gradients run on the bit lines, preconditioned by
the bit lines themselves. On a CPU the kernel ``native/wires.inl`` does it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from madem.errors import InputError
from madem.native import kernels

TOLERANCES = {torch.float32: 1e-7, torch.float64: 1e-12}
"""Relative residual at which node voltages are right to 1e-6 and 1e-9."""


@dataclass(frozen=True)
class Wires:
    """Resistances, ohm: of a segment of a word and of a bit line, of a driver and of a sense input.

    Raises ``InputError`` for what is not positive and finite.

    >>> Wires(word=2.0, bit=0.0)
    Traceback (most recent call last):
    ...
    madem.errors.InputError: bit must be a positive, finite resistance in ohm, but is 0.0
    """

    word: float = 2.0
    bit: float = 2.0
    drive: float = 2.0
    sense: float = 2.0

    def __post_init__(self) -> None:
        """Refuse wires that are none."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not (value > 0 and math.isfinite(value)):
                raise InputError(
                    f"{field.name} must be a positive, finite resistance in ohm, but is {value}"
                )

    @property
    def conductances(self) -> tuple[float, float, float, float]:
        """Their conductances, S."""
        return 1 / self.word, 1 / self.bit, 1 / self.drive, 1 / self.sense

    @property
    def transposed(self) -> Wires:
        """The same wires, read the other way: bit lines driven, word lines sensed."""
        return Wires(self.bit, self.word, self.sense, self.drive)


@dataclass(frozen=True)
class Reading:
    """What a read found. ``(*chips, batch)`` in front of every shape.

    ``currents``: into the sense inputs, A, ``(n,)``; ``drawn``: from the drivers, A, ``(m,)``;
    ``word``, ``bit``: voltages of all nodes, V, ``(m, n)``; ``across``: those of the cells, with
    the inputs last, ``(*chips, m, n, batch)``. What was not asked for is None.
    ``iterations``, ``residual``: of the solve, the latter relative to where it started.
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
    budget: int = 200,
    instructions: str | None = "",
) -> Reading:
    """Drive the word lines of crossbars ``g``, S, with ``v``, V, and sense the bit lines.

    ``nodes``: return the voltages of all nodes; ``drawn``: and what the drivers give (always with
    ``nodes``). ``tolerance``: relative residual, by default such
    that voltages are right to 1e-6 (float32) or 1e-9 (float64) of the largest; ``budget``: largest
    number of iterations. ``instructions`` names an instruction set of the kernel, by default the
    best of the processor; None asks for PyTorch. Raises ``InputError`` for conductances that are
    negative or not finite, for shapes that do not fit, and where the tolerance is missed.

    >>> read(torch.tensor([[0.5]]), torch.tensor([[3.0]]), Wires(1.0, 1.0, 1.0, 1.0)).currents
    tensor([[0.7500]])
    """
    return _solve(
        g, v, wires, Asked(nodes, drawn or nodes), None, (tolerance, budget, instructions)
    )


def drops(
    g: Float[Tensor, "*chips m n"],
    v: Float[Tensor, "*any batch rows"],
    wires: Wires,
    sources: Float[Tensor, "*other m n inputs"] | None = None,
    tolerance: float | None = None,
    budget: int = 200,
    instructions: str | None = "",
) -> Reading:
    """As ``read``, but return in ``across`` the voltage that every cell sees, ``(m, n, batch)``.

    ``sources``: currents, A, that flow through every cell besides ``g`` times its voltage, from the
    word line to the bit line.

    >>> drops(torch.tensor([[0.5]]), torch.tensor([[3.0]]), Wires(1.0, 1.0, 1.0, 1.0)).across
    tensor([[[1.5000]]])
    """
    return _solve(g, v, wires, Asked(across=True), sources, (tolerance, budget, instructions))


def effective(
    g: Float[Tensor, "*chips m n"],
    wires: Wires,
    tolerance: float | None = None,
    budget: int = 200,
    instructions: str | None = "",
) -> Float[Tensor, "*chips n m"]:
    """Return ``A`` with ``currents = A v``, S: unit reads along the shorter side of the arrays.

    >>> effective(torch.tensor([[0.5]]), Wires(1.0, 1.0, 1.0, 1.0))
    tensor([[0.2500]])
    """
    m, n = g.shape[-2:]
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


@dataclass(frozen=True)
class Asked:
    """What a solve is asked for besides the currents."""

    nodes: bool = False
    drawn: bool = False
    across: bool = False


def _solve(
    g: Tensor, v: Tensor, wires: Wires, asked: Asked, sources: Tensor | None,
    how: tuple[float | None, int, str | None],
) -> Reading:  # fmt: skip
    _check(g, v)
    wanted, budget, instructions = how
    tolerance = TOLERANCES[g.dtype] if wanted is None else wanted
    # not torch.broadcast_shapes: its first call imports sympy, most of a second
    chips = np.broadcast_shapes(g.shape[:-2], v.shape[:-2])
    many = g.expand(*chips, *g.shape[-2:]).reshape(-1, *g.shape[-2:]).contiguous()
    inputs = v.expand(*chips, *v.shape[-2:]).reshape(-1, *v.shape[-2:]).contiguous()
    if sources is not None:
        shape = (*many.shape, inputs.shape[1])
        sources = sources.expand(*chips, *shape[1:]).reshape(shape).contiguous()
    if kernels is not None and instructions is not None and g.device.type == "cpu":
        parts = _kernel(many, inputs, wires, asked, sources, (tolerance, budget, instructions))
    else:
        parts = _plain(many, inputs, wires, asked, sources, (tolerance, budget))
    shaped = [None if p is None else p.reshape(*chips, *p.shape[1:]) for p in parts]
    found = Reading(*shaped)  # type: ignore[arg-type]
    _complain(found, tolerance, budget)
    return found


def _check(g: Tensor, v: Tensor) -> None:
    if g.dim() < 2 or v.dim() < 2 or v.shape[-1] != g.shape[-2] or not g.numel():
        raise InputError(
            "v must have the shape (*chips, batch, m) for conductances (*chips, m, n), but they "
            f"have {tuple(v.shape)} and {tuple(g.shape)}"
        )
    if g.dtype not in TOLERANCES or v.dtype != g.dtype:
        raise InputError(
            f"g and v must both be float32 or float64, but are {g.dtype} and {v.dtype}"
        )
    wrong = ~((g >= 0) & torch.isfinite(g))
    if bool(wrong.any()):
        place = wrong.nonzero()[0].tolist()
        raise InputError(
            f"a conductance must be finite and not negative, but g{place} is {g[tuple(place)]:g}"
        )
    if not bool(torch.isfinite(v).all()):
        raise InputError("v must be finite, but holds NaN or infinity")


def _complain(found: Reading, tolerance: float, budget: int) -> None:
    """Refuse a result that missed its tolerance, and say where."""
    missed = ~(found.residual <= tolerance)
    if bool(missed.any()):
        places = missed.nonzero()
        raise InputError(
            f"{len(places)} of {missed.numel()} reads missed the tolerance {tolerance:g} within "
            f"{budget} iterations, by up to a residual of {found.residual[missed].max():.1e}: "
            f"the first is (chip, input) {places[0].tolist()}"
        )


def _kernel(
    g: Tensor, v: Tensor, wires: Wires, asked: Asked, sources: Tensor | None,
    how: tuple[float, int, str],
) -> tuple[Tensor | None, ...]:  # fmt: skip
    chips, m, n = g.shape
    batch = v.shape[1]
    currents = g.new_empty(chips, batch, n)
    drawn = g.new_empty(chips, batch, m) if asked.drawn else None
    residual = g.new_empty(chips, batch)
    iterations = torch.empty(chips, batch, dtype=torch.int32)
    word, bit = (g.new_empty(chips, batch, m, n) if asked.nodes else None for _ in range(2))
    across = g.new_empty(chips, m, n, batch) if asked.across else None
    results = [None if p is None else p.numpy() for p in (currents, drawn, word, bit, across)]
    arrays = [None if p is None else p.detach().numpy() for p in (g, v, sources)]
    both = iterations.numpy(), residual.numpy()
    kernels.read_wires(*arrays, wires.conductances, *results, *both, *how)
    return currents, drawn, word, bit, across, iterations, residual


@dataclass(frozen=True)
class Lines:
    """Lines of nodes with loads, eliminated from their open ends towards the terminations.

    ``loss``: of a current at a node, the part that does not go on towards the termination (small
    where wires are good, so that products along a line keep their digits); ``lift``: the resistance
    through which what arrives lifts the node. Nodes lie along the last axis, node 0 at the
    termination.
    """

    loss: Tensor
    lift: Tensor

    @staticmethod
    def of(loads: Tensor, segment: float, end: float) -> Lines:
        """Eliminate, without a subtraction: ``E_j = g_j + G E_(j+1) / (E_(j+1) + G)``."""
        beyond = torch.zeros_like(loads[..., 0], dtype=torch.float64)
        lifts, losses = [], []
        for j in reversed(range(loads.shape[-1])):
            onward = segment if j else end
            here = loads[..., j] + beyond
            lifts.append(1 / (here + onward))
            losses.append(here * lifts[-1])
            beyond = onward * losses[-1]
        loss, lift = (torch.stack(part[::-1], -1).to(loads.dtype) for part in (losses, lifts))
        return Lines(loss, lift)

    def solve(self, source: Tensor, push: Tensor | None = None) -> Tensor:
        """Return the voltages under the currents ``source`` and the voltages ``push`` behind.

        With ``push`` they are float64: a driver's voltage loses little at every node, and float32
        would round the same way at each.
        """
        going, arriving = torch.zeros_like(source[..., 0]), []
        for j in reversed(range(source.shape[-1])):
            arriving.append(source[..., j] + going)
            going = arriving[-1] - self.loss[..., j] * arriving[-1]
        found = [torch.zeros_like(going) if push is None else push.double()]
        for j, arrived in enumerate(reversed(arriving)):
            back = found[-1] + self.lift[..., j] * arrived
            found.append(back - self.loss[..., j] * found[-1])
        return torch.stack(found[1:], -1)


def _plain(
    g: Tensor, v: Tensor, wires: Wires, asked: Asked, sources: Tensor | None,
    how: tuple[float, int],
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """Do what the kernel does, in PyTorch: fields have the shape ``(chips, batch, m, n)``."""
    tolerance, budget = how
    word, bit, drive, sense = wires.conductances
    cells = g[:, None]
    words, bits = Lines.of(cells, word, drive), Lines.of(cells.flip(-2).mT, bit, sense)

    def below(current: Tensor) -> Tensor:
        """Return ``A_b^-1 current``; a bit line's termination is at its last row."""
        return bits.solve(current.flip(-2).mT).mT.flip(-2)

    def inner(x: Tensor) -> Tensor:
        """Return ``x . A_b x`` as a sum of squares."""
        drops = bit * (x[..., 1:, :] - x[..., :-1, :]).square().sum((-2, -1))
        ends = sense * x[..., -1, :].square().sum(-1)
        return (cells * x.square()).sum((-2, -1)) + drops + ends

    still = torch.zeros(1, dtype=g.dtype, device=g.device)
    b = torch.zeros(*v.shape, g.shape[-1], dtype=g.dtype, device=g.device)
    through = b if sources is None else sources.movedim(-1, 1)
    z = p = below((cells * words.solve(-through, v)).to(g.dtype) + through)
    first = size = way = inner(z)
    iterations = torch.zeros(v.shape[:2], dtype=torch.int32, device=g.device)
    for count in range(1, budget + 1):
        going = size > tolerance**2 * first
        if not bool(going.any()):
            break
        iterations = torch.where(going, count, iterations)
        current = cells * words.solve(cells * p)
        curve = way - (p * current).sum((-2, -1))
        alpha = torch.where(curve > 0, size / curve, still)[..., None, None]
        b = b + alpha * p
        z = z - alpha * (p - below(current))
        now = inner(z)
        beta = torch.where(size > 0, now / size, still)
        p = z + beta[..., None, None] * p
        size, way = now, now + beta.square() * way  # z is orthogonal to the last p
    w = words.solve(cells * b - through, v)
    residual = torch.where(first > 0, (size / first).sqrt(), still)
    drawn = (drive * (v - w[..., 0])).to(g.dtype) if asked.drawn else None
    kept = (w.to(g.dtype), b) if asked.nodes else (None, None)
    across = (w - b).to(g.dtype).movedim(1, -1) if asked.across else None
    return sense * b[..., -1, :], drawn, *kept, across, iterations, residual
