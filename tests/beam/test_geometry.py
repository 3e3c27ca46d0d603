"""Where pixels are: Bragg's law in closed form against pyFAI's maps."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from madem.beam.geometry import Module
from madem.errors import InputError


def test_the_scattering_vector_is_that_of_the_angle() -> None:
    module = Module(distance=0.2, wavelength=0.8e-10, centre=(60.0, 100.0))
    row, column = np.indices(module.shape)
    away = module.pixel * np.hypot(row - 60.0, column - 100.0)
    theta = np.arctan(away / 0.2) / 2
    np.testing.assert_allclose(module.q, 4 * np.pi * np.sin(theta) / 0.8, rtol=1e-5, atol=1e-5)


def test_a_pixel_sees_by_its_solid_angle_and_the_polarisation() -> None:
    module = Module(centre=(64.0, 255.5))
    row, column = np.indices(module.shape)
    x, y = ((column - 255.5) * module.pixel, (row - 64.0) * module.pixel)
    far = np.sqrt(x**2 + y**2 + module.distance**2)
    solid = (module.distance / far) ** 3
    share = 0.995 * (1 - (x / far) ** 2) + 0.005 * (1 - (y / far) ** 2)  # factor 0.99, horizontal
    np.testing.assert_allclose(module.seen, solid * share, rtol=1e-4)


@pytest.mark.parametrize("wrong", [{"rows": 100}, {"grid": (0, 8)}, {"blocks": 5}])
def test_what_does_not_divide_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match="cannot be cut into"):
        Module(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["pixel", "distance", "wavelength"])
def test_lengths_are_positive(name: str) -> None:
    with pytest.raises(InputError, match="must be positive"):
        Module(**{name: 0.0})  # type: ignore[arg-type]


def test_nothing_is_said_of_a_package_that_is_not_used() -> None:
    code = (
        "import logging; logging.basicConfig(); from madem.beam.geometry import Module; Module().q"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
