"""Does the exact float32 gradient close the gap from deep resistive networks to backpropagation?

    python benchmarks/depth.py [--width N] [--epochs N] [--seeds 0,1,2] [--factor F] [--json FILE]

Trains resistive networks of 1 and 3 hidden layers on Fashion-MNIST at the published input gains,
strengths of the nudge and, times ``--factor``, rates (arXiv 2312.15063, there of 1,024 nodes a
layer) four times each: by activity differences contracted in difference form (*ours*), the same at
a twentieth of the strength (*gentle*), by subtracting the products of two absolute float32 states
as published code does (*subtracted*), and by backpropagation through the settling (*unrolled*). All
see the same images in the same order. Prints the test error of the last epoch. With ``--json``
every finished training is kept, and not done again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from step import resistive
from torch import Tensor

from madem.data.images import FASHION, Images, idx
from madem.learn import Unrolled, centred, springs
from madem.machine import Simulated
from madem.network import SquaredError
from madem.randomness import stream
from madem.solver import Sweep

COST = SquaredError()
BATCH, MOMENTUM = 32, 0.9
CASES: dict[int, tuple[float, float, tuple[float, ...]]] = {
    1: (300.0, 0.5, (0.005, 0.005, 0.005, 0.005)),
    3: (2500.0, 2.0, (0.005, 0.0005, 0.02, 0.002, 0.08, 0.008, 0.005, 0.0005)),
}
"""Hidden layers: input gain, strength of the nudge, learning rates of the weights and the bias of
every layer (arXiv 2312.15063, on batches of 32)."""

Gradients = list[Tensor]
Estimate = Callable[[Simulated, Tensor, Tensor], Gradients]


def subtracted(beta: float) -> Estimate:
    """Return the contrast of absolute states, its products taken one by one."""

    def products(states: tuple[Tensor, ...], gain: float) -> Gradients:
        found = []
        for i, (pre, post) in enumerate(pairwise(states)):
            below = gain * torch.cat([pre, -pre], -1) if i == 0 else pre
            squares = torch.zeros(post.shape[-1], below.shape[-1])
            for one, other in zip(below.split(4), post.split(4), strict=True):
                squares += (one[:, None, :] - other[:, :, None]).square().sum(0) / 2
            found += [squares, -post.sum(0)]
        return found

    def estimate(machine: Simulated, x: Tensor, target: Tensor) -> Gradients:
        free = machine.settle(x)
        push = springs(COST, free.output, target)
        gain = machine.network.joints[0].mirror  # type: ignore[attr-defined]
        sides = [
            products(machine.settle(x, push(sign * beta), start=free.rest.states).states, gain)
            for sign in (1, -1)
        ]
        return [(h - v) / (2 * beta * len(x)) for h, v in zip(*sides, strict=True)]

    return estimate


def estimators(beta: float) -> dict[str, Estimate]:
    return {
        "ours": lambda m, x, y: list(centred(beta, springs)(m, x, y, COST).weights),
        "gentle": lambda m, x, y: list(centred(beta / 20, springs)(m, x, y, COST).weights),
        "subtracted": subtracted(beta),
        "unrolled": lambda m, x, y: list(Unrolled()(m, x, y, COST).weights),
    }


def wrong(machine: Simulated, images: Tensor, classes: Tensor) -> float:
    parts = zip(images.split(1000), classes.split(1000), strict=True)
    right = [COST.correct(machine.settle(x).output, y) for x, y in parts]
    return 1 - float(torch.cat(right).double().mean())


def train(
    hidden: int, width: int, estimate: Estimate, data: Images, epochs: int, seed: int, factor: float
) -> list[float]:
    """Return the test error after every epoch; rates fall as a half cosine."""
    gain, _, rates = CASES[hidden]
    network = resistive(gain, 784, *[width] * hidden, 10)
    parameters = network.initial(stream(seed, "parameters", hidden))
    machine = Simulated.ideal(network, parameters, Sweep(0.0, 3 + hidden))
    images, test, errors = data.train.flatten(1), data.test.flatten(1), []
    speeds = [torch.zeros_like(p) for p in machine.parameters]
    for epoch in range(epochs):
        order = torch.randperm(len(images), generator=stream(seed, "order", epoch))
        for step in range(len(images) // BATCH):
            rows = order[step * BATCH : (step + 1) * BATCH]
            done = (epoch + step * BATCH / len(images)) / epochs
            fall = factor * (1 + math.cos(math.pi * done)) / 2
            gradient = estimate(machine, images[rows], data.train_classes[rows])
            speeds = [MOMENTUM * v + g for v, g in zip(speeds, gradient, strict=True)]
            machine.write([-fall * rate * v for rate, v in zip(rates, speeds, strict=True)])
        errors.append(wrong(machine, test, data.test_classes))
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=256, help="nodes of a hidden layer")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=60_000, help="training images")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--hidden", default="1,3", help="numbers of hidden layers")
    parser.add_argument(
        "--arms", default="ours,gentle,subtracted,unrolled", help="which ways to train"
    )
    parser.add_argument("--factor", type=float, default=1.0, help="multiplies the published rates")
    parser.add_argument("--data", type=Path, default=FASHION, help="a folder of IDX files")
    parser.add_argument("--json", type=Path, help="where results are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    whole = idx(options.data)
    kept = slice(options.images)
    data = Images(whole.train[kept], whole.train_classes[kept], whole.test, whole.test_classes)
    held = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    for seed in options.seeds.split(","):
        for hidden in map(int, options.hidden.split(",")):
            for name in options.arms.split(","):
                estimate = estimators(CASES[hidden][1])[name]
                key = (f"{hidden} hidden of {options.width}, {options.images} images, "
                       f"{options.epochs} epochs, rates x {options.factor:g}, {name}, "
                       f"seed {seed}")  # fmt: skip
                if key not in held:
                    begun = time.process_time()
                    held[key] = train(hidden, options.width, estimate, data, options.epochs,
                                      int(seed), options.factor)  # fmt: skip
                    took = time.process_time() - begun
                    print(f"{key}: {100 * held[key][-1]:.2f} % ({took:.0f} s)", flush=True)
                    if options.json:
                        options.json.write_text(json.dumps(held, indent=1))
    groups: dict[str, list[float]] = {}
    for key, errors in held.items():
        groups.setdefault(key.rpartition(", seed")[0], []).append(100 * errors[-1])
    for group, values in groups.items():
        spread = statistics.stdev(values) if len(values) > 1 else math.nan
        mean = statistics.mean(values)
        print(f"{group}: {mean:.2f} +- {spread:.2f} % over {len(values)} seeds")


if __name__ == "__main__":
    main()
