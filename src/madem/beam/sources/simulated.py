"""Frames of a scene as a drifting sensor reads them, with what they show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from madem.beam.geometry import Array, Module
from madem.beam.scene import WANTED, Course, Numbers, Scene, draws_of
from madem.beam.sensor import Sensor
from madem.beam.sources import Frame, Truth
from madem.errors import InputError


@dataclass(frozen=True)
class Simulated:
    """A shift: ``before`` frames at its start without drift, then ``frames`` over its hours.

    ``together``: how many frames are made at once; for those the beam does not move. ``other``: the
    scene that takes the place of the first from half of the shift on, where one is given.
    """

    scene: Scene
    sensor: Sensor
    before: int
    frames: int
    together: int = 50
    other: Scene | None = None
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
        part = slice(first, min(first + self.together, total))
        course = self.scene.course(total, draws_of(seed, "course")).part(part)
        time = (np.arange(total)[part] - self.before) / self.frames
        images, spots = self._made(module, course, time)
        seconds = 3600 * self.sensor.drift.hours * time
        return [
            Frame(self.name, first + i, float(seconds[i]), image, None,
                  Truth(int(kind), spots[i], bool(kind == WANTED and spots[i] >= self.scene.spots)))
            for i, (image, kind) in enumerate(zip(images, course.kind, strict=True))
        ]  # fmt: skip

    def _made(self, module: Module, course: Course, time: Numbers) -> tuple[Array, list[int]]:
        """Return frames of this course at these times, and how many spots are seen in each."""
        sensor = self.sensor
        draws = draws_of(sensor.seed, "frames", repr(float(time[0])))
        hours = sensor.drift.drifted(time)
        scene = self.other if self.other is not None and time[0] >= 0.5 else self.scene
        grown = 1 + sensor.drift.background * hours
        quanta, spots = scene.expected(module, course, grown, draws)
        return sensor.read(quanta, hours, draws), spots
