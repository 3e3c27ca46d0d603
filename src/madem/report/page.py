"""One self-contained HTML page from a run directory, and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from torch import Tensor

from madem.errors import InputError
from madem.experiments.rundir import RunDirectory, write_atomically
from madem.report import figures

SHOWN = 3
"""Words drawn as Braille cells for each network."""


def write_report(path: Path) -> Path:
    """Write ``report.html`` of the finished run in ``path``; return where it is.

    Raises ``InputError`` where there is no run, or it is not finished.
    """
    folder = RunDirectory(path)
    config = folder.config()
    summary, metrics = folder.load_json("summary.json"), folder.load_json("metrics.json")
    if summary is None or metrics is None:
        raise InputError(f"{str(path)!r} is not finished; to go on: madem run --resume {path}")
    environment = Environment(
        loader=PackageLoader("madem.report", "."),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "si": si}
    page = environment.get_template("report.html.jinja").render(
        config=config,
        config_text=yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
        summary=summary,
        metrics=metrics,
        names=figures.TITLES,
        figures=draw_all(folder, config, summary, metrics),
        claims=[claim(name, summary, metrics) for name in figures.TITLES],
        machine=folder.load_json("machine.json") or {},
    )
    target = path / "report.html"
    write_atomically(target, page.encode())
    return target


def draw_all(
    folder: RunDirectory,
    config: Mapping[str, Any],
    summary: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    """Return every figure of the report as SVG, by name."""
    drawn: dict[str, Any] = {
        "curves": figures.learning_curves(metrics, summary),
        "flips": {
            task: figures.accuracy_by_flip(metrics, summary, task) for task in summary["tasks"]
        },
        "conductances": [],
        "words": {},
        "states": {},
        "confusion": [],
        "waterfall": {},
        "writing": figures.writing(summary) if "writing" in summary else None,
    }
    for name, title in figures.TITLES.items():
        held = folder.load_tensors(f"jobs/{name}.safetensors")
        if held is None:
            raise InputError(f"{str(folder.path)!r} is damaged: jobs/{name}.safetensors is missing")
        tensors = {key: as_array(value) for key, value in held[0].items()}
        drawn["conductances"].append(
            figures.conductances(tensors["conductance.before"], tensors["conductance.after"], title)
        )
        drawn["waterfall"][name] = [
            figures.waterfall(metrics[name]["ledger"]["training"], key, f"{title}: training, {key}")
            for key in ("joules", "seconds")
        ]
        draw_states(drawn, name, title, tensors, config["words"])
        if "confusion" in tensors:
            drawn["confusion"].append(
                figures.confusion(tensors["confusion"], config["words"], f"{title}: confusion")
            )
    return drawn


def draw_states(
    drawn: dict[str, Any], name: str, title: str, tensors: Mapping[str, Any], words: list[str]
) -> None:
    """Add the drawings of what the first chip saw of a few words, the least sure ones first."""
    last = max(int(key.split(".")[2]) for key in tensors if key.startswith("example.free."))
    difference = tensors[f"example.high.{last}"] - tensors[f"example.low.{last}"]
    unsure = np.argsort(-np.abs(difference).sum(-1))[:SHOWN]
    shown = [words[int(number)] for number in tensors["example.word"][unsure]]
    rows = [("shown to the chip", tensors["example.x"][unsure], 1.0)]
    if name.startswith("reconstruct"):
        rows += [
            ("free state: read back", tensors["example.output"][unsure], 3.0),
            ("nudged both ways: difference", difference[unsure], float(np.abs(difference).max())),
        ]
    else:
        phases = {phase: tensors[f"example.{phase}.{last}"][unsure[0]] for phase in ("high", "low")}
        phases["free"] = tensors["example.output"][unsure[0]]
        drawn["states"][name] = figures.states_bar(phases, words, f"{shown[0]!r} shown")
    drawn["words"][name] = figures.braille_examples(rows, shown, title)


def claim(name: str, summary: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Set one network's training beside the article's hundreds of nJ and tens of us."""
    task, depth = name.split(".")
    spent = summary["tasks"][task][depth]["ledger"]["training"]
    result = metrics[name]
    samples = result["samples"]
    best = max(sum(values) for _, values in result["curve"])
    reached = next(step for step, values in result["curve"] if sum(values) >= 0.95 * best)
    per_word = spent["array_only"]["joules"] / samples
    nearly = samples * reached / result["curve"][-1][0]
    return {
        "name": name,
        "samples": samples,
        "spent": spent,
        "array_per_word": per_word,
        "all_in_per_word": spent["all_in"]["joules"] / samples,
        "joules_nearly": nearly * per_word,
        "seconds_nearly": nearly * spent["array_only"]["seconds"] / samples,
        "nearly": nearly,
        "of_the_order": 1e-7 <= nearly * per_word < 1e-6
        and 1e-5 <= nearly * spent["array_only"]["seconds"] / samples < 1e-4,
        "dearest": {
            key: max(result["ledger"]["training"], key=lambda row: row[key])["item"]
            for key in ("joules", "seconds")
        },
    }


def as_array(tensor: Tensor) -> Any:
    """Return ``tensor`` as a float64 array."""
    return tensor.double().numpy()


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
