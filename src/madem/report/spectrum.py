"""The page of the spectrum of training: which rule learns with which imperfection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from madem.experiments.running.rundir import RunDirectory
from madem.experiments.spectrum.benches import SIZES
from madem.experiments.spectrum.imperfections import ALL, TABLE
from madem.experiments.spectrum.results import Contest, Learned, SpectrumResults, Verdict
from madem.experiments.spectrum.rules import WAYS
from madem.report import figures
from madem.units import si

COLOURS = dict(zip(WAYS, (
    "#222222", "#888888", "#d9731a", "#c9a227", "#8a63b0",
    "#1f5fa8", "#5aa0dc", "#0b7a75", "#3fc1b0", "#3a8f4d", "#8cc28f", "#c2478c",
), strict=True))  # fmt: skip
UNITS = {"relative sd": "sd", "sd, state at most 1": "sd", "share of cells": "of cells",
         "ohm a segment": "ohm", "down / up lacks": "down"}  # fmt: skip
"""Units where there is little room."""

SAID = {
    "holds": "activity differences lose less under",
    "fails": "{} loses less under",
    "even": "there is no difference at any severity under",
}


def content(folder: RunDirectory, found: SpectrumResults) -> dict[str, Any]:
    """Return what the page of a finished run shows, besides its config and results."""
    del folder
    return {
        "sizes": SIZES,
        "ways": WAYS,
        "table": TABLE,
        "maps": {task: heat_map(found, task) for task in found.tasks},
        "curves": {task: curves(found.tasks[task]) for task in found.tasks},
        "words": {task: said(found, task) for task in found.tasks},
        "fair": {task: fair(found, task) for task in found.tasks if found.contests[task]},
        "fair_words": {
            task: fair_words(found.contests[task], found.stated) for task in found.tasks
        },
    }


def heat_map(found: SpectrumResults, task: str) -> str:
    """Draw the points of accuracy that each rule loses, at the stated severity."""
    rules, at = found.tasks[task], found.stated - 1
    lost = 100 * np.array([[c.loss[at] if p.learned else np.nan for c in p.imperfections.values()]
                           for p in rules.values()])  # fmt: skip
    ideals = [
        f"{WAYS[rule].short}  ({100 * part.ideal:.1f} %{'' if part.learned else ', not learned'})"
        for rule, part in rules.items()
    ]
    title = f"{SIZES[task].title}: points lost, from the rule's own accuracy on ideal chips"
    return mapped(lost, ideals, list(next(iter(rules.values())).imperfections), at, title)


def fair(found: SpectrumResults, task: str) -> str:
    """Draw what each rule lacks of the best rule on ideal chips, tuned where it is judged."""
    rules = found.tasks[task]
    most = max(part.ideal for part in rules.values())
    names = list(next(iter(rules.values())).fair)
    lacks = 100 * np.array([
        [most - np.mean(part.fair[name].outcome.accuracy) for name in names]
        for part in rules.values()
    ])  # fmt: skip
    joules = [
        fmean(part.fair[name].outcome.joules or 0.0 for name in names) for part in rules.values()
    ]
    marks = [f"{WAYS[rule].short}  ({si(j, 'J')})" for rule, j in zip(rules, joules, strict=True)]
    title = (f"{SIZES[task].title}: points below {100 * most:.1f} %, the best rule on ideal chips; "
             "joules of a sample")  # fmt: skip
    return mapped(lacks, marks, names, found.stated - 1, title)


def mapped(
    lost: np.ndarray, rules: Sequence[str], names: Sequence[str], at: int, title: str
) -> str:
    """Draw points lost, ``(rules, names)``, at the severities of level ``at``."""
    figure = Figure(figsize=(10.5, 1.6 + 0.36 * len(rules)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(lost, cmap="RdBu_r", vmin=-40, vmax=40, aspect="auto")
    for (row, column), value in np.ndenumerate(lost):
        told = "-" if np.isnan(value) else f"{round(value, 1) + 0.0:.1f}"
        axes.text(column, row, told, ha="center", va="center",
                  color="white" if abs(value) > 26 else "black", fontsize=9)  # fmt: skip
    units = [UNITS.get(TABLE[name].unit, TABLE[name].unit) for name in names]
    marks = [
        f"{name}\n{TABLE[name].levels[at]:g} {u}" for name, u in zip(names, units, strict=True)
    ]
    axes.set_xticks(range(len(names)), marks, fontsize=8.5)
    axes.set_yticks(range(len(rules)), rules, fontsize=9)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title(title)
    figure.colorbar(image, ax=axes, label="points lost; gained below 0", shrink=0.9, extend="both")
    return figures.svg(figure)


def curves(rules: Mapping[str, Learned]) -> str:
    """Draw accuracy over severity, a panel an imperfection, with the spread over chips."""
    names = list(next(iter(rules.values())).imperfections)
    columns = min(4, len(names))
    height = -(-len(names) // columns)
    figure = Figure(figsize=(2.75 * columns, 2.5 * height + 0.7), layout="constrained")
    panels = figure.subplots(height, columns, squeeze=False, sharey=True).flat
    for panel, name in zip(panels, names, strict=False):
        for rule, part in rules.items():
            curve, bold = part.imperfections[name], rule in ("centred", "in-situ")
            y = 100 * np.array([part.ideal, *curve.accuracy])
            spread = 100 * np.array([part.ideal_sd, *curve.sd])
            panel.plot(y, color=COLOURS[rule], lw=2.2 if bold else 1.1, label=WAYS[rule].short,
                       zorder=3 if bold else 2)  # fmt: skip
            if bold:
                panel.fill_between(range(len(y)), y - spread, y + spread, color=COLOURS[rule],
                                   alpha=0.15, lw=0)  # fmt: skip
        marks = ["ideal", *(f"{v:g}" for v in TABLE[name].levels[: len(curve.loss)])]
        panel.set_xticks(range(len(marks)), marks, fontsize=8)
        panel.set_title(name, fontsize=10)
        panel.set_xlabel(TABLE[name].unit, fontsize=8)
        panel.grid(alpha=0.25)
    for panel in figure.axes[len(names) :]:
        panel.set_visible(False)
    figure.axes[0].set_ylabel("accuracy (%)")
    return figures.svg(figures.legended(figure, 5))


def said(found: SpectrumResults, task: str) -> list[str]:
    """Say which rules have not learned, and where the claim holds for those that have."""
    new = [f"{WAYS[rule].short} ({100 * part.ideal:.1f} % on ideal chips)"
           for rule, part in found.tasks[task].items() if not part.learned]  # fmt: skip
    first = ("Not learned, less than a fifth of the way from chance to all right, so that what is "
             f"lost means nothing: {', '.join(new)}.")  # fmt: skip
    return [*([first] if new else []), *words(found.verdicts[task])]


def words(verdicts: Sequence[Verdict]) -> list[str]:
    """Say where the claim holds and where it does not, from the verdicts alone.

    >>> words([Verdict(against="in-situ", imperfection="gain", level=4, lead=0.123,
    ...                standard_error=0.01, verdict="holds")])
    ['Against backpropagation through an ideal model of the chip: activity differences lose less \
under gain (level 4; up to 12.3 points).']
    >>> words([])
    ['There are no losses to compare: that takes centred differences and another rule, and that \
both learn on ideal chips.']
    """
    said = []
    for other, mine in groupby(verdicts, lambda each: each.against):
        parts = {verdict: list[str]() for verdict in SAID}
        for name, group in groupby(mine, lambda each: each.imperfection):
            levels, called = list(group), "all together" if name == ALL else name
            if all(each.verdict == "even" for each in levels):
                parts["even"].append(called)
            for verdict in ("holds", "fails"):
                some = [each for each in levels if each.verdict == verdict]
                if some:
                    which = ", ".join(str(each.level) for each in some)
                    most = 100 * max(abs(each.lead) for each in some)
                    parts[verdict].append(f"{called} (level {which}; up to {most:.1f} points)")
        told = [f"{SAID[v].format(WAYS[other].short)} {', '.join(p)}"
                for v, p in parts.items() if p]  # fmt: skip
        said.append(f"Against {WAYS[other].title}: {'; '.join(told)}.")
    alone = ("There are no losses to compare: that takes centred differences and another rule, and "
             "that both learn on ideal chips.")  # fmt: skip
    return said or [alone]


FAIR = {
    "wins": "Activity differences read more under",
    "even": "There is no difference under",
    "loses": "A rule with a model reads more under",
}


def fair_words(contests: Sequence[Contest], stated: int) -> list[str]:
    """Say which kind of rule reads more at the stated level, each tuned there, for which joules.

    >>> fair_words([Contest(imperfection="gain", ours="centred", theirs="in-situ", lead=0.12,
    ...     standard_error=0.01, joules=2e-8, their_joules=1e-8, verdict="wins")], 3)
    ['Every rule tuned under level 3 of what it meets, the best of each kind: Activity differences \
read more under gain (centred against in-situ: 12.0 points, 2.0 times the joules a sample).']
    """
    said = []
    for verdict, begins in FAIR.items():
        some = [
            f"{'all together' if c.imperfection == ALL else c.imperfection} ({c.ours} against "
            f"{c.theirs}: {100 * c.lead:.1f} points, {c.joules / c.their_joules:.1f} times the "
            "joules a sample)"
            for c in contests if c.verdict == verdict
        ]  # fmt: skip
        said += [f"{begins} {', '.join(some)}."] if some else []
    if not said:
        return []
    begins = f"Every rule tuned under level {stated} of what it meets, the best of each kind: "
    return [begins + said[0], *said[1:]]


def tell(found: SpectrumResults, console: Console) -> None:
    """Print the verdicts in words."""
    for task in found.tasks:
        console.print(SIZES[task].title, style="bold", highlight=False)
        for line in [*said(found, task), *fair_words(found.contests[task], found.stated)]:
            console.print(line, highlight=False)
