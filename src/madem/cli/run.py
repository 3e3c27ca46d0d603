"""``madem run`` and ``madem report``: experiments into run directories, and what came of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from madem.cli.common import Settings, open_source, plain_console
from madem.errors import InputError, abridged, fault, nearest
from madem.experiments.catalogue import MODULES

if TYPE_CHECKING:
    from madem.experiments.running.engines import Pool
    from madem.experiments.running.experiment import Experiment
    from madem.experiments.running.jobs import Job, Progress, Tell


def run(
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="EXPERIMENT|CONFIG", help=f"{', '.join(MODULES)}, or a YAML config."
        ),
    ] = None,
    settings: Settings = None,
    chips: Annotated[int | None, typer.Option(help="How many chips to train at once.")] = None,
    seed: Annotated[int | None, typer.Option(help="The seed of every random draw.")] = None,
    words: Annotated[Path | None, typer.Option(help="A file of words, one per line.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run directory to write.")] = None,
    resume: Annotated[Path | None, typer.Option(help="A run directory to go on with.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    engine: Annotated[str, typer.Option(help="What starts them: loky or dask.")] = "loky",
    address: Annotated[
        str | None, typer.Option(help="A dask scheduler, whose workers are used: tcp://HOST:8786.")
    ] = None,
) -> None:
    """Run an experiment into a run directory, and report on it."""
    from madem.experiments.catalogue import find
    from madem.experiments.config.base import merged
    from madem.experiments.running.engines import engine as started
    from madem.experiments.running.rundir import RunDirectory, resumed

    if resume is not None:
        if question or settings or words or out or chips is not None or seed is not None:
            raise InputError(f"--resume goes on with the config that is there: {resumed(resume)}")
        held = RunDirectory(resume).config()
        experiment = find(held)
    else:
        if question is None:
            raise InputError(f"experiment is missing {nearest('', MODULES)}")
        begun, held = open_source(question, settings, named=True)
        if begun is not None:
            raise InputError(f"{abridged(question)} is a run: give --resume to go on with it")
        experiment = find(held)
        if chips is not None:
            own = "chips" in experiment.model.model_fields
            held = merged(held, {"chips": chips} if own else {"machine": {"chips": chips}})
        if seed is not None:
            held["seed"] = seed
        if words is not None:
            held = with_words(held, words, "words" in experiment.model.model_fields)
    config: Any = experiment.model.of(held)
    path = resume or out or Path("runs") / f"{Path(str(question)).stem}-seed{config.seed}"
    experiment.check(config)
    with started(engine, address, workers) as (pool, count):
        _finish(experiment, config, path, count, pool)


def with_words(held: dict[str, Any], file: Path, own: bool) -> dict[str, Any]:
    """Return ``held`` with the words of ``file``, as its ``own``, or as those of its task."""
    from madem.data.braille import read_words

    task = held.get("task", {})
    place = held if own else {"kind": task} if isinstance(task, str) else task
    if not isinstance(place, dict):
        return held  # refused with the config
    letters = place.get("letters", 10)  # what is none is refused with the config
    words = list(read_words(file, letters if isinstance(letters, int) else 10))
    return place | {"words": words} if own else held | {"task": place | {"words": words}}


def report(
    run_directory: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run.")],
) -> None:
    """Draw the report of a run again."""
    _draw(run_directory)


def _finish(
    experiment: Experiment, config: Any, path: Path, workers: int, pool: Pool | None
) -> None:
    """Do what is left of a run, say what came of it, and write its report."""
    from madem.experiments.running.experiment import citations
    from madem.experiments.running.rundir import resumed
    from madem.report import tell_results

    experiment.prepare(config, path)
    try:
        left = {job.name for job in experiment.jobs_left(config, path)}
        with _bars(experiment.jobs(config, path.absolute()), left) as tell:
            summary = experiment.run(config, path, tell, workers, pool)
        tell_results(experiment.name, summary, plain_console())
        typer.echo(f"to cite: {'; '.join(citations(config.model_dump()))}")
        _draw(path)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; to go on: {resumed(path)}", err=True)
        sys.exit(130)
    except Exception as error:
        line = fault(error)
        if line is None:
            raise
        raise InputError(f"{line}; to go on from what is saved: {resumed(path)}") from None


def _draw(path: Path) -> None:
    """Write the report of the run in ``path``, and say where it is."""
    from madem.report import write_report

    with plain_console().status("drawing the report"):
        page = write_report(path)
    typer.echo(f"report: {page}")


@contextmanager
def _bars(jobs: list[Job], left: set[str]) -> Iterator[Tell]:
    """Show a live bar for the run, from what is not ``left``, and one for every job at work."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Bars(*columns, console=plain_console()) as bars:
        steps = {job.name: job.steps for job in jobs}
        done = {name: 0.0 if name in left else float(count) for name, count in steps.items()}
        begun = sum(done.values())
        whole = bars.add_task("run", total=sum(steps.values()), completed=int(begun), text="")
        shown: dict[str, Any] = {}

        def tell(progress: Progress) -> None:
            if progress.job not in shown:
                shown[progress.job] = bars.add_task(progress.job, total=progress.total, text="")
            finished = progress.done >= progress.total
            bars.update(
                shown[progress.job],
                completed=progress.done,
                text=progress.text,
                visible=not finished,
            )
            if finished and done.get(progress.job) != steps.get(progress.job):
                bars.console.print(f"{progress.job}: {progress.text}")
            share = progress.done / max(progress.total, 1)
            done[progress.job] = share * steps.get(progress.job, 0)
            bars.update(whole, completed=sum(done.values()))

        yield tell
        bars.update(whole, completed=sum(steps.values()))
