"""Rules: from a gradient to the change that is wanted. They know nothing of devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Generator, Tensor
from torch.nn.functional import hardshrink

from madem.errors import InputError
from madem.randomness import uniform

Memory = tuple[Tensor, ...]
"""What a rule remembers from step to step: tensors alone, so that a checkpoint can hold them."""

Rate = float | Tensor
"""A learning rate: one number, or one a chip, ``(*chips, 1, 1)``."""

Step = tuple[tuple[Tensor, ...], Memory]
"""The change wanted of each parameter, and the memory after it."""


@runtime_checkable
class Rule(Protocol):
    """How gradients become wanted changes: frozen settings, with what is remembered beside them."""

    def init(self, parameters: Sequence[Tensor]) -> Memory:
        """Return the memory before the first step, for parameters of these shapes: none."""
        del parameters
        return ()

    def update(self, memory: Memory, gradients: Sequence[Tensor], rates: Sequence[Rate]) -> Step:
        """Return the change wanted of each parameter, zero where none is, and the memory after it.

        One gradient and one rate per parameter.
        """


@dataclass(frozen=True)
class Descent(Rule):
    """Plain descent: the wanted change is ``-rate * gradient``, at every step.

    >>> Descent().update((), (torch.ones(1, 2),), (0.5,))[0][0].tolist()
    [[-0.5, -0.5]]
    """

    def update(self, memory: Memory, gradients: Sequence[Tensor], rates: Sequence[Rate]) -> Step:
        """Return the wanted changes and the memory after them."""
        return tuple(-rate * part for part, rate in zip(gradients, rates, strict=True)), memory


@dataclass(frozen=True)
class Accumulate:
    """Descent in a digital memory: a change is asked for once it has grown past ``thresholds``.

    One threshold a coupling, in units of weight. What has been asked for leaves the memory.

    >>> rule = Accumulate((0.15,))
    >>> wanted, memory = rule.update((torch.zeros(1, 1),), (torch.full((1, 1), -0.1),), (1.0,))
    >>> wanted[0].item()
    0.0
    >>> round(rule.update(memory, (torch.full((1, 1), -0.1),), (1.0,))[0][0].item(), 6)
    0.2
    """

    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse a threshold below zero; at zero every change is asked for at once."""
        if not all(threshold >= 0 for threshold in self.thresholds):
            raise InputError(f"threshold must be zero or positive, but is {min(self.thresholds)}")

    def init(self, parameters: Sequence[Tensor]) -> Memory:
        """Return an empty memory of the shapes of ``parameters``."""
        return tuple(torch.zeros_like(each) for each in parameters)

    def update(self, memory: Memory, gradients: Sequence[Tensor], rates: Sequence[Rate]) -> Step:
        """Return the wanted changes, zero where none is due, and the memory after them."""
        grown = [
            held - rate * part for held, part, rate in zip(memory, gradients, rates, strict=True)
        ]
        due = [
            hardshrink(held, threshold)
            for held, threshold in zip(grown, self.thresholds, strict=True)
        ]
        return tuple(due), tuple(g - d for g, d in zip(grown, due, strict=True))


@dataclass(frozen=True)
class Sparse(Rule):
    """Stochastic sparse writes without a memory: a small change is asked for whole, or not at all.

    A change below ``thresholds`` becomes one of the size of the threshold with the probability
    ``|change| / threshold``, else none, so that its mean is right; a larger one is asked for as it
    is (the idea of EaPU, Nature Communications 2025, doi 10.1038/s41467-025-66240-7). One
    threshold a coupling, in units of weight; ``draws`` decides.

    >>> rule = Sparse((1.0,), torch.Generator().manual_seed(0))
    >>> wanted, _ = rule.update((), (torch.full((1000,), -0.1),), (1.0,))
    >>> sorted(set(wanted[0].tolist())), 0.08 < float(wanted[0].mean()) < 0.12
    ([0.0, 1.0], True)
    """

    thresholds: tuple[float, ...]
    draws: Generator

    def __post_init__(self) -> None:
        """Refuse a threshold that is none."""
        if not all(threshold > 0 for threshold in self.thresholds):
            raise InputError(f"threshold must be positive, but is {min(self.thresholds)}")

    def update(self, memory: Memory, gradients: Sequence[Tensor], rates: Sequence[Rate]) -> Step:
        """Return the wanted changes, zero almost everywhere, and no memory."""
        wanted = []
        for part, rate, threshold in zip(gradients, rates, self.thresholds, strict=True):
            change = -rate * part
            share = change.abs() / threshold
            drawn = uniform(share.shape, self.draws, share.device) < share
            whole = torch.where(share >= 1, change, threshold * change.sign())
            wanted.append(torch.where(drawn, whole, torch.zeros_like(change)))
        return tuple(wanted), memory


@dataclass(frozen=True)
class Momentum:
    """Descent along a running sum of gradients, ``v <- share v + g``, of which ``share`` is kept.

    The wanted change is ``-rate v`` (Polyak, 1964; ``torch.optim.SGD`` with ``momentum``).

    >>> rule, one = Momentum(0.5), (torch.ones(1),)
    >>> wanted, memory = rule.update(rule.init(one), one, (1.0,))
    >>> rule.update(memory, one, (1.0,))[0][0].item()
    -1.5
    """

    share: float = 0.9

    def __post_init__(self) -> None:
        """Refuse a share that never fades."""
        _check_share("share", self.share)

    def init(self, parameters: Sequence[Tensor]) -> Memory:
        """Return sums of zero."""
        return tuple(torch.zeros_like(each) for each in parameters)

    def update(self, memory: Memory, gradients: Sequence[Tensor], rates: Sequence[Rate]) -> Step:
        """Return the wanted changes, and the sums."""
        sums = tuple(self.share * v + part for v, part in zip(memory, gradients, strict=True))
        return tuple(-rate * v for v, rate in zip(sums, rates, strict=True)), sums


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, arXiv 1412.6980): descent by running means, each weight at its own pace.

    ``mean_share``, ``square_share``: how much of the running means of gradients and of their
    squares is kept in a step (the paper's beta 1 and beta 2); ``epsilon``: added to the root of the
    latter. The wanted change is ``-rate m / (sqrt(v) + epsilon)``, both corrected for their start
    at zero.

    >>> one = (torch.full((1,), 3.0),)
    >>> round(Adam().update(Adam().init(one), one, (0.1,))[0][0].item(), 6)
    -0.1
    """

    mean_share: float = 0.9
    square_share: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        """Refuse means that never fade, and a division by zero."""
        _check_share("mean_share", self.mean_share)
        _check_share("square_share", self.square_share)
        if not self.epsilon > 0:
            raise InputError(f"epsilon must be positive, but is {self.epsilon}")

    def init(self, parameters: Sequence[Tensor]) -> Memory:
        """Return means of zero, of gradients and then of squares, and the number of steps."""
        zeros = [torch.zeros_like(each) for each in parameters]
        return (*zeros, *(torch.zeros_like(each) for each in zeros), torch.tensor(0))

    def update(self, memory: Memory, gradients: Sequence[Tensor], rates: Sequence[Rate]) -> Step:
        """Return the wanted changes, and both means and the number of steps after them."""
        count, steps = len(gradients), int(memory[-1]) + 1
        means = [m.lerp(g, 1 - self.mean_share)
                 for m, g in zip(memory[:count], gradients, strict=True)]  # fmt: skip
        squares = [v.lerp(g * g, 1 - self.square_share)
                   for v, g in zip(memory[count:-1], gradients, strict=True)]  # fmt: skip
        shift, scale = 1 - self.mean_share**steps, 1 - self.square_share**steps
        wanted = [
            -rate / shift * m / ((v / scale).sqrt() + self.epsilon)
            for m, v, rate in zip(means, squares, rates, strict=True)
        ]
        return tuple(wanted), (*means, *squares, torch.tensor(steps))


def _check_share(name: str, share: float) -> None:
    if not 0 <= share < 1:
        raise InputError(f"{name} must be at least 0 and below 1, but is {share}")
