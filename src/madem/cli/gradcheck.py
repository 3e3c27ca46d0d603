"""``madem gradcheck``: how good is the measured gradient, and what spoils it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from madem.cli.common import BrailleNetwork, Json, Settings, Source, open_source, write


def gradcheck(
    source: Source,
    settings: Settings = None,
    network: BrailleNetwork = "classify.two_layer",
    samples: Annotated[int, typer.Option(min=1, help="How many samples.")] = 32,
    json: Json = None,
    figure: Annotated[Path | None, typer.Option(help="Where to draw the figure.")] = None,
) -> None:
    """Compare a network's measured gradient with the exact one, and say what spoils it."""
    from rich.console import Console

    from madem.experiments.gradcheck import check_braille, check_images
    from madem.experiments.images import parameters_of
    from madem.report.gradcheck import draw, tell

    run, config = open_source(source, settings)
    console = Console()
    with console.status("settling"):
        if config.experiment == "braille":
            found = check_braille(config, run, network, samples)
        else:
            found = check_images(config, parameters_of(run) if run else None, samples)
    tell(found, console)
    if json is not None:
        write(json, found.text())
    drawn = figure or (source / "gradcheck.svg" if source.is_dir() else None)
    if drawn is not None:
        draw(found, drawn)
        typer.echo(f"figure: {drawn}")
