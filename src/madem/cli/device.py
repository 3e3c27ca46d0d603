"""``madem device``: what one memristor does."""

from __future__ import annotations

from typing import Annotated

import typer

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
) -> None:
    """Show every number of a preset, with its source."""
    from rich.console import Console
    from rich.table import Table

    from madem.device import preset

    shown = preset(name)
    table = Table("number", "value", "source", title=f"{name}: {shown.description}")
    for key, entry in shown.entries.items():
        table.add_row(key, entry["value"], entry["source"])
    Console().print(table)
