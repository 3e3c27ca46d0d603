"""The command line. Heavy imports wait inside the commands, so that help comes at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.exceptions import TyperException

from madem.errors import InputError, nearest

if TYPE_CHECKING:
    from madem.experiments.circuits import Bench
    from madem.experiments.config import BrailleConfig
    from madem.experiments.jobs import Progress, Tell

app = typer.Typer(
    name="madem",
    help="Train neural networks on memristor crossbars by activity differences.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
device_app = typer.Typer(help="Device presets: what one memristor does.", no_args_is_help=True)
app.add_typer(device_app, name="device")
spice_app = typer.Typer(help="Networks as SPICE circuits.", no_args_is_help=True)
app.add_typer(spice_app, name="spice")

Source = Annotated[Path, typer.Argument(metavar="RUN|CONFIG", help="A run, or a YAML config.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one key of the config: key.of.field=value."),
]
BrailleNetwork = Annotated[str, typer.Option(help="Which network of a Braille run.")]
Sample = Annotated[int, typer.Option(min=0, help="Which input, by its number.")]

EXPERIMENTS = ("braille", "images")


def _version(asked: bool | None) -> None:
    if asked:
        from madem import __version__

        typer.echo(f"madem {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool | None,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = None,
) -> None:
    del version


@app.command()
def run(
    experiment: Annotated[
        str | None, typer.Argument(help="What to run: braille, images, or a YAML config.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one key of the config: key.of.field=value."),
    ] = None,
    chips: Annotated[int | None, typer.Option(help="How many chips to train at once.")] = None,
    seed: Annotated[int | None, typer.Option(help="The seed of every random draw.")] = None,
    words: Annotated[Path | None, typer.Option(help="A file of words, one a line.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run directory to write.")] = None,
    resume: Annotated[Path | None, typer.Option(help="A run directory to go on with.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
) -> None:
    """Run an experiment into a run directory, and report on it."""
    from madem.data.braille import read_words
    from madem.experiments.config import defaults, make, override
    from madem.experiments.rundir import RunDirectory

    if resume is not None:
        if experiment or settings or words or out or chips is not None or seed is not None:
            raise InputError("--resume takes its config from the run directory; give nothing else")
        held = RunDirectory(resume).config()
        if held.get("experiment") == "images":
            _learn_images(held, resume)
        else:
            _finish(make(held), resume, workers)
        return
    if experiment is None:
        raise InputError(f"experiment is missing {nearest('', EXPERIMENTS)}")
    if experiment == "images" or experiment.endswith((".yaml", ".yml")):
        if words or chips is not None:
            raise InputError("--words and --chips belong to the experiment braille")
        changed = [*(settings or []), *([] if seed is None else [f"seed={seed}"])]
        begun = {} if experiment == "images" else _yaml(Path(experiment))
        name = Path(experiment).stem
        held = override(begun, changed)
        _learn_images(held, out or Path("runs") / f"{name}-seed{held.get('seed', 0)}")
        return
    if experiment not in EXPERIMENTS:
        raise InputError(f"unknown experiment {experiment!r}: {nearest(experiment, EXPERIMENTS)}")
    values = override(defaults(read_words(None)), settings or [])
    given = {"chips": chips, "seed": seed}
    values |= {key: value for key, value in given.items() if value is not None}
    if words is not None:
        values["words"] = list(read_words(words, make(values).letters))
    config = make(values)
    _finish(config, out or Path("runs") / f"{experiment}-seed{config.seed}", workers)


@app.command()
def gradcheck(
    source: Source,
    settings: Settings = None,
    network: BrailleNetwork = "classify.two_layer",
    samples: Annotated[int, typer.Option(min=1, help="How many samples.")] = 32,
    json: Annotated[Path | None, typer.Option(help="Where to write the numbers.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Where to draw the figure.")] = None,
) -> None:
    """Compare a network's measured gradient with the exact one, and say what spoils it."""
    from rich.console import Console

    from madem.data.braille import read_words
    from madem.experiments.config import defaults, make, override
    from madem.experiments.gradcheck import check_braille, check_images
    from madem.experiments.images import parameters_of
    from madem.experiments.imagesconfig import make_images
    from madem.experiments.rundir import RunDirectory
    from madem.report.gradcheck import draw, tell

    run = RunDirectory(source) if source.is_dir() else None
    values = override(run.config() if run else _yaml(source), settings or [])
    console = Console()
    with console.status("settling"):
        if values.get("experiment") == "braille":
            found = check_braille(make(defaults(read_words()) | values), run, network, samples)
        else:
            held = parameters_of(run) if run else None
            found = check_images(make_images(values), held, samples)
    tell(found, console)
    if json is not None:
        _write(json, found.text())
    drawn = figure or (source / "gradcheck.svg" if source.is_dir() else None)
    if drawn is not None:
        draw(found, drawn)
        typer.echo(f"figure: {drawn}")


def _write(path: Path, text: str) -> None:
    """Write ``text``, or raise one clear line."""
    try:
        path.write_text(text)
    except OSError as error:
        reason = (error.strerror or "cannot be written").lower()
        raise InputError(f"{str(path)!r}: {reason}") from None


def _yaml(path: Path) -> dict[str, Any]:
    """Return the config in a YAML file, or raise one clear line."""
    import yaml

    if not path.is_file():
        raise InputError(f"there is no config or run {str(path)!r}")
    try:
        held = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError):
        held = None
    if not isinstance(held, dict):
        raise InputError(f"{str(path)!r} is not a YAML config")
    return held


def _learn_images(held: dict[str, Any], path: Path) -> None:
    """Train what is left of an images run, with a bar, and say what came of it."""
    from rich.progress import Progress as Bars

    from madem.experiments.images import run as run_images
    from madem.experiments.imagesconfig import make_images

    config = make_images(held)
    try:
        with Bars() as bars:
            bar = bars.add_task("images", total=None)

            def tell(done: int, total: int, text: str) -> None:
                bars.update(bar, completed=done, total=total, description=text or "images")

            summary = run_images(config, path, tell)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; to go on: madem run --resume {path}", err=True)
        raise typer.Exit(130) from None
    typer.echo(
        f"test error {100 * summary['test_error']:.2f} %, train error "
        f"{100 * summary['train_error']:.2f} %, {100 * summary['unsettled']:.2g} % of the "
        f"settlings missed the tolerance; {path}"
    )


@app.command()
def report(
    run_directory: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run.")],
) -> None:
    """Draw the report of a run again."""
    _draw(run_directory)


@spice_app.command("export")
def spice_export(
    source: Source,
    settings: Settings = None,
    network: BrailleNetwork = "classify.two_layer",
    phase: Annotated[str, typer.Option(help="free, positive or negative.")] = "free",
    sample: Sample = 0,
    out: Annotated[Path, typer.Option(help="The netlist to write.")] = Path("circuit.cir"),
) -> None:
    """Write a network in one phase, for one input, as a netlist for ngspice."""
    from madem.circuit import netlist

    built = _bench(source, settings, network, sample).circuit(phase)
    _write(out, netlist(built.circuit))
    typer.echo(f"{len(built.circuit.elements)} elements, {len(built.circuit.nodes)} nodes: {out}; "
               f"outputs at {', '.join(built.outputs[:3])}...")  # fmt: skip


@spice_app.command("verify")
def spice_verify(
    source: Source,
    settings: Settings = None,
    network: BrailleNetwork = "classify.two_layer",
    sample: Sample = 0,
    json: Annotated[Path | None, typer.Option(help="Where to write the numbers.")] = None,
) -> None:
    """Solve a network's circuit in every phase, let ngspice solve it, and compare."""
    from json import dumps

    from rich.console import Console
    from rich.table import Table

    from madem.circuit import verify
    from madem.experiments.circuits import PHASES

    bench, found = _bench(source, settings, network, sample), []
    console = Console()
    for phase in PHASES:
        with console.status(f"{phase} phase: ours, and ngspice"):
            found.append(verify(phase, bench.circuit(phase).circuit).row())
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
        _write(json, dumps(found, indent=1))


def _bench(source: Path, settings: list[str] | None, network: str, sample: int) -> Bench:
    """Return the network of a run or a config, ready to be made into a circuit."""
    from madem.data.braille import read_words
    from madem.experiments.circuits import bench_of_braille, bench_of_images
    from madem.experiments.config import defaults, make, override
    from madem.experiments.images import parameters_of
    from madem.experiments.imagesconfig import make_images
    from madem.experiments.rundir import RunDirectory

    run = RunDirectory(source) if source.is_dir() else None
    values = override(run.config() if run else _yaml(source), settings or [])
    if values.get("experiment") == "braille":
        return bench_of_braille(make(defaults(read_words()) | values), run, network, sample)
    return bench_of_images(make_images(values), parameters_of(run) if run else None, sample)


@device_app.command("list")
def device_list() -> None:
    """List the device presets."""
    from madem.device import names, preset

    for name in names():
        typer.echo(f"{name}: {preset(name).description}")


@device_app.command("show")
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


def _finish(config: BrailleConfig, path: Path, workers: int) -> None:
    """Do what is left of a run, write its report, and say where it is."""
    from madem.experiments.braille import prepare
    from madem.experiments.braille import run as run_braille

    prepare(config, path)
    try:
        with _bars(config, path) as tell:
            summary = run_braille(config, path, tell, workers)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; to go on: madem run --resume {path}", err=True)
        raise typer.Exit(130) from None
    _tell_results(summary)
    _draw(path)


def _draw(path: Path) -> None:
    """Write the report of the run in ``path``, and say where it is."""
    from rich.console import Console

    from madem.report import write_report

    with Console().status("drawing the report"):
        page = write_report(path)
    typer.echo(f"report: {page}")


def _tell_results(summary: dict[str, Any]) -> None:
    """Print the results as a table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    columns = ("on the chips", "Bayes", "backprop", "ex situ", "untrained", "training")
    table = Table("words right", *columns, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for task, depths in summary["tasks"].items():
        for depth, part in depths.items():
            chips = f"{100 * part['accuracy_mean']:.1f} ± {100 * part['accuracy_sd']:.1f} %"
            keys = ("bayes", "backprop", "ex_situ", "untrained")
            joules = part["ledger"]["training"]["all_in"]["joules"]
            table.add_row(
                f"{task} {'1' if depth == 'one_layer' else '2'}",
                chips,
                *[f"{100 * part[key]:.1f} %" for key in keys],
                f"{1e3 * joules:.2f} mJ",
            )
    table.caption = (
        "1, 2: layers; mean and standard deviation over chips; training: joules of one chip, all in"
    )
    Console().print(table)


@contextmanager
def _bars(config: BrailleConfig, path: Path) -> Iterator[Tell]:
    """Show a live bar for the run and one for every job at work."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    from madem.experiments.braille import jobs_left

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Bars(*columns) as bars:
        left = {job.name: job.steps for job in jobs_left(config, path)}
        whole = bars.add_task("run", total=sum(left.values()), text="")
        shown: dict[str, Any] = {}
        done = dict.fromkeys(left, 0)

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
            if finished:
                bars.console.print(f"{progress.job}: {progress.text}")
            done[progress.job] = min(progress.done, left.get(progress.job, progress.done))
            bars.update(whole, completed=sum(done.values()))

        yield tell


def main() -> None:
    """Run the command line; bad input is one line and exit code 2."""
    try:
        sys.exit(app(standalone_mode=False))
    except InputError as error:
        message = str(error)
    except TyperException as error:
        message = error.format_message()
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    if message.startswith("Usage:"):  # nothing was asked, so this is the help, not an error
        print(message)
        sys.exit(0)
    print(f"madem: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
