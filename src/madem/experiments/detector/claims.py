"""What is claimed of learning on the chip beside a beam: figures, intervals, and their bars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from madem.experiments.detector.config import DetectorConfig
from madem.experiments.detector.results import Alarm, Shown
from madem.experiments.running.results import Contrast, Interval


class Compared(Protocol):
    """Strategies under one condition, compared frame by frame."""

    def fewer(self, key: str, other: str) -> Interval:
        """Return the share of what ``other`` misses that ``key`` does not."""

    def less(self, key: str, other: str) -> Interval:
        """Return how much larger a share ``key`` misses than ``other``."""

    def recovered(self, key: str, lost: str, before: float) -> Interval:
        """Return the share of what ``lost`` lost since ``before`` that ``key`` has again."""


def alarms_of(
    config: DetectorConfig, seeds: Sequence[int], held: Mapping[str, Any]
) -> dict[str, Alarm]:
    """Return when every alarm spoke in the step, and how often where nothing drifts.

    Beside them an alarm that speaks after every block, whatever happens.
    """
    at, found = round((1 - config.late) * config.frames), dict[str, Alarm]()
    blocks = -(-config.frames // config.block)
    quiet_jobs = [held[f"none.{seed}"] for seed in seeds] if "none" in config.conditions else []
    step_jobs = [held[f"step.{seed}"] for seed in seeds] if "step" in config.conditions else []
    for title, key, field, share in (
        (
            "verdicts, frames kept, brighter blocks",
            "alarmed",
            "alarms",
            config.labelling("step").share,
        ),
        ("frames kept by the network as calibrated", "frozen", "kept", 1.0),
    ):
        after: list[int | None] = []
        for told in step_jobs:
            for chip in range(config.machine.chips):
                first = [n for own, n in told[key][field] if own == chip and n > at * share]
                after.append(round(first[0] - at * share) if first else None)
        found[title] = Alarm(
            after=after,
            false=sum(len(told[key][field]) for told in quiet_jobs),
            quiet=round(config.machine.chips * config.frames * share * len(quiet_jobs)),
        )
    each = config.machine.chips * len(quiet_jobs)
    found["dummy: after every block"] = Alarm(
        after=[config.block] * (config.machine.chips * len(step_jobs)),
        false=each * blocks, quiet=each * config.frames,
    )  # fmt: skip
    return found


def contrasts_of(
    shown: Mapping[str, Shown], samples: Mapping[str, Compared], alarms: Mapping[str, Alarm]
) -> list[Contrast]:
    """Return every claim that the conditions of a run can bear, with its bar."""
    return [*_missed(shown, samples), *_costs(shown), *_found(alarms)]


RIVALS = (
    ("running", "a counter with running medians and deviations", 0.25),
    ("quantile", "a counter with running percentiles", 0.0),
    ("labelled", "a counter that labels set again", 0.0),
)
"""Counters, and by how much a chip that learns is to miss fewer hits."""


def _missed(shown: Mapping[str, Shown], samples: Mapping[str, Compared]) -> Iterator[Contrast]:
    """Yield what is claimed of hits missed at 90 % rejection."""
    if "all" in shown:
        own, before = samples["all"], shown["all"].rows["frozen"].before
        for key, rival, least in RIVALS:
            fewer = own.fewer("product", key)
            bar = f"at least {100 * least:g} %, interval above 0" if least else "interval above 0"
            yield Contrast(
                said=f"all drifts: fewer hits missed on the chip than by {rival}",
                value=fewer, unit="%", bar=bar, reaches=fewer.mean >= least and fewer.low > 0,
            )  # fmt: skip
        back = own.recovered("product", "frozen", before)
        yield Contrast(
            said="all drifts: of what the network as calibrated loses, recovered on the chip",
            value=back, unit="%", bar="at least 70 %", reaches=back.mean >= 0.7,
        )  # fmt: skip
        said = "all drifts: missed on the chip beyond ideal digital learning"
        yield Contrast.at_most(said, own.less("product", "digital"), 0.015)
    if "scarce" in shown:
        said = "few and wrong labels: fewer hits missed on the chip than by the first of these"
        yield Contrast.above(said, samples["scarce"].fewer("product", "running"), "%")
    for key, what, most in (
        ("none", "nothing drifts", 0.005), ("return", "all drifts, put right", 0.01),
    ):  # fmt: skip
        if key in shown:
            said = f"{what}: missed on the chip beyond the network as calibrated"
            yield Contrast.at_most(said, samples[key].less("product", "frozen"), most)


def _costs(shown: Mapping[str, Shown]) -> Iterator[Contrast]:
    """Yield what is claimed of writes and joules."""
    if "all" not in shown:
        return
    rows = shown["all"].rows
    own, spent = rows["product"].writes, rows["product"].spent
    yield Contrast.plain("writes a cell in a shift", own, "writes", "at most 2", own <= 2)
    often = own / max(rows["alarmed"].writes, 1e-9)
    yield Contrast.plain("writes without an alarm over those with it", often, "x", "at least 5",
                         often >= 5)  # fmt: skip
    if spent is not None:
        yield Contrast.plain("a frame, all-in, without learning", 1e6 * spent.judging, "uJ",
                             "at most 10 uJ", spent.judging <= 10e-6)  # fmt: skip
        more = spent.learning / spent.judging
        yield Contrast.plain("learning, on top of it", more, "%", "at most 50 %", more <= 0.5)
        yield Contrast.plain("a verdict, with reduction and conversions", 1e6 * spent.seconds, "us",
                             "at most 45 us", spent.seconds <= 45e-6)  # fmt: skip


def _found(alarms: Mapping[str, Alarm]) -> Iterator[Contrast]:
    """Yield what is claimed of the alarm after which is learned."""
    first = next(iter(alarms.values()))
    heard = [np.inf if after is None else after for after in first.after]
    if heard:
        late = float(np.quantile(heard, 0.95, method="higher"))
        shown = late if np.isfinite(late) else -1.0
        yield Contrast.plain("labels until an alarm has found the step, on 95 % of chips", shown,
                             "frames", "at most 650", late <= 650)  # fmt: skip
    if first.quiet:
        often = first.false / first.quiet * 1e5
        yield Contrast.plain("false alarms in 100,000 labels without drift", often, "alarms",
                             "at most 1", often <= 1)  # fmt: skip
