"""Crossbars with wires, solved: by conjugate gradients, or directly.

Conjugate gradients run on what is left of the bit lines once the word lines are eliminated,
preconditioned by the bit lines themselves: ``native/wires.inl`` on a CPU, and the same in PyTorch.
A direct solve eliminates row after row (``lines.py``). ``solve`` takes what suffices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from madem.errors import InputError
from madem.fast import wires
from madem.network.wires import Conductances
from madem.solver.lines import Arrays, Lines

TOLERANCES = {torch.float32: 1e-7, torch.float64: 1e-12}
"""Relative residual at which node voltages are right to 1e-6 and 1e-9."""

STEEPEST = {torch.float32: 8.0, torch.float64: 1e4}
"""Largest step along a residual that rounding leaves right to 1e-6 and 1e-9, the inverse of the
smallest eigenvalue that a solve may meet; what steps further is solved in float64, or directly."""

POOR = {torch.float32: 0.03, torch.float64: 1e3}
FAINT = {torch.float32: 1e-6, torch.float64: 1e-100}
"""Where a cell conducts more than so many segments of its lines, or all inputs are below so many
volts, lines lose digits of their currents, or the squares of voltages do."""

AT_ONCE, LARGEST = 1 << 26, 1 << 29
"""Numbers that a direct solve keeps at once, ``m n n`` an array, and for one array: 4 GiB."""

Parts = tuple[Tensor | None, ...]
"""What ``Reading`` holds, ``chips`` in front of every shape."""


@dataclass(frozen=True)
class Reads:
    """Reads of crossbars, and what is asked for besides the currents; SI units.

    ``g``: ``(chips, m, n)``; ``v``: ``(chips, batch, m)``; ``sources``: ``(chips, m, n, batch)`` or
    None; ``wires``: conductances of a segment of word and bit lines, of a driver, a sense input.
    """

    g: Tensor
    v: Tensor
    sources: Tensor | None
    wires: Conductances
    nodes: bool = False
    drawn: bool = False
    across: bool = False

    @property
    def listening(self) -> bool:
        """Whether autograd listens to any of them, backward or forward."""
        given = [p for p in (self.g, self.v, self.sources) if p is not None]
        if torch.is_grad_enabled() and any(p.requires_grad for p in given):
            return True
        return any(unpack_dual(p).tangent is not None for p in given)

    @property
    def through(self) -> Tensor:
        """Currents through the cells besides those of their conductances, A."""
        return self.g.new_zeros(1) if self.sources is None else self.sources.movedim(-1, 1)

    def each(self, change: Callable[[Tensor], Tensor]) -> Reads:
        """Return the reads with ``change`` done to all of their tensors."""
        sources = None if self.sources is None else change(self.sources)
        return replace(self, g=change(self.g), v=change(self.v), sources=sources)

    def suited(self) -> bool:
        """Return whether conjugate gradients lose no digits that matter in the type at hand.

        Each line gives a part of its currents to its termination; what comes back from both kinds
        of lines in turn bounds the steps of conjugate gradients where segments are good.
        """
        kind, (m, n), (*segments, drive, sense) = self.g.dtype, self.g.shape[1:], self.wires
        largest, most = float(self.g.max()), float(self.v.abs().max())
        kept = m * largest / (m * largest + sense) * n * largest / (n * largest + drive)
        poor = largest > POOR[kind] * min(segments) or (1 - kept) * STEEPEST[kind] < 1
        return not poor and (most >= FAINT[kind] or (most == 0 and self.sources is None))

    def told(self, w: Tensor, b: Tensor) -> Parts:
        """Return what is asked for of the voltages of word and bit nodes."""
        across, kind, drive = w - b, self.g.dtype, self.wires[2]
        drawn = None
        if self.drawn:  # by the smaller conductance, which takes the larger difference
            by_cells = (self.g[:, None] * across + self.through).sum(-1)
            poor = (self.g.amax(-1) > drive)[:, None]
            drawn = torch.where(poor, drive * (self.v - w[..., 0]), by_cells).to(kind)
        kept = (w.to(kind), b) if self.nodes else (None, None)
        seen = across.to(kind).movedim(1, -1) if self.across else None
        return self.wires[3] * b[..., -1, :], drawn, *kept, seen


def solve(reads: Reads, tolerance: float | None, budget: int, instructions: str | None) -> Parts:
    """Solve by conjugate gradients what they reach within ``budget``, and the rest directly.

    ``tolerance``: by default that of the type. In float32, what it cannot resolve goes to float64.
    """
    listening = reads.listening
    wanted = TOLERANCES[reads.g.dtype] if tolerance is None else tolerance

    def beyond(some: Reads) -> Parts:
        if some.g.dtype == torch.float64:
            return direct(some, wanted)
        found = solve(some.each(Tensor.double), tolerance, budget, instructions)
        return tuple(p.float() if p is not None and p.is_floating_point() else p for p in found)

    if not reads.v.numel() and not listening:
        return conjugate(reads, wanted, 0, instructions)
    if listening or wanted < torch.finfo(reads.g.dtype).eps / 2 or not reads.suited():
        return beyond(reads)
    parts = conjugate(reads, wanted, budget, instructions)
    residual = parts[-1]
    assert residual is not None
    if not float(residual.max()) <= wanted:  # NaN is the largest
        hard = ~(residual <= wanted).all(-1)
        for part, other in zip(parts, beyond(reads.each(lambda part: part[hard])), strict=True):
            if part is not None and other is not None:
                part[hard] = other
    return parts


def direct(reads: Reads, tolerance: float) -> Parts:
    """Eliminate float64 arrays whole, some at once. Raises ``InputError`` where that fails."""
    chips, m, n = reads.g.shape
    size = m * n * n
    if size > LARGEST:
        raise InputError(
            f"{m} x {n} lines with such wires need a direct solve, which takes {size >> 27} GiB: "
            "ask for more iterations with budget=1000, or read smaller arrays"
        )
    few = max(1, AT_ONCE // size)
    through = reads.through.expand(chips, *reads.v.shape[1:2], m, n)
    found = [
        Arrays.of(reads.g[at : at + few], reads.wires).nodes(
            reads.v[at : at + few], through[at : at + few], tolerance
        )
        for at in range(0, max(chips, 1), few)
    ]
    w, b, residual = (torch.cat(parts) for parts in zip(*found, strict=True))
    missed = ~(residual <= tolerance)
    if bool(missed.any()):
        worst, place = float(residual[missed].max()), missed.nonzero()[0].tolist()
        remedy = "bring cells, wires and terminations within 1e12 of one another"
        if worst < 1e-9:
            remedy = f"ask for a tolerance of {10 * worst:.0e}"
        raise InputError(
            f"{int(missed.sum())} of {missed.numel()} reads missed the tolerance {tolerance:g} in "
            f"a direct solve, by up to {worst:.1e} of the largest voltage: {remedy}; "
            f"the first is (chip, input) {place}"
        )
    return *reads.told(w, b), torch.zeros_like(residual, dtype=torch.int32), residual


def conjugate(reads: Reads, tolerance: float, budget: int, instructions: str | None) -> Parts:
    """Take up to ``budget`` iterations of conjugate gradients; the residual tells who missed."""
    asked = reads.nodes, reads.drawn, reads.across
    how = tolerance, STEEPEST[reads.g.dtype], budget, instructions
    found = wires.conjugate((reads.g, reads.v, reads.sources), reads.wires, asked, how)
    if found is not None:
        return found
    with torch.no_grad():
        return _plain(reads, tolerance, budget)


def _plain(reads: Reads, tolerance: float, budget: int) -> Parts:
    """Do what the kernel does, in PyTorch: fields have the shape ``(chips, batch, m, n)``."""
    g, v, through = reads.g, reads.v, reads.through
    word, bit, drive, sense = reads.wires
    cells = g[:, None]
    words, bits = Lines.of(cells, word, drive), Lines.of(cells.flip(-2).mT, bit, sense)

    def below(current: Tensor) -> Tensor:
        """Return ``A_b^-1 current``; a bit line's termination is at its last row."""
        return bits.solve(current.flip(-2).mT).mT.flip(-2)

    def inner(x: Tensor, left: Tensor) -> Tensor:
        """Return ``x . A_b x`` as a sum of squares, with ``left`` for what of x drives cells."""
        drops = bit * (x[..., 1:, :] - x[..., :-1, :]).square().sum((-2, -1))
        ends = sense * x[..., -1, :].square().sum(-1)
        return (cells * x * left).sum((-2, -1)) + drops + ends

    still = torch.zeros(1, dtype=g.dtype, device=g.device)
    b = torch.zeros(*v.shape, g.shape[-1], dtype=g.dtype, device=g.device)
    z = p = below((cells * words.solve(b - through, v)).to(g.dtype) + through)
    first = size = inner(z, z)
    iterations = torch.zeros(v.shape[:2], dtype=torch.int32, device=g.device)
    lost = iterations > 0
    for count in range(1, budget + 1):
        going = (size > tolerance**2 * first) & ~lost
        if not bool(going.any()):
            break
        iterations = torch.where(going, count, iterations)
        lifted = words.solve(cells * p)
        curve = inner(p, p - lifted)  # p . S p, without the difference of <p, p> and <p, T p>
        lost = lost | (going & ~(curve * STEEPEST[g.dtype] > size))
        alpha = torch.where((curve > 0) & ~lost, size / curve, still)[..., None, None]
        b = b + alpha * p
        z = z - alpha * (p - below(cells * lifted))
        now = inner(z, z)
        p = z + torch.where(size > 0, now / size, still)[..., None, None] * p
        size = now
    b = b + z  # the preconditioner's step, which mends b most near the sense inputs
    w = words.solve(cells * b - through, v)
    residual = torch.where(first > 0, (size / first).sqrt(), still)
    return *reads.told(w, b), iterations, residual
