"""What a scene is: what comes into a beam, frame by frame, and how many quanta each pixel expects.

An instrument is a scene: X-rays on a jet of crystals (``crystallography.py``), electrons on a
scanned specimen (``microscopy.py``). The sensor, what is kept of a frame, and all that is learned
from it know none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from madem.beam.geometry import Array, Module, single
from madem.errors import InputError
from madem.randomness import stream

Numbers = NDArray[np.float64]
Draws = np.random.Generator
Cell = tuple[float, float, float, float, float, float]

BLANK, WANTED = range(2)
"""The numbers of the kinds that every scene has: nothing to be seen, and what is looked for."""


class Course(NamedTuple):
    """What comes, frame by frame, ``(frames,)`` each.

    ``kind``: the number of what a frame shows; ``bright``: of the beam, about 1; ``run``: a seed
    that is the same for neighbours which show the same thing, and for no others.
    """

    kind: NDArray[np.intp]
    bright: Array
    run: NDArray[np.int64]

    def part(self, part: slice) -> Course:
        """Return some of the frames."""
        return Course(self.kind[part], self.bright[part], self.run[part])


class Scene(Protocol):
    """What comes into the beam of an instrument.

    ``kinds``: what a frame may show, by its number, the first two ``BLANK`` and ``WANTED``;
    ``quanta``: what pixels count. A frame is a hit where ``spots`` of what is looked for are seen.
    """

    kinds: ClassVar[tuple[str, ...]]
    quanta: ClassVar[str]

    @property
    def spots(self) -> int:
        """How many spots make a frame of the wanted kind a hit."""

    @property
    def about(self) -> tuple[str, str]:
        """What there is, after "simulated:", and of what a hit is made, before "are seen"."""

    def course(self, frames: int, draws: Draws) -> Course:
        """Return what comes in each of ``frames``."""

    def expected(
        self, module: Module, course: Course, grown: Numbers, draws: Draws
    ) -> tuple[Array, list[int]]:
        """Return the quanta that every pixel expects, ``(frames, rows, columns)``, and the spots.

        Spots: how many are seen of what is looked for, each frame. ``grown``: how many times as
        much there is beside it as at first, each frame.
        """

    def sharing(self, share: float) -> Self:
        """Return the scene with that share of the wanted kind, and the others in proportion."""

    def exchanged(self) -> Self:
        """Return the scene after a change of the sample."""

    def check(self, module: Module) -> None:
        """Raise ``InputError`` for what is no crystal, or cannot be seen by the ``module``."""


def draws_of(seed: int, *names: str | int) -> Draws:
    """Return NumPy's generator that belongs to ``names`` under ``seed``."""
    return np.random.default_rng(stream(seed, *names).initial_seed())


def in_runs(
    shares: Sequence[float], stay: float, frames: int, draws: Draws
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return what each frame shows, and at which frame that began: a Markov chain.

    ``shares``: of all kinds but the first, whose share is the rest; ``stay``: the chance that a
    frame shows what the one before it shows.
    """
    share = np.clip([1 - sum(shares), *shares], 0, 1)
    fresh = draws.choice(len(share), frames, p=share / share.sum())
    new = draws.random(frames) >= stay
    new[:1] = True
    first = np.maximum.accumulate(np.where(new, np.arange(frames), 0))
    return np.asarray(fresh[first]), first


def begun(first: NDArray[np.intp], draws: Draws) -> NDArray[np.int64]:
    """Return a seed for every frame, the same for those that began at the same one, ``first``."""
    return draws.integers(2**63, size=len(first))[first]


def pink(spread: float, frames: int, draws: Draws) -> Array:
    """Return the intensity of each of ``frames``, log-normal, of median 1.

    The spectrum of its logarithm, of standard deviation ``spread``, falls as 1/f.
    """
    if frames < 2:
        return np.ones(frames, np.float32)
    spectrum = np.fft.rfft(draws.standard_normal(frames))
    spectrum[0] = 0.0
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    shape = np.fft.irfft(spectrum, frames)
    return single(np.exp(spread * shape / shape.std()))


def rotation(draws: Draws) -> Array:
    """Return a rotation, ``(3, 3)``, uniform over all of them (Shoemake's quaternion).

    >>> turn = rotation(np.random.default_rng(0))
    >>> bool(np.allclose(turn @ turn.T, np.eye(3), atol=1e-6))
    True
    """
    w, x, y, z = (q := draws.standard_normal(4)) / np.linalg.norm(q)
    return single([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def projected(module: Module, g: Array) -> tuple[Array, Array, Array]:
    """Return where scattering vectors ``g``, ``(3, n)``, 1/angstrom, meet the module's plane.

    Rows and columns, in pixels, and how far each lies outside of the Ewald sphere, 1/angstrom; the
    beam is along the third axis. What is not scattered forwards is nowhere: nan.
    """
    k = np.float32(1e-10 / module.wavelength)
    along = g[2] + k
    away = np.sqrt(along**2 + g[0] ** 2 + g[1] ** 2) - k
    scale = module.distance / module.pixel / np.maximum(along, k / 10)
    scale = np.where(along > k / 10, scale, np.nan)
    return module.centre[0] + g[1] * scale, module.centre[1] + g[0] * scale, away


def refuse_cell(cell: Cell) -> None:
    """Raise ``InputError`` where sides, angstrom, and angles, degrees, are those of no cell."""
    sides, angles = cell[:3], cell[3:]
    if not (all(0.5 <= a <= 1000 for a in sides) and all(20 <= a <= 160 for a in angles)):
        raise InputError(
            f"cell must be three sides of 0.5 to 1000 angstrom and three angles of 20 "
            f"to 160 degrees, but is {list(cell)}"
        )


def refuse_shares(names: str, shares: Sequence[float], stay: float) -> None:
    """Raise ``InputError`` where ``shares``, of these ``names``, are more than all frames."""
    if min(shares) < 0 or sum(shares) > 1 + 1e-9 or not 0 <= stay < 1:
        raise InputError(f"{names} must add up to at most 1 and stay be below it, but are "
                         f"{tuple(shares)} and {stay}")  # fmt: skip
