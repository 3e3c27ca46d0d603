"""``madem spice``: networks as SPICE circuits, and what ngspice says of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from madem.cli.common import (
    Json,
    NetworkName,
    Sample,
    Settings,
    Source,
    open_subject,
    plain_console,
    write,
)

if TYPE_CHECKING:
    from madem.inspect.circuits import Bench

app = typer.Typer(help="Networks as SPICE circuits.", no_args_is_help=True)


@app.command("export")
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

    built = bench_of(source, settings, network, sample).circuit(phase)
    write(out, netlist(built.circuit))
    counts = f"{len(built.circuit.elements)} elements, {len(built.circuit.nodes)} nodes"
    typer.echo(f"{counts}: {out}; outputs at {', '.join(built.outputs[:3])}...")


@app.command("verify")
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

    bench, found = bench_of(source, settings, network, sample), []
    console = plain_console()
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


def bench_of(source: Path, settings: list[str] | None, network: str | None, sample: int) -> Bench:
    """Return the network of a run or a config, ready to be made into a circuit."""
    from madem.inspect.circuits import Bench

    return Bench(open_subject(source, settings, network)[1], sample)
