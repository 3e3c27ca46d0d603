"""The yardstick of a config: backpropagation through the feed-forward network of the same layers.

Dense layers or convolutions with maxima of 2 x 2, each followed by a ReLU, trained by Adam on the
config's cost, batch, epochs and shifts, its rate (``--rate``) falling as a half cosine; the
config's own rule, rates, weight decay and fall do not count. Prints the test error of the last
epoch, which is the one that counts, and the lowest of any.

    python benchmarks/backprop.py examples/resistive.yaml --seed 0 --rate 0.001
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path

import torch
from rich.progress import track
from torch import nn

from madem.documents import read_yaml
from madem.experiments.train.config import TrainConfig
from madem.network import Amplified, Conv, Network
from madem.training import Plan


def feed_forward(network: Network) -> nn.Sequential:
    """Return the feed-forward network of the same layers."""
    parts: list[nn.Module] = []
    joints = [j.joint if isinstance(j, Amplified) else j for j in network.joints]
    for joint, (below, above) in zip(joints, pairwise(network.state_shapes), strict=True):
        if isinstance(joint, Conv):
            conv = nn.Conv2d(below[0], above[0], joint.size, padding=joint.padding)
            parts += [conv, nn.MaxPool2d(2), nn.ReLU()]
        else:
            size = torch.Size(below).numel()
            parts += [nn.Flatten(), nn.Linear(size, above[0]), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def train(plan: Plan, rate: float, epochs: int) -> Sequence[float]:
    """Return the test error after every epoch."""
    task, batch, draws = plan.task, plan.schedule.batch, torch.Generator()
    torch.manual_seed(plan.seed)
    model = feed_forward(plan.network)
    optimiser = torch.optim.Adam(model.parameters(), rate)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    steps, batches = task.epoch(batch), task.batches((batch,), draws, plan.seed)
    test, goal = task.held("test", draws)
    errors = []
    for _ in track(range(epochs), "backpropagation"):
        for shown, target in islice(batches, steps):
            loss = task.cost.value(model(shown), target).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        fall.step()
        with torch.no_grad():
            output = torch.cat([model(part) for part in test.split(500)])
        errors.append(float((~task.cost.correct(output, goal)).float().mean()))
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, help="other than those of the config")
    options = parser.parse_args()
    torch.set_num_threads(1)
    plan = TrainConfig.of({**read_yaml(options.config, "config"), "seed": options.seed}).plan()
    per = plan.task.epoch(plan.schedule.batch) or plan.schedule.steps
    errors = train(plan, options.rate, options.epochs or plan.schedule.steps // per)
    print(f"seed {options.seed}, rate {options.rate:g}, {len(errors)} epochs: test error "
          f"{100 * errors[-1]:.2f} %, lowest {100 * min(errors):.2f} %")  # fmt: skip


if __name__ == "__main__":
    main()
