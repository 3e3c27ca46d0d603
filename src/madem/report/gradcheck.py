"""The gradient check as a table and as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from madem.inspect.gradcheck import Check

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = {
    "beta_bias": "bias of beta",
    "settling": "unsettled phases",
    "round_off": "round-off (float32)",
    "noise": "what the machine adds",
    "wires": "wires, lines unseen by the rule",
}


def tell(check: Check, console: Console) -> None:
    """Print the table, the parts of the error and the advice."""
    table = Table("", "cosine", "norm ratio", "relative error", box=box.SIMPLE_HEAD)
    for row in check.layers:
        table.add_row(
            row.name, f"{row.cosine:.6f}", f"{row.norm_ratio:.6f}", f"{row.relative_error:.1e}"
        )
    console.print(table)
    for part, size in check.errors.items():
        console.print(f"  {PARTS[part]:26} {size:.1e}")
    for line in check.advice:
        console.print(f"  advice: {line}")


def draw(check: Check, path: Path) -> None:
    """Draw the errors of the layers, the parts of the whole, and the curve over the nudge."""
    from matplotlib.figure import Figure

    from madem.report.figures import save

    drawn = bool(check.curve)
    figure = Figure(figsize=(13 if drawn else 9, 3.2), layout="constrained")
    left, right, *last = figure.subplots(1, 2 + drawn)
    layers = {row.name: row.relative_error for row in check.layers}
    _bars(left, layers, "error of each layer, relative to its exact gradient")
    parts = {PARTS[part]: size for part, size in check.errors.items()}
    _bars(right, parts, "parts of the whole error")
    if drawn:
        _curve(last[0], check)
    save(figure, path)


def _curve(axes: Axes, check: Check) -> None:
    """Draw the error over the strength of the nudge, and which is used and which measured."""
    betas = [each.beta for each in check.curve]
    axes.loglog(betas, [each.error for each in check.curve], "o-", color="#4477aa",
                label="this machine")  # fmt: skip
    axes.loglog(betas, [max(each.bias, 1e-16) for each in check.curve], "--", color="#999999",
                label="without noise and converters")  # fmt: skip
    for used in (each for each in check.curve if each.beta == check.beta):
        axes.plot(used.beta, used.error, "s", color="#222222", markersize=8, fillstyle="none",
                  label=f"used: {used.beta:.2g}")  # fmt: skip
    if check.auto:
        axes.plot(check.auto.beta, check.auto.error, "*", color="#bb5566", markersize=13,
                  label=f"auto: {check.auto.beta:.2g}")  # fmt: skip
    axes.set_ylim(max(min(each.error for each in check.curve) / 30, 1e-17))
    axes.set_xlabel("strength of the nudge (estimator.beta)")
    axes.set_title("relative error of the gradient", fontsize=9)
    axes.legend(fontsize=8, frameon=False)


def _bars(axes: Axes, values: dict[str, float], title: str) -> None:
    """Draw horizontal bars on a logarithmic axis; what is zero has none."""
    shown = list(values.values())
    axes.barh(list(values), shown, color="#4477aa", left=1e-16)
    axes.set_xscale("log")
    axes.set_xlim(1e-16, 10)
    axes.axvline(1e-2, color="#bb5566", linewidth=1)
    axes.text(1.3e-2, -0.45, "1 %", color="#bb5566", fontsize=8, va="top")
    axes.invert_yaxis()
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("relative error")
