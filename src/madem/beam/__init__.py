"""Frames beside a beam: a scene, the sensor that sees it, and what is kept of a frame.

It knows no chip. pyFAI, gemmi and h5py are of the extra ``beam``: they are imported where they are
needed, and ``needed`` refuses in one line where they are missing.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from madem.errors import InputError


def needed(name: str, extra: str = "beam") -> ModuleType:
    """Return the module ``name`` of an ``extra``; raise ``InputError`` without it.

    >>> needed("json").__name__
    'json'
    >>> needed("no_such_package")
    Traceback (most recent call last):
    ...
    madem.errors.InputError: no_such_package is missing, which frames of a detector need: \
pip install 'madem[beam]'
    """
    try:
        return import_module(name)
    except ImportError:
        raise InputError(
            f"{name.partition('.')[0]} is missing, which frames of a detector need: "
            f"pip install 'madem[{extra}]'"
        ) from None
