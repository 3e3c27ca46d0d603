"""Training one plan in place on its chips, with checkpoints from which it goes on exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from madem.errors import InputError
from madem.experiments.build import Plan
from madem.experiments.checkpoints import bring_back, kept
from madem.experiments.running.rundir import RunDirectory
from madem.ledger import Event, Ledger
from madem.machine import SignedPair, Simulated
from madem.machine.base import silent
from madem.randomness import stream

Look = tuple[int, list[float], Mapping[str, Sequence[float]]]
"""Step, accuracy of each chip, and by item count and watts so far, mean over chips."""

Checkpoint = tuple[dict[str, Tensor], Any]
"""Tensors, and everything else as JSON knows it."""


def accuracy(plan: Plan, machine: Simulated, x: Tensor, target: Tensor, name: str) -> Tensor:
    """Return the share of right decisions of each chip, shape ``(chips,)``.

    Uses a noise stream of its own, so that looking at a machine does not change its training.
    """
    return decisions(plan, machine, x, target, name).double().mean(-1)


def decisions(plan: Plan, machine: Simulated, x: Tensor, target: Tensor, name: str) -> Tensor:
    """Return whether each decision is right, shape ``(chips, samples)``."""
    watch = observer(machine, stream(plan.seed, plan.name, name))
    parts = zip(x.split(1000, -2), target.split(1000, 0), strict=True)
    return torch.cat(
        [
            plan.task.cost.correct(watch.settle(part).output, goal.expand(plan.chips, *goal.shape))
            for part, goal in parts
        ],
        -1,
    )


def observer(
    machine: Simulated, noise: torch.Generator, listener: Callable[[Event], None] = silent
) -> Simulated:
    """Return a machine on the same stores that draws and reports elsewhere."""
    return Simulated(
        machine.network, machine.solver, machine.stores, machine.periphery, noise, listener
    )


def resume(trainer: Trainer, path: Path, job: str) -> None:
    """Go on from the checkpoint that ``job`` left in the run at ``path``, where there is one.

    Raises ``InputError`` where it is damaged.
    """
    name = f"checkpoints/{job}.safetensors"
    held = RunDirectory(path).load_tensors(name)
    if held is None:
        return
    try:
        trainer.restore(held)
    except (KeyError, ValueError, RuntimeError, TypeError):
        raise InputError(
            f"{str(path / name)!r} is damaged; remove it to train this network again"
        ) from None


def looks_at(steps: int, looks: int) -> list[int]:
    """Return about ``looks`` steps, evenly spread in their logarithm, the last one among them.

    >>> looks_at(1000, 4)
    [1, 10, 100, 1000]
    """
    last = max(1, looks - 1)
    return sorted({round(steps ** (index / last)) for index in range(looks)} | {steps})


class Trainer:
    """The record of one training: the chips, the rule's memory, the streams, the curve.

    ``machine`` learns in place; ``step`` counts the batches; ``curve`` holds, for every look, the
    step, the accuracy of each chip on validation data that training never sees, and what the ledger
    had heard until then.
    """

    def __init__(self, plan: Plan, looks: int) -> None:
        """Make the chips, program their first weights, and look at them untrained."""
        self.plan = plan
        self.ledger = Ledger()
        self.machine = plan.machine(plan.initial_weights(), plan.units)
        self.machine.listener = self.ledger
        self.ledger(Event("verified write", float(sum(p.cells for p in plan.placements))))
        self.initial = [self.store(i).cells for i in range(len(plan.placements))]
        self.rule, self.estimator = plan.rule, plan.estimator
        self.memory = self.rule.init(self.machine.parameters)
        self.data = stream(plan.seed, plan.name, "training data")
        self.validation = plan.task.sample((1000,), stream(plan.seed, plan.name, "validation"))
        self.step = 0
        self.written = torch.zeros(plan.chips, dtype=torch.float64)
        self.looks = set(looks_at(plan.training.steps, looks))
        self.curve: list[Look] = []
        self.look()

    @property
    def _indices(self) -> range:
        return range(len(self.plan.placements))

    def store(self, index: int) -> SignedPair:
        """Return the pairs of one layer."""
        store = self.machine.stores[index]
        assert isinstance(store, SignedPair)
        return store

    @property
    def done(self) -> bool:
        """Whether all steps are made."""
        return self.step >= self.plan.training.steps

    def advance(self) -> None:
        """Make one step: settle, contrast, write."""
        self.learn(self.plan.rates(self.step))

    def learn(self, rates: Sequence[float]) -> None:
        """Make one step at learning ``rates``, one per layer, other than those that are planned."""
        shape = (self.plan.chips, self.plan.training.batch)
        x, target, _ = self.plan.task.sample(shape, self.data)
        estimate = self.estimator(self.machine, x, target, self.plan.task.cost)
        wanted, self.memory = self.rule.update(self.memory, estimate.weights, rates)
        for each in self.machine.write(wanted):
            assert each is not None
            self.written = self.written + each.cells
        self.step += 1
        if self.step in self.looks:
            self.look()

    def look(self) -> None:
        """Add the accuracy of each chip on validation data to the curve."""
        x, target, _ = self.validation
        seen = accuracy(self.plan, self.machine, x, target, f"look {self.step}")
        self.curve.append((self.step, seen.tolist(), self.ledger.mean()))

    @property
    def written_fraction(self) -> Tensor:
        """Share of the cells in use that were written per step, each chip."""
        cells = sum(p.cells for p in self.plan.placements)
        return self.written / cells / max(1, self.step)

    def checkpoint(self) -> Checkpoint:
        """Return all that is needed to go on bit for bit."""
        tensors = kept(self.machine, self.memory, self.ledger, *self._drawing)
        return tensors | {"written": self.written}, {"step": self.step, "curve": self.curve}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where ``checkpoint`` was taken."""
        tensors, note = checkpoint
        self.step, self.curve = note["step"], [tuple(look) for look in note["curve"]]
        self.memory = bring_back(tensors, self.machine, self.memory, self.ledger, *self._drawing)
        self.written = tensors["written"]

    @property
    def _drawing(self) -> tuple[object, ...]:
        """Who draws at random in training, the machine apart."""
        return self.data, self.estimator, self.rule
