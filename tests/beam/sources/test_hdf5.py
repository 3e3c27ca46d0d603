"""Frames of one's own: what NeXus files hold, and what is refused in one line."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
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


MASK = "entry/instrument/detector/pixel_mask"
SHAPE = (5, 20, 40)
External, Soft = h5py.ExternalLink, h5py.SoftLink


def virtual(file: h5py.File, where: str, name: str = "data", most: int | None = 5) -> None:
    """Add a virtual data set of all frames of another one, of any number where ``most`` is None."""
    layout = h5py.VirtualLayout(SHAPE, "u2", maxshape=(most, *SHAPE[1:]))
    source = h5py.VirtualSource(where, name, SHAPE, maxshape=(most, *SHAPE[1:]))
    part = slice(0, h5py.h5s.UNLIMITED if most is None else 5)
    layout[part] = source[part]
    file.create_virtual_dataset("data", layout)


@pytest.fixture
def folder(tmp_path: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pipes, one file beside and one below, and one file outside of it."""
    inside = tmp_path / "inside"
    (inside / "below").mkdir(parents=True)
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(inside / "pipe")
    os.mkfifo(tmp_path / "beside.h5")  # never to be opened, though it is where the process is
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "outside.h5", inside / "beside.h5", inside / "below" / "a.h5"):
        written(
            path, images, "data", onward=External("pipe", "data"), back=External("m.h5", "data")
        )
    (inside / "led.h5").symlink_to(tmp_path / "outside.h5")
    return inside


@pytest.mark.parametrize(
    "make",
    [
        lambda file: file.update(data=External("beside.h5", "data")),
        lambda file: file.update(data=External("below/a.h5", "/data")),
        lambda file: file.update(data=External(str(Path("inside/beside.h5").resolve()), "data")),
        lambda file: file.update(data=Soft("other"), other=External("beside.h5", "data")),
        lambda file: virtual(file, "beside.h5"),
        lambda file: virtual(file, "beside.h5", most=None),
        lambda file: (file.create_dataset("own", data=np.ones(SHAPE, "u2")),
                      virtual(file, ".", "own")),
    ],
)  # fmt: skip
def test_links_lead_to_files_beside_and_below(
    folder: Path, make: Callable[[h5py.File], object]
) -> None:
    with h5py.File(folder / "m.h5", "w") as file:
        make(file)
    (folder.parent / "led.h5").symlink_to(folder / "m.h5")
    for path in (folder / "m.h5", Path("inside/m.h5"), Path("led.h5")):
        found = list(Recorded(path, MODULE))
        assert len(found) == 5
        assert all(isinstance(each, Frame) and each.image.any() for each in found)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda file: file.update(data=External("pipe", "data")), "leads to 'pipe', no plain file"),
        (lambda file: file.update(data=External("gone.h5", "data")), "leads to 'gone.h5', no"),
        (lambda file: file.update(data=External("led.h5", "data")), "leads to 'led.h5', no plain"),
        (lambda file: file.update(data=External("../outside.h5", "data")), "'../outside.h5', no"),
        (lambda file: file.update(data=External("/dev/zero", "data")), "leads to '/dev/zero', no"),
        (lambda file: file.update(data=External("beside.h5", "onward")), "leads to 'pipe', no"),
        (lambda file: file.update(data=External("beside.h5", "back")), "leads nowhere"),
        (lambda file: file.update(data=External("beside.h5", "no")), "to 'no' leads nowhere"),
        (lambda file: file.update(data=Soft("/no")), "a link to 'no' leads nowhere"),
        (lambda file: file.update(data=Soft("/b"), b=Soft("/data")), "leads nowhere"),
        (lambda file: file.update(entry=Soft("/entry")), "a link to 'entry' leads nowhere"),
        (lambda file: file.create_dataset("data", SHAPE, "u1", external=[("pipe", 0, 9**9)]),
         "'/data' is stored outside of the file, in 'pipe'"),
        (lambda file: virtual(file, "pipe"), "leads to 'pipe', no plain file"),
        (lambda file: virtual(file, "pipe", most=None), "leads to 'pipe', no plain file"),
        (lambda file: virtual(file, "../outside.h5"), "leads to '../outside.h5', no plain file"),
        (lambda file: virtual(file, "gone.h5"), "leads to 'gone.h5', no plain file"),
        (lambda file: virtual(file, "beside.h5", "onward"), "leads to 'pipe', no plain file"),
        (lambda file: virtual(file, "."), "virtual and the source of a virtual data set"),
        (lambda file: virtual(file, "m.h5"), "virtual and the source of a virtual data set"),
        (lambda file: virtual(file, "beside.h5", "back"), "virtual and the source of a virtual"),
        (lambda file: file.create_group("data"), "'data' is not a data set"),
        (lambda file: file.update(data=np.dtype("i4")), "'data' is not a data set"),
        (lambda file: file.create_dataset("data", data=h5py.Empty("u2")), "has uint16 .*needed"),
        (lambda file: file.create_dataset("data", data=1), "has int64 .*are needed"),
        (lambda file: file.create_dataset("data", (2**40, 20, 40), "u2", chunks=(1, 20, 40)),
         "at most 100000000 frames"),
        (lambda file: file.create_dataset("data", (1, 2**15, 2**15), "u2", compression="gzip",
                                          chunks=(1, 2**15, 2**15)), "more than 1073741824 bytes"),
    ],
)  # fmt: skip
def test_what_leads_elsewhere_or_nowhere_is_refused_unopened(
    folder: Path, make: Callable[[h5py.File], object], said: str
) -> None:
    with h5py.File(folder / "m.h5", "w") as file:
        make(file)
    with pytest.raises(InputError, match=said):
        Recorded(folder / "m.h5", MODULE)


def settings(name: str) -> tuple[tuple[int, ...], str | None]:
    """Return the shape that labels or a mask must have, and the setting of labels."""
    return (SHAPE[:1], name) if name == "labels" else (SHAPE[1:], None)


@pytest.mark.parametrize("name", ["labels", MASK])
@pytest.mark.parametrize(
    "kind",
    [np.dtype([("a", "i4")]), h5py.vlen_dtype("i4"), h5py.string_dtype(), h5py.ref_dtype, "S1",
     "V3", "c8", "longdouble", np.dtype(("i4", (2,)))],
)  # fmt: skip
def test_labels_and_masks_are_numbers(
    tmp_path: Path, images: np.ndarray, name: str, kind: object
) -> None:
    shape, labels = settings(name)
    with h5py.File(written(tmp_path / "m.h5", images), "a") as file:
        file.create_dataset(name, shape, kind)
    with pytest.raises(InputError, match=rf"^frames\.(labels|path): .*{name}.* must be .*numbers"):
        Recorded(tmp_path / "m.h5", MODULE, labels=labels)


@pytest.mark.parametrize("name", ["labels", MASK])
@pytest.mark.parametrize("shape", [(), (3,), (2**40,), (16, 32), (2**20, 2**20), (5, 20, 40)])
def test_labels_and_masks_of_another_shape_are_refused_unread(
    tmp_path: Path, images: np.ndarray, name: str, shape: tuple[int, ...]
) -> None:
    with h5py.File(written(tmp_path / "m.h5", images), "a") as file:
        file.create_dataset(name, shape, "i1", chunks=shape and tuple(min(100, n) for n in shape))
    with pytest.raises(InputError, match=rf"^frames\.(labels|path): .*{name}.* must be .*numbers"):
        Recorded(tmp_path / "m.h5", MODULE, labels=settings(name)[1])


@pytest.mark.parametrize("name", ["labels", MASK])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (h5py.Empty("i4"), "must be .*numbers"),
        (np.dtype("i4"), "is not a data set"),
        (External("pipe", "data"), "leads to 'pipe', no plain file"),
        (Soft("/no"), "leads nowhere"),
    ],
)
def test_labels_and_masks_that_are_none_are_refused(
    folder: Path, images: np.ndarray, name: str, value: object, said: str
) -> None:
    path = written(folder / "m.h5", images, **{name: value})
    with pytest.raises(InputError, match=rf"^frames\.(labels|path): .*{said}"):
        Recorded(path, MODULE, labels=settings(name)[1])


def test_labels_and_masks_that_are_damaged_are_refused(tmp_path: Path, images: np.ndarray) -> None:
    path = written(tmp_path / "a.h5", images)
    with h5py.File(path, "a") as file:
        for name, shape in (("labels", SHAPE[:1]), (MASK, SHAPE[1:])):
            held = file.create_dataset(name, shape, "i1", chunks=shape, compression="gzip")
            held.id.write_direct_chunk((0,) * len(shape), b"no gzip")
    with pytest.raises(InputError, match=r"^frames.labels: .*filter returned failure"):
        Recorded(path, MODULE, labels="labels")
    with pytest.raises(InputError, match=r"^frames.path: .*filter returned failure"):
        list(Recorded(path, MODULE))


def test_no_more_of_an_image_is_read_than_the_module(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, shape in (("data", (1, 2**20, 2**20)), (MASK, (2**20, 2**20))):
            file.create_dataset(name, shape, "u1", chunks=(*shape[:-2], 128, 128))
    source = Recorded(tmp_path / "a.h5", MODULE, corner=(2**20 - 16, 7))
    tracemalloc.start()
    (frame,) = source
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(frame, Frame)
    assert frame.image.shape == MODULE.shape
    assert most < 2**24


def test_a_pipe_is_not_opened(folder: Path) -> None:
    with pytest.raises(InputError, match="is not a plain file"):
        Recorded(folder / "pipe", MODULE)
