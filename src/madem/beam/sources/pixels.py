"""Counts as a detector writes them, as the image of a module and the pixels that hold nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from madem.beam.geometry import Array

MISSING = 0.5
"""The share of a frame's pixels that hold nothing, from which on it is a gap."""
HIGHEST = np.float32(1e20)
"""Above any number of photons, and small enough for sums and squares of numbers of 32 bits."""


def holding(raw: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which pixels hold something.

    Unsigned types say with their largest value that they do not, signed ones with their smallest,
    and floating ones with what is not finite, or from ``HIGHEST`` on.

    >>> holding(np.uint16([0, 7, 65535])).tolist()
    [True, True, False]
    """
    if raw.dtype.kind == "f":
        return np.asarray(np.abs(raw) < HIGHEST)
    information = np.iinfo(raw.dtype)
    return np.asarray(raw != (information.max if raw.dtype.kind == "u" else information.min))


def photons(raw: NDArray[Any], good: NDArray[np.bool_], photon: float) -> Array:
    """Return counts as photons, of ``photon`` counts each, zero where they are not ``good``."""
    return np.where(good, raw, 0).astype(np.float32) / np.float32(photon)
