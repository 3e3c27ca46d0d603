"""What a module keeps of a machine whose weights are more than numbers: a chip."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

from madem.errors import InputError, shown
from madem.machine import Machine
from madem.machine.stores import part_of
from madem.randomness import rewind, streams

DTYPES = (torch.float32, torch.float64)
"""Types in which conductances of a microsiemens can be told apart."""


def outside() -> int:
    """Return the ``stacklevel`` at which the caller's warning is shown at the user's own line.

    It is that of the first frame beyond this package and PyTorch, whose backward passes come
    from within PyTorch.
    """
    frame, level = sys._getframe(1), 1
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in ("madem", "torch"):
        frame, level = frame.f_back, level + 1
    return level


class Cells(nn.Module):
    """The state of ``machine`` as a part of a module: moved, saved and loaded with it.

    ``asked``: what the parameters were when they were last written. ``settings``: the ``rank`` of
    ``torch.distributed`` for which read noise is drawn, and whether was ``warned``.
    """

    def __init__(self, machine: Machine, estimator: object = None) -> None:
        """Begin with parameters that are what the cells stand for.

        What an ``estimator`` remembers of the chip is kept with it.
        """
        super().__init__()
        self.machine, self.estimator = machine, estimator
        self.asked = [p.detach().clone() for p in machine.parameters]
        self.settings = {"rank": 0, "warned": 0}

    @property
    def cells(self) -> tuple[Tensor, ...]:
        """What is computed with and lies in cells; new tensors after every write."""
        held = zip(self.machine.parameters, self.machine.limits, strict=True)
        return tuple(p for p, limits in held if limits is None)

    def holds(self, cells: Sequence[Tensor]) -> bool:
        """Return whether nothing was written since ``cells`` were asked for."""
        now = self.cells
        return len(now) == len(cells) and all(a is b for a, b in zip(now, cells, strict=True))

    def ask(self, parameters: Sequence[Tensor]) -> None:
        """Remember the parameters that have been written."""
        self.asked[:] = [p.detach().clone() for p in parameters]

    def heed(self, parameters: Sequence[Tensor]) -> None:
        """Before a settling: give each rank its own noise, and warn of what was not written."""
        self._part_ranks()
        if self.settings["warned"]:
            return
        sides = zip(self.machine.limits, parameters, self.asked, strict=True)
        # within rounding, as what is normalised comes back
        if not all(limits or torch.allclose(p, asked) for limits, p, asked in sides):
            self.settings["warned"] = 1
            warnings.warn(
                "the parameters of a chip have changed since the last commit(): it settles with "
                "what its cells hold, until commit() writes them",
                RuntimeWarning,
                stacklevel=outside(),
            )

    def write(self, wanted: Sequence[Tensor], threshold: float) -> list[Tensor]:
        """Write what differs from the cells by more than ``threshold``.

        Returns what the cells then stand for, plus the differences that were left.
        """
        changes = [w - h for w, h in zip(wanted, self.machine.parameters, strict=True)]
        due = [torch.where(change.abs() > threshold, change, 0.0) for change in changes]
        self.machine.write(due)
        left = zip(self.machine.parameters, changes, due, strict=True)
        return [now + (change - part) for now, change, part in left]

    def check(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Refuse to move where conductances would be lost."""
        moved = fn(torch.zeros(1))
        if moved.dtype not in DTYPES or moved.device.type == "meta":
            raise InputError(
                "the cells of a chip hold conductances of microsiemens, which need float32 or "
                f"float64, not {moved.dtype} on {moved.device}"
            )

    def get_extra_state(self) -> dict[str, Tensor]:
        """Return all that the machine holds, what was last written, and the rank, as tensors."""
        held = {f"machine.{name}": tensor for name, tensor in self.machine.state().items()}
        asked = {f"asked.{i}": p for i, p in enumerate(self.asked)}
        return {**held, **asked, **streams(self.estimator),
                "rank": torch.tensor(self.settings["rank"])}  # fmt: skip

    def set_extra_state(self, state: Any) -> None:
        """Take back what ``get_extra_state`` returned, in the present type and place.

        Raises ``InputError`` where it is of another chip, and has then changed nothing.
        """
        like = self.asked[0] if self.asked else torch.zeros(())
        if not isinstance(state, Mapping) or not all(map(torch.is_tensor, state.values())):
            raise InputError(f"the state of a chip must be tensors by name, but is {shown(state)}")
        here = {name: _as(held, like) for name, held in state.items()}
        asked = part_of(here, "asked.")
        shapes = [p.shape for p in asked.values()]
        if shapes != [p.shape for p in self.asked] or "rank" not in here or here["rank"].dim():
            raise InputError("the state is not that of a chip with as many parameters")
        self.machine.restore(part_of(here, "machine."))
        if "stream.0" in state:
            rewind(state, self.estimator)
        self.ask(list(asked.values()))
        self.settings["rank"] = int(state["rank"])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Cells:
        """Move what the machine holds."""
        state = self.machine.state().items()
        moved = {name: held if held.dtype is torch.uint8 else fn(held) for name, held in state}
        self.machine.restore(moved)
        self.asked[:] = [fn(p) for p in self.asked]
        super()._apply(fn, recurse)
        return self

    def _part_ranks(self) -> None:
        """Draw read noise that differs from the other ranks', from here on."""
        ready = distributed.is_available() and distributed.is_initialized()
        rank = distributed.get_rank() if ready else 0
        if rank != self.settings["rank"]:
            self.machine.part("rank", rank)
            self.settings["rank"] = rank


def _as(held: Tensor, like: Tensor) -> Tensor:
    """Return a tensor on the device of ``like``, and where it is of real numbers in its type."""
    if held.dtype is torch.uint8:
        return held
    return held.to(like) if held.is_floating_point() else held.to(like.device)
