"""What can be done about frames of interest, from keeping some at random to learning on a chip."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from madem.data.detector import Kind, Shift, shaken
from madem.experiments.detector.bench import REJECTED, Bench, Doing, Found, Strategy
from madem.experiments.detector.config import DetectorConfig
from madem.experiments.detector.counters import (
    counter,
    labelled_counter,
    quantile_counter,
    running_counter,
)
from madem.experiments.detector.cuts import missed_at
from madem.experiments.running.online import idealised, program
from madem.learn.continual import Learner, Teaching, arrivals
from madem.learn.watch import watch_of
from madem.ledger import Event, Ledger
from madem.randomness import uniform
from madem.training import Plan


def keep_some(bench: Bench, name: str) -> Found:
    """Keep frames at random."""
    return Found(uniform((1, len(bench.shift[bench.tested])), bench.draws(name)))


def stepwise(
    bench: Bench, name: str, kind: Kind, where: str, teaching: Teaching,
    teach: Callable[[Learner, Tensor, Tensor, Tensor], None] | None = None,
) -> Found:  # fmt: skip
    """Judge every block, then let ``teach`` see the labels that have come, if anything does.

    It is given the learner, inputs, labels, and how these frames were judged, ``(chips, frames)``.
    """
    config = bench.config
    learner = bench.trained[kind, where].learner(teaching, bench.draws(name), where == "chip")
    x, own = bench.inputs(kind), config.calibrating
    if teach is not None:
        learner.remember(x[own], bench.shift.hit[own])
    scores = [learner.judge(x[config.validating])]
    begun, shift = config.before, bench.shift[config.shift]
    asked, label = bench.asked[config.shift], bench.label[config.shift]
    for part, came in arrivals(shift.time, asked, bench.delay, config.block):
        scores.append(learner.judge(x[begun + part.start : begun + part.stop]))
        if teach is not None and len(came):
            judged = torch.cat(scores[1:], -1)[..., came]
            teach(learner, x[begun + came], label[came], judged)
        bench.tell(part.stop)
    score = torch.cat(scores, -1)
    judging, learning = learner.judging, learner.learning
    if isinstance(judging, Ledger):
        pixels = math.prod(config.module.make().shape)
        judging(Event("pixel reduction", float(pixels * score.shape[-1])))
        return Found(score, learner.written, judging, learning)  # type: ignore[arg-type]
    return Found(score.view(-1, score.shape[-1]))


def still(kind: Kind) -> Doing:
    """Return the network that was calibrated once, on inputs of a ``kind``."""

    def run(bench: Bench, name: str) -> Found:
        return stepwise(bench, name, kind, "chip", bench.config.teaching())

    return run


def reset(bench: Bench, name: str) -> Found:
    """Let the calibrated network be, and move its threshold with the scores of all frames."""
    found, window = still("plain")(bench, name), bench.config.reducing().window
    score, moved = found.score, []
    first, block = bench.config.validation, bench.config.block
    usual = score[:, :first].median(-1, keepdim=True).values
    for start in (0, *range(first, score.shape[-1], block)):
        stop = first if start == 0 else start + block
        before = score[:, max(0, start - window) : start] if start else score[:, :first]
        moved.append(score[:, start:stop] - before.median(-1, keepdim=True).values + usual)
    return replace(found, score=torch.cat(moved, -1))


def taught(kind: Kind, where: str = "chip", replayed: bool = True) -> Doing:
    """Return a network that learns from every label that comes."""

    def run(bench: Bench, name: str) -> Found:
        teaching = bench.config.teaching(replayed)
        return stepwise(
            bench, name, kind, where, teaching, lambda own, x, label, _: own.learn(x, label)
        )

    return run


def alarmed(bench: Bench, name: str) -> Found:
    """Learn on those chips alone, and as long, as an alarm on their verdicts says.

    One hears by labels which verdicts were wrong, two hear without them whether more or fewer
    frames are kept than were in validation, and one, in how many the sensor is ``shaken``.
    """
    config, alarms = bench.config, list[tuple[int, int]]()
    chips, first = config.machine.chips, config.validation
    hit = bench.shift.hit[config.validating] == 1
    shown = bench.inputs("unusual")[config.validating]
    before = still("unusual")(replace(bench, tell=lambda _: None), name).score[:, :first]
    cut = before[:, ~hit].quantile(REJECTED, -1, keepdim=True)

    def heard_of(x: Tensor, score: Tensor, hit: Tensor) -> Tensor:
        wrong, kept = (score > 0) != hit, score > cut
        return torch.stack([wrong, kept, kept, shaken(x).expand(score.shape)], 1)

    factors = (2.0, 2.0, 0.5, 2.0)
    watches = [
        [watch_of(int(each.sum()), first, by, len(factors))
         for each, by in zip(own, factors, strict=True)]
        for own in heard_of(shown, before, hit)
    ]  # fmt: skip
    sums, left, heard = [[0.0] * len(factors) for _ in range(chips)], torch.zeros(chips), 0

    def teach(own: Learner, x: Tensor, label: Tensor, judged: Tensor) -> None:
        nonlocal heard, left
        for chip, told in enumerate(heard_of(x, judged, label == 1).tolist()):
            for number, (watch, said) in enumerate(zip(watches[chip], told, strict=True)):
                sums[chip][number], at = watch.heard(sums[chip][number], said)
                if at is not None:
                    alarms.append((chip, heard + at + 1))
                    left[chip] = config.alert
        if bool((left > 0).any()):
            own.learn(x, label, (left > 0).float())
        else:
            own.remember(x, label)
        heard, left = heard + len(label), (left - len(label)).clamp_min(0)

    found = stepwise(bench, name, "unusual", "chip", config.teaching(), teach)
    return replace(found, alarms=tuple(alarms))


def retrained(bench: Bench, name: str) -> Found:
    """Train digitally on the newest labels every so often, and program the result onto the chip."""
    config = bench.config
    once = replace(config.teaching(replayed=False), updates=300)
    trainer = bench.trained["unusual", "ideal"].learner(once, bench.draws("retrain"))
    own = config.calibrating
    known = [bench.inputs("unusual")[own][-config.recent :], bench.shift.hit[own][-config.recent :]]
    since = 0

    def teach(chip: Learner, x: Tensor, label: Tensor, _: Tensor) -> None:
        nonlocal since
        known[:] = [torch.cat(two)[-config.recent :] for two in zip(known, (x, label), strict=True)]
        since += len(label)
        if since < config.retrain * bench.asked.double().mean():
            return
        since = 0
        trainer.learn(*known)
        program(chip, trainer)

    return stepwise(bench, name, "unusual", "chip", config.teaching(), teach)


def hindsight(bench: Bench, name: str) -> Found:
    """Score by logistic regression on all frames but those scored: the past, the future, no error.

    Five folds of whole blocks, of as many frames as there are; the penalty that does best of three.
    """
    del name
    config, x, hit = bench.config, bench.inputs("unusual"), bench.shift.hit.double()
    used = torch.arange(len(x)) >= config.warming
    fold = (torch.arange(len(x)) // config.block) % FOLDS
    tries = [regressed(x.double(), hit, used, fold, penalty) for penalty in (1e-3, 1e-2, 3e-2)]
    late = bench.shift.hit[config.shift] == 1

    def missed(score: Tensor) -> float:
        return float(missed_at(score[None, config.shift], late, REJECTED))

    return Found(min(tries, key=missed)[None, bench.tested])


FOLDS = 5


def regressed(x: Tensor, hit: Tensor, used: Tensor, fold: Tensor, penalty: float) -> Tensor:
    """Return the score of every frame by the regression that has not seen its fold."""
    taken = (used & (fold != torch.arange(FOLDS)[:, None])).double()
    weight = torch.zeros(FOLDS, x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight], max_iter=60, line_search_fn="strong_wolfe")
    wide = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)

    def loss() -> Any:
        optimiser.zero_grad()
        each = functional.binary_cross_entropy_with_logits(
            weight @ wide.T, hit.expand(FOLDS, -1), reduction="none"
        )
        total = (each * taken).sum() / taken.sum() * FOLDS
        total = total + penalty * weight[:, :-1].square().sum()
        total.backward()
        return total

    optimiser.step(loss)
    return (weight.detach() @ wide.T)[fold, torch.arange(len(x))].float()


STRATEGIES: dict[str, Strategy] = {
    "random": Strategy("keep at random", keep_some),
    "counter": Strategy("spot counter, as calibrated", counter),
    "running": Strategy("spot counter, running medians and deviations", running_counter),
    "quantile": Strategy("spot counter, running medians and percentiles", quantile_counter),
    "labelled": Strategy("spot counter, percentiles, set again by labels", labelled_counter),
    "frozen": Strategy("network, as calibrated", still("plain")),
    "reset": Strategy("network, running threshold", reset),
    "normalised": Strategy("network, running block statistics", still("unusual")),
    "retrained": Strategy("digital retraining, programmed", retrained),
    "fresh": Strategy("on the chip, no replay", taught("plain", replayed=False)),
    "replayed": Strategy("on the chip, replay", taught("plain")),
    "product": Strategy("on the chip, replay and running block statistics", taught("unusual")),
    "alarmed": Strategy("on the chip, both, after an alarm alone", alarmed),
    "digital": Strategy("ideal digital, same updates", taught("unusual", "ideal")),
    "hindsight": Strategy("hindsight", hindsight),
}
"""All strategies, in the order in which they are told."""


def calibrations(config: DetectorConfig, shift: Shift, seed: int) -> dict[tuple[Kind, str], Plan]:
    """Return the plans of the networks that strategies begin with, by inputs and machine."""
    kinds: tuple[Kind, ...] = ("plain", "unusual")
    plans = {
        (kind, "chip"): config.plan(kind, seed, shift.inputs(kind, config.calibrating), shift.hit)
        for kind in kinds
    }
    return plans | {("unusual", "ideal"): idealised(plans["unusual", "chip"])}
