"""Frames of one's own: an HDF5 file, as NeXus has it or with a data set that is named."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
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
MOST = 10**8
"""How many frames a file may hold; one label of each is in memory."""
CHUNK = 2**30
"""How large a chunk may be, bytes: it is unpacked whole, however few bytes it has in the file."""
LINKS = 16
"""How many links may lead to a data set, as in HDF5 itself."""
FAULTS = (OSError, KeyError, RuntimeError, ValueError, TypeError)
"""What h5py raises where a file is damaged or holds what numpy has no type for."""


@dataclass(frozen=True)
class Recorded:
    """Frames of the file at ``path``, ``(frames, rows, columns)``, as ``module`` is large.

    ``data``: the path of the data set in it, looked for where None; ``labels``: of one number a
    frame, 1 for a hit and 0 for none, -1 where nobody knows. ``corner``: the row and column at
    which the module begins in larger images. ``photon``: what one photon counts; ``interval``: from
    one frame to the next, s. Pixels of the largest value of an unsigned type hold nothing, as
    detectors write them. Links and virtual data sets may lead to plain files in the folder of
    ``path`` or below it, as in DECTRIS master files, and nowhere else. ``names``: what who set
    path, data and labels calls them, for refusals.
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
            frames = self._frames(file)
            self._labels(file, len(frames))
            self._masked(file, frames)

    def __len__(self) -> int:
        """How many frames the file holds."""
        with self._opened() as file:
            return len(self._frames(file))

    def __iter__(self) -> Iterator[Frame | Gap]:
        """Yield the frames; one of which most pixels hold nothing is a gap."""
        with self._opened() as file:
            frames = self._frames(file)
            known = self._labels(file, len(frames))
            masked = self._masked(file, frames)
            with self._told(self.names[0]):
                static = np.False_ if masked is None else masked[self._part] != 0
            for number in range(len(frames)):
                try:
                    raw = frames[(number, *self._part)]
                except FAULTS as error:
                    yield Gap(self.path.stem, number, 1, f"cannot be read: {_said(error)}")
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
        with self._told(self.names[0]):
            if not self.path.is_file():
                raise ValueError(
                    "is not a plain file" if self.path.exists() else "there is no such file"
                )
            file = h5py.File(self.path.resolve(), "r")
        with file:
            yield file

    @contextmanager
    def _told(self, field: str) -> Iterator[None]:
        """Say in one line, beginning with ``field``, what cannot be read."""
        try:
            yield
        except FAULTS as error:
            raise InputError(f"{field}: {abridged(self.path)}: {_said(error)}") from None

    def _held(self, file: Any, name: str, field: str) -> Any:
        """Return the data set of that name, nothing of it read, None where there is none."""
        with self._told(field):
            return file[name] if _verified(file, name) else None

    def _frames(self, file: Any) -> Any:
        """Return the data set of frames, which must hold the module."""
        names = DATA if self.data is None else (self.data,)
        each = (self._held(file, name, self.names[1]) for name in names)
        found = next((held for held in each if held is not None), None)
        if found is None:
            asked = "no data set of frames was found" if self.data is None else (
                f"there is no data set {shown(self.data)}")  # fmt: skip
            held = ", ".join(_sets(file)) or "nothing"
            raise InputError(
                f"{self.names[1]}: {asked} in {abridged(self.path)}, which has: {held}"
            )
        shape: tuple[int, ...] = found.shape or ()
        ends = [part.stop for part in self._part]
        if len(shape) != 3 or found.dtype.kind not in "uif" or shape[0] > MOST or (
            any(size < end for size, end in zip(shape[1:], ends, strict=True))
        ):  # fmt: skip
            raise InputError(
                f"{self.names[1]}: {abridged(self.path)} has {str(found.dtype)[:40]} {shape}, but "
                f"(frames, rows, columns) are needed, at most {MOST} frames, that hold a module of "
                f"{self.module.rows} x {self.module.columns} at {self.corner}: see module.rows, "
                "columns and corner"
            )
        return found

    def _labels(self, file: Any, count: int) -> NDArray[np.int8] | None:
        """Return one label a frame, None where none are named."""
        if self.labels is None:
            return None
        held = self._held(file, self.labels, self.names[2])
        if held is None:
            has = f"is not in the file, which has: {', '.join(_sets(file))}"
        else:
            has = f"is {str(held.dtype)[:40]} {held.shape}"
            if held.shape == (count,) and _small(held):
                with self._told(self.names[2]):
                    values = held[()]
                if np.isin(values, (-1, 0, 1)).all():
                    return np.asarray(values, np.int8)
                has = "holds others"
        raise InputError(
            f"{self.names[2]}: {shown(self.labels)} must be {count} numbers of -1, 0 and 1, "
            f"one a frame, but {has}"
        )

    def _masked(self, file: Any, frames: Any) -> Any:
        """Return the data set of pixels not to be used, one an image's pixel, None without one."""
        for name in MASKS:
            held = self._held(file, name, self.names[0])
            if held is None:
                continue
            if held.shape != frames.shape[1:] or not _small(held):
                raise InputError(
                    f"{self.names[0]}: {abridged(self.path)}: {name} must be numbers of the shape "
                    f"{frames.shape[1:]}, as the images, but is {str(held.dtype)[:40]} {held.shape}"
                )
            return held
        return None

    @property
    def _part(self) -> tuple[slice, slice]:
        """Return where the module is in an image."""
        (row, column), (rows, columns) = self.corner, self.module.shape
        return slice(row, row + rows), slice(column, column + columns)


def _small(held: Any) -> bool:
    """Return whether a data set is of numbers that numpy reckons with, 8 bytes each at most."""
    return held.dtype.kind in "biuf" and held.dtype.itemsize <= 8


def _said(error: Exception) -> str:
    """Return the first line of an error, or its name where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0][:140]


def _verified(file: Any, name: str, links: int = 0, virtual: bool = True) -> bool:
    """Return whether ``file`` holds a data set ``name``; no link is followed unseen.

    Raise ValueError for what is no data set, for links that lead nowhere or in a circle, and for
    what would be read from elsewhere than plain files beside ``file`` or below its folder.
    ``links``: how many have been followed; ``virtual``: whether it may be a virtual data set.
    """
    h5py = needed("h5py")
    here, parts = file, name.split("/")
    while parts:
        part = parts.pop(0)
        if part in {"", "."}:
            continue
        link = here.get(part, getlink=True) if isinstance(here, h5py.Group) else None
        if link is None and not links:
            return False
        links += not isinstance(link, h5py.HardLink)
        if link is None or links > LINKS:
            raise ValueError(f"a link to {shown(part)} leads nowhere")
        if isinstance(link, h5py.ExternalLink):
            with h5py.File(_beside(file, link.filename), "r") as other:
                return _verified(other, "/".join([link.path, *parts]), links, virtual)
        if isinstance(link, h5py.SoftLink):
            here = file if link.path.startswith("/") else here
            parts = [*link.path.split("/"), *parts]
        else:
            here = here[part]
    if not isinstance(here, h5py.Dataset):
        raise ValueError(f"{shown(name)} is not a data set")
    _contain(file, here, virtual)
    return True


def _contain(file: Any, held: Any, virtual: bool) -> None:
    """Refuse a data set of ``file`` that cannot be read from it and its neighbours alone.

    Sources of a ``virtual`` data set may not be virtual, so that none is its own source.
    """
    name = shown(held.name)
    if held.external:
        raise ValueError(f"{name} is stored outside of the file, in {shown(held.external[0][0])}")
    if math.prod(held.chunks or ()) * held.dtype.itemsize > CHUNK:
        raise ValueError(f"{name} has chunks of {held.chunks}, which are more than {CHUNK} bytes")
    if held.is_virtual and not virtual:
        raise ValueError(f"{name} is virtual and the source of a virtual data set")
    if held.is_virtual:
        for where, source in {each[1:3] for each in held.virtual_sources()}:
            same = nullcontext(file)
            with same if where == "." else needed("h5py").File(_beside(file, where), "r") as other:
                _verified(other, source, links=1, virtual=False)


def _beside(file: Any, name: str) -> Path:
    """Return the plain file ``name`` that ``file`` leads to, in its folder or below."""
    folder = Path(file.filename).parent
    found = (folder / name).resolve()
    if not (found.is_relative_to(folder) and found.is_file()):
        raise ValueError(f"leads to {shown(name)}, no plain file beside it or below its folder")
    return found


def _sets(file: Any) -> list[str]:
    """Return the names of the first data sets in a file, with the shapes of those that are here."""
    names = list[str]()

    def visit(name: str, held: Any) -> bool | None:
        if isinstance(held, needed("h5py").Dataset):
            names.append(name if held.is_virtual else f"{name} {held.shape}")
        return len(names) == 4 or None

    with suppress(*FAULTS):
        file.visititems(visit)
    return names
