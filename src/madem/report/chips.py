"""The page of the Monte Carlo over chips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from madem.experiments.running.rundir import RunDirectory
from madem.report import figures

TEMPLATE = "chips.html.jinja"
WAYS = {"in situ": "trained on the chip", "ex situ": "programmed once"}
COLOURS = {"in situ": figures.COLOURS["chip"], "ex situ": figures.COLOURS["ex_situ"]}
FLAWS = {"defects": "stuck cells", "spread": "spread of the largest conductance"}
PANELS = {
    "centred.nudged": "centred, nudged states off",
    "centred.free": "centred, free states off",
    "one-sided.nudged": "one-sided, nudged states off",
    "one-sided.free": "one-sided, free states off",
}


def content(folder: RunDirectory, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page of a finished run shows, besides its config and summary."""
    del folder
    return {
        "yields": yields(summary),
        "recovery": recovery(summary),
        "forgetting": forgetting(summary),
        "ways": WAYS,
        "flaws": FLAWS,
        "panels": PANELS,
        "words": {
            "yields": [yield_words(summary, name) for name in FLAWS],
            "recovery": recovery_words(summary),
            "forgetting": forgetting_words(summary),
        },
    }


def largest_with(levels: Sequence[float], shares: Sequence[Sequence[float]]) -> float | None:
    """Return the largest level up to which at least half of the chips are good.

    >>> largest_with([0.0, 0.1, 0.2], [[1.0], [0.6], [0.1]])
    0.1
    """
    found = None
    for level, (share, *_) in zip(levels, shares, strict=True):
        if share < 0.5:
            break
        found = level
    return found


def yield_words(summary: Mapping[str, Any], name: str) -> str:
    """Say up to which level of a flaw half of the chips are good."""
    part, parts = summary["yield"][name], []
    for way, title in WAYS.items():
        most = largest_with(part["levels"], part[way]["yield"])
        share, low, high = part[way]["yield"][0]
        text = f"{title.capitalize()}, {100 * share:.0f} % of the chips without it are good "
        text += f"({100 * low:.0f} to {100 * high:.0f} %) and "
        text += (
            "at no level half of them"
            if most is None
            else f"at least half up to {100 * most:.0f} %"
        )
        ends = [100 * part[way]["mean"][k] for k in (0, -1)]
        parts.append(f"{text}; the mean accuracy falls from {ends[0]:.1f} to {ends[1]:.1f} %")
    top = 100 * part["levels"][-1]
    return f"{FLAWS[name].capitalize()}, up to {top:.0f} %. {'. '.join(parts)}."


def recovery_words(summary: Mapping[str, Any]) -> str:
    """Say what damage costs and what training on brings back."""
    part, texts = summary["recovery"], []
    for k, level in enumerate(part["levels"]):
        if not level:
            continue
        before, just, after = (100 * part[key][k] for key in ("before", "just_after", "after"))
        fixed = [100 * part["ex_situ"][when][k] for when in ("before", "after")]
        back = (after - just) / (before - just) if before > just else float("nan")
        texts.append(
            f"{100 * level:.0f} % dead: {before:.1f} %, then {just:.1f} %, and {after:.1f} % after "
            f"training on ({100 * back:.0f} % of the loss comes back); programmed once "
            f"{fixed[0]:.1f} %, then {fixed[1]:.1f} % for good"
        )
    return "; ".join(texts) + "."


def forgetting_words(summary: Mapping[str, Any]) -> str:
    """Say how much each way of measuring forgets at the smallest and the largest offset."""
    part, texts = summary["forgetting"], []
    for key, title in PANELS.items():
        begin, end = (100 * np.array(part[key]["mean"][k]) for k in (0, -1))
        control = end[0] - begin[0]
        texts.append(
            f"{title}: {end[1] - begin[1]:+.1f} points at an offset of {part['levels'][1]:g} and "
            f"{end[-1] - begin[-1]:+.1f} at {part['levels'][-1]:g} ({control:+.1f} at none)"
        )
    steps = part["centred.nudged"]["step"]
    return f"In {steps[-1] - steps[0]} batches: {'; '.join(texts)}."


def yields(summary: Mapping[str, Any]) -> str:
    """Draw yield and mean accuracy against each flaw, trained and programmed."""
    figure = Figure(figsize=(9.6, 6), layout="constrained")
    axes = figure.subplots(2, 2, sharex="col", sharey="row")
    for column, (name, title) in enumerate(FLAWS.items()):
        part = summary["yield"][name]
        levels = 100 * np.array(part["levels"])
        for way, label in WAYS.items():
            share, low, high = 100 * np.array(part[way]["yield"]).T
            axes[0, column].errorbar(levels, share, (share - low, high - share), fmt="o-", ms=4,
                                     capsize=3, color=COLOURS[way], label=label)  # fmt: skip
            mean, spread = (100 * np.array(part[way][key]) for key in ("mean", "sd"))
            axes[1, column].errorbar(levels, mean, spread, fmt="o-", ms=4, capsize=3,
                                     color=COLOURS[way])  # fmt: skip
        axes[1, column].axhline(100 * summary["target"], color="#222222", linestyle=":")
        axes[1, column].set_xlabel(f"{title} (%)")
        axes[0, column].set_title(f"Yield against {title}")
        for axis in axes[:, column]:
            axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel(f"chips above {100 * summary['target']:g} % (%)")
    axes[1, 0].set_ylabel("words right (%)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figures.svg(figure)


def shades(count: int) -> list[Any]:
    """Return ``count`` colours from light to dark."""
    return [mpl.colormaps["viridis_r"](0.1 + 0.85 * k / max(1, count - 1)) for k in range(count)]


def recovery(summary: Mapping[str, Any]) -> str:
    """Draw accuracy over training through the damage, and beside it before, after, at the end."""
    part = summary["recovery"]
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    mean = 100 * np.array(part["curve"]["mean"])
    learned = next(k for k, row in enumerate(mean) if row.min() > mean[-1].min() / 2)
    colours = shades(len(part["levels"]))
    for k, (level, colour) in enumerate(zip(part["levels"], colours, strict=True)):
        label = f"{100 * level:g} % die"
        left.plot(part["curve"]["step"], mean[:, k], "o-", ms=3, color=colour, label=label)
        trained = [100 * part[key][k] for key in ("before", "just_after", "after")]
        right.plot(range(3), trained, "o-", ms=4, color=colour)
        fixed = [100 * part["ex_situ"][when][k] for when in ("before", "after", "after")]
        right.plot(range(3), fixed, "s:", ms=4, color=colour, mfc="none")
    right.plot([], [], "ko-", ms=4, label=WAYS["in situ"])
    right.plot([], [], "ks:", ms=4, mfc="none", label=WAYS["ex situ"])
    left.axvline(part["half"], color="#999999", linestyle="--")
    lowest = min(mean[learned:].min(), 100 * min(part["ex_situ"]["after"]))
    left.set(xlabel="batches", ylabel="words right (%)", title="Cells die half-way",
             ylim=(lowest - 3, 101))  # fmt: skip
    right.set_xticks(range(3), ["before", "just after", "trained on"])
    right.set_title("Recovery")
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, fontsize=8, loc="best")
    return figures.svg(figure)


def forgetting(summary: Mapping[str, Any]) -> str:
    """Draw accuracy of trained chips that learn on with a measurement that is off."""
    part = summary["forgetting"]
    figure = Figure(figsize=(9.6, 6), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    for axis, (key, title) in zip(axes.flat, PANELS.items(), strict=True):
        steps = np.array(part[key]["step"]) - part[key]["step"][0]
        mean, spread = (100 * np.array(part[key][name]) for name in ("mean", "sd"))
        for k, colour in enumerate(shades(len(part["levels"]))):
            axis.plot(steps, mean[:, k], color=colour, label=f"offset {part['levels'][k]:g}")
            band = mean[:, k] - spread[:, k], mean[:, k] + spread[:, k]
            axis.fill_between(steps, *band, color=colour, alpha=0.15, linewidth=0)
        axis.set_title(title)
        axis.grid(alpha=0.3)
    for axis in axes[1]:
        axis.set_xlabel("batches learned on")
    for axis in axes[:, 0]:
        axis.set_ylabel("words right (%)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center",
                  ncols=len(part["levels"]))  # fmt: skip
    return figures.svg(figure)


def tell(summary: Mapping[str, Any], console: Console) -> None:
    """Print what was found."""
    for text in (
        *(yield_words(summary, name) for name in FLAWS),
        recovery_words(summary),
        forgetting_words(summary),
    ):
        console.print(f"- {text}", highlight=False)
