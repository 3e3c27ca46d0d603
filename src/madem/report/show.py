"""Figures of a circuit at work: the maps of its arrays, and its states as they settle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from madem.inspect.circuits import Phase
from madem.inspect.maps import Map
from madem.report.figures import COLOURS, legended
from madem.report.figures import TITLES as NETWORKS
from madem.units import si

TITLES = {
    "free": "free, from rest",
    "positive": "nudged to the target",
    "negative": "nudged away from it",
}
LINES = 40
"""Traces drawn of a layer, those that move most."""


def crossbar_figure(maps: Sequence[Map], title: str) -> Figure:
    """Return conductances, voltages, currents and IR drop of every array, a row each."""
    figure = Figure(figsize=(13, 3.3 * len(maps) + 0.5), layout="constrained")
    grid = figure.subplots(len(maps), 4, squeeze=False)
    for row, one in zip(grid, maps, strict=True):
        volts, amperes = 1e3 * one.across, 1e6 * one.current
        _image(row[0], 1e6 * one.g, "viridis", None, "conductance (uS)")
        _image(row[1], volts, "RdBu_r", float(np.abs(1e3 * one.driven).max()), "across cells (mV)")
        _image(row[2], amperes, "RdBu_r", float(np.abs(amperes).max()), "current of cells (uA)")
        row[0].set_ylabel(f"{one.name}\nword line, driven at the left")
        if one.wires is None:
            row[3].text(0.5, 0.5, "ideal wires:\nno drop", ha="center", va="center",
                        transform=row[3].transAxes)  # fmt: skip
            row[3].set(xticks=[], yticks=[])
            row[3].spines[:].set_visible(False)
            continue
        _image(row[3], 1e3 * one.drop, "magma_r", None, "taken by wires (mV)")
        row[3].set_xlabel(f"at most {1e3 * one.drop.max():.2g} mV of "
                          f"{1e3 * np.abs(one.driven).max():.3g} mV driven")  # fmt: skip
    for axis in grid[-1][:3]:
        axis.set_xlabel("bit line, sensed at the bottom")
    figure.suptitle(title, fontweight="bold", x=0.01, ha="left")
    return figure


def _title(phase: str) -> str:
    """Return what a phase is called; a strength other than beta stands behind its name."""
    name, _, strength = phase.partition(" ")
    return f"{TITLES[name]}{f', {strength} beta' if strength else ''}"


def _image(axis: Axes, values: np.ndarray, colours: str, both: float | None, label: str) -> None:
    """Draw one map; ``both``: largest value of a scale around zero."""
    low = -both if both else min(0.0, float(values.min()))
    image = axis.imshow(values, cmap=colours, vmin=low, vmax=both, interpolation="nearest",
                        aspect="auto")  # fmt: skip
    axis.set_title(label, fontsize=10, fontweight="normal")
    axis.spines[:].set_visible(True)
    axis.figure.colorbar(image, ax=axis, shrink=0.9)


def settling_figure(phases: Sequence[Phase], title: str) -> Figure:
    """Return the states of every layer against time: free, then what each nudge moves them by."""
    layers = len(phases[0].layers)
    figure = Figure(figsize=(13, 2.6 * layers + 0.8), layout="constrained")
    grid = figure.subplots(layers, len(phases), squeeze=False)
    for column, phase in enumerate(phases):
        end = max(1.3 * phase.settled, 0.6 * float(phase.times[-1]))
        for layer, axis in enumerate(grid[:, column]):
            _traces(axis, phase, phase.layers[layer], moved=column > 0)
            axis.set_xlim(0, 1e9 * end)
        grid[0][column].set_title(_title(phase.name))
        text = f"settled after {1e9 * phase.settled:.3g} ns"
        text += f", {phase.switchings} switchings" if phase.switchings else ""
        grid[-1][column].set_xlabel(f"time (ns); {text}")
    for layer in range(layers):
        grid[layer][0].set_ylabel(f"layer {layer + 1}: state")
        if len(phases) > 1:
            grid[layer][1].set_ylabel("moved from the free state by")
    figure.suptitle(title, fontweight="bold", x=0.01, ha="left")
    return figure


def times_figure(
    times: Mapping[str, Mapping[str, np.ndarray]], seconds: Mapping[str, Mapping[str, float]]
) -> Figure:
    """Return the share of inputs settled against time, for both phases of every network.

    ``times``, s, of all inputs and chips by network and phase; ``seconds``: how long the ledger
    lets each phase last.
    """
    figure = Figure(figsize=(13, 3.3), layout="constrained")
    axes = figure.subplots(1, len(times), sharey=True, squeeze=False)[0]
    for axis, (name, phases) in zip(axes, times.items(), strict=True):
        for (phase, values), key in zip(phases.items(), ("chip", "backprop"), strict=True):
            ordered = np.sort(1e9 * values.ravel())
            share = 100 * np.arange(1, len(ordered) + 1) / len(ordered)
            axis.step(ordered, share, where="post", color=COLOURS[key], label=phase)
            axis.axvline(1e9 * seconds[name][phase], color=COLOURS[key], linestyle="--",
                         linewidth=1, label=f"how long {phase} lasts")  # fmt: skip
        lasts = ", ".join(f"{phase} {1e9 * t:.3g}" for phase, t in seconds[name].items())
        axis.set(title=NETWORKS[name], xlim=(0, None), ylim=(0, 101))
        axis.set_xlabel(f"time (ns); lasts: {lasts} ns", fontsize=9)
    axes[0].set_ylabel("inputs settled (%)")
    return legended(figure, 4)


KINDS = {"settles": "chip", "is converted": "backprop", "gradient": "ex_situ", "up": "untrained"}
"""How a span is coloured, by the end of what it is."""


def timeline_figure(spans: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Return what a sample of training takes, one thing after another, for every network."""
    figure = Figure(figsize=(13, 3.4 * ((len(spans) + 1) // 2)), layout="constrained")
    axes = figure.subplots((len(spans) + 1) // 2, 2, squeeze=False).ravel()
    for axis, (name, steps) in zip(axes, spans.items(), strict=False):
        shown = 1e9 * steps[-1]["start"]
        for row, step in enumerate(steps):
            colour = next(key for word, key in KINDS.items() if step["what"].endswith(word))
            start, length = 1e9 * step["start"], 1e9 * step["seconds"]
            axis.barh(row, length, left=start, color=COLOURS[colour], height=0.7)
            end, text = start + length, f" {length:.4g} ns, {si(step['joules'], 'J')}"
            late = end > shown
            axis.text(start if late else end, row, text + (" " if late else ""), va="center",
                      ha="right" if late else "left", fontsize=8)  # fmt: skip
        axis.set(title=NETWORKS[name], xlim=(0, 1.3 * shown), xlabel="time (ns)")
        axis.set_yticks(range(len(steps)), [step["what"] for step in steps], fontsize=8)
        axis.invert_yaxis()
    for axis in axes[len(spans) :]:
        axis.axis("off")
    return figure


def by_phase_figure(cuts: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Return what trained chips read where the phase ends sooner, against the joules of a read."""
    figure = Figure(figsize=(13, 3.3), layout="constrained")
    axes = figure.subplots(1, len(cuts), sharey=True, squeeze=False)[0]
    for axis, (name, rows) in zip(axes, cuts.items(), strict=True):
        right = [100 * row["accuracy"] for row in rows]
        for scope, key in (("array_only", "chip"), ("all_in", "backprop")):
            joules = [1e12 * row[scope] for row in rows]
            axis.errorbar(joules, right, [100 * row["spread"] for row in rows], marker="o",
                          markersize=4, color=COLOURS[key],
                          label=scope.replace("_", " "))  # fmt: skip
        for row, share in list(zip(rows, right, strict=True))[::2]:
            axis.annotate(f"{1e9 * row['seconds']:.3g} ns", (1e12 * row["array_only"], share),
                          fontsize=7, textcoords="offset points", xytext=(3, -9))  # fmt: skip
        axis.set(title=NETWORKS[name], xscale="log", ylim=(0, 104))
        axis.set_xlabel("joules of a word read (pJ)", fontsize=9)
    axes[0].set_ylabel("words right (%)")
    return legended(figure, 2)


def _traces(axis: Axes, phase: Phase, states: np.ndarray, moved: bool) -> None:
    """Draw the units of a layer that move most, and when all have settled."""
    drawn = states - states[0] if moved else states
    most = np.argsort(-np.ptp(drawn, axis=0), kind="stable")[:LINES]
    axis.plot(1e9 * phase.times, drawn[:, most], linewidth=0.8, alpha=0.8, color=COLOURS["chip"])
    axis.axvline(1e9 * phase.settled, color=COLOURS["backprop"], linestyle="--", linewidth=1.2)
    axis.axhline(0, color="#cccccc", linewidth=0.6, zorder=0)
