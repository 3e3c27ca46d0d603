"""The page of the question whether temporal noise regularises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from madem.experiments.running.rundir import RunDirectory
from madem.report import figures

TEMPLATE = "noise.html.jinja"
READS = {"averaged": "tested with averaged reads", "noisy": "tested with the noise of training"}
COLOURS = {"test_averaged": "#1f5fa8", "test_noisy": "#3a8f4d", "train_averaged": "#d9731a"}
UNITS = {"braille": "noisy Braille words", "digits": "digits"}


def content(folder: RunDirectory, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page of a finished run shows, besides its config and summary."""
    del folder
    kinds = list(dict.fromkeys(row["data"] for row in summary["rows"]))
    return {
        "answer": answer(summary),
        "findings": [finding(row, summary["levels"]) for row in summary["rows"]],
        "drawings": {kind: curves(summary, kind) for kind in kinds},
        "gaps": gaps(summary),
        "reads": READS,
        "units": UNITS,
    }


def helps(row: Mapping[str, Any], read: str) -> bool:
    """Return whether some level of noise is better than none beyond the intervals."""
    return bool(max(row[read]["optimum"]["gain_low"][1:]) > 0)


def answer(summary: Mapping[str, Any]) -> str:
    """Say in one paragraph what was found, from the numbers alone."""
    rows = summary["rows"]
    found = []
    for read, name in READS.items():
        better = [row for row in rows if helps(row, read)]
        text = f"{name.capitalize()}, some noise in training is better than none for {len(better)} "
        text += f"of {len(rows)} training sets"
        if better:
            most = max(better, key=lambda row: max(row[read]["optimum"]["gain"]))
            gain = 100 * max(most[read]["optimum"]["gain"])
            text += f", by up to {gain:.1f} points ({most['size']} {UNITS[most['data']]})"
        found.append(text + ".")
    last = [100 * (row["averaged"]["test"][-1] - row["averaged"]["test"][0]) for row in rows]
    found.append(
        f"The most severe noise, {summary['levels'][-1]}, changes the accuracy on test data with "
        f"averaged reads by {min(last):+.1f} to {max(last):+.1f} points."
    )
    return " ".join(found)


def finding(row: Mapping[str, Any], levels: Sequence[str]) -> str:
    """Say what was found for one training set."""
    parts = []
    for read, name in READS.items():
        held = row[read]
        best, (low, high) = held["optimum"]["best"], held["optimum"]["interval"]
        gain, least, most = (
            100 * held["optimum"][key][best] for key in ("gain", "gain_low", "gain_high")
        )
        text = f"{name}, best at {levels[best]} (95 % interval {levels[low]} to {levels[high]}), "
        text += f"{100 * held['test'][best]:.1f} %"
        if best:
            text += f", {gain:+.2f} points against none ({least:+.2f} to {most:+.2f})"
        parts.append(text)
    closes = 100 * (row["averaged"]["gap"][0] - row["averaged"]["gap"][-1])
    return (
        f"{row['size']} {UNITS[row['data']]}: {'; '.join(parts)}. The gap between training and "
        f"test is {100 * row['averaged']['gap'][0]:.1f} points without noise, "
        f"and {-closes:+.1f} points on that at {levels[-1]}."
    )


def curves(summary: Mapping[str, Any], kind: str) -> str:
    """Draw accuracy against read noise, a panel a training-set size, with bands of 95 %."""
    rows = [row for row in summary["rows"] if row["data"] == kind]
    levels = [level.removesuffix(" uS") for level in summary["levels"]]
    figure = Figure(figsize=(max(5.5, 2.7 * len(rows)), 3.7), layout="constrained")
    places = np.arange(len(levels))
    panels = np.atleast_1d(figure.subplots(1, len(rows), sharey=True))
    for axis, row in zip(panels, rows, strict=True):
        for name, label in (
            ("train_averaged", "training set, averaged reads"),
            ("test_averaged", "test data, averaged reads"),
            ("test_noisy", "test data, noisy reads"),
        ):
            part, read = name.split("_")
            held, colour = row[read], COLOURS[name]
            axis.plot(places, 100 * np.array(held[part]), "o-", ms=3, color=colour, label=label)
            band = [100 * np.array(held[f"{part}_{side}"]) for side in ("low", "high")]
            axis.fill_between(places, *band, color=colour, alpha=0.2, linewidth=0)
        low, high = row["averaged"]["optimum"]["interval"]
        axis.axvspan(low - 0.25, high + 0.25, color="#1f5fa8", alpha=0.1, linewidth=0,
                     label="best level for test data, 95 %")  # fmt: skip
        axis.set(title=f"{row['size']} {UNITS[kind].split()[-1]}", xlabel="read noise (uS)")
        axis.set_xticks(places, levels)
        axis.grid(alpha=0.3)
    panels[0].set_ylabel("right (%)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figures.svg(figure)


def gaps(summary: Mapping[str, Any]) -> str:
    """Draw the gap between training and test accuracy, averaged reads, against read noise."""
    kinds = list(dict.fromkeys(row["data"] for row in summary["rows"]))
    levels = [level.removesuffix(" uS") for level in summary["levels"]]
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axis, kind in zip(np.atleast_1d(figure.subplots(1, len(kinds))), kinds, strict=True):
        for row in (row for row in summary["rows"] if row["data"] == kind):
            held = row["averaged"]
            mean = 100 * np.array(held["gap"])
            (line,) = axis.plot(mean, "o-", ms=3)
            named = (f"{row['size']} samples", (0, mean[0]))
            axis.annotate(*named, xytext=(0, 9), textcoords="offset points", fontsize=8)
            band = [100 * np.array(held[f"gap_{side}"]) for side in ("low", "high")]
            places = np.arange(len(levels))
            axis.fill_between(places, *band, color=line.get_color(), alpha=0.2, linewidth=0)
        axis.set_xticks(range(len(levels)), levels)
        axis.set(title=UNITS[kind], xlabel="read noise (uS)", ylabel="training minus test (points)")
        axis.grid(alpha=0.3)
        axis.margins(y=0.1)
    return figures.svg(figure)


def tell(summary: Mapping[str, Any], console: Console) -> None:
    """Print what was found."""
    console.print(answer(summary), highlight=False)
    for row in summary["rows"]:
        console.print(f"- {finding(row, summary['levels'])}", highlight=False)
