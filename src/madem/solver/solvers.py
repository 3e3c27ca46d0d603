"""The solvers: how a network comes to rest. All take ``tolerance`` and ``budget`` of sweeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from madem.errors import InputError
from madem.fast import relax_pair
from madem.network import Nudge, Problem
from madem.network.couplings import wide
from madem.solver.relax import Jump, Map, Rest, Start, States, after, gauss_seidel, jacobi, relax


@dataclass(frozen=True)
class Solver(ABC):
    """Frozen settings with one verb, for one nudge or for several.

    ``tolerance``: residual of a sample, relative to its largest state, at which it is at rest, from
    0 to below 1; ``budget``: largest number of sweeps. With ``tolerance`` 0 exactly ``budget``
    sweeps are made. Where one pass is exact, one is made. A solver of one's own says in ``method``
    what a sweep is. Raises ``InputError`` for settings under which nothing could settle.
    """

    tolerance: float = 1e-5
    budget: int = 100

    rests: ClassVar[bool] = True
    """Whether it goes on until a problem is at rest."""

    def __post_init__(self) -> None:
        """Refuse settings under which nothing could settle."""
        if not 0 <= self.tolerance < 1:
            raise InputError(f"tolerance must be at least 0 and below 1, but is {self.tolerance}")
        if self.budget < 1:
            raise InputError(f"budget must be at least 1 sweep, but is {self.budget}")

    @abstractmethod
    def method(self) -> tuple[Map, Jump]:
        """Return what a sweep is, and where the next one starts, for one settling."""

    def settle(self, problem: Problem, nudge: Nudge | None = None, start: Start = None) -> Rest:
        """Return the rest of ``problem`` under ``nudge``, from ``start`` where given.

        Raises ``InputError`` where states grow beyond all numbers.
        """
        return self.settle_each(problem, [nudge], start)[0]

    def settle_each(
        self, problem: Problem, nudges: Sequence[Nudge | None], start: Start = None
    ) -> list[Rest]:
        """Return the rest of ``problem`` under each of ``nudges``, in their order."""
        how = start, self.tolerance, self.budget
        return [relax(problem, nudge, *how, *self.method()) for nudge in nudges]


@dataclass(frozen=True)
class Sweep(Solver):
    """Exact block coordinate descent: each layer jumps to its minimum, the others fixed.

    >>> from madem.network import Free, Layer, Matrix, Network
    >>> problem = Network(1, (Layer(1, Free()),)).bind(
    ...     [Matrix(torch.tensor([[2.0]]), torch.tensor([1.0]))], torch.tensor([[3.0]]))
    >>> Sweep().settle(problem).states[0].item()
    7.0
    """

    def method(self) -> tuple[Map, Jump]:
        """Return a sweep of block coordinate descent; the next starts where it ended."""
        return gauss_seidel, after

    def settle_each(
        self, problem: Problem, nudges: Sequence[Nudge | None], start: Start = None
    ) -> list[Rest]:
        """Return the rests of ``problem`` under ``nudges``, by one call where a kernel can."""
        found = relax_pair(problem, nudges, start, self.tolerance, self.budget)
        rests = [Rest(*each, each[-1] <= (self.tolerance or torch.inf)) for each in found]
        return rests or super().settle_each(problem, nudges, start)


@dataclass(frozen=True)
class Synchronous(Solver):
    """All layers jump at once: a synchronous fixed point, as clocked hardware would do it.

    It may oscillate where block coordinate descent cannot.
    """

    budget: int = 200

    def method(self) -> tuple[Map, Jump]:
        """Return a sweep of all layers at once."""
        return jacobi, after


@dataclass(frozen=True)
class Flow(Solver):
    """Gradient flow: every node relaxes towards its rest with a time constant of its own.

    ``ds/dt = rest(s) - s``, in steps of ``step`` time constants, integrated exactly for fixed
    neighbours (``s + (1 - exp(-step)) (rest - s)``), so that a state never leaves its limits.
    """

    budget: int = 1000
    step: float = 0.5

    def __post_init__(self) -> None:
        """Refuse settings under which nothing could settle."""
        super().__post_init__()
        if not self.step > 0:
            raise InputError(f"step must be positive, but is {self.step}")

    def method(self) -> tuple[Map, Jump]:
        """Return a step in time."""
        share = -torch.expm1(torch.tensor(-self.step, dtype=torch.float64)).item()

        def flow(problem: Problem, states: States, nudge: Nudge | None) -> States:
            rests = jacobi(problem, states, nudge)
            return [s + share * (r - s) for s, r in zip(states, rests, strict=True)]

        return flow, after


@dataclass(frozen=True)
class OverRelaxed(Solver):
    """Sweeps whose moves are lengthened by a factor that adapts to how they shrink.

    Irons and Tuck's factor, one per sample, from the last two moves ``f``:
    ``w <- -w f_old . (f - f_old) / |f - f_old|^2``, kept within ``1 / most .. most``.
    """

    most: float = 2.0

    def __post_init__(self) -> None:
        """Refuse settings under which nothing could settle."""
        super().__post_init__()
        if not self.most >= 1:
            raise InputError(f"most must be at least 1, but is {self.most}")

    def method(self) -> tuple[Map, Jump]:
        """Return a sweep, and the jump that lengthens its moves."""
        memory: list[tuple[Tensor, Tensor]] = []

        def jump(problem: Problem, before: States, now: States, nudge: Nudge | None) -> States:
            del nudge
            old, new = _joined(problem, before), _joined(problem, now)
            move = new - old
            factor = torch.ones_like(move[..., :1])
            if memory:
                last, last_factor = memory.pop()
                change = move - last
                curve = (change * change).sum(-1, keepdim=True)
                factor = -last_factor * (last * change).sum(-1, keepdim=True) / curve
                factor = torch.nan_to_num(factor, nan=1.0).clamp(1 / self.most, self.most)
            memory.append((move, factor))
            return _parted(problem, old + factor * move, now)

        return gauss_seidel, jump


@dataclass(frozen=True)
class Anderson(Solver):
    """Anderson acceleration of the sweeps, with ``memory`` past moves, a sample at a time.

    The next start is the combination of past results whose moves cancel best (least squares).
    Where that made a sample's move grow, it goes on from the plain sweep.
    """

    memory: int = 5

    def __post_init__(self) -> None:
        """Refuse settings under which nothing could settle."""
        super().__post_init__()
        if self.memory < 1:
            raise InputError(f"memory must be at least 1, but is {self.memory}")

    def method(self) -> tuple[Map, Jump]:
        """Return a sweep, and the jump that mixes past results."""
        results: list[Tensor] = []
        moves: list[Tensor] = []

        def jump(problem: Problem, before: States, now: States, nudge: Nudge | None) -> States:
            del nudge
            old, new = _joined(problem, before), _joined(problem, now)
            results.append(new)
            moves.append(new - old)
            if len(moves) == 1:
                return now
            del results[: -self.memory - 1], moves[: -self.memory - 1]
            f = torch.stack([m - moves[-1] for m in moves[:-1]], -1)
            g = torch.stack([r - results[-1] for r in results[:-1]], -1)
            gram = f.mT @ f
            size = gram.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
            info = torch.finfo(gram.dtype)
            ridge = 10 * info.eps * size + info.tiny
            eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
            matrix, rows = gram + ridge * eye, -(f.mT @ moves[-1][..., None])
            weights, _ = torch.linalg.solve_ex(matrix, rows)  # a failure is seen in what it mixes
            mixed = new + (g @ weights)[..., 0]
            grew = moves[-1].norm(dim=-1) > moves[-2].norm(dim=-1)
            good = torch.isfinite(mixed).all(-1) & ~grew
            return _parted(problem, torch.where(good[..., None], mixed, new), now)

        return gauss_seidel, jump


@dataclass(frozen=True)
class Newton(Solver):
    """Newton's method on the active set: after each sweep, solve for all nodes that are free.

    The sweep says which nodes sit on their limits; for the others the linear system of the
    second derivative is solved by conjugate gradients (at most ``steps`` products). Where the
    second derivative is not positive, or a solve made a sample's move grow, the plain sweep stays.
    """

    budget: int = 50
    steps: int = 50

    def method(self) -> tuple[Map, Jump]:
        """Return a sweep, and the jump that solves for the free nodes."""
        last: list[Tensor] = []

        def jump(problem: Problem, before: States, now: States, nudge: Nudge | None) -> States:
            move = (_joined(problem, now) - _joined(problem, before)).norm(dim=-1)
            _, force, stiffness, spread, gather = problem.linearised(now, nudge)
            found = conjugate_gradients(stiffness, gather(force), self.steps, len(problem.batch))
            step = spread(found)
            good = torch.isfinite(_joined(problem, step)).all(-1)
            if last:
                good = good & (move <= last.pop())
            last.append(move)
            moves = zip(now, step, strict=True)
            return [torch.where(wide(good, s), s + d, s) for s, d in moves]

        return gauss_seidel, jump


def conjugate_gradients(
    stiffness: Callable[[States], States],
    force: States,
    steps: int,
    axes: int = 1,
    tolerance: float = 1e-14,
) -> States:
    """Solve ``stiffness(u) = force`` for every sample at once, in at most ``steps`` products.

    ``axes``: how many axes in front number the samples. A sample along which the stiffness is not
    positive stops where it is.

    >>> conjugate_gradients(lambda u: [2 * u[0]], [torch.tensor([[3.0]])], 5)[0].item()
    1.5
    """

    def dot(a: States, b: States) -> Tensor:
        return torch.stack([(x * y).flatten(axes).sum(-1) for x, y in zip(a, b, strict=True)]).sum(
            0
        )

    def add(a: States, factor: Tensor, b: States) -> States:
        return [x + wide(factor, x) * y for x, y in zip(a, b, strict=True)]

    u = [torch.zeros_like(f) for f in force]
    residual = direction = list(force)
    size = first = dot(residual, residual)
    for _ in range(steps):
        moved = stiffness(direction)
        curve = dot(direction, moved)
        going = (curve > 0) & (size > tolerance**2 * first)
        if not bool(going.any()):
            break
        factor = torch.where(going, size / curve, 0.0)
        u = add(u, factor, direction)
        residual = add(residual, -factor, moved)
        smaller = dot(residual, residual)
        direction = add(residual, torch.where(going, smaller / size, 0.0), direction)
        size = torch.where(going, smaller, 0.0)
    return u


def _joined(problem: Problem, states: Sequence[Tensor]) -> Tensor:
    """Return all states of a sample in one row."""
    width = len(problem.batch)
    return torch.cat([s.flatten(width) for s in states], -1)


def _parted(problem: Problem, row: Tensor, like: States) -> States:
    """Return a row as states again."""
    width = len(problem.batch)
    sizes = [s.flatten(width).shape[-1] for s in like]
    return [p.view_as(s) for p, s in zip(row.split(sizes, -1), like, strict=True)]
