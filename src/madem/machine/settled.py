"""What a settling of a simulated machine holds beside what it shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from madem.errors import InputError
from madem.machine.base import Observed
from madem.machine.clock import Moment
from madem.machine.loads import Loads
from madem.network import Problem
from madem.solver import Rest


@dataclass(frozen=True)
class Clamped:
    """The clamped input ``x``, and what all phases need of it, computed once."""

    x: Tensor

    @cached_property
    def squares(self) -> Tensor:
        """The squared length of each flat sample, ``(*chips, batch, 1)``."""
        return self.x.square().sum(-1, keepdim=True)

    @cached_property
    def loads(self) -> Loads:
        """How each line is driven."""
        return Loads.of(self.x)


@dataclass(frozen=True, kw_only=True)
class Settled(Observed):
    """A simulated machine at rest.

    ``rest``: the solver's report, with the states before they were converted; ``problem``: what
    was bound, to be reused by the phases that start from here, as is what is known of the
    ``clamped`` input. ``noise``: the state of the machine's generator when it settled, from which
    what a read of the input's lines saw then is known; ``moment``: which phase of its samples it
    is, where the machine has a clock.
    """

    rest: Rest
    problem: Problem
    clamped: Clamped
    noise: Tensor | None = None
    moment: Moment | None = None

    @property
    def energy(self) -> Tensor:
        """The energy of each sample, ``(*chips, batch)``."""
        return self.problem.energy(self.rest.states)

    @cached_property
    def displacements(self) -> Problem:
        """The problem of displacements from here, shared by all phases nudged from here."""
        return self.problem.displaced(self.rest.states)


def own(settled: Observed) -> Settled:
    """Return ``settled``; raises ``InputError`` where it is no settling of a simulated machine."""
    if not isinstance(settled, Settled):
        raise InputError(
            f"a simulated machine goes on from settlings of its own, but was given "
            f"{type(settled).__name__}"
        )
    return settled
