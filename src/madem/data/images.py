"""Images with class labels: scikit-learn's digits, or a folder of IDX files (the MNIST family)."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor
from torch.nn import functional

from madem.errors import InputError, shown
from madem.memory import refuse_memory
from madem.randomness import stream

FASHION = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts its files."""

CLASSES = 10
"""How many classes there are."""


@dataclass(frozen=True)
class Images:
    """Images ``(samples, 1, rows, columns)``, values 0 to 1, and their classes ``(samples,)``."""

    train: Float[Tensor, "train 1 rows columns"]
    train_classes: Int[Tensor, "train"]
    test: Float[Tensor, "test 1 rows columns"]
    test_classes: Int[Tensor, "test"]


def digits(size: int = 28, seed: int = 0, held_out: int = 360) -> Images:
    """Return scikit-learn's 1,797 handwritten digits, enlarged from 8 x 8 to ``size x size``.

    ``held_out`` of them, drawn by ``seed``, are the test set. Raises ``InputError`` without
    scikit-learn.

    >>> digits(8).test.shape
    torch.Size([360, 1, 8, 8])
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError("data digits needs scikit-learn: pip install scikit-learn") from None
    held = load_digits()
    images = torch.tensor(held.images, dtype=torch.float32)[:, None] / 16
    if size != 8:
        images = functional.interpolate(images, size=(size, size), mode="bilinear")
    order = torch.randperm(len(images), generator=stream(seed, "digits"))
    classes = torch.tensor(held.target)[order]
    images = images[order]
    return Images(images[held_out:], classes[held_out:], images[:held_out], classes[:held_out])


def idx(folder: Path) -> Images:
    """Return the images of the four usual IDX files in ``folder``, packed by gzip or not.

    Fashion-MNIST comes with Debian's package dataset-fashion-mnist. Raises ``InputError`` where
    a file is missing or is not what it should be.
    """
    pixels, labels = "images-idx3-ubyte", "labels-idx1-ubyte"
    train, test = (_read(folder, f"{part}-{pixels}", 3) for part in ("train", "t10k"))
    if train.shape[1:] != test.shape[1:]:
        raise InputError(f"data: {str(folder)!r}: images to train on are {_size(train)} pixels, "
                         f"images to test on {_size(test)}")  # fmt: skip
    images, classes = [], []
    for part, held in (("train", train), ("t10k", test)):
        named = _read(folder, f"{part}-{labels}", 1)
        if len(named) != len(held):
            raise InputError(f"data: {str(folder)!r}: {part} has {len(held)} images, "
                             f"but {len(named)} labels")  # fmt: skip
        if named.max() >= CLASSES:
            raise InputError(f"data: {str(folder)!r}: labels of {part} must be from 0 to "
                             f"{CLASSES - 1}, but number {named.argmax() + 1} of them is "
                             f"{named.max()}")  # fmt: skip
        images.append(torch.from_numpy(held)[:, None].float() / 255)
        classes.append(torch.from_numpy(named).long())
    return Images(images[0], classes[0], images[1], classes[1])


def _size(images: np.ndarray) -> str:
    return " x ".join(str(n) for n in images.shape[1:])


def shifted(
    images: Float[Tensor, "batch channels rows columns"], most: int, draws: Generator
) -> Float[Tensor, "batch channels rows columns"]:
    """Return every image moved by up to ``most`` pixels each way, at random; zeros follow it.

    >>> shifted(torch.ones(1, 1, 2, 2), 0, torch.Generator()).sum().item()
    4.0
    """
    batch, _, rows, columns = images.shape
    moves = torch.randint(2 * most + 1, (2, batch, 1), generator=draws)
    down, along = moves[0] + torch.arange(rows), moves[1] + torch.arange(columns)
    padded = functional.pad(images, [most] * 4)
    samples = torch.arange(batch)[:, None, None]
    return padded[samples, :, down[:, :, None], along[:, None, :]].movedim(-1, 1)


def _read(folder: Path, name: str, axes: int) -> np.ndarray:
    """Return one IDX file as an array of bytes with so many axes, none of them empty."""
    found = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if found is None:
        raise InputError(
            f"data: {shown(str(folder))} holds no {name}[.gz]; Fashion-MNIST is Debian's package "
            "dataset-fashion-mnist, other sets of the family are four IDX files of these names"
        )
    where = f"data: {str(found)!r}"
    try:
        with gzip.open(found) if found.suffix == ".gz" else found.open("rb") as file:
            start = file.read(4 + 4 * axes)
            if len(start) < 4 + 4 * axes or start[:3] != b"\0\0\x08":
                raise InputError(f"{where} is not an IDX file of bytes")
            shape = struct.unpack(f">{axes}I", start[4:])
            if start[3] != axes or 0 in shape:
                raise InputError(f"{where} must have {axes} axes, none empty, "
                                 f"but has {start[3]} and begins with {shape}")  # fmt: skip
            size = math.prod(shape)
            refuse_memory({f"the size of {where[6:]}": 5.0 * size})
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error):
        raise InputError(f"{where} is damaged or cannot be read") from None
    if len(content) != size:
        what = "is cut short" if len(content) < size else "goes on after its end"
        raise InputError(f"{where} {what}: its header says {shape}")
    return np.frombuffer(content, np.uint8).reshape(shape).copy()
