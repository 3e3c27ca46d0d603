"""Named random streams: one seed, many independent generators, none of them global."""

from __future__ import annotations

import hashlib

import torch
from torch import Generator, Tensor


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


def branch(generator: Generator, state: Tensor, *names: str | int) -> Generator:
    """Return a stream of its own for ``names``, as of when ``generator`` was in ``state``.

    It is the same whenever it is asked for, and takes nothing from ``generator``.

    >>> draws = stream(0, "noise")
    >>> before = draws.get_state()
    >>> first = torch.rand((), generator=branch(draws, before, "later"))
    >>> _ = torch.rand((), generator=draws)
    >>> bool(first == torch.rand((), generator=branch(draws, before, "later")))
    True
    """
    label = state.numpy().tobytes() + "/".join(map(str, names)).encode()
    digest = hashlib.sha256(label).digest()
    return Generator(generator.device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def normal(
    shape: tuple[int, ...],
    generator: Generator,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return standard normal numbers from ``generator``, on ``device`` (default: its own).

    They are drawn where the generator is, so that one seed gives the same numbers on every device.
    """
    drawn = torch.randn(shape, dtype=dtype, device=generator.device, generator=generator)
    return drawn if device is None else drawn.to(device)


def uniform(
    shape: tuple[int, ...], generator: Generator, device: torch.device | None = None
) -> Tensor:
    """Return numbers from 0 to 1 from ``generator``, on ``device`` (default: its own).

    >>> uniform((2,), stream(0, "u"), torch.device("cpu")).shape
    torch.Size([2])
    """
    drawn = torch.rand(shape, device=generator.device, generator=generator)
    return drawn if device is None else drawn.to(device)
