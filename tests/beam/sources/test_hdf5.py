"""Frames of one's own: what NeXus files hold, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from madem.beam.geometry import Module
from madem.beam.sources import Frame, Gap, Source
from madem.beam.sources.hdf5 import Recorded
from madem.errors import InputError

MODULE = Module(rows=16, columns=32, grid=(1, 2), blocks=2)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).poisson(3.0, (5, 20, 40)).astype(np.uint16)


def written(path: Path, images: np.ndarray, name: str = "entry/data/data", **more: object) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset(
            name, data=images, chunks=(1, *images.shape[1:]), **hdf5plugin.Bitshuffle()
        )
        for key, value in more.items():
            file[key.replace("__", "/")] = value
    return path


def test_frames_are_those_of_the_file(tmp_path: Path, images: np.ndarray) -> None:
    images[2] = 65535
    images[3, 4, 8] = 65535
    mask = np.zeros((20, 40), np.uint32)
    mask[5, 9] = 1
    path = written(tmp_path / "a.h5", images, entry__instrument__detector__pixel_mask=mask,
                   labels=np.array([1, 0, 0, -1, 1]))  # fmt: skip
    source = Recorded(path, MODULE, labels="labels", corner=(4, 8), photon=2.0)
    assert isinstance(source, Source)
    assert len(source) == 5
    found = list(source)
    frames = [each for each in found if isinstance(each, Frame)]
    assert [each.number for each in found] == [0, 1, 2, 3, 4]
    assert isinstance(found[2], Gap)
    assert [f.truth and f.truth.hit for f in frames] == [True, False, None, True]
    expected = images[0, 4:20, 8:40] / 2
    expected[1, 1] = 0
    np.testing.assert_array_equal(frames[0].image, expected)
    assert frames[2].mask is not None
    assert frames[2].mask.sum() == 2


@pytest.mark.parametrize("name", ["entry/data/data_000001", "data", "mine/frames"])
def test_data_sets_are_found_by_their_usual_names(
    tmp_path: Path, images: np.ndarray, name: str
) -> None:
    path = written(tmp_path / "a.h5", images, name)
    data = name if name == "mine/frames" else None
    assert len(list(Recorded(path, MODULE, data))) == 5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"data": "entry/data/dat"}, "there is no data set 'entry/data/dat' in"),
        ({"module": Module()}, r"frames of a module|hold a module of 128 x 512"),
        ({"corner": (10, 10)}, "hold a module of 16 x 32"),
        ({"labels": "nothing"}, r"^frames.labels: 'nothing' must .*, which has: entry/data/data"),
        ({"labels": "nothing", "names": ("file", "file", "labelled")}, "^labelled: 'nothing' must"),
        ({"photon": 0.0}, "photon and interval must be positive"),
        ({"path": "no.h5"}, "there is no such file"),
    ],
)
def test_what_cannot_be_read_is_refused(
    tmp_path: Path, images: np.ndarray, settings: dict[str, object], said: str
) -> None:
    values: dict[str, object] = {"path": written(tmp_path / "a.h5", images), "module": MODULE}
    values |= settings
    values["path"] = Path(str(values["path"]))
    with pytest.raises(InputError, match=said):
        Recorded(**values)  # type: ignore[arg-type]


def test_what_is_no_hdf5_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("no")
    with pytest.raises(InputError, match=r"frames.path: .*a\.h5"):
        Recorded(tmp_path / "a.h5", MODULE)
