"""Serial crystallography: X-rays meet crystals in a jet of water, false friends, nothing at all.

Every frame is a map of expected photons. Physics is kept where it decides what a frame looks like:
cells and symmetry (gemmi), Wilson's intensities, the Ewald sphere with what broadens it, partial
reflections, water, air, polarisation and solid angle (pyFAI), and a beam whose intensity is pink.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from madem.beam import needed
from madem.beam.geometry import Array, Module, single
from madem.beam.scene import (
    BLANK,
    WANTED,
    Cell,
    Course,
    Draws,
    Numbers,
    begun,
    draws_of,
    in_runs,
    pink,
    projected,
    refuse_cell,
    refuse_shares,
    rotation,
)
from madem.errors import InputError

FALSE, OFF = 2, 3
"""The numbers of the kinds besides crystals: salt or ice, and frames without the jet."""
MOST = 1e7
"""How many reflections a crystal may have: all of them are held."""
REACH = 3
"""How far from its centre a spot is drawn, in pixels."""


@dataclass(frozen=True)
class Lattice:
    """A crystal's ``cell``, angstrom and degrees, and space ``group``, to a ``resolution``.

    Intensities are drawn by Wilson's statistics under ``structure``, a seed, and fall as
    ``exp(-2 B s^2)`` with ``b``, square angstrom, and ``s = 1 / 2d``. ``resolution``, angstrom;
    ``mosaic``: standard deviation of its blocks' orientations, rad. The default is the tetragonal
    lysozyme of so many calibrations.

    >>> Lattice(cell=(79.0, 79.0, 37.9, 90.0, 90.0, 9.0))
    Traceback (most recent call last):
    ...
    madem.errors.InputError: cell must be three sides of 0.5 to 1000 angstrom and three angles of \
20 to 160 degrees, but is [79.0, 79.0, 37.9, 90.0, 90.0, 9.0]
    """

    cell: Cell = (79.0, 79.0, 37.9, 90.0, 90.0, 90.0)
    group: str = "P 43 21 2"
    resolution: float = 2.2
    b: float = 25.0
    mosaic: float = 0.0025
    structure: int = 1

    def __post_init__(self) -> None:
        """Refuse what is no crystal."""
        if not self.resolution >= 0.5 or not 0 <= self.mosaic <= 1 or not self.b >= 0:
            raise InputError(
                "resolution must be at least 0.5 angstrom, mosaic from 0 to 1 and b not negative, "
                f"but are {self.resolution}, {self.mosaic} and {self.b}"
            )
        refuse_cell(self.cell)
        many = 4.19 * math.prod(self.cell[:3]) / self.resolution**3
        if many > MOST:
            raise InputError(
                f"resolution must leave at most {MOST:.0e} reflections, but {self.resolution} "
                f"angstrom of a cell of {list(self.cell[:3])} leave up to {many:.0e}"
            )

    @cached_property
    def reflections(self) -> tuple[Array, Array]:
        """All reciprocal vectors, ``(3, n)``, 1/angstrom, and their intensities, about 1 at first.

        Intensities of one orbit and its Friedel mates are equal; acentric ones are exponential,
        centric ones of chi square with one degree of freedom, both times the multiplicity
        ``epsilon`` (Wilson, Acta Cryst. 2, 318, 1949). Absent ones are left out.
        """
        gemmi = needed("gemmi")
        cell = gemmi.UnitCell(*self.cell)
        group = gemmi.find_spacegroup_by_name(self.group)
        if group is None or not cell.is_compatible_with_spacegroup(group):
            raise InputError(f"crystal.group: {self.group[:30]!r} is no space group of the cell "
                             f"{list(self.cell)} (such as 'P 43 21 2' of lysozyme)")  # fmt: skip
        unique = gemmi.make_miller_array(cell, group, self.resolution, 0.0, unique=True)
        if not len(unique):
            raise InputError(f"crystal.resolution: no reflection of the cell {list(self.cell)} has "
                             f"a spacing of {self.resolution} angstrom or more")  # fmt: skip
        operations, draws = group.operations(), draws_of(self.structure, "structure")
        listed = [[int(index) for index in hkl] for hkl in unique]
        centric = np.array([operations.is_reflection_centric(hkl) for hkl in listed])
        epsilon = np.array([operations.epsilon_factor_without_centering(hkl) for hkl in listed])
        drawn = np.where(
            centric, draws.chisquare(1, len(unique)), draws.exponential(1.0, len(unique))
        )
        falling = np.exp(-self.b / (2 * cell.calculate_d_array(unique) ** 2))
        turns = [np.array(each.rot) // each.DEN for each in operations.sym_ops]
        orbit = np.concatenate([sign * unique @ turn for turn in turns for sign in (1, -1)])
        strength = np.tile(drawn * epsilon * falling, 2 * len(turns))
        whole, first = np.unique(orbit, axis=0, return_index=True)
        basis = np.array(cell.frac.mat.tolist())
        return np.ascontiguousarray(single(whole @ basis).T), single(strength[first])

    @cached_property
    def lengths(self) -> Array:
        """The lengths of the reciprocal vectors, 1/angstrom."""
        return single(np.linalg.norm(self.reflections[0], axis=0))


@dataclass(frozen=True)
class Beam:
    """What broadens reflections, and how its intensity varies.

    ``divergence``, rad; ``bandwidth``: relative, of the wavelength; ``size``: width of a reflection
    by the size of the crystal's blocks, 1/angstrom; ``pink``: relative standard deviation of its
    intensity, whose spectrum falls as 1/f; ``point``: standard deviation of a spot, in pixels.
    """

    divergence: float = 0.0012
    bandwidth: float = 0.002
    size: float = 0.0006
    pink: float = 0.15
    point: float = 0.65

    def __post_init__(self) -> None:
        """Refuse what broadens nothing, or backwards."""
        widths = (self.divergence, self.bandwidth, self.pink)
        if not min(widths) >= 0 or not 0 < self.size <= 1 or not 0.05 <= self.point <= 3:
            raise InputError(
                "beam: divergence, bandwidth and pink must not be negative, size above 0 and point "
                f"from 0.05 to 3 pixels, but are {widths}, {self.size} and {self.point}"
            )
        if max(widths) > 10:
            raise InputError(f"beam: divergence, bandwidth and pink must be at most 10, but are "
                             f"{widths}")  # fmt: skip


def excited(
    module: Module, beam: Beam, crystal: Lattice, turn: Array
) -> tuple[Numbers, Numbers, Numbers]:
    """Return rows, columns and intensities of the reflections of a crystal on a module.

    ``turn``: its orientation. A reflection ``g`` is as far from the Ewald sphere as
    ``e = |k + g| - 1/lambda``; its rocking curve is a Gaussian of a width that adds up those of the
    size, mosaicity, divergence and bandwidth, of constant area, so that what is broad is partial.
    """
    vectors, strength = crystal.reflections
    k = np.float32(1e-10 / module.wavelength)
    length = crystal.lengths
    broad = crystal.mosaic + beam.divergence + beam.bandwidth * float(length.max()) / (2 * k)
    near = np.abs(turn[2] @ vectors + length * (length / (2 * k)))  # e, to first order
    kept = np.flatnonzero(near < 4 * beam.size + np.float32(4 * broad) * length)
    g, length = turn @ vectors[:, kept], length[kept]
    width = np.sqrt(
        beam.size**2
        + (crystal.mosaic * length) ** 2
        + (beam.divergence * length) ** 2
        + (beam.bandwidth * length**2 / (2 * k)) ** 2
    )
    row, column, away = projected(module, g)
    away = away / width
    partial = np.exp(-0.5 * away**2) * beam.size / width
    inside = (np.abs(away) < 3) & (row > -0.5) & (row < module.rows - 0.5)
    inside &= (column > -0.5) & (column < module.columns - 0.5)
    found = strength[kept] * partial
    return row[inside].astype(float), column[inside].astype(float), found[inside].astype(float)


def spotted(shape: Sequence[int], row: Numbers, column: Numbers, sigma: float) -> tuple[
    NDArray[np.intp], NDArray[np.intp], Numbers
]:  # fmt: skip
    """Return pixels, ``(spots, pixels)`` by row and column, and the share each has of its spot.

    A Gaussian of ``sigma`` pixels integrated over every pixel; what lies outside of ``shape`` has
    no share.
    """
    steps = np.arange(-REACH, REACH + 1)
    shares, places = [], []
    for at, size in zip((row, column), shape, strict=True):
        pixel = np.rint(at).astype(np.intp)[:, None] + steps
        edges = np.concatenate([pixel - 0.5, pixel[:, -1:] + 0.5], 1) - at[:, None]
        share = np.diff(erf(edges / (sigma * 2**0.5)) / 2, axis=1)
        shares.append(share * ((pixel >= 0) & (pixel < size)))
        places.append(pixel.clip(0, size - 1))
    wide = (len(row), len(steps) ** 2)
    rows = np.broadcast_to(places[0][:, :, None], (*places[0].shape, len(steps))).reshape(wide)
    columns = np.broadcast_to(places[1][:, None], (*places[0].shape, len(steps))).reshape(wide)
    return rows, columns, (shares[0][:, :, None] * shares[1][:, None]).reshape(wide)


@dataclass(frozen=True)
class Crystallography:
    """A jet of water with crystals in a pulsed beam of X-rays, frame by frame.

    ``crystals``: share of frames with a crystal in the beam; ``false``: with salt or ice; ``off``:
    without the jet; ``stay``: the chance that a frame shows the same kind as the one before it, so
    that they come in runs. ``water`` and ``air``: photons a pixel of their scatter at its largest.
    ``strength``, ``spread``: median and spread (of the logarithm) of how many photons a crystal's
    reflection of intensity one has. A frame is a hit where at least ``spots`` of a crystal's
    reflections are expected to have more than ``photons`` in their brightest pixel.
    """

    kinds: ClassVar[tuple[str, ...]] = ("blank", "crystal", "salt or ice", "no jet")
    quanta: ClassVar[str] = "photons"

    crystals: float = 0.35
    false: float = 0.15
    off: float = 0.05
    stay: float = 0.3
    water: float = 1.2
    air: float = 8.0
    strength: float = 35.0
    spread: float = 1.0
    spots: int = 8
    photons: float = 4.0
    crystal: Lattice = Lattice()
    beam: Beam = Beam()

    def __post_init__(self) -> None:
        """Refuse shares of more than all frames, and what is no chance."""
        parts = (self.crystals, self.false, self.off)
        refuse_shares("crystals, false and off", parts, self.stay)
        amounts = (self.water, self.air, self.strength, self.photons)
        if max(amounts) > 1e6 or not 0 <= self.spread <= 10:
            raise InputError(
                "water, air, strength and photons must be at most 1e6 and spread from 0 to 10, but "
                f"are {amounts} and {self.spread}"
            )
        if not min(amounts) >= 0 or self.spots < 1:
            raise InputError("water, air, strength and photons must not be negative, spots at "
                             f"least 1, but are {self.water}, {self.air}, {self.strength}, "
                             f"{self.photons} and {self.spots}")  # fmt: skip

    @property
    def about(self) -> tuple[str, str]:
        """What there is to be seen, and what is seen of a hit."""
        return (
            "crystals, water, salt and ice in a pulsed beam of X-rays",
            f"{self.spots} or more of a crystal's reflections",
        )

    def course(self, frames: int, draws: Draws) -> Course:
        """Return what comes in each frame; every one with a crystal has another."""
        kind, first = in_runs((self.crystals, self.false, self.off), self.stay, frames, draws)
        bright = pink(self.beam.pink, frames, draws)
        return Course(kind, bright, begun(first, draws))

    def expected(
        self, module: Module, course: Course, grown: Numbers, draws: Draws
    ) -> tuple[Array, list[int]]:
        """Return the photons that every pixel expects, and how many spots of crystals are seen."""
        jet, air = self.background(module)
        size = (len(grown), 1, 1)
        thick = draws.lognormal(0.0, 0.3, size) * (course.kind != OFF).reshape(size)
        thick *= grown.reshape(size)
        photons = np.float32(thick) * jet + np.float32(draws.lognormal(0.0, 0.2, size)) * air
        photons *= course.bright.reshape(size)
        spots = [0] * len(grown)
        for i, (kind, bright, _) in enumerate(zip(*course, strict=True)):
            if kind not in (BLANK, OFF):
                own = np.random.default_rng(draws.integers(2**63))  # moves no other frame's draws
                spots[i] = self.diffraction(module, int(kind), own, photons[i], float(bright))
        return photons, spots

    def sharing(self, share: float) -> Crystallography:
        """Return the scene with that share of crystals, the others in proportion."""
        left = (1 - share) / max(1 - self.crystals, 1e-9)
        return replace(self, crystals=share, false=self.false * left, off=self.off * left)

    def exchanged(self) -> Crystallography:
        """Return the scene with another crystal."""
        return replace(self, crystal=OTHER)

    def check(self, module: Module) -> None:
        """Raise ``InputError`` for what is no crystal."""
        del module
        for crystal in (self.crystal, SALT, ICE):
            crystal.reflections  # noqa: B018 - refused where it is none

    def background(self, module: Module) -> tuple[Array, Array]:
        """Return the expected photons of the jet and of the air on every pixel.

        Water has two maxima, at 2.0 and 2.95 per angstrom (Amann-Winkel et al., Chem. Rev. 116,
        7570, 2016); heights, widths and the fall of the air's scatter are ours.
        """
        q = module.q
        ring = np.exp(-(((q - 2.0) / 0.42) ** 2)) + 0.55 * np.exp(-(((q - 2.95) / 0.45) ** 2))
        jet = self.water * (ring + 0.18) * module.seen
        return jet, self.air * np.exp(-q / np.float32(0.35)) * module.seen

    def diffraction(
        self, module: Module, kind: int, draws: Draws, onto: Array, brightness: float
    ) -> int:
        """Add what diffracts in a frame to the map ``onto``; return how many spots are seen."""
        if kind == WANTED:
            strength = brightness * self.strength * np.exp(self.spread * draws.standard_normal())
            peaks = self._add(module, self.crystal, draws, onto, float(strength))
            return int((peaks > self.photons).sum())
        if kind == FALSE:
            for _ in range(draws.integers(1, 4)):
                self._add(module, SALT, draws, onto, brightness * float(draws.lognormal(7.5, 1.0)))
            for _ in range(draws.integers(0, 60)):
                self._add(module, ICE, draws, onto, brightness * float(draws.lognormal(6.2, 1.0)))
        return 0

    def _add(
        self, module: Module, crystal: Lattice, draws: Draws, onto: Array, photons: float
    ) -> Numbers:
        """Add the spots of a crystal in a random orientation; return their brightest pixels."""
        row, column, strength = excited(module, self.beam, crystal, rotation(draws))
        rows, columns, share = spotted(module.shape, row, column, self.beam.point)
        each = photons * strength[:, None] * share * module.seen[rows, columns]
        np.add.at(onto, (rows, columns), np.float32(each))
        peaks: Numbers = each.max(1, initial=0.0)
        return peaks


SALT = Lattice((5.64, 5.64, 5.64, 90.0, 90.0, 90.0), "F m -3 m", 1.2, 1.0, 0.02, 2)
"""Rock salt, of large and imperfect grains: few and strong spots."""

ICE = Lattice((4.498, 4.498, 7.338, 90.0, 90.0, 120.0), "P 63/m m c", 1.2, 3.0, 0.02, 3)
"""Hexagonal ice, in grains: spots on its rings, from 3.9 angstrom on."""

OTHER = Lattice((58.0, 58.0, 151.5, 90.0, 90.0, 90.0), "P 41 21 2", structure=4)
"""The crystal after a change of sample: thaumatin."""
