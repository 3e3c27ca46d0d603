"""The page of the question whether temporal noise regularises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from madem.experiments.noise.results import Band, NoiseResults, Row
from madem.experiments.running.rundir import RunDirectory
from madem.report import figures
from madem.report.page import points

READS = {"averaged": "tested with averaged reads", "noisy": "tested with the noise of training"}
CURVES = (
    ("averaged", "training", "#d9731a", "training set, averaged reads"),
    ("averaged", "test", "#1f5fa8", "test data, averaged reads"),
    ("noisy", "test", "#3a8f4d", "test data, noisy reads"),
)


def content(folder: RunDirectory, found: NoiseResults) -> dict[str, Any]:
    """Return what the page of a finished run shows, besides its config and results."""
    del folder
    return {
        "answer": answer(found),
        "findings": [finding(row, found.levels) for row in found.rows],
        "drawing": curves(found),
    }


def answer(found: NoiseResults) -> str:
    """Say in one paragraph what was found, from the numbers alone."""
    told = []
    for read, name in READS.items():
        better = [row for row in found.rows if getattr(row, read).optimum.helps]
        text = f"{name.capitalize()}, some noise in training is "
        if len(found.rows) == 1:
            text += "better than none" if better else "no better than none"
        else:
            text += f"better than none at {len(better) or 'none'} of {len(found.rows)} sizes"
        gains = {row.size: max(getattr(row, read).optimum.gain.mean) for row in better}
        if gains:
            most = max(gains, key=lambda size: gains[size])
            text += f", by up to {100 * gains[most]:.1f} points ({most} samples)"
        told.append(text + ".")
    last = [row.averaged.optimum.gain.mean[-1] for row in found.rows]
    ends = dict.fromkeys((points(min(last)), points(max(last))))
    told.append(
        f"The most severe noise, {found.levels[-1]}, changes the accuracy on test data with "
        f"averaged reads by {' to '.join(ends)} points."
    )
    return " ".join(told)


def finding(row: Row, levels: Sequence[str]) -> str:
    """Say what was found for one training set."""
    parts = []
    for read, name in READS.items():
        held = getattr(row, read)
        best, (low, high), gain = held.optimum.best, held.optimum.interval, held.optimum.gain
        ends = dict.fromkeys((levels[low], levels[high]))
        text = f"{name}, best at {levels[best]} (95 % interval {' to '.join(ends)}), "
        text += f"{100 * held.test.mean[best]:.1f} %"
        if best:
            mean, least, most = (100 * each[best] for each in (gain.mean, gain.low, gain.high))
            text += f", {mean:+.2f} points against none ({least:+.2f} to {most:+.2f})"
        parts.append(text)
    without, most = (points(row.averaged.gap.mean[k]).lstrip("+") for k in (0, -1))
    return (
        f"{row.size} samples: {'; '.join(parts)}. The gap between training and test is "
        f"{without} points without noise, and {most} points at {levels[-1]}."
    )


def drawn(axis: Axes, held: Band, levels: Sequence[str], colour: str, label: str) -> None:
    """Draw a mean in per cent against the level of noise, with its interval."""
    axis.plot(100 * np.array(held.mean), "o-", ms=3, color=colour, label=label)
    low, high = (100 * np.array(side) for side in (held.low, held.high))
    axis.fill_between(range(len(low)), low, high, color=colour, alpha=0.2, linewidth=0)
    axis.set_xticks(range(len(levels)), levels, rotation=90)
    axis.grid(alpha=0.3)


def curves(found: NoiseResults) -> str:
    """Draw accuracy, and the gap between training and test, against read noise, by size."""
    figure = Figure(figsize=(max(5.5, 2.7 * len(found.rows)), 6), layout="constrained")
    axes = figure.subplots(2, len(found.rows), sharex=True, sharey="row", squeeze=False)
    for (above, below), row in zip(axes.T, found.rows, strict=True):
        for read, part, colour, label in CURVES:
            drawn(above, getattr(getattr(row, read), part), found.levels, colour, label)
        low, high = row.averaged.optimum.interval
        above.axvspan(low - 0.25, high + 0.25, color="#1f5fa8", alpha=0.1, linewidth=0,
                      label="best level for test data, 95 %")  # fmt: skip
        above.set_title(f"{row.size} samples")
        drawn(below, row.averaged.gap, found.levels, "#222222", "gap")
        below.set_xlabel("read noise")
    axes[0, 0].set_ylabel("right (%)")
    axes[1, 0].set_ylabel("training minus test (points)")
    return figures.svg(figures.legended(figure, 2))


def tell(found: NoiseResults, console: Console) -> None:
    """Print what was found."""
    console.print(answer(found), highlight=False)
    for row in found.rows:
        console.print(f"- {finding(row, found.levels)}", highlight=False)
