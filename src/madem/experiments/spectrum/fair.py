"""Every rule tuned under the very condition that it is judged in, and its joules beside it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from madem.experiments.spectrum import results
from madem.experiments.spectrum.config import SpectrumConfig
from madem.experiments.spectrum.imperfections import severities
from madem.experiments.spectrum.parts import Parts
from madem.experiments.spectrum.rules import WAYS, Under

MODELS = ("in-situ", "in-the-loop", "ex-situ", "noise-aware")
"""Rules that know a model of the chip; all others know activities alone."""

CLEAR = 0.005
"""Half a point of accuracy: less is no difference."""


def lead(ours: ArrayLike, theirs: ArrayLike) -> tuple[float, float, bool]:
    """Return by how much ``ours`` is more, mean over chips, its standard error, and if clearly.

    That is by more than two standard errors and ``CLEAR``, either way; chips are paired.
    """
    each = np.subtract(ours, theirs)
    mean, error = float(each.mean()), float(each.std(ddof=1) / len(each) ** 0.5)
    return mean, error, abs(mean) > max(2 * error, CLEAR)


def count(config: SpectrumConfig) -> int:
    """Return of how many parts this is of a rule's job."""
    return 2 * len(config.imperfections) if config.fair else 0


def tuned_there(
    config: SpectrumConfig, parts: Parts, task: str, rule: str
) -> dict[str, results.Fair]:
    """Return what came of a rule under each imperfection at the stated level, tuned there.

    Every candidate learns there on the chips of the tuning; the best by validation data is trained
    and tested on the others.
    """
    if not config.fair:
        return {}
    way = WAYS[rule]
    severe = {name: severities(name, config.stated - 1) for name in config.imperfections}

    @cache
    def last(index: int) -> Under:
        return way.begin(config.bench(task), *way.grid[index], counted=True)

    tuning = way.tune(config.bench(task, tuning=True))
    asked = {f"tuning.{name}": each for name, each in severe.items()}
    means = {key.removeprefix("tuning."): tried.read
             for key, tried in parts.made(results.Tried, asked, tuning).items()}  # fmt: skip
    best = {f"fair.{name}": (name, int(np.argmax(means[name]))) for name in severe}
    found = parts.made(results.Outcome, best, lambda each: last(each[1])(severe[each[0]]))
    return {
        name: results.Fair(
            rate=way.grid[index][0], own=way.grid[index][1], tuned=means[name][index],
            outcome=found[key],
        )
        for key, (name, index) in best.items()
    }  # fmt: skip


def contests(rules: Mapping[str, results.Trained]) -> list[results.Contest]:
    """Compare, under each imperfection, the best rule by differences with the best by a model.

    Which is best, of those that were run, is known from the tuning. ``ours`` *wins* where it reads
    clearly more words (``lead``); *loses* likewise.
    """
    kinds = [[rule for rule in rules if (rule in MODELS) is models] for models in (False, True)]
    found: list[results.Contest] = []
    if not all(kinds):
        return found
    for name in rules[kinds[0][0]].fair:
        ours, theirs = (max(kind, key=lambda rule: rules[rule].fair[name].tuned) for kind in kinds)
        mine, other = (rules[rule].fair[name].outcome for rule in (ours, theirs))
        mean, error, clear = lead(mine.accuracy, other.accuracy)
        found.append(results.Contest(
            imperfection=name, ours=ours, theirs=theirs, lead=mean, standard_error=error,
            joules=mine.joules or 0.0, their_joules=other.joules or 0.0,
            verdict=("wins" if mean > 0 else "loses") if clear else "even",
        ))  # fmt: skip
    return found
