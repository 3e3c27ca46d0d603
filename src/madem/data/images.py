"""Images with class labels: scikit-learn's digits, or a folder of IDX files (the MNIST family)."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor
from torch.nn import functional

from madem.errors import InputError
from madem.randomness import stream

FASHION = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts its files."""


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
    parts = [
        _read(folder, f"{part}-{kind}")
        for part in ("train", "t10k")
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
    ]
    train, train_classes, test, test_classes = (torch.from_numpy(part) for part in parts)
    scaled = [images[:, None].float() / 255 for images in (train, test)]
    return Images(scaled[0], train_classes.long(), scaled[1], test_classes.long())


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


def _read(folder: Path, name: str) -> np.ndarray:
    """Return one IDX file as an array of bytes."""
    found = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if found is None:
        raise InputError(
            f"data: {str(folder)!r} holds no {name}[.gz]; Fashion-MNIST is Debian's package "
            "dataset-fashion-mnist, other sets of the family are four IDX files of these names"
        )
    try:
        content = found.read_bytes()
        content = gzip.decompress(content) if found.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error):
        raise InputError(f"data: {str(found)!r} is damaged") from None
    if len(content) < 8 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise InputError(f"data: {str(found)!r} is not an IDX file of bytes")
    shape = struct.unpack(f">{content[3]}I", content[4 : 4 + 4 * content[3]])
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * content[3])
    if values.size != int(np.prod(shape)):
        raise InputError(f"data: {str(found)!r} is cut short: {values.size} bytes for {shape}")
    return values.reshape(shape).copy()
