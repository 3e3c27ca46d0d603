"""States in time: ``tau ds/dt = rest(s) - s``, for as long as a phase lasts.

``rest`` is what the lines ask of a neuron, ``tau`` the one pole that each has with its sense
amplifier. The charging of wires, drivers and converters is neglected; what drives the lines of a
readout does so at once, and what a readout senses follows through a pole of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import torch
from torch import Tensor

from madem.errors import InputError
from madem.network import Nudge, Problem
from madem.solver.relax import Jump, Map, Rest, Start, States, after, jacobi, residuals
from madem.solver.solvers import Solver

SHORTEST = 0.1
"""Of a phase, in units of ``tau``: less is over before a neuron moves."""


def course(
    problem: Problem, nudge: Nudge | None, start: Sequence[Tensor], step: float
) -> Iterator[States]:
    """Yield the states of all layers and what the outputs show, from ``start`` on, without end.

    ``step``: between two of them, in units of ``tau``. By the exponential Runge-Kutta rule of three
    stages (ETD3RK of Cox and Matthews, 2002): exact where the rests stay, of third order in
    ``step`` where they move smoothly. A readout's sense amplifiers start at zero.
    """
    last = len(problem.sites) - 1
    loaded = problem.sites[last].law.loaded

    def asked(state: States) -> States:
        units = jacobi(problem, state[:-1], nudge)
        return [*units, units[last] if loaded else problem.drive(last, state[:-1])]

    def driven(state: States) -> States:
        if not loaded:
            state[last] = problem.rest(last, state[:-1], nudge)
        return state

    begun = [s.expand_as(z).clone() for s, z in zip(start, problem.zeros, strict=True)]
    state = driven([*begun, begun[last].clone() if loaded else torch.zeros_like(begun[last])])
    half, whole = math.exp(-step / 2), math.exp(-step)
    scale = 1 / step**2
    first = scale * (4 - step - whole * (4 + 3 * step + step**2))
    middle = scale * 4 * (step - 2 + whole * (step + 2))
    last_ = scale * (4 - 3 * step + step**2 - whole * (4 + step))

    def mixed(*parts: tuple[float, States]) -> States:
        weights, states = zip(*parts, strict=True)
        layers = zip(*states, strict=True)
        return driven([sum((w * s for w, s in zip(weights, each, strict=True))) for each in layers])

    while True:
        yield state
        one = asked(state)
        two = asked(mixed((half, state), (1 - half, one)))
        three = asked(mixed((whole, state), (2 * (1 - whole), two), (whole - 1, one)))
        state = mixed((whole, state), (first, one), (middle, two), (last_, three))


@dataclass(frozen=True)
class Timed(Solver):
    """Phases that end after a time, whether at rest by then or not, each from zero.

    ``free``, ``nudged``: how long each lasts, in units of ``tau``, in equal steps of at most
    ``step``. Nothing is left of the phase before, so that where to start is not asked. With a
    ``tolerance`` above 0, samples that still move by more of themselves are reported as unsettled.

    >>> from madem.network import Free, Layer, Matrix, Network
    >>> problem = Network(1, (Layer(1, Free()),)).bind(
    ...     [Matrix(torch.tensor([[1.0]]))], torch.tensor([[1.0]]))
    >>> round(Timed(free=1.0).settle(problem).states[0].item(), 6)  # 1 - exp(-1)
    0.632121
    """

    tolerance: float = 0.0
    free: float = 10.0
    nudged: float = 10.0
    step: float = 0.2

    rests: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse phases in which nothing moves."""
        super().__post_init__()
        for name, least in (("free", SHORTEST), ("nudged", SHORTEST), ("step", 0.0)):
            value = getattr(self, name)
            if not (value >= least and 0 < value < math.inf):
                raise InputError(f"{name} must be at least {SHORTEST} of a neuron's pole, but is "
                                 f"{value}")  # fmt: skip

    def method(self) -> tuple[Map, Jump]:
        """Return a step in time."""

        def advance(problem: Problem, states: States, nudge: Nudge | None) -> States:
            return next(islice(course(problem, nudge, states, self.step), 1, None))[:-1]

        return advance, after

    def settle_each(
        self, problem: Problem, nudges: Sequence[Nudge | None], start: Start = None
    ) -> list[Rest]:
        """Return where ``problem`` is at the end of a phase under each of ``nudges``."""
        del start
        return [self._end(problem, nudge) for nudge in nudges]

    def _end(self, problem: Problem, nudge: Nudge | None) -> Rest:
        length = self.free if nudge is None else self.nudged
        steps = math.ceil(length / self.step - 1e-9)
        path = course(problem, nudge, problem.zeros, length / steps)
        *states, output = next(islice(path, steps, None))
        if not all(bool(torch.isfinite(s).all()) for s in states):
            raise InputError("the states grow without bound: the energy is not bounded below")
        moving = residuals(problem.batch, states, jacobi(problem, states, nudge))
        converged = moving <= (self.tolerance or math.inf)
        count = torch.full_like(moving, steps, dtype=torch.int32)
        return Rest(tuple(states), count, moving, converged, output)
