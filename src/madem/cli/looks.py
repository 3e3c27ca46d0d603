"""``madem gradcheck``, ``show`` and ``spice``: looks at one network of a run or of a config."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from madem.cli.common import Json, Settings, open_source, plain_console, write

if TYPE_CHECKING:
    from madem.inspect.subject import Subject

show = typer.Typer(help="Circuits at work, as figures.", no_args_is_help=True)
spice = typer.Typer(help="Networks as SPICE circuits.", no_args_is_help=True)

Source = Annotated[Path, typer.Argument(metavar="RUN|CONFIG", help="A run, or a YAML config.")]
NetworkName = Annotated[
    str | None, typer.Option(help="Which network, where there are several; the first by default.")
]
Sample = Annotated[int, typer.Option(min=0, max=100_000, help="Which input, by its number.")]
Out = Annotated[Path | None, typer.Option(help="The figure to write: .svg, .png or .pdf.")]


@contextmanager
def benched(
    source: Path,
    settings: list[str] | None,
    network: str | None,
    out: Path | None = None,
    figure: str = "",
) -> Iterator[tuple[Subject, Path]]:
    """Yield a network on the bench, and where its figure goes: ``out``, into the run, or here.

    Where ``figure`` goes into the run, other processes are kept from writing there.
    """
    from madem.experiments.catalogue import find
    from madem.inspect.subject import put_on_bench

    run, held = open_source(str(source), settings)
    subject = put_on_bench(find(held).model.of(held), run, network)
    within = run is not None and out is None and figure
    with run.at_work() if run is not None and within else nullcontext():
        yield subject, out or (source / figure if run is not None else Path(figure))


def gradcheck(
    source: Source,
    settings: Settings = None,
    network: NetworkName = None,
    samples: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="How many samples; 32 by default, or all."),
    ] = None,
    json: Json = None,
    figure: Out = None,
) -> None:
    """Compare a network's measured gradient with the exact one, and say what spoils it."""
    from madem.inspect.gradcheck import check
    from madem.report.gradcheck import draw, tell

    with benched(source, settings, network, figure, "gradcheck.svg") as (subject, path):
        console = plain_console()
        with console.status("settling"):
            found = check(subject, samples)
        tell(found, console)
        if json is not None:
            write(json, found.text())
        if figure is not None or source.is_dir():
            draw(found, path)
            typer.echo(f"figure: {path}")


@show.command("crossbar")
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
    from madem.report.figures import save
    from madem.report.show import crossbar_figure

    with benched(source, settings, network, out, "crossbar.svg") as (subject, path):
        found = maps(subject, chip, sample)
        title = f"{subject.plan.name}, chip {chip}, input {sample}"
        save(crossbar_figure(found, title), path)
    for one in found:
        told = "ideal wires, no drop"
        if one.wires is not None:
            told = f"wires take up to {1e3 * one.drop.max():.2g} mV of "
            told += f"{1e3 * abs(one.driven).max():.3g} mV"
        typer.echo(f"{one.name}: {told}")
    typer.echo(f"figure: {path}")


@show.command("settling")
def show_settling(
    source: Source,
    settings: Settings = None,
    network: NetworkName = None,
    sample: Sample = 0,
    out: Out = None,
) -> None:
    """Draw how a network's states settle: free, then under each nudge; every node in full."""
    from madem.inspect.circuits import Bench, phases
    from madem.report.figures import save
    from madem.report.show import settling_figure

    with benched(source, settings, network, out, "settling.svg") as (subject, path):
        bench = Bench(subject, sample)
        with plain_console().status("settling every node of the circuit (minutes with wires)"):
            found = phases(bench, bench.timing)
        save(settling_figure(found, f"{subject.plan.name}, input {sample}"), path)
    for phase in found:
        typer.echo(f"{phase.name}: settled after {1e9 * phase.settled:.3g} ns")
    typer.echo(f"figure: {path}")


@spice.command("export")
def spice_export(
    source: Source,
    settings: Settings = None,
    network: NetworkName = None,
    phase: Annotated[
        str, typer.Option(help="free, positive or negative, as the estimator has.")
    ] = "free",
    sample: Sample = 0,
    out: Annotated[Path, typer.Option(help="The netlist to write.")] = Path("circuit.cir"),
) -> None:
    """Write a network in one phase, for one input, as a netlist for ngspice."""
    from madem.circuit import netlist
    from madem.inspect.circuits import Bench

    with benched(source, settings, network) as (subject, _):
        built = Bench(subject, sample).circuit(phase)
    write(out, netlist(built.circuit))
    counts = f"{len(built.circuit.elements)} elements, {len(built.circuit.nodes)} nodes"
    typer.echo(f"{counts}: {out}; outputs at {', '.join(built.outputs[:3])}...")


@spice.command("verify")
def spice_verify(
    source: Source,
    settings: Settings = None,
    network: NetworkName = None,
    sample: Sample = 0,
    json: Json = None,
) -> None:
    """Solve a network's circuit in every phase, let ngspice solve it, and compare."""
    from dataclasses import asdict
    from json import dumps

    from rich.table import Table

    from madem.circuit import verify
    from madem.inspect.circuits import Bench

    console, found = plain_console(), []
    with benched(source, settings, network) as (subject, _):
        bench = Bench(subject, sample)
        for phase in bench.phases:
            with console.status(f"{phase} phase: ours, and ngspice"):
                found.append(asdict(verify(phase, bench.circuit(phase).circuit)))
    table = Table("phase", "largest difference", "Kirchhoff", "power balance", "nodes")
    for row in found:
        table.add_row(
            str(row["phase"]),
            f"{row['max_relative_difference']:.1e}",
            f"{row['kirchhoff_residual_amperes']:.1e} A",
            f"{row['power_balance_relative']:.1e}",
            str(row["nodes"]),
        )
    if any(row["guided"] for row in found):
        table.caption = "ngspice came to rest only from a guess near our voltages"
    console.print(table)
    if json is not None:
        write(json, dumps(found, indent=1))
