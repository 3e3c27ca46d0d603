"""Tune the main job: the chips' own settings, and the yardsticks they are set beside.

One number after another is walked along in steps of a factor, up and then down, for as long as that
reads more words, while the best of those before it are kept. Every candidate meets the same chips,
samples and validation words, all of another seed than any run of the documentation. Prints a line a
candidate and writes all of them, with the environment, as JSON.

    python benchmarks/tune.py chips      # rates, units, nudge, threshold of the chips
    python benchmarks/tune.py backprop   # optimiser, bound, rates, first weights of ideal training
    python benchmarks/tune.py ex_situ    # optimiser, rates, noise, units of what is programmed once
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from madem.experiments.braille.config import NETWORKS, BrailleConfig
from madem.experiments.braille.study import words_of
from madem.experiments.config.base import merged
from madem.randomness import stream
from madem.training import (
    Trainer,
    ideal_outputs,
    programmed,
    score,
    scores,
    train_digitally,
)
from madem.units import parse

SEED, CHIPS, WORDS = 1000, 6, 10_000
Values = dict[str, Any]
Step = tuple[str, int | None, float]
"""What is walked along: a key, its layer (all where None), and the factor of a step."""


def times(value: Any, factor: float) -> Any:
    """Return a number, or a conductance as text, times ``factor``."""
    if isinstance(value, str):
        return f"{1e6 * parse(value, 'siemens') * factor:.4g} uS"
    return float(f"{value * factor:.4g}")


def moved(held: Any, layer: int | None, factor: float) -> Any:
    """Return a value, or that of one layer or of all, times ``factor``."""
    if not isinstance(held, list):
        return times(held, factor)
    return [times(v, factor) if layer in (None, i) else v for i, v in enumerate(held)]


def chips(config: BrailleConfig, name: str, x: Tensor, target: Tensor) -> Tensor:
    """Return the accuracy of each chip that learned in place."""
    trainer = Trainer(config.plan(name))
    while not trainer.done:
        trainer.advance()
    return scores(trainer.plan, trainer.machine, x, target, "tuning").mean(-1)


def backprop(config: BrailleConfig, name: str, x: Tensor, target: Tensor) -> Tensor:
    """Return the accuracy of each network trained in exact numbers."""
    plan = config.plan(name)
    weights = train_digitally(plan, config.learner(name).backprop.recipe(plan), "backprop")
    return score(plan.task.cost, ideal_outputs(plan, weights, x), target).mean(-1)


def ex_situ(config: BrailleConfig, name: str, x: Tensor, target: Tensor) -> Tensor:
    """Return the accuracy of each chip that was programmed once."""
    plan, how = config.plan(name), config.learner(name).ex_situ
    machine = programmed(plan, how.recipe(plan))
    return scores(plan, machine, x, target, "tuning").mean(-1)


PLACES = {"units": "writing", "rates": "schedule", "beta": "estimator", "threshold": "rule"}
"""Where the chips' own numbers stand in how a network learns."""


def begun(kind: str, shipped: Values) -> list[Values]:
    """Return where the search begins: every way of training that is not a number."""
    own = {key: shipped[part][key] for key, part in PLACES.items()}
    held = {key: own[key] for key in ("units", "rates")}
    if kind == "chips":
        return [own]
    plain = held | {"optimiser": "sgd", "bounded": True, "noise": "0 uS", "gain": 0.5}
    adam = plain | {"optimiser": "adam", "rates": [5e-3] * len(held["rates"])}
    if kind == "ex_situ":
        return [plain, adam]
    free = {"bounded": False}
    return [plain, plain | free, adam, adam | free]


def path(kind: str, layers: int) -> list[Step]:
    """Return what is walked along from the best beginning, one after another."""
    each: list[Step] = [("units", layer, 2**0.5) for layer in range(layers)]
    last: list[Step] = [("beta", None, 2.0), ("threshold", None, 1.5)] if kind == "chips" else []
    first: list[Step] = [("gain", None, 2.0)] if layers > 1 and kind == "backprop" else []
    return [*each, *last, *first]


class Search:
    """The record of one search: every candidate of ``kind`` for the network ``name``."""

    def __init__(self, kind: str, name: str) -> None:
        """Start with nothing tried."""
        self.kind, self.name = kind, name
        self.task, self.depth = name.split(".")
        shipped = BrailleConfig().model_dump(mode="json")
        self.base = merged(shipped, {"machine": {"chips": CHIPS}, "seed": SEED})
        self.shipped = self.base[self.task][self.depth]
        self.tried: list[Values] = []

    def score(self, setting: Values) -> float:
        """Return the mean accuracy with ``setting``, measured once."""
        for each in self.tried:
            if each["setting"] == setting:
                return float(each["mean"])
        inner: Values = {self.kind: setting}
        if self.kind == "chips":
            inner = {part: {key: setting[key]} for key, part in PLACES.items()}
        config = BrailleConfig.of(merged(self.base, {self.task: {self.depth: inner}}))
        task = words_of(config.plan(self.name))
        x, target = replace(task, tested=WORDS).held("test", stream(SEED, self.name, "tuning"))
        share = METERS[self.kind](config, self.name, x, target)
        mean, spread = float(share.mean()), float(share.std())
        self.tried.append({"setting": setting, "mean": mean, "sd": spread})
        print(f"{self.name} {100 * mean:6.2f} % +- {100 * spread:.2f} %  {setting}", flush=True)
        return mean

    def walk(self, best: Values, step: Step) -> Values:
        """Return the best setting found on the way up and down one number."""
        key, layer, factor = step
        for each in (factor, 1 / factor):
            while True:
                ahead = best | {key: moved(best[key], layer, each)}
                if self.score(ahead) <= self.score(best):
                    break
                best = ahead
        return best

    def run(self) -> None:
        """Search: rates from every beginning, then the rest, of ideal training from the best."""
        found = [self.walk(each, ("rates", None, 2.0)) for each in begun(self.kind, self.shipped)]
        for best in found if self.kind == "ex_situ" else [max(found, key=self.score)]:
            self.go_on(best)

    def go_on(self, best: Values) -> None:
        """Walk along all numbers from ``best``."""
        if self.kind == "ex_situ":
            noisy = [best | {"noise": noise} for noise in ("4 uS", "8 uS", "16 uS", "32 uS")]
            best = max([best, *noisy], key=self.score)
        for step in path(self.kind, len(best["rates"])):
            best = self.walk(best, step)
        if self.kind != "backprop":
            self.walk(best, ("rates", None, 2.0))


METERS = {"chips": chips, "backprop": backprop, "ex_situ": ex_situ}


def environment() -> dict[str, str]:
    """Return what the figures were taken with."""
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": models[0].split(":")[1].strip() if models else platform.machine(),
    }


def main() -> None:
    """Tune one of three, and write what was tried."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=METERS)
    parser.add_argument("--network", choices=list(NETWORKS))
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/DATE-tune-KIND.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    names = [options.network] if options.network else list(NETWORKS)
    tried = {}
    for name in names:
        search = Search(options.kind, name)
        search.run()
        tried[name] = search.tried
    best = {name: max(part, key=lambda each: each["mean"]) for name, part in tried.items()}
    held = {
        "command": f"python benchmarks/tune.py {options.kind}",
        "environment": environment() | {"minutes": f"{(time.perf_counter() - start) / 60:.1f}"},
        "seed": SEED, "chips": CHIPS, "words": WORDS, "best": best, "tried": tried,
    }  # fmt: skip
    date = held["environment"]["date"]  # type: ignore[index]
    file = options.out or Path(__file__).parent / f"results/{date}-tune-{options.kind}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(held, indent=1) + "\n")
    print(file)


if __name__ == "__main__":
    main()
