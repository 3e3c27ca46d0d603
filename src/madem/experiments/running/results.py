"""What the results of all studies are made of."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from madem.training import Estimate


class Result(BaseModel):
    """A part of a summary: frozen, and nothing else than it says."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Mean(Result):
    """A mean over chips and test samples, and its standard error over both drawn anew."""

    mean: float
    error: float

    @staticmethod
    def of(found: Estimate) -> Mean:
        """Return the mean and the error of what was ``measured``."""
        return Mean(mean=found.mean, error=found.error)


class Interval(Result):
    """A mean, and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    @staticmethod
    def of(mean: float, drawn: NDArray[np.float64]) -> Interval:
        """Return a mean with the middle 95 % of what was ``drawn``."""
        low, high = np.percentile(drawn, [2.5, 97.5])
        return Interval(mean=float(mean), low=float(low), high=float(high))


class Contrast(Result):
    """A figure of a strategy that learns on the chip, and whether it ``reaches`` its bar."""

    said: str
    value: Interval
    unit: Literal["%", "points", "frames", "writes", "alarms", "x", "uJ", "us"]
    bar: str
    reaches: bool

    @staticmethod
    def plain(
        said: str, value: float, unit: Literal["frames", "writes", "alarms", "x", "%", "uJ", "us"],
        bar: str, reaches: bool,
    ) -> Contrast:  # fmt: skip
        """Return a figure without an interval."""
        held = Interval(mean=value, low=value, high=value)
        return Contrast(said=said, value=held, unit=unit, bar=bar, reaches=bool(reaches))

    @staticmethod
    def at_most(said: str, more: Interval, most: float) -> Contrast:
        """Return the claim that a share is larger by ``most`` at most."""
        bar = f"at most {100 * most:g} points"
        return Contrast(said=said, value=more, unit="points", bar=bar, reaches=more.mean <= most)

    @staticmethod
    def above(said: str, value: Interval, unit: Literal["%", "points"]) -> Contrast:
        """Return the claim that a value is surely above zero."""
        bar = "interval above 0"
        return Contrast(said=said, value=value, unit=unit, bar=bar, reaches=value.low > 0)
