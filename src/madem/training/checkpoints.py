"""What a training has to keep in order to go on bit for bit: cells, memory, streams, totals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass

from torch import Generator, Tensor

from madem.ledger import Ledger
from madem.machine import Machine
from madem.machine.stores import part_of


def generators(*owners: object) -> Iterator[Generator]:
    """Yield every generator that ``owners`` draw from: themselves, or those in their fields.

    >>> from madem.learn import Sparse
    >>> len(list(generators(Generator(), Sparse((1.0,), Generator()))))
    2
    """
    for owner in owners:
        if isinstance(owner, Generator):
            yield owner
        elif is_dataclass(owner):
            yield from generators(*(getattr(owner, field.name) for field in fields(owner)))


def streams(*owners: object) -> dict[str, Tensor]:
    """Return where every generator of ``owners`` stands, for ``rewind``."""
    return {f"stream.{i}": each.get_state() for i, each in enumerate(generators(*owners))}


def rewind(held: Mapping[str, Tensor], *owners: object) -> None:
    """Set every generator of ``owners`` to where ``streams`` found it."""
    for i, each in enumerate(generators(*owners)):
        each.set_state(held[f"stream.{i}"])


def kept(
    machine: Machine, memory: Sequence[Tensor], ledger: Ledger, *owners: object
) -> dict[str, Tensor]:
    """Return chips, the rule's memory, the ledger's totals, and the streams of ``owners``."""
    held = {f"memory.{i}": tensor for i, tensor in enumerate(memory)}
    held |= {f"machine.{name}": tensor for name, tensor in machine.state().items()}
    held |= {f"ledger.{name}": total for name, total in ledger.state().items()}
    return held | streams(*owners)


def bring_back(
    held: Mapping[str, Tensor],
    machine: Machine,
    memory: Sequence[Tensor],
    ledger: Ledger,
    *owners: object,
) -> tuple[Tensor, ...]:
    """Let everything be as ``kept`` found it; return the memory, in the shapes of ``memory``."""
    machine.restore(part_of(held, "machine."))
    ledger.restore(part_of(held, "ledger."))
    rewind(held, *owners)
    return tuple(held[f"memory.{i}"].view_as(own) for i, own in enumerate(memory))
