"""A chip that judges frames: made of a generation, or calibrated where there is none yet."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from madem.beam.reduce import Seen
from madem.data.detector import Shift, reduced
from madem.errors import InputError
from madem.learn.continual import Learner
from madem.ledger import Ledger, Price, load_prices, totals
from madem.machine.stores import part_of
from madem.randomness import stream
from madem.serve.config import ServiceConfig
from madem.serve.store import Generation, Store
from madem.training import Trainer

logger = logging.getLogger("madem.serve")


@dataclass(eq=False)
class Model:
    """A chip and all that belongs to its verdicts.

    ``learner``: the chip, and how it learns; ``cut``: the score above which a frame is kept;
    ``reference``, ``hit``: inputs and truth of frames that are never learned from; ``number``: of
    its generation; ``judging``, ``learning``: what either has done; ``seen``: what its calibration
    frames have left.
    """

    learner: Learner
    cut: float
    reference: Tensor
    hit: Tensor
    number: int
    judging: Ledger
    learning: Ledger
    seen: Seen
    prices: Mapping[str, Price] = field(default_factory=load_prices)

    def judge(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the score of every frame, and whether the chip came to rest."""
        own = self.learner
        machine = own.machine.watched(own.draws, own.judging)
        shown = machine.settle(x.expand(*own.chips, *x.shape))
        score = (shown.output[..., 1] - shown.output[..., 0]).reshape(len(x))
        return score, shown.converged.reshape(-1).expand(len(x))

    def joules(self) -> dict[str, float]:
        """Return what judging and learning have cost so far, all-in, J."""
        return {
            name: float(totals(ledger.rows(self.prices))["all_in"]["joules"])
            for name, ledger in (("judging", self.judging), ("learning", self.learning))
        }

    def state(self) -> dict[str, Tensor]:
        """Return what a generation holds."""
        held = {f"learner.{name}": each for name, each in self.learner.state().items()}
        held |= {"reference": self.reference, "hit": self.hit}
        held |= {"cut": torch.tensor(self.cut, dtype=torch.float64)}
        return held | {f"seen.{name}": torch.from_numpy(each.copy())
                       for name, each in self.seen._asdict().items()}  # fmt: skip

    def restore(self, held: Mapping[str, Tensor], number: int) -> None:
        """Become what a generation holds."""
        self.learner.restore(part_of(held, "learner."))
        self.cut, self.number = float(held["cut"]), number
        if not math.isfinite(self.cut):
            raise ValueError("the cut is no number")


def made(config: ServiceConfig, generation: Generation) -> Model:
    """Return the chip of a generation."""
    held, own = generation.tensors, config.detector
    plan = own.plan("unusual", own.seed)
    judging, learning = Ledger(), Ledger()
    try:
        learner = Learner(
            plan.making.assemble(plan), plan.estimator, plan.rule, plan.task.cost, own.teaching(),
            stream(own.seed, "service"), judging, learning,
        )  # fmt: skip
        seen = Seen(held["seen.levels"].numpy(), held["seen.bright"].numpy())
        model = Model(learner, 0.0, held["reference"], held["hit"], 0,
                      judging, learning, seen)  # fmt: skip
        model.restore(held, generation.number)
    except (KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"generation {generation.number} is of another config: {error}") from None
    return model


def newest(config: ServiceConfig, store: Store) -> Model | None:
    """Return the chip of the current generation, or of the newest that holds one; else None."""
    for generation in store.whole():
        with suppress(InputError):
            return made(config, generation)
    return None


def calibrated(config: ServiceConfig, store: Store) -> int:
    """Calibrate a chip on labelled frames, keep it as the first generation, and return its number.

    Raises ``InputError`` where there are too few frames, or of one class.
    """
    own = config.detector
    source: Any = config.calibration()
    if config.file is None:
        source = replace(source, frames=own.block)
    logger.info("calibrating: reducing frames, then training %d steps", own.schedule.steps)
    shift = reduced(source, own.reducing(), own.block)
    known = (shift.hit >= 0).nonzero()[:, 0]
    if len(known) < own.before:
        raise InputError(f"file: {len(known)} labelled frames are too few: detector.warming, "
                         f"calibration and validation are {own.before}")  # fmt: skip
    x = shift.inputs("unusual", own.calibrating)
    trainer = Trainer(own.plan("unusual", own.seed, x, shift.hit), counted=False)
    while not trainer.done:
        trainer.advance()
    learner = Learner(
        trainer.machine, trainer.plan.estimator, trainer.plan.rule, trainer.plan.task.cost,
        own.teaching(), stream(own.seed, "service"),
    )  # fmt: skip
    learner.memory = trainer.memory
    learner.remember(x[own.calibrating], shift.hit[own.calibrating])
    model = _around(config, learner, shift, x)
    said = {"why": "calibrated", "missed": missed(model, config.rejected)}
    return store.save(model.state(), said)


def _around(config: ServiceConfig, learner: Learner, shift: Shift, x: Tensor) -> Model:
    """Return the model of a chip calibrated on ``shift``, its cut set on the validation."""
    own = config.detector
    tried = slice(own.validating.start, own.before)
    seen = Seen(shift.levels[: own.before][-own.reducing().window :].numpy(),
                own.reducing().init().bright)  # fmt: skip
    model = Model(learner, 0.0, x[tried], shift.hit[tried], 0,
                  Ledger(), Ledger(), seen)  # fmt: skip
    model.cut = cut_of(model.judge(model.reference)[0], model.hit, config.rejected)
    return model


def cut_of(score: Tensor, hit: Tensor, rejected: float) -> float:
    """Return the score up to which the share ``rejected`` of frames without a hit lies, or more.

    A frame that ties with it is rejected, so that where many tie, more are.
    """
    return float(score[hit == 0].double().quantile(rejected))


def missed(model: Model, rejected: float) -> float:
    """Return the share of hits up to that cut among the reference frames: such as are rejected."""
    score = model.judge(model.reference)[0]
    return float((score[model.hit == 1] <= cut_of(score, model.hit, rejected)).double().mean())
