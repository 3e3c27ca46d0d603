"""What came of the strategies on one writer's words, as ``summary.json`` holds it."""

from __future__ import annotations

from typing import Literal

from madem.experiments.running.results import Contrast, Interval, Result


class Spent(Result):
    """Joules a word: to read it, the memristors' own share, and to learn beside it.

    ``seconds``: what reading it takes.
    """

    judging: float
    array: float
    learning: float
    seconds: float


class Row(Result):
    """How one strategy did, over all writers.

    ``misread``: share of the writer's late words; ``others``: of other writers' words, after the
    session; ``forgotten``: how much larger that is than of what it began with, which is the network
    or the templates as calibrated; ``windows``: misread of the writer's, in every window of the
    session; ``halved``: after how many words a window has lost half of what the network as
    calibrated misreads beyond who knows the hand, null where none has; ``writes``: a cell.
    """

    misread: Interval
    others: Interval
    forgotten: Interval
    windows: list[float]
    halved: int | None
    writes: float
    spent: Spent | None


class Shown(Result):
    """A condition: ``words`` late and of ``others``, of all writers; the share with a label."""

    title: str
    words: int
    others: int
    labels: float
    rows: dict[str, Row]


class PersonalResults(Result):
    """All conditions; ``window``: in words; ``chips`` of every writer."""

    experiment: Literal["personal"] = "personal"
    seed: int
    seeds: int
    chips: int
    window: int
    conditions: dict[str, Shown]
    contrasts: list[Contrast]
