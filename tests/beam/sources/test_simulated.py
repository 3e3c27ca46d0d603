"""A simulated shift: the same frames whenever they are asked for, drift that is one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from madem.beam.crystallography import Crystallography, Lattice
from madem.beam.geometry import Module
from madem.beam.scene import WANTED, Scene
from madem.beam.sensor import Drift, Sensor
from madem.beam.sources import Source
from madem.beam.sources.simulated import Simulated
from madem.errors import InputError

MODULE = Module(rows=64, columns=128, grid=(1, 2))
SCENE = Crystallography(crystal=Lattice(resolution=3.0))
DRIFT = Drift()


def shift(drift: Drift = DRIFT, scene: Scene = SCENE, **changed: object) -> Simulated:
    made = Simulated(scene, Sensor(MODULE, drift, 5), 20, 40, 10)
    return replace(made, **changed)  # type: ignore[arg-type]


def test_a_shift_is_the_same_every_time_and_in_parts() -> None:
    source = shift()
    assert isinstance(source, Source)
    once, again = list(source), list(source)
    assert [frame.number for frame in once] == list(range(60))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(once, again, strict=True))
    part = source.part(30)
    assert np.array_equal(part[3].image, once[33].image)
    assert part[3].truth == once[33].truth


def test_time_begins_with_the_shift_and_what_drifts_with_it() -> None:
    still = Drift(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    quiet, moving = list(shift(still)), list(shift())
    assert [f.time for f in moving[18:22]] == [-1440.0, -720.0, 0.0, 720.0]
    early = [np.array_equal(a.image, b.image) for a, b in zip(quiet, moving, strict=True)]
    assert all(early[:20])
    assert not any(early[25:])
    assert [a.truth and a.truth.kind for a in quiet] == [b.truth and b.truth.kind for b in moving]


def test_a_frame_is_a_hit_by_its_spots() -> None:
    frames = list(shift(scene=replace(SCENE, crystals=0.8, spots=5)))
    kinds = [frame.truth for frame in frames if frame.truth is not None]
    assert any(each.hit for each in kinds)
    assert all(each.hit == (each.kind == WANTED and each.spots >= 5) for each in kinds)


def test_another_crystal_comes_half_way() -> None:
    scene = replace(SCENE, crystals=0.9, false=0.05, off=0.05)
    one, two = list(shift(scene=scene)), list(shift(scene=scene, other=scene.exchanged()))
    same = [np.array_equal(a.image, b.image) for a, b in zip(one, two, strict=True)]
    assert all(same[:40])
    assert not all(same[40:])


def test_a_shift_without_frames_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1"):
        shift(frames=0)
