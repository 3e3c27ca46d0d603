"""Arrays of one's own: from an .npz file, and from a Python function."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from madem.data.arrays import npz_table, python_table
from madem.errors import InputError

X = np.arange(60.0).reshape(30, 2)
Y = np.arange(30) % 3


class Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.mark,)


def test_arrays_become_a_task(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y, words=np.array(["no", "yes"])[Y % 2])
    task = npz_table(str(tmp_path / "a.npz"), reach=None)
    assert (task.inputs, task.outputs, task.names) == ((2,), 3, ("0", "1", "2"))
    for part in ("training", "validation", "test"):
        x, target = task.held(part, torch.Generator())
        assert (x[:, 0] / 2 % 3).tolist() == target.tolist()
    assert npz_table(str(tmp_path / "a.npz"), target="words").names == ("no", "yes")


def test_images_keep_their_shape_and_numbers_their_columns(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (30, 1, 4, 5), dtype=np.uint8)
    goals = np.stack([images.mean((1, 2, 3)), images[:, 0, 0, 0]], 1)
    np.savez_compressed(tmp_path / "a.npz", x=images, y=goals)
    task = npz_table(str(tmp_path / "a.npz"), predict="numbers", reach=None)
    assert task.inputs == (1, 4, 5)
    assert task.outputs == 2
    x, target = task.training
    rows = x[:, 0, 0, 0].numpy()
    assert target[:, 1].numpy() == pytest.approx((rows - rows.mean()) / rows.std(), abs=1e-5)


BAD_FILES: dict[str, tuple[dict[str, object], dict[str, str], str]] = {
    "no such name": ({"x": X, "label": Y}, {}, "task.target: .* has no array 'y'"),
    "nearest": ({"inputs": X, "y": Y}, {"inputs": "input"}, "did you mean 'inputs'"),
    "lengths": ({"x": X, "y": Y[:-1]}, {}, r"y must be labels of shape \(30,\)"),
    "flat": ({"x": X[:, 0], "y": Y}, {}, r"x must be numbers of shape \(samples, inputs\)"),
    "text": ({"x": X.astype(str), "y": Y}, {}, "x must be numbers"),
    "two labels": ({"x": X, "y": np.stack([Y, Y], 1)}, {}, "y must be labels of shape"),
    "text to predict": (
        {"x": X, "y": Y.astype(str)}, {"predict": "numbers"}, "y must be numbers of shape",
    ),
    "nan": ({"x": np.where(X == 7, np.nan, X), "y": Y}, {}, "sample 4: input 2 is missing"),
    "infinite": ({"x": np.where(X == 8, np.inf, X), "y": Y}, {}, "sample 5: input 1 must be wi"),
    "no label": ({"x": X, "y": np.where(Y == 1, "?", "a")}, {}, "sample 2: .*y is missing"),
    "complex": ({"x": X * 1j, "y": Y}, {}, "x must be numbers"),
    "no samples": ({"x": X[:0], "y": Y[:0]}, {}, "x must be numbers of shape"),
    "one class": ({"x": X, "y": 0 * Y}, {}, "y is '0' in every row"),
    "nothing to predict": (
        {"x": X, "y": np.zeros((30, 0))}, {"predict": "numbers"}, "y must be numbers of shape",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FILES)
def test_arrays_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    held, options, told = BAD_FILES[name]
    np.savez(tmp_path / "bad.npz", **held)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=told) as caught:
        npz_table(str(tmp_path / "bad.npz"), **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    trap = Trap(mark)
    np.savez(tmp_path / "a.npz", x=X, y=np.array([trap] * 30, dtype=object), allow_pickle=True)
    (tmp_path / "b.npz").write_bytes(pickle.dumps(trap))
    for name, told in (("a.npz", "pickled objects, which are not loaded"), ("b.npz", "no .npz")):
        with pytest.raises(InputError, match=told):
            npz_table(str(tmp_path / name))
    assert not mark.exists()


def test_files_that_are_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", x=X, y=Y)
    whole = (tmp_path / "whole.npz").read_bytes()
    damaged = bytearray(whole)
    damaged[200] ^= 255
    for name, content in {"cut": whole[:-40], "hit": bytes(damaged), "text": b"a,b"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="damaged"):
            npz_table(str(tmp_path / name))
    with pytest.raises(InputError, match="no such file"):
        npz_table(str(tmp_path / "none.npz"))


def refused(path: Path) -> None:
    with pytest.raises(InputError, match="is damaged, or no .npz file of numpy"):
        npz_table(str(path))


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_every_byte_may_be_hit(how: int, tmp_path: Path) -> None:
    file, array = tmp_path / "a.npz", io.BytesIO()
    np.save(array, X)
    with zipfile.ZipFile(file, "w", how) as packed:
        packed.writestr("x.npy", array.getvalue())
        packed.writestr("y.npy", array.getvalue())
    whole = file.read_bytes()
    for place in range(0, len(whole), 23):
        hit = bytearray(whole)
        hit[place] ^= 16
        file.write_bytes(hit)
        with pytest.raises(InputError):  # of two columns is y, which is no label either
            npz_table(str(file))


HEADERS = {
    "too large": "{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000000000000, 4)}",
    "cut": "{'descr': '<f8', 'fortran_order': False, 'shape': (30",
    "no numbers": "{'descr': '<f8', 'fortran_order': False, 'shape': (True, True)}",
    "no text": "{[]: 1}",
    "open": "'''",
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_lie(name: str, tmp_path: Path) -> None:
    head = HEADERS[name].encode().ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as packed:
        packed.writestr("x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
        packed.writestr("y.npy", b"")
    refused(tmp_path / "a.npz")


def test_bytes_are_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=np.array([b"caf\xc3\xa9", b"\xff", b"a"])[Y])
    assert npz_table(str(tmp_path / "a.npz")).names == ("\\xff", "a", "caf\u00e9")


CODE = """
import numpy as np
def numbers(): return np.arange(60).reshape(30, 2)
def rows(): return numbers(), ["even", "odd"] * 15
def three(): return 1, 2, 3
def fails(): raise ValueError("no\\nluck")
def ragged(): return [[1, 2], [3]], [0, 1]
def tensors():
    import torch
    return torch.rand(30, 2, requires_grad=True), torch.arange(30)
number = 3
def leaves(): raise SystemExit(0)
class Odd:
    def __str__(self): raise KeyError("odd")
    __repr__ = __array__ = lambda self, *_, **__: str(self)
def odd(): return Odd(), Odd()
def odd_labels(): return numbers(), [Odd()] * 30
def odd_alone(): return Odd()
class Mute(Exception):
    __str__ = Odd.__str__
def mute(): raise Mute
"""


def test_a_function_returns_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    by_name, by_file = python_table("mine:rows"), python_table(f"{tmp_path}/mine.py:rows")
    assert by_name.names == ("even", "odd")
    assert by_name.training[0].equal(by_file.training[0])


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("mine:row", "no such function: did you mean 'rows'"),
        ("mine:number", "no such function"),
        ("mine:three", "must return two arrays, inputs and targets, but returned"),
        ("mine:fails", "raised ValueError: no luck"),
        ("mine:ragged", "inputs is no array"),
        ("mine:tensors", "inputs is no array"),
        ("mine:leaves", "raised SystemExit: 0"),
        ("leaving:rows", "cannot be imported: SystemExit"),
        ("mine:odd", "inputs is no array: KeyError"),
        ("mine:odd_labels", "targets is no array: KeyError"),
        ("mine:odd_alone", "raised KeyError"),
        ("mine:mute", "raised .*Mute: <exception"),
        ("mine", "must be module:function or file.py:function"),
        ("nowhere:rows", "cannot be imported: ModuleNotFoundError"),
        ("broken:rows", "cannot be imported: SyntaxError"),
    ],
)
def test_functions_that_cannot_be_used(
    function: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "broken.py").write_text("def rows(:")
    (tmp_path / "leaving.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=told) as caught:
        python_table(function)
    assert "\n" not in str(caught.value)
