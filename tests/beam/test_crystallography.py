"""Crystals: positions by gemmi and pyFAI, intensities by Wilson, statistics of a scene."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from madem.beam.crystallography import Beam, Crystallography, Lattice, excited, spotted
from madem.beam.geometry import Module
from madem.beam.scene import WANTED, Course, draws_of, rotation
from madem.errors import InputError

SHARP = Beam(divergence=1e-5, bandwidth=1e-6, size=2e-5)


@pytest.fixture(scope="module")
def crystal() -> Lattice:
    return Lattice(resolution=3.0)


def indexed(crystal: Lattice) -> np.ndarray:
    """Return the Miller indices of all reflections."""
    basis = np.array(gemmi.UnitCell(*crystal.cell).frac.mat.tolist())
    return np.rint(crystal.reflections[0].T @ np.linalg.inv(basis)).astype(int)


def test_spots_lie_where_braggs_law_has_them() -> None:
    """A reflection's distance from the beam is its Bragg angle's, by gemmi's d and pyFAI's q."""
    crystal, module = Lattice(resolution=3.0, mosaic=1e-5), Module()
    cell = gemmi.UnitCell(*crystal.cell)
    spacings = np.sort(np.unique([round(cell.calculate_d(hkl), 6) for hkl in indexed(crystal)]))
    found = 0
    for seed in range(60):
        row, column, _ = excited(module, SHARP, crystal, rotation(np.random.default_rng(seed)))
        for r, c in zip(row, column, strict=True):
            away = module.pixel * np.hypot(r - module.centre[0], c - module.centre[1])
            theta = np.arctan(away / module.distance) / 2
            d = 1e10 * module.wavelength / (2 * np.sin(theta))
            assert np.abs(spacings / d - 1).min() < 3e-4
            q = module.q[int(np.rint(r).clip(0, 127)), int(np.rint(c).clip(0, 511))]
            assert abs(2 * np.pi / d - q) < 0.02  # half a pixel
            found += 1
    assert found > 50


def test_absences_and_symmetry_are_those_of_the_group(crystal: Lattice) -> None:
    hkl = indexed(crystal)
    held = {tuple(h): i for h, i in zip(hkl.tolist(), crystal.reflections[1], strict=True)}
    on_axis = [h for h in held if h[0] == h[1] == 0]
    assert on_axis and all(h[2] % 4 == 0 for h in on_axis)  # the screw axis 4_3
    assert all(h[0] % 2 == 0 for h in held if h[1] == h[2] == 0)  # the screw axes 2_1
    for (h, k, m), intensity in list(held.items())[:500]:
        for same in ((-h, -k, m), (-k, h, m), (k, h, -m), (-h, k, -m), (-h, -k, -m)):
            assert held[same] == intensity


def test_intensities_are_wilsons() -> None:
    crystal = Lattice(b=0.0, resolution=2.0)
    operations = gemmi.find_spacegroup_by_name(crystal.group).operations()
    general, central = [], []
    for hkl, intensity in zip(indexed(crystal).tolist(), crystal.reflections[1], strict=True):
        one = min(hkl) >= 0 and hkl[0] >= hkl[1]  # of each orbit
        if one and operations.epsilon_factor_without_centering(hkl) == 1:
            (central if operations.is_reflection_centric(hkl) else general).append(intensity)
    for values, moment in ((general, 2.0), (central, 3.0)):
        each = np.array(values, float)
        assert np.mean(each) == pytest.approx(1.0, abs=4 * np.std(each) / len(each) ** 0.5)
        spread = np.std(each**2) / len(each) ** 0.5
        assert np.mean(each**2) == pytest.approx(moment, abs=4 * spread)


def test_what_is_far_from_the_sphere_is_dim() -> None:
    """Partiality falls with the excitation error as a Gaussian of the width that adds up."""
    crystal = Lattice((50.0, 50.0, 50.0, 90.0, 90.0, 90.0), "P 1", 10.0, 0.0, mosaic=0.0)
    module, beam = Module(centre=(64.0, 255.5)), Beam(0.0, 0.0, 0.002)
    (g,), strength = np.array([[0.0, 0.06, 0.0]]), 1.0
    crystal.__dict__["reflections"] = (np.float32(g[:, None]), np.float32([strength]))
    crystal.__dict__["lengths"] = np.float32([0.06])
    for angle in (0.0, 0.02, 0.04):
        turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)],
                         [0, np.sin(angle), np.cos(angle)]])  # fmt: skip
        x, y, z = turn @ g
        error = np.sqrt(x**2 + y**2 + (z + 1) ** 2) - 1
        _, _, found = excited(module, beam, crystal, np.float32(turn))
        assert found == pytest.approx([np.exp(-0.5 * (error / 0.002) ** 2)], rel=2e-3)


def test_a_spot_keeps_its_photons() -> None:
    rows, columns, share = spotted((40, 40), np.array([20.3, 0.0]), np.array([10.8, 0.0]), 0.65)
    assert share[0].sum() == pytest.approx(1.0, abs=1e-5)
    assert (rows[0] * share[0]).sum() == pytest.approx(20.3, abs=1e-3)
    assert (columns[0] * share[0]).sum() == pytest.approx(10.8, abs=1e-3)
    assert share[1].sum() == pytest.approx((0.5 + 0.5 * 0.5584) ** 2, abs=0.02)  # a corner's


def test_kinds_come_in_runs_and_by_their_shares() -> None:
    kinds = Crystallography(stay=0.5).course(60_000, np.random.default_rng(0)).kind
    shares = np.bincount(kinds, minlength=4) / len(kinds)
    np.testing.assert_allclose(shares, [0.45, 0.35, 0.15, 0.05], atol=0.015)
    again = (kinds[1:] == WANTED)[kinds[:-1] == WANTED].mean()
    assert again == pytest.approx(0.5 + 0.5 * 0.35, abs=0.02)
    with pytest.raises(InputError, match="add up to at most 1"):
        Crystallography(crystals=0.9, false=0.3)


def test_a_hit_has_as_many_visible_spots_as_were_added() -> None:
    scene, module, onto = Crystallography(), Module(), np.zeros(Module().shape, np.float32)
    seen = scene.diffraction(module, WANTED, draws_of(0, "x"), onto, 1.0)
    peaks = (onto > scene.photons).sum()
    assert 0 < seen <= 2 * peaks


@pytest.mark.parametrize("wrong", [{"point": 0.0}, {"size": 0.0}, {"pink": -1.0}, {"pink": 1e9}])
def test_a_beam_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="beam: divergence"):
        Beam(**wrong)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"group": "P 43 21 3"}, "is no space group"),
        ({"group": "P 6"}, "is no space group of the cell"),
        ({"cell": (0.0, 1.0, 1.0, 90.0, 90.0, 90.0)}, "cell must be three sides"),
        ({"resolution": 0.1}, "resolution must be at least"),
        ({"cell": (900.0, 900.0, 900.0, 90.0, 90.0, 90.0)}, "at most 1e.07 reflections"),
    ],
)
def test_what_is_no_crystal_is_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Lattice(**changed).reflections  # type: ignore[arg-type] # noqa: B018


@pytest.mark.parametrize(
    ("crystal", "beam", "width"),
    [
        ({}, {"size": 0.004}, 0.004),
        ({"mosaic": 0.03}, {}, np.hypot(0.002, 0.03 * 0.06)),
        ({}, {"divergence": 0.05}, np.hypot(0.002, 0.05 * 0.06)),
        ({}, {"bandwidth": 2.0}, np.hypot(0.002, 2.0 * 0.06**2 / 2)),
    ],
)
def test_what_broadens_a_reflection_keeps_its_area(
    crystal: dict[str, float], beam: dict[str, float], width: float
) -> None:
    """``size / width exp(-e^2 / 2 width^2)`` at ``g = 0.06`` and ``k = 1`` per angstrom."""
    one = Lattice(
        (50.0, 50.0, 50.0, 90.0, 90.0, 90.0), "P 1", 10.0, 0.0, **{"mosaic": 0.0} | crystal
    )
    one.__dict__["reflections"] = np.float32([[0.0], [0.06], [0.0]]), np.float32([1.0])
    one.__dict__["lengths"] = np.float32([0.06])
    source = Beam(**{"divergence": 0.0, "bandwidth": 0.0, "size": 0.002} | beam)
    angle = 0.05
    turn = np.float32([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)],
                       [0, np.sin(angle), np.cos(angle)]])  # fmt: skip
    error = np.hypot(0.06 * np.cos(angle), 1 + 0.06 * np.sin(angle)) - 1
    _, _, found = excited(Module(centre=(64.0, 255.5)), source, one, turn)
    assert found == pytest.approx([source.size / width * np.exp(-0.5 * (error / width) ** 2)],
                                  rel=3e-3)  # fmt: skip


def test_intensities_fall_with_the_displacement_factor() -> None:
    still, moving = (Lattice(b=b, resolution=3.0) for b in (0.0, 25.0))
    s = moving.lengths / 2  # sin(theta) / lambda
    np.testing.assert_allclose(
        moving.reflections[1], still.reflections[1] * np.exp(-2 * 25 * s**2), rtol=1e-3
    )


def test_reflections_on_axes_are_as_much_stronger_as_symmetry_has_it() -> None:
    """Wilson's mean intensity is the multiplicity epsilon: here from 1 to 8."""
    cell, group = (12.0, 12.0, 12.0, 90.0, 90.0, 90.0), "P m -3 m"
    operations = gemmi.find_spacegroup_by_name(group).operations()
    found: dict[int, list[float]] = {}
    for seed in range(60):
        crystal = Lattice(cell, group, 3.0, 0.0, structure=seed)
        for hkl, intensity in zip(indexed(crystal).tolist(), crystal.reflections[1], strict=True):
            if 0 <= hkl[0] <= hkl[1] <= hkl[2]:  # one of each orbit
                epsilon = operations.epsilon_factor_without_centering(hkl)
                found.setdefault(epsilon, []).append(float(intensity))
    assert set(found) >= {1, 2, 8}
    for epsilon, values in found.items():
        error = np.std(values) / len(values) ** 0.5
        assert np.mean(values) == pytest.approx(epsilon, abs=4.5 * error)


def test_the_jet_grows_and_the_air_does_not() -> None:
    scene, module = Crystallography(), Module(rows=64, columns=64, grid=(2, 2))
    course = Course(np.zeros(2, int), np.ones(2, np.float32), np.arange(2))
    one, two = (
        scene.expected(module, course, np.full(2, grown), np.random.default_rng(0))[0]
        for grown in (1.0, 2.0)
    )
    jet, air = scene.background(module)
    for more, rest in zip(two - one, 2 * one - two, strict=True):
        assert more / jet == pytest.approx(np.full(jet.shape, (more / jet).mean()), rel=1e-3)
        assert rest / air == pytest.approx(np.full(air.shape, (rest / air).mean()), rel=1e-2)
        assert (more / jet).mean() > 0.3 < (rest / air).mean()
