"""``madem show``: a circuit at work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from madem.cli.common import (
    NetworkName,
    Sample,
    Settings,
    Source,
    guarded,
    open_subject,
    plain_console,
)

app = typer.Typer(help="Circuits at work, as figures.", no_args_is_help=True)

Out = Annotated[Path | None, typer.Option(help="The figure to write: .svg or .png.")]


@app.command("crossbar")
def show_crossbar(
    source: Source,
    settings: Settings = None,
    network: NetworkName = None,
    chip: Annotated[int, typer.Option(min=0, help="Which chip, by its number.")] = 0,
    sample: Sample = 0,
    out: Out = None,
) -> None:
    """Draw conductances, voltages, currents and IR drop of a chip's arrays during a read."""
    from madem.inspect.maps import maps
    from madem.report.show import crossbar_figure, save

    run, subject = open_subject(source, settings, network)
    path = out or _place(source, "crossbar.svg")
    title = f"{subject.plan.name}, chip {chip}, input {sample}"
    with guarded(run, out is None):
        found = maps(subject, chip, sample)
        save(crossbar_figure(found, title), path)
    for one in found:
        told = "ideal wires, no drop"
        if one.wires is not None:
            told = f"wires take up to {1e3 * one.drop.max():.2g} mV of "
            told += f"{1e3 * abs(one.driven).max():.3g} mV"
        typer.echo(f"{one.name}: {told}")
    typer.echo(f"figure: {path}")


@app.command("settling")
def show_settling(
    source: Source,
    settings: Settings = None,
    network: NetworkName = None,
    sample: Sample = 0,
    out: Out = None,
) -> None:
    """Draw how a network's states settle: free, then under each nudge; every node in full."""
    from madem.inspect.circuits import Bench, phases
    from madem.report.show import save, settling_figure

    run, subject = open_subject(source, settings, network)
    bench = Bench(subject, sample)
    path = out or _place(source, "settling.svg")
    with guarded(run, out is None):
        with plain_console().status("settling every node of the circuit (minutes with wires)"):
            found = phases(bench, bench.timing)
        save(settling_figure(found, f"{subject.plan.name}, input {sample}"), path)
    for phase in found:
        typer.echo(f"{phase.name}: settled after {1e9 * phase.settled:.3g} ns")
    typer.echo(f"figure: {path}")


def _place(source: Path, name: str) -> Path:
    """Return where a figure goes: into the run, or here."""
    return source / name if source.is_dir() else Path(name)
