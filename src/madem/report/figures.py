"""The figures of a report, each drawn from a run directory's numbers and returned as SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

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


def learning_curves(metrics: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """Draw accuracy against samples seen, with spread over chips and the yardsticks as lines."""
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    axes = figure.subplots(2, 2).flat
    for axis, (name, title) in zip(axes, TITLES.items(), strict=True):
        task, depth = name.split(".")
        part, result = summary["tasks"][task][depth], metrics[name]
        steps = np.array([step for step, _ in result["curve"]])
        chips = 100 * np.array([values for _, values in result["curve"]])
        samples = steps * (result["samples"] / steps[-1]) / 1000
        mean, low, high = chips.mean(1), chips.min(1), chips.max(1)
        axis.fill_between(samples, low, high, color=COLOURS["chip"], alpha=0.2, linewidth=0)
        axis.plot(samples, mean, color=COLOURS["chip"], label=NAMES["chip"] + " (band: all chips)")
        for key in ("bayes", "backprop", "ex_situ", "untrained"):
            axis.axhline(
                100 * part[key], color=COLOURS[key], linestyle=STYLES[key], label=NAMES[key]
            )
        unit = "words right" if task == "classify" else "whole words right"
        axis.set(title=title, ylim=(0, 103), ylabel=f"{unit} (%)", xlim=(0, samples[-1]))
        axis.set_xlabel("training words seen by each chip (thousands)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return svg(figure)


def accuracy_by_flip(
    metrics: Mapping[str, Any], summary: Mapping[str, Any], task: str
) -> str:
    """Draw accuracy against the flip probability for both depths of ``task``."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for axis, depth in zip(figure.subplots(1, 2, sharey=True), ("one_layer", "two_layer"), strict=True):
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
            flips, mean, spread, color=COLOURS["chip"], marker="o", markersize=4, capsize=3,
            label=NAMES["chip"] + " (mean, standard deviation)",
        )
        trained = summary["tasks"][task][depth]["flip_probability"]
        axis.axvline(trained, color="#cccccc", linewidth=6, zorder=0, label="flips in training")
        axis.set(title=TITLES[name], xlabel="probability that a dot is flipped", ylim=(0, 103))
    figure.axes[0].set_ylabel("words right (%)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return svg(figure)


def conductances(before: Array, after: Array, title: str) -> str:
    """Draw both arrays of the first chip, in microsiemens, before and after training."""
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    axes = figure.subplots(1, 4)
    scale = Normalize(0, 1e6 * float(np.nanmax([np.nanmax(before), np.nanmax(after)])))
    image = None
    for column, axis in enumerate(axes):
        when, array = ("before", before) if column < 2 else ("after", after)
        image = axis.imshow(
            1e6 * array[column % 2], cmap="viridis", norm=scale, interpolation="nearest"
        )
        axis.set_title(f"array {column % 2 + 1}, {when}", fontsize=10, fontweight="normal")
        axis.set(xticks=[0, 63], yticks=[0, 63], facecolor="#eeeeee")
        axis.spines[:].set_visible(True)
    axes[0].set_ylabel("driven line")
    figure.supxlabel("sensed line", fontsize=10)
    figure.suptitle(title, fontweight="bold", fontsize=11, x=0.01, ha="left")
    figure.colorbar(image, ax=axes, label="conductance (uS)", shrink=0.85)
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
    columns = len(words)
    figure = Figure(figsize=(3.9 * columns, 0.75 * len(rows) + 0.6), layout="constrained")
    for column, (axis, word) in enumerate(zip(np.atleast_1d(figure.subplots(1, columns)), words, strict=True)):
        for index, (label, values, scale) in enumerate(rows):
            height = -3.6 * index
            braille_row(axis, values[column], height, scale)
            if column == 0:
                axis.text(-1.0, height - 0.9, label, ha="right", va="center", fontsize=9)
        axis.set(xlim=(-0.8, 26), ylim=(-3.6 * len(rows) + 1.2, 0.8), aspect="equal", title=word)
        axis.axis("off")
    figure.suptitle(title, fontweight="bold", fontsize=11, x=0.01, ha="left")
    return svg(figure)


def confusion(counts: Array, words: Sequence[str], title: str) -> str:
    """Draw how often each word was taken for each other, in per cent of its showings."""
    share = 100 * counts / counts.sum(1, keepdims=True)
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
        ("written_fraction_per_step", 100.0, "cells written a step (%)", True),
        ("training_joules_all_in", 1e6, "training, all in (uJ a chip)", True),
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
    scale, unit = _scale(sum(row[key] for row in order), {"joules": "J", "seconds": "s"}[key])
    figure = Figure(figsize=(10, 0.34 * len(order) + 1.2), layout="constrained")
    axis = figure.subplots()
    total = 0.0
    for index, row in enumerate(order):
        value = row[key] * scale
        axis.barh(index, value, left=total, color=DOMAINS[row["domain"]], height=0.7)
        total += value
        axis.text(total, index, f" {value:.3g}", va="center", fontsize=8)
    axis.barh(len(order), total, color="#555555", height=0.7)
    axis.text(total, len(order), f" {total:.3g}", va="center", fontsize=8)
    axis.set_yticks(range(len(order) + 1), [*[row["item"] for row in order], "all in"])
    axis.invert_yaxis()
    axis.margins(x=0.1)
    axis.set(xlabel=f"{key} of one chip ({unit})", title=title)
    for domain, colour in DOMAINS.items():
        axis.barh(0, 0, color=colour, label=domain)
    axis.legend(loc="lower left", frameon=False, ncols=3, fontsize=8)
    return svg(figure)


def _scale(value: float, unit: str) -> tuple[float, str]:
    """Return factor and unit that make ``value`` a number to read.

    >>> _scale(3e-6, "J")
    (1000000.0, 'uJ')
    """
    for factor, prefix in ((1.0, ""), (1e3, "m"), (1e6, "u"), (1e9, "n"), (1e12, "p")):
        if value * factor >= 1:
            return factor, prefix + unit
    return 1e12, "p" + unit


def states_bar(phases: Mapping[str, Array], words: Sequence[str], title: str) -> str:
    """Draw the outputs of one shown word in the free and both nudged phases, a bar a word."""
    figure = Figure(figsize=(10, 2.8), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(words))
    shades = {"pushed away": "#d9731a", "free": "#555555", "pulled to the target": "#1f5fa8"}
    for offset, (name, values) in zip((-0.27, 0.0, 0.27), phases.items(), strict=True):
        axis.bar(places + offset, values, width=0.27, color=shades[name], label=name)
    axis.axhline(0, color="black", linewidth=0.6)
    axis.set_xticks(places, words, rotation=90, fontsize=8)
    axis.set(ylabel="output state", title=title)
    axis.legend(frameon=False, ncols=3, fontsize=8)
    return svg(figure)

