"""What a person reads when something they gave cannot be used."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

LONGEST = 300
"""How long a message may be, in characters."""


class InputError(ValueError):
    """Bad input, in one line: the field, its value, what is allowed.

    The command line prints the line and exits with code 2; nothing has been written by then. A
    message of more than ``LONGEST`` characters loses its middle.

    >>> len(str(InputError("a" * 1000)))
    300
    """

    def __init__(self, message: str) -> None:
        """Keep ``message``, its lines joined, cut to its longest."""
        super().__init__(clipped(" ".join(message.splitlines()), LONGEST))


def clipped(text: str, most: int) -> str:
    """Return ``text`` of at most ``most`` characters, what is too much cut out of its middle.

    >>> clipped("abcdefghijkl", 9)
    'abc...jkl'
    """
    if len(text) <= most:
        return text
    after = (most - 3) // 2
    return f"{text[: most - 3 - after]}...{text[-after:]}"


def shown(value: object) -> str:
    """Return ``value`` as it stands in a message: its representation, of 60 characters at most.

    What YAML has words of its own for is said in them.

    >>> shown(None)
    'null'
    >>> shown("150")
    "'150'"
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str | bytes):
        value = value[:100]
    return clipped(repr(value), 60)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return a hint that names the nearest of ``allowed``, and all of them when they are few.

    >>> nearest("sede", ["seed", "chips"])
    "did you mean 'seed'? (allowed: chips, seed)"
    """
    names = sorted(allowed)
    close = difflib.get_close_matches(name[:60], names, n=1, cutoff=0.51)
    hint = f"did you mean {close[0]!r}? " if close else ""
    listed = ", ".join(names)
    if len(listed) > 180:
        fit = max(1, sum(len(", ".join(names[: k + 1])) <= 160 for k in range(len(names))))
        listed = f"{', '.join(names[:fit])} and {len(names) - fit} more"
    return f"{hint}(allowed: {listed})"


def abridged(path: str | Path) -> str:
    """Return ``path`` as it is quoted in a message, what is too long cut out of its middle.

    >>> abridged("a/b"), len(abridged("x" * 300))
    ("'a/b'", 110)
    """
    return clipped(repr(str(path)), 110)


def fault(error: BaseException) -> str | None:
    """Return in one line what a computer could not do: storage, memory, a process that died.

    None for every other error: then it is the program's own, and its traceback is wanted.

    >>> fault(OSError(28, "No space left on device", "runs/a.json"))
    "'runs/a.json': no space left on device"
    >>> fault(RuntimeError("can't allocate memory: you tried to allocate 8000000000 bytes"))
    'not enough memory (8.0 GB were asked for at once)'
    """
    if isinstance(error, OSError):
        said = error.strerror.lower() if error.strerror else str(error)
        return f"{abridged(error.filename)}: {said}" if error.filename else said
    text = str(error)
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and re.search("allocate memory|out of memory", text)
    ):
        asked = re.search(r"allocate (\d+) bytes", text)
        size = f" ({int(asked[1]) / 1e9:.1f} GB were asked for at once)" if asked else ""
        return f"not enough memory{size}"
    return None
