"""``madem device``: what one memristor does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from madem.cli.common import Json, plain_console, write

if TYPE_CHECKING:
    from rich.console import Console

    from madem.device.fitting import Fit

app = typer.Typer(help="Device presets: what one memristor does.", no_args_is_help=True)


@app.command("list")
def device_list() -> None:
    """List the device presets."""
    from madem.device import names, preset

    for name in names():
        typer.echo(f"{name}: {preset(name).description}")


@app.command("show")
def device_show(
    name: Annotated[str, typer.Argument(help="A preset, or the path of a YAML file.")],
    figure: Annotated[
        Path | None, typer.Option(help="Draw the preset into this .svg or .html file.")
    ] = None,
) -> None:
    """Show every number of a preset, with its source, and draw it."""
    from rich.table import Table

    from madem.device import preset
    from madem.errors import InputError

    shown = preset(name)
    if figure is not None and figure.suffix not in (".svg", ".html"):
        raise InputError(f"--figure must end in .svg or .html, but is {str(figure)!r}")
    table = Table("number", "value", "source", title=f"{name}: {shown.description}")
    for key, entry in shown.entries.items():
        table.add_row(key, entry["value"], entry["source"])
    console = plain_console()
    console.print(table)
    if figure is None:
        return
    from madem.device.shown import curves_of
    from madem.report.device import panels, show_page

    with console.status("simulating cells"):
        curves = curves_of(shown.cell)
    write(figure, panels(curves, name) if figure.suffix == ".svg" else show_page(shown, curves))
    console.print(f"drawn: {figure}")


@app.command("fit")
def device_fit(
    data: Annotated[
        list[Path], typer.Argument(metavar="DATA", help="A CSV file, or a set and a reset file.")
    ],
    out: Annotated[Path | None, typer.Option(help="Write a preset of what was found.")] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Write a page of data against model (.html).")
    ] = None,
    base: Annotated[
        str, typer.Option(help="The preset whose numbers stand for the rest.")
    ] = "ideal",
    read_voltage: Annotated[
        str | None, typer.Option(help="The voltage of the reads where columns hold currents: 0.2 V")
    ] = None,
    json: Json = None,
) -> None:
    """Fit a device to measured pulses, programming errors, read noise or retention.

    Columns (units in the header): conductance_uS, direction | up_uS, down_uS | target_uS, read_uS |
    time_s, read_uS | time_s, conductance_uS; device with any. A set and a reset file have a column
    a repeat. Delimiter and decimal sign are found; resistances and currents are converted.
    """
    from dataclasses import asdict
    from json import dumps

    from madem.device import preset
    from madem.device.fit import fit_files
    from madem.device.written import preset_text
    from madem.errors import InputError
    from madem.report.device import fit_page
    from madem.units import parse

    if figures is not None and figures.suffix != ".html":
        raise InputError(f"--figures must end in .html, but is {str(figures)!r}")
    for path in (out, figures, json):
        if path is not None and not path.parent.is_dir():
            raise InputError(f"{str(path)!r}: there is no folder {str(path.parent)!r}")
    volts = None if read_voltage is None else parse(read_voltage, "volt", "--read-voltage")
    if volts == 0:
        raise InputError("--read-voltage must be other than zero")
    console, start = plain_console(), preset(base)
    with console.status("fitting") as status:
        found = fit_files(data, status.update, volts)
    names = [path.name.encode("utf-8", "replace").decode() for path in data]
    text = preset_text(found, start, " and ".join(names))
    tell(found, console)
    if out is not None:
        write(out, text)
        console.print(f"preset: {out}")
    if figures is not None:
        write(figures, fit_page(found, names, text))
        console.print(f"page: {figures}")
    if json is not None:
        held = {
            "kind": found.kind,
            "devices": found.devices,
            "samples": found.samples,
            "parameters": [{**asdict(p), "scale": p.scale} for p in found.parameters],
            "candidates": [{**asdict(c), "aic": c.aic, "bic": c.bic} for c in found.candidates],
            "goodness": {name: value for name, (value, _) in found.goodness.items()},
            "notes": list(found.notes),
        }
        write(json, dumps(held, indent=1))


def tell(found: Fit, console: Console) -> None:
    """Print what came of a fit."""
    from rich.table import Table

    title = f"{found.kind}: {found.samples} samples of {found.devices} device(s)"
    table = Table("number", "value", "standard error", "95 % interval", title=title)
    for p in found.parameters:
        words = [f"{each / p.scale:.4g} {p.unit}".strip() for each in (p.value, p.error)]
        table.add_row(p.key, *words, p.interval)
    console.print(table)
    models = Table("model", "parameters", "AIC above the best", "BIC above the best")
    first = found.candidates[0]
    for c in found.candidates:
        models.add_row(
            c.name, str(c.parameters), f"{c.aic - first.aic:.1f}", f"{c.bic - first.bic:.1f}"
        )
    console.print(models)
    for name, (value, expected) in found.goodness.items():
        console.print(f"{name}: {value:.3g} (expected: {expected})")
    for note in found.notes:
        console.print(f"note: {note}")
