"""The page of a chip that learns one writer's hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from madem.experiments.personal.config import PersonalConfig
from madem.experiments.personal.results import PersonalResults, Shown
from madem.experiments.personal.strategies import STRATEGIES
from madem.experiments.personal.study import session_of
from madem.experiments.running.rundir import RunDirectory
from madem.report import figures
from madem.report.page import share, tell_claims, told, valued

COLOURS = {
    "running": "#d9731a", "beside": "#c23b4b", "frozen": "#999999", "own": "#8a63b0",
    "product": "#1f5fa8", "alarmed": "#5fa8d9", "digital": "#222222", "known": "#3a8f4d",
}  # fmt: skip
DRAWN = ("frozen", "running", "beside", "own", "product", "known")
"""The strategies of the curves."""
PICTURED = 2
"""Words that are pictured."""


def content(folder: RunDirectory, found: PersonalResults) -> dict[str, Any]:
    """Return what the page of a finished run shows, besides its config and results."""
    config = PersonalConfig.of(folder.config())
    return {
        "answer": answer(found),
        "titles": {key: strategy.title for key, strategy in STRATEGIES.items()},
        "pictures": picture(config),
        "bars": bars(main_of(found)),
        "courses": courses(found),
        "claims": [(each.said, valued(each), each.bar, each.reaches) for each in found.contrasts],
        "share": share,
    }


def main_of(found: PersonalResults) -> Shown:
    """Return the condition that the page tells most of: one hand, or the first there is."""
    return found.conditions.get("hand", next(iter(found.conditions.values())))


def answer(found: PersonalResults) -> str:
    """Say in one paragraph what was found, from the numbers alone."""
    shown = main_of(found)
    late = {key: told(row.misread) for key, row in shown.rows.items()}
    own, alone = shown.rows["product"], shown.rows["own"]
    return (
        f"Under the condition \N{LEFT DOUBLE QUOTATION MARK}{shown.title}"
        f"\N{RIGHT DOUBLE QUOTATION MARK} the network that everybody trained misreads "
        f"{late['frozen']} of the writer's late words. A chip that learns from labels for "
        f"{100 * shown.labels:.0f} % of the words, and is shown everybody's words between them, "
        f"misreads {late['product']}; templates that follow the writer without labels "
        f"{late['running']}, templates moved by the same labels {late['beside']}, and who knows "
        f"the hand {late['known']}. Of other writers' words the chip then misreads "
        f"{told(own.others)}, where it misread {told(shown.rows['frozen'].others)} before; "
        f"where the writer's words alone are replayed {told(alone.others)}."
    )


def picture(config: PersonalConfig) -> str:
    """Draw words as they are meant, as writers write them, and as they are felt."""
    session = session_of(config, config.conditions[0], config.seed)
    word = session.word[:PICTURED]
    codes, hands = config.codes()[word], config.handwriting()
    usual = session_of(config, "none", config.seed, "picture").hand[:PICTURED]
    rows = {
        "as meant": codes,
        "a usual hand": hands.shown(usual, codes),
        "the writer's": hands.shown(session.hand[:PICTURED], codes),
        "as it is felt": session.x[:PICTURED],
    }
    figure = Figure(figsize=(10, 3.3), layout="constrained")
    for axis, values, name in zip(
        figure.subplots(1, len(word)), zip(*rows.values(), strict=True), word, strict=True
    ):
        for line, (title, each) in enumerate(zip(rows, values, strict=True)):
            figures.braille_row(axis, np.asarray(each, dtype=float), -3.4 * line)
            axis.text(-1.2, -3.4 * line - 0.9, title, ha="right", va="center", fontsize=9)
        wide = 2.6 * config.letters
        axis.set(xlim=(-1, wide), ylim=(-3.4 * len(rows) + 1, 0.8), aspect="equal")
        axis.set_title(config.words[int(name)], fontweight="normal")
        axis.axis("off")
    return figures.svg(figure)


def bars(shown: Shown) -> str:
    """Draw what every strategy misreads, of the writer's words and of others', with intervals."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    names = [name for name in STRATEGIES if name != "guess"]
    titles = ("the writer's late words", "everybody else's words after it")
    for axis, part, title in zip(axes, ("misread", "others"), titles, strict=True):
        held = {name: getattr(shown.rows[name], part) for name in names}
        figures.interval_bars(axis, held, COLOURS)
        axis.set(xlabel="misread (%)", title=title)
    axes[0].set_yticks(range(len(names)), [STRATEGIES[name].title for name in reversed(names)])
    return figures.svg(figure)


def courses(found: PersonalResults) -> str:
    """Draw what is misread over the session."""
    shown = list(found.conditions.values())
    figure, axes = figures.panels(len(shown), 3, "misread (%)")
    for axis, each in zip(axes, shown, strict=True):
        for name in DRAWN:
            held = 100 * np.array(each.rows[name].windows)
            at = (np.arange(len(held)) + 0.5) * found.window
            axis.plot(at, held, "o-", ms=2.5, color=COLOURS[name], label=STRATEGIES[name].title)
        axis.set(title=each.title, xlabel="words of the writer")
        axis.grid(alpha=0.3)
    axes[0].set_ylim(0, None)  # of all, once everything is drawn
    return figures.svg(figures.legended(figure, 2))


def tell(found: PersonalResults, console: Console) -> None:
    """Print what was found."""
    console.print(answer(found), highlight=False)
    tell_claims(found.contrasts, console)
