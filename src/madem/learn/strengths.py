"""How strong a nudge is: chosen, or set for each sample, or measured on the machine."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from madem.errors import InputError
from madem.learn.cells import outside
from madem.machine import Machine, Observed
from madem.machine.strength import largest
from madem.network import Current, Nudge
from madem.network.couplings import wide
from madem.randomness import Memory, normal, stream

if TYPE_CHECKING:
    from madem.learn.estimators import Gradient, Measurement

Strength = float | complex | Tensor
Tensors = Sequence[Tensor]
Push = Callable[[Strength], Nudge]
"""The nudge of a given strength, for one batch."""


def check_beta(beta: object, name: str = "beta") -> None:
    """Refuse a nudge of no strength, or of the wrong sign."""
    if isinstance(beta, float | int) and not (beta > 0 and math.isfinite(beta)):
        raise InputError(f"{name} must be positive, but is {beta}")


def evened(push: Push, axes: int) -> tuple[Push, Tensor]:
    """Return the push by each sample's gradient over the largest number in it, and that number.

    That is ``(*chips, batch)``, the ``axes`` axes in front; where no gradient arrives, zero.
    """
    probe = push(1.0)
    if not isinstance(probe, Current):
        raise InputError("a move sets the strength of a current, not of other nudges")
    size = largest(probe.gradient, axes)
    unit = probe.gradient / wide(torch.where(size > 0, size, 1.0), probe.gradient)
    return lambda beta: Current(beta, unit), size


def dithered(
    phases: Mapping[Any, Observed], machine: Machine
) -> tuple[dict[Any, Observed], Tensor, Tensor]:
    """Return settlings with what was rounded away drawn anew, how far nudges go, and a step.

    A step of the converters, over sqrt 12, is added as noise to what was sensed. A step is the
    smallest difference between what was sensed of a layer: of a chip, or of a sample where
    displacements are. The largest rms displacement, and the rms step over sqrt 12 (infinite where
    all is equal), are ``(layers, *chips)``.
    """
    draws, found, free = stream(0, "rounded away"), {}, phases[0.0]
    chips, rows = free.converged.dim() - 1, []
    for strength, phase in phases.items():
        states, axes = [phase.states[0]], chips + (phase.origin is not None)
        every = zip(machine.network.layers, phase.states[1:], free.states[1:], strict=True)
        for layer, state, before in every:
            step = wide(_least(state, axes), state) / 12**0.5 * layer.law.loaded
            change = (state if phase.origin else state - before) * layer.law.loaded
            rows += [each.double().expand_as(state).flatten(chips).square().mean(-1).sqrt().cpu()
                     for each in (change, step)]  # fmt: skip
            drawn = normal(state.shape, draws, state.device, state.dtype)
            states.append(state + step * drawn)
        found[strength] = replace(phase, states=tuple(states))
    table = torch.stack(rows).unflatten(0, (len(phases), -1, 2))
    steps = torch.where(table[:, :, 1] > 0, table[:, :, 1], math.inf).amin(0)
    return found, table[:, :, 0].amax(0), steps


def _least(values: Tensor, axes: int) -> Tensor:
    """Return the smallest difference between values, but for rounding; of equal ones, zero."""
    gaps = values.flatten(axes).sort(-1).values.diff(dim=-1)
    most = values.abs().flatten(axes).amax(-1, keepdim=True)
    gaps = torch.where(gaps > 8 * torch.finfo(values.dtype).eps * most, gaps, math.inf)
    least = gaps.amin(-1) if gaps.shape[-1] else gaps.new_zeros(gaps.shape[:-1])
    return torch.where(least < math.inf, least, 0.0)


@dataclass(frozen=True)
class OutputMove:
    """A strength of the nudge set for each sample so that its outputs move by ``amount``.

    A first phase at the strength ``amount`` for the largest gradient shows how far they move; the
    response is then scaled.
    """

    amount: float

    def __post_init__(self) -> None:
        """Refuse a move that is none."""
        check_beta(self.amount, "amount")

    def strength(self, machine: Machine, free: Observed, push: Push) -> Tensor:
        """Return the strength of each sample, as many axes as the outputs: ``(*chips, batch, 1)``.

        ``push``: by a gradient whose largest number is 1. Where none arrives any strength will do.
        """
        seen = machine.settle(free.states[0], push(self.amount), start=free)
        end = seen.states[-1] if seen.origin else seen.states[-1] - free.states[-1]
        moved = largest(end, free.converged.dim())
        return wide(self.amount * torch.where(moved > 0, self.amount / moved, 1.0), end)


@dataclass(frozen=True)
class RelativeMove:
    """A strength of the nudge set for each sample so that it moves by about ``share`` of its size.

    As ``machine.strength.relative`` reckons from the free state: the gradient over the outputs' own
    stiffness, and what the transposed read of a readout does to the layers below. So units of
    current and voltage do not matter, nor do other samples, and no phase is spent. It needs a
    machine that settles exactly and relaxes displacements, which keep their relative precision
    however small they are. ``share`` None is 1e-5, or more where that would be lost.
    """

    share: float | None = None

    def __post_init__(self) -> None:
        """Refuse a share that is none."""
        check_beta(1.0 if self.share is None else self.share, "share")

    def strength(self, machine: Machine, free: Observed, push: Push) -> Tensor:
        """Return the strength of each sample, as many axes as the outputs: ``(*chips, batch, 1)``.

        Where no gradient arrives any strength will do.
        """
        nudge = push(1.0)
        assert isinstance(nudge, Current)
        return wide(machine.strength(free, nudge.gradient, self.share), nudge.gradient)


@dataclass(frozen=True)
class Even:
    """The same largest current for every sample: its gradient over the largest number in it.

    ``amount``: that current, in the network's unit. A sample whose gradient is small is so nudged
    as far as one whose gradient is large, and its contrast counts as much less.
    """

    amount: float

    def __post_init__(self) -> None:
        """Refuse a current that is none."""
        check_beta(self.amount, "amount")

    def strength(self, machine: Machine, free: Observed, push: Push) -> Tensor:
        """Return the strength of each sample, ``(*chips, batch, 1)``."""
        del machine, push
        return wide(
            torch.full_like(free.converged, self.amount, dtype=free.output.dtype), free.output
        )


LADDER = (2.0, 1.0, 0.5)
"""Strengths at which a calibration measures, over the one that it begins with."""

OCTAVE = 8
SHARES = 2 ** -(torch.arange(3.0 * OCTAVE + 1, dtype=torch.float64) / OCTAVE)
"""Strengths that are thought of, over the highest of the ladder: ``OCTAVE`` to each halving, down
to an eighth."""

ENOUGH, NEAR = 0.3, 1.2
"""Noise over the gradient of a batch, or over the least, below which there is no need for more."""

SMALL = 0.1
"""Square of a parameter's part of a gradient, over the whole, below which it counts for less."""

ROUNDS, LOST, MOST = 12, 2.0, 0.9
"""How often a ladder is tried, the error over the gradient from which on nothing is seen, and the
share of the chips for which a ladder must be well."""


@dataclass(frozen=True)
class Measured:
    """A strength that the machine's own noise and curvature say: ``Even``, by an amount measured.

    A contrast of order ``p`` (2 where it is centred) at the strength ``c`` returns ``g + b c^p``,
    noise of the standard deviation ``s / c`` over a batch, and what converters round away: a step
    over sqrt 12 a state. Its mean square error is, without these, ``b^2 c^2p + s^2 / c^2``, and
    least at ``c^(2p+2) = s^2 / (p b^2)``. All is measured: contrasts at ``2c``, ``c`` and ``c / 2``
    differ by ``d = b (2^p - 1) c^p`` and ``2^-p d``, beside noise, whose parts of the two are of
    opposite sign and another size, so that squares and product of the two differences tell ``b``
    from ``s``; of a one-sided contrast half the noise is of the free phase, the same in all three
    (every settling is as noisy). Steps are the smallest differences of what is sensed. Noise that
    is the same in all phases does not count. Taken is the smallest strength whose error is
    ``NEAR`` the least, or ``ENOUGH``: noise averages over batches, a bias does not.

    That is done for each chip, at the first batch and every ``every`` batches, by four further
    settlings of it for a centred contrast, and by six more where it starts far off. A machine that
    is exact is nudged by a ``RelativeMove`` instead, and a warning says so. Raises ``InputError``
    where no nudge is seen in the noise.
    """

    every: int = 100
    memory: Memory = field(default_factory=Memory, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse a calibration that never comes."""
        if self.every < 1:
            raise InputError(f"every must be at least 1, but is {self.every}")

    @property
    def amount(self) -> float:
        """The median of what was measured last of the chips, 1 where nothing was yet."""
        return float(self.memory.held[1:].median()) if self.memory.held.numel() else 1.0

    def strength(self, machine: Machine, free: Observed, push: Push) -> Tensor:
        """Return the strength of each sample of an exact machine, and warn that it is so."""
        warnings.warn(
            "beta auto: this machine shows the same states every time, and as they are, so that "
            "there is no noise to measure; it is nudged as little as its numbers allow "
            "(relative-move)",
            stacklevel=outside(),
        )
        return RelativeMove().strength(machine, free, push)

    def measure(
        self,
        free: Observed,
        size: Tensor,
        order: int,
        shared: float,
        measured: Callable[[Tensor], Measurement],
    ) -> Gradient:
        """Return the gradient that is ``measured`` at the strength, calibrated where that is due.

        ``size``: of the gradients that arrive; where none does, a calibration waits, and a chip at
        which none does takes the others' median. ``order``: of the contrast's error; ``shared``: of
        its noise, the share that is the free phase's.
        """
        calls, *amounts = self.memory.held.tolist() or [0.0]
        chips = free.converged.shape[:-1]

        def at(amount: Tensor) -> Measurement:
            each = amount.to(free.output).unsqueeze(-1).expand(free.converged.shape)
            return measured(wide(each, free.output))

        amount = torch.tensor(amounts or [1.0], dtype=torch.float64)
        amount = amount.expand(math.prod(chips)).reshape(chips)
        if calls % self.every == 0:
            felt = size.any(-1).cpu()
            if not bool(felt.any()):
                return at(amount)[0]
            found, amount = calibrated(at, amount, felt, order, shared)
        else:
            found = at(amount)[0]
        self.memory.keep(torch.cat([amount.new_tensor([calls + 1]), amount.reshape(-1)]))
        return found

    def __str__(self) -> str:
        """Return its name in a config."""
        return "auto"


def calibrated(
    at: Callable[[Tensor], Measurement], amount: Tensor, felt: Tensor, order: int, shared: float
) -> tuple[Gradient, Tensor]:
    """Return the gradient at about the best strength of each chip, and that strength.

    Chips that have ``felt`` no gradient, or see none in their noise, take the others' median.
    """
    for _ in range(ROUNDS):
        ladder = [at(step * amount) for step in LADDER]
        rough, far, steps = zip(*(each() for _, each in ladder), strict=True)
        seen = far[0] / torch.stack(steps).amin(0)
        seen = torch.where(far[0] > 0, seen, math.inf).amin(0)
        found = [(each.weights, other) for (each, _), other in zip(ladder, rough, strict=True)]
        share, error, flat = best_of(found, seen, order, shared)
        inside = (share < 1) & ((share > SHARES[-1]) | flat)
        fine = (error < LOST) & (inside | (error < ENOUGH))
        saw, tried, best = felt & (error < LOST), amount, share * LADDER[0] * amount
        amount = torch.where(felt, best, best[felt].median())
        if bool(fine[felt].double().mean() >= MOST):
            break
    if bool(saw.any()):
        return ladder[1][0], torch.where(saw, amount, amount[saw].median())
    most, off, need = (f"{float(each.max()):.2g}" for each in (tried[felt], error[felt], amount))
    raise InputError(
        f"beta auto: no nudge is seen in the noise. At a largest current of {most} the gradient is "
        f"off by {off} times its size; it would take one of {need}: give a beta that the "
        "machine bears, more samples, or a machine with less noise"
    )


def best_of(
    ladder: Sequence[tuple[Tensors, Tensors]], seen: Tensor, order: int, shared: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best of ``SHARES`` of each chip, its relative error, and whether that is flat.

    Three times ``(*chips,)``. The best is the smallest share that moves what is seen by more than
    what is rounded away, over sqrt 2, and whose error is no more than ``ENOUGH``, or than ``NEAR``
    times the least; the highest, where errors that are not small enough still fall there. Errors
    are flat where the lowest share is hardly better than one that is twice as strong.

    ``ladder``: gradients at ``LADDER``, each as found and with other rounding; ``seen``: how far
    the highest moves each chip, over what is rounded away; ``order``: of the contrast's error;
    ``shared``: the share of the noise that is the same at all strengths, but for the division by
    them.
    """
    axes = seen.dim()
    signal, bend, noise, rounded, fall = _parts(ladder, order, shared, axes)
    shares = SHARES.reshape(-1, *[1] * axes)
    squares = bend * shares ** (2 * order) + noise / shares**2 + rounded * shares**-fall
    errors = (squares / signal).sqrt().nan_to_num(math.inf, math.inf)
    errors = torch.where(shares * seen < 0.5**0.5, math.inf, errors)
    least = errors.amin(0)
    bound = torch.where(least < LOST, (NEAR * least).clamp_min(ENOUGH), least)
    well = (errors <= bound) & (errors < math.inf)
    smallest = (well * torch.arange(len(SHARES)).reshape(shares.shape)).amax(0)
    flat = errors[-1 - OCTAVE] < NEAR * errors[-1]
    beyond = (least > ENOUGH) & (least < LOST) & (NEAR * errors[0] < errors[OCTAVE])
    smallest = torch.where(beyond, 0, smallest)
    return SHARES[smallest], errors.gather(0, smallest[None])[0], flat


def _parts(
    ladder: Sequence[tuple[Tensors, Tensors]], order: int, shared: float, axes: int
) -> list[Tensor]:
    """Return the squares of what a gradient is made of at the highest strength of a ladder.

    The gradient itself, what bends it, noise, what is rounded away, and with which power of the
    strength this falls. The parameters' parts of a gradient count by their own size, those below
    a third of the whole by less.
    """

    def product(a: Tensor, b: Tensor) -> Tensor:
        return (a.double() * b.double()).flatten(axes).sum(-1).cpu()

    rows = []
    for each in zip(*(part for both in ladder for part in both), strict=True):
        high, middle, low = each[::2]
        first, second = high - middle, middle - low
        rough = [product(a - b, a - b) for a, b in zip(each[::2], each[1::2], strict=True)]
        signal, size = product(high, middle).clamp_min(0), product(first, first)
        rows.append([signal, size, product(second, second), product(first, second), *rough])
    table = torch.stack([torch.stack(row) for row in rows])
    sizes = table[:, 0] + table[:, 1] + table[:, 4]
    shares = table / (sizes + SMALL * sizes.sum(0)).unsqueeze(1)
    signal, upper, lower, cross, *rough = shares.nan_to_num(0.0).sum(0)
    own = 1 - shared
    upper, lower = upper - rough[0] - own * rough[1], lower - rough[1] - own * rough[2]
    step = 2.0**-order  # upper = B + a S, lower = step^2 B + 4 a S, cross = step B - b S
    a, b = 5 - 4 * shared, 4 - 6 * shared
    noise = (step * upper - cross) / (a * step + b) + (lower - step**2 * upper) / (4 - step**2) / a
    noise = (noise / 2).clamp_min(0)
    signal = (signal - 2 * shared * (noise + rough[0])).clamp_min(0)
    bend = (upper - a * noise).clamp_min(0) / (1 - step) ** 2
    fall = (rough[2] / rough[0]).log2().div(2).nan_to_num(0.0).clamp(0, 2)
    return [signal, bend, noise, rough[0], fall]
