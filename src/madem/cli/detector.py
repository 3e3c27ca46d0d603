"""``madem detector``: a service beside a detector, what feeds it, and the states of its chip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from madem.cli.common import Settings, plain_console
from madem.errors import InputError

app = typer.Typer(help="A detector's service that judges frames and keeps learning.",
                  no_args_is_help=True)  # fmt: skip

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of a service.")]


def service_config(file: Path | None, settings: list[str] | None) -> Any:
    """Return the config of a service, from a YAML file, or its defaults."""
    from madem.documents import read_yaml
    from madem.experiments.config.base import override
    from madem.experiments.detector.study import check
    from madem.serve.config import ServiceConfig

    held = {} if file is None else read_yaml(file, "config")
    config = ServiceConfig.of(override(held, settings or []))
    check(config.detector)
    return config


@app.command("serve")
def serve(
    config: Annotated[Path | None, typer.Argument(metavar="CONFIG", help="A YAML config.")] = None,
    settings: Settings = None,
    out: Annotated[Path, typer.Option(help="The folder of the service.")] = Path("runs/detector"),
) -> None:
    """Judge frames as they come, show it on a page, and keep learning from labels."""
    import logging
    from threading import Event

    from madem.serve.service import serve as run

    held = service_config(config, settings)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("madem").setLevel(logging.INFO)
    console = plain_console()

    def ready() -> None:
        console.print(f"frames from {held.source}; page {held.address('page', 'http')} "
                      f"(its token is in {out / 'token'}); verdicts {held.address('verdicts')}, "
                      f"labels {held.address('labels')}; "
                      f"{'shadow: all is kept' if held.shadow else 'rejecting'}")  # fmt: skip

    run(held, out, Event(), ready)


@app.command("replay")
def replay(
    file: Annotated[
        Path | None, typer.Argument(metavar="HDF5", help="Frames; simulated ones without.")
    ] = None,
    settings: Settings = None,
    rate: Annotated[float, typer.Option(min=0.01, max=1e6, help="Frames a second.")] = 50.0,
    frames: Annotated[int | None, typer.Option(min=1, help="How many, at most.")] = None,
    series: Annotated[
        str | None, typer.Option(help="Its name, NUMBER-NAME; else the time of day.")
    ] = None,
    delay: Annotated[float, typer.Option(min=0, help="From a frame to its label, s.")] = 10.0,
    data: Annotated[str | None, typer.Option(help="The data set of frames in the file.")] = None,
    labels: Annotated[str | None, typer.Option(help="That of labels in the file.")] = None,
) -> None:
    """Send simulated or recorded frames as a detector would, and labels after them.

    Frames wait for a service that is set to the same source; labels say what the frames show, as
    the simulation or the file knows it.
    """
    import time

    from madem.beam.sources.hdf5 import Recorded
    from madem.serve.replay import replay as send

    held = service_config(None, settings)
    name = series or f"{int(time.time())}-replay"
    number = name.partition("-")[0]
    if not (number.isascii() and number.isdecimal() and len(number) < 16) or len(name) > 60:
        raise InputError("--series must be NUMBER-NAME, the number of at most 15 digits, but is "
                         f"{name[:60]!r}")  # fmt: skip
    source: Any = held.detector.source("all", held.detector.seed)
    if file is not None:
        module = held.detector.module.make(where="detector.module")
        source = Recorded(
            file,
            module,
            data,
            labels,
            held.corner,
            held.photon,
            names=("HDF5", "--data", "--labels"),
        )
    with plain_console().status("sending") as status:
        sent = send(source, name, held.source, rate,
                    (held.address("labels"), delay), frames,
                    lambda n: status.update(f"{name}: {n} frames"))  # fmt: skip
    typer.echo(f"{name}: {sent.frames} frames, {sent.lost} that nobody took, {sent.labels} labels")


@app.command("labels")
def labels(
    file: Annotated[Path, typer.Argument(metavar="CSV", help="Columns: series, image, hit.")],
    to: Annotated[str, typer.Option(help="Where a service hears.")] = "tcp://127.0.0.1:31012",
) -> None:
    """Send the labels of a file to a running service."""
    from madem.beam import needed
    from madem.serve.labels import messages_of, read_labels

    found = read_labels(file)
    zmq = needed("zmq", "serve")
    with zmq.Context() as context, context.socket(zmq.PUSH) as out:
        out.setsockopt(zmq.SNDTIMEO, 5000)
        out.setsockopt(zmq.LINGER, 5000)
        out.setsockopt(zmq.IMMEDIATE, 1)
        try:
            out.connect(to)
            for content in messages_of(found):
                out.send(content)
        except zmq.Again:
            raise InputError(f"--to: nobody hears at {to}: start the service first") from None
        except zmq.ZMQError as error:
            raise InputError(f"--to: {to!r}: {error}") from None
    typer.echo(f"{len(found)} labels sent to {to}")


@app.command("state")
def state(
    folder: Folder,
    pin: Annotated[int | None, typer.Option(help="Keep this generation for good.")] = None,
    rollback: Annotated[int | None, typer.Option(help="Let this generation judge.")] = None,
    export: Annotated[str | None, typer.Option(help="Write the frame list of a series.")] = None,
) -> None:
    """Show the generations of a service's chip, pin one, go back to one, or list kept frames.

    Missed hits: of those among the frames that the calibration has set aside, at a cut that rejects
    the share of the others that is asked for.
    """
    import time

    from rich.table import Table

    from madem.serve.page import generations
    from madem.serve.record import Record
    from madem.serve.store import Store

    store = Store(folder)
    if not store.numbers():
        raise InputError(f"{str(folder)[:100]!r} holds no generation of a chip")
    if pin is not None:
        store.pin(pin)
    if rollback is not None:
        store.point(rollback)
    if export is not None:
        if not any(True for _ in Record(folder / "verdicts").lines(export)):
            raise InputError(f"--export: there are no verdicts of series {export[:60]!r}")
        for path in Record(folder / "verdicts").export(export, folder / "frames"):
            typer.echo(f"written: {path}")
    table = Table("generation", "when", "why", "missed hits", "labels", "")
    for each in generations(store):
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each["at"] or 0))
        marks = [word for word in ("current", "pinned") if each[word]]
        missed = "-" if each["missed"] is None else f"{100 * each['missed']:.1f} %"
        told = "-" if each["labels"] is None else str(each["labels"])
        table.add_row(str(each["number"]), when, str(each["why"]), missed, told, ", ".join(marks))
    plain_console().print(table)
