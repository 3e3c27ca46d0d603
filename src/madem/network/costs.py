"""Costs ``C(output, target)``: what training reduces, and the current that nudges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

Outputs = Float[Tensor, "*batch units"]
Costs = Float[Tensor, "*batch"]
Classes = Int[Tensor, "*batch"]
"""What networks put out, ``(*chips, batch, units)``, one cost a sample, and numbers of classes."""


@runtime_checkable
class Cost(Protocol):
    """A cost a sample, its gradient at the outputs, and the decision the outputs stand for."""

    def value(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the cost of each sample, shape ``(*chips, batch)``."""

    def gradient(self, output: Tensor, target: Tensor) -> Tensor:
        """Return ``dC/d output``, of the shape of ``output``; magnitudes at most one."""

    def correct(self, output: Tensor, target: Tensor) -> Tensor:
        """Return for each sample whether the decision is right, shape ``(*chips, batch)``."""


@dataclass(frozen=True)
class CrossEntropy:
    """Softmax and cross-entropy; targets are class numbers, the decision is the largest output.

    ``C = logsumexp(y) - y_t`` and ``dC/dy = softmax(y) - onehot(t)``.

    >>> y, t = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    >>> CrossEntropy().gradient(y, t).sum().abs().item() < 1e-6
    True
    """

    def value(self, output: Outputs, target: Classes) -> Costs:
        """Return the cross-entropy of each sample, in nats."""
        return output.logsumexp(-1) - output.gather(-1, target[..., None])[..., 0]

    def gradient(self, output: Outputs, target: Classes) -> Outputs:
        """Return softmax minus one-hot."""
        probability = output.softmax(-1)
        return probability.scatter_add(
            -1, target[..., None], -torch.ones_like(probability[..., :1])
        )

    def correct(self, output: Outputs, target: Classes) -> Tensor:
        """Return whether the largest output is the target's."""
        return output.argmax(-1) == target


@dataclass(frozen=True)
class Logistic:
    """Independent binary outputs; targets are -1 or +1, the decision is the sign.

    ``C = sum_k log(1 + exp(-t_k y_k))`` and ``dC/dy_k = sigmoid(y_k) - (t_k + 1) / 2``.

    >>> y, t = torch.tensor([[0.0]]), torch.tensor([[1.0]])
    >>> Logistic().gradient(y, t).item()
    -0.5
    """

    def value(self, output: Outputs, target: Outputs) -> Costs:
        """Return the summed logistic loss of each sample, in nats."""
        return functional.softplus(-target * output).sum(-1)

    def gradient(self, output: Outputs, target: Outputs) -> Outputs:
        """Return the logistic function minus the target as 0 or 1."""
        return output.sigmoid() - (target + 1) / 2

    def correct(self, output: Outputs, target: Outputs) -> Tensor:
        """Return whether all signs are the target's."""
        return ((output > 0) == (target > 0)).all(-1)


@dataclass(frozen=True)
class SquaredError:
    """Half the squared distance; targets are outputs, or class numbers taken as one-hot.

    ``C = |y - t|^2 / 2`` and ``dC/dy = y - t``. The decision is the largest output; with
    ``within`` there is none, and outputs are right where all are that near to their targets.

    >>> y, t = torch.tensor([[0.25, 0.0]]), torch.tensor([0])
    >>> SquaredError().gradient(y, t).tolist()
    [[-0.75, 0.0]]
    >>> SquaredError(within=0.5).correct(y, torch.tensor([[0.5, 0.6]])).tolist()
    [False]
    """

    within: float | None = None

    def aim(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the target as outputs."""
        if target.is_floating_point():
            return target
        return functional.one_hot(target, output.shape[-1]).to(output.dtype)

    def value(self, output: Outputs, target: Tensor) -> Tensor:
        """Return half the squared distance of each sample."""
        return (output - self.aim(output, target)).square().sum(-1) / 2

    def gradient(self, output: Outputs, target: Tensor) -> Tensor:
        """Return output minus target."""
        return output - self.aim(output, target)

    def correct(self, output: Outputs, target: Tensor) -> Tensor:
        """Return whether the largest output is the target's, or every output near its own."""
        aim = self.aim(output, target)
        if self.within is not None:
            return ((output - aim).abs() <= self.within).all(-1)
        return output.argmax(-1) == aim.argmax(-1)
