"""What studies of learning beside a stream share: calibrated machines, a digital rival, joules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from madem.experiments.running.rundir import RunDirectory
from madem.experiments.running.trained import resumed, train
from madem.learn import Descent
from madem.learn.continual import Learner, Teaching
from madem.ledger import Event, Ledger, load_prices, totals
from madem.machine.base import silent
from madem.training import Ideal, Plan, Trainer, chips_of


class Calibrated(NamedTuple):
    """The ``plan`` of a training before the stream, and the ``state`` it left its machine in."""

    plan: Plan
    state: Mapping[str, Tensor]

    def learner(self, teaching: Teaching, draws: Generator, counted: bool = False) -> Learner:
        """Return who goes on from that state, with a machine of its own.

        ``draws``: of what it replays and reads; ``counted``: whether ledgers hear what it does.
        """
        plan, heard = self.plan, (Ledger(), Ledger()) if counted else (silent, silent)
        machine = plan.making.assemble(plan)
        machine.restore({name: tensor.clone() for name, tensor in self.state.items()})
        return Learner(machine, plan.estimator, plan.rule, plan.task.cost, teaching, draws, *heard)


def calibrate(plan: Plan, folder: RunDirectory, job: str) -> Calibrated:
    """Train by ``plan`` to the end, from the checkpoint of ``job`` where ``folder`` has one."""
    trainer = resumed(Trainer(plan, counted=False), folder, job)
    train(trainer, folder, job, lambda _: None)
    return Calibrated(plan, trainer.machine.state())


def idealised(plan: Plan) -> Plan:
    """Return the same training in exact numbers, in which every change is made as asked for."""
    ideal = Ideal(chips_of(plan).solver)
    return replace(plan, making=ideal, rule=Descent(), name=f"{plan.name}.ideal")


def program(chips: Learner, digital: Learner) -> None:
    """Write what a ``digital`` network of one layer holds onto ``chips``.

    Charged beside the writes: each of the updates that it has just made, as a graphics card's.
    """
    weights, bias = digital.machine.parameters
    weight = torch.cat([weights, bias[:, None]], -1)
    chips.learning(Event("graphics card step", float(digital.teaching.updates)))
    heard = chips.machine.watched(chips.draws, chips.learning)
    chips.write(heard, [weight - heard.parameters[0]])


def spent_on(
    judging: Ledger | None, learning: Ledger | None, judged: int, streamed: int
) -> dict[str, float] | None:
    """Return what a sample takes of one chip, by what ledgers heard, None where there are none.

    ``judging``, ``array``: J to judge it, and the memristors' own share; ``seconds`` of it;
    ``learning``: J beside it. ``judged``: how many samples were, ``streamed``: with learning.
    """
    if judging is None or learning is None:
        return None
    prices = load_prices()
    own, learned = (totals(each.rows(prices)) for each in (judging, learning))
    return {
        "judging": own["all_in"]["joules"] / judged,
        "array": own["array_only"]["joules"] / judged,
        "seconds": own["all_in"]["seconds"] / judged,
        "learning": learned["all_in"]["joules"] / streamed,
    }


def mean_spent(told: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """Return the means over jobs of what ``spent_on`` says in the record of each, None as it."""
    if not told[0]["spent"]:
        return None
    names = told[0]["spent"]
    return {name: float(np.mean([each["spent"][name] for each in told])) for name in names}
