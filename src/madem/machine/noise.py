"""What fluctuates while a machine settles: cells by read noise, lines by thermal and shot noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import Generator, Tensor

from madem.machine.arrays import WHITE, Digitised, Fluctuating, behind
from madem.machine.clock import Clock, Moment, noise_floors
from madem.machine.periphery import Periphery
from madem.machine.settled import Clamped
from madem.machine.stores import Store, cells_of
from madem.network import Coupling, Network, Problem
from madem.network.joints import image_of
from madem.randomness import normal_like


@dataclass(frozen=True)
class SettlingNoise:
    """One settling of arrays that fluctuate by draws from ``noise``.

    ``moment``: of samples whose phases remember each other, by the ``clock``; without them
    everything is drawn anew.
    """

    network: Network
    stores: Sequence[Store]
    periphery: Periphery
    noise: Generator
    clock: Clock | None = None
    moment: Moment | None = None

    def added(self, problem: Problem, clamped: Clamped) -> Problem:
        """Return ``problem`` as it is during this settling: every read fluctuates by one draw.

        ``clamped``: the input, whose lines are read once.
        """
        couplings, fixed = list(problem.couplings), list(problem.fixed)
        for index, (store, ends) in enumerate(zip(self.stores, problem.ends, strict=True)):
            if not fluctuates(store) and (self.clock is None or cells_of(store) is None):
                continue
            mean = couplings[index]
            top = problem.sites[ends[1] - 1].law
            noisy = behind(mean, partial(self._noisy, index, not top.loaded))
            couplings[index] = noisy
            for end, layer in enumerate(ends):
                if layer and not ends[1 - end]:  # the clamped input's: drawn once, with ``fixed``
                    at = fixed[layer - 1]
                    fixed[layer - 1] = _disturbed(at, mean, noisy, end, clamped)
        return replace(problem, couplings=tuple(couplings), fixed=tuple(fixed), drawn=True)

    def _noisy(self, index: int, driven: bool, array: Coupling) -> Fluctuating:
        """Return the array of joint ``index`` with fluctuating cells.

        ``driven``: whether its upper layer is, and not moved by it: by a nudge alone, then, and in
        the next phase by the opposite one.
        """
        joint, sigma, floor = self.network.joints[index], self.stores[index].fluctuation, None
        shape = image_of(self.network.state_shapes[joint.ends[0]])
        below = self.periphery.below(index, [each.ends for each in self.network.joints])
        pairs = cells_of(self.stores[index])
        if self.clock is not None and pairs is not None:
            lower, upper = noise_floors(pairs, self.clock.times.tau)
            white = 1.0 if self.moment is None else self.moment.white
            floor = lower * white, upper * white
        return Fluctuating(
            array, sigma, partial(self._draw, index), "bias" in joint.parameters, shape,
            self.periphery.line(index), below, floor, driven and self.moment is not None,
        )  # fmt: skip

    def _draw(self, index: int, of: int, like: Tensor) -> Tensor:
        """Return what lines of joint ``index`` draw now, or remember of the phases before."""
        if self.moment is None or of >= WHITE:
            return normal_like(like, self.noise)
        return self.moment.draw(self.noise, (index, of), like)


def fluctuates(store: Store) -> bool:
    """Return whether the weights of a store differ from one settling to the next."""
    sigma = store.fluctuation
    return isinstance(sigma, Tensor) or sigma > 0


def _disturbed(
    fixed: Tensor, mean: Coupling, noisy: Coupling, end: int, clamped: Clamped
) -> Tensor:
    """Return the current that never changes with the fluctuation of a read of the input."""
    if type(noisy) is Fluctuating and type(mean) is not Digitised:
        plain = end == 1 and noisy.line.pre is None and not noisy.shape
        squares = clamped.squares if plain else noisy.squares(end, clamped.x)
        return noisy.disturb(end, fixed, squares)
    both = [clamped.x, clamped.x]
    return fixed + (noisy.pull(end, both) - mean.pull(end, both))
