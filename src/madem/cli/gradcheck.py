"""``madem gradcheck``: how good is the measured gradient, and what spoils it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from madem.cli.common import (
    Json,
    NetworkName,
    Settings,
    Source,
    guarded,
    open_subject,
    plain_console,
    write,
)


def gradcheck(
    source: Source,
    settings: Settings = None,
    network: NetworkName = None,
    samples: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many samples.")] = 32,
    json: Json = None,
    figure: Annotated[Path | None, typer.Option(help="Where to draw the figure.")] = None,
) -> None:
    """Compare a network's measured gradient with the exact one, and say what spoils it."""
    from madem.inspect.gradcheck import check
    from madem.report.gradcheck import draw, tell

    run, subject = open_subject(source, settings, network)
    console = plain_console()
    with guarded(run, figure is None):
        with console.status("settling"):
            found = check(subject, samples)
        tell(found, console)
        if json is not None:
            write(json, found.text())
        drawn = figure or (source / "gradcheck.svg" if source.is_dir() else None)
        if drawn is not None:
            draw(found, drawn)
            typer.echo(f"figure: {drawn}")
