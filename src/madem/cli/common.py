"""What several commands share: their arguments, and files read and written with clear errors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from madem.experiments.running.rundir import RunDirectory

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one key of the config: key.of.field=value."),
]
Json = Annotated[Path | None, typer.Option(help="Where to write the numbers.")]


def write(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, whole or not at all; a link or a device is refused."""
    from madem.experiments.running.files import write_asked

    write_asked(path, text.encode(errors="backslashreplace"))


def plain_console() -> Console:
    """Return the console that prints text as it is: what looks like markup or an emoji too."""
    from rich.console import Console

    return Console(markup=False, emoji=False)


def open_source(
    source: str, settings: list[str] | None, named: bool = False
) -> tuple[RunDirectory | None, dict[str, Any]]:
    """Return the run directory, where it is one, and the values of its config or of a YAML file.

    ``named``: whether ``source`` may be the name of an experiment too, whose defaults it means.
    """
    from madem.documents import read_yaml
    from madem.experiments.catalogue import MODULES
    from madem.experiments.config.base import override
    from madem.experiments.running.rundir import RunDirectory

    path, run = Path(source), None
    if path.is_dir() and not (named and source in MODULES):
        run = RunDirectory(path)
        held = run.config()
    elif named and path.suffix not in (".yaml", ".yml"):
        held = {"experiment": source}
    else:
        held = read_yaml(path, "config")
    return run, override(held, settings or [])
