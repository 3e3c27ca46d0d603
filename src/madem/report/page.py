"""One self-contained HTML page from a run directory, and from nothing else.

Every experiment has a template here of its own name, and a module, with ``content(folder,
results)``, what the template shows besides ``config``, ``summary`` (the results) and ``machine``,
and ``tell(results, console)``, which prints the results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.console import Console

from madem.documents import dump_yaml
from madem.experiments.catalogue import find
from madem.experiments.running.experiment import citations
from madem.experiments.running.results import Contrast, Interval, Result
from madem.experiments.running.rundir import RunDirectory
from madem.units import si


def write_report(path: Path) -> Path:
    """Write ``report.html`` of the finished run in ``path``; return where it is.

    All results are made anew from the jobs. Raises ``InputError`` where there is no run, where it
    is not finished, and where another process is at work there.
    """
    folder = RunDirectory(path)
    held = folder.config()
    experiment = find(held)
    with folder.at_work():
        summary = experiment.results(experiment.model.of(held), path)
        page = render(
            f"{experiment.name}.html.jinja",
            {
                "config": held,
                "config_text": dump_yaml(held),
                "summary": summary,
                "machine": folder.load_json("machine.json") or {},
                "citations": citations(held),
                **_module(experiment.name).content(folder, summary),
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
    environment.filters |= {"percent": percent, "si": si, "price": price}
    return environment.get_template(template).render(content)


def points(share: float) -> str:
    """Return a difference of shares in points, without a sign where it rounds to none.

    >>> points(0.0123), points(-0.0001)
    ('+1.2', '0.0')
    """
    text = f"{100 * share:+.1f}"
    return text if text[1:] != "0.0" else "0.0"


def share(value: float | None) -> str:
    """Return a share in per cent, a dash where there is none.

    >>> share(0.123), share(None)
    ('12.3', '-')
    """
    return "-" if value is None else f"{100 * value:.1f}"


def valued(claim: Contrast) -> str:
    """Return the figure of a claim as text, with its interval where it has one."""
    scale = 100.0 if claim.unit in ("%", "points") else 1.0
    unit = {"x": " times", "frames": " labels"}.get(claim.unit, f" {claim.unit}")
    held = claim.value
    low, mean, high = (f"{scale * v:.3g}" for v in (held.low, held.mean, held.high))
    if held.mean < 0 and claim.unit == "frames":
        return "not found on all"
    return f"{mean}{unit}" if held.low == held.high else f"{mean}{unit} ({low} to {high})"


def told(held: Interval) -> str:
    """Return a share in per cent with its interval."""
    return f"{100 * held.mean:.1f} % ({100 * held.low:.1f} to {100 * held.high:.1f})"


def tell_claims(claims: Sequence[Contrast], console: Console) -> None:
    """Print what is claimed, and whether it is reached."""
    for claim in claims:
        mark = "reached" if claim.reaches else "NOT reached"
        console.print(f"- {claim.said}: {valued(claim)} ({claim.bar}: {mark})", highlight=False)


def price(row: Mapping[str, Any]) -> str:
    """Return what a row of the ledger is charged by: joules each, or its power for a time.

    >>> price({"joules_each": 5e-12, "watts": 0.0, "duration": 0.0})
    '5 pJ each'
    >>> price({"joules_each": 0.0, "watts": 2.0, "duration": 5e-9})
    '2 W in sum, 5 ns each'
    """
    if "watts" not in row:  # of a run of an earlier version
        return ""
    if row["duration"]:
        return f"{si(row['watts'], 'W')} in sum, {si(row['duration'], 's')} each"
    return f"{si(row['joules_each'], 'J')} each"


def tell_results(name: str, results: Result, console: Console) -> None:
    """Print what came of a run of the experiment ``name``."""
    _module(name).tell(results, console)


def _module(name: str) -> ModuleType:
    return import_module(f"madem.report.{name}")


def percent(value: float) -> str:
    """Return a fraction as a percentage.

    >>> percent(0.98712)
    '98.71 %'
    """
    return f"{100 * value:.2f} %"
