"""What a person reads when something they gave cannot be used."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input, in one line: the field, its value, what is allowed.

    The command line prints the line and exits with code 2; nothing has been written by then.
    """


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return a hint that names the nearest of ``allowed``, and all of them when they are few.

    >>> nearest("sede", ["seed", "chips"])
    "did you mean 'seed'? (allowed: chips, seed)"
    """
    names = sorted(allowed)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}(allowed: {', '.join(names)})"
