"""A shift of a detector as numbers: what is kept of every frame, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from statistics import NormalDist
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from madem.beam.reduce import TOP, Reduction, usual_of
from madem.beam.sources import Source, batches
from madem.data.task import Finite, Samples
from madem.errors import InputError

Kind = Literal["plain", "levels", "unusual"]
"""Which numbers of a frame: see ``Reduced`` in ``beam/reduce.py``."""

COMPARED = 3.0
"""How many deviations above what is usual a block counts as lit by half."""


@dataclass(frozen=True, eq=False)
class Shift:
    """Frames in order, reduced.

    ``plain``, ``levels``, ``unusual``: ``(frames, features)``; ``time``: s, ``(frames,)``, float64,
    zero where the shift begins; ``hit``: 1 or 0, -1 where nobody knows; ``spots``: how many of a
    crystal are seen.
    """

    plain: Tensor
    levels: Tensor
    unusual: Tensor
    time: Tensor
    hit: Tensor
    spots: Tensor

    def __len__(self) -> int:
        """How many frames there are."""
        return len(self.time)

    def __getitem__(self, part: slice) -> Shift:
        """Return some of the frames."""
        return Shift(*(getattr(self, each.name)[part] for each in fields(self)))

    def inputs(self, kind: Kind, calibration: slice) -> Tensor:
        """Return how far each block of each frame is lit, from 0 to 1: a soft comparator.

        A half at three deviations above what is usual: of the ``calibration`` frames, unless
        ``kind`` is measured by the frames before already.
        """
        held: Tensor = getattr(self, kind)
        if kind != "unusual":
            held = torch.from_numpy(usual_of(held[calibration].numpy())(held.numpy()))
        return lit(held)


def lit(unusual: Tensor) -> Tensor:
    """Return how far blocks are lit, from 0 to 1, that are ``unusual`` by so many deviations."""
    return (2 * (unusual - COMPARED)).sigmoid()


def shaken(x: Tensor) -> Tensor:
    """Return which frames light blocks as hardly any does while the sensor is as it was.

    ``x``: how far blocks are lit, ``(..., blocks)``. In such a frame three times as many as usual,
    30 % of them, lie above their running 90th percentile.
    """
    above = lit(torch.tensor(NormalDist().inv_cdf(TOP), dtype=x.dtype))
    return (x > above).to(x.dtype).mean(-1) > 3 * (1 - TOP)


def reduced(
    source: Source,
    reduction: Reduction,
    together: int,
    tell: Callable[[int], None] = lambda _: None,
) -> Shift:
    """Return the frames of ``source`` reduced in batches of ``together``, which share a moment.

    ``tell`` hears how many there are so far.
    """
    seen, parts = reduction.init(), []
    for frames in batches(source, together):
        images = np.stack([each.image for each in frames])
        masks = [each.mask for each in frames if each.mask is not None]
        bad = np.logical_or.reduce(masks) if masks else None
        found = reduction(seen, images, bad)
        seen = found.seen
        known = [(-1, 0) if t is None else (int(t.hit), t.spots) for t in (f.truth for f in frames)]
        hit, spots = torch.tensor(known).T
        time = torch.tensor([each.time for each in frames], dtype=torch.float64)
        three = (torch.from_numpy(each) for each in (found.plain, found.levels, found.unusual))
        parts.append((*three, time, hit, spots))
        tell(sum(len(part[3]) for part in parts))
    if not parts:
        raise InputError("frames: the source has none")
    return Shift(*(torch.cat(each) for each in zip(*parts, strict=True)))


def calibrated(x: Tensor, hit: Tensor, calibration: slice, validation: slice) -> Finite:
    """Return the task of telling hits, learned from ``calibration`` frames, both classes as often.

    Raises ``InputError`` where there is but one class.
    """
    own, label = x[calibration], hit[calibration]
    classes = [own[label == kind] for kind in (0, 1)]
    if not min(map(len, classes)):
        raise InputError(
            f"calibration: {len(classes[1])} of {len(label)} frames are hits and {len(classes[0])} "
            "are none, but both are needed: take more frames, or other shares of the scene"
        )
    most = max(map(len, classes))
    even = [part[torch.arange(most) % len(part)] for part in classes]
    known = torch.arange(2).repeat_interleave(most)
    held: Samples = (x[validation], hit[validation].clamp(min=0))
    return Finite((torch.cat(even), known), held, held, outputs=2, drawn=True)
