"""The page of the Monte Carlo over chips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from madem.experiments.running.rundir import RunDirectory
from madem.experiments.variability.results import Curve, VariabilityResults
from madem.report import figures
from madem.report.page import points

WAYS = {"in_situ": "trained on the chip", "ex_situ": "programmed once"}
COLOURS = {"in_situ": figures.COLOURS["chip"], "ex_situ": figures.COLOURS["ex_situ"]}
FLAWS = {
    "defects": "stuck cells",
    "spread": "spread of the largest conductance",
    "damage": "cells that die half-way",
}


def content(folder: RunDirectory, found: VariabilityResults) -> dict[str, Any]:
    """Return what the page of a finished run shows, besides its config and results."""
    del folder
    damage, panels = found.flaws["damage"], {key: panel(key) for key in found.forgetting.curves}
    named = {title: found.forgetting.curves[key] for key, title in panels.items()}
    return {
        "yields": yields(found),
        "recovery": curves({"Cells die half-way": damage.in_situ.curve}, damage.levels),
        "forgetting": curves(named, found.forgetting.levels),
        "ways": WAYS,
        "flaws": FLAWS,
        "panels": panels,
        "said": said(found),
    }


def said(found: VariabilityResults) -> list[str]:
    """Return what was found in words: each flaw, recovery and forgetting."""
    words = [yield_words(found, name) for name in FLAWS]
    return [*words, recovery_words(found), forgetting_words(found)]


def panel(key: str) -> str:
    """Say which estimator and phase ``key`` means.

    >>> panel("centred.nudged")
    'centred, nudged states off'
    """
    estimator, phase = key.split(".")
    return f"{estimator}, {phase} states off"


def yield_words(found: VariabilityResults, name: str) -> str:
    """Say up to which level of a flaw half of the chips are good."""
    flaw, parts = found.flaws[name], []
    for key, title in WAYS.items():
        way = getattr(flaw, key)
        share, low, high = (100 * value for value in way.good[0])
        begin, *_, end = way.curve.mean[-1]
        most = "at no level half of them"
        if way.most is not None:
            most = f"at least half up to {100 * way.most:.0f} %"
        parts.append(
            f"{title.capitalize()}, {share:.0f} % of the chips without it are good ({low:.0f} to "
            f"{high:.0f} %) and {most}; the mean accuracy {moved(begin, end)} %"
        )
    return f"{FLAWS[name].capitalize()}, up to {100 * flaw.levels[-1]:.0f} %. {'. '.join(parts)}."


def moved(begin: float, end: float) -> str:
    """Say how a share goes from one level to another, in the digits that are shown.

    >>> moved(0.978, 0.98), moved(0.9801, 0.9799)
    ('rises from 97.8 to 98.0', 'stays at 98.0')
    """
    first, last = (round(100 * value, 1) for value in (begin, end))
    if first == last:
        return f"stays at {last:.1f}"
    return f"{'falls' if last < first else 'rises'} from {first:.1f} to {last:.1f}"


def recovery_words(found: VariabilityResults) -> str:
    """Say what damage costs and what training on brings back."""
    part, texts = found.flaws["damage"], []
    trained, fixed = (
        100 * np.array(part.in_situ.curve.mean),
        100 * np.array(part.ex_situ.curve.mean),
    )
    for k, level in enumerate(part.levels[1:], 1):
        before, just, after = trained[[*part.looks, -1], k]
        back = part.back[k]
        loss = "nothing was lost"
        if back is not None:
            loss = f"{100 * min(max(back, 0.0), 1.0):.0f} % of the loss comes back"
        texts.append(
            f"{100 * level:.0f} % dead: {before:.1f} %, then {just:.1f} %, and {after:.1f} % after "
            f"training on ({loss}); programmed once {fixed[0, k]:.1f} %, then {fixed[1, k]:.1f} % "
            "for good"
        )
    return "; ".join(texts) + "."


def forgetting_words(found: VariabilityResults) -> str:
    """Say how much each way of measuring forgets at the smallest and the largest offset."""
    part, texts = found.forgetting, []
    for key, change in part.change.items():
        ends = dict.fromkeys((1, len(part.levels) - 1))
        told = [f"{points(change[k])} points at an offset of {part.levels[k]:g}" for k in ends]
        texts.append(f"{panel(key)}: {' and '.join(told)} ({points(change[0])} at none)")
    return f"In {next(iter(part.curves.values())).step[-1]} batches: {'; '.join(texts)}."


def yields(found: VariabilityResults) -> str:
    """Draw yield and mean accuracy against each flaw, trained and programmed."""
    figure = Figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplots(2, len(FLAWS), sharex="col", sharey="row")
    style: dict[str, Any] = {"fmt": "o-", "ms": 4, "capsize": 3}
    for (above, below), (name, title) in zip(axes.T, FLAWS.items(), strict=True):
        levels = 100 * np.array(found.flaws[name].levels)
        for key, label in WAYS.items():
            way, colour = getattr(found.flaws[name], key), COLOURS[key]
            share, low, high = 100 * np.array(way.good).T
            mean, spread = (100 * np.array(side[-1]) for side in (way.curve.mean, way.curve.sd))
            errors = (share - low, high - share)
            above.errorbar(levels, share, errors, color=colour, label=label, **style)
            below.errorbar(levels, mean, spread, color=colour, **style)
        below.axhline(100 * found.target, color="#222222", linestyle=":")
        below.set_xlabel(f"{title} (%)")
    axes[0, 0].set_ylabel(f"chips above {100 * found.target:g} % (%)")
    axes[1, 0].set_ylabel("right (%)")
    return finished(figure, 2)


def finished(figure: Figure, columns: int) -> str:
    """Return ``figure`` with grids, and the legend of its first axes below."""
    for axis in figure.axes:
        axis.grid(alpha=0.3)
    return figures.svg(figures.legended(figure, columns))


def curves(panels: Mapping[str, Curve], levels: Sequence[float]) -> str:
    """Draw accuracy over steps, a line for each level, in panels side by side."""
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.8 * columns, 0.8 + 2.7 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis, (title, curve) in zip(axes.flat, panels.items(), strict=True):
        mean, spread = 100 * np.array(curve.mean), 100 * np.array(curve.sd)
        for k, level in enumerate(levels):
            colour = mpl.colormaps["viridis_r"](0.1 + 0.85 * k / (len(levels) - 1))
            axis.plot(curve.step, mean[:, k], color=colour, label=f"{level:g}")
            band = mean[:, k] - spread[:, k], mean[:, k] + spread[:, k]
            axis.fill_between(curve.step, *band, color=colour, alpha=0.15, linewidth=0)
        axis.set(title=title, xlabel="batches", ylabel="right (%)")
        axis.label_outer()
    return finished(figure, len(levels))


def tell(found: VariabilityResults, console: Console) -> None:
    """Print what was found."""
    for text in said(found):
        console.print(f"- {text}", highlight=False)
