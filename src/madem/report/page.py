"""One self-contained HTML page from a run directory, and from nothing else.

Every experiment has a module here of its own name, with a ``TEMPLATE``, ``content(folder,
summary)``, what the template shows besides ``config``, ``summary`` and ``machine``, and
``tell(summary, console)``, which prints the results.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from rich.console import Console

from madem.documents import dump_yaml
from madem.errors import InputError
from madem.experiments.catalogue import find
from madem.experiments.rundir import RunDirectory, write_atomically


def write_report(path: Path) -> Path:
    """Write ``report.html`` of the finished run in ``path``; return where it is.

    Raises ``InputError`` where there is no run, or it is not finished.
    """
    folder = RunDirectory(path)
    config, summary = folder.config(), folder.load_json("summary.json")
    if summary is None:
        raise InputError(f"{str(path)!r} is not finished; to go on: madem run --resume {path}")
    module = _module(find(config).name)
    environment = Environment(
        loader=PackageLoader("madem.report", "."),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "si": si}
    page = environment.get_template(module.TEMPLATE).render(
        config=config,
        config_text=dump_yaml(config),
        summary=summary,
        machine=folder.load_json("machine.json") or {},
        **module.content(folder, summary),
    )
    target = path / "report.html"
    write_atomically(target, page.encode())
    return target


def tell_results(name: str, summary: Mapping[str, Any], console: Console) -> None:
    """Print what came of a run of the experiment ``name``."""
    _module(name).tell(summary, console)


def _module(name: str) -> ModuleType:
    return import_module(f"madem.report.{name}")


def percent(value: float) -> str:
    """Return a fraction as a percentage.

    >>> percent(0.98712)
    '98.71 %'
    """
    return f"{100 * value:.2f} %"


def si(value: float, unit: str) -> str:
    """Return ``value`` with an SI prefix.

    >>> si(1.234e-5, "J")
    '12.3 uJ'
    """
    for factor, prefix in (
        (1e-3, "k"),
        (1.0, ""),
        (1e3, "m"),
        (1e6, "u"),
        (1e9, "n"),
        (1e12, "p"),
        (1e15, "f"),
    ):
        if abs(value) * factor >= 1:
            return f"{value * factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"
