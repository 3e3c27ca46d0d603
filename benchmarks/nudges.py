"""Is a nudge that is measured (``beta: auto``) as good as the best fixed one?

Trains the spectrum's chips by centred differences under every imperfection at one level: with
``auto``, and with fixed nudges of a grid, as multiples of the task's own, the same for all samples
or every sample moved as far (``Even``). All see the same samples on the same chips, at one rate.
Prints for each condition what ``auto`` reads, the best of the grid and its lead, chip by chip, and
which share of the settlings of training the calibration takes.

    python benchmarks/nudges.py                     # two tasks, level 3
    python benchmarks/nudges.py --task digits --level 4 --chips 32
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from madem import learn
from madem.experiments.spectrum.benches import Bench
from madem.experiments.spectrum.config import SpectrumConfig
from madem.experiments.spectrum.imperfections import TABLE, severities
from madem.experiments.spectrum.rules import differences
from madem.training import Trainer

PLAIN = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Multiples of the task's nudge."""
EVEN = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Currents into the outputs of every sample, in the network's own unit."""


def grid(bench: Bench) -> Iterator[tuple[str, learn.Estimator]]:
    """Yield every fixed nudge, and its name."""
    for each in PLAIN:
        yield f"{each:g} of the task's", learn.centred(each * bench.sizes.beta)
    for each in EVEN:
        yield f"even, {each:g}", learn.centred(learn.Even(each))


def trained(
    bench: Bench, how: learn.Estimator, severe: dict[str, float], sampled: bool, rate: float
) -> tuple[Tensor, int]:
    """Return what each chip reads in the end, and how many samples were settled."""
    learner = replace(differences(how, bench), sampled=sampled)
    trainer = Trainer(bench.plan(learner, rate, severe), counted=False)
    while not trainer.done:
        trainer.advance()
    return torch.tensor(trainer.curve[-1]["score"], dtype=torch.float64), trainer.machine.settled


def main() -> None:
    """Print a line a condition."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", nargs="*", default=["digits", "braille"])
    parser.add_argument("--level", type=int, default=3, choices=(1, 2, 3, 4))
    parser.add_argument("--chips", type=int, default=16)
    parser.add_argument("--rate", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.filterwarnings("ignore", "beta auto")  # where chips are exact
    print("| task | condition | auto, % | best of the grid, % | lead, points | calibration |")
    print("|---|---|---|---|---|---|")
    for task in given.task:
        bench = SpectrumConfig.of({"seed": given.seed, "chips": given.chips}).bench(task)
        ways = [(name, False) for name in ("ideal", *TABLE)]
        for name, sampled in [*ways, ("converters", True), ("together", True)]:
            severe = severities(None if name == "ideal" else name, given.level - 1)
            own, settled = trained(bench, learn.centred(learn.Measured()), severe, sampled,
                                   given.rate)  # fmt: skip
            reads = {kind: trained(bench, how, severe, sampled, given.rate)
                     for kind, how in grid(bench)}  # fmt: skip
            best = max(reads, key=lambda kind: float(reads[kind][0].mean()))
            other, plain = reads[best]
            lead = own - other
            error = float(lead.std()) / math.sqrt(len(lead))
            print(f"| {task} | {name}{', sampled' * sampled} | {100 * float(own.mean()):.1f} | "
                  f"{100 * float(other.mean()):.1f} ({best}) | {100 * float(lead.mean()):+.1f} ± "
                  f"{100 * error:.1f} | {1 - plain / settled:.1%} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
