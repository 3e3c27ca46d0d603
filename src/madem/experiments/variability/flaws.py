"""What is wrong with chips: cells that are stuck or uneven, and measurements that are off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from madem.device import Static
from madem.learn import Estimator, Gradient
from madem.machine import FastSlow, Machine, Observed, SignedPair, Simulated, Written
from madem.machine.base import Scale, Start
from madem.network import Cost, Nudge
from madem.randomness import stream

Flaw = Callable[[SignedPair, Tensor, int, int], Static]
"""What happens to the cells of an array: (cells, level of every chip, seed, the array's number)."""


def struck(store: SignedPair, shares: Tensor, seed: int, index: int) -> Static:
    """Return cells of which a share of each chip's, ``(chips, 1, 1)``, got stuck anywhere."""
    draws, held = stream(seed, "struck", index), store.static
    hit = torch.rand(held.stuck.shape, generator=draws) < shares
    level = torch.rand(held.stuck.shape, generator=draws) * store.cell.high
    return replace(held, stuck=held.stuck | hit, level=torch.where(hit, level, held.level))


def uneven(store: SignedPair, spreads: Tensor, seed: int, index: int) -> Static:
    """Return cells whose largest conductances spread by each chip's own amount."""
    normal = torch.randn(store.static.high.shape, generator=stream(seed, "uneven", index))
    high = store.cell.high * (1 + spreads * normal).clamp_min(0.1)
    return replace(store.static, high=high)


def pairs_of(machine: Machine) -> list[SignedPair]:
    """Return the cells of all arrays of simulated chips."""
    assert isinstance(machine, Simulated)
    found = list[SignedPair]()
    for store in machine.stores:
        arrays = (store.fast, store.pairs) if isinstance(store, FastSlow) else (store,)
        found += [each for each in arrays if isinstance(each, SignedPair)]
    return found


def afflict(flaw: Flaw, levels: Tensor, seed: int, machine: Machine) -> None:
    """Let ``flaw`` happen to all arrays."""
    for index, store in enumerate(pairs_of(machine)):
        store.wear(flaw(store, levels, seed, index))


class Biased(Machine):
    """A machine whose sensed activities are off by a constant in some of its settlings.

    ``offsets``: one per layer, ``(chips, 1, units)``, in units of the state; ``nudged``: whether
    they are added to what is sensed in nudged phases, or in free ones, the outputs among it.
    """

    def __init__(self, machine: Machine, offsets: tuple[Tensor, ...], nudged: bool) -> None:
        """Put the measurement around ``machine``."""
        self.network = machine.network
        self.machine = machine
        self.offsets = offsets
        self.nudged = nudged

    @property
    def parameters(self) -> list[Tensor]:
        """The machine's."""
        return self.machine.parameters

    def settle(self, x: Tensor, nudge: Nudge | None = None, start: Start = None) -> Observed:
        """Come to rest as the machine does; what is sensed of it is off."""
        settled = self.machine.settle(x, nudge, start)
        return settled if (nudge is not None) != self.nudged else self._off(settled)

    def settle_each(self, free: Observed, nudges: Sequence[Nudge]) -> Sequence[Observed]:
        """Come to rest under each nudge; what is sensed is off."""
        phases = self.machine.settle_each(free, nudges)
        return [self._off(phase) for phase in phases] if self.nudged else phases

    def _off(self, settled: Observed) -> Observed:
        states = [s + o for s, o in zip(settled.states[1:], self.offsets, strict=True)]
        output = settled.output + self.offsets[-1]
        return replace(settled, states=(settled.states[0], *states), output=output)

    def contrast(self, high: Observed, low: Observed, scale: Scale = 1.0) -> tuple[Tensor, ...]:
        """Return the machine's contrast of what was sensed."""
        return self.machine.contrast(high, low, scale)

    def write(self, changes: Sequence[Tensor]) -> tuple[Written | None, ...]:
        """Write the machine."""
        return self.machine.write(changes)


@dataclass(frozen=True)
class BiasedEstimator:
    """An ``estimator`` that sees the machine through a biased measurement, as ``Biased`` has it."""

    estimator: Estimator
    offsets: tuple[Tensor, ...]
    nudged: bool

    def __call__(self, machine: Machine, x: Tensor, target: Tensor, cost: Cost) -> Gradient:
        """Return the gradient that is measured."""
        return self.estimator(Biased(machine, self.offsets, self.nudged), x, target, cost)
