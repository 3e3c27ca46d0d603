"""The page of the main job."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from madem.experiments.braille.config import BrailleConfig
from madem.experiments.braille.results import BrailleResults, NetworkResult
from madem.experiments.running.rundir import RunDirectory
from madem.inspect.circuits import Bench, phases
from madem.inspect.maps import maps
from madem.inspect.subject import put_on_bench
from madem.ledger import uncounted
from madem.report import figures, show

DRAWN = "classify.two_layer"
"""The network whose circuit is drawn."""

SHOWN = 3
"""Words drawn as Braille cells for each network."""


def content(folder: RunDirectory, found: BrailleResults) -> dict[str, Any]:
    """Return what the page of a finished run shows, besides its config and results.

    Raises ``InputError`` where the run is not whole.
    """
    metrics, summary = folder.load_json("metrics.json") or {}, found.model_dump()
    tensors = {name: as_arrays(folder.tensors(name)) for name in figures.TITLES}
    return {
        "metrics": metrics,
        "names": figures.TITLES,
        "figures": draw_all(tensors, folder.config(), summary, metrics),
        **draw_circuit(folder, tensors, metrics),
        "results": {name: result(part_of(found, name)) for name in figures.TITLES},
        "claims": [claim(name, part_of(found, name), metrics[name]) for name in figures.TITLES],
        "nodes": nodes(metrics),
        "uncounted": uncounted(),
    }


def part_of(found: BrailleResults, name: str) -> NetworkResult:
    """Return the results of the network ``name``, ``task.depth``."""
    task, depth = name.split(".")
    return found.tasks[task][depth]


def result(part: NetworkResult) -> dict[str, str]:
    """Return the results of one network as text, each with its standard error."""
    gains = {
        f"gain_{key}": with_error(gain.mean, gain.error, sign=True)
        for key, gain in part.gain.items()
    }
    errors = part.accuracy_error
    return {
        "chips": with_error(part.accuracy_mean, errors.total),
        "parts": f"{100 * errors.words:.2f}, {100 * errors.chips:.2f}",
        "limit": with_error(part.bayes_limit.mean, part.bayes_limit.error),
        "backprop": with_error(part.backprop, part.backprop_error),
        "ex_situ": with_error(part.ex_situ, part.ex_situ_error),
        "untrained": f"{100 * part.untrained:.0f}",
        **gains,
    }


def with_error(mean: float, error: float, sign: bool = False) -> str:
    """Return a share in per cent with its standard error, in the decimals that the error carries.

    One decimal, and more only where the error would vanish in it.

    >>> with_error(0.98871, 0.0009), with_error(0.1895, 0.0098), with_error(0.98935, 0.00023)
    ('98.9 ± 0.1', '18.9 ± 1.0', '98.94 ± 0.02')
    >>> with_error(-0.0123, 0.0031, sign=True)
    '-1.2 ± 0.3'
    """
    places = max(1, math.ceil(-math.log10(200 * error))) if error > 0 else 1
    return f"{100 * mean:{'+' if sign else ''}.{places}f} ± {100 * error:.{places}f}"


def nodes(metrics: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return which items of the ledger are priced from which generation of silicon."""
    found: dict[str, dict[str, None]] = {}
    for name in figures.TITLES:
        for row in metrics[name]["ledger"]["training"]:
            found.setdefault(row["node"], {})[row["item"]] = None
    return {node: list(items) for node, items in found.items()}


def draw_all(
    tensors: Mapping[str, Mapping[str, Any]],
    config: Mapping[str, Any],
    summary: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    """Return every figure of the report as SVG, by name."""
    drawn: dict[str, Any] = {
        "curves": figures.svg(figures.learning_curves(metrics, summary)),
        "flips": {
            task: figures.accuracy_by_flip(metrics, summary, task) for task in summary["tasks"]
        },
        "conductances": [],
        "words": {},
        "states": {},
        "confusion": [],
        "waterfall": {},
        "writing": figures.writing(summary) if summary["writing"] else None,
    }
    for name, title in figures.TITLES.items():
        held = tensors[name]
        drawn["conductances"].append(
            figures.conductances(held["conductance.before"], held["conductance.after"], title)
        )
        drawn["waterfall"][name] = [
            figures.waterfall(metrics[name]["ledger"]["training"], key, f"{title}: training, {key}")
            for key in ("joules", "seconds")
        ]
        draw_states(drawn, name, title, held, config["words"])
        if "confusion" in held:
            drawn["confusion"].append(
                figures.confusion(held["confusion"], config["words"], f"{title}: confusion")
            )
    return drawn


def draw_circuit(
    folder: RunDirectory, tensors: Mapping[str, Mapping[str, Any]], metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the figures of the circuit as SVG: maps of arrays, states and times of settling.

    States settle without the wires, with which every figure would take minutes.
    """
    subject = put_on_bench(BrailleConfig.of(folder.config()), folder, DRAWN)
    bench, title = Bench(subject, wired=False), figures.TITLES[DRAWN]
    found = phases(bench, bench.timing)
    times = {
        name: {phase: held[f"settling.{phase}"] for phase in ("free", "nudged")}
        for name, held in tensors.items()
    }
    seconds = {name: metrics[name]["settling"]["seconds"] for name in times}
    arrays = show.crossbar_figure(maps(subject, 0, 0), f"{title}: first chip")
    return {
        "seconds": seconds,
        "circuit": {
            "maps": figures.svg(arrays),
            "states": figures.svg(show.settling_figure(found, f"{title}: first chip")),
            "times": figures.svg(show.times_figure(times, seconds)),
            "timeline": figures.svg(
                show.timeline_figure({name: metrics[name]["timeline"] for name in times})
            ),
            "by_phase": figures.svg(
                show.by_phase_figure({name: metrics[name]["by_phase"] for name in times})
            ),
        },
    }


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


def claim(name: str, part: NetworkResult, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what one network's training took, whole and until it had nearly learned."""
    spent, samples = part.ledger["training"], metrics["samples"]
    return {
        "name": name,
        "samples": samples,
        "spent": spent,
        "array_per_word": spent.array_only.joules / samples,
        "all_in_per_word": spent.all_in.joules / samples,
        "nearly": part.nearly_learned,
        "dearest": {
            key: max(metrics["ledger"]["training"], key=lambda row: row[key])["item"]
            for key in ("joules", "seconds")
        },
    }


def as_arrays(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return ``tensors`` as float64 arrays."""
    return {key: tensor.double().numpy() for key, tensor in tensors.items()}


def tell(found: BrailleResults, console: Console) -> None:
    """Print the results as a table."""
    columns = ("words, %", "chips", "Bayes limit", "backprop", "ex situ", "over ex situ")
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    for column in columns:
        table.add_column(column, no_wrap=True)
    for name in figures.TITLES:
        text = result(part_of(found, name))
        task, depth = name.split(".")
        table.add_row(
            f"{task} {'1' if depth == 'one_layer' else '2'}",
            *(text[key] for key in ("chips", "limit", "backprop", "ex_situ", "gain_ex_situ")),
        )
    table.caption = (
        "1, 2: layers; ±: standard error over chips and test words; over ex situ: chips less "
        "ex situ, chip by chip and word by word"
    )
    console.print(table)
