"""Images: digits, and folders of IDX files."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from madem.data.images import digit_images, digits, idx, idx_images
from madem.errors import InputError


def write_idx(folder: Path, labels: dict[str, list[int]]) -> None:
    """Images of 4 x 6 pixels with the labels of each part."""
    rng = np.random.default_rng(0)
    for part, named in labels.items():
        images = rng.integers(0, 256, (len(named), 4, 6), dtype=np.uint8)
        head = b"\0\0\x08\x03" + struct.pack(">3I", *images.shape)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        kinds = b"\0\0\x08\x01" + struct.pack(">I", len(named)) + bytes(named)
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(kinds))


def test_digits_are_split_by_the_seed() -> None:
    one, two = digits(8, 0), digits(8, 1)
    assert one.train.shape == (1437, 1, 8, 8)
    assert float(one.train.min()) == 0
    assert float(one.train.max()) == 1
    assert not torch.equal(one.test_classes, two.test_classes)


def test_idx_files_packed_or_not(tmp_path: Path) -> None:
    write_idx(tmp_path, {"train": [0, 1, 2, 3, 4], "t10k": [0, 1, 2]})
    found = idx(tmp_path)
    assert found.train.shape == (5, 1, 4, 6)
    assert found.test_classes.tolist() == [0, 1, 2]
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(
        b"\0\0\x08\x03" + struct.pack(">3I", 3, 4, 6) + b"1"
    )
    with pytest.raises(InputError, match="cut short"):
        idx(tmp_path)


def test_classes_are_the_labels_that_occur(tmp_path: Path) -> None:
    write_idx(tmp_path, {"train": [7, 3, 200, 7], "t10k": [200, 3]})
    task = idx_images(str(tmp_path))
    assert task.outputs == 3
    assert task.training[1].tolist() == [1, 0, 2, 1]
    assert task.test[1].tolist() == [2, 0]


def test_one_class_is_none(tmp_path: Path) -> None:
    write_idx(tmp_path, {"train": [7, 7], "t10k": [7]})
    with pytest.raises(InputError, match="every image has the label 7; at least two classes"):
        idx(tmp_path)


def test_a_class_that_is_only_tested_on_is_none(tmp_path: Path) -> None:
    write_idx(tmp_path, {"train": [7, 3, 7], "t10k": [7, 9]})
    with pytest.raises(InputError, match="the label 9 is of images to test on, but of none to"):
        idx(tmp_path)


def test_images_to_look_at_are_not_trained_on(tmp_path: Path) -> None:
    write_idx(tmp_path, {"train": [0, 1] * 10, "t10k": [0, 1]})
    task = idx_images(str(tmp_path), validation=5)
    both = torch.cat([task.validation[0], task.training[0]]).flatten(1)
    assert (len(task.validation[0]), len(task.training[0])) == (5, 15)
    assert len(both.unique(dim=0)) == 20
    assert not task.validation[0].equal(
        idx_images(str(tmp_path), validation=5, seed=1).validation[0]
    )


def test_pixels_with_signs() -> None:
    plain, signed = digit_images(8), digit_images(8, signed=True)
    assert signed.training[0].equal(2 * plain.training[0] - 1)
    assert plain.validation[0] is plain.test[0] or plain.validation[0].equal(plain.test[0])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"validation": 1437}, "task.validation must be at least 0 and below 1437"),
        ({"validation": -1}, "task.validation must be at least 0 and below 1437"),
        ({"validation": 400, "train": 1038}, "task.train must be from 1 to 1037"),
        ({"train": 0}, "task.train must be from 1 to 1437"),
    ],
)
def test_more_images_than_there_are(change: dict[str, int], told: str) -> None:
    with pytest.raises(InputError, match=told):
        digit_images(8, **change)
