"""What several commands share: their arguments, and files read and written with clear errors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from madem.errors import InputError

if TYPE_CHECKING:
    from madem.experiments.rundir import RunDirectory

Source = Annotated[Path, typer.Argument(metavar="RUN|CONFIG", help="A run, or a YAML config.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one key of the config: key.of.field=value."),
]
BrailleNetwork = Annotated[
    str | None, typer.Option(help="Which network of a Braille run: classify.two_layer.")
]
Sample = Annotated[int, typer.Option(min=0, max=100_000, help="Which input, by its number.")]
Json = Annotated[Path | None, typer.Option(help="Where to write the numbers.")]


def write(path: Path, text: str) -> None:
    """Write ``text``, or raise one clear line."""
    try:
        path.write_text(text)
    except OSError as error:
        reason = (error.strerror or "cannot be written").lower()
        raise InputError(f"{str(path)!r}: {reason}") from None


def open_source(source: Path, settings: list[str] | None) -> tuple[RunDirectory | None, Any]:
    """Return the run directory, where it is one, and the config of a run or of a YAML file."""
    from madem.documents import read_yaml
    from madem.experiments.catalogue import find
    from madem.experiments.config import override
    from madem.experiments.rundir import RunDirectory

    run = RunDirectory(source) if source.is_dir() else None
    held = override(run.config() if run else read_yaml(source, "config"), settings or [])
    return run, find(held).make(held)
