"""What wires cost in training: the networks of the main job with and without, in one process.

    python benchmarks/wired_braille.py [--steps N] [--wire "2 ohm"] [--chips N] [--json FILE]

Trains every network of `madem run braille` for its first N steps, in turn without wires, with wires
by the rule of terminal voltages, and by that of cell voltages, on one thread; prints processor
seconds and their ratios.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from madem.experiments.braille.config import NETWORKS, BrailleConfig
from madem.experiments.config.base import override
from madem.training import Trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--wire", default="2 ohm")
    parser.add_argument("--chips", type=int, default=16)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    kinds = {
        "no wires": [],
        "terminals": [f"machine.wire={options.wire}"],
        "cells": [f"machine.wire={options.wire}", "machine.voltages=cells"],
    }
    rows, total = [], dict.fromkeys(kinds, 0.0)
    for name in NETWORKS:
        took = {}
        for kind, settings in kinds.items():
            chips, looks = f"machine.chips={options.chips}", f"{name}.schedule.looks=1"
            config = BrailleConfig.of(override({}, [chips, *settings, looks]))
            trainer = Trainer(config.plan(name))
            begun = time.process_time()
            for _ in range(options.steps):
                trainer.advance()
            took[kind] = time.process_time() - begun
            total[kind] += took[kind] * trainer.plan.schedule.steps / options.steps
        rows.append({"name": name, **took})
        ratios = {kind: took[kind] / took["no wires"] for kind in kinds}
        print(f"{name:24}" + "".join(f"{kind}: {took[kind]:6.2f} s ({ratios[kind]:.2f})  "
                                     for kind in kinds), flush=True)  # fmt: skip
    rows.append({"name": "all, whole trainings", **total})
    print(
        f"{'all, whole trainings':24}"
        + "".join(
            f"{kind}: {total[kind]:6.0f} s ({total[kind] / total['no wires']:.2f})  "
            for kind in kinds
        )
    )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
