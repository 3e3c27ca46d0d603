"""The one loop: a plan's machine learns in place, is looked at, and goes on from where it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from madem.ledger import Event, Ledger
from madem.machine import Written
from madem.machine.base import silent
from madem.machine.stores import part_of
from madem.randomness import rewind, stream, streams
from madem.training.assemble import cells_in, chained
from madem.training.evaluate import score, scores
from madem.training.plan import Plan

Row = dict[str, Any]
"""What one look found."""

NOTED = 4
"""Of how many batches one is scored: all would take a tenth of the time of a small network."""

Checkpoint = tuple[dict[str, Tensor], Any]
"""Tensors, and everything else as JSON knows it."""


class Trainer:
    """The record of one training: the machine, the rule's memory, the streams, the curve.

    The machine learns in place; ``step`` counts the batches. ``curve`` has a row for every look,
    the first before any step: ``step``; ``score`` of each chip on the task's validation set, which
    training never sees; since the look before, ``train_score`` and ``train_cost`` (means over chips
    and samples of one batch in ``NOTED``, None before the first step) and ``unsettled`` (share of
    the settlings that missed the tolerance); ``spent``: by item the count and the watts that the
    ledger had heard until then, mean over chips. It hears chips whose network is a chain of
    arrays; others cost nothing, nor does anything where it is not ``counted``, which saves up to a
    third of the time of a step.
    """

    def __init__(self, plan: Plan, counted: bool = True) -> None:
        """Make the machine at its start, and look at it."""
        self.plan = plan
        self.ledger = Ledger()
        on_arrays = counted and bool(plan.ensemble) and chained(plan.network)
        self.machine = plan.making.assemble(plan, None, self.ledger if on_arrays else silent)
        if on_arrays:
            self.ledger(Event("verified write", float(self.cells)))
        self.memory = plan.rule.init(self.machine.parameters)
        self.draws = stream(plan.seed, plan.name, "training data")
        self.validation = plan.held("validation")
        self.step = 0
        self.written = torch.zeros(plan.ensemble, dtype=torch.float64)
        self.since = torch.zeros(3, dtype=torch.float64)
        self.marks = self._settlings
        self.curve: list[Row] = []
        self.batches = self._batches()
        self.look()

    @property
    def cells(self) -> int:
        """How many memristors each chip uses, 0 where it has none."""
        return cells_in(self.plan)

    @property
    def done(self) -> bool:
        """Whether all steps are made."""
        return self.step >= self.plan.schedule.steps

    @property
    def written_fraction(self) -> Tensor:
        """Share of the cells in use that were written a step, each chip."""
        return self.written / max(1, self.cells) / max(1, self.step)

    def advance(self) -> tuple[Written | None, ...]:
        """Make one step: settle, contrast, write; return what was written, one per joint."""
        plan, machine = self.plan, self.machine
        x, target = next(self.batches)
        x = x * plan.schedule.amplitude(self.step)
        estimate = plan.estimator(machine, x, target, plan.task.cost)
        if (self.step - self.curve[-1]["step"]) % NOTED == 0:
            self._note(estimate.free.output, target)
        slopes, decay = estimate.weights, plan.schedule.weight_decay
        if decay:
            slopes = tuple(g + decay * p for g, p in zip(slopes, machine.parameters, strict=True))
        joints = plan.network.joints
        owners = [int(name.partition(".")[0]) - 1 for name in machine.names]
        if plan.schedule.balance:
            slopes = tuple(g + plan.schedule.balancing(joints[i], estimate.free.states)
                           for g, i in zip(slopes, owners, strict=True))  # fmt: skip
        rates = plan.schedule.at(self.step, len(joints))
        wanted, self.memory = plan.rule.update(self.memory, slopes, [rates[i] for i in owners])
        written = machine.write(wanted)
        for each in written:
            if each is not None:
                self.written = self.written + each.cells
        self.step += 1
        if self.step in plan.schedule.looks or self.done:
            self.look()
        return written

    def _note(self, output: Tensor, target: Tensor) -> None:
        """Add what a batch shows to what the next look tells of training."""
        cost = self.plan.task.cost
        found = [score(cost, output, target), cost.value(output, target)]
        self.since += torch.tensor([1.0, *(float(each.double().mean()) for each in found)])

    def look(self) -> None:
        """Test the machine on the validation set, and add what was found to the curve."""
        x, target = self.validation
        seen = scores(self.plan, self.machine, x, target, f"look {self.step}")
        steps, score, cost = self.since.tolist()
        asked, missed = (now - then for now, then in zip(self._settlings, self.marks, strict=True))
        self.curve.append({
            "step": self.step,
            "score": seen.mean(-1).reshape(-1).tolist(),
            "train_score": score / steps if steps else None,
            "train_cost": cost / steps if steps else None,
            "unsettled": missed / asked if asked else None,
            "spent": self.ledger.mean(),
        })  # fmt: skip
        self.since = torch.zeros(3, dtype=torch.float64)
        self.marks = self._settlings

    @property
    def _settlings(self) -> tuple[int, int]:
        """How many samples the machine has settled so far, and how many missed the tolerance."""
        return self.machine.settled, self.machine.unsettled

    def state(self) -> Checkpoint:
        """Return all that is needed to go on bit for bit."""
        tensors = {f"memory.{i}": tensor for i, tensor in enumerate(self.memory)}
        tensors |= {f"machine.{name}": tensor for name, tensor in self.machine.state().items()}
        tensors |= {f"ledger.{name}": total for name, total in self.ledger.state().items()}
        tensors |= streams(*self._drawing)
        tensors |= {"written": self.written, "since": self.since}
        return tensors, {"step": self.step, "curve": self.curve, "marks": self.marks}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where ``checkpoint`` was taken."""
        tensors, note = checkpoint
        self.machine.restore(part_of(tensors, "machine."))
        self.ledger.restore(part_of(tensors, "ledger."))
        rewind(tensors, *self._drawing)
        own = enumerate(self.memory)
        self.memory = tuple(tensors[f"memory.{i}"].view_as(held) for i, held in own)
        self.written, self.since = tensors["written"], tensors["since"]
        self.step, self.curve, self.marks = note["step"], note["curve"], tuple(note["marks"])
        self.batches = self._batches()

    @property
    def _drawing(self) -> tuple[object, ...]:
        """Who draws at random in training, the machine apart."""
        return self.draws, self.plan.estimator, self.plan.rule

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the batches that are still to be learned."""
        plan = self.plan
        shape = (*plan.ensemble, plan.schedule.batch)
        return iter(plan.task.batches(shape, self.draws, plan.seed, self.step))
