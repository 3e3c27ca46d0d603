"""Arrays of one's own: in an ``.npz`` file, or returned by a Python function."""

from __future__ import annotations

import importlib
import runpy
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import format_exception_only
from typing import Any

import numpy as np
from numpy.typing import NDArray

from madem.data.sets import SHARES, Predict, Rows, Shares, finite
from madem.data.task import Finite
from madem.errors import InputError, abridged, nearest, shown
from madem.memory import refuse_memory

Array = NDArray[Any]


def npz_table(
    path: str,
    inputs: str = "x",
    target: str = "y",
    predict: Predict = "classes",
    shares: Shares = SHARES,
    reach: float | None = 3.0,
    seed: int = 0,
) -> Finite:
    """Return the task of two arrays of the file ``path``, as ``numpy.savez`` writes it.

    Args:
        path: of the file. Pickled objects are refused, never loaded.
        inputs: name of the array of inputs, ``(samples, *inputs)``.
        target: name of the array of targets, ``(samples,)``, or ``(samples, outputs)`` numbers.
        predict: see ``csv_table``, as for the other arguments.
        shares: of the samples to train on, to look at and to test with.
        reach: standard deviations at which an input reaches 1; None leaves inputs as they are.
        seed: which samples fall into which set.

    Raises:
        InputError: for a file, a name, a shape or values that cannot be used.
    """
    where = f"task.path: {abridged(path)}"
    if not Path(path).is_file():
        raise InputError(f"{where}: no such file")
    try:
        with zipfile.ZipFile(path) as packed:
            sizes = {i.filename.removesuffix(".npy"): i.file_size for i in packed.infolist()}
        for key, name in (("inputs", inputs), ("target", target)):
            if name not in sizes:
                raise InputError(f"task.{key}: {abridged(path)} has no array {shown(name)}: "
                                 f"{nearest(name, sizes)}")  # fmt: skip
        refuse_memory({f"the size of {abridged(path)}": 1.0 * (sizes[inputs] + sizes[target])})
        with np.load(path, allow_pickle=False) as held:
            found = held[inputs], held[target]
    except (InputError, MemoryError):
        raise
    except Exception as error:  # whatever numpy and what unpacks find in a file
        what = "holds pickled objects, which are not loaded: save arrays of numbers or text"
        said = what if "allow_pickle" in str(error) else "is damaged, or no .npz file of numpy"
        raise InputError(f"{where} {said}") from None
    rows = as_rows(*found, predict, (f"{where}: {inputs}", f"{where}: {target}"))
    return finite(rows, shares, reach, seed)


def python_table(
    function: str,
    predict: Predict = "classes",
    shares: Shares = SHARES,
    reach: float | None = 3.0,
    seed: int = 0,
) -> Finite:
    """Return the task of the two arrays that a Python function returns: inputs and targets.

    ``function``: ``module:function`` or ``file.py:function``, called without arguments; modules are
    those that Python finds, and files of their name below the working directory. Code in it is
    run. The other arguments, and what the arrays may be, are those of ``npz_table``. Raises
    ``InputError`` where it cannot be found, raises, or returns something else.
    """
    where = f"task.function: {shown(function)}"
    call = _function(function, where)
    with _telling(f"{where} raised"):
        found = call()
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise InputError(f"{where} must return two arrays, inputs and targets, but returned "
                             f"{shown(found)}")  # fmt: skip
        names = f"{where}: inputs", f"{where}: targets"
        rows = as_rows(found[0], found[1], predict, names)
    return finite(rows, shares, reach, seed)


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Tell in one line after ``what`` of all that a person's code raises, its exit included."""
    try:
        yield
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise InputError(f"{what} {format_exception_only(error)[-1]}") from error


def _function(function: str, where: str) -> Callable[[], Any]:
    """Return the function that ``module:function`` names."""
    module, colon, name = function.rpartition(":")
    if not colon or not module or not name:
        raise InputError(f"{where} must be module:function or file.py:function")
    file = Path(module if module.endswith(".py") else module.replace(".", "/") + ".py")
    with _telling(f"{where} cannot be imported:"):
        held = (runpy.run_path(str(file)) if file.is_file()
                else vars(importlib.import_module(module)))  # fmt: skip
    found: Callable[[], Any] | None = held.get(name)
    if not callable(found):
        names = [each for each in held if not each.startswith("_")]
        raise InputError(f"{where}: no such function: {nearest(name, names)}")
    return found


def as_rows(x: Any, target: Any, predict: Predict, names: tuple[str, str]) -> Rows:
    """Return arrays as rows; ``names`` stand for them in messages.

    >>> as_rows([[1, 2], [3, 4]], ["a", "b"], "classes", ("x", "y")).x.shape
    (2, 2)
    """
    inputs = _array(x, names[0])
    if inputs.dtype.kind not in "biuf" or inputs.ndim < 2 or 0 in inputs.shape:
        raise InputError(f"{names[0]} must be numbers of shape (samples, inputs), but is "
                         f"{_kind(inputs)}")  # fmt: skip
    goal = _array(target, names[1])
    if goal.dtype.kind == "O":
        goal = np.array([str(each) for each in goal.flatten()]).reshape(goal.shape)
    if goal.dtype.kind == "S":
        goal = np.char.decode(goal, "utf-8", "backslashreplace")
    classes = predict == "classes"
    fits = goal.ndim == 1 if classes else goal.ndim in (1, 2) and goal.dtype.kind in "biuf"
    if not fits or goal.dtype.kind not in "biufU" or len(goal) != len(inputs) or 0 in goal.shape:
        allowed = "labels of shape" if classes else "numbers of shape"
        raise InputError(f"{names[1]} must be {allowed} ({len(inputs)},), one for each sample, but "
                         f"is {_kind(goal)}")  # fmt: skip
    refuse_memory({f"the size of {names[0]}": 28.0 * inputs.size})
    return Rows(
        inputs.astype(np.float64, copy=False),
        goal.astype(str) if classes else goal.astype(np.float64).reshape(len(goal), -1),
        names[1],
        lambda row: f"{names[0]}, sample {row + 1}",
        lambda index: f"input {index + 1}",
    )


def _array(value: Any, name: str) -> Array:
    with _telling(f"{name} is no array:"):
        return np.asarray(value)


def _kind(found: Array) -> str:
    return f"{found.dtype} of shape {found.shape}"
