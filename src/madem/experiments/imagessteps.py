"""How training walks through images: batches in their order, and rates that fall."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from madem.data.images import Images
from madem.data.task import shifted
from madem.errors import InputError
from madem.experiments.imagesconfig import ImagesConfig
from madem.randomness import stream


def rates_of(config: ImagesConfig, joints: int) -> tuple[float, ...]:
    """Return the learning rate of every joint at the start.

    >>> rates_of(ImagesConfig(), 2)
    (0.05, 0.05)
    """
    rates = config.learning.rates
    if len(rates) not in (1, joints):
        raise InputError(f"learning.rates needs 1 or {joints} values, but has {len(rates)}")
    return rates * joints if len(rates) == 1 else rates


def fall(config: ImagesConfig, epoch: int) -> float:
    """Return what all rates are multiplied by in ``epoch``, counted from 0.

    >>> fall(ImagesConfig(), 1)
    0.99
    """
    learning = config.learning
    if learning.fall == "cosine":
        return (1 + math.cos(math.pi * epoch / learning.epochs)) / 2
    return float(learning.decay**epoch)


def steps_of(config: ImagesConfig, images: Images) -> int:
    """Return the batches of one epoch; what does not fill a batch is left out."""
    steps = len(images.train) // config.learning.batch
    if not steps:
        raise InputError(
            f"learning.batch must be at most {len(images.train)}, the number of training images, "
            f"but is {config.learning.batch}"
        )
    return steps


def batches(config: ImagesConfig, images: Images, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every batch of ``epoch``: images, moved as the config says, and their classes."""
    order = torch.randperm(len(images.train), generator=stream(config.seed, "e", epoch))
    draws = stream(config.seed, "shift", epoch)
    size = config.learning.batch
    for rows in order[: size * steps_of(config, images)].split(size):
        yield shifted(images.train[rows], config.data.shift, draws), images.train_classes[rows]
