"""The figures of a report, each drawn from a run directory's numbers and returned as SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from numpy.typing import NDArray

from madem.errors import InputError, abridged, nearest
from madem.experiments.running.files import write_asked
from madem.experiments.running.results import Interval
from madem.units import scaled

COLOURS = {
    "chip": "#1f5fa8",
    "backprop": "#d9731a",
    "bayes": "#222222",
    "ex_situ": "#3a8f4d",
    "untrained": "#999999",
}
NAMES = {
    "chip": "on the chips",
    "backprop": "ideal backpropagation",
    "bayes": "Bayes limit",
    "ex_situ": "programmed once (ex situ)",
    "untrained": "untrained chips",
}
STYLES = {"backprop": "--", "bayes": ":", "ex_situ": "-.", "untrained": (0, (1, 3))}
TITLES = {
    "classify.one_layer": "Classify, one layer",
    "classify.two_layer": "Classify, two layers",
    "reconstruct.one_layer": "Reconstruct, one layer",
    "reconstruct.two_layer": "Reconstruct, two layers",
}
DOMAINS = {"array": "#1f5fa8", "periphery": "#d9731a", "digital": "#8a63b0"}
FORMATS = (".pdf", ".png", ".svg")

mpl.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "madem",
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
    }
)

Array = NDArray[np.float64]


def svg(figure: Figure) -> str:
    """Return ``figure`` as an SVG element, the same for the same numbers."""
    file = io.StringIO()
    figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]


def save(figure: Figure, path: Path) -> None:
    """Write ``figure``; the ending of ``path`` says in which format.

    Raises ``InputError`` for another ending, and for a path that cannot be written or is no plain
    file.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{abridged(path)}: unknown format {path.suffix!r}: "
                         f"{nearest(path.suffix, FORMATS)}")  # fmt: skip
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:].lower(), dpi=130)
    write_asked(path, drawn.getvalue())


def legended(figure: Figure, columns: int) -> Figure:
    """Return ``figure`` with the legend of its first axes below, in so many columns."""
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def panels(count: int, wide: int, label: str) -> tuple[Figure, list[Axes]]:
    """Return a figure and its ``count`` axes of one height, ``wide`` in a row at most.

    ``label``: what is drawn upwards.
    """
    wide = min(wide, count)
    rows = -(-count // wide)
    figure = Figure(figsize=(10, 2.9 * rows), layout="constrained")
    axes = figure.subplots(rows, wide, sharey=True, squeeze=False)
    for axis in axes[:, 0]:
        axis.set_ylabel(label)
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    return figure, list(axes.flat[:count])


def interval_bars(axis: Axes, held: Mapping[str, Interval], colours: Mapping[str, str]) -> None:
    """Draw shares in per cent as bars, the first on top, each with its interval and its number."""
    for place, (name, each) in enumerate(reversed([*held.items()])):
        low, mean, high = (100 * v for v in (each.low, each.mean, each.high))
        axis.barh(place, mean, color=colours.get(name, "#bbbbbb"), height=0.7)
        axis.plot([low, high], [place, place], color="#222222", linewidth=1.2)
        axis.annotate(f"{mean:.1f}", (high, place), (5, 0), textcoords="offset points",
                      va="center", fontsize=9)  # fmt: skip
    axis.margins(x=0.1)
    axis.set_xlim(0, None)


def learning_curves(metrics: Mapping[str, Any], summary: Mapping[str, Any]) -> Figure:
    """Draw accuracy against words seen, with spread over chips and the yardsticks as lines."""
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    for axis, (name, title) in zip(figure.subplots(2, 2).flat, TITLES.items(), strict=True):
        task, depth = name.split(".")
        part, result = summary["tasks"][task][depth], metrics[name]
        looks = result["curve"][1:]  # the first look is the untrained chip, a line of its own
        steps = np.array([step for step, _ in looks])
        chips = 100 * np.array([values for _, values in looks])
        words = steps * (result["samples"] / steps[-1])
        band = chips.min(1), chips.max(1)
        axis.fill_between(words, *band, color=COLOURS["chip"], alpha=0.2, linewidth=0)
        axis.plot(words, chips.mean(1), color=COLOURS["chip"], label=f"{NAMES['chip']} (band: all)")
        for key in ("bayes", "backprop", "ex_situ", "untrained"):
            axis.axhline(
                100 * part[key], color=COLOURS[key], linestyle=STYLES[key], label=NAMES[key]
            )
        unit = "words right" if task == "classify" else "whole words right"
        axis.set(title=title, ylim=(0, 104), ylabel=f"{unit} (%)")
        axis.set(xlabel="training words seen by each chip", xscale="log")
        if len(words) > 1:
            axis.set_xlim(words[0], words[-1])
    return legended(figure, 5)


def accuracy_by_flip(metrics: Mapping[str, Any], summary: Mapping[str, Any], task: str) -> str:
    """Draw accuracy against the flip probability for both depths of ``task``."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for axis, depth in zip(
        figure.subplots(1, 2, sharey=True), ("one_layer", "two_layer"), strict=True
    ):
        name = f"{task}.{depth}"
        yardsticks = metrics[f"{name}.yardsticks"]
        for key in ("bayes", "backprop", "ex_situ"):
            flips = [float(p) for p in yardsticks[key]]
            values = [100 * mean for mean, _ in yardsticks[key].values()]
            axis.plot(flips, values, color=COLOURS[key], linestyle=STYLES[key], label=NAMES[key])
        measured = metrics[name]["accuracy_by_flip"]
        flips = [float(p) for p in measured]
        mean, spread = 100 * np.array(list(measured.values())).T
        axis.errorbar(
            flips,
            mean,
            spread,
            color=COLOURS["chip"],
            marker="o",
            markersize=4,
            capsize=3,
            label=NAMES["chip"] + " (mean, standard deviation)",
        )
        trained = summary["tasks"][task][depth]["flip_probability"]
        axis.axvline(trained, color="#cccccc", linewidth=6, zorder=0, label="flips in training")
        lowest = 60 if task == "classify" else 0
        axis.set(title=TITLES[name], xlabel="probability that a dot is flipped")
        axis.set_ylim(lowest, 101)
    figure.axes[0].set_ylabel("words right (%)")
    return svg(legended(figure, 5))


def conductances(before: Array, after: Array, title: str) -> str:
    """Draw both arrays of the first chip, in microsiemens, before and after training."""
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    axes = figure.subplots(1, 4)
    scale = Normalize(0, 1e6 * float(np.nanmax([np.nanmax(before), np.nanmax(after)])))
    for column, axis in enumerate(axes):
        when, array = ("before", before) if column < 2 else ("after", after)
        axis.imshow(1e6 * array[column % 2], cmap="viridis", norm=scale, interpolation="nearest")
        axis.set_title(f"array {column % 2 + 1}, {when}", fontsize=10, fontweight="normal")
        axis.set(xticks=[0, 63], yticks=[0, 63], facecolor="#eeeeee")
        axis.spines[:].set_visible(True)
    axes[0].set_ylabel("driven line")
    figure.supxlabel("sensed line", fontsize=10)
    figure.suptitle(title, fontweight="bold", fontsize=11, x=0.01, ha="left")
    figure.colorbar(
        ScalarMappable(scale, "viridis"), ax=axes, label="conductance (uS)", shrink=0.85
    )
    return svg(figure)


def braille_row(axis: Axes, values: Array, height: float, scale: float = 1.0) -> None:
    """Draw 60 values as ten Braille cells: dark where positive, hollow where not, grey if unsure.

    The fill says how sure: a value of ``scale`` or more is a full dot, zero a faint one.
    """
    for index, value in enumerate(values):
        cell, dot = divmod(index, 6)
        x, y = 2.6 * cell + (dot // 3) * 0.9, height - (dot % 3) * 0.9
        strength = float(np.clip(value / scale, -1, 1))
        shade = str(0.5 - 0.5 * strength)
        edge = "#1f5fa8" if strength > 0 else "#999999"
        axis.add_patch(Circle((x, y), 0.36, facecolor=shade, edgecolor=edge, linewidth=0.8))


def braille_examples(
    rows: Sequence[tuple[str, Array, float]], words: Sequence[str], title: str
) -> str:
    """Draw for each word, side by side, named rows of Braille cells.

    ``rows``: label, values of shape ``(words, 60)``, and the value of a full dot.
    """
    width = 3.6  # inches a word of ten cells, 26 units wide
    height = (3.6 * len(rows) + 2.2) * width / 26.8
    figure = Figure(figsize=(width * len(words), height))
    axes = np.atleast_1d(figure.subplots(1, len(words), gridspec_kw={"wspace": 0.02}))
    for column, (axis, word) in enumerate(zip(axes, words, strict=True)):
        for index, (label, values, scale) in enumerate(rows):
            top = -3.6 * index
            braille_row(axis, values[column], top, scale)
            if column == 0:
                axis.text(-1.2, top - 0.9, label, ha="right", va="center", fontsize=9)
        axis.set(xlim=(-0.8, 26), ylim=(-3.6 * len(rows) + 1.2, 0.8), aspect="equal")
        axis.set_title(word, fontsize=9, fontweight="normal")
        axis.axis("off")
    axes[0].text(-1.2, 2.2, title, ha="right", fontweight="bold")
    return svg(figure)


def confusion(counts: Array, words: Sequence[str], title: str) -> str:
    """Draw how often each word was taken for each other, in per cent of its showings."""
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)  # a word never shown: none
    wrong = share.copy()
    np.fill_diagonal(wrong, np.nan)
    figure = Figure(figsize=(7.2, 6.2), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(wrong, cmap="magma_r", interpolation="nearest", vmin=0)
    ticks = range(len(words))
    axis.set_xticks(ticks, words, rotation=90, fontsize=7)
    axis.set_yticks(ticks, words, fontsize=7)
    axis.set(xlabel="taken for", ylabel="shown", title=title, facecolor="#e8eef6")
    figure.colorbar(image, label="of the showings of the word (%)", shrink=0.8)
    return svg(figure)


def writing(summary: Mapping[str, Any]) -> str:
    """Draw accuracy, cells written and joules of each way of writing."""
    variants = summary["writing"]
    names = list(variants)[::-1]
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    panels = (
        ("accuracy_mean", 100.0, "words right (%)", False),
        ("written_fraction_per_step", 100.0, "cells written per step (%)", True),
        ("training_joules_all_in", 1e3, "training, all in (mJ per chip)", False),
    )
    for axis, (key, scale, label, logarithmic) in zip(
        figure.subplots(1, 3, sharey=True), panels, strict=True
    ):
        values = [scale * variants[name][key] for name in names]
        axis.barh(names, values, color=COLOURS["chip"], height=0.6)
        for row, value in enumerate(values):
            axis.text(value, row, f" {value:.3g}", va="center", fontsize=8)
        axis.set_xlabel(label)
        if logarithmic:
            axis.set_xscale("log")
        axis.margins(x=0.25)
    return svg(figure)


def waterfall(rows: Sequence[Mapping[str, Any]], key: str, title: str) -> str:
    """Draw how the total of ``key`` (joules or seconds) adds up, item by item."""
    order = sorted(rows, key=lambda row: (list(DOMAINS).index(row["domain"]), -row[key]))
    order = [row for row in order if row[key] > 0]
    scale, unit = scaled(sum(row[key] for row in order), {"joules": "J", "seconds": "s"}[key])
    array = [row for row in order if row["domain"] == "array"]
    figure = Figure(figsize=(10, 0.32 * len(order) + 1.7), layout="constrained")
    axis = figure.subplots()
    names: list[str] = []
    total = 0.0

    def bar(name: str, left: float, value: float, colour: str) -> None:
        axis.barh(len(names), value, left=left, color=colour, height=0.7)
        axis.text(left + value, len(names), f" {value:.3g}", va="center", fontsize=8)
        names.append(name)

    for index, row in enumerate(order):
        bar(row["item"], total, row[key] * scale, DOMAINS[row["domain"]])
        total += row[key] * scale
        if index + 1 == len(array):
            bar("= array only", 0.0, total, "#555555")
    bar("= all in", 0.0, total, "#555555")
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.margins(x=0.1)
    axis.set(xlabel=f"{key} of one chip ({unit})", title=title)
    handles = [Rectangle((0, 0), 1, 1, color=colour) for colour in DOMAINS.values()]
    figure.legend(handles, DOMAINS, loc="outside lower center", ncols=3, frameon=False)
    return svg(figure)


def states_bar(phases: Mapping[str, Array], words: Sequence[str], title: str) -> str:
    """Draw the output of each word's unit in the free phase, and what the nudge changes in it.

    ``phases``: states ``free``, ``high`` (pulled to the target) and ``low`` (pushed away).
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    places = np.arange(len(words))
    top.bar(places, phases["free"], color="#555555")
    top.set(ylabel="free state", title=title)
    bottom.bar(places, phases["high"] - phases["low"], color=COLOURS["chip"])
    bottom.set_ylabel("difference of the\nnudged states")
    for axis in (top, bottom):
        axis.axhline(0, color="black", linewidth=0.6)
    bottom.set_xticks(places, words, rotation=90, fontsize=8)
    return svg(figure)
