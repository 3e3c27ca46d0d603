"""The yardstick of a config: backpropagation through the feed-forward network of the same layers.

Dense layers or convolutions with maxima of 2 x 2, each followed by a ReLU, trained by Adam on the
config's cost, batch, epochs and shifts, its rate (``--rate``) falling as a half cosine; the
config's own optimiser, rates, momentum, weight decay and fall do not count. Prints the test error
of the last epoch, which is the one that counts, and the lowest of any.

    python benchmarks/backprop.py examples/resistive.yaml --seed 0 --rate 0.001
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from rich.progress import track
from torch import nn

from madem.documents import read_yaml
from madem.experiments.imagesbuild import COSTS, flat_for, images_of, network_of
from madem.experiments.imagesconfig import ImagesConfig, make_images
from madem.experiments.imagessteps import batches
from madem.network import Amplified, Conv, Network


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


def train(config: ImagesConfig, rate: float) -> Sequence[float]:
    """Return the test error after every epoch."""
    images = images_of(config)
    network = network_of(config, tuple(images.train.shape[1:]), images.classes)
    torch.manual_seed(config.seed)
    model, cost, learning = feed_forward(network), COSTS[config.learning.cost], config.learning
    optimiser = torch.optim.Adam(model.parameters(), rate)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, learning.epochs)
    test, errors = flat_for(network, images.test), []
    for epoch in track(range(learning.epochs), "backpropagation"):
        for shown, target in batches(config, images, epoch):
            loss = cost.value(model(flat_for(network, shown)), target).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        fall.step()
        with torch.no_grad():
            output = torch.cat([model(part) for part in test.split(500)])
        errors.append(float((output.argmax(-1) != images.test_classes).float().mean()))
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, help="other than those of the config")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = make_images({**read_yaml(options.config, "config"), "seed": options.seed})
    if options.epochs:
        learning = config.learning.model_copy(update={"epochs": options.epochs})
        config = config.model_copy(update={"learning": learning})
    errors = train(config, options.rate)
    print(f"seed {options.seed}, rate {options.rate:g}, {len(errors)} epochs: test error "
          f"{100 * errors[-1]:.2f} %, lowest {100 * min(errors):.2f} %")  # fmt: skip


if __name__ == "__main__":
    main()
