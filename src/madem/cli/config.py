"""``madem config``: what a config holds, whether it can be run, and its JSON schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from madem.cli.common import Settings, open_source

if TYPE_CHECKING:
    from madem.experiments.running.experiment import Experiment

app = typer.Typer(help="Configs: shown in full, checked, and their schema.", no_args_is_help=True)

SERVICE = "service"
"""What ``experiment`` is in the config of a service, which is no experiment."""

Source = Annotated[
    str, typer.Argument(metavar="EXPERIMENT|RUN|CONFIG", help="A name, a run, or a YAML config.")
]


@app.command("show")
def show(source: Source, settings: Settings = None) -> None:
    """Print a config in full as YAML, with every default."""
    from madem.documents import dump_yaml

    _, config = _made(source, settings)
    typer.echo(dump_yaml(config.model_dump(mode="json")), nl=False)


@app.command("check")
def check(source: Source, settings: Settings = None) -> None:
    """Build what a config describes as ``madem run`` would, and say whether it can be run."""
    experiment, config = _made(source, settings)
    if experiment is not None:
        experiment.check(config)
    typer.echo(f"{source}: ok, a config of {config.experiment}")


@app.command("schema")
def schema(
    name: Annotated[
        str | None, typer.Argument(metavar="EXPERIMENT", help="Of one experiment; else of all.")
    ] = None,
) -> None:
    """Print the JSON schema of configs, by which editors complete and check them.

    A YAML file names the schema in its first line: # yaml-language-server: $schema=madem.json
    """
    from pydantic.json_schema import models_json_schema

    from madem.experiments.catalogue import MODULES, experiment

    names = [name] if name else [*MODULES, SERVICE]
    models: list[Any] = [experiment(each).model for each in names if each != SERVICE]
    models += [_service()] if SERVICE in names else []
    refs, held = models_json_schema([(model, "validation") for model in models])
    for model in models:
        one = held["$defs"][model.__name__]
        one["required"] = ["experiment", *one.get("required", ())]
    whole = {"title": f"{name or 'any'} config of madem", "oneOf": list(refs.values()), **held}
    typer.echo(json.dumps(whole, indent=1))


def _service() -> Any:
    """Return the config of ``madem detector serve``."""
    from madem.serve.config import ServiceConfig

    return ServiceConfig


def _made(source: str, settings: list[str] | None) -> tuple[Experiment | None, Any]:
    """Return the experiment, none for a service, and the config of a name, a run or a YAML file."""
    from madem.experiments.catalogue import find

    _, held = open_source(source, settings, named=True)
    if held.get("experiment") == SERVICE:
        return None, _service().of(held)
    return find(held), find(held).model.of(held)
