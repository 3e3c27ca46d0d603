"""A scanned specimen: electrons are kept, neighbours share a grain, discs that count are seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import label

from madem.beam.electrons import wavelength_of
from madem.beam.geometry import Module
from madem.beam.microscopy import HOLE, OTHER_PHASE, THICK, Microscopy, discs
from madem.beam.scene import BLANK, WANTED, Course
from madem.errors import InputError

MODULE = Module(128, 128, (4, 4), 4, 150e-6, 0.3, wavelength_of(200e3), (63.5, 63.5))
SCENE = Microscopy()


def seen(kinds: list[int], runs: list[int], scene: Microscopy = SCENE, grown: float = 1.0
         ) -> tuple[np.ndarray, list[int]]:  # fmt: skip
    """Return frames of these kinds as they are expected, and how many discs are seen."""
    course = Course(np.array(kinds), np.ones(len(kinds), np.float32), np.array(runs))
    growth = np.full(len(kinds), grown)
    return scene.expected(MODULE, course, growth, np.random.default_rng(0))


def test_a_disc_keeps_its_electrons_and_is_as_large_as_the_probe() -> None:
    rows, columns, share = discs(MODULE, np.array([40.3, 200.0]), np.array([90.8, 5.0]), 6.0)
    assert share[0].sum() == pytest.approx(1.0)
    assert (rows[0] * share[0]).sum() == pytest.approx(40.3, abs=0.01)
    assert (columns[0] * share[0]).sum() == pytest.approx(90.8, abs=0.01)
    spread = (share[0] * ((rows[0] - 40.3) ** 2 + (columns[0] - 90.8) ** 2)).sum()
    assert spread == pytest.approx(6.0**2 / 2, rel=0.03)  # of an even disc
    assert not share[1].any()


def test_electrons_are_kept() -> None:
    frames, spots = seen([BLANK, THICK, HOLE, OTHER_PHASE, WANTED], [1, 2, 3, 4, 5])
    total = frames.reshape(5, -1).sum(1)
    assert total == pytest.approx(SCENE.electrons, rel=0.03)  # some leave the module
    assert spots[:4] == [0, 0, 0, 0]
    centre = frames[:, 60:68, 60:68].reshape(5, -1).sum(1) / total
    assert centre[2] == pytest.approx(1.0)
    assert centre[1] < centre[0] < centre[2]
    thicker, _ = seen([BLANK, HOLE], [1, 2], grown=2.0)
    assert thicker[0, :40].sum() == pytest.approx(2 * frames[0, :40].sum(), rel=0.1)
    assert thicker[1, :40].sum() == 0


def test_neighbours_of_a_run_share_a_grain() -> None:
    scene = replace(SCENE, film=0.0)
    frames, _ = seen([WANTED] * 3, [7, 7, 8], scene)
    lit = frames > 0.5
    lit[:, 55:73, 55:73] = False
    one, two, other = lit
    assert (one & two).sum() > 0.7 * max(one.sum(), two.sum())
    assert (one & other).sum() < 0.3 * max(one.sum(), other.sum())


def test_discs_that_are_counted_are_seen() -> None:
    scene = replace(SCENE, film=0.0, spread=0.0)
    frames, spots = seen([WANTED] * 30, list(range(30)), scene)
    found = [label(frame > scene.least)[1] - 1 for frame in frames]  # but the beam
    assert np.mean(np.array(found) == spots) > 0.8
    assert 3 < np.mean(spots) < 15


def test_kinds_come_by_their_shares_and_can_be_shared_otherwise() -> None:
    rare = SCENE.sharing(0.1)
    kind = rare.course(40_000, np.random.default_rng(0)).kind
    left = 0.9 / (1 - SCENE.grains)
    bare = 1 - SCENE.grains - SCENE.other - SCENE.thick - SCENE.holes
    others = [left * each for each in (bare, SCENE.other, SCENE.thick, SCENE.holes)]
    expected = [others[0], 0.1, *others[1:]]
    assert np.bincount(kind, minlength=5) / len(kind) == pytest.approx(expected, abs=0.015)
    assert SCENE.exchanged().phase != SCENE.phase


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"grains": 0.9, "holes": 0.2}, "grains, other, thick and holes must add up"),
        ({"film": -1e-9}, "film must be from 0"),
        ({"electrons": 1e12}, "electrons must be from 0 to 1e.09"),
        ({"convergence": 0.0}, "convergence must be from"),
        ({"spots": 0}, "spots at least 1"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Microscopy(**wrong)  # type: ignore[arg-type]


def test_a_module_that_sees_no_electrons_is_refused() -> None:
    SCENE.check(MODULE)
    with pytest.raises(InputError, match=r"module.wavelength: .* of 200 kV 2.508 pm"):
        SCENE.check(Module())
    with pytest.raises(InputError, match=r"scene.convergence: discs must have radii"):
        SCENE.check(replace(MODULE, distance=0.01))
