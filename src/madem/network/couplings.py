"""Couplings: what joins two layers. Each is asked for its pull on both, and for its contrast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Coupling(Protocol):
    """A passive joint of a layer ``pre`` and the layer ``post`` above it."""

    def forward(self, pre: Tensor) -> Tensor:
        """Return the pull on ``post``: minus the derivative of the energy by its state."""

    def backward(self, post: Tensor) -> Tensor:
        """Return the pull on ``pre``."""

    def energy(self, pre: Tensor, post: Tensor) -> Tensor:
        """Return the coupling's part of the energy of each sample, shape ``(*chips, batch)``."""


@dataclass(frozen=True)
class Dense:
    """A signed matrix with a bias line: ``E = -post^T (W pre + b)``.

    ``weight`` is ``[W b]``, shape ``(*chips, post, pre + 1)``, dimensionless: the last column is
    the bias, a line that is always driven with 1. Pulls: ``W pre + b`` and ``W^T post``.

    >>> w = torch.tensor([[2.0, 0.0, 1.0]])
    >>> Dense(w).forward(torch.tensor([[3.0, 4.0]])).item()
    7.0
    >>> Dense(w).backward(torch.tensor([[1.0]])).tolist()
    [[2.0, 0.0]]
    """

    weight: Float[Tensor, "*chips post pre_and_bias"]

    def forward(self, pre: Float[Tensor, "... pre"]) -> Float[Tensor, "... post"]:
        """Return ``W pre + b``."""
        bias = self.weight[..., -1]
        return torch.matmul(pre, self.weight[..., :-1].mT) + bias.unsqueeze(-2)

    def backward(self, post: Float[Tensor, "... post"]) -> Float[Tensor, "... pre"]:
        """Return ``W^T post``."""
        return torch.matmul(post, self.weight[..., :-1])

    def energy(
        self, pre: Float[Tensor, "... pre"], post: Float[Tensor, "... post"]
    ) -> Float[Tensor, "..."]:
        """Return ``-post^T (W pre + b)``."""
        return -(post * self.forward(pre)).sum(-1)


def with_bias(activity: Float[Tensor, "*batch units"]) -> Float[Tensor, "*batch units_and_bias"]:
    """Return ``activity`` with the bias line, always at 1, as its last unit.

    >>> with_bias(torch.zeros(1, 2)).tolist()
    [[0.0, 0.0, 1.0]]
    """
    return torch.cat([activity, torch.ones_like(activity[..., :1])], -1)


def dense_contrast(
    pre: tuple[Tensor, Tensor], post: tuple[Tensor, Tensor]
) -> Float[Tensor, "*chips post pre_and_bias"]:
    """Return ``dE/d[W b]`` at the high state minus at the low one, averaged over the batch.

    ``pre`` and ``post`` hold the activities of the two layers, ``(high, low)``, each
    ``(*chips, batch, units)``. With ``d = high - low`` and ``m = (high + low) / 2`` the
    difference of the outer products is ``d_post m_pre^T + m_post d_pre^T`` (FACTS 4); to
    subtract the products themselves would lose it to round-off.

    >>> one, zero = torch.ones(1, 1), torch.zeros(1, 1)
    >>> dense_contrast((one, one), (one, zero)).tolist()
    [[-1.0, -1.0]]
    """
    pre_high, pre_low = (with_bias(activity) for activity in pre)
    post_high, post_low = post
    products = torch.matmul((post_high - post_low).mT, (pre_high + pre_low) / 2)
    if pre[0] is not pre[1]:  # a clamped input is the same tensor in both phases
        products = products + torch.matmul(((post_high + post_low) / 2).mT, pre_high - pre_low)
    return -products / pre_high.shape[-2]
