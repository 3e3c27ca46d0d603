"""The config of the detector that keeps learning: every field with its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from madem.beam.geometry import Module
from madem.beam.reduce import Reduction
from madem.beam.scene import Scene
from madem.beam.sensor import Sensor
from madem.beam.sources.hdf5 import Recorded
from madem.beam.sources.simulated import Simulated
from madem.data.detector import calibrated
from madem.experiments.config.base import Strict
from madem.experiments.config.machines import ChipConfig
from madem.experiments.config.names import BESIDE, ESTIMATORS, RULES, SCENES
from madem.experiments.config.naming import Part
from madem.experiments.config.networks import HopfieldConfig, NetworkConfig
from madem.experiments.config.parts import Learning, ScheduleConfig, WritingConfig
from madem.experiments.config.quantities import Different, Positive, Seconds, Seed, cells_need
from madem.learn.continual import Labels, Teaching
from madem.training import Plan
from madem.units import parse

Condition = Literal[
    "none", "gain", "pedestal", "hot", "centre", "background", "all", "step", "return", "sample",
    "rare", "dense", "scarce", "own",
]  # fmt: skip
"""What happens in a shift."""

RATES = ("gain", "pedestal", "hot", "centre", "background")
"""The drifts, each a key of ``drift``."""

CONDITIONS: dict[Condition, str] = {
    "none": "nothing drifts",
    "gain": "gains drift",
    "pedestal": "pedestals drift",
    "hot": "pixels become hot",
    "centre": "the beam moves",
    "background": "the background grows",
    "all": "everything drifts",
    "step": "everything changes at once",
    "return": "everything drifts, and is put right",
    "sample": "another crystal from half-way",
    "rare": "everything drifts, few hits",
    "dense": "everything drifts, most are hits",
    "scarce": "everything drifts, few and wrong labels",
    "own": "frames of one's own",
}

SIMULATED = tuple(each for each in CONDITIONS if each != "own")

Frames = Annotated[int, Field(ge=50, le=10_000_000)]


class OwnConfig(Strict):
    """Frames of one's own in place of simulated ones, in one HDF5 file.

    ``path``, ``data``, ``labels``: of the file, and of the data sets in it, that of frames looked
    for by its usual names where null; ``labels``: one number a frame, 1 for a hit, 0 for none.
    ``corner``: where the module begins in larger images, row and column; ``photon``: what one
    photon counts; ``interval``: from one frame to the next.
    """

    path: str
    labels: str
    data: str | None = None
    corner: tuple[int, int] = (0, 0)
    photon: Positive = 1.0
    interval: Seconds = "10 ms"

    def source(self, module: Module) -> Recorded:
        """Return the frames; raise ``InputError`` where they cannot be read."""
        return Recorded(
            Path(self.path).expanduser(), module, self.data, self.labels, self.corner, self.photon,
            parse(self.interval, "second", "own.interval"),
        )  # fmt: skip


class DetectorConfig(Learning, Strict):
    """A chip beside a detector module tells hits, and is tuned while everything drifts.

    ``seeds``: how many, from ``seed`` on; each is a shift of ``frames``, after ``warming`` (until
    running medians have something to run over), ``calibration`` frames, from which everything is
    trained and tuned, and ``validation`` frames, which set cuts. ``block``: of frames that are
    judged before anything is learned from them; ``late``: the share of a shift, at its end, whose
    hits are counted. ``scarce``: how labels come in the condition of that name, ``rare`` and
    ``dense`` the shares of crystals in those. ``retrain``: after how many
    frames the digital network is trained again on its newest ``recent`` labels. ``alert``: from how
    many labels is learned after an alarm. ``own``: frames of one's own, which the condition ``own``
    takes in order: for warming, calibration, validation, and all others for the shift.
    ``resamples``: of the bootstrap.
    """

    experiment: Literal["detector"] = "detector"
    seed: Seed = 0
    seeds: int = Field(2, ge=1, le=1000)
    conditions: Different[Condition] = SIMULATED
    own: OwnConfig | None = None
    frames: Frames = 2000
    warming: Frames = 100
    calibration: Frames = 600
    validation: Frames = 300
    block: int = Field(25, ge=1, le=100_000)
    late: float = Field(0.4, gt=0, lt=1)
    module: Annotated[Part, BESIDE["module"]] = BESIDE["module"].part({})
    scene: Annotated[Part, SCENES] = SCENES.part("crystallography")
    sensor: Annotated[Part, BESIDE["sensor"]] = BESIDE["sensor"].part({})
    drift: Annotated[Part, BESIDE["drift"]] = BESIDE["drift"].part({})
    reduction: Annotated[Part, BESIDE["reduction"]] = BESIDE["reduction"].part({})
    labels: Annotated[Part, BESIDE["labels"]] = BESIDE["labels"].part({})
    scarce: Annotated[Part, BESIDE["labels"]] = BESIDE["labels"].part({"share": 0.1, "wrong": 0.02})
    rare: float = Field(0.08, gt=0, lt=1)
    dense: float = Field(0.94, gt=0, lt=1)
    machine: ChipConfig = ChipConfig(chips=8, arrays=5)
    network: NetworkConfig = HopfieldConfig(gain=(0.0,), readout=True)
    estimator: Annotated[Part, ESTIMATORS] = ESTIMATORS.part({"kind": "centred", "beta": 2.0})
    rule: Annotated[Part, RULES] = RULES.part("accumulate")
    writing: WritingConfig = WritingConfig(units=("400 uS",))
    schedule: ScheduleConfig = ScheduleConfig(steps=600, rates=(0.5,), weight_decay=0.02, looks=1)
    online: Annotated[Part, BESIDE["teaching"]] = BESIDE["teaching"].part({})
    reservoir: Annotated[Part, BESIDE["reservoir"]] = BESIDE["reservoir"].part({"room": 600})
    retrain: Frames = 500
    recent: Frames = 600
    alert: Frames = 200
    resamples: int = Field(1000, ge=100, le=1_000_000)

    @property
    def before(self) -> int:
        """How many frames come before the shift."""
        return self.warming + self.calibration + self.validation

    @property
    def calibrating(self) -> slice:
        """The frames from which everything is trained and tuned."""
        return slice(self.warming, self.warming + self.calibration)

    @property
    def validating(self) -> slice:
        """The frames that set cuts."""
        return slice(self.before - self.validation, self.before)

    @property
    def shift(self) -> slice:
        """The frames that may drift."""
        return slice(self.before, None)

    def source(self, condition: Condition, seed: int) -> Simulated:
        """Return the simulated frames of a shift under a ``condition``."""
        module: Module = self.module.make(where="module")
        drift = self.drift.make(where="drift")
        scene: Scene = self.scene.make(where="scene")
        still = dict.fromkeys(RATES, 0.0)
        if condition in ("none", "sample"):
            drift = replace(drift, **still)
        elif condition in RATES:
            drift = replace(drift, **(still | {condition: getattr(drift, condition)}))
        elif condition == "step":
            drift = replace(drift, course="step", at=1 - self.late)
        elif condition == "return":
            drift = replace(drift, course="return", at=1 - self.late)
        if condition in ("rare", "dense"):
            scene = scene.sharing(self.rare if condition == "rare" else self.dense)
        given = {"module": module, "drift": drift, "seed": seed}
        sensor: Sensor = self.sensor.make(given, "sensor")
        other = scene.exchanged() if condition == "sample" else None
        return Simulated(scene, sensor, self.before, self.frames, self.block, other, condition)

    def reducing(self) -> Reduction:
        """Return how frames are reduced."""
        found: Reduction = self.reduction.make({"module": self.module.make()}, "reduction")
        return found

    def labelling(self, condition: Condition) -> Labels:
        """Return how labels come under a ``condition``."""
        part, where = (self.scarce, "scarce") if condition == "scarce" else (self.labels, "labels")
        found: Labels = part.make(where=where)
        return found

    def teaching(self, replayed: bool = True) -> Teaching:
        """Return how is learned in a shift, from a reservoir where it is ``replayed``."""
        reservoir = self.reservoir.make({"classes": 2}, "reservoir") if replayed else None
        found: Teaching = self.online.make({"reservoir": reservoir}, "online")
        return found

    def plan(
        self, name: str, seed: int, x: Tensor | None = None, hit: Tensor | None = None
    ) -> Plan:
        """Return the plan of the calibration on frames ``x`` and what they show; ``name`` of draws.

        Without frames, of such as have no light.
        """
        if x is None or hit is None:
            x = torch.zeros(self.before, self.module.make().features)
            hit = torch.arange(self.before) % 2
        task = calibrated(x, hit, self.calibrating, self.validating)
        return self.learning_plan(f"detector.{name}", seed, task, self.machine)

    @model_validator(mode="after")
    def _own_is_asked_for(self) -> DetectorConfig:
        if ("own" in self.conditions) != (self.own is not None):
            raise ValueError("conditions: own is for frames of one's own: give both, the condition "
                             "and own.path with own.labels, or neither")  # fmt: skip
        return self

    def needs(self) -> Mapping[str, float]:
        """Return about how many bytes a job takes at least."""
        module: Any = self.module.make()
        pixels, frames = 1.0 * module.rows * module.columns, 1.0 * (self.before + self.frames)
        return cells_need(
            self.machine.chips, [module.features, 2], self.schedule.batch, "machine."
        ) | {
            "module.rows, module.columns or block": 60 * pixels * self.block,
            "frames or machine.chips": frames * (12 * module.features + 60 * self.machine.chips),
        }  # fmt: skip
