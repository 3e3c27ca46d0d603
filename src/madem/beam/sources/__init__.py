"""Where frames come from: every source yields frames and gaps, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from madem.beam.geometry import Array


class Truth(NamedTuple):
    """What a frame shows: the number of its kind, how many spots, whether it is a hit."""

    kind: int
    spots: int
    hit: bool


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame: of which ``series``, its ``number`` in it, and its ``time``, s, since it began.

    ``image``: photons or counts, ``(rows, columns)``, float32; ``mask``: pixels not to be used,
    None where all are good; ``truth``: what it shows, None where nobody knows.
    """

    series: str
    number: int
    time: float
    image: Array
    mask: NDArray[np.bool_] | None = None
    truth: Truth | None = None


@dataclass(frozen=True)
class Gap:
    """Frames of ``series`` that are missing, from ``number`` on, and ``why``."""

    series: str
    number: int
    count: int
    why: str


@runtime_checkable
class Source(Protocol):
    """Frames and gaps, in order; each ``iter`` begins anew."""

    def __iter__(self) -> Iterator[Frame | Gap]:
        """Yield what comes."""


def batches(source: Source, size: int) -> Iterator[list[Frame]]:
    """Yield the frames of ``source`` in lists of ``size``, the last one shorter; gaps are left out.

    >>> frames = [Frame("a", i, 0.0, np.zeros((1, 1), np.float32)) for i in range(3)]
    >>> [len(part) for part in batches([*frames, Gap("a", 3, 1, "lost")], 2)]
    [2, 1]
    """
    frames = (each for each in source if isinstance(each, Frame))
    while part := list(islice(frames, size)):
        yield part
