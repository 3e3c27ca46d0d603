"""Images of one's own, in one folder for each class."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from madem.data.folders import folder_images
from madem.errors import InputError


@pytest.fixture
def leaves(tmp_path: Path) -> Path:
    """Twenty images of 4 x 3 pixels of each of two kinds; red is their number, green their kind."""
    for kind, name in enumerate(("oak", "ash")):
        (tmp_path / name).mkdir()
        for number in range(20):
            pixels = np.full((3, 4, 3), (number, 100 * kind, 7), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    (tmp_path / ".hidden").touch()
    (tmp_path / "oak" / ".DS_Store").touch()
    return tmp_path


def test_folders_are_classes(leaves: Path) -> None:
    task = folder_images(str(leaves), colour=True)
    assert task.names == ("ash", "oak")
    assert task.inputs == (3, 3, 4)
    assert [len(s[0]) for s in (task.training, task.validation, task.test)] == [28, 6, 6]
    for x, target in (task.training, task.validation, task.test):
        assert x[:, 1, 0, 0].tolist() == pytest.approx([(100 / 255, 0)[t] for t in target.tolist()])
        assert x[:, 2].numpy() == pytest.approx(np.full((len(x), 3, 4), 7 / 255))


def test_greys_and_signs(leaves: Path) -> None:
    plain, signed = folder_images(str(leaves)), folder_images(str(leaves), signed=True, shift=1)
    assert plain.inputs == (1, 3, 4)
    assert signed.training[0].numpy() == pytest.approx(2 * plain.training[0].numpy() - 1, abs=1e-6)
    assert (plain.shift, signed.shift) == (0, 1)


def never(*_: object, **__: object) -> None:
    pytest.fail("a program was run")


@pytest.mark.parametrize("shift", [-1, 1025])
def test_shifts_that_cannot_be_made(shift: int, leaves: Path) -> None:
    with pytest.raises(InputError, match=f"shift must be from 0 to 1024, but is {shift}"):
        folder_images(str(leaves), shift=shift)


def test_folders_that_cannot_be_used(leaves: Path) -> None:
    def refused(told: str) -> None:
        with pytest.raises(InputError, match=told) as caught:
            folder_images(str(leaves))
        assert "\n" not in str(caught.value)

    extra = leaves / "oak" / "a.png"
    Image.new("L", (5, 3)).save(extra)
    refused("a.png' has 3 x 5 pixels, but others 3 x 4")
    Image.fromarray(np.zeros((3, 4), np.uint16)).save(extra)
    refused("a.png' has more than 8 bits for a pixel")
    extra.write_text("no image")
    refused("a.png' is no image that can be read")
    extra.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 3\n%%EndComments\nshowpage\n")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(EpsImagePlugin, "Ghostscript", never)
        refused("a.png' is no image that can be read")
    extra.unlink()
    os.mkfifo(extra)
    refused("a.png' is no image that can be read")
    extra.unlink()
    extra.mkdir()
    refused("a.png' is no image that can be read")
    extra.rmdir()
    (leaves / "empty").mkdir()
    refused("but 'empty' has no images")
    (leaves / "empty").rmdir()
    (leaves / "notes.txt").touch()
    refused("but 'notes.txt' is a file")
    with pytest.raises(InputError, match="no such folder"):
        folder_images(str(leaves / "nowhere"))
