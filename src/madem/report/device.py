"""Figures and pages of devices: a preset as it is simulated, and a fit beside its data.

The device folder says what there is to see (curves, parameters); here it is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from madem.device import Preset
from madem.device.fitting import Curve, Fit
from madem.report.figures import svg
from madem.report.page import render

DOT, BAND, MEAN = "#1f5fa8", "#1f5fa8", "#d9731a"
CELLS = ("#7aa6d1", "#8fbf9f", "#c9a6d9", "#b8b37a", "#9aa0a6")


def panels(curves: Sequence[Curve], title: str) -> str:
    """Return an SVG of all ``curves``, two per row."""
    rows = (len(curves) + 1) // 2
    figure = Figure(figsize=(10, 3.3 * rows + 0.3), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(rows, 2)).flat)
    for axis, curve in zip(axes, curves, strict=False):
        draw_panel(axis, curve)
    for axis in axes[len(curves) :]:
        axis.axis("off")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=12, parse_math=False)
    return svg(figure)


def draw_panel(axis: Axes, curve: Curve) -> None:
    """Draw one panel: single cells thin, means thick."""
    if curve.band is not None and (curve.band[2] - curve.band[1]).max() > 1e-9:
        axis.fill_between(*curve.band, color=BAND, alpha=0.15, linewidth=0, label="two sigma")
    for name, (x, y) in curve.dots.items():
        size = 10 if len(x) < 300 else 3
        axis.scatter(x, y, s=size, color=DOT, alpha=0.5, linewidths=0, label=name, rasterized=False)
    cells = [name for name in curve.lines if name.startswith("cell ")]
    for name, (x, y) in curve.lines.items():
        if name in cells:
            label = f"{len(cells)} cells" if name == cells[0] else None
            colour = CELLS[cells.index(name) % len(CELLS)]
            axis.plot(x, y, color=colour, linewidth=0.8, label=label)
        else:
            axis.plot(x, y, color=MEAN, linewidth=1.8, label=name)
    axis.set(xlabel=curve.x, ylabel=curve.y)
    axis.set_title(curve.title, parse_math=False)  # a device's name is no formula
    if curve.logarithmic:
        axis.set_xscale("log")
    if curve.y.startswith("sigma"):
        axis.set_ylim(bottom=0)
    low, high = axis.get_ylim()
    if high - low < 1e-6:
        axis.set_ylim(low - 0.5, high + 0.5)
    axis.legend(fontsize=7, frameon=False)


def show_page(shown: Preset, curves: Sequence[Curve]) -> str:
    """Return the page of a preset: every number with its source, and its figures."""
    return render("device.show.html.jinja", {"shown": shown, "drawing": panels(curves, "")})


def fit_page(fit: Fit, files: Sequence[str], preset: str) -> str:
    """Return the page of a fit: parameters, candidates, goodness, data against model."""
    drawing = panels(fit.curves, "")
    content = {"fit": fit, "files": files, "preset": preset, "drawing": drawing}
    return render("device.fit.html.jinja", content)
