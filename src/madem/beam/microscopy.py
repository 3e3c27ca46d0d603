"""Electron microscopy: a focused probe is scanned over a specimen, a diffraction pattern a place.

What is known as 4D-STEM. Grains of a crystal lie on a film of amorphous carbon, and neighbouring
places share a grain. Every frame is a map of expected electrons: the beam that is left and those
diffracted, as discs, which a probe of some angle makes of them, and the halo of the film.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from madem.beam.electrons import Phase, diffracted, film_scatter, wavelength_of
from madem.beam.geometry import Array, Module, single
from madem.beam.scene import (
    WANTED,
    Course,
    Draws,
    Numbers,
    begun,
    in_runs,
    pink,
    refuse_shares,
    rotation,
)
from madem.errors import InputError

OTHER_PHASE, THICK, HOLE = 2, 3, 4
"""The numbers of the kinds besides the bare film and what is looked for."""

LEAD = Phase((4.9502,) * 3 + (90.0,) * 3, "F m -3 m", (("Pb", 0.0, 0.0, 0.0),), 2.0)
"""Metallic lead, which the beam makes of lead halides."""

OTHER = Phase((6.289,) * 3 + (90.0,) * 3, atoms=(
    ("Cs", 0.0, 0.0, 0.0), ("Pb", 0.5, 0.5, 0.5), ("I", 0.5, 0.5, 0.0)))  # fmt: skip
"""The phase after a change of specimen: caesium lead iodide."""


def discs(
    module: Module, row: Numbers, column: Numbers, radius: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], Numbers]:
    """Return pixels, ``(discs, pixels)`` by row and column, and the share each has of its disc.

    Of even intensity; the edge is as wide as a pixel. What lies outside of the module has no share.
    """
    reach = math.ceil(radius + 1)
    steps = np.arange(-reach, reach + 1)
    rows = np.rint(row).astype(np.intp)[:, None, None] + steps[:, None]
    columns = np.rint(column).astype(np.intp)[:, None, None] + steps
    away = np.hypot(rows - row[:, None, None], columns - column[:, None, None])
    share = np.clip(radius + 0.5 - away, 0.0, 1.0)
    share /= share.sum((1, 2), keepdims=True)
    share *= (rows >= 0) & (rows < module.rows) & (columns >= 0) & (columns < module.columns)
    wide = (len(row), len(steps) ** 2)
    at = np.broadcast_to(rows.clip(0, module.rows - 1), share.shape).reshape(wide)
    along = np.broadcast_to(columns.clip(0, module.columns - 1), share.shape).reshape(wide)
    return at, along, share.reshape(wide)


@dataclass(frozen=True)
class Microscopy:
    """A probe of electrons, scanned over grains on a film of amorphous carbon.

    ``grains``: share of frames with a grain of the ``phase``; ``other``: with one of metallic lead;
    ``thick``: where the film is folded, ``fold`` times as thick; ``holes``: without a film;
    ``stay``: the chance that a place shows the same as the one before, the same grain included.
    ``electrons``: of a frame, the beam's current times the time at a place; ``current``: relative
    standard deviation of it, whose spectrum falls as 1/f; ``convergence``: half the angle of the
    probe, rad, which sets how large discs are. ``film``: thickness, m; ``depth``, ``spread``:
    median, m, and spread (of the logarithm) of that of grains. Whatever contaminates the film
    grows on it as carbon. A frame is a hit where at least ``spots`` discs of the phase are expected
    to have more than ``least`` electrons in their brightest pixel.
    """

    kinds: ClassVar[tuple[str, ...]] = ("bare film", "grain", "lead", "folded film", "hole")
    quanta: ClassVar[str] = "electrons"

    grains: float = 0.35
    other: float = 0.05
    thick: float = 0.1
    holes: float = 0.1
    stay: float = 0.6
    electrons: float = 25_000.0
    current: float = 0.05
    convergence: float = 1.5e-3
    film: float = 10e-9
    fold: float = 2.5
    depth: float = 10e-9
    spread: float = 0.5
    spots: int = 3
    least: float = 1.5
    phase: Phase = Phase()

    def __post_init__(self) -> None:
        """Refuse shares of more than all frames, and what is no probe or film."""
        shares = (self.grains, self.other, self.thick, self.holes)
        refuse_shares("grains, other, thick and holes", shares, self.stay)
        amounts = {"electrons": 1e9, "current": 10.0, "film": 1e-6, "fold": 100.0, "depth": 1e-6,
                   "spread": 10.0, "least": 1e6}  # fmt: skip
        for name, most in amounts.items():
            if not 0 <= (value := getattr(self, name)) <= most:
                raise InputError(f"{name} must be from 0 to {most:g}, but is {value:g}")
        if not 1e-5 <= self.convergence <= 0.05 or self.spots < 1:
            raise InputError("convergence must be from 1e-5 to 0.05 rad and spots at least 1, but "
                             f"are {self.convergence:g} and {self.spots}")  # fmt: skip

    @property
    def about(self) -> tuple[str, str]:
        """What there is to be seen, and what is seen of a hit."""
        return (
            "grains, metallic lead, folds and holes of a carbon film under a probe of electrons",
            f"{self.spots} or more discs of a grain",
        )

    def course(self, frames: int, draws: Draws) -> Course:
        """Return what comes at each place; those of one run share a grain."""
        shares = (self.grains, self.other, self.thick, self.holes)
        kind, first = in_runs(shares, self.stay, frames, draws)
        return Course(kind, pink(self.current, frames, draws), begun(first, draws))

    def expected(
        self, module: Module, course: Course, grown: Numbers, draws: Draws
    ) -> tuple[Array, list[int]]:
        """Return the electrons that every pixel expects, and how many discs of grains are seen.

        The film scatters the share ``1 - exp(-t / path)`` of the beam and of what is diffracted.
        """
        maps = film_scatter(module, self.convergence)
        halo, size = maps[0] + maps[1], len(grown)
        path = 1 / float(halo.sum())
        film = self.film * grown * draws.lognormal(0.0, 0.15, size)
        film *= np.where(course.kind == THICK, self.fold * draws.lognormal(0.0, 0.3, size), 1.0)
        film[course.kind == HOLE] = 0.0
        beam, passed = self.electrons * course.bright.astype(float), np.exp(-film / path)
        frames = single((beam * (1 - passed) * path)[:, None, None]) * halo
        depth = 1e10 * self.depth * draws.lognormal(0.0, 0.1, size)
        return frames, [
            self._crystals(module, kind, np.random.default_rng(run), onto, float(much), float(deep))
            for kind, run, onto, much, deep in zip(
                course.kind, course.run, frames, beam * passed, depth, strict=True
            )
        ]

    def _crystals(
        self, module: Module, kind: int, own: Draws, onto: Array, much: float, deep: float
    ) -> int:
        """Add the beam and the discs of a grain to ``onto``; return how many are seen of a grain.

        ``own``: of the run; ``much``: electrons that pass the film; ``deep``: the median thickness
        of grains, angstrom.
        """
        radius = self.convergence * module.distance / module.pixel
        row, column, share = (np.zeros(0),) * 3
        if kind in (WANTED, OTHER_PHASE):
            phase = self.phase if kind == WANTED else LEAD
            turn, deep = rotation(own), deep * math.exp(self.spread * own.standard_normal())
            row, column, share = diffracted(module, phase, turn, deep)
        centre = (np.append(row, module.centre[0]), np.append(column, module.centre[1]))
        rows, columns, each = discs(module, *centre, radius)
        each *= much * np.append(share, 1 - share.sum())[:, None]
        np.add.at(onto, (rows, columns), np.float32(each))
        return int((each[:-1].max(1, initial=0.0) > self.least).sum()) if kind == WANTED else 0

    def sharing(self, share: float) -> Microscopy:
        """Return the scene with that share of grains, the others in proportion."""
        left = (1 - share) / max(1 - self.grains, 1e-9)
        others = (self.other * left, self.thick * left, self.holes * left)
        return replace(self, grains=share, other=others[0], thick=others[1], holes=others[2])

    def exchanged(self) -> Microscopy:
        """Return the scene with grains of another phase."""
        return replace(self, phase=OTHER)

    def check(self, module: Module) -> None:
        """Raise ``InputError`` for what is no phase, or no beam or disc of electrons."""
        longest, shortest = wavelength_of(10e3), wavelength_of(2e6)
        if not shortest <= module.wavelength <= longest:
            raise InputError(
                "module.wavelength: electrons of 10 to 2000 kV have 12.2 to 0.504 pm, of 200 "
                f"kV 2.508 pm, but it is {1e12 * module.wavelength:g} pm"
            )
        radius = self.convergence * module.distance / module.pixel
        if not 0.5 <= radius <= 50:
            raise InputError(
                f"scene.convergence: discs must have radii of 0.5 to 50 pixels, but {radius:.3g} "
                f"is that of {self.convergence:g} rad at {module.distance:g} m"
            )
        for phase in (self.phase, LEAD, OTHER):
            phase.reflections  # noqa: B018 - refused where it is none
