"""Couplings, laws and nudges of one's own, by subclass or not, are never taken for ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from madem.fast import relax_pair
from madem.fast.native import kernels
from madem.learn import centred
from madem.learn.yardsticks import FiniteDifference
from madem.machine import Converter, Digitised, Lopsided, Simulated
from madem.network import (
    Amplifier,
    Box,
    Coupling,
    CrossEntropy,
    Current,
    Custom,
    Dense,
    Energy,
    Free,
    Halves,
    Layer,
    Matrix,
    Network,
    Nudge,
    Resistors,
    Spring,
)
from madem.network.couplings import Offset
from madem.network.laws import Law
from madem.randomness import stream
from madem.solver import Sweep
from madem.solver.relax import relax

WEIGHT = 0.05 * torch.randn(4, 8, generator=stream(0, "w"), dtype=torch.float64)
BELOW = 0.5 * torch.randn(8, 9, generator=stream(0, "below"), dtype=torch.float64)
X = torch.randn(6, 9, generator=stream(0, "x"), dtype=torch.float64)
WAY = torch.randn(6, 4, generator=stream(0, "way"), dtype=torch.float64)
SOLVER = Sweep(0.0, 60)
NETWORK = Network(9, (Layer(8, Box(0.0, 1.0)), Layer(4, Free())))


class Tripled(Matrix):
    """A subclass with a pull of its own, and nothing else."""

    def pull(self, end: int, states: Sequence[Tensor]) -> Tensor:
        return 3 * super().pull(end, states)


class Bent(Matrix):
    """A subclass whose pull is not linear: the energy is ``-post . tanh(W pre)``."""

    def felt(self, end: int) -> tuple[int, ...]:
        return (0,) if end == 1 else (0, 1)

    def pull(self, end: int, states: Sequence[Tensor]) -> Tensor:
        seen = torch.tanh(states[0] @ self.weight.mT)
        return seen if end == 1 else (states[1] * (1 - seen.square())) @ self.weight


class Doubled(Resistors):
    """Resistors that pull and load twice."""

    def pull(self, end: int, states: Sequence[Tensor]) -> Tensor:
        return 2 * super().pull(end, states)

    def curvature(self, end: int) -> Tensor:
        return 2 * super().curvature(end)


@dataclass(frozen=True)
class Own:
    """A coupling that shares nothing with ours but the names of two fields."""

    weight: Tensor
    g: Tensor
    factor: float = 3.0

    def felt(self, end: int) -> tuple[int, ...]:
        return (1 - end,)

    def pull(self, end: int, states: Sequence[Tensor]) -> Tensor:
        return self.factor * (states[0] @ self.weight.mT if end else states[1] @ self.weight)

    def constant(self, end: int) -> Tensor | None:
        del end
        return None

    def curvature(self, end: int) -> float:
        return 0.5 if end == 0 else 0.0

    def energy(self, states: Sequence[Tensor]) -> Tensor:
        return -(states[1] * self.pull(1, states)).sum(-1)

    def contrast(self, moves: object) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def displaced(self, at: Sequence[Tensor]) -> Own:
        del at
        return self


class Grown(Amplifier):
    """A subclass of a wrapper."""

    def pull(self, end: int, states: Sequence[Tensor]) -> Tensor:
        return 2 * super().pull(end, states)


LINEAR = Matrix(WEIGHT)
AT = (torch.zeros(1, 8, dtype=torch.float64), torch.zeros(1, 4, dtype=torch.float64))
COUPLINGS: dict[str, Coupling] = {
    "matrix": LINEAR,
    "resistors": Resistors(WEIGHT.abs()),
    "subclass": Tripled(WEIGHT),
    "subclass that bends": Bent(WEIGHT),
    "subclass of resistors": Doubled(WEIGHT.abs()),
    "own": Own(WEIGHT, WEIGHT),
    "lopsided": Lopsided(LINEAR, Matrix(0.5 * WEIGHT)),
    "digitised": Digitised(LINEAR, 1, 1, Converter(None, 1.0)),
    "amplified": Amplifier(LINEAR, 2.0, 1.0),
    "amplified subclass": Amplifier(Tripled(WEIGHT), 0.5, 1.0),
    "amplified bend": Amplifier(Bent(WEIGHT), 0.5, 1.0),
    "subclass of amplifier": Grown(LINEAR, 0.5, 1.0),
    "offset": Offset(LINEAR, AT),
    "own energy": Custom(lambda s, p: -(s[1] * (s[0] @ p[0].mT)).sum(-1), (WEIGHT,)),
}


class Soft(Box):
    """A box with a rest of its own, which bends."""

    def rest(self, a: float | Tensor, d: Tensor) -> Tensor:
        return torch.sigmoid(d / (a + 1))


class Slack(Free):
    def rest(self, a: float | Tensor, d: Tensor) -> Tensor:
        return 0.5 * d / (a + 1)


LAWS: dict[str, tuple[Law, Law]] = {
    "box below": (Soft(0.0, 1.0), Free()),
    "free above": (Box(0.0, 1.0), Slack()),
    "half": (Halves((Box(0.0, 1.0), Soft(0.0, 1.0))), Free()),
    "unequal leaks": (Halves((Box(0.0, 1.0), Box(-1.0, 1.0, leak=2.0))), Free(0.7)),
}


class Squeezed(Current):
    """A current with a rest of its own."""

    def rest(self, law: Law, a: float | Tensor, d: Tensor) -> Tensor:
        return law.rest(a, d - torch.tanh(5 * self.beta * self.gradient))


class Firm(Spring):
    def rest(self, law: Law, a: float | Tensor, d: Tensor) -> Tensor:
        return law.rest(a + 2 * self.stiffness, d + 2 * self.stiffness * self.target)


NUDGES: dict[str, Nudge] = {
    "current": Current(0.1, WAY),
    "spring": Spring(0.2, WAY),
    "subclass of current": Squeezed(0.1, WAY),
    "subclass of spring": Firm(0.2, WAY),
}


def plain(
    coupling: Coupling, laws: tuple[Law, Law], nudge: Nudge | None, extra: Coupling | None = None
) -> list[Tensor]:
    """Sweep by hand, from the questions that couplings, laws and nudges answer."""
    low, high = (torch.zeros(6, n, dtype=torch.float64) for n in (8, 4))
    for _ in range(60):
        drive = X @ BELOW.mT + coupling.pull(0, [low, high])
        if extra is not None:
            drive = drive + extra.pull(1, [X, low])
        low = laws[0].rest(coupling.curvature(0), drive)
        drive, load = coupling.pull(1, [low, high]), coupling.curvature(1)
        high = nudge.rest(laws[1], load, drive) if nudge else laws[1].rest(load, drive)
    return [low, high]


def check(network: Network, couplings: list[Coupling], nudge: Nudge, wanted: object) -> None:
    """Compare free and nudged phases, as states and as displacements, with ``wanted``."""
    problem = network.bind(couplings, X)
    free = SOLVER.settle(problem)
    moved = SOLVER.settle(problem.displaced(free.states), nudge)
    pushed = SOLVER.settle(problem, nudge)
    general = relax(problem, nudge, None, 1e-13, 300)
    assert callable(wanted)
    for ours, theirs in zip(free.states, wanted(None), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for index, theirs in enumerate(wanted(nudge)):
        for ours in (pushed.states[index], general.states[index],
                     free.states[index] + moved.states[index]):  # fmt: skip
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("nudge", NUDGES)
@pytest.mark.parametrize("name", COUPLINGS)
def test_a_coupling_of_ones_own(name: str, nudge: str) -> None:
    coupling, laws = COUPLINGS[name], (Box(0.0, 1.0), Free())
    check(NETWORK, [Matrix(BELOW), coupling], NUDGES[nudge],
          lambda pushed: plain(coupling, laws, pushed))  # fmt: skip


@pytest.mark.parametrize("nudge", NUDGES)
@pytest.mark.parametrize("name", LAWS)
def test_a_law_of_ones_own(name: str, nudge: str) -> None:
    laws = LAWS[name]
    network = Network(9, (Layer(8, laws[0]), Layer(4, laws[1])))
    check(network, [Matrix(BELOW), LINEAR], NUDGES[nudge],
          lambda pushed: plain(LINEAR, laws, pushed))  # fmt: skip


def test_a_coupling_of_the_input_that_feels_its_own_end() -> None:
    """It is no part of what the clamped input drives, and must not be left out."""
    own = Custom(lambda s, p: p[0] * (s[1] ** 4).sum(-1), (torch.tensor(0.05),))
    network = Network(
        9, NETWORK.layers, (Dense((9,), 8, bias=False), Energy(own.function, (0, 1), {"k": ()}),
                            Dense((8,), 4, (1, 2), bias=False)),
    )  # fmt: skip
    laws = (Box(0.0, 1.0), Free())
    check(network, [Matrix(BELOW), own, LINEAR], NUDGES["current"],
          lambda pushed: plain(LINEAR, laws, pushed, own))  # fmt: skip


def test_only_ours_reaches_the_kernel() -> None:
    laws = (Box(0.0, 1.0), Free())
    fast = {
        name
        for name, coupling in COUPLINGS.items()
        if relax_pair(NETWORK.bind([Matrix(BELOW), coupling], X), [None], None, 1e-5, 100)
    }
    assert fast == ({"matrix", "resistors"} if kernels else set())
    assert Network(9, (Layer(8, laws[0]), Layer(4, laws[1]))) == NETWORK


def test_compaction_keeps_the_kind_of_a_nudge() -> None:
    for nudge in NUDGES.values():
        assert type(nudge.take(torch.arange(2))) is type(nudge)
        assert type(nudge.through(lambda value: value)) is type(nudge)


def test_a_minimal_coupling_trains() -> None:
    """A coupling without ``displaced`` of its own: displacements by subtraction."""

    class Squared(Matrix):
        """``E = -post . (W pre)^2 / 2``, differentiated by hand."""

        def felt(self, end: int) -> tuple[int, ...]:
            return (0,) if end else (0, 1)

        def pull(self, end: int, states: Sequence[Tensor]) -> Tensor:
            seen = states[0] @ self.weight.mT
            return seen.square() / 2 if end else (states[1] * seen) @ self.weight

        def contrast(self, moves: Sequence[object]) -> tuple[Tensor, ...]:
            leaf = self.weight.detach().requires_grad_()
            with torch.enable_grad():
                total = torch.zeros(())
                for side, sign in ((0, 1), (1, -1)):
                    at = [move.at + move.sides[side] for move in moves]  # type: ignore[attr-defined]
                    total = (
                        total
                        + sign
                        * moves[0]
                        .scaled(  # type: ignore[attr-defined]
                            -(at[1] * (at[0] @ leaf.mT).square() / 2).sum(-1)
                        )
                        .sum()
                    )
                return torch.autograd.grad(total, leaf)

    @dataclass(frozen=True)
    class Joint(Dense):
        def couple(self, parameters: Sequence[Tensor]) -> Squared:
            return Squared(parameters[0])

    joints = (Dense((9,), 8, bias=False), Joint((8,), 4, (1, 2), bias=False))
    network = Network(9, NETWORK.layers, joints)
    machine = Simulated.ideal(network, [[BELOW], [WEIGHT]], SOLVER)
    target = torch.arange(6) % 4
    ours = centred(1e-4)(machine, X, target, CrossEntropy()).weights
    theirs = FiniteDifference()(machine, X, target, CrossEntropy()).weights
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-5, atol=1e-7)
