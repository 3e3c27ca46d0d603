"""Page's test beside river's ADWIN, by its defaults: how soon a share that rises is found.

Prints for each rise, and for how many decisions were known before it, after how many it is found
(the median, and from the 5th to the 95th percentile), and false alarms without a rise.

pip install river; python benchmarks/alarms.py
"""

from __future__ import annotations

import numpy as np
from river.drift import ADWIN

from madem.learn.watch import watch_of

STREAMS = 200
LONGEST = 3000
"""Decisions that are waited for after the change: so many stand for *not found*."""
QUIET = 20_000
"""Decisions a stream without a change."""


def page(decided: np.ndarray, known: int) -> list[int]:
    """Return where Page's test speaks, its share known from the first so many decisions."""
    watch, total, found, done = watch_of(int(decided[:known].sum()), known), 0.0, list[int](), known
    while done < len(decided):
        total, at = watch.heard(total, decided[done:].tolist())
        done = len(decided) if at is None else done + at + 1
        found += [] if at is None else [done - known]
    return found


def adwin(decided: np.ndarray, known: int) -> list[int]:
    """Return where ADWIN speaks, which has heard the first so many decisions as well."""
    test, found = ADWIN(), list[int]()
    for number, each in enumerate(decided.tolist(), 1 - known):
        test.update(each)
        if test.drift_detected and number > 0:
            found.append(number)
    return found


def main() -> None:
    """Print both."""
    draws = np.random.default_rng(0)
    for before, after in ((0.08, 0.16), (0.08, 0.3), (0.02, 0.04), (0.02, 0.5)):
        for known in (300, 1000):
            for name, alarm in (("Page", page), ("ADWIN", adwin)):
                after_change = [
                    next(iter(alarm(np.r_[draws.random(known) < before,
                                          draws.random(LONGEST) < after], known)), LONGEST)
                    for _ in range(STREAMS)
                ]  # fmt: skip
                false = sum(len(alarm(draws.random(QUIET) < before, known)) for _ in range(20))
                early, middle, late = np.quantile(after_change, [0.05, 0.5, 0.95])
                print(f"{before:.0%} to {after:.0%}, {known} known, {name:5}: found after "
                      f"{middle:.0f} ({early:.0f} to {late:.0f}), false in 100,000: "
                      f"{1e5 * false / 20 / QUIET:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
