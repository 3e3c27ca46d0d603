"""Frames of one's own: an HDF5 file, as NeXus has it or with a data set that is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from madem.beam import needed
from madem.beam.geometry import Module
from madem.beam.scene import BLANK, WANTED
from madem.beam.sources import Frame, Gap, Truth
from madem.beam.sources.pixels import MISSING, holding, photons
from madem.errors import InputError, abridged, shown

DATA = ("entry/data/data", "entry/instrument/detector/data", "entry/data/data_000001", "data")
"""Where frames are looked for where nothing is said (NXmx, DECTRIS, a bare data set)."""
MASKS = (
    "entry/instrument/detector/pixel_mask",
    "entry/instrument/detector/detectorSpecific/pixel_mask",
)


@dataclass(frozen=True)
class Recorded:
    """Frames of the file at ``path``, ``(frames, rows, columns)``, as ``module`` is large.

    ``data``: the path of the data set in it, looked for where None; ``labels``: of one number a
    frame, 1 for a hit and 0 for none, -1 where nobody knows. ``corner``: the row and column at
    which the module begins in larger images. ``photon``: what one photon counts; ``interval``: from
    one frame to the next, s. Pixels of the largest value of an unsigned type hold nothing, as
    detectors write them. ``names``: what who set path, data and labels calls them, for refusals.
    """

    path: Path
    module: Module
    data: str | None = None
    labels: str | None = None
    corner: tuple[int, int] = (0, 0)
    photon: float = 1.0
    interval: float = 0.01
    names: tuple[str, str, str] = ("frames.path", "frames.data", "frames.labels")

    def __post_init__(self) -> None:
        """Refuse what cannot be read as frames of the module."""
        if not self.photon > 0 or not self.interval > 0 or min(self.corner) < 0:
            raise InputError("frames: photon and interval must be positive, corner not negative, "
                             f"but are {self.photon}, {self.interval}, {self.corner}")  # fmt: skip
        with self._opened() as file:
            self._labels(file, len(self._frames(file)))

    def __len__(self) -> int:
        """How many frames the file holds."""
        with self._opened() as file:
            return len(self._frames(file))

    def __iter__(self) -> Iterator[Frame | Gap]:
        """Yield the frames; one of which most pixels hold nothing is a gap."""
        with self._opened() as file:
            frames = self._frames(file)
            known = self._labels(file, len(frames))
            static = self._mask(file)
            for number in range(len(frames)):
                try:
                    raw = self._part(frames[number])
                except OSError as error:
                    said = str(error).splitlines()[0]
                    yield Gap(self.path.stem, number, 1, f"cannot be read: {said[:100]}")
                    continue
                empty = ~holding(raw)
                if empty.mean() > MISSING:
                    yield Gap(self.path.stem, number, 1, "most pixels hold nothing")
                    continue
                mask = empty | static
                image = photons(raw, ~mask, self.photon)
                truth = None
                if known is not None and known[number] >= 0:
                    hit = bool(known[number])
                    truth = Truth(WANTED if hit else BLANK, 0, hit)
                time = number * self.interval
                yield Frame(
                    self.path.stem, number, time, image, mask if mask.any() else None, truth
                )

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """Open the file, with the filters of hdf5plugin where that is installed."""
        h5py = needed("h5py")
        with suppress(InputError):
            needed("hdf5plugin")
        if self.path.exists() and not self.path.is_file():
            raise InputError(f"{self.names[0]}: {abridged(self.path)} is not a plain file")
        try:
            file = h5py.File(self.path, "r")
        except OSError as error:
            said = "there is no such file" if not self.path.exists() else str(error).splitlines()[0]
            raise InputError(f"{self.names[0]}: {abridged(self.path)}: {said[:120]}") from None
        with file:
            yield file

    def _frames(self, file: Any) -> Any:
        """Return the data set of frames, which must hold the module."""
        names = DATA if self.data is None else (self.data,)
        found = next((file[name] for name in names if name in file), None)
        if found is None or not hasattr(found, "shape"):
            asked = "no data set of frames was found" if self.data is None else (
                f"there is no data set {shown(self.data)}")  # fmt: skip
            held = ", ".join(_sets(file)[:4]) or "nothing"
            raise InputError(
                f"{self.names[1]}: {asked} in {abridged(self.path)}, which has: {held}"
            )
        room = [size - at for size, at in zip(found.shape[1:], self.corner, strict=False)]
        if found.ndim != 3 or found.dtype.kind not in "uif" or (
            min(a - b for a, b in zip(room, self.module.shape, strict=True)) < 0
        ):  # fmt: skip
            raise InputError(
                f"{self.names[1]}: {abridged(self.path)} has {found.dtype} {found.shape}, but "
                f"(frames, rows, columns) are needed that hold a module of {self.module.rows} x "
                f"{self.module.columns} at {self.corner}: see module.rows, columns and corner"
            )
        return found

    def _labels(self, file: Any, count: int) -> NDArray[np.int64] | None:
        """Return one label a frame, None where none are named."""
        if self.labels is None:
            return None
        held = np.asarray(file[self.labels]) if self.labels in file else np.zeros(0)
        if held.shape != (count,) or not np.isin(held, (-1, 0, 1)).all():
            has = f"has the shape {held.shape}" if held.size else (
                f"is not in the file, which has: {', '.join(_sets(file)[:4])}")  # fmt: skip
            raise InputError(
                f"{self.names[2]}: {shown(self.labels)} must be {count} numbers of -1, 0 and 1, "
                f"one a frame, but {has}"
            )
        return held.astype(np.int64)

    def _mask(self, file: Any) -> NDArray[np.bool_]:
        """Return the pixels that the file says are not to be used."""
        held = next((np.asarray(file[name]) for name in MASKS if name in file), None)
        if held is None or held.ndim != 2:
            return np.zeros(self.module.shape, bool)
        bad: NDArray[np.bool_] = self._part(held) != 0
        return bad

    def _part(self, image: Any) -> Any:
        row, column = self.corner
        return image[row : row + self.module.rows, column : column + self.module.columns]


def _sets(file: Any) -> list[str]:
    """Return the names of all data sets in a file, with their shapes."""
    names = list[str]()

    def visit(name: str, held: Any) -> None:
        if hasattr(held, "shape"):
            names.append(f"{name} {held.shape}")

    file.visititems(visit)
    return names
