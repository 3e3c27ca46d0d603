"""How electrons are scattered: by crystals of known structure, and by a film of amorphous carbon.

Bragg reflections have the intensities of two beams, of structure factors by gemmi; a film has the
halo of carbon's scattering factor, and of what loses energy in it. Everything is scattered once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from madem.beam import needed
from madem.beam.geometry import Array, Module, single
from madem.beam.scene import Cell, Numbers, projected, refuse_cell
from madem.errors import InputError

REST = 510.99895069e3
"""The energy of an electron at rest, eV (CODATA 2022)."""
COMPTON = 2.42631023538e-12
"""Its Compton wavelength, m (CODATA 2022)."""

FINEST = 0.8
"""The smallest spacing of lattice planes that is kept, angstrom: others are dim, and far out."""
DIMMEST = 1e-6
"""The share of the beam below which a reflection is left out."""
MOST = 20_000
"""How many reflections a phase may have: all are looked at in every frame."""
CARBON = 0.1003
"""Atoms of a film of amorphous carbon of 2.0 g/cm3, 1/angstrom^3."""
PLASMON = 24.0
"""What an electron loses to amorphous carbon at a time, eV, its plasmon."""


def wavelength_of(volts: float) -> float:
    """Return the wavelength, m, of electrons accelerated by ``volts``.

    ``h / (m c)`` over ``sqrt(gamma^2 - 1)``, the momentum in units of ``m c``.

    >>> f"{1e12 * wavelength_of(200e3):.4f} pm"
    '2.5079 pm'
    """
    return COMPTON / math.sqrt((1 + volts / REST) ** 2 - 1)


def gamma_of(wavelength: float) -> float:
    """Return the relativistic factor of electrons of a ``wavelength``, m: of 200 kV, 1.391."""
    return math.hypot(1.0, COMPTON / wavelength)


@dataclass(frozen=True)
class Phase:
    """A crystal of known structure: ``cell``, angstrom and degrees, space ``group`` and ``atoms``.

    Each atom is an element and its place in fractions of the cell; those that the group repeats are
    given once. ``b``: of their vibrations, square angstrom. The default is caesium lead bromide as
    it is above 130 degrees (Moller, Nature 182, 1436, 1958), and as grains of it are often indexed.

    >>> Phase(atoms=())
    Traceback (most recent call last):
    ...
    madem.errors.InputError: atoms must be 1 to 1000 of elements and places, but are 0
    """

    cell: Cell = (5.874, 5.874, 5.874, 90.0, 90.0, 90.0)
    group: str = "P m -3 m"
    atoms: tuple[tuple[str, float, float, float], ...] = (
        ("Cs", 0.0, 0.0, 0.0), ("Pb", 0.5, 0.5, 0.5), ("Br", 0.5, 0.5, 0.0),
    )  # fmt: skip
    b: float = 1.5

    def __post_init__(self) -> None:
        """Refuse what is no crystal."""
        refuse_cell(self.cell)
        if not 0 <= self.b <= 1000:
            raise InputError(f"b must be from 0 to 1000 square angstrom, but is {self.b}")
        if not 1 <= len(self.atoms) <= 1000:
            raise InputError(
                f"atoms must be 1 to 1000 of elements and places, but are {len(self.atoms)}"
            )
        if max(abs(at) for _, *place in self.atoms for at in place) > 10:
            raise InputError("atoms must be placed in fractions of the cell, from -10 to 10")
        many = 4.19 * math.prod(self.cell[:3]) / FINEST**3
        if many > MOST:
            raise InputError(f"cell must leave at most {MOST} reflections to {FINEST} angstrom, "
                             f"but {list(self.cell)} leaves up to {many:.0e}")  # fmt: skip

    @cached_property
    def volume(self) -> float:
        """Of the cell, cubic angstrom."""
        return float(needed("gemmi").UnitCell(*self.cell).volume)

    @cached_property
    def reflections(self) -> tuple[Array, Array]:
        """All reciprocal vectors, ``(3, n)``, 1/angstrom, and absolute structure factors, angstrom.

        For electrons at rest, by the scattering factors of International Tables C, 4.3.2.2 (gemmi).
        """
        gemmi, held = needed("gemmi"), self._structure()
        factor = gemmi.StructureFactorCalculatorE(held.cell)
        all_of_it = gemmi.find_spacegroup_by_name("P 1")
        half = gemmi.make_miller_array(held.cell, all_of_it, FINEST, 0.0, unique=True)
        each = np.array([abs(factor.calculate_sf_from_small_structure(held, hkl))
                         for hkl in half.tolist()])  # fmt: skip
        seen = each > 1e-3 * each.max(initial=0.0)
        if not seen.any():
            raise InputError(
                f"scene.phase: {list(self.cell)} has no reflection to {FINEST} angstrom"
            )
        basis = np.array(held.cell.frac.mat.tolist())
        vectors = half[seen] @ basis
        return single(np.concatenate([vectors, -vectors]).T), single(np.tile(each[seen], 2))

    def _structure(self) -> Any:
        """Return the atoms of a cell, as gemmi has them; refuse what is none."""
        gemmi = needed("gemmi")
        held, known = gemmi.SmallStructure(), gemmi.find_spacegroup_by_name(self.group)
        held.cell = gemmi.UnitCell(*self.cell)
        if known is None or not held.cell.is_compatible_with_spacegroup(known):
            raise InputError(f"scene.phase.group: {self.group[:30]!r} is no space group of "
                             f"{list(self.cell)} (such as 'F m -3 m' of gold)")  # fmt: skip
        held.spacegroup = known
        for name, *place in self.atoms:
            element = gemmi.Element(name)
            if element.atomic_number == 0 or element.c4322 is None:
                raise InputError(f"scene.phase.atoms: {name[:30]!r} is no element such as 'Au'")
            site = gemmi.SmallStructure.Site()
            site.label = site.type_symbol = name
            site.element, site.fract = element, gemmi.Fractional(*place)
            site.occ, site.u_iso = 1.0, self.b / (8 * math.pi**2)
            held.add_site(site)
        held.setup_cell_images()
        held.change_occupancies_to_crystallographic()
        return held

    def extinction(self, wavelength: float) -> Array:
        """Return the extinction distance of every reflection, angstrom: ``pi V / (lambda F)``.

        At Bragg's angle, whose cosine is one; ``F`` grows by ``gamma`` (Williams and Carter,
        Transmission Electron Microscopy, 2009, eq. 13.4).
        """
        _, factor = self.reflections
        lit = factor * np.float32(gamma_of(wavelength) * wavelength * 1e10)
        return np.float32(math.pi * self.volume) / lit


def diffracted(
    module: Module, phase: Phase, turn: Array, thickness: float
) -> tuple[Numbers, Numbers, Numbers]:
    """Return rows, columns and intensities of the reflections of a grain, of a beam of one.

    Wherever on the plane of the module. ``turn``: its orientation; ``thickness``, angstrom. Of two
    beams with an extinction distance ``x`` and an excitation error ``s``, the share
    ``(pi t / x)^2 sinc^2(t sqrt(s^2 + 1 / x^2))`` is diffracted (Williams and Carter, eq. 13.48):
    the shape factor where the grain is thin. Where many add up to more than nine tenths of the
    beam, all are dimmer in proportion.
    """
    row, column, away = projected(module, turn @ phase.reflections[0])
    distance = phase.extinction(module.wavelength)
    bent = np.sqrt(away**2 + distance**-2.0)
    share = (np.pi * thickness / distance) ** 2 * np.sinc(thickness * bent) ** 2
    total = float(share.sum())
    share *= min(1.0, 0.9 / total) if total else 1.0
    seen = share > DIMMEST
    return row[seen].astype(float), column[seen].astype(float), share[seen].astype(float)


def film_scatter(module: Module, convergence: float) -> tuple[Array, Array]:
    """Return what one metre of amorphous carbon scatters into every pixel, a share of the beam.

    Elastically, ``n gamma^2 f^2 S`` times a pixel's solid angle: ``f`` of carbon (gemmi), and a
    structure factor with maxima at 2.9 and 5.3 per angstrom, spacings of 2.1 and 1.2 angstrom; its
    heights and widths are ours. And what has lost energy, by a Lorentzian of the angle
    ``E / (p v)`` up to the Bethe ridge (Egerton, Rep. Prog. Phys. 72, 016502, 2009), which the
    probe's own angle blurs.
    """
    gamma, q = gamma_of(module.wavelength), module.q
    factor = needed("gemmi").Element("C").c4322
    s2, at = np.linspace(0, float(q.max() / (4 * np.pi)) ** 2, 4000), (q / (4 * np.pi)) ** 2
    f = np.interp(at, s2, [factor.calculate_sf(each) for each in s2])
    order = (1 - 0.9 * np.exp(-((q / 1.6) ** 2)) + 1.3 * np.exp(-(((q - 2.9) / 0.4) ** 2))
             + 0.5 * np.exp(-(((q - 5.3) / 0.6) ** 2)))  # fmt: skip
    angle = (module.pixel / module.distance) ** 2
    elastic = 1e10 * CARBON * gamma**2 * f**2 * order * angle
    lost = PLASMON / (REST * (gamma - 1 / gamma))
    path = inelastic_path(module.wavelength, math.sqrt(2 * lost))
    theta = q * (module.wavelength * 1e10 / (2 * np.pi))
    halo = np.exp(-(theta**2) / (2 * lost)) / (theta**2 + lost**2 + convergence**2)
    return single(elastic), single(halo / halo.sum() / path)


def inelastic_path(wavelength: float, reach: float) -> float:
    """Return how far electrons come in carbon before they lose energy, m: a mean free path.

    Of losses up to an angle ``reach``, rad, which lies within 20 % of measured ones (Malis, Cheng
    and Egerton, J. Electron Microsc. Tech. 8, 193, 1988).
    """
    kilo, mean = REST * (gamma_of(wavelength) - 1) / 1e3, 7.6 * 6**0.36
    slowed = (1 + kilo / 1022) / (1 + kilo / 511) ** 2
    return 106e-9 * slowed * (kilo / mean) / math.log(2e3 * reach * kilo / mean)
