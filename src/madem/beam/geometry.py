"""One module of a detector: where its pixels are, what they see, which readout chip has them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from madem.beam import needed
from madem.errors import InputError

Array = NDArray[np.float32]

POLARISATION = 0.99
"""Of a synchrotron or a free-electron laser, horizontal: the share that pyFAI calls its factor."""


LONGEST = 1e-8
"""The longest wavelength, m: beyond soft X-rays nothing here is a lattice's."""


def single(values: Any) -> Array:
    """Return ``values`` as float32."""
    return np.asarray(values, np.float32)


@dataclass(frozen=True)
class Module:
    """A module of ``rows`` by ``columns`` pixels of ``pixel``, m, read out by a ``grid`` of chips.

    The default has the size of one of an AGIPD: 16 readout chips of 64 x 64 pixels of 200 um. Each
    chip is reduced to ``blocks`` by ``blocks`` numbers. ``distance`` from the sample, m;
    ``wavelength``, m; ``centre``: row and column in pixels at which the beam would meet the plane
    of the module, outside of it by default, as in a detector with a hole for the beam.

    >>> Module().shape, Module().features
    ((128, 512), 256)
    >>> Module(rows=100)
    Traceback (most recent call last):
    ...
    madem.errors.InputError: module: 100 x 512 pixels cannot be cut into 2 x 8 readout chips of \
4 x 4 equal blocks
    """

    rows: int = 128
    columns: int = 512
    grid: tuple[int, int] = (2, 8)
    blocks: int = 4
    pixel: float = 200e-6
    distance: float = 0.11
    wavelength: float = 1e-10
    centre: tuple[float, float] = (-10.0, 255.5)

    def __post_init__(self) -> None:
        """Refuse what does not divide."""
        down, along = (count * self.blocks for count in self.grid)
        if min(down, along, *self.shape) < 1 or self.rows % down or self.columns % along:
            raise InputError(
                f"module: {self.rows} x {self.columns} pixels cannot be cut into {self.grid[0]} x "
                f"{self.grid[1]} readout chips of {self.blocks} x {self.blocks} equal blocks"
            )
        if not (min(self.pixel, self.distance, self.wavelength) > 0 and self.wavelength <= LONGEST):
            raise InputError(
                "module: pixel, distance and wavelength must be positive, wavelength at most "
                f"{LONGEST:g} m, but are {self.pixel:g}, {self.distance:g} and "
                f"{self.wavelength:g} m"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        return self.rows, self.columns

    @property
    def chips(self) -> int:
        """How many readout chips there are."""
        return self.grid[0] * self.grid[1]

    @property
    def features(self) -> int:
        """How many blocks there are."""
        return self.chips * self.blocks**2

    def spread(self, values: Array, blocks: int = 1) -> Array:
        """Return one number a readout chip, ``(*any, chips)``, as images of the module.

        Or one of each of ``blocks`` by ``blocks`` equal parts of every readout chip.

        >>> Module(rows=4, columns=4, grid=(1, 2), blocks=1).spread(np.float32([3.0, 5.0]))[0]
        array([3., 3., 5., 5.], dtype=float32)
        """
        down, along = (count * blocks for count in self.grid)
        whole = values.reshape(*values.shape[:-1], down, along)
        return whole.repeat(self.rows // down, -2).repeat(self.columns // along, -1)

    @cached_property
    def q(self) -> Array:
        """The scattering vector of every pixel, ``4 pi sin(theta) / lambda``, 1/angstrom."""
        return single(self._geometry.center_array(self.shape, unit="q_A^-1"))

    @cached_property
    def seen(self) -> Array:
        """What every pixel sees of isotropic scatter: polarisation times relative solid angle."""
        polarised = self._geometry.polarization(self.shape, factor=POLARISATION)
        return single(polarised * self._geometry.solidAngleArray(self.shape))

    @property
    def _geometry(self) -> Any:
        """Return what pyFAI knows of the module."""
        logging.getLogger("silx.opencl").setLevel(logging.ERROR)  # its warning: no pyopencl, unused
        pixels = needed("pyFAI.detectors").Detector(self.pixel, self.pixel, max_shape=self.shape)
        row, column = ((at + 0.5) * self.pixel for at in self.centre)
        return needed("pyFAI.geometry").Geometry(
            self.distance, row, column, detector=pixels, wavelength=self.wavelength
        )
