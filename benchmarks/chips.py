"""What an ensemble costs: whole trainings of one chip and of many, alternating, in one run.

The one-layer classification of Braille words on its defaults, from making the chips to the last
look, ledger included, on one thread. Seconds are those of this process on a core, so that other
work on the machine does not count. The bar: 100 chips in at most 5 times the time of one.

    python benchmarks/chips.py --rounds 3 --json chips.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from rich.progress import track

from madem.experiments.braille.config import BrailleConfig
from madem.experiments.config.base import override
from madem.ledger import load_prices, totals
from madem.training import Trainer

BAR = 5.0


def config_of(chips: int, steps: int | None) -> BrailleConfig:
    settings = [f"machine.chips={chips}"]
    if steps is not None:
        settings.append(f"classify.one_layer.schedule.steps={steps}")
    return BrailleConfig.of(override({}, settings))


def seconds(config: BrailleConfig) -> float:
    """Return the processor's seconds of one whole training and its account."""
    begin = time.process_time()
    trainer = Trainer(config.plan("classify.one_layer"))
    while not trainer.done:
        trainer.advance()
    totals(trainer.ledger.rows(load_prices()))
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chips", type=int, default=100)
    parser.add_argument("--steps", type=int, help="other than the default number")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    counts = (1, options.chips)
    for count in counts:
        seconds(config_of(count, 20))
    taken: dict[int, list[float]] = {count: [] for count in counts}
    for _ in track(range(options.rounds), "rounds"):
        for count in counts:
            taken[count].append(seconds(config_of(count, options.steps)))
    ratios = [many / one for one, many in zip(*taken.values(), strict=True)]
    row = {
        "chips": options.chips,
        "one_chip_s": statistics.median(taken[1]),
        "all_chips_s": statistics.median(taken[options.chips]),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "bar": BAR,
    }
    print(f"1 chip {row['one_chip_s']:.2f} s, {options.chips} chips {row['all_chips_s']:.2f} s: "
          f"{row['ratio']:.2f} times (of {', '.join(f'{r:.2f}' for r in ratios)}; "
          f"bar {BAR:g})")  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
