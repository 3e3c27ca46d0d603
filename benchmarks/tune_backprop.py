"""Tune the yardstick: accuracy of ideal backpropagation over its learning rate and first weights.

Prints one line a setting, on validation words, for each network of the main job. The best are
the defaults ``backprop_rate`` and ``backprop_gain`` of the config.

    python benchmarks/tune_backprop.py
"""

from __future__ import annotations

import torch

from madem.data.braille import read_words
from madem.experiments.braille import DEPTHS, TASKS, ideal_output, train_ideally
from madem.experiments.build import plan
from madem.experiments.config import defaults, make, override
from madem.randomness import stream

RATES = (1e-3, 2e-3, 3e-3, 5e-3, 1e-2, 2e-2)
GAINS = (0.25, 0.5, 1.0)


def main() -> None:
    torch.set_num_threads(1)
    for task in TASKS:
        for depth in DEPTHS:
            for gain in GAINS if depth == "two_layer" else (0.5,):
                for rate in RATES:
                    report(task, depth, rate, gain)


def report(task: str, depth: str, rate: float, gain: float) -> None:
    name = f"{task}.{depth}"
    settings = [f"{name}.backprop_rate={rate}", f"{name}.backprop_gain={gain}", "chips=4"]
    config = make(override(defaults(read_words()), settings))
    one = plan(config, task, depth)
    weights = train_ideally(one)
    x, target, _ = one.task.sample((10_000,), stream(1, name, "tuning"))
    right = one.task.cost.correct(
        ideal_output(one, weights, x), target.expand(one.chips, *target.shape)
    )
    share = right.double().mean(-1)
    print(
        f"{name}  rate {rate:<6g} gain {gain:<5g} accuracy "
        f"{100 * float(share.mean()):.2f} % +- {100 * float(share.std()):.2f} %",
        flush=True,
    )


if __name__ == "__main__":
    main()
