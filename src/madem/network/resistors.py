"""Resistive couplings: resistors, and the mirrored lines of an input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from madem.network.couplings import Coupling, Matrix, Moves, Shape, States, and_bias, flat


@dataclass(frozen=True)
class Resistors(Coupling):
    """Resistors between every two nodes: ``E = sum g_ij (pre_j - post_i)^2 / 2 - b . post``.

    ``g``: conductances ``(*chips, post, pre)``, S; ``bias``: currents into ``post``, A, or None;
    ``shape``: that of the lower layer where it is not flat.

    >>> r = Resistors(torch.tensor([[1.0, 3.0]]))
    >>> r.pull(1, [torch.tensor([[2.0, 0.0]]), torch.zeros(1, 1)]).item(), r.curvature(1).tolist()
    (2.0, [4.0])
    """

    g: Float[Tensor, "*chips post pre"]
    bias: Float[Tensor, "*chips post"] | None = None
    shape: Shape = ()

    @property
    def _matrix(self) -> Matrix:
        """The currents that the other end's voltages drive are those of a matrix."""
        return Matrix(self.g, self.bias, self.shape)

    def pull(self, end: int, states: States) -> Tensor:
        """Return the currents that the other end's voltages drive."""
        return self._matrix.pull(end, states)

    def constant(self, end: int) -> Tensor | None:
        """Return the bias currents."""
        return self._matrix.constant(end)

    def curvature(self, end: int) -> Tensor:
        """Return the sum of conductances at each node of ``end``."""
        load = self.g.sum(-1 if end == 1 else -2)
        load = load.unsqueeze(-2) if self.g.dim() > 2 else load
        return load.unflatten(-1, self.shape) if self.shape and end == 0 else load

    def energy(self, states: States) -> Tensor:
        """Return half the power in the resistors, less that of the bias currents."""
        pre, post = flat(states[0], self.shape), states[1]
        below, above = self.g.sum(-2), self.g.sum(-1)
        if self.g.dim() > 2:
            below, above = below.unsqueeze(-2), above.unsqueeze(-2)
        squares = (pre.square() * below).sum(-1) + (post.square() * above).sum(-1)
        return squares / 2 + self._matrix.energy(states)

    def contrast(self, moves: Moves) -> tuple[Tensor, ...]:
        """Return the contrasts of the conductances, ``d_ij m_ij`` of the branch voltages."""
        pre, post = moves
        middle = flat(pre.middle, self.shape)
        g = None
        if post.change is not None:
            moved, seen = _branches(post.change, post.middle, middle)
            g = torch.matmul(moved.mT, seen)
        if pre.change is not None:
            moved, seen = _branches(flat(pre.change, self.shape), middle, post.middle)
            below = torch.matmul(seen.mT, moved)
            g = below if g is None else g + below
        g = torch.zeros_like(self.g) if g is None else g
        return and_bias(g, self.bias, None if post.change is None else -post.change.sum(-2))

    def displaced(self, at: States) -> Resistors:
        """Return itself without the bias currents, which do not change."""
        del at
        return Resistors(self.g, None, self.shape)


@dataclass(frozen=True)
class Mirrored:
    """Resistors from lines that carry ``gain x`` and ``-gain x``: signed inputs, positive weights.

    ``g``: ``(post, 2 pre)``, S, the positive lines first; ``bias``: ``(post,)``, A, or None.
    Both halves meet the same inputs, so each product is one with ``G+ - G-``, half the work.

    >>> m = Mirrored(torch.tensor([[3.0, 1.0]]), None, 10.0)
    >>> m.pull(1, [torch.tensor([[1.0]]), torch.zeros(1, 1)]).item(), m.curvature(1).item()
    (20.0, 4.0)
    """

    g: Float[Tensor, "post two_pre"]
    bias: Float[Tensor, "post"] | None
    gain: float

    def felt(self, end: int) -> tuple[int, ...]:
        """Return the other end."""
        return (1 - end,)

    def pull(self, end: int, states: States) -> Tensor:
        """Return the currents that the other end's voltages drive."""
        plus, minus = self.g.chunk(2, -1)
        other = self.gain * states[1 - end]
        return torch.matmul(other, (plus - minus).mT if end == 1 else plus - minus)

    def constant(self, end: int) -> Tensor | None:
        """Return the bias currents."""
        return self.bias if end == 1 else None

    def curvature(self, end: int) -> Tensor:
        """Return the sum of conductances at each node of ``end``."""
        if end == 1:
            return self.g.sum(-1)
        plus, minus = self.g.chunk(2, -1)
        return self.gain**2 * (plus + minus).sum(-2)

    def energy(self, states: States) -> Tensor:
        """Return half the power in the resistors, less that of the bias currents."""
        pre = self.gain * states[0]
        lines = torch.cat([pre, -pre], -1)
        return Resistors(self.g, self.bias).energy([lines, states[1]])

    def contrast(self, moves: Moves) -> tuple[Tensor, ...]:
        """Return the contrasts of the conductances and of the bias, where there is one."""
        pre, post = moves
        if pre.change is not None:
            raise NotImplementedError("mirrored lines come from the clamped input alone")
        change = post.change
        if change is None:
            return tuple(torch.zeros_like(p) for p in (self.g, self.bias) if p is not None)
        g = torch.empty_like(self.g, dtype=change.dtype)
        bias = () if self.bias is None else (-change.sum(-2),)
        own = (change * post.middle).sum(-2)[:, None]
        plus, minus = g.chunk(2, -1)
        torch.mm(change.mT, (self.gain * pre.middle).to(change.dtype), out=plus)
        torch.add(own, plus, out=minus)
        torch.sub(own, plus, out=plus)
        return g, *bias

    def displaced(self, at: States) -> Mirrored:
        """Return itself without the bias currents, which do not change."""
        del at
        return Mirrored(self.g, None, self.gain)


def _branches(d: Tensor, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return two matrices whose product over their rows is ``sum_batch d_j (own_j - other_i)``.

    The first term is the same along ``i``: it rides along as one more sample whose other is one.
    """
    own_part = (d * own).sum(-2, keepdim=True)
    moved = torch.cat([d, own_part], -2)
    ones = other.new_ones(*other.shape[:-2], 1, other.shape[-1])  # of an empty batch too
    seen = torch.cat([-other, ones], -2)
    return moved, seen.to(moved.dtype)
