"""What the results of all studies are made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from madem.training import Measured


class Result(BaseModel):
    """A part of a summary: frozen, and nothing else than it says."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Mean(Result):
    """A mean over chips and test samples, and its standard error over both drawn anew."""

    mean: float
    error: float

    @staticmethod
    def of(found: Measured) -> Mean:
        """Return the mean and the error of what was ``measured``."""
        return Mean(mean=found.mean, error=found.error)
