"""Named random streams: one seed, many independent generators, none of them global."""

from __future__ import annotations

import hashlib

import torch


def stream(seed: int, *names: str | int) -> torch.Generator:
    """Return the CPU generator that belongs to ``names`` under ``seed``.

    Two streams with different names never share their draws, so that the two halves of a
    differential pair, or training and test data, cannot become the same by accident.

    >>> a, b = stream(0, "plus"), stream(0, "minus")
    >>> bool((torch.rand(4, generator=a) == torch.rand(4, generator=b)).any())
    False
    """
    label = "/".join(str(part) for part in (seed, *names))
    digest = hashlib.sha256(label.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
