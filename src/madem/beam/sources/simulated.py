"""Frames of a scene as a drifting sensor reads them, with what they show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from madem.beam.geometry import Array, Module
from madem.beam.scene import BLANK, CRYSTAL, OFF, Draws, Lattice, Numbers, Scene, draws_of
from madem.beam.sensor import Sensor
from madem.beam.sources import Frame, Truth
from madem.errors import InputError


@dataclass(frozen=True)
class Simulated:
    """A shift: ``before`` frames at its start without drift, then ``frames`` over its hours.

    ``together``: how many frames are made at once; for those the beam does not move. ``other``: the
    crystal that takes the place of the scene's from half of the shift on, where one is given.
    """

    scene: Scene
    sensor: Sensor
    before: int
    frames: int
    together: int = 50
    other: Lattice | None = None
    name: str = "simulated"

    def __post_init__(self) -> None:
        """Refuse a shift without frames."""
        if min(self.before, self.frames, self.together) < 1:
            raise InputError("before, frames and together must be at least 1, but are "
                             f"{self.before}, {self.frames} and {self.together}")  # fmt: skip

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames."""
        module = self.sensor.module
        for first in range(0, self.before + self.frames, self.together):
            module = self._seen(first, module)
            yield from self.part(first, module)

    def _seen(self, first: int, module: Module) -> Module:
        """Return the module with the beam where it is then, ``module`` where it has not moved."""
        time = np.array([(first - self.before) / self.frames])
        hours = float(self.sensor.drift.drifted(time)[0])
        row, column = (round(4 * at) / 4 for at in self.sensor.centre(hours))
        return module if module.centre == (row, column) else replace(module, centre=(row, column))

    def part(self, first: int, module: Module | None = None) -> list[Frame]:
        """Return the frames from number ``first`` on, a multiple of ``together``, by themselves.

        ``module``: with the beam where it is then, in steps of a quarter of a pixel.
        """
        module = self._seen(first, self.sensor.module) if module is None else module
        seed, total = self.sensor.seed, self.before + self.frames
        course = draws_of(seed, "course")
        kinds = self.scene.kinds(total, course)
        bright = self.scene.beam.intensity(total, course)
        part = slice(first, min(first + self.together, total))
        time = (np.arange(total)[part] - self.before) / self.frames
        images, spots = self._made(module, kinds[part], bright[part], time)
        seconds = 3600 * self.sensor.drift.hours * time
        return [
            Frame(self.name, first + i, float(seconds[i]), image, None,
                  Truth(int(kinds[first + i]), spots[i],
                        bool(kinds[first + i] == CRYSTAL and spots[i] >= self.scene.spots)))
            for i, image in enumerate(images)
        ]  # fmt: skip

    def _made(
        self, module: Module, kinds: NDArray[np.intp], bright: Array, time: Numbers
    ) -> tuple[Array, list[int]]:
        """Return frames of these kinds at these times, and how many spots are seen in each."""
        sensor = self.sensor
        draws = draws_of(sensor.seed, "frames", repr(float(time[0])))
        hours = sensor.drift.drifted(time)
        scene = self.scene
        if self.other is not None and time[0] >= 0.5:
            scene = replace(scene, crystal=self.other)
        jet, air = scene.background(module)
        size = (len(kinds), 1, 1)
        thick = draws.lognormal(0.0, 0.3, size) * (kinds != OFF).reshape(size)
        thick *= 1 + sensor.drift.background * hours.reshape(size)
        photons = np.float32(thick) * jet + np.float32(draws.lognormal(0.0, 0.2, size)) * air
        photons *= bright.reshape(size)
        spots = [0] * len(kinds)
        for i, kind in enumerate(kinds):
            if kind not in (BLANK, OFF):
                own = _own(draws)
                spots[i] = scene.diffraction(module, int(kind), own, photons[i], float(bright[i]))
        return sensor.read(photons, hours, draws), spots


def _own(draws: Draws) -> Draws:
    """Return a generator for one frame, so that what it shows moves no other frame's draws."""
    return np.random.default_rng(draws.integers(2**63))
