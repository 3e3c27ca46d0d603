"""Learning images in place on chips: the network of an images config on tiles of cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from madem.errors import InputError
from madem.experiments.build import base_of, cell_of, periphery_of, wires_of
from madem.experiments.checkpoints import bring_back, kept
from madem.experiments.imagesbuild import (
    COSTS,
    SOLVERS,
    estimator_of,
    flat_for,
    images_of,
    network_of,
    refuse_amplifiers,
)
from madem.experiments.imagesconfig import ImagesConfig
from madem.experiments.imagessteps import batches, fall, rates_of, steps_of
from madem.experiments.running.rundir import RunDirectory
from madem.experiments.training import observer
from madem.learn import Accumulate
from madem.ledger import Event, Ledger, load_prices, totals
from madem.machine import Partial, SignedPair, Simulated, Tiles, Wired, verified
from madem.network import Dense, Network
from madem.randomness import stream
from madem.units import parse

CHECKPOINT = "checkpoints/images.safetensors"


def chips_of(config: ImagesConfig, network: Network) -> Simulated:
    """Return chips on which the network is programmed at its start.

    Raises ``InputError`` for joints that are not dense, and where tiles or units do not suffice.
    """
    chip = config.chip
    assert chip is not None
    refuse_amplifiers(config, "on chips")
    if not all(isinstance(joint, Dense) for joint in network.joints):
        raise InputError("chip: only network.kind hopfield lies on pairs of cells")
    tiles = tiles_of(config, network)
    needed = sum(each.rows * each.columns for each in tiles)
    if needed > chip.arrays:
        raise InputError(
            f"chip.arrays must be at least {needed} tiles of {chip.lines} x {chip.lines} for this "
            f"network, but is {chip.arrays}"
        )
    cell = cell_of(chip)
    base = base_of(chip.base, cell)
    drawn, wires = network.initial(stream(config.seed, "parameters")), wires_of(chip)
    wired = None
    if wires is not None:
        wired = Wired(wires, "outputs", chip.voltages == "cells", chip.lines)
    stores = []
    for i, ((weight, bias), unit) in enumerate(zip(drawn, units_of(config, network), strict=True)):
        whole = torch.cat([weight, bias.unsqueeze(-1)], -1)
        many = whole.expand(config.writing.chips, *whole.shape)
        draws = stream(config.seed, "chips", i, *many.shape), stream(config.seed, "writes", i)
        stores.append(SignedPair(cell, many, unit, base, *draws, verified, wired))
    periphery = periphery_of(chip)
    if chip.sums == "converted":
        parts = tuple(Partial(each.rows, each.columns, chip.sum_limit) for each in tiles)
        periphery = replace(periphery, partial=parts)
    solver = SOLVERS[config.solver.name](config.solver.tolerance, config.solver.budget)
    return Simulated(network, solver, stores, periphery, stream(config.seed, "noise"))


def tiles_of(config: ImagesConfig, network: Network) -> list[Tiles]:
    """Return the tiles of every layer, pairs along the outputs."""
    assert config.chip is not None
    lines = config.chip.lines
    return [Tiles(pre, 2 * post, lines) for post, pre in network.shapes]


def units_of(config: ImagesConfig, network: Network) -> list[float]:
    """Return the conductance of weight one of every layer, S."""
    given, layers = config.writing.units, len(network.joints)
    if len(given) not in (1, layers):
        raise InputError(f"writing.units needs 1 or {layers} values, but has {len(given)}")
    each = given * layers if len(given) == 1 else given
    return [parse(text, "siemens", "writing.units") for text in each]


class ChipsTrainer:
    """Chips that learn images, epoch after epoch; all of it is in the checkpoint."""

    def __init__(self, config: ImagesConfig) -> None:
        """Load the data and program the chips."""
        learning = config.learning
        if learning.optimiser != "sgd" or learning.momentum or learning.weight_decay:
            raise InputError(
                "learning: chips accumulate and write; optimiser must be sgd, with momentum and "
                f"weight_decay 0, but they are {learning.optimiser}, {learning.momentum} and "
                f"{learning.weight_decay}"
            )
        self.config = config
        self.images = images_of(config)
        self.steps = steps_of(config, self.images)
        self.network = network_of(config, tuple(self.images.train.shape[1:]), self.images.classes)
        self.ledger = Ledger()
        self.machine = chips_of(config, self.network)
        self.machine.listener = self.ledger
        cells = 2 * sum(post * pre for post, pre in self.network.shapes)
        self.ledger(Event("verified write", float(cells)))
        self.rates = rates_of(config, len(self.network.joints))
        least = parse(config.writing.threshold, "siemens", "writing.threshold")
        self.rule = Accumulate(tuple(least / u for u in units_of(config, self.network)))
        self.memory = self.rule.init(self.machine.parameters)
        self.estimator, self.cost = estimator_of(config, self.network), COSTS[learning.cost]
        self.test = flat_for(self.network, self.images.test)
        self.epoch, self.written = 0, torch.zeros(config.writing.chips, dtype=torch.float64)
        self.history: list[dict[str, Any]] = []

    def learn(self, tell: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
        """Learn one epoch, and return what came of it."""
        chips = self.config.writing.chips
        wrong, cost = 0.0, 0.0
        before = self.machine.settled, self.machine.unsettled, self.written
        rates = [rate * fall(self.config, self.epoch) for rate in self.rates]
        for step, (images, classes) in enumerate(batches(self.config, self.images, self.epoch), 1):
            x = flat_for(self.network, images).expand(chips, -1, -1)
            target = classes.expand(chips, -1)
            gradient = self.estimator(self.machine, x, target, self.cost)
            output = gradient.free.output
            wrong += float((~self.cost.correct(output, target)).double().mean())
            cost += float(self.cost.value(output, target).double().mean())
            wanted, self.memory = self.rule.update(self.memory, gradient.weights, rates)
            for each in self.machine.write(wanted):
                assert each is not None
                self.written = self.written + each.cells
            tell(step)
        settled = max(1, self.machine.settled - before[0])
        errors = self.errors()
        cells = 2 * sum(post * pre for post, pre in self.network.shapes)
        self.epoch += 1
        row = {
            "epoch": self.epoch,
            "train_error": wrong / self.steps,
            "train_cost": cost / self.steps,
            "test_error": float(errors.mean()),
            "test_error_sd": float(errors.std()) if len(errors) > 1 else 0.0,
            "unsettled": (self.machine.unsettled - before[1]) / settled
            if self.config.solver.tolerance else None,
            "written_fraction_per_step": float((self.written - before[2]).mean())
            / cells / self.steps,
            "joules_all_in": totals(self.ledger.rows(load_prices()))["all_in"]["joules"],
        }  # fmt: skip
        self.history.append(row)
        return row

    def errors(self) -> Tensor:
        """Return the share of wrong decisions of each chip on the test images, ``(chips,)``."""
        chips = self.config.writing.chips
        watch = observer(self.machine, stream(self.config.seed, "look", self.epoch))
        wrong = torch.zeros(chips, dtype=torch.float64)
        for part, goal in zip(
            self.test.split(500), self.images.test_classes.split(500), strict=True
        ):
            output = watch.settle(part.expand(chips, -1, -1)).output
            wrong += (~self.cost.correct(output, goal.expand(chips, -1))).double().sum(-1)
        return wrong / len(self.test)

    def save(self, run: RunDirectory) -> None:
        """Write a checkpoint of everything that the next epoch needs, and of what came so far."""
        tensors = kept(self.machine, self.memory, self.ledger, self.estimator, self.rule)
        note = {"epoch": self.epoch, "history": self.history}
        run.save_tensors(CHECKPOINT, tensors | {"written": self.written}, note)

    def restore(self, run: RunDirectory) -> None:
        """Go on from the checkpoint of ``run``, where there is one."""
        held = run.load_tensors(CHECKPOINT)
        if held is None:
            return
        tensors, note = held
        self.epoch, self.history = note["epoch"], note["history"]
        self.memory = bring_back(
            tensors, self.machine, self.memory, self.ledger, self.estimator, self.rule
        )
        self.written = tensors["written"]
