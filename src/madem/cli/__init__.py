"""The command line. Heavy imports wait inside the commands, so that help comes at once."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from madem.cli import config, detector, device, looks
from madem.cli.run import report, run
from madem.errors import LONGEST, InputError, clipped, fault

app = typer.Typer(
    name="madem",
    help="Train neural networks on memristor crossbars by activity differences.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(run)
app.command()(looks.gradcheck)
app.command()(report)
app.add_typer(config.app, name="config")
app.add_typer(device.app, name="device")
app.add_typer(detector.app, name="detector")
app.add_typer(looks.spice, name="spice")
app.add_typer(looks.show, name="show")


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


def main() -> None:
    """Run the command line.

    Bad input, and what the computer cannot do (no storage, no memory, a worker that died), is one
    line and exit code 2; an interrupt, or the request to end, is one line and exit code 130.
    """
    with _hearing_once():
        _run()


def _run() -> None:
    """Run the command line and leave, by ``sys.exit`` or with what is our own mistake."""
    _open_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name in no known encoding can be printed
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False)
        if code == 130:  # what typer makes of an interrupt that nobody has told of
            raise KeyboardInterrupt
        sys.stdout.flush()
        sys.exit(code)
    except InputError as error:
        message = str(error)
    except TyperException as error:
        message = error.format_message()
    except (typer.Abort, KeyboardInterrupt):
        print("interrupted; no file was left half-written", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        line = fault(error)
        if line is None:
            raise
        message = line
    if message.startswith("Usage:"):  # nothing was asked, so this is the help, not an error
        print(message)
        sys.exit(0)
    print(f"madem: {clipped(' '.join(message.split()), LONGEST)}", file=sys.stderr)
    _give_up_output()
    sys.exit(2)


@contextmanager
def _hearing_once() -> Iterator[None]:
    """Let the first interrupt, or request to end, stop the work; later ones change nothing."""

    def stop(*_: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    usual: dict[int, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
    }
    for each, handler in usual.items():
        if signal.getsignal(each) == handler:  # what a shell lets us ignore stays ignored
            signal.signal(each, stop)
    try:
        yield
    finally:
        for each, handler in usual.items():
            if signal.getsignal(each) == stop:
                signal.signal(each, handler)


def _open_closed() -> None:
    """Let what was closed lead nowhere, so that no file takes the place of a closed output."""
    while (opened := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(opened)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _give_up_output() -> None:
    """Forget what cannot be printed, so that it is not complained of again on leaving."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
