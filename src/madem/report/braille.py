"""The page of the main job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from madem.errors import InputError
from madem.experiments.build import timing_of
from madem.experiments.circuits import bench_of_braille, phases
from madem.experiments.config import make
from madem.experiments.maps import maps
from madem.experiments.rundir import RunDirectory
from madem.report import figures, show

DRAWN = "classify.two_layer"
"""The network whose circuit is drawn."""

SHOWN = 3
"""Words drawn as Braille cells for each network."""


TEMPLATE = "braille.html.jinja"


def content(folder: RunDirectory, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page of a finished run shows, besides its config and summary.

    Raises ``InputError`` where the run is not whole.
    """
    metrics = folder.load_json("metrics.json")
    if metrics is None:
        raise InputError(f"{str(folder.path)!r} is damaged: metrics.json is missing")
    return {
        "metrics": metrics,
        "names": figures.TITLES,
        "figures": draw_all(folder, folder.config(), summary, metrics),
        **draw_circuit(folder, metrics),
        "claims": [claim(name, summary, metrics) for name in figures.TITLES],
    }


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


def draw_circuit(folder: RunDirectory, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of the circuit as SVG: maps of arrays, states and times of settling.

    States settle without the wires, with which every figure would take minutes.
    """
    config = make(folder.config())
    bare = config.model_copy(update={"chip": config.chip.model_copy(update={"wire": None})})
    bench = bench_of_braille(bare, folder, DRAWN, 0)
    found, title = phases(bench, timing_of(config.chip)), figures.TITLES[DRAWN]
    times = {}
    for name in figures.TITLES:
        held = folder.load_tensors(f"jobs/{name}.safetensors")
        if held is not None:
            times[name] = {p: as_array(held[0][f"settling.{p}"]) for p in ("free", "nudged")}
    seconds = {name: metrics[name]["settling"]["seconds"] for name in times}
    arrays = show.crossbar_figure(maps(config, folder, DRAWN, 0, 0), f"{title}: first chip")
    return {
        "seconds": seconds,
        "circuit": {
            "maps": figures.svg(arrays),
            "states": figures.svg(show.settling_figure(found, f"{title}: first chip")),
            "times": figures.svg(show.times_figure(times, seconds)),
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


def tell(summary: Mapping[str, Any], console: Console) -> None:
    """Print the results as a table."""
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
    console.print(table)
