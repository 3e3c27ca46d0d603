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

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.console import Console

from madem.documents import dump_yaml
from madem.experiments.catalogue import find
from madem.experiments.running.experiment import citations
from madem.experiments.running.rundir import RunDirectory


def write_report(path: Path) -> Path:
    """Write ``report.html`` of the finished run in ``path``; return where it is.

    All results are made anew from the jobs. Raises ``InputError`` where there is no run, where it
    is not finished, and where another process is at work there.
    """
    folder = RunDirectory(path)
    held = folder.config()
    experiment = find(held)
    with folder.at_work():
        summary = experiment.results(experiment.make(held), path)
        module = _module(experiment.name)
        page = render(
            module.TEMPLATE,
            {
                "config": held,
                "config_text": dump_yaml(held),
                "summary": summary,
                "machine": folder.load_json("machine.json") or {},
                "citations": citations(held),
                **module.content(folder, summary),
            },
        )
        folder.write("report.html", page.encode(errors="backslashreplace"))
    return path / "report.html"


def render(template: str, content: Mapping[str, Any]) -> str:
    """Return the page that ``template`` makes of ``content``.

    All text is escaped: what a person named or described stays text. Templates mark our own
    drawings, and nothing else, as safe.
    """
    environment = Environment(
        loader=PackageLoader("madem.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "si": si}
    return environment.get_template(template).render(content)


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
