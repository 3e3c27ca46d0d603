"""What can be run: every question that ``madem run`` knows, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from madem.errors import InputError, clipped, nearest
from madem.experiments.running.experiment import Experiment

MODULES = {
    "braille": "madem.experiments.braille",
    "images": "madem.experiments.images",
    "noise": "madem.experiments.noise.study",
    "spectrum": "madem.experiments.spectrum.study",
    "train": "madem.experiments.train.study",
    "variability": "madem.experiments.variability.study",
}
"""Where each experiment lies: a module with an ``EXPERIMENT``, imported when it is asked for."""


def experiment(name: str) -> Experiment:
    """Return the experiment ``name``, or raise ``InputError`` with the nearest name.

    >>> experiment("braile")
    Traceback (most recent call last):
    ...
    madem.errors.InputError: unknown experiment 'braile': did you mean 'braille'? (allowed: \
braille, images, noise, spectrum, train, variability)
    """
    if name not in MODULES:
        raise InputError(f"unknown experiment {name!r}: {nearest(name, MODULES)}")
    found: Experiment = import_module(MODULES[name]).EXPERIMENT
    return found


def look(name: str, what: str) -> Callable[..., Any]:
    """Return what looks at ``what`` in a network of the experiment ``name``.

    Raises ``InputError`` where the experiment offers no such look.

    >>> look("noise", "gradcheck")
    Traceback (most recent call last):
    ...
    madem.errors.InputError: experiment 'noise' has no one network whose gradcheck could be shown \
(allowed: braille, images)
    """
    found = experiment(name).looks.get(what)
    if found is None:
        able = ", ".join(each for each in MODULES if what in experiment(each).looks)
        raise InputError(f"experiment {name!r} has no one network whose {what} could be shown "
                         f"(allowed: {able})")  # fmt: skip
    return found


def find(values: Mapping[str, Any]) -> Experiment:
    """Return the experiment that a config names."""
    if "experiment" not in values:
        raise InputError(f"the config has no key 'experiment' (allowed: {', '.join(MODULES)})")
    return experiment(clipped(str(values["experiment"]), 60))
