"""The page of a training: how it learned, beside its yardsticks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from madem.experiments.running.results import Mean
from madem.experiments.running.rundir import RunDirectory
from madem.experiments.train.results import TrainResults
from madem.report import figures
from madem.units import si

NAMES = {"backprop": "backprop, exact numbers", "ex_situ": "ex situ, programmed once"}


def content(folder: RunDirectory, found: TrainResults) -> dict[str, Any]:
    """Return what the page of a finished run shows, besides its config and results."""
    ledger = folder.load_json("jobs/train.json") or {}
    return {
        "learned": learned(folder.config()["task"]),
        "less": less(found),
        "curves": curves(found),
        "rows": rows(found),
        "ledger": ledger.get("ledger", []),
        "shown": lambda value: shown(found, value),
    }


def learned(task: Mapping[str, Any]) -> str:
    """Return what is learned, by the file and the column that a config's task names, or its kind.

    >>> learned({"kind": "csv", "path": "data/wine.csv", "target": "cultivar"})
    'wine.csv: cultivar'
    """
    named = (Path(task["path"]).name if task.get("path") else None, task.get("target"))
    return ": ".join(filter(None, named)) or str(task["kind"])


def less(found: TrainResults) -> str:
    """Return the heading of what was learned in place beyond each yardstick."""
    return f"{'chips' if found.written is not None else 'network'} less yardstick"


def shown(found: TrainResults, value: float | Mean | None) -> str:
    """Return a score as it is printed: a percentage of right decisions, or a squared error."""
    if value is None:
        return ""
    mean, error = (value.mean, value.error) if isinstance(value, Mean) else (value, None)
    factor, sign = (100, " %") if found.score == "accuracy" else (1, "")
    digits = 2 if found.score == "accuracy" else 4
    text = f"{factor * mean:.{digits}f}"
    return f"{text}{sign}" if error is None else f"{text} ± {factor * error:.{digits}f}{sign}"


def rows(found: TrainResults) -> list[tuple[str, str, str]]:
    """Return name, test score and what was trained more or less than it, of all that was tested."""
    first = "on the chips" if found.written is not None else "the network"
    beside = [(NAMES[name], getattr(found, name), found.gain[name]) for name in found.gain]
    return [(first, shown(found, found.test), "")] + [
        (name, shown(found, value), shown(found, gain)) for name, value, gain in beside
    ]


def curves(found: TrainResults) -> str:
    """Draw the scores of validation and of training over steps."""
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    factor = 100 if found.score == "accuracy" else 1
    for key, colour in (("training", "backprop"), ("validation", "chip")):
        points = [(each.step, getattr(each, key)) for each in found.curve]
        known = [(max(step, 1), factor * value) for step, value in points if value is not None]
        axes.plot(*zip(*known, strict=True), "o-", markersize=3, label=key,
                  color=figures.COLOURS[colour])  # fmt: skip
    for name, colour in (("backprop", "bayes"), ("ex_situ", "ex_situ")):
        value = getattr(found, name)
        if value is not None:
            axes.axhline(factor * value.mean, color=figures.COLOURS[colour], linestyle="--",
                         linewidth=1, label=f"{NAMES[name]} (test)")  # fmt: skip
    label = "right (%)" if found.score == "accuracy" else "squared error"
    axes.set(xlabel="steps", ylabel=label, xscale="log")
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.3)
    return figures.svg(figure)


def tell(found: TrainResults, console: Console) -> None:
    """Print the test scores, and what the training took."""
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    told_of = rows(found)
    columns = ("", f"test {found.score}", less(found))[: 3 if len(told_of) > 1 else 2]
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in told_of:
        table.add_row(*row[: len(columns)])
    told = [] if found.chips == 1 else [f"spread of the chips {shown(found, found.spread)}"]
    if found.unsettled is not None:
        told.append(f"{100 * found.unsettled:.2g} % of the last settlings missed the tolerance")
    if found.spent is not None:
        took = si(found.spent.joules, "J"), si(found.spent.seconds, "s")
        told.append(f"training took {' and '.join(took)} per chip, all in")
    table.caption = "; ".join(["±: standard error over chips and test samples", *told])
    console.print(table)
