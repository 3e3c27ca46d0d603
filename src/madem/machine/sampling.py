"""A free phase held on capacitors: of a nudged one is converted how far it moved from there."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Generator, Tensor

from madem.device.fluctuation import BOLTZMANN, KELVIN
from madem.errors import InputError
from madem.machine.periphery import Periphery
from madem.machine.settled import Settled, own
from madem.network import Current, Nudge
from madem.randomness import branch

RAILS = 4.5
"""Activity beyond which no line is driven: the 0.9 V of a driver's rail (ours, as priced in the
ledger) over the 0.2 V of a full-scale read."""


def sampling_noise(farad: float) -> float:
    """Return the standard deviation, V, of what a switch leaves on a capacitor: ``sqrt(k T / C)``.

    >>> f"{1e6 * sampling_noise(1e-12):.1f} uV"
    '64.4 uV'
    """
    return math.sqrt(BOLTZMANN * KELVIN / farad)


def driven(
    periphery: Periphery, noise: Generator, nudge: Nudge, origin: Settled | None, loaded: bool
) -> Nudge:
    """Return a nudge as input converters put it on the lines, from the free phase ``origin``.

    Outputs that are not ``loaded`` are driven by it, to their drivers' ``RAILS`` and no further.
    Raises ``InputError`` where there is none, and displacements from it are to be converted.
    """
    if periphery.sampled and origin is None:
        raise InputError(
            "a sampled contrast converts how far a nudge moves the machine from a free phase that "
            "it holds: settle freely first, and start from that"
        )
    draws = None
    if periphery.rounding == "random":
        at = None if origin is None else origin.noise
        draws = noise if at is None else branch(noise, at, "nudge")
    nudge = nudge.through(lambda value: periphery.nudge(value, draws))
    if loaded or not isinstance(nudge, Current) or isinstance(nudge.beta, complex):
        return nudge
    return replace(nudge, beta=1.0, gradient=(nudge.beta * nudge.gradient).clamp(-RAILS, RAILS))


def moved(periphery: Periphery, noise: Generator, settled: Settled, origin: Settled) -> Settled:
    """Return a nudged settling as displacements from the free one, as converters see them.

    What the capacitors hold beside the free states is the same for all that start from there.
    """
    assert origin.noise is not None
    states, axes = [torch.zeros_like(origin.states[0])], settled.converged.dim()
    held = branch(noise, origin.noise, "held")
    sites = zip(settled.problem.sites, settled.rest.states, origin.rest.states, strict=True)
    for site, now, before in sites:
        change = now - before
        if site.law.loaded:  # else driven, not sensed
            change = periphery.moved(change, site.law.bound, axes, held, noise)
        states.append(change)
    return replace(settled, states=tuple(states), output=origin.output, origin=origin)


def returned(
    periphery: Periphery, noise: Generator, settled: Settled, now: Tensor, before: Tensor
) -> Tensor:
    """Return how far the lines of the input are seen to have moved: ``before`` are held."""
    if settled.origin is None:
        return torch.zeros_like(now)
    first, last = (each.noise for each in (own(settled.origin), settled))
    assert first is not None
    assert last is not None
    held, passed = (branch(noise, at, "input") for at in (first, last))
    return periphery.moved(now - before, None, settled.converged.dim(), held, passed)
