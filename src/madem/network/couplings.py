"""Couplings: what joins layers. A coupling has *ends*, one per layer, and a part of the energy.

It is asked for its pull on an end (minus the derivative of its energy, without the part that the
curvature holds), for its curvature there, and for its contrast: the difference of the derivative
of the energy by its parameters between two settlings, from how each of its ends moved. Contrasts
are taken in difference form: with ``d`` the difference and ``m`` the mean of the two states of an
end, ``s+ r+ - s- r- = d_s m_r + m_s d_r``, safe from round-off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from madem.network.laws import overridden

States = Sequence[Tensor]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Move:
    """How a layer moved between two settlings, and how often each sample counts.

    ``high`` and ``low``: displacements from the state ``at``, None where it stayed; ``scale``: one
    number, or one per sample, the same for all layers. All joints of a layer share a move, so that
    nothing is computed twice: never change its tensors in place.

    >>> move = Move(torch.ones(1, 1), torch.tensor([[0.5]]), torch.tensor([[-0.5]]), scale=3.0)
    >>> move.change.item(), move.middle.item(), Move(torch.ones(1, 1)).change
    (3.0, 1.0, None)
    """

    at: Tensor
    high: Tensor | None = None
    low: Tensor | None = None
    scale: Tensor | complex | float = 1.0

    @cached_property
    def change(self) -> Tensor | None:
        """The scaled difference of the two states; None where the layer stayed."""
        if self.high is None and self.low is None:
            return None
        return self.scaled(self.sides[0] if self.low is None else self.sides[0] - self.low)

    @cached_property
    def middle(self) -> Tensor:
        """The mean of the two states."""
        moved = [side for side in (self.high, self.low) if side is not None]
        return torch.add(self.at, sum(moved[1:], moved[0]), alpha=0.5) if moved else self.at

    @property
    def sides(self) -> tuple[Tensor, Tensor]:
        """Both displacements, zero where the layer stayed."""
        high, low = (torch.zeros_like(self.at) if s is None else s for s in (self.high, self.low))
        return high, low

    def scaled(self, difference: Tensor) -> Tensor:
        """Return ``difference`` times the scale, one per sample, as wide as the batch axes."""
        scale = self.scale
        return difference * (wide(scale, difference) if isinstance(scale, Tensor) else scale)


Moves = Sequence[Move]


def wide(value: Tensor, like: Tensor) -> Tensor:
    """Return one number per sample with as many axes as ``like``."""
    return value.reshape(value.shape + (1,) * (like.dim() - value.dim()))


@runtime_checkable
class Coupling(Protocol):
    """A passive joint between layers.

    One that inherits from here joins two layers, has no constants and loads nothing until it says
    otherwise, and is displaced by subtraction. A subclass with a ``pull`` of its own needs an
    ``energy`` and a ``contrast`` that go with it; without ``displaced`` of its own, displacements
    are taken by subtraction (``Offset``).
    """

    def felt(self, end: int) -> tuple[int, ...]:
        """Return which ends' states enter the current into ``end``: by default the other's alone.

        Where ``end`` itself is among them, the current is not linear in its own state.
        """
        return (1 - end,)

    def pull(self, end: int, states: States) -> Tensor:
        """Return the current into ``end`` that the other ends cause."""

    def constant(self, end: int) -> Tensor | None:
        """Return the current into ``end`` that flows always: its bias, None where there is none."""
        del end
        return None

    def curvature(self, end: int) -> Tensor | float:
        """Return what the coupling loads ``end`` with: zero where what drives does not load."""
        del end
        return 0.0

    def energy(self, states: States) -> Tensor:
        """Return the coupling's part of the energy of each sample, shape ``(*chips, batch)``."""

    def contrast(self, moves: Moves) -> tuple[Tensor, ...]:
        """Return the contrast of every parameter, summed over the batch, from each end's move."""

    def displaced(self, at: States) -> Coupling:
        """Return the coupling as displacements from ``at`` feel it."""
        return Offset(self, tuple(at))


@dataclass(frozen=True)
class Matrix(Coupling):
    """A signed matrix with a bias: ``E = -post . (W pre + b)``.

    ``weight``: ``(*chips, post, pre)``; ``bias``: ``(*chips, post)`` or None. ``shape`` is that of
    the lower layer where it is not flat, such as (channels, height, width).

    >>> w = Matrix(torch.tensor([[2.0, 0.0]]), torch.tensor([1.0]))
    >>> w.pull(1, [torch.tensor([[3.0, 4.0]]), torch.zeros(1, 1)]).item()
    6.0
    >>> w.pull(0, [torch.zeros(1, 2), torch.tensor([[1.0]])]).tolist()
    [[2.0, 0.0]]
    """

    weight: Float[Tensor, "*chips post pre"]
    bias: Float[Tensor, "*chips post"] | None = None
    shape: Shape = ()

    def pull(self, end: int, states: States) -> Tensor:
        """Return ``W pre`` or ``W^T post``."""
        if end == 1:
            return torch.matmul(flat(states[0], self.shape), self.weight.mT)
        below = torch.matmul(states[1], self.weight)
        return below.unflatten(-1, self.shape) if self.shape else below

    def constant(self, end: int) -> Tensor | None:
        """Return the bias, a row for all samples."""
        return self.bias.unsqueeze(-2) if end == 1 and self.bias is not None else None

    def energy(self, states: States) -> Tensor:
        """Return ``-post . (W pre + b)``."""
        total = self.pull(1, states)
        if self.bias is not None:
            total = total + self.bias.unsqueeze(-2)
        return -(states[1] * total).sum(-1)

    def contrast(self, moves: Moves) -> tuple[Tensor, ...]:
        """Return the contrasts of the weight and of the bias, where there is one."""
        pre, post = moves
        weight = fall = None
        if post.change is not None:
            fall = -post.change
            weight = torch.matmul(fall.mT, flat(pre.middle, self.shape).to(fall.dtype))
        if pre.change is not None:
            change = flat(pre.change, self.shape)
            below = torch.matmul(post.middle.mT.to(change.dtype), change)
            weight = -below if weight is None else weight.sub_(below)
        weight = torch.zeros_like(self.weight) if weight is None else weight
        return and_bias(weight, self.bias, None if fall is None else fall.sum(-2))

    def displaced(self, at: States) -> Matrix:
        """Return itself without the bias, which does not change."""
        del at
        return Matrix(self.weight, None, self.shape)


def and_bias(contrast: Tensor, bias: Tensor | None, fall: Tensor | None) -> tuple[Tensor, ...]:
    """Return a contrast, and beside it that of the ``bias`` where there is one.

    ``fall``: minus the change of the states that the bias pulls on, summed over samples and pixels;
    None where they stayed.
    """
    if bias is None:
        return (contrast,)
    return contrast, torch.zeros_like(bias) if fall is None else fall


def flat(state: Tensor, shape: Shape) -> Tensor:
    """Return ``state`` with the axes of ``shape`` as one."""
    return state.flatten(-len(shape)) if len(shape) > 1 else state


@dataclass(frozen=True)
class Identity(Coupling):
    """Units that pull each other one to one, a skip connection: ``E = -strength post . pre``.

    >>> Identity(0.5).pull(1, [torch.ones(1, 2), torch.zeros(1, 2)]).tolist()
    [[0.5, 0.5]]
    """

    strength: float
    axes: int = 1

    def pull(self, end: int, states: States) -> Tensor:
        """Return the other end's state times the strength."""
        return self.strength * states[1 - end]

    def energy(self, states: States) -> Tensor:
        """Return ``-strength post . pre``."""
        return -self.strength * (states[0] * states[1]).flatten(-self.axes).sum(-1)

    def contrast(self, moves: Moves) -> tuple[Tensor, ...]:
        """Return nothing: the strength is fixed."""
        del moves
        return ()

    def displaced(self, at: States) -> Identity:
        """Return itself."""
        del at
        return self


@dataclass(frozen=True)
class Lateral(Coupling):
    """Units of one layer that pull each other: ``E = -s^T (W + W^T) s / 4``, no unit itself.

    Only the symmetric part of ``weight`` without its diagonal is felt. The pull depends on the
    layer's own state, so a jump of the whole layer is a step of a fixed point, not a minimum.

    >>> Lateral(torch.tensor([[9.0, 2.0], [0.0, 9.0]])).pull(0, [torch.tensor([[1.0, 0.0]])])
    tensor([[0., 1.]])
    """

    weight: Float[Tensor, "*chips units units"]

    def felt(self, end: int) -> tuple[int, ...]:
        """Return the one end."""
        return (end,)

    def _symmetric(self) -> Tensor:
        both = (self.weight + self.weight.mT) / 2
        return both - torch.diag_embed(both.diagonal(dim1=-2, dim2=-1))

    def pull(self, end: int, states: States) -> Tensor:
        """Return the pull of the layer's other units."""
        del end
        return torch.matmul(states[0], self._symmetric())

    def energy(self, states: States) -> Tensor:
        """Return ``-s^T W s / 2`` of the symmetric part."""
        return -(states[0] * self.pull(0, states)).sum(-1) / 2

    def contrast(self, moves: Moves) -> tuple[Tensor, ...]:
        """Return the contrast of the weight."""
        (own,) = moves
        if own.change is None:
            return (torch.zeros_like(self.weight),)
        product = torch.matmul(own.change.mT, own.middle.to(own.change.dtype))
        product = -(product + product.mT) / 2
        return (product - torch.diag_embed(product.diagonal(dim1=-2, dim2=-1)),)

    def displaced(self, at: States) -> Lateral:
        """Return itself."""
        del at
        return self


@dataclass(frozen=True)
class Around:
    """What stands around a ``coupling`` and changes its pulls; all else is that of the coupling."""

    coupling: Coupling

    def felt(self, end: int) -> tuple[int, ...]:
        """Return what the coupling feels."""
        return self.coupling.felt(end)

    def pull(self, end: int, states: States) -> Tensor:
        """Return the coupling's pull."""
        return self.coupling.pull(end, states)

    def constant(self, end: int) -> Tensor | None:
        """Return the coupling's constant."""
        return self.coupling.constant(end)

    def curvature(self, end: int) -> Tensor | float:
        """Return the coupling's curvature."""
        return self.coupling.curvature(end)

    def energy(self, states: States) -> Tensor:
        """Return the coupling's energy."""
        return self.coupling.energy(states)

    def contrast(self, moves: Moves) -> tuple[Tensor, ...]:
        """Return the coupling's contrast."""
        return self.coupling.contrast(moves)

    def displaced(self, at: States) -> Coupling:
        """Return the change of its pulls, by subtraction."""
        return Offset(self, tuple(at))


@dataclass(frozen=True)
class Offset(Around):
    """Any coupling as displacements from ``at`` feel it, by subtraction: the general case.

    A coupling whose pull is linear does better (``displaced`` returns it without its constants).
    """

    at: tuple[Tensor, ...]

    def _moved(self, states: States) -> list[Tensor]:
        return [s + u for s, u in zip(self.at, states, strict=True)]

    def pull(self, end: int, states: States) -> Tensor:
        """Return the change of the pull."""
        return self.coupling.pull(end, self._moved(states)) - self.coupling.pull(end, self.at)

    def constant(self, end: int) -> None:
        """Return nothing: a constant does not change."""

    def energy(self, states: States) -> Tensor:
        """Return the change of the energy."""
        return self.coupling.energy(self._moved(states)) - self.coupling.energy(self.at)

    def displaced(self, at: States) -> Coupling:
        """Return the coupling displaced further."""
        return displaced(self.coupling, self._moved(at))


def displaced(coupling: Coupling, at: States) -> Coupling:
    """Return a coupling as displacements from ``at`` feel it, by its own form where it has one."""
    if overridden(coupling, "pull", "displaced"):
        return Offset(coupling, tuple(at))
    return coupling.displaced(at)


@dataclass(frozen=True)
class Custom(Coupling):
    """A user's own energy, ``function(states, parameters)``, differentiated by autograd.

    ``function`` returns the energy of each sample, shape ``(batch,)``, from the states of the
    ends and the parameters.

    >>> spring = Custom(lambda s, p: p[0] * (s[0] - s[1]).square().sum(-1), (torch.tensor(2.0),))
    >>> spring.pull(1, [torch.ones(1, 1), torch.zeros(1, 1)]).item()
    4.0
    """

    function: Callable[[States, Sequence[Tensor]], Tensor]
    parameters: tuple[Tensor, ...] = ()
    ends: int = 2

    def felt(self, end: int) -> tuple[int, ...]:
        """Return all ends: the function may use any of them."""
        del end
        return tuple(range(self.ends))

    def pull(self, end: int, states: States) -> Tensor:
        """Return minus the derivative of the energy by the state of ``end``."""
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            leaves = [s if keep else s.detach() for s in states]
            own = leaves[end]
            # a copy, so that what the other ends owe to this one is not counted as its own
            leaves[end] = own.clone() if own.requires_grad else own.detach().requires_grad_()
            total = self.function(leaves, self.parameters).sum()
            (slope,) = torch.autograd.grad(
                total, leaves[end], create_graph=keep, materialize_grads=True
            )
        return -slope

    def energy(self, states: States) -> Tensor:
        """Return the function's value."""
        return self.function(states, self.parameters)

    def contrast(self, moves: Moves) -> tuple[Tensor, ...]:
        """Return the difference of the derivative by each parameter."""
        leaves = [p.detach().requires_grad_() for p in self.parameters]
        if not leaves:
            return ()
        with torch.enable_grad():
            high, low = (
                self.function([move.at + move.sides[i] for move in moves], leaves) for i in (0, 1)
            )
            total = moves[0].scaled(high - low).sum()
            grads = torch.autograd.grad(total, leaves, materialize_grads=True)
        return tuple(grads)
