"""The page of the detector that keeps learning beside the beam."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure
from rich.console import Console

from madem.beam.scene import WANTED, Scene
from madem.beam.sources import Frame
from madem.beam.sources.simulated import Simulated
from madem.experiments.detector.config import DetectorConfig
from madem.experiments.detector.results import DetectorResults, Shown
from madem.experiments.detector.strategies import STRATEGIES
from madem.experiments.running.rundir import RunDirectory
from madem.report import figures
from madem.report.page import share, tell_claims, told, valued

COLOURS = {
    "running": "#d9731a", "quantile": "#e8b04b",
    "frozen": "#999999", "normalised": "#8a63b0", "product": "#1f5fa8",
    "alarmed": "#5fa8d9", "digital": "#222222", "hindsight": "#3a8f4d",
}  # fmt: skip
COUNTERS = ("counter", "running", "quantile", "labelled")
DRAWN = ("frozen", "running", "quantile", "normalised", "product", "hindsight")
"""The strategies of the curves."""
COURSES = ("all", "step", "return", "none")
"""The conditions whose course is drawn."""


def content(folder: RunDirectory, found: DetectorResults) -> dict[str, Any]:
    """Return what the page of a finished run shows, besides its config and results."""
    config = DetectorConfig.of(folder.config())
    return {
        "answer": answer(found),
        "titles": {key: strategy.title for key, strategy in STRATEGIES.items()},
        "scene": config.scene.make(),
        "hours": f"{hours_of(config):.3g} hours",
        "late": f"{config.labelling('all').delay:g} s",
        "pictures": pictures(config),
        "bars": bars(found),
        "courses": courses(found, config),
        "strengths": strengths(found),
        "claims": [(each.said, valued(each), each.bar, each.reaches) for each in found.contrasts],
        "share": share,
    }


def main_of(found: DetectorResults) -> tuple[str, Shown]:
    """Return the condition that the page tells most of: all drifts, or the first there is."""
    key = "all" if "all" in found.conditions else next(iter(found.conditions))
    return key, found.conditions[key]


def answer(found: DetectorResults) -> str:
    """Say in one paragraph what was found, from the numbers alone."""
    key, shown = main_of(found)
    own, rival, frozen = (shown.rows[name] for name in ("product", "running", "frozen"))
    fewer = own.fewer
    side = "fewer" if fewer.mean > 0 else "more"
    sure = "" if fewer.low > 0 or fewer.high < 0 else ", which could be chance"
    where = f"On {shown.title}" if key == "own" else f"Where {shown.title}"
    best = min(COUNTERS, key=lambda name: shown.rows[name].missed["90"].mean)
    digital, bound = (told(shown.rows[name].missed["90"]) for name in ("digital", "hindsight"))
    return (
        f"{where}, while nine in ten frames without a hit are rejected, the network as calibrated "
        f"misses {told(frozen.missed['90'])} of the hits late in the shift, a spot counter with "
        f"running deviations {told(rival.missed['90'])}, and a chip that learns from labels "
        f"beside the beam {told(own.missed['90'])}: {100 * abs(fewer.mean):.0f} % {side} than "
        f"the counter ({100 * fewer.low:.0f} to {100 * fewer.high:.0f}){sure}. The best counter, "
        f"{STRATEGIES[best].title}, misses {told(shown.rows[best].missed['90'])}. Ideal digital "
        f"learning by the same updates misses {digital}, and what hindsight could have known "
        f"{bound}."
    )


def hours_of(config: DetectorConfig) -> float:
    """Return how long a shift lasts."""
    if config.own is None:
        return float(config.drift.make().hours)
    return config.frames * config.own.source(config.module.make()).interval / 3600


def pictures(config: DetectorConfig) -> str:
    """Draw frames of each kind at the beginning and at the end of a shift.

    Frames of a module that is wide stand beside each other, others above each other. Of frames of
    one's own, the first hit and the first without.
    """
    if config.own is not None:
        seen = dict[str, Frame]()
        for frame in islice(config.own.source(config.module.make()), config.before):
            if isinstance(frame, Frame) and frame.truth:
                seen.setdefault("a hit" if frame.truth.hit else "no hit", frame)
        figure = Figure(figsize=(10, 2.6), layout="constrained")
        for axis, (title, frame) in zip(figure.subplots(1, 2), seen.items(), strict=False):
            drawn(axis, frame, title)
        return figures.svg(figure)
    source = config.source("all", config.seed)
    blocks = range(0, config.before + config.frames, config.block)
    rows, columns = source.sensor.module.shape
    kinds = len(source.scene.kinds) + 1
    wide = columns >= 2 * rows
    figure = Figure(figsize=(10, 1.55 * kinds if wide else 20 / kinds), layout="constrained")
    axes = figure.subplots(*((kinds, 2) if wide else (2, kinds)), squeeze=False)
    for moment, (order, when) in enumerate(
        ((blocks, "at the start"), (blocks[::-1], "after the drift"))
    ):
        places = axes[:, moment] if wide else axes[moment]
        for axis, (title, frame) in zip(places, examples(source, order).items(), strict=False):
            drawn(axis, frame, f"{title}, {when}" if wide else f"{title},\n{when}")
        for axis in places:
            axis.set_axis_off()
    return figures.svg(figure)


def drawn(axis: Axes, frame: Frame, title: str) -> None:
    """Draw a frame."""
    axis.imshow(frame.image, norm=AsinhNorm(1.0, vmin=0, vmax=40), cmap="magma")
    axis.set_title(title, fontsize=9, fontweight="normal")
    axis.set_axis_off()


def examples(source: Simulated, order: Sequence[int]) -> dict[str, Frame]:
    """Return a frame of each kind among twelve blocks in this ``order``, by its title.

    Of hits, one with twice as many spots as it takes; of what is wanted, one with too few as well.
    """
    scene, found = source.scene, dict[int, Frame]()
    for first in order[:12]:
        for frame in source.part(first):
            if (truth := frame.truth) and (not truth.hit or truth.spots >= 2 * scene.spots):
                found.setdefault(-1 if truth.hit else truth.kind, frame)
        if len(found) > len(scene.kinds):
            break
    return {_shown(scene, frame): found[kind] for kind, frame in sorted(found.items())}


def _shown(scene: Scene, frame: Frame) -> str:
    """Say what a simulated ``frame`` shows."""
    kind, spots, hit = frame.truth or (0, 0, False)
    if hit:
        return f"a hit, {spots} spots"
    return f"{scene.kinds[kind]}, no hit" if kind == WANTED else scene.kinds[kind]


def bars(found: DetectorResults) -> str:
    """Draw what every strategy misses at 90 % rejection, with intervals."""
    key, shown = main_of(found)
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    axis = figure.subplots()
    names = [name for name in STRATEGIES if name != "random"]
    figures.interval_bars(axis, {name: shown.rows[name].missed["90"] for name in names}, COLOURS)
    axis.set_yticks(range(len(names)), [STRATEGIES[name].title for name in reversed(names)])
    axis.set_xlabel("hits missed while 90 % of other frames are rejected (%)")
    axis.set_title(found.conditions[key].title)
    return figures.svg(figure)


def courses(found: DetectorResults, config: DetectorConfig) -> str:
    """Draw what is missed over the shift."""
    kinds = [key for key in COURSES if key in found.conditions] or list(found.conditions)[:1]
    figure, axes = figures.panels(len(kinds), 2, "hits missed (%)")
    hours = hours_of(config)
    for axis, key in zip(axes, kinds, strict=True):
        for name in DRAWN:
            held = found.conditions[key].rows[name].windows
            each = np.array([np.nan if v is None else 100 * v for v in held])
            ends = np.minimum(np.arange(len(each) + 1) * found.window, config.frames)
            at = (ends[:-1] + ends[1:]) / 2 / config.frames * hours
            each[np.diff(ends) < found.window / 2] = np.nan  # too short beside the others
            axis.plot(at, each, "o-", ms=3, color=COLOURS[name], label=STRATEGIES[name].title)
        if key in ("step", "return"):
            axis.axvline((1 - config.late) * hours, color="#cccccc", linewidth=5, zorder=0)
        axis.set(title=found.conditions[key].title, xlabel="time (hours)")
        axis.grid(alpha=0.3)
    axes[0].set_ylim(0, None)  # of all, once everything is drawn
    return figures.svg(figures.legended(figure, 2))


def strengths(found: DetectorResults) -> str:
    """Draw what is missed by the strength of the hit; nothing where that is not known."""
    _, shown = main_of(found)
    if not any(v is not None for name in DRAWN for v in shown.rows[name].strength):
        return ""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axis = figure.subplots()
    ends = [*(str(b - 1) for b in found.bins[1:]), ""]
    labels = [f"{low} to {high}" if high else f"{low} and more"
              for low, high in zip(found.bins, ends, strict=True)]  # fmt: skip
    for name in DRAWN:
        held = [np.nan if v is None else 100 * v for v in shown.rows[name].strength]
        axis.plot(range(len(held)), held, "o-", ms=4, color=COLOURS[name],
                  label=STRATEGIES[name].title)  # fmt: skip
    axis.set_xticks(range(len(labels)), labels)
    axis.set(xlabel="visible spots of the hit", ylabel="missed (%)")
    axis.set_ylim(0, None)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8)
    return figures.svg(figure)


def tell(found: DetectorResults, console: Console) -> None:
    """Print what was found."""
    console.print(answer(found), highlight=False)
    tell_claims(found.contrasts, console)
