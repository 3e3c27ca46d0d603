"""What the settlings of a simulated machine tell the ledger: every number is a count per chip."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from madem.ledger import Event
from madem.machine.loads import Loads
from madem.machine.periphery import Periphery
from madem.machine.settled import Settled
from madem.machine.stores import Store
from madem.network import Network, Thresholds

T = TypeVar("T")


def of_contrast(network: Network, samples: int) -> Iterator[Event]:
    """Yield what the contrast of two settlings of ``samples`` takes."""
    weights = [post * pre for post, pre in network.shapes]
    products = 2 * sum(weights) - weights[0]  # of each phase where both ends of a weight move
    held = sum(weights) + _registers(network)
    yield Event("activity product", float(samples * products))
    yield Event("accumulator access", float(samples * held))
    yield Event("output gradient", float(samples * math.prod(network.state_shapes[-1])))


def of_settling(
    network: Network, stores: Sequence[Store], periphery: Periphery, settled: Settled, free: bool
) -> Iterator[Event]:
    """Yield what a settling took, ``free`` or nudged, whose states must be absolute."""
    samples = settled.output.shape[-2]
    loads = [settled.clamped.loads, *(Loads.of(s) for s in settled.states[1:])]
    watts, drawn = torch.zeros(()), torch.zeros(())
    on_arrays = zip(_chain(network, stores), network.shapes, strict=True)
    for index, (store, shape) in enumerate(on_arrays):
        pre, post = loads[index].on(shape[1], samples), loads[index + 1]
        if not (free or network.layers[index].law.loaded):
            pre = pre.off()
        if not index:
            post = post.off()
        watts = watts + store.dissipation(pre.powers, post.powers)
        drawn = drawn + store.dissipation(pre.sizes, post.sizes)
    inputs, *units = (math.prod(shape) for shape in network.state_shapes)
    loaded = [layer.law.loaded for layer in network.layers]
    moving = sum(n for n, moves in zip(units, loaded, strict=True) if moves)
    sensed = moving + (units[-1] if free and not loaded[-1] else 0)
    driven = inputs + (0 if free else units[-1])
    nudged = "" if free else "nudged "
    for item, count in (
        ("input conversion", driven),
        (f"{nudged}neuron settling", moving),
        ("sample and hold", sensed),
        ("output conversion", sensed),
    ):
        yield Event(item, float(samples * count))
    if periphery.sampled:
        yield Event(f"difference {'hold' if free else 'amplifier'}", float(samples * moving))
    ranges = _ranges(network, periphery, free)
    if ranges:
        yield Event("range setting", float(samples * ranges))
    if registers := _registers(network, free):
        yield Event("threshold conversion", float(samples * registers))
    yield Event(f"{nudged}line drive", drawn, -watts)
    yield Event(f"{nudged}array read", float(samples), watts)
    if any(periphery.partial):
        yield Event("partial sum conversion", _partial_sums(network, periphery, settled, free))


def _ranges(network: Network, periphery: Periphery, free: bool) -> int:
    """Return in how many layers a settling's states are converted in a range of their own."""
    laws = [layer.law for layer in network.layers]
    if periphery.sampled and not free:
        return sum(law.loaded for law in laws)
    measured = periphery.output_range == "measured"
    return sum(measured and law.bound is None and (free or law.loaded) for law in laws)


def _chain(network: Network, each: Sequence[T]) -> list[T]:
    """Return what of ``each``, one per joint, is of the chain on arrays, not of thresholds."""
    both = zip(each, network.joints, strict=True)
    return [one for one, joint in both if not isinstance(joint, Thresholds)]


def _registers(network: Network, free: bool = True) -> int:
    """Return how many thresholds neurons have beside the arrays; of a readout in a free phase."""
    return sum(
        joint.units
        for joint in network.joints
        if isinstance(joint, Thresholds) and (free or network.layers[joint.layer - 1].law.loaded)
    )


def _partial_sums(network: Network, periphery: Periphery, settled: Settled, free: bool) -> Tensor:
    """Return how many sums of tiles were converted on the way to rest, per chip.

    Those of the input once, the others in every sweep; a readout is read once at the end of a
    free phase, and only drives in a nudged one.
    """
    sweeps = settled.rest.sweeps.sum(-1)
    total = torch.zeros_like(sweeps)
    samples = settled.output.shape[-2]
    inputs = [math.prod(shape) for shape in network.state_shapes]
    joints = zip(_chain(network, periphery.partial), inputs, inputs[1:], strict=False)
    for index, (tiles, pre, post) in enumerate(joints):
        if tiles is None:
            continue
        loaded = network.layers[index].law.loaded
        if index and loaded:
            total = total + tiles.rows * post * sweeps
        elif free:
            total = total + tiles.rows * post * samples
        if index and (loaded or not free):
            total = total + tiles.columns * pre * sweeps
    return total
