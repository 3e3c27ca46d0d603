"""Alarms: has the share of errors, or of frames that are kept, changed?

Page's test (Biometrika 41, 100, 1954) on the logarithm of the likelihood of yes and no. Without a
change one alarm comes in ``exp(threshold)`` decisions or more (Lorden, Ann. Math. Stat. 42, 1897,
1971); after one, in about ``threshold`` over the relative entropy of the new share to the old.
Decisions are taken to be independent: where like frames come in runs, so that sums of many spread
``v`` times as much (in variance), false alarms come about as often as with ``threshold / v``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.stats import binomtest

from madem.errors import InputError

RAREST = 0.02
"""The share that what is watched for has at least before."""
NEVER = 1e-9
"""How near to none or to all a share may be taken to be; twice or half of it is never told."""


@dataclass(frozen=True)
class Page:
    """An alarm for a share that was ``before`` and becomes ``after``, larger or smaller.

    ``once``: at most one false alarm in so many decisions, in the mean.

    >>> watch = Page(before=0.08, after=0.16)
    >>> watch.heard(0.0, [False] * 1000)
    (0.0, None)
    >>> watch.heard(0.0, [True] * 30)[1]
    16
    """

    before: float
    after: float
    once: float = 1e5

    def __post_init__(self) -> None:
        """Refuse shares between which there is nothing to tell."""
        if not (0 < self.before < 1 and 0 < self.after < 1) or self.before == self.after:
            raise InputError(
                "before and after must be two different shares between 0 and 1, but are "
                f"{self.before} and {self.after}"
            )
        if not self.once > 1:
            raise InputError(f"once must be above 1, but is {self.once}")

    @property
    def threshold(self) -> float:
        """What the sum of likelihood ratios must reach, in nats."""
        return math.log(self.once)

    @property
    def _steps(self) -> tuple[float, float]:
        return math.log(self.after / self.before), math.log((1 - self.after) / (1 - self.before))

    def heard(self, total: float, decisions: Iterable[bool]) -> tuple[float, int | None]:
        """Return the sum after ``decisions``, and at which of them the alarm came, None if at none.

        ``total``: the sum before. After an alarm the sum begins anew with the next decisions.
        """
        yes, no = self._steps
        for number, decided in enumerate(decisions):
            total = max(0.0, total + (yes if decided else no))
            if total >= self.threshold:
                return 0.0, number
        return total, None


def watch_of(found: int, count: int, factor: float = 2.0, alarms: int = 1) -> Page:
    """Return the alarm for a share whose odds have become ``factor`` times what they were.

    It was ``found`` of ``count``: that end of its 95 % interval (Clopper and Pearson) counts from
    which there is more to go, so that a share known badly raises no alarm; of yes or of no, that
    which is to become more is at least 2 in 100. Where there is nowhere to go, none, or all, found,
    it never speaks. Of small shares the odds are the share itself. ``alarms``: how many such are
    heard, which speak falsely once in 1e5 decisions together.

    >>> watch = watch_of(270, 300)
    >>> round(watch.before, 3), round(watch.after, 3)
    (0.932, 0.965)
    """
    ends = binomtest(found, count).proportion_ci()
    if factor > 1:
        before = min(max(float(ends.high), RAREST), 1 - NEVER)
    else:
        before = max(min(float(ends.low), 1 - RAREST), NEVER)
    return Page(before, factor * before / (1 + (factor - 1) * before), alarms * Page.once)
