"""The rules of the spectrum: what each knows of its chip, finds as a gradient, and writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from madem.experiments.spectrumchips import Bench, Condition, chips_of, first_weights
from madem.learn import (
    Accumulate,
    Contrast,
    Descent,
    Sparse,
    centred,
    contrastive,
    coupled,
    positive,
    settled_cost,
)
from madem.machine import FastSlow, SignedPair, Simulated, Train, verified
from madem.machine.writing import Writing
from madem.network import Cost, CrossEntropy, Matrix, SquaredError
from madem.randomness import stream
from madem.solver import Sweep

MOST_PULSES = 20
"""Pulses of a train at most, where learning writes by pulses (ours)."""


@dataclass(frozen=True)
class Setting:
    """What is tuned: a learning rate, and one number of the rule's own."""

    rate: float
    own: float


@dataclass(frozen=True)
class Run:
    """Which chips, for how long, and what they are tested on."""

    seed: int
    chips: int
    steps: int
    batch: int
    test: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Outcome:
    """What came of one training: accuracy of each chip, and shares.

    ``unsettled``: of the settlings that missed their tolerance; ``written``: of the cells, a step.
    """

    accuracy: list[float]
    unsettled: float = 0.0
    written: float = 0.0


Weights = list[Tensor]


@dataclass(frozen=True)
class Way:
    """A rule of the spectrum.

    ``own``: what its second tuned number is; ``grid``: the candidates; ``prepare``: the weights
    that all conditions start from; ``train``: from there to the accuracy of chips under a
    condition.
    """

    title: str
    own: str
    grid: tuple[Setting, ...]
    prepare: Callable[[Bench, Setting, Run], Weights]
    train: Callable[[Bench, Condition, Setting, Run, Weights], Outcome]


def tested(machine: Simulated, run: Run) -> list[float]:
    """Return the share of right decisions of each chip."""
    x, target = run.test
    shares = machine.settle(x.expand(run.chips, *x.shape)).output.argmax(-1) == target
    return list(shares.double().mean(-1).tolist())


def falling(rate: float, step: int, steps: int, layers: int) -> list[float]:
    """Return the rates at ``step``: a half cosine from ``rate`` to zero."""
    return [rate * (1 + math.cos(math.pi * step / steps)) / 2] * layers


# Trained in a computer, programmed once


def digital(bench: Bench, setting: Setting, run: Run, noise: float, limit: float) -> Weights:
    """Return weights of the ideal network after backpropagation with Adam, one-cycle rate.

    ``noise``: of every weight while it learns, drawn for each batch, relative to ``limit``, the
    largest magnitude that a weight may have.
    """
    data, draws = stream(run.seed, bench.name, "data"), stream(run.seed, bench.name, "injected")
    starts = stream(run.seed, bench.name, "digital")
    leaves = [
        (0.5 / shape[1] ** 0.5 * torch.randn(run.chips, *shape, generator=starts)).requires_grad_()
        for shape in bench.network.shapes
    ]
    optimiser = torch.optim.Adam(leaves, lr=setting.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, setting.rate, total_steps=run.steps, pct_start=0.1
    )
    for _ in range(run.steps):
        x, target = bench.samples((run.chips, run.batch), data)
        felt = [
            leaf + noise * limit * torch.randn(leaf.shape, generator=draws) if noise else leaf
            for leaf in leaves
        ]
        couplings = [Matrix.of_lines(leaf) for leaf in felt]
        loss = settled_cost(bench.network, Sweep(), couplings, x, target, CrossEntropy())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            for leaf in leaves:
                leaf.clamp_(-limit, limit)
    return [leaf.detach() for leaf in leaves]


def programmed(
    bench: Bench, held: Condition, setting: Setting, run: Run, weights: Weights
) -> Outcome:
    """Program ``weights`` once, weight one as large as the largest weight allows; test."""
    del setting
    room = held.cell.high - bench.base
    units = tuple(room / float(w.abs().max()) for w in weights)
    machine = chips_of(bench, held, bench.network, weights, units, verified, run.seed)
    return Outcome(tested(machine, run))


# Trained on the chips

Slopes = Callable[[Simulated, Weights, Tensor, Tensor], Sequence[Tensor]]
"""The gradient: (chips, the weights they are believed to have, inputs, classes)."""


def modelled(weights: Weights, acts: Sequence[Tensor], slope: Tensor) -> list[Tensor]:
    """Return backpropagation through ``weights`` at activities ``acts``, from ``slope`` above.

    ``acts``: input and hidden states; ``slope``: ``dC/dy`` over the batch size.
    """
    found: list[Tensor] = []
    for index in reversed(range(len(weights))):
        lines = torch.cat([acts[index], torch.ones_like(acts[index][..., :1])], -1)
        found.insert(0, slope.mT @ lines)
        if index:
            open_ = acts[index].abs() < 1
            slope = (slope @ weights[index][..., :-1]) * open_
    return found


def from_model(machine: Simulated, believed: Weights, x: Tensor, target: Tensor) -> list[Tensor]:
    """Return the gradient of an ideal chip with the weights that this one should have."""
    del machine
    acts, output = [x], x
    for index, weight in enumerate(believed):
        output = acts[-1] @ weight[..., :-1].mT + weight[..., None, :, -1]
        if index + 1 < len(believed):
            acts.append(output.clamp(-1, 1))
    return modelled(believed, acts, CrossEntropy().gradient(output, target) / x.shape[-2])


def in_the_loop(machine: Simulated, believed: Weights, x: Tensor, target: Tensor) -> list[Tensor]:
    """Return backpropagation through the believed weights at the states that the chip shows."""
    free = machine.settle(x)
    slope = CrossEntropy().gradient(free.output, target) / x.shape[-2]
    return modelled(believed, free.states[:-1], slope)


def contrasted(estimator: Contrast, cost: Cost) -> Slopes:
    """Return the gradient by activity differences."""

    def slopes(
        machine: Simulated, believed: Weights, x: Tensor, target: Tensor
    ) -> tuple[Tensor, ...]:
        del believed
        return estimator(machine, x, target, cost).weights

    return slopes


@dataclass(frozen=True)
class Learning:
    """How a rule learns on chips: its gradient, what is asked for, and how that is written.

    ``inside``: whether outputs are inside the energy. ``absolute``: whether due weights are
    programmed to what they are believed to be, else moved by what is due.
    """

    slopes: Slopes
    rule: Accumulate | Sparse | Descent
    inside: bool = False
    absolute: bool = False
    fast: float = 0.0


def learn(
    bench: Bench, held: Condition, setting: Setting, run: Run, weights: Weights, how: Learning
) -> Outcome:
    """Train chips in place, and test them."""
    network = bench.inside if how.inside else bench.network
    writing: Writing = verified
    if held.asymmetry is not None:
        writing = Train(MOST_PULSES, asymmetry=held.asymmetry)
    units = bench.inside_units if how.inside else bench.units
    machine = chips_of(bench, held, network, weights, units, writing, run.seed)
    if how.fast:
        machine = with_fast(held, machine, run, how.fast)
    data = stream(run.seed, bench.name, "data")
    believed, memory = weights, how.rule.init(machine.parameters)
    touched = 0.0
    rate = setting.rate * (bench.inside_rate if how.inside else 1.0)
    for step in range(run.steps):
        x, target = bench.samples((run.chips, run.batch), data)
        rates = falling(rate, step, run.steps, len(weights))
        slopes = how.slopes(machine, believed, x, target)
        wanted, memory = how.rule.update(memory, slopes, rates)
        believed = [b + change for b, change in zip(believed, wanted, strict=True)]
        if how.absolute and not held.pulsed:
            there = zip(wanted, believed, verify_reads(machine), strict=True)
            wanted = tuple(torch.where(w != 0, b - p, 0.0) for w, b, p in there)
        for written in machine.write(wanted):
            touched += float(written.cells.mean()) if written is not None else 0.0
    cells = 2 * sum(post * pre for post, pre in network.shapes)
    return Outcome(
        tested(machine, run),
        machine.unsettled / max(1, machine.settled),
        touched / cells / run.steps,
    )


def verify_reads(machine: Simulated) -> Weights:
    """Return what the cells alone say of the weights: a verify read sees no wires, nor lines."""
    stores = [store for store in machine.stores if isinstance(store, SignedPair)]
    return [(store.cells[0] - store.cells[1]) / store.unit for store in stores]


def with_fast(held: Condition, machine: Simulated, run: Run, gain: float) -> Simulated:
    """Return chips whose every array has a fast one in front, at rest where its pulses balance."""
    stores = []
    asymmetry = held.asymmetry or 0.0
    balance = held.cell.high / (2 - asymmetry)
    for index, slow in enumerate(machine.stores):
        assert isinstance(slow, SignedPair)
        fast = SignedPair(
            held.cell, torch.zeros_like(slow.weight), slow.unit, balance,
            stream(run.seed, "fast cells", index, *slow.weight.shape),
            stream(run.seed, "fast writes", index),
            Train(MOST_PULSES, stochastic=True, asymmetry=asymmetry),
        )  # fmt: skip
        stores.append(FastSlow(fast, slow, 1, gain, THRESHOLD / slow.unit))
    return Simulated(machine.network, machine.solver, stores, machine.periphery, machine.noise)


THRESHOLD = 15e-6
"""What has to add up before a cell is written, S, where it is not tuned; as in the main job."""


def _grid(rates: Sequence[float], own: Sequence[float]) -> tuple[Setting, ...]:
    return tuple(Setting(rate, each) for rate in rates for each in own)


def _on_chips(
    how: Callable[[Bench, Condition, Setting, Run], Learning],
) -> Callable[[Bench, Condition, Setting, Run, Weights], Outcome]:
    def train(
        bench: Bench, held: Condition, setting: Setting, run: Run, weights: Weights
    ) -> Outcome:
        return learn(bench, held, setting, run, weights, how(bench, held, setting, run))

    return train


def _first(bench: Bench, setting: Setting, run: Run) -> Weights:
    del setting
    return first_weights(bench, run.chips, run.seed)


def _least(units: Sequence[float], least: float) -> Accumulate:
    """Return the accumulation of what is due to ``least``, S."""
    return Accumulate(tuple(least / unit for unit in units))


def _by_model(bench: Bench, held: Condition, setting: Setting, run: Run) -> Learning:
    del held, run
    return Learning(from_model, _least(bench.units, setting.own), absolute=True)


def _by_loop(bench: Bench, held: Condition, setting: Setting, run: Run) -> Learning:
    del held, run
    return Learning(in_the_loop, _least(bench.units, setting.own))


def _by_tiki_taka(bench: Bench, held: Condition, setting: Setting, run: Run) -> Learning:
    del held, run
    slopes = contrasted(centred(bench.beta), CrossEntropy())
    return Learning(slopes, Descent(), fast=setting.own)


def _by_centred(bench: Bench, held: Condition, setting: Setting, run: Run) -> Learning:
    del held, run
    slopes = contrasted(centred(bench.beta * setting.own), CrossEntropy())
    return Learning(slopes, _least(bench.units, THRESHOLD))


def _by_one_sided(bench: Bench, held: Condition, setting: Setting, run: Run) -> Learning:
    del held, run
    slopes = contrasted(positive(bench.beta * setting.own), CrossEntropy())
    return Learning(slopes, _least(bench.units, THRESHOLD))


def _by_contrastive(bench: Bench, held: Condition, setting: Setting, run: Run) -> Learning:
    del held, run
    slopes = contrasted(contrastive(), SquaredError())
    return Learning(slopes, _least(bench.inside_units, setting.own), inside=True)


def _by_coupled(bench: Bench, held: Condition, setting: Setting, run: Run) -> Learning:
    del held, run
    slopes = contrasted(coupled(setting.own), SquaredError())
    return Learning(slopes, _least(bench.inside_units, THRESHOLD), inside=True)


def _by_sparse(bench: Bench, held: Condition, setting: Setting, run: Run) -> Learning:
    del held
    slopes = contrasted(centred(bench.beta), CrossEntropy())
    thresholds = tuple(setting.own / unit for unit in bench.units)
    return Learning(slopes, Sparse(thresholds, stream(run.seed, bench.name, "sparse")))


def _ex_situ(bench: Bench, setting: Setting, run: Run) -> Weights:
    return digital(bench, setting, run, 0.0, setting.own)


def _noise_aware(bench: Bench, setting: Setting, run: Run) -> Weights:
    return digital(bench, setting, run, setting.own, NOISY_LIMIT)


NOISY_LIMIT = 0.5
"""Largest magnitude of a weight that learns with noise: the smaller of those tuned without."""

RATES = (0.15, 0.3, 0.5)
HELD_RATES = (0.05, 0.1, 0.2)
LEAST = (5e-6, 15e-6)
LEAST_TITLE = "threshold of a write, S"

WAYS: dict[str, Way] = {
    "ex-situ": Way(
        "(1) backpropagation ex situ, programmed once", "largest weight",
        _grid((3e-3, 1e-2, 3e-2), (0.5, 2.0)), _ex_situ, programmed,
    ),
    "noise-aware": Way(
        "(2) backpropagation ex situ, trained with noise", "noise over largest weight",
        _grid((1e-2, 3e-2), (0.03, 0.1, 0.2)), _noise_aware, programmed,
    ),
    "in-situ": Way(
        "(3) backpropagation through an ideal model of the chip", LEAST_TITLE,
        _grid(RATES, LEAST), _first, _on_chips(_by_model),
    ),
    "in-the-loop": Way(
        "(4) chip in the loop: states measured, backward modelled", LEAST_TITLE,
        _grid(RATES, LEAST), _first, _on_chips(_by_loop),
    ),
    "tiki-taka": Way(
        "(5) Tiki-Taka class, centred differences", "gain of a transfer",
        _grid(RATES, (0.5, 2.0)), _first, _on_chips(_by_tiki_taka),
    ),
    "centred": Way(
        "(6) activity differences, centred", "nudge over the task's",
        _grid(RATES, (0.3, 1.0)), _first, _on_chips(_by_centred),
    ),
    "one-sided": Way(
        "(6) activity differences, one-sided", "nudge over the task's",
        _grid(RATES, (0.3, 1.0)), _first, _on_chips(_by_one_sided),
    ),
    "contrastive": Way(
        "(6) activity differences, contrastive", LEAST_TITLE,
        _grid(HELD_RATES, LEAST), _first, _on_chips(_by_contrastive),
    ),
    "coupled": Way(
        "(6) activity differences, coupled", "share of the way to the target",
        _grid(HELD_RATES, (0.2, 0.6)), _first, _on_chips(_by_coupled),
    ),
    "sparse": Way(
        "(7) centred, stochastic sparse writes", LEAST_TITLE,
        _grid(RATES, LEAST), _first, _on_chips(_by_sparse),
    ),
}  # fmt: skip
"""Every rule by its name in the config, all with as many candidates."""
