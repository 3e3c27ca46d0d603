"""The command line. Heavy imports wait inside the commands, so that help comes at once."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from madem.cli import device, show, spice
from madem.cli.gradcheck import gradcheck
from madem.cli.run import report, run
from madem.errors import InputError

app = typer.Typer(
    name="madem",
    help="Train neural networks on memristor crossbars by activity differences.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(run)
app.command()(gradcheck)
app.command()(report)
app.add_typer(device.app, name="device")
app.add_typer(spice.app, name="spice")
app.add_typer(show.app, name="show")


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
