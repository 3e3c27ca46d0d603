"""What can be run: every question that ``madem run`` knows, by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from madem.errors import InputError, clipped, nearest

if TYPE_CHECKING:  # so that help, which names them, comes at once
    from madem.experiments.running.experiment import Experiment

MODULES = ("braille", "detector", "noise", "personal", "spectrum", "train", "variability")
"""Every experiment: a folder whose ``study`` has an ``EXPERIMENT``, imported when asked for."""


def experiment(name: str) -> Experiment:
    """Return the experiment ``name``, or raise ``InputError`` with the nearest name.

    >>> experiment("braile")
    Traceback (most recent call last):
    ...
    madem.errors.InputError: unknown experiment 'braile': did you mean 'braille'? (allowed: \
braille, detector, noise, personal, spectrum, train, variability)
    """
    if name not in MODULES:
        raise InputError(f"unknown experiment {name!r}: {nearest(name, MODULES)}")
    found: Experiment = import_module(f"madem.experiments.{name}.study").EXPERIMENT
    return found


def find(values: Mapping[str, Any]) -> Experiment:
    """Return the experiment that a config names."""
    if "experiment" not in values:
        raise InputError(f"the config has no key 'experiment' (allowed: {', '.join(MODULES)})")
    return experiment(clipped(str(values["experiment"]), 60))
