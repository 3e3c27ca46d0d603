"""What came of the strategies beside the beam, as ``summary.json`` holds it."""

from __future__ import annotations

from typing import Literal

from madem.experiments.running.results import Contrast, Interval, Result


class Spent(Result):
    """Joules a frame of one chip: to judge it, the memristors' own share, and to learn beside it.

    ``seconds``: what a verdict takes, with its conversions; ``recovered``: joules of learning for
    every hit that the frozen network would have missed, None where there is none or nothing learns.
    """

    judging: float
    array: float
    learning: float
    seconds: float
    recovered: float | None


class Row(Result):
    """How one strategy did in the late frames of all seeds.

    ``missed``: shares of hits missed where 80, 90 and 95 % of other frames are rejected;
    ``before``: at 90 %, on validation frames, before anything drifted; ``deployed``: hits missed
    and others rejected with the cut as it was set then; ``strength``: missed at 90 %, by the bins
    of spots; ``windows``: likewise, of every window of the shift; ``regret``: likewise, mean over
    the shift; ``fewer``: of the hits that the running counter misses, the share that this does
    not; ``writes``: a cell; ``recovers``: after how many frames what changed at once is made up
    for, None where it is not, or nothing changes at once.
    """

    missed: dict[Literal["80", "90", "95"], Interval]
    before: float
    deployed: tuple[float, float]
    strength: list[float | None]
    windows: list[float | None]
    regret: float
    fewer: Interval
    writes: float
    recovers: int | None
    spent: Spent | None


class Alarm(Result):
    """What watches, and when it spoke in the step: after how many labels, None where never.

    ``false``: how often it spoke in frames that did not drift, of how many ``quiet`` ones.
    """

    after: list[int | None]
    false: int
    quiet: int


class Shown(Result):
    """A condition: ``hits`` and ``frames`` late in all seeds, and how every strategy did."""

    title: str
    hits: int
    frames: int
    rows: dict[str, Row]


class DetectorResults(Result):
    """All conditions; ``bins``: lower ends of the strengths, in spots; ``window``: in frames."""

    experiment: Literal["detector"] = "detector"
    seed: int
    seeds: int
    chips: int
    bins: list[int]
    window: int
    conditions: dict[str, Shown]
    alarms: dict[str, Alarm]
    contrasts: list[Contrast]
