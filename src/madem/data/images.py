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
from torch import Tensor
from torch.nn import functional

from madem.data.task import Finite
from madem.errors import InputError, shown
from madem.memory import refuse_memory
from madem.network import Cost, CrossEntropy
from madem.randomness import stream

FASHION = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts its files."""

DECISION: Cost = CrossEntropy()
"""What training reduces where nothing else is asked for."""


@dataclass(frozen=True)
class Images:
    """Images ``(samples, 1, rows, columns)``, values 0 to 1, and their classes ``(samples,)``."""

    train: Float[Tensor, "train 1 rows columns"]
    train_classes: Int[Tensor, "train"]
    test: Float[Tensor, "test 1 rows columns"]
    test_classes: Int[Tensor, "test"]

    @property
    def classes(self) -> int:
        """Return how many classes there are."""
        return 1 + int(torch.cat([self.train_classes, self.test_classes]).max())


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
        raise InputError("data digits needs scikit-learn: pip install 'madem[digits]'") from None
    if not 8 <= size <= 1024:
        raise InputError(f"task.size must be from 8 to 1024, but is {size}")
    refuse_memory({"task.size": 12.0 * 1797 * size**2})
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

    Classes are the labels that occur, counted from 0. Fashion-MNIST comes with Debian's package
    dataset-fashion-mnist. Raises ``InputError`` where a file is missing or is not what it should
    be.
    """
    train, test = (_read(folder, f"{part}-images-idx3-ubyte", 3) for part in ("train", "t10k"))
    if train.shape[1:] != test.shape[1:]:
        raise InputError(f"data: {str(folder)!r}: images to train on are {_size(train)} pixels, "
                         f"images to test on {_size(test)}")  # fmt: skip
    labels = [_read(folder, f"{part}-labels-idx1-ubyte", 1) for part in ("train", "t10k")]
    for part, held, named in zip(("train", "t10k"), (train, test), labels, strict=True):
        if len(named) != len(held):
            raise InputError(f"data: {str(folder)!r}: {part} has {len(held)} images, "
                             f"but {len(named)} labels")  # fmt: skip
    kinds, numbers = np.unique(np.concatenate(labels), return_inverse=True)
    if len(kinds) < 2:
        raise InputError(f"data: {str(folder)!r}: every image has the label {kinds[0]}; at least "
                         "two classes are needed")  # fmt: skip
    unseen = np.setdiff1d(labels[1], labels[0])
    if len(unseen):
        raise InputError(f"data: {str(folder)!r}: the label {unseen[0]} is of images to test on, "
                         "but of none to train on")  # fmt: skip
    classes = torch.from_numpy(numbers).split([len(train), len(test)])
    images = [torch.from_numpy(each)[:, None].float() / 255 for each in (train, test)]
    return Images(images[0], classes[0], images[1], classes[1])


def _size(images: np.ndarray) -> str:
    return " x ".join(str(n) for n in images.shape[1:])


def digit_images(
    size: int = 28,
    signed: bool = False,
    train: int | None = None,
    validation: int = 0,
    shift: int = 0,
    cost: Cost = DECISION,
    seed: int = 0,
) -> Finite:
    """Return scikit-learn's 1,797 handwritten digits, 360 of them, drawn by ``seed``, to test.

    Args:
        size: pixels a side, enlarged from 8.
        signed: whether pixels are from -1 to 1, and not from 0.
        train: how many images to train on, all that are left where None.
        validation: how many of the training images to leave out of training, to look at; with 0
            looks are at the test images.
        shift: see ``Finite``.
        cost: what training reduces.
        seed: of the division.

    >>> task = digit_images(8, signed=True, validation=300)
    >>> task.inputs, task.outputs, [len(s[0]) for s in (task.training, task.validation, task.test)]
    ((1, 8, 8), 10, [1137, 300, 360])
    """
    images = digits(size, seed)
    return _task(images, torch.arange(len(images.train)), signed, train, validation, shift, cost)


def idx_images(
    path: str = str(FASHION),
    signed: bool = False,
    train: int | None = None,
    validation: int = 0,
    shift: int = 0,
    cost: Cost = DECISION,
    seed: int = 0,
) -> Finite:
    """Return the images of the four usual IDX files in the folder ``path`` (the MNIST family).

    The other arguments are those of ``digit_images``; ``seed`` draws the validation images.
    """
    images = idx(Path(path))
    order = torch.arange(len(images.train))
    if validation:
        order = torch.randperm(len(order), generator=stream(seed, "validation"))
    return _task(images, order, signed, train, validation, shift, cost)


def _task(
    images: Images,
    order: Int[Tensor, "train"],
    signed: bool,
    train: int | None,
    validation: int,
    shift: int,
    cost: Cost,
) -> Finite:
    """Return the task; the first of ``order`` are to look at, the next to train on."""
    left = len(order) - validation
    if not 0 <= validation < len(order):
        raise InputError(f"task.validation must be at least 0 and below {len(order)}, the number "
                         f"of training images, but is {validation}")  # fmt: skip
    if train is not None and not 1 <= train <= left:
        raise InputError(f"task.train must be from 1 to {left}, the images there are to train on, "
                         f"but is {train}")  # fmt: skip
    looked, rows = order[:validation], order[validation:][:train]
    test = images.test, images.test_classes
    return Finite(
        (images.train[rows], images.train_classes[rows]),
        (images.train[looked], images.train_classes[looked]) if validation else test,
        test,
        images.classes,
        cost,
        shift,
    ).mapped(lambda x: 2 * x - 1 if signed else x)


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
