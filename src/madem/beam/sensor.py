"""An integrating sensor: photons become numbers by gains and pedestals that drift in a shift.

Or electrons: whatever quanta a scene has are called photons here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from madem.beam.geometry import Array, Module
from madem.beam.scene import Draws, Numbers, draws_of
from madem.errors import InputError

DriftCourse = Literal["ramp", "step", "return"]
"""How a drift goes: steadily; all of it at once; steadily, and back to where it began."""


@dataclass(frozen=True)
class Drift:
    """How fast a sensor and its beam change; zero switches a drift off.

    ``gain``: relative, an hour, standard deviation over readout chips; ``pedestal``: photons an
    hour, likewise, and ``pattern`` times as much from pixel to pixel; ``hot``: pixels or clusters
    that become hot, an hour; ``centre``: how far the beam moves, pixels an hour; ``background``:
    what the scatter of the jet grows by, relative, an hour. ``course``: of all of them; that of a
    ``step`` has at once what a ramp has after all ``hours``. ``at``: when the step comes, or the
    return, as a share of them.
    """

    gain: float = 0.025
    pedestal: float = 0.06
    pattern: float = 0.5
    hot: float = 27.0
    centre: float = 0.75
    background: float = 0.12
    hours: float = 8.0
    course: DriftCourse = "ramp"
    at: float = 0.6

    def __post_init__(self) -> None:
        """Refuse rates below zero, and a shift that is none."""
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name != "course" and not value >= 0:
                raise InputError(f"drift.{each.name} must be zero or positive, but is {value}")
        for name, most in MOST.items():
            whole = getattr(self, name) * self.hours
            if whole > most or self.pattern > 100:
                raise InputError(
                    f"drift.{name} must come to at most {most:g} in a shift and pattern be at most "
                    f"100, but are {whole:g} and {self.pattern:g}"
                )
        if not self.hours > 0 or not self.at <= 1:
            raise InputError(f"drift: hours must be above 0 and at at most 1, but are {self.hours} "
                             f"and {self.at}")  # fmt: skip

    def drifted(self, time: Numbers) -> Numbers:
        """Return for how many hours everything has drifted at each ``time``, a share of the shift.

        Nothing has before the shift, where ``time`` is below zero.

        >>> Drift(course="return").drifted(np.array([-0.1, 0.5, 0.7])).tolist()
        [0.0, 4.0, 0.0]
        """
        whole = np.clip(time, 0.0, 1.0)
        if self.course == "step":
            whole = np.where(time >= self.at, 1.0, 0.0)
        if self.course == "return":
            whole = np.where(time >= self.at, 0.0, whole)
        return self.hours * whole


MOST = {"gain": 10.0, "pedestal": 1e6, "hot": 1e6, "centre": 1e5, "background": 1e4}
"""What a drift may come to in a shift: more is no sensor, and every hot pixel is held."""


class Hot(NamedTuple):
    """Pixels that become hot: where, after how many hours, how many photons, how often they are."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    hour: Numbers
    level: Numbers
    share: Numbers


@dataclass(frozen=True)
class Sensor:
    """The sensor of one ``module`` under ``seed``, as it drifts.

    ``noise``: of a pixel, in photons (an AGIPD has about 0.1 at 12 keV); ``clusters``: share of hot
    spots that are two by two pixels. Which way each chip drifts is drawn once.
    """

    module: Module
    drift: Drift
    seed: int
    noise: float = 0.07
    clusters: float = 0.3

    def __post_init__(self) -> None:
        """Refuse noise below zero, and a share that is none."""
        if not 0 <= self.noise <= 1000 or not 0 <= self.clusters <= 1:
            raise InputError(
                f"sensor: noise must be from 0 to 1000 and clusters a share, but are "
                f"{self.noise} and {self.clusters}"
            )

    @cached_property
    def ways(self) -> tuple[Array, Array, tuple[float, float]]:
        """Which way gains of chips, pedestals of pixels and the beam drift, in their rates."""
        draws, module = draws_of(self.seed, "drift"), self.module
        gain = draws.standard_normal(module.chips, np.float32)
        pedestal = module.spread(draws.standard_normal(module.chips, np.float32))
        own = self.drift.pattern * draws.standard_normal(module.shape, np.float32)
        angle = draws.uniform(0, 2 * np.pi)
        way = float(np.sin(angle)), float(np.cos(angle))
        return gain, np.asarray(pedestal + own, np.float32), way

    @cached_property
    def hot(self) -> Hot:
        """The pixels that become hot in the course of a shift; some of them blink."""
        draws, module = draws_of(self.seed, "hot"), self.module
        count = int(draws.poisson(self.drift.hot * self.drift.hours))
        row, column = (draws.integers(most, size=count) for most in module.shape)
        hour, level = draws.uniform(0, self.drift.hours, count), 6 + draws.exponential(12.0, count)
        share = draws.uniform(0.3, 1.0, count)
        wide = np.flatnonzero(draws.random(count) < self.clusters)
        more = [(row, column, np.arange(count))]
        more += [(row[wide] + down, column[wide] + right, wide)
                 for down, right in ((0, 1), (1, 0), (1, 1))]  # fmt: skip
        rows, columns, own = (np.concatenate(part) for part in zip(*more, strict=True))
        inside = (rows < module.rows) & (columns < module.columns)
        own = own[inside]
        return Hot(rows[inside], columns[inside], hour[own], level[own], share[own])

    def centre(self, hours: float) -> tuple[float, float]:
        """Return where the beam is after ``hours`` of drift, row and column in pixels."""
        moved = self.drift.centre * hours
        return tuple(c + moved * w for c, w in zip(self.module.centre, self.ways[2], strict=True))  # type: ignore[return-value]

    def read(self, photons: Array, hours: Numbers, draws: Draws) -> Array:
        """Return frames in photons, as calibrated before the drift, ``(frames, rows, columns)``.

        ``photons`` are those expected; ``hours``: for how long each frame's sensor has drifted.
        """
        frames = np.empty(photons.shape, np.float32)
        blinks = np.random.default_rng(draws.integers(2**63))  # of their own
        gain, pedestal, _ = self.ways
        for index, (expected, passed) in enumerate(
            zip(photons, hours.astype(np.float32), strict=True)
        ):
            frame = poisson(expected, draws)
            frame += np.float32(self.noise) * draws.standard_normal(frame.shape, np.float32)
            if self.drift.gain:
                frame *= self.module.spread(np.exp(np.float32(self.drift.gain) * passed * gain))
            if self.drift.pedestal:
                frame += np.float32(self.drift.pedestal) * passed * pedestal
            if self.drift.hot:
                hot = self.hot
                on = np.flatnonzero(
                    (hot.hour < passed) & (blinks.random(len(hot.hour)) < hot.share)
                )
                varied = hot.level[on] * blinks.uniform(0.7, 1.3, len(on))
                np.add.at(frame, (hot.rows[on], hot.columns[on]), np.float32(varied))
            frames[index] = frame
        return frames


def poisson(expected: Array, draws: Draws) -> Array:
    """Return Poisson numbers of the means ``expected``, of any shape, as float32.

    Means up to ``DIM`` by inverting the distribution, which for the few photons of a frame takes a
    quarter of the time of NumPy's own; brighter pixels by NumPy.
    """
    flat = expected.ravel()
    bright = np.flatnonzero(flat > DIM)
    drawn = draws.random(flat.shape, np.float32)
    chance = np.exp(-np.minimum(flat, DIM))
    found, number = np.zeros(flat.shape, np.float32), 0
    left, rate = np.arange(len(flat)), flat
    reached = chance.copy()
    while len(left):
        more = (drawn >= reached) & (chance > LEAST)
        if number >= 1:  # few are left from here on
            rest = np.flatnonzero(more)
            left, drawn, chance = left[rest], drawn[rest], chance[rest]
            rate, reached = rate[rest], reached[rest]
        number += 1
        found[left] += more if number == 1 else 1
        chance = chance * rate / number
        reached = reached + chance
    found[bright] = draws.poisson(flat[bright])
    return found.reshape(expected.shape)


DIM = 6.0
"""Photons up to which the distribution is inverted."""
LEAST = 1e-8
"""A chance that rounding hides."""
