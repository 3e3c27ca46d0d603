"""Spot counters: the rivals of everything that learns weights.

A counter says how many blocks lie so many deviations above what is usual; its settings are chosen
on frames of which is known what they show.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from madem.beam.reduce import deviating
from madem.experiments.detector.bench import REJECTED, Bench, Found
from madem.experiments.detector.cuts import missed_at
from madem.learn.continual import arrivals


@dataclass(frozen=True)
class Counting:
    """A counter's settings: a threshold, and between which resolutions it counts.

    ``least``: deviations above what is usual; ``start``, ``stop``: shares of the blocks, in order
    of their distance from the beam.
    """

    least: float
    start: float
    stop: float

    def __call__(self, excess: Tensor, nearest: Tensor) -> Tensor:
        """Return how many blocks of each frame lie above the threshold.

        Ties are decided by how far they lie above it: below one in sum.
        """
        place = nearest.argsort().argsort() / len(nearest)
        lit = (self.start <= place) & (place < self.stop)
        over = (excess - self.least).clamp_min(0) * lit
        return (over > 0).sum(-1) + over.sum(-1) / (1 + over.sum(-1))


TRIED = tuple(
    Counting(least, start, stop)
    for least in (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0)
    for start in (0.0, 0.1, 0.25, 0.4)
    for stop in (0.25, 0.4, 0.6, 0.8, 1.0)
    if start < stop
)
"""The settings that are tried for a counter."""


def best_count(excess: Tensor, hit: Tensor, nearest: Tensor) -> Counting:
    """Return the settings of a counter that do best on frames of which ``hit`` is known."""
    scores = [each(excess, nearest)[None] for each in TRIED]
    missed = [float(missed_at(score, hit, REJECTED)) for score in scores]
    return TRIED[missed.index(min(missed))]


def counted(excess: Tensor, bench: Bench) -> Found:
    """Return the counter whose settings do best on the calibration frames."""
    own = bench.config.calibrating
    best = best_count(excess[own], bench.shift.hit[own] == 1, bench.nearest)
    return Found(best(excess, bench.nearest)[None, bench.tested])


def counter(bench: Bench, name: str) -> Found:
    """Count blocks above thresholds that were calibrated once: what is shipped."""
    del name
    plain = bench.shift.plain.numpy()
    usual = deviating(plain[bench.config.calibrating])
    return counted(torch.from_numpy(usual(plain)), bench)


def running_counter(bench: Bench, name: str) -> Found:
    """Count blocks above medians and their deviations that run with the frames: no label.

    Hot pixels are left out, as they are for networks.
    """
    del name
    config, levels = bench.config, bench.shift.levels.numpy()
    parts, window = [], config.reducing().window
    for start in range(0, len(levels), config.block):
        own = levels[start : start + config.block]
        parts.append(deviating(levels[max(0, start - window) : start] if start else own)(own))
    return counted(torch.from_numpy(np.concatenate(parts)), bench)


def quantile_counter(bench: Bench, name: str) -> Found:
    """Count blocks above what is measured as the inputs of networks are: no label."""
    del name
    return counted(bench.shift.unusual, bench)


def labelled_counter(bench: Bench, name: str) -> Found:
    """Count likewise, its settings chosen anew as often, and on as many labels, as is retrained.

    Its score is the logarithm of its count over the count at which it rejects as asked.
    """
    del name
    config, shift, near = bench.config, bench.shift[bench.config.shift], bench.nearest
    excess = bench.shift.unusual
    known = torch.arange(len(excess))[config.calibrating][-config.recent :]
    label, since, scores = bench.shift.hit.clone(), 0, list[Tensor]()
    label[config.shift] = bench.label[config.shift]
    best, cut = Counting(3.0, 0.0, 1.0), torch.tensor(0.0)

    def chosen() -> tuple[Counting, Tensor]:
        hit = label[known] == 1
        if not 0 < int(hit.sum()) < len(hit):
            return best, cut
        found = best_count(excess[known], hit, near)
        return found, found(excess[known], near)[~hit].quantile(REJECTED).log1p()

    best, cut = chosen()
    scores.append(best(excess[config.validating], near).log1p() - cut)
    asked, every = bench.asked[config.shift], config.retrain * float(bench.asked.double().mean())
    for part, came in arrivals(shift.time, asked, bench.delay, config.block):
        scores.append(best(shift.unusual[part], near).log1p() - cut)
        known, since = torch.cat([known, config.before + came])[-config.recent :], since + len(came)
        if since >= every and len(came):
            (best, cut), since = chosen(), 0
    return Found(torch.cat(scores)[None])
