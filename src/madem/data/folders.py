"""Images of one's own: a folder with one folder of images for each class."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from madem.data.sets import SHARES, Rows, Shares, finite
from madem.data.task import Finite
from madem.errors import InputError, abridged, shown
from madem.memory import refuse_memory


def folder_images(
    path: str,
    colour: bool = False,
    signed: bool = False,
    shift: int = 0,
    shares: Shares = SHARES,
    seed: int = 0,
) -> Finite:
    """Return the images in the folders of ``path``; the name of its folder is an image's class.

    Args:
        path: a folder of at least two folders of images, all of one size, that Pillow reads (of
            EPS, which is a program, none); what begins with a dot is passed over.
        colour: three channels, red, green and blue, and not one of greys.
        signed: whether pixels are from -1 to 1, and not from 0.
        shift: see ``Finite``.
        shares: of the images to train on, to look at and to test with; classes in equal shares.
        seed: which images fall into which set.

    Raises:
        InputError: naming the file, for other files, other sizes, and images of over 8 bits.
    """
    where = f"task.path: {abridged(path)}"
    if not Path(path).is_dir():
        raise InputError(f"{where}: no such folder")
    kinds = sorted(each for each in Path(path).iterdir() if not each.name.startswith("."))
    files = [file for kind in kinds for file in _within(kind, where)]
    if not files:
        raise InputError(f"{where} must hold one folder of images for each class, but is empty")
    mode = "RGB" if colour else "L"
    first = _image(files[0], mode)
    refuse_memory({f"the images of {abridged(path)}": 20.0 * first.size * len(files)})
    pixels = np.stack([_image(file, mode, first.shape) for file in files]) / np.float32(255)
    rows = Rows(
        2 * pixels - 1 if signed else pixels,
        np.array([file.parent.name for file in files]),
        f"{where}: the folders",
        lambda row: f"task.path: {abridged(files[row])}",
        lambda index: f"pixel {index + 1}",
    )
    return replace(finite(rows, shares, None, seed), shift=shift)


def _within(kind: Path, where: str) -> list[Path]:
    """Return the files of one class."""
    files = sorted(kind.iterdir()) if kind.is_dir() else []
    found = [file for file in files if not file.name.startswith(".")]
    if not found:
        what = "no images" if kind.is_dir() else "is a file"
        raise InputError(f"{where} must hold one folder of images for each class, but "
                         f"{shown(kind.name)} {'has ' * kind.is_dir()}{what}")  # fmt: skip
    return found


def _image(file: Path, mode: str, shape: Sequence[int] | None = None) -> np.ndarray:
    """Return an image, ``(channels, rows, columns)``, refused unless it has ``shape``."""
    try:
        if not file.is_file():  # a pipe would wait
            raise ValueError
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                if image.format == "EPS":  # a program, which Ghostscript would run
                    raise ValueError
                deep = image.mode.startswith(("I", "F"))
                pixels = np.atleast_3d(np.asarray(image.convert(mode))).transpose(2, 0, 1)
    except Exception:  # whatever Pillow's many readers find in a file
        raise InputError(f"task.path: {abridged(file)} is no image that can be read") from None
    if deep:
        raise InputError(f"task.path: {abridged(file)} has more than 8 bits for a pixel: save it "
                         "with 8")  # fmt: skip
    if shape is not None and pixels.shape != tuple(shape):
        raise InputError(f"task.path: {abridged(file)} has {pixels.shape[1]} x {pixels.shape[2]} "
                         f"pixels, but others {shape[1]} x {shape[2]}: save all alike")  # fmt: skip
    return pixels
