"""Every name that a config knows: one table a part, and one line for each thing that is built.

What a part may be asked is read off the signature of what builds it: see ``Entry`` and ``Table`` in
``naming.py``.

>>> SOLVERS.part({"kind": "sweep", "budget": 7}).make()
Sweep(tolerance=1e-05, budget=7)
>>> SOLVERS.part("swep")
Traceback (most recent call last):
...
madem.errors.InputError: unknown solver 'swep': did you mean 'sweep'? (allowed: anderson, flow, \
newton, over-relaxed, sweep, synchronous)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from madem import learn, machine, network, solver, training
from madem.beam.crystallography import Beam, Crystallography, Lattice
from madem.beam.electrons import Phase
from madem.beam.geometry import Module
from madem.beam.microscopy import Microscopy
from madem.beam.reduce import Reduction
from madem.beam.sensor import Drift, Sensor
from madem.data.arrays import npz_table, python_table
from madem.data.folders import folder_images
from madem.data.hand import Hands
from madem.data.images import digit_images, idx_images
from madem.data.tables import csv_table
from madem.data.words import classify_words, reconstruct_words
from madem.device import Cell, forms, load, presets
from madem.device.fluctuation import Spectrum
from madem.experiments.config.naming import Entry, Table
from madem.learn import estimators
from madem.learn.continual import Labels, Reservoir, Teaching
from madem.machine.writing import Writing
from madem.network.pooling import Pool


def ready(value: Callable[..., Any]) -> Entry:
    """Return the entry of what is itself what is named, and has no settings."""
    return Entry(value, ready=True)


def _nudged(maker: Callable[..., Any], *given: str) -> Entry:
    """Return the entry of an estimator that nudges with a strength ``beta``."""
    return Entry(maker, given, defaults={"beta": 0.1}, keys={"pushing": "nudge"})


def accumulated(conductances: tuple[float, ...], threshold: float = 15e-6) -> learn.Accumulate:
    """Descent in a digital memory: a cell is written once its change has grown past a threshold.

    ``threshold``: of a conductance, S; ``conductances``: of weight one of each parameter, S.
    """
    return learn.Accumulate(tuple(threshold / one for one in conductances))


def written_sparsely(
    conductances: tuple[float, ...], draws: torch.Generator, threshold: float = 15e-6
) -> learn.Sparse:
    """Stochastic sparse writes without a memory: a small change is made whole, or not at all.

    ``threshold``: of a conductance, S; ``conductances``: of weight one of each parameter, S.
    """
    return learn.Sparse(tuple(threshold / one for one in conductances), draws)


def stated(device: str) -> Spectrum:
    """Return what the preset ``device`` states."""
    return presets.preset(device).spectrum


LAWS = Table("law", {
    "box": Entry(network.Box, unbounded={"low": -math.inf, "high": math.inf}),
    "linear": network.Free,
    "readout": network.Readout,
    "tanh": network.Tanh,
    "softmax": network.Softmax,
    "ideal-diodes": network.diodes,
    "shockley": Entry(network.Shockley, quantities={"saturation": "ampere", "thermal": "volt"},
                      defaults={"saturation": "1 nA"}),
    "table": Entry(network.Table, quantities={"volts": "volt", "amperes": "ampere"}),
    "halves": network.Halves,
})  # fmt: skip

POOLS = Table("pooling", {"average": network.Average, "maximum": network.Maximum})

JOINTS = Table("joint", {
    "dense": Entry(network.Dense, ("pre", "post")),
    "convolution": Entry(network.Conv, ("channels",)),
    "skip": network.Skip,
    "recurrent": Entry(network.Recurrent, ("units",)),
    "thresholds": Entry(network.Thresholds, ("units",)),
    "resistive": Entry(network.Resistive, ("pre", "post"), unbounded={"g_max": math.inf}),
    "resistive-convolution": Entry(network.ResistiveConv, ("pre",),
                                   unbounded={"g_max": math.inf}),
    "amplified": network.Amplified,
})  # fmt: skip

SOLVERS = Table("solver", {
    "sweep": solver.Sweep,
    "synchronous": solver.Synchronous,
    "flow": solver.Flow,
    "over-relaxed": solver.OverRelaxed,
    "anderson": solver.Anderson,
    "newton": solver.Newton,
})  # fmt: skip

COSTS = Table("cost", {
    "squared-error": network.SquaredError,
    "cross-entropy": network.CrossEntropy,
    "logistic": network.Logistic,
})  # fmt: skip

NUDGES = Table("nudge", {
    "current": ready(learn.currents), "spring": ready(learn.springs), "hold": ready(learn.holds),
})  # fmt: skip

BETAS = Table("strength", {
    "output-move": learn.OutputMove, "relative-move": learn.RelativeMove, "even": learn.Even,
    "auto": learn.Measured,
}, plain=(float,))  # fmt: skip

ESTIMATORS = Table("estimator", {
    "centred": _nudged(learn.centred),
    "positive": _nudged(learn.positive),
    "negative": _nudged(learn.negative),
    "random-sign": _nudged(learn.RandomSign, "draws"),
    "richardson": _nudged(learn.richardson),
    "holomorphic": _nudged(learn.holomorphic),
    "contrastive": learn.contrastive,
    "coupled": Entry(learn.coupled, defaults={"eta": 0.1}),
    "implicit": learn.Implicit,
    "unrolled": learn.Unrolled,
    "finite-difference": learn.FiniteDifference,
})  # fmt: skip

RULES = Table("rule", {
    "descent": learn.Descent,
    "accumulate": Entry(accumulated, ("conductances",), {"threshold": "siemens"}),
    "sparse": Entry(written_sparsely, ("conductances", "draws"), {"threshold": "siemens"}),
    "momentum": learn.Momentum,
    "adam": learn.Adam,
})  # fmt: skip

WRITINGS = Table("writing", {
    "verified": ready(machine.verified),
    "single-pulse": ready(machine.single_pulse),
    "train": machine.Train,
    "disturbed": machine.Disturbed,
    "enduring": machine.Enduring,
})  # fmt: skip

STORES = Table(
    "store",
    {
        "pairs": training.Pairs,
        "asked": training.AsAsked,
        "fast-slow": Entry(training.FastInFront, quantities={"threshold": "siemens"}),
    },
)

WIRES = Table("wires", {"": Entry(network.Wires, quantities=dict.fromkeys(
    ("word", "bit", "drive", "sense"), "ohm"))})  # fmt: skip

SPREAD = Table("spread", {"": machine.Spread})

CONVERTERS = Table("converters", {"": Entry(machine.Periphery, ("lines", "partial"))})

FORMS = {part: Table(part, makers) for part, makers in presets.FORMS.items()}
"""The forms of a device: its ``response``, ``scatter``, ``error``, ``noise`` and ``retention``."""

SPECTRA = Table("spectrum", {**presets.FORMS["spectrum"], "device": Entry(stated, ("device",))})
"""How read noise is spread over frequencies: as the device states it, or otherwise."""

DEVICES = Table("device", {"preset": load, "cell": Cell}, plain=(str,))
"""A device by its numbers, or by the name of its preset."""

TASKS = Table("task", {
    "classify-words": classify_words,
    "reconstruct-words": reconstruct_words,
    "digits": Entry(digit_images, ("seed",)),
    "idx": Entry(idx_images, ("seed",)),
    "folder": Entry(folder_images, ("seed",)),
    "csv": Entry(csv_table, ("seed",)),
    "npz": Entry(npz_table, ("seed",)),
    "python": Entry(python_table, ("seed",)),
})  # fmt: skip

_BESIDE: dict[str, Entry | Callable[..., Any]] = {
    "module": Entry(Module, quantities=dict.fromkeys(("pixel", "distance", "wavelength"), "meter")),
    "crystal": Lattice,
    "phase": Phase,
    "beam": Beam,
    "drift": Entry(Drift, quantities={"hours": "hour", **dict.fromkeys(
        ("gain", "pedestal", "hot", "centre", "background"), "1/hour")}),
    "sensor": Entry(Sensor, ("module", "drift", "seed")),
    "reduction": Entry(Reduction, ("module",)),
    "labels": Entry(Labels, quantities={"delay": "second"}),
    "reservoir": Entry(Reservoir, ("classes",)),
    "teaching": Entry(Teaching, ("reservoir",)),
    "hands": Hands,
}  # fmt: skip

BESIDE = {what: Table(what, {"": entry}) for what, entry in _BESIDE.items()}
"""What is beside a beam, how hands differ, and how is learned beside either."""

SCENES = Table("scene", {
    "crystallography": Crystallography,
    "microscopy": Entry(Microscopy, quantities=dict.fromkeys(("film", "depth"), "meter")),
})  # fmt: skip
"""What comes into the beam of an instrument."""

TABLES_OF: dict[Any, Table] = {
    network.Law: LAWS,
    network.Joint: JOINTS,
    network.Cost: COSTS,
    Pool: POOLS,
    solver.Solver: SOLVERS,
    estimators.Pushing: NUDGES,
    estimators.Beta: BETAS,
    Writing: WRITINGS,
    forms.Response: FORMS["response"],
    forms.Scatter: FORMS["scatter"],
    forms.ErrorForm: FORMS["error"],
    forms.Noise: FORMS["noise"],
    forms.Retention: FORMS["retention"],
    Lattice: BESIDE["crystal"],
    Phase: BESIDE["phase"],
    Beam: BESIDE["beam"],
}
"""Which parts parameters of these types are."""

TABLES = {
    each.what: each
    for each in (*TABLES_OF.values(), ESTIMATORS, RULES, STORES, WIRES, SPREAD, SPECTRA, CONVERTERS,
                 DEVICES, TASKS, SCENES, *BESIDE.values())
}  # fmt: skip
"""All tables, by the part that they name."""
