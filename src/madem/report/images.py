"""The page of a network that learned images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from rich.console import Console

from madem.experiments.running.rundir import RunDirectory
from madem.report import figures

TEMPLATE = "images.html.jinja"


def content(folder: RunDirectory, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page of a finished run shows, besides its config and summary."""
    del summary
    history = folder.finished("images")["epochs"]
    return {"history": history, "curves": curves(history)}


def curves(history: list[dict[str, Any]]) -> str:
    """Draw the errors of training and test over epochs."""
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    epochs = [row["epoch"] for row in history]
    for key, name in (("train_error", "training images"), ("test_error", "test images")):
        axes.plot(epochs, [100 * row[key] for row in history], "o-", markersize=3, label=name)
    axes.set(xlabel="epoch", ylabel="wrong (%)", yscale="log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 1)))  # 6, not 6 x 10^0
    axes.legend(frameon=False)
    axes.grid(alpha=0.3, which="both")
    return figures.svg(figure)


def tell(summary: Mapping[str, Any], console: Console) -> None:
    """Print the errors at the last epoch."""
    missed = summary["unsettled"]
    settled = (
        "a fixed number of sweeps, rest not asked for" if missed is None
        else f"{100 * missed:.2g} % of the settlings missed the tolerance"
    )  # fmt: skip
    console.print(
        f"test error {100 * summary['test_error']:.2f} %, train error "
        f"{100 * summary['train_error']:.2f} %, {settled}",
        highlight=False,
    )
