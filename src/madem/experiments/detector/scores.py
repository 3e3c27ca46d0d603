"""From scores to shares of hits missed, with intervals over seeds and frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from madem.experiments.detector.bench import REJECTED
from madem.experiments.detector.claims import alarms_of, contrasts_of
from madem.experiments.detector.config import CONDITIONS, DetectorConfig
from madem.experiments.detector.cuts import Array, Places, missed_at, misses, resampled
from madem.experiments.detector.results import DetectorResults, Row, Shown, Spent
from madem.experiments.detector.strategies import STRATEGIES
from madem.experiments.running.online import mean_spent
from madem.experiments.running.results import Interval
from madem.training.statistics import each_anew

Level = Literal["80", "90", "95"]

REJECTIONS: dict[Level, float] = {"80": 0.8, "90": 0.9, "95": 0.95}
WINDOW = 250
"""Frames over which a share of missed hits is told."""
RUN = 25
"""Neighbouring frames that are drawn together: many times longer than what they show lasts."""
LEAST = 5
"""Hits below which no share is told."""


def windows_of(score: Tensor, hit: Tensor) -> list[float | None]:
    """Return the share missed in every window, None where there are too few hits or others."""
    parts = zip(score.split(WINDOW, -1), hit.split(WINDOW), strict=True)
    return [
        float(missed_at(own, here, REJECTED).mean())
        if LEAST <= int(here.sum()) <= len(here) - LEAST
        else None
        for own, here in parts
    ]


def drawn_blocks(frames: int, count: int, draws: np.random.Generator) -> tuple[Array, Places]:
    """Return how often each block of frames is drawn, ``(count, blocks)``, and each frame's block.

    Blocks are of ``RUN`` frames, shorter where there would be fewer than 20 of them.
    """
    block = np.arange(frames) // max(1, min(RUN, frames // 20))
    blocks = int(block[-1]) + 1
    times = draws.multinomial(blocks, np.full(blocks, 1 / blocks), count)
    return np.asarray(times, float), block


class Resamples:
    """Bootstrap samples of all strategies under one condition, of the same seeds and frames.

    ``drawn``: by strategy and rejection, means over the seeds drawn; ``mean``: the share as it is;
    ``least``: half a hit of all, as a share.
    """

    def __init__(self, config: DetectorConfig, scores: Sequence[Mapping[str, Tensor]]) -> None:
        """Draw seeds, and frames in each of them, anew for each copy of a seed.

        Neighbours often show the same, so that whole blocks of frames are drawn.
        """
        draws, count = np.random.default_rng(config.seed), config.resamples
        seeds = draws.integers(len(scores), size=(count, len(scores)))
        self.least = 0.5 / max(1, sum(int((held["hit"] == 1).sum()) for held in scores))
        self.mean, self.drawn = dict[tuple[str, Level], float](), dict[tuple[str, Level], Array]()
        each = dict[tuple[str, Level], list[Array]]()
        for held in scores:
            hit = held["hit"].numpy() == 1
            frames = drawn_blocks(len(hit), count, draws)
            for key in STRATEGIES:
                own = held[key].double().numpy()
                for name, share in REJECTIONS.items():
                    sampled = resampled(own, hit, share, *frames)
                    each.setdefault((key, name), []).append(sampled)
        for (key, name), samples in each.items():
            share = REJECTIONS[name]
            each_seed = [missed_at(h[key], h["hit"] == 1, share).mean() for h in scores]
            self.mean[key, name] = float(torch.stack(each_seed).mean())
            self.drawn[key, name] = each_anew(np.stack(samples, 1), seeds).mean(1)

    def missed(self, key: str, name: Level = "90") -> Interval:
        """Return the share that a strategy misses."""
        return Interval.of(self.mean[key, name], self.drawn[key, name])

    def fewer(self, key: str, other: str) -> Interval:
        """Return the share of what ``other`` misses that ``key`` does not.

        Below half a hit in all counts as that.
        """

        def share(own: Any, rival: Any) -> Any:
            return 1 - np.maximum(own, self.least) / np.maximum(rival, self.least)

        mean = float(share(self.mean[key, "90"], self.mean[other, "90"]))
        return Interval.of(mean, share(self.drawn[key, "90"], self.drawn[other, "90"]))

    def less(self, key: str, other: str) -> Interval:
        """Return how much larger a share ``key`` misses than ``other``."""
        drawn = self.drawn[key, "90"] - self.drawn[other, "90"]
        return Interval.of(self.mean[key, "90"] - self.mean[other, "90"], drawn)

    def recovered(self, key: str, lost: str, before: float) -> Interval:
        """Return the share of what ``lost`` lost since ``before`` that ``key`` has again."""

        def share(own: Any, other: Any) -> Any:
            return (other - own) / np.maximum(other - before, self.least)

        mean = float(share(self.mean[key, "90"], self.mean[lost, "90"]))
        return Interval.of(mean, share(self.drawn[key, "90"], self.drawn[lost, "90"]))


def bins_of(least: int) -> list[int]:
    """Return the lower ends of five strengths of hits, in visible spots, from ``least`` on.

    >>> bins_of(8)
    [8, 12, 18, 27, 40]
    """
    return sorted({int(least * 1.5**step) for step in range(5)})


def by_strength(
    scores: Sequence[Mapping[str, Tensor]], key: str, bins: Sequence[int]
) -> list[float | None]:
    """Return the share missed at 90 % rejection of the hits in each of the ``bins`` of strength."""
    edges, missed, spots = torch.tensor(bins), list[Tensor](), list[Tensor]()
    for held in scores:
        hit, own = held["hit"] == 1, held[key].double()
        each = [misses(chip[hit], chip[~hit], REJECTED) for chip in own.numpy()]
        missed.append(torch.from_numpy(np.mean(each, 0)))
        spots.append(held["spots"][hit])
    bin_of = torch.bucketize(torch.cat(spots), edges, right=True) - 1
    share = torch.cat(missed)
    return [
        float(share[bin_of == i].mean()) if int((bin_of == i).sum()) >= LEAST else None
        for i in range(len(bins))
    ]


def mean_of(values: Sequence[float | None]) -> float | None:
    """Return the mean of what there is, None where there is nothing."""
    held = [value for value in values if value is not None]
    return float(np.mean(held)) if held else None


def recovers(windows: Sequence[float | None], at: int) -> int | None:
    """Return after how many frames the first window ends that is as good as those before ``at``.

    Within three points of their mean; None where none is. ``at``: the frame of the change.

    >>> recovers([0.1, 0.1, 0.5, 0.3, 0.12], 500)
    750
    """
    first = -(-at // WINDOW)
    usual = mean_of(windows[: at // WINDOW])
    for place, share in enumerate(windows[first:], first):
        if usual is not None and share is not None and share <= usual + 0.03:
            return (place + 1) * WINDOW - at
    return None


def row_of(key: str, found: Resamples, told: Sequence[Mapping[str, Any]],
           scores: Sequence[Mapping[str, Tensor]], bins: Sequence[int], frames: int,
           at: int | None) -> Row:  # fmt: skip
    """Return how a strategy did, from what the jobs of all seeds say of all strategies.

    ``at``: at which of the shift's ``frames`` everything changes, None where nothing does at once.
    """
    own, frozen = [each[key] for each in told], [each["frozen"] for each in told]
    windows = [mean_of(part) for part in zip(*(each["windows"] for each in own), strict=True)]
    lost = [mean_of(part) for part in zip(*(each["windows"] for each in frozen), strict=True)]
    regret, before = mean_of(windows) or 0.0, mean_of(lost) or 0.0
    spent, parts = None, mean_spent(own)
    if parts is not None:
        hits = float(np.mean([float((held["hit"] == 1).double().mean()) for held in scores]))
        gained = (before - regret) * hits * frames
        worth = parts["learning"] > 0 and gained > 0
        recovered = parts["learning"] * frames / gained if worth else None
        spent = Spent(**parts, recovered=recovered)
    return Row(
        missed={name: found.missed(key, name) for name in REJECTIONS},
        before=float(np.mean([each["before"] for each in own])),
        deployed=tuple(np.mean([each["deployed"] for each in own], 0).tolist()),
        strength=by_strength(scores, key, bins),
        windows=windows,
        regret=regret,
        fewer=found.fewer(key, "running"),
        writes=float(np.mean([each["writes"] for each in own])),
        recovers=None if at is None else recovers(windows, at),
        spent=spent,
    )


def results_of(
    config: DetectorConfig, scores: Mapping[str, Mapping[str, Tensor]], held: Mapping[str, Any]
) -> DetectorResults:
    """Return all results from the tensors and the records of all jobs."""
    shown, samples = dict[str, Shown](), dict[str, Resamples]()
    seeds = range(config.seed, config.seed + config.seeds)
    bins = bins_of(config.scene.make().spots)
    for condition in config.conditions:
        own = [scores[f"{condition}.{seed}"] for seed in seeds]
        told = [held[f"{condition}.{seed}"] for seed in seeds]
        samples[condition] = Resamples(config, own)
        sudden = condition in ("step", "return")
        at = round((1 - config.late) * config.frames) if sudden else None
        shown[condition] = Shown(
            title=CONDITIONS[condition],
            hits=sum(int((each["hit"] == 1).sum()) for each in own),
            frames=sum(len(each["hit"]) for each in own),
            rows={key: row_of(key, samples[condition], told, own, bins, config.frames, at)
                  for key in STRATEGIES},
        )  # fmt: skip
    alarms = alarms_of(config, seeds, held)
    return DetectorResults(
        seed=config.seed, seeds=config.seeds, chips=config.machine.chips, bins=bins,
        window=WINDOW, conditions=shown, alarms=alarms,
        contrasts=contrasts_of(shown, samples, alarms),
    )  # fmt: skip
