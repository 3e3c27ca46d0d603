"""Whether something fits the memory, asked before any of it is taken."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from pathlib import Path

from madem.errors import InputError


def available() -> float:
    """Return the bytes of memory that this process may still take.

    >>> available() > 0
    True
    """
    free = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    told = Path("/proc/meminfo")
    if told.is_file():
        lines = dict(line.split(":", 1) for line in told.read_text().splitlines() if ":" in line)
        free = 1024.0 * int(lines["MemAvailable"].split()[0]) if "MemAvailable" in lines else free
    group = Path("/sys/fs/cgroup/memory.max")
    if group.is_file() and (limit := group.read_text().strip()).isdigit():
        free = min(free, float(limit))
    limit_here = resource.getrlimit(resource.RLIMIT_AS)[0]
    return free if limit_here == resource.RLIM_INFINITY else min(free, float(limit_here))


def refuse_memory(needs: Mapping[str, float]) -> None:
    """Raise ``InputError`` where ``needs``, bytes by the keys that set them, exceed the memory.

    >>> refuse_memory({"chips": 1e18})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    madem.errors.InputError: this would need about 931322575 GiB, ... GiB are available: lower chips
    """
    whole, free = sum(needs.values()), available()
    if whole > free:
        keys = max(needs, key=lambda key: needs[key])
        raise InputError(f"this would need about {whole / 2**30:.0f} GiB, {free / 2**30:.1f} GiB "
                         f"are available: lower {keys}")  # fmt: skip
