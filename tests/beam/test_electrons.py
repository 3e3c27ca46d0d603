"""Electrons: wavelengths in closed form, published extinction distances, Bragg's law, two beams."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from scipy import constants
from scipy.integrate import solve_ivp

from madem.beam.electrons import (
    CARBON,
    Phase,
    diffracted,
    film_scatter,
    gamma_of,
    inelastic_path,
    wavelength_of,
)
from madem.beam.geometry import Module
from madem.beam.scene import rotation
from madem.errors import InputError

MODULE = Module(128, 128, (4, 4), 4, 150e-6, 0.3, wavelength_of(200e3), (63.5, 63.5))
RIGHT = (90.0, 90.0, 90.0)


def cubic(side: float, element: str, group: str = "F m -3 m") -> Phase:
    return Phase((side, side, side, *RIGHT), group, ((element, 0.0, 0.0, 0.0),), 0.0)


GOLD = cubic(4.0782, "Au")


@pytest.mark.parametrize(
    ("volts", "published"), [(100e3, 3.7014), (200e3, 2.5079), (300e3, 1.9687)]
)
def test_wavelengths_are_relativistic(volts: float, published: float) -> None:
    e, m, c, h = constants.e, constants.m_e, constants.c, constants.h
    closed = h / np.sqrt(2 * m * e * volts * (1 + e * volts / (2 * m * c**2)))
    assert wavelength_of(volts) == pytest.approx(closed, rel=1e-9)
    assert 1e12 * wavelength_of(volts) == pytest.approx(published, abs=1e-4)
    assert gamma_of(closed) == pytest.approx(1 + e * volts / (m * c**2), rel=1e-9)


@pytest.mark.parametrize(
    ("phase", "published"),
    [
        (cubic(4.0495, "Al"), {3: 56.3, 4: 68.5, 8: 114.4}),
        (cubic(3.6149, "Cu"), {3: 28.6, 4: 32.6, 8: 47.3}),
        (GOLD, {3: 18.3, 4: 20.2, 8: 27.8}),
        (cubic(5.4309, "Si", "F d -3 m"), {3: 60.2, 8: 75.7}),
    ],
)
def test_extinction_distances_are_those_of_the_table(
    phase: Phase, published: dict[int, float]
) -> None:
    """Of two beams at 100 kV, nm: Williams and Carter, 2009, table 13.2, by older factors."""
    found = phase.extinction(wavelength_of(100e3)) / 10
    squares = np.rint((phase.reflections[0] ** 2).sum(0) * phase.cell[0] ** 2)
    for square, distance in published.items():
        assert found[squares == square] == pytest.approx(distance, rel=0.08)


def test_structure_factors_are_the_sum_over_the_cell() -> None:
    """By hand: caesium at the corner, lead in the middle, bromine on the faces."""
    phase = Phase(b=0.0)
    vectors, factors = phase.reflections
    hkl = np.rint(vectors.T * phase.cell[0])
    held = dict(zip(map(tuple, hkl.astype(int).tolist()), factors.tolist(), strict=True))
    for index in ((1, 0, 0), (1, 1, 0), (1, 1, 1), (0, -2, 0), (2, 1, -1)):
        s2 = sum(i * i for i in index) / (2 * phase.cell[0]) ** 2
        f = {name: gemmi.Element(name).c4322.calculate_sf(s2) for name in ("Cs", "Pb", "Br")}
        signs = [(-1) ** (index[i] + index[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        by_hand = abs(f["Cs"] + f["Pb"] * (-1) ** sum(index) + f["Br"] * sum(signs))
        assert held[index] == pytest.approx(by_hand, rel=1e-4)
    assert (0, 0, 0) not in held
    assert len(held) == len(factors)


def test_discs_lie_where_braggs_law_has_the_planes_of_gold() -> None:
    found = 0
    for seed in range(40):
        turn = rotation(np.random.default_rng(seed))
        row, column, share = diffracted(MODULE, GOLD, turn, 300.0)
        away = np.hypot(row - 63.5, column - 63.5)[share > 0.1] * MODULE.pixel / MODULE.distance
        d = MODULE.wavelength * 1e10 / (2 * np.sin(np.arctan(away) / 2))
        squares = (GOLD.cell[0] / d) ** 2
        assert squares == pytest.approx(np.rint(squares), rel=2e-3)  # by the sphere
        assert set(np.rint(squares).tolist()) <= {3, 4, 8, 11, 12, 16, 19, 20, 24, 27}  # all of fcc
        found += len(squares)
    assert found > 20


def test_friedel_pairs_on_a_zone_axis_are_equal() -> None:
    row, column, share = diffracted(MODULE, GOLD, np.eye(3, dtype=np.float32), 60.0)
    places = np.stack([row, column], 1) - 63.5
    assert len(share) >= 8
    for turn in ([[-1, 0], [0, -1]], [[0, 1], [-1, 0]]):  # the pair, and the fourfold axis
        for place, own in zip(places @ np.array(turn), share, strict=True):
            near = np.abs(places - place).max(1)
            assert near.min() < 1e-3
            assert share[near.argmin()] == pytest.approx(own, rel=1e-3)


@pytest.mark.parametrize("tilt", [0.0, 0.004, 0.02])
@pytest.mark.parametrize("thickness", [50.0, 300.0])
def test_intensities_solve_the_equations_of_howie_and_whelan(tilt: float, thickness: float) -> None:
    phase, g = Phase(b=0.0), 0.4
    k = 1e-10 / MODULE.wavelength
    angle = g / (2 * k) + tilt  # from the exact Bragg angle on
    vector = np.array([0.0, g * np.cos(angle), -g * np.sin(angle)])
    phase.__dict__["reflections"] = np.float32(vector[:, None]), np.float32([20.0])
    error = k - np.sqrt(vector[1] ** 2 + (k + vector[2]) ** 2)
    x = float(phase.extinction(MODULE.wavelength)[0])

    def slope(_: float, wave: np.ndarray) -> np.ndarray:
        return 1j * np.pi * np.array(
            [wave[1] / x, wave[0] / x + 2 * error * wave[1]]
        )  # fmt: skip

    solved = solve_ivp(slope, (0, thickness), np.array([1.0 + 0j, 0j]), rtol=1e-9, atol=1e-12)
    _, _, share = diffracted(MODULE, phase, np.eye(3, dtype=np.float32), thickness)
    expected = min(0.9, abs(solved.y[1, -1]) ** 2)
    assert share.sum() == pytest.approx(expected, rel=5e-3, abs=1e-6)  # s in float32


def test_a_film_scatters_as_cross_sections_have_it() -> None:
    """Elastic: Langmore and Smith, Ultramicroscopy 46, 349 (1992), who have no structure factor."""
    elastic, lost = film_scatter(MODULE, 1.5e-3)
    beta = np.sqrt(1 - 1 / gamma_of(MODULE.wavelength) ** 2)
    section = 1.4e-6 * 6**1.5 / beta**2 * (1 - 0.26 * 6 / (137 * beta))  # nm^2
    assert 1e9 / elastic.sum() == pytest.approx(1 / (1e3 * CARBON * section), rel=0.2)
    reach = np.sqrt(2 * 24.0 / 343.7e3)  # of p v, eV, at 200 kV
    assert lost.sum() == pytest.approx(1 / inelastic_path(MODULE.wavelength, reach), rel=1e-3)
    assert 140e-9 < inelastic_path(MODULE.wavelength, reach) < 180e-9
    rings = elastic[64, 64:]
    assert MODULE.q[64, 64 + 15 + rings[15:].argmax()] == pytest.approx(2.8, abs=0.2)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"group": "P m -3 n m"}, "is no space group"),
        ({"group": "P 6"}, "is no space group"),
        ({"atoms": (("Xx", 0.0, 0.0, 0.0),)}, "no element such as 'Au'"),
        ({"atoms": (("Es", 0.0, 0.0, 0.0),)}, "no element such as 'Au'"),
        ({"atoms": (("Au", 0.0, 99.0, 0.0),)}, "in fractions of the cell"),
        ({"cell": (60.0, 60.0, 60.0, *RIGHT)}, "at most 20000 reflections"),
        ({"cell": (0.0, 6.0, 6.0, *RIGHT)}, "cell must be three sides"),
        ({"b": -1.0}, "b must be from 0"),
        ({"cell": (0.6, 0.6, 0.6, *RIGHT)}, "no reflection to 0.8 angstrom"),
    ],
)
def test_what_is_no_phase_is_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Phase(**wrong).reflections  # type: ignore[arg-type] # noqa: B018
