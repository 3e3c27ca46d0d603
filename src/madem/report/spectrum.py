"""The page of the spectrum of training: which rule learns with which imperfection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from madem.experiments.running.rundir import RunDirectory
from madem.experiments.spectrumchips import ALL, TABLE
from madem.experiments.spectrumrules import WAYS
from madem.report import figures

TEMPLATE = "spectrum.html.jinja"
SHORT = {
    "ex-situ": "1 ex situ",
    "noise-aware": "2 noise-aware",
    "in-situ": "3 model in situ",
    "in-the-loop": "4 chip in the loop",
    "tiki-taka": "5 Tiki-Taka class",
    "centred": "6 centred",
    "one-sided": "6 one-sided",
    "contrastive": "6 contrastive",
    "coupled": "6 coupled",
    "sparse": "7 centred, sparse",
}
COLOURS = {
    "ex-situ": "#222222",
    "noise-aware": "#888888",
    "in-situ": "#d9731a",
    "in-the-loop": "#c9a227",
    "tiki-taka": "#8a63b0",
    "centred": "#1f5fa8",
    "one-sided": "#5aa0dc",
    "contrastive": "#3a8f4d",
    "coupled": "#8cc28f",
    "sparse": "#c2478c",
}
TASKS = {
    "braille": "Braille words, one layer",
    "braille-deep": "Braille words, two layers",
    "digits": "digits 8 x 8, two layers",
}
DEVICE_LEVELS = (1.0, 2.0, 3.0, 4.0)


def content(folder: RunDirectory, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page of a finished run shows, besides its config and summary."""
    config = folder.config()
    return {
        "titles": TASKS,
        "short": SHORT,
        "ways": {name: way.title for name, way in WAYS.items()},
        "imperfections": {name: title(name) for name in config["imperfections"]},
        "units": {name: unit(name) for name in config["imperfections"]},
        "maps": {task: heat_map(summary, task) for task in summary["tasks"]},
        "curves": {task: curves(summary, task) for task in summary["tasks"]},
        "words": {task: words(summary, task) for task in summary["tasks"]},
        "tuning": folder.load_json("tuning.json"),
    }


def title(name: str) -> str:
    """Return what an imperfection is called."""
    return TABLE[name].title if name in TABLE else "all together"


def unit(name: str) -> str:
    """Return the unit of its severity."""
    return TABLE[name].unit if name in TABLE else "level"


def levels(name: str, count: int) -> tuple[float, ...]:
    """Return its severities."""
    return (TABLE[name].levels if name in TABLE else DEVICE_LEVELS)[:count]


def heat_map(summary: Mapping[str, Any], task: str) -> str:
    """Draw the points of accuracy that each rule loses, at the stated severity."""
    rules = summary["tasks"][task]
    names = [name for name in next(iter(rules.values())) if name != "ideal"]
    at = summary["stated"] - 1
    lost = np.array([[100 * part[name]["loss"][at] for name in names] for part in rules.values()])
    figure = Figure(figsize=(10.5, 1.6 + 0.36 * len(rules)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(lost, cmap="magma_r", vmin=0, vmax=40, aspect="auto")
    for (row, column), value in np.ndenumerate(lost):
        colour = "white" if value > 22 else "black"
        axes.text(
            column,
            row,
            f"{round(value, 1) + 0.0:.1f}",
            ha="center",
            va="center",
            color=colour,
            fontsize=9,
        )
    marks = [f"{name}\n{levels(name, 4)[at]:g} {unit(name)}" for name in names]
    marks = [mark.replace("relative sd", "sd").replace("sd, state at most 1", "sd")
             .replace("ohm a segment", "ohm").replace("down / up lacks", "down")
             for mark in marks]  # fmt: skip
    axes.set_xticks(range(len(names)), marks, fontsize=8.5)
    ideals = [f"{SHORT[rule]}  ({100 * part['ideal']['accuracy']:.1f} %)"
              for rule, part in rules.items()]  # fmt: skip
    axes.set_yticks(range(len(rules)), ideals, fontsize=9)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title(f"{TASKS[task]}: points lost, from the rule's own accuracy on ideal chips")
    figure.colorbar(image, ax=axes, label="points lost", shrink=0.9, extend="max")
    return figures.svg(figure)


def curves(summary: Mapping[str, Any], task: str) -> str:
    """Draw accuracy over severity, a panel an imperfection, with the spread over chips."""
    rules = summary["tasks"][task]
    names = [name for name in next(iter(rules.values())) if name != "ideal"]
    columns = min(4, len(names))
    height = -(-len(names) // columns)
    figure = Figure(figsize=(2.75 * columns, 2.5 * height + 0.7), layout="constrained")
    panels = figure.subplots(height, columns, squeeze=False, sharey=True).flat
    for panel, name in zip(panels, names, strict=False):
        for rule, part in rules.items():
            mean, sd = (100 * np.array(part[name][key]) for key in ("accuracy", "sd"))
            start = 100 * part["ideal"]["accuracy"]
            x = np.arange(len(mean) + 1)
            y, spread = np.array([start, *mean]), np.array([100 * part["ideal"]["sd"], *sd])
            bold = rule in ("centred", "in-situ")
            panel.plot(x, y, color=COLOURS[rule], lw=2.2 if bold else 1.1, label=SHORT[rule],
                       zorder=3 if bold else 2)  # fmt: skip
            if bold:
                panel.fill_between(x, y - spread, y + spread, color=COLOURS[rule], alpha=0.15, lw=0)
        marks = ["ideal", *(f"{value:g}" for value in levels(name, len(mean)))]
        panel.set_xticks(range(len(marks)), marks, fontsize=8)
        panel.set_title(name, fontsize=10)
        panel.set_xlabel(unit(name), fontsize=8)
        panel.grid(alpha=0.25)
    for panel in list(panels)[len(names) :]:
        panel.set_visible(False)
    for panel in figure.axes[len(names) :]:
        panel.set_visible(False)
    figure.axes[0].set_ylabel("accuracy (%)")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=8.5)
    return figures.svg(figure)


def words(summary: Mapping[str, Any], task: str) -> list[str]:
    """Say where the claim holds and where it does not, from the verdicts alone.

    >>> words({"verdicts": {"digits": []}, "tasks": {"digits": {}}}, "digits")
    []
    """
    verdicts = summary["verdicts"][task]
    said = []
    for other in dict.fromkeys(each["against"] for each in verdicts):
        mine = [each for each in verdicts if each["against"] == other]
        parts = []
        for verdict, begin in (
            ("holds", "activity differences lose less under"),
            ("fails", f"{SHORT[other][2:]} loses less under"),
            ("even", "there is no difference at any severity under"),
        ):
            found = _named(mine, verdict)
            if found:
                parts.append(f"{begin} {', '.join(found)}")
        said.append(f"Against {WAYS[other].title[4:]}: " + "; ".join(parts) + ".")
    return said


def _named(verdicts: list[dict[str, Any]], verdict: str) -> list[str]:
    """Return the imperfections of a verdict, with the levels and the largest lead, in points."""
    named = []
    for name in dict.fromkeys(each["imperfection"] for each in verdicts):
        mine = [each for each in verdicts if each["imperfection"] == name]
        if verdict == "even":
            if all(each["verdict"] == "even" for each in mine):
                named.append(name if name != ALL else "all together")
            continue
        levels_ = [each for each in mine if each["verdict"] == verdict]
        if levels_:
            which = ", ".join(str(each["level"]) for each in levels_)
            most = max(abs(each["lead"]) for each in levels_)
            called = name if name != ALL else "all together"
            named.append(f"{called} (level {which}; up to {100 * most:.1f} points)")
    return named


def tell(summary: Mapping[str, Any], console: Console) -> None:
    """Print the verdicts in words."""
    for task in summary["tasks"]:
        console.print(TASKS[task], style="bold", highlight=False)
        for line in words(summary, task):
            console.print(line, highlight=False)
