"""The chips of the spectrum: imperfections, each at a severity, and the tasks they learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from madem.data.braille import cells, dots
from madem.data.images import digits
from madem.data.words import Classify
from madem.device import SWITCHES, Cell, load, without
from madem.experiments.build import base_of
from madem.experiments.spectrumconfig import IMPERFECTIONS, SpectrumConfig
from madem.machine import Periphery, SignedPair, Simulated, Spread, draw_lines, place
from madem.machine.wired import Wired
from madem.machine.writing import Writing
from madem.network import Box, Free, Layer, Network, Readout, Wires
from madem.randomness import stream
from madem.solver import Sweep


@dataclass(frozen=True)
class Condition:
    """What is not ideal about some chips.

    ``bits`` of both converters; ``ohm`` of a segment of wire; ``asymmetry`` of open-loop pulses,
    None where cells are programmed and verified.
    """

    cell: Cell
    spread: Spread = Spread()
    bits: int | None = None
    ohm: float | None = None
    asymmetry: float | None = None

    @property
    def pulsed(self) -> bool:
        """Whether learning writes by pulses without looking."""
        return self.asymmetry is not None


@dataclass(frozen=True)
class Imperfection:
    """One way in which chips differ from ideal: ``levels`` of severity in ``unit``, and what for.

    The levels are ours: from what a good chip has to what none should have.
    """

    title: str
    unit: str
    levels: tuple[float, float, float, float]
    spoil: Callable[[Condition, float], Condition]


TABLE: dict[str, Imperfection] = {
    "gain": Imperfection(
        "gain of the lines", "relative sd", (0.05, 0.1, 0.2, 0.4),
        lambda c, v: replace(c, spread=replace(c.spread, line_gain=v)),
    ),
    "offset": Imperfection(
        "offset of neurons and of what is seen of them", "sd, state at most 1",
        (0.05, 0.1, 0.2, 0.4),
        lambda c, v: replace(c, spread=replace(c.spread, neuron_offset=v, sense_offset=v)),
    ),
    "stuck": Imperfection(
        "stuck cells", "share", (0.01, 0.03, 0.1, 0.3),
        lambda c, v: replace(c, cell=replace(c.cell, stuck_fraction=v)),
    ),
    "programming": Imperfection(
        "programming noise", "uS", (2.0, 4.0, 8.0, 16.0),
        lambda c, v: replace(c, cell=replace(c.cell, error_sigma=1e-6 * v)),
    ),
    "pulses": Imperfection(
        "asymmetric open-loop pulses", "down / up lacks", (0.1, 0.3, 0.6, 0.9),
        lambda c, v: replace(c, asymmetry=v),
    ),
    "read-noise": Imperfection(
        "read noise", "uS", (0.5, 1.0, 2.0, 4.0),
        lambda c, v: replace(c, cell=replace(c.cell, read_sigma=1e-6 * v)),
    ),
    "mismatch": Imperfection(
        "transposed read unlike the forward one", "relative sd", (0.1, 0.3, 0.6, 1.0),
        lambda c, v: replace(c, spread=replace(c.spread, mismatch=v)),
    ),
    "converters": Imperfection(
        "coarse converters", "bits", (8.0, 6.0, 4.0, 3.0), lambda c, v: replace(c, bits=int(v))
    ),
    "wires": Imperfection(
        "wire resistance", "ohm a segment", (0.5, 2.0, 5.0, 10.0), lambda c, v: replace(c, ohm=v)
    ),
}  # fmt: skip
"""Every imperfection by its name in the config; "together" is all of them at one level."""


def condition(name: str | None, level: int) -> Condition:
    """Return chips with the imperfection ``name`` at ``level`` (from 0), ideal where it is None.

    >>> condition("together", 1).bits, condition(None, 0).cell.read_sigma
    (6, 0.0)
    """
    held = Condition(without(load("taox-1t1m"), SWITCHES))
    names = () if name is None else [n for n in IMPERFECTIONS if n in TABLE and name in (n, ALL)]
    for each in names:
        held = TABLE[each].spoil(held, TABLE[each].levels[level])
    return held


ALL = "together"


@dataclass(frozen=True)
class Bench:
    """A task, and the two networks that learn it.

    ``network``: its outputs are sensed and not fed back where there is a hidden layer; ``inside``:
    its outputs are inside the energy, as rules that hold them need. ``units``: conductance of
    weight one of each layer, S; ``inside_units``: in the other network, whose squared error wants
    smaller weights; ``inside_rate``: what its learning rates are multiplied by; ``spread``: of the
    first weights; ``beta``: size of a nudge. Sets are inputs and classes; ``samples`` draws
    training data.
    """

    name: str
    network: Network
    inside: Network
    units: tuple[float, ...]
    inside_units: tuple[float, ...]
    inside_rate: float
    base: float
    spread: float
    beta: float
    samples: Callable[[tuple[int, int], torch.Generator], tuple[Tensor, Tensor]]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def bench_of(config: SpectrumConfig, name: str) -> Bench:
    """Return the task ``name``: Braille words with one or two layers, or digits with two."""
    base = base_of(config.base, condition(None, 0).cell, "base")
    if name == "digits":
        return _digits(config, base)
    codes = dots(config.words, max(len(cells(word)) for word in config.words))
    task = Classify(codes, 0.2)
    size = (config.test_samples,)
    sets = [task.sample(size, stream(config.seed, name, part))[:2] for part in ("look", "test")]
    inputs = codes.shape[1]
    units: tuple[float, ...]
    inside_units: tuple[float, ...]
    if name == "braille":
        network = inside = Network(inputs, (Layer(task.outputs, Free()),))
        units, inside_units, inside_rate, spread, beta = (400e-6,), (2000e-6,), 0.3, 0.0, 2.0
    else:
        network = Network(inputs, (Layer(31, Box()), Layer(task.outputs, Readout())))
        inside = Network(inputs, (Layer(31, Box()), Layer(task.outputs, Free())))
        units, inside_units = (700e-6, 100e-6), (700e-6, 1000e-6)
        inside_rate, spread, beta = 1.0, 0.05, 0.5
    return Bench(
        name, network, inside, units, inside_units, inside_rate, base, spread, beta,
        lambda shape, draws: task.sample(shape, draws)[:2], sets[0], sets[1],
    )  # fmt: skip


def _digits(config: SpectrumConfig, base: float) -> Bench:
    """Return scikit-learn's digits; their first pixel is always blank, and left out: 63 + bias."""
    images = digits(8, config.seed)
    train, test = (2 * part.flatten(1)[:, 1:] - 1 for part in (images.train, images.test))
    classes = images.train_classes
    held = 300

    def samples(shape: tuple[int, int], draws: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randint(held, len(train), shape, generator=draws)
        return train[rows], classes[rows]

    hidden = Layer(31, Box())
    return Bench(
        "digits",
        Network(63, (hidden, Layer(10, Readout()))),
        Network(63, (hidden, Layer(10, Free()))),
        (400e-6, 150e-6), (400e-6, 1000e-6), 1.0, base, 0.08, 0.5,
        samples, (train[:held], classes[:held]), (test, images.test_classes),
    )  # fmt: skip


def first_weights(bench: Bench, chips: int, seed: int) -> list[Tensor]:
    """Draw the weights to start from, the same for every rule."""
    draws = stream(seed, bench.name, "first")
    return [
        bench.spread * torch.randn(chips, *shape, generator=draws) for shape in bench.network.shapes
    ]


def chips_of(
    bench: Bench,
    held: Condition,
    network: Network,
    weights: list[Tensor],
    units: tuple[float, ...],
    writing: Writing,
    seed: int,
    noise: str = "noise",
) -> Simulated:
    """Return chips with ``weights`` programmed onto them.

    What is static depends on seed and shape alone: every rule meets the same chips, and a chip
    keeps its draw from one severity to the next.
    """
    sides = [placement.side for placement in place(network.shapes)]
    stores = [
        SignedPair(
            held.cell, weight, unit, bench.base,
            stream(seed, "cells", index, *weight.shape), stream(seed, "writes", index),
            writing,
            None if held.ohm is None else Wired(_wires(held.ohm), side),
        )
        for index, (weight, unit, side) in enumerate(zip(weights, units, sides, strict=True))
    ]  # fmt: skip
    lines = tuple(
        draw_lines(held.spread, tuple(weight.shape), stream(seed, "lines", index, *weight.shape))
        for index, weight in enumerate(weights)
    )
    periphery = Periphery(held.bits, held.bits, 10.0, lines=lines)
    return Simulated(network, Sweep(1e-3, 30), stores, periphery, stream(seed, noise))


def _wires(ohm: float) -> Wires:
    return Wires(ohm, ohm, ohm, ohm)
