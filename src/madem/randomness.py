"""Named random streams: one seed, many independent generators, none of them global."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

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


def normal_like(like: Tensor, generator: Generator) -> Tensor:
    """Return standard normal numbers from ``generator``, of the shape and kind of ``like``."""
    return normal(like.shape, generator, like.device, like.dtype)


def uniform(
    shape: tuple[int, ...], generator: Generator, device: torch.device | None = None
) -> Tensor:
    """Return numbers from 0 to 1 from ``generator``, on ``device`` (default: its own).

    >>> uniform((2,), stream(0, "u"), torch.device("cpu")).shape
    torch.Size([2])
    """
    drawn = torch.rand(shape, device=generator.device, generator=generator)
    return drawn if device is None else drawn.to(device)


class Memory:
    """Numbers that are remembered from one call to the next, and restored with the generators."""

    def __init__(self) -> None:
        """Remember nothing."""
        self.held = torch.zeros(0, dtype=torch.float64)

    def keep(self, numbers: Tensor) -> None:
        """Remember ``numbers`` from now on, a row of float64."""
        self.held = numbers

    def get_state(self) -> Tensor:
        """Return what is remembered, as bytes."""
        return self.held.clone().view(torch.uint8)

    def set_state(self, state: Tensor) -> None:
        """Remember what ``get_state`` returned."""
        self.held = state.cpu().clone().view(torch.float64)


def generators(*owners: object) -> Iterator[Generator | Memory]:
    """Yield what ``owners`` draw from or remember: themselves, or what is in their fields.

    >>> from madem.learn import Sparse
    >>> len(list(generators(Generator(), Sparse((1.0,), Generator()))))
    2
    """
    for owner in owners:
        if isinstance(owner, Generator | Memory):
            yield owner
        elif is_dataclass(owner):
            yield from generators(*(getattr(owner, field.name) for field in fields(owner)))


def streams(*owners: object) -> dict[str, Tensor]:
    """Return where all that ``owners`` draw from or remember stands, for ``rewind``."""
    return {f"stream.{i}": each.get_state() for i, each in enumerate(generators(*owners))}


def rewind(held: Mapping[str, Tensor], *owners: object) -> None:
    """Set all that ``owners`` draw from or remember to where ``streams`` found it."""
    for i, each in enumerate(generators(*owners)):
        each.set_state(held[f"stream.{i}"])
