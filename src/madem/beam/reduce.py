"""What is kept of a frame: a number a block, and how unusual it is. The same for every source.

A block's number is the logarithm of its third largest residual above the median of its readout
chip, which up to two bright pixels cannot move. Pixels that are bright again and again are left
out, and each block is measured by its own median and spread over the frames before.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from madem.beam.geometry import Array, Module, single
from madem.errors import InputError

Mask = NDArray[np.bool_]

TOP = 0.9
"""The percentile by which deviations above the median are measured."""
FLOOR = 0.05
"""What is added to a block's spread, in the logarithm: blocks in the dark have none."""
BOUNDS = (-3.0, 8.0)
"""Between which unusual blocks are clipped."""


class Seen(NamedTuple):
    """What the frames before have left: their ``levels``, the newest last, and bright pixels.

    ``levels``: ``(frames, features)``; ``bright``: how often each pixel was among the three largest
    of its block, a running mean, ``(rows, columns)``.
    """

    levels: Array
    bright: Array


class Usual(NamedTuple):
    """The median of every block, and its deviation, ``(features,)`` each."""

    median: Array
    spread: Array

    def __call__(self, levels: Array) -> Array:
        """Return how many deviations ``levels``, ``(frames, features)``, lie above the median."""
        return single(np.clip((levels - self.median) / self.spread, *BOUNDS))


class Reduced(NamedTuple):
    """Frames as numbers, ``(frames, features)`` each, and what they leave.

    ``plain``: the logarithms of all pixels that were good from the start; ``levels``: likewise,
    without pixels found hot since; ``unusual``: those by the median and spread before them.
    """

    plain: Array
    levels: Array
    unusual: Array
    seen: Seen


@dataclass(frozen=True)
class Reduction:
    """How frames of a ``module`` are reduced.

    ``window``: over how many frames medians run; ``often``: the share of frames in which a pixel is
    among the three largest of its block from which on it is taken for hot.
    """

    module: Module
    window: int = 300
    often: float = 0.3

    def __post_init__(self) -> None:
        """Refuse a window that is none."""
        if self.window < 10 or not 0.05 <= self.often <= 1:
            raise InputError(f"reduction: window must be at least 10 and often from 0.05 to 1, but "
                             f"are {self.window} and {self.often}")  # fmt: skip

    def init(self) -> Seen:
        """Return what was seen before the first frame: nothing."""
        empty = np.zeros((0, self.module.features), np.float32)
        return Seen(empty, np.zeros(self.module.shape, np.float32))

    def __call__(
        self, seen: Seen, frames: Array, bad: Mask | None = None, usual: Usual | None = None
    ) -> Reduced:
        """Return ``frames``, ``(frames, rows, columns)``, reduced by what was ``seen`` before them.

        ``bad``: pixels not to be used, ``(rows, columns)``; ``usual``: what is usual, where that is
        known already. Frames given at once are of one moment: none of them changes how the others
        are reduced.
        """
        module = self.module
        residual = frames - self.medians(frames)
        if bad is not None:
            residual[:, bad] = -np.inf
        third = third_largest(residual, module)
        plain = _logarithm(third)
        bright = (residual >= module.spread(third, module.blocks)).mean(0, dtype=np.float32)
        hot, levels = seen.bright > self.often, plain
        if hot.any():
            residual[:, hot] = -np.inf
            levels = _logarithm(third_largest(residual, module))
        share = np.float32(min(1.0, len(frames) / self.window))
        usual = usual or usual_of(seen.levels if len(seen.levels) else levels)
        kept = np.concatenate([seen.levels, levels])[-self.window :]
        left = Seen(kept, seen.bright + share * (bright - seen.bright))
        return Reduced(plain, levels, usual(levels), left)

    def medians(self, frames: Array) -> Array:
        """Return the median of each frame's readout chips, from every second pixel each way."""
        module, (down, along) = self.module, self.module.grid
        some = frames[:, ::2, ::2]
        count, rows, columns = some.shape
        chips = some.reshape(count, down, rows // down, along, columns // along).swapaxes(2, 3)
        median = np.median(chips.reshape(count, module.chips, -1), axis=-1)
        return module.spread(median.astype(np.float32))


def usual_of(before: Array) -> Usual:
    """Return what is usual in the frames ``before``, ``(frames, features)``.

    The deviation is that of a normal distribution with the same median and 90th percentile: of
    few photons median deviations say little about the tail that is judged. In a simulated shift in
    which everything drifts the 90th percentile of blocks without a hit falls from 1.8 to 1.0 of
    them.
    """
    median, top = np.quantile(before, (0.5, TOP), axis=0)
    return Usual(median, (top - median) / NormalDist().inv_cdf(TOP) + FLOOR)


def deviating(before: Array) -> Usual:
    """Return what is usual by the median absolute deviation, 1.4826 of which a normal's is."""
    median = np.median(before, 0)
    return Usual(median, 1.4826 * np.median(np.abs(before - median), 0) + FLOOR)


def third_largest(residual: Array, module: Module) -> Array:
    """Return the third largest value of every block, ``(frames, features)``, row by row of blocks.

    By a network of maxima and minima down the rows of a block, which runs over whole frames at
    once, and a partition of the three largest of each of its columns.

    >>> tiny = Module(rows=2, columns=4, grid=(1, 2), blocks=1)
    >>> third_largest(np.float32([[[1, 9, 0, 0], [7, 8, 5, 4]]]), tiny).tolist()
    [[7.0, 0.0]]
    """
    down, along = (count * module.blocks for count in module.grid)
    rows = residual.reshape(len(residual), down, module.rows // down, module.columns)
    first = rows[:, :, 0].copy()
    second = np.full_like(first, -np.inf)
    third = second.copy()
    low, lower = np.empty_like(first), np.empty_like(first)
    for index in range(1, rows.shape[2]):
        value = rows[:, :, index]
        np.minimum(first, value, out=low)
        np.maximum(first, value, out=first)
        np.minimum(second, low, out=lower)
        np.maximum(second, low, out=second)
        np.maximum(third, lower, out=third)
    width = module.columns // along
    parts = [each.reshape(len(residual), down, along, width) for each in (first, second, third)]
    found = np.partition(np.concatenate(parts, -1), -3, axis=-1)[..., -3]
    return found.reshape(len(residual), module.features)


def block_means(image: Array, module: Module) -> Array:
    """Return the mean of every block of an image of the module, ``(features,)``.

    >>> tiny = Module(rows=2, columns=4, grid=(1, 2), blocks=1)
    >>> block_means(np.float32([[1, 3, 0, 0], [1, 3, 5, 3]]), tiny).tolist()
    [2.0, 2.0]
    """
    down, along = (count * module.blocks for count in module.grid)
    cut = image.reshape(down, module.rows // down, along, module.columns // along)
    means: Array = cut.mean((1, 3)).reshape(module.features)
    return means


def _logarithm(third: Array) -> Array:
    """Return ``log(1 + x)``, zero where nothing of a block is above the median."""
    return np.log1p(np.maximum(third, 0.0))
