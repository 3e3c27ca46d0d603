"""The networks of a config or a run as circuits: one input, at rest or in time, in every phase."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from madem.circuit import (
    Built,
    Operating,
    Timing,
    Transient,
    hopfield,
    pairs,
    resistive,
    solve,
    transient,
)
from madem.circuit.elements import Array
from madem.data.images import Images
from madem.errors import InputError, nearest, shown
from madem.experiments.brailleconfig import BrailleConfig
from madem.experiments.build import DEPTHS, TASKS, plan
from madem.experiments.imagesbuild import (
    COSTS,
    beta_of,
    flat_for,
    images_of,
    machine_of,
    network_of,
    refuse_amplifiers,
    wires_of,
)
from madem.experiments.imagesconfig import ImagesConfig
from madem.experiments.running.rundir import RunDirectory
from madem.experiments.training import Trainer
from madem.learn import currents, springs
from madem.machine import SignedPair
from madem.machine.circuit import crossbars
from madem.network import Cost, Network, Nudge
from madem.randomness import stream

PHASES = ("free", "positive", "negative")

Make = Callable[[Nudge | None, Timing | None], Built]
"""The circuit under a nudge, with or without what takes time."""


@dataclass(frozen=True)
class Bench:
    """A network on the bench: its circuit for one input, and how its outputs are nudged.

    ``target`` of a batch of one; ``beta``, ``spring``: the strength and the form of the nudge;
    ``name``: of the network; ``timing``: what takes time in it.
    """

    make: Make
    cost: Cost
    target: Tensor
    beta: float
    spring: bool
    name: str
    timing: Timing = Timing()

    def circuit(self, phase: str, timing: Timing | None = None) -> Built:
        """Return the circuit in ``phase``; a nudge is that of the free circuit's own outputs.

        Raises ``InputError`` for an unknown phase.
        """
        if phase not in PHASES:
            raise InputError(f"unknown phase {phase!r}: {nearest(phase, PHASES)}")
        free = self.make(None, timing)
        if phase == "free":
            return free
        sign = 1 if phase == "positive" else -1
        return self.make(self.nudge(free, solve(free.circuit), sign * self.beta), timing)

    def nudge(self, free: Built, at: Operating, beta: float) -> Nudge:
        """Return the nudge of strength ``beta`` for the outputs of the free circuit ``at`` rest."""
        output = torch.from_numpy(free.output(at))[None]
        pushing = springs if self.spring else currents
        return pushing(self.cost, output, self.target)(beta)


@dataclass(frozen=True)
class Phase:
    """One phase of a circuit in time: ``times``, s, from the start of the phase.

    ``layers``: states then, ``(k, units)``, of every layer; ``settled``: the time, s, at which all
    of them stay within the tolerance, 0 where they never leave it.
    """

    name: str
    times: Array
    layers: tuple[Array, ...]
    settled: float
    switchings: int


def phases(
    bench: Bench, timing: Timing, tolerance: float = 0.5 / 127, accuracy: float = 1e-5
) -> list[Phase]:
    """Let a circuit settle free from rest, then nudged both ways from where it rests.

    ``tolerance``: of the states, relative to the largest state of their layer at rest; by default
    half a step of 8 bits. ``accuracy``: of a step in time, of the largest voltage.
    """
    free = bench.circuit("free", timing)
    found = [_phase("free", free, transient(free.circuit, None, accuracy), tolerance)]
    at = solve(free.circuit)
    for name in PHASES[1:]:
        nudged = bench.circuit(name, timing)
        record = transient(nudged.circuit, at.voltages, accuracy)
        found.append(_phase(name, nudged, record, tolerance))
    return found


def _phase(name: str, built: Built, record: Transient, tolerance: float) -> Phase:
    layers, times = record.states(built), [0.0]
    for nodes, states in zip(built.layers, layers, strict=True):
        size = float(np.abs(states[-1]).max(initial=0.0)) * built.volts
        if size:
            times.append(record.settling(nodes, tolerance * size))
    return Phase(name, record.times, tuple(layers), max(times), len(record.switchings))


def ideal_images(
    config: ImagesConfig, run: RunDirectory | None, name: str | None
) -> tuple[Images, Network, list[Tensor] | None]:
    """Return the images, the ideal network, and its parameters as saved in ``run``, if given.

    Raises ``InputError`` for a network on chips, whose cells and wires an ideal one would leave
    out, for a ``name``, since there is but one network, and where ``run`` holds other parameters.
    """
    if config.chip is not None:
        raise InputError("this config puts images on chips (chip.device), but gradcheck, spice and "
                         "show look at ideal networks of images alone")  # fmt: skip
    if name is not None:
        raise InputError(f"--network is for Braille runs, but is {shown(name)}: images have one")
    images = images_of(config)
    network = network_of(config, tuple(images.train.shape[1:]), images.classes)
    if run is None:
        return images, network, None
    held = run.load_tensors("checkpoints/images.safetensors")
    if held is None:
        raise InputError(f"{str(run.path)!r} holds no parameters yet: let it finish an epoch")
    shapes = [shape for joint in network.joints for shape in joint.parameters.values()]
    saved = [held[0].get(f"p{i}") for i in range(len(shapes))]
    return (
        images,
        network,
        [_fitting(p, shape, run) for p, shape in zip(saved, shapes, strict=True)],
    )


def _fitting(saved: Tensor | None, shape: tuple[int, ...], run: RunDirectory) -> Tensor:
    if saved is None or tuple(saved.shape) != tuple(shape):
        raise InputError(f"what {str(run.path)!r} has saved is another network than this config's: "
                         "leave --set out, or give the config alone")  # fmt: skip
    return saved


def bench_of_images(
    config: ImagesConfig, run: RunDirectory | None, name: str | None, sample: int
) -> Bench:
    """Return the ideal network of an images config, as it was last saved in ``run``, if given.

    ``name`` must be None; ``sample``: the number of the test image. Raises ``InputError`` for
    networks that have no circuit, and for an image that is not there.
    """
    images, network, held = ideal_images(config, run, name)
    if not 0 <= sample < len(images.test):
        raise InputError(f"sample must be from 0 to {len(images.test) - 1}, but is {sample}")
    parameters = machine_of(config, network, torch.float64).parameters if held is None else held
    left = [p.detach().double() for p in parameters]
    joints = [[left.pop(0) for _ in joint.parameters] for joint in network.joints]
    x, wires = flat_for(network, images.test[sample : sample + 1])[0].double(), wires_of(config)

    def make(nudge: Nudge | None, timing: Timing | None) -> Built:
        if config.network.kind == "resistive":
            return resistive(network, joints, x, nudge, wires, timing)
        if wires is not None:
            raise InputError("network.wire needs conductances: network.kind=resistive, or a chip")
        if config.network.kind == "conv-hopfield":
            raise InputError("network.kind conv-hopfield has no circuit (allowed: hopfield, "
                             "resistive)")  # fmt: skip
        refuse_amplifiers(config, "in circuits of crossbars")
        bars = [pairs(mine[0], mine[1]) for mine in joints]
        return hopfield(network, bars, x, nudge, None, timing)

    given = config.estimator
    target = images.test_classes[sample : sample + 1]
    cost = COSTS[config.learning.cost]
    spring = given.nudge == "spring"
    return Bench(make, cost, target, beta_of(config, network), spring, config.network.kind)


def bench_of_braille(
    config: BrailleConfig, run: RunDirectory | None, name: str | None, sample: int
) -> Bench:
    """Return the first chip of the Braille network ``name``, as it was last saved in ``run``.

    Cells hold what they hold; noise and converters are left out. Raises ``InputError`` for an
    unknown name, and where the run has not saved that network yet.
    """
    trainer = trainer_of(config, run, name)
    one = trainer.plan
    stores = [store for store in trainer.machine.stores if isinstance(store, SignedPair)]
    bars = [
        crossbars(store.cells[:, 0], placement.side)
        for store, placement in zip(stores, one.placements, strict=True)
    ]
    units, volts = [store.unit for store in stores], one.cell.read_voltage
    x, target = on_bench(trainer, sample)
    given = x[0].double()

    def make(nudge: Nudge | None, timing: Timing | None) -> Built:
        return hopfield(one.network, bars, given, nudge, one.wires, timing, units, volts)

    goal = target.double() if target.is_floating_point() else target
    return Bench(make, one.task.cost, goal, one.training.beta, False, one.name, one.timing)


def trainer_of(config: BrailleConfig, run: RunDirectory | None, name: str | None) -> Trainer:
    """Return the chips of the network ``name``, as last saved in ``run``, untrained without one.

    Without a name it is that of two layers that classifies.

    Raises ``InputError`` for an unknown name, and where the run has not saved that network yet.
    """
    names = [f"{task}.{depth}" for task in TASKS for depth in DEPTHS]
    name = "classify.two_layer" if name is None else name
    if name not in names:
        raise InputError(f"--network: unknown network {shown(name)}: {nearest(name, names)}")
    trainer = Trainer(plan(config, *name.split(".")), 1)
    if run is not None:
        checkpoint = run.load_tensors(f"checkpoints/{name}.safetensors")
        if checkpoint is None:
            raise InputError(f"{str(run.path)!r} holds no checkpoint of {name} yet")
        trainer.restore(checkpoint)
    return trainer


def on_bench(trainer: Trainer, sample: int) -> tuple[Tensor, Tensor]:
    """Return the word on the bench, number ``sample``, and its target, each a batch of one."""
    one = trainer.plan
    draws = stream(one.seed, one.name, "circuit")
    x, target, _ = one.task.sample((1, sample + 1), draws)
    return x[0, -1:], target[0, -1:]
