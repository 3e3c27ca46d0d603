"""What several commands share: their arguments, and files read and written with clear errors."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from madem.experiments.running.rundir import RunDirectory
    from madem.inspect.subject import Subject

Source = Annotated[Path, typer.Argument(metavar="RUN|CONFIG", help="A run, or a YAML config.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one key of the config: key.of.field=value."),
]
NetworkName = Annotated[
    str | None, typer.Option(help="Which network, where there are several; the first by default.")
]
Sample = Annotated[int, typer.Option(min=0, max=100_000, help="Which input, by its number.")]
Json = Annotated[Path | None, typer.Option(help="Where to write the numbers.")]


def write(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, whole or not at all; a link or a device is refused."""
    from madem.experiments.running.files import write_asked

    write_asked(path, text.encode(errors="backslashreplace"))


def plain_console() -> Console:
    """Return the console that prints text as it is: what looks like markup or an emoji too."""
    from rich.console import Console

    return Console(markup=False, emoji=False)


def guarded(run: RunDirectory | None, needed: bool) -> AbstractContextManager[None]:
    """Keep others from writing into ``run`` where a command ``needed`` to write there itself."""
    return run.at_work() if run is not None and needed else nullcontext()


def open_source(source: Path, settings: list[str] | None) -> tuple[RunDirectory | None, Any]:
    """Return the run directory, where it is one, and the config of a run or of a YAML file."""
    from madem.documents import read_yaml
    from madem.experiments.catalogue import find
    from madem.experiments.config.base import override
    from madem.experiments.running.rundir import RunDirectory

    run = RunDirectory(source) if source.is_dir() else None
    held = override(run.config() if run else read_yaml(source, "config"), settings or [])
    return run, find(held).make(held)


def open_subject(
    source: Path, settings: list[str] | None, network: str | None
) -> tuple[RunDirectory | None, Subject]:
    """Return the run directory, where it is one, and a network of it on the bench."""
    from madem.inspect.subject import put_on_bench

    run, config = open_source(source, settings)
    return run, put_on_bench(config, run, network)
