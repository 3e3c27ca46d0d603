"""The simulated machine: settle, contrast, write, over an ensemble of chips at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Generator, Tensor

from madem.errors import InputError
from madem.ledger import Event
from madem.machine.periphery import Digitised, Lopsided, Periphery
from madem.machine.stores import Exact, Store, as_bytes, check_fit, check_same, part_of
from madem.machine.writing import Written
from madem.network import Coupling, Matrix, Move, Network, Nudge, Problem
from madem.network.couplings import Moves
from madem.solver import Rest, Solver, Sweep


def line_powers(activity: Tensor) -> Tensor:
    """Return the squares of ``(*chips, batch, units)`` and of the bias line, always at 1.

    Summed over the batch, ``(*chips, units + 1)``.
    """
    joined = torch.cat([activity, torch.ones_like(activity[..., :1])], -1)
    return joined.square_().sum(-2)


def line_lengths(activity: Tensor, bias: bool) -> Tensor:
    """Return the length of each sample's activities, with a bias line at 1 where there is one."""
    return (activity.square().sum(-1, keepdim=True) + float(bias)).sqrt()


@dataclass(frozen=True)
class Clamped:
    """The clamped input ``x``, and what all phases need of it, computed once."""

    x: Tensor

    @cached_property
    def lengths(self) -> Tensor:
        """The length of each sample, with the bias line, ``(*chips, batch, 1)``."""
        return line_lengths(self.x, bias=True)

    @cached_property
    def lines(self) -> Tensor:
        """The squared drive of each line, summed over the batch, ``(*chips, units + 1)``."""
        return line_powers(self.x)


@dataclass(frozen=True)
class Settled:
    """A machine at rest, and what was seen of it.

    ``states``: the converted activities of the clamped input and of every layer, each
    ``(*chips, batch, *units)``; ``output``: what the output lines read; ``rest``: the solver's
    report; ``problem``: what was bound, to be reused by the phases that start from here, as is
    what is known of the ``clamped`` input.
    ``moved``: the displacement of every layer from the free settling ``origin``, where the nudged
    phase was relaxed as one.
    """

    states: tuple[Tensor, ...]
    output: Tensor
    rest: Rest
    problem: Problem
    clamped: Clamped
    origin: Settled | None = None
    moved: tuple[Tensor, ...] = ()

    @property
    def energy(self) -> Tensor:
        """The energy of each sample, ``(*chips, batch)``."""
        return self.problem.energy(self.rest.states)

    @cached_property
    def displacements(self) -> Problem:
        """The problem of displacements from here, shared by all phases nudged from here."""
        return self.problem.displaced(self.rest.states)


@dataclass(frozen=True)
class Fluctuating:
    """A matrix whose weights differ a little in every settling, and not within one.

    Independent fluctuations of ``sigma`` a weight add to a read of ``s`` a normal current of
    ``sigma |s|``, which is drawn instead of every cell's own: the distribution is the same.
    ``sigma`` is one number or one a chip, ``(*chips, 1, 1)``.
    ``draws`` keeps what was drawn, so that all sweeps of one settling feel the same chip.
    """

    coupling: Coupling
    sigma: float | Tensor
    generator: Generator
    draws: dict[int, Tensor] = field(default_factory=dict)

    def felt(self, end: int) -> tuple[int, ...]:
        """Return what the matrix feels."""
        return self.coupling.felt(end)

    def pull(self, end: int, states: Sequence[Tensor]) -> Tensor:
        """Return the pull, with the fluctuation of the lines driven and of the bias line."""
        pull = self.coupling.pull(end, states)
        return self.disturb(end, pull, line_lengths(states[1 - end], bias=end == 1))

    def disturb(self, end: int, pull: Tensor, lengths: Tensor) -> Tensor:
        """Return ``pull`` with the fluctuation that driven lines of ``lengths`` add."""
        if end not in self.draws:
            self.draws[end] = torch.randn(pull.shape, dtype=pull.dtype, generator=self.generator)
        return (self.sigma * lengths * self.draws[end]).add_(pull)

    def constant(self, end: int) -> Tensor | None:
        """Return the mean bias; its fluctuation is in the pull."""
        return self.coupling.constant(end)

    def curvature(self, end: int) -> Tensor | float:
        """Return the matrix's."""
        return self.coupling.curvature(end)

    def energy(self, states: Sequence[Tensor]) -> Tensor:
        """Return the energy of the mean coupling."""
        return self.coupling.energy(states)

    def contrast(self, moves: Moves) -> tuple[Tensor, ...]:
        """Return the contrast of activities, which does not read the weights."""
        return self.coupling.contrast(moves)

    def displaced(self, at: Sequence[Tensor]) -> Coupling:
        """Return the mean coupling's."""
        return self.coupling.displaced(at)


def silent(event: Event) -> None:
    """Hear an event, and forget it."""
    del event


class Simulated:
    """A machine of ``network`` and ``solver`` whose weights lie in ``stores``.

    Exact stores and an ideal periphery make it the ideal network; pairs of cells and
    converters, a chip. Reads fluctuate by draws from ``noise``; ``listener`` hears every event.

    >>> from madem.network import Dense, Free, Layer
    >>> network = Network(1, (Layer(1, Free()),))
    >>> weights = [torch.tensor([[2.0]]), torch.tensor([0.5])]
    >>> Simulated.ideal(network, [weights]).settle(torch.tensor([[1.0]])).output.item()
    2.5
    """

    def __init__(
        self,
        network: Network,
        solver: Solver,
        stores: Sequence[Store],
        periphery: Periphery | None = None,
        noise: Generator | None = None,
        listener: Callable[[Event], None] = silent,
    ) -> None:
        """Assemble the machine."""
        if len(stores) != len(network.joints):
            raise InputError(
                f"stores must be one a joint, {len(network.joints)}, but are {len(stores)}"
            )
        self.network = network
        self.solver = solver
        self.stores = tuple(stores)
        self.periphery = periphery or Periphery()
        self.noise = noise or torch.Generator()
        self.listener = listener
        self.unsettled = 0
        self.settled = 0

    @staticmethod
    def ideal(
        network: Network, parameters: Sequence[Sequence[Tensor]], solver: Solver | None = None
    ) -> Simulated:
        """Return the ideal machine with ``parameters``, a list a joint."""
        pairs = zip(network.joints, parameters, strict=True)
        return Simulated(network, solver or Sweep(), [Exact(j, p) for j, p in pairs])

    @property
    def parameters(self) -> list[Tensor]:
        """All parameters, one joint's after another's."""
        return [parameter for store in self.stores for parameter in store.parameters]

    @property
    def exact(self) -> bool:
        """Whether every settling meets the same couplings and is seen as it is."""
        return self.periphery.exact and not self.restless

    @property
    def restless(self) -> bool:
        """Whether reads fluctuate."""
        sigmas = (store.fluctuation for store in self.stores)
        return any(isinstance(sigma, Tensor) or sigma > 0 for sigma in sigmas)

    def couple(self, parameters: Sequence[Tensor]) -> list[Coupling]:
        """Return the couplings with ``parameters`` in the form of ``self.parameters``."""
        left, made = list(parameters), []
        for index, store in enumerate(self.stores):
            count = len(store.parameters)
            coupling = self.periphery.couple(index, store.couple(left[:count]))
            made.append(self.network.shared(index, coupling))
            del left[:count]
        return made

    @torch.no_grad()
    def settle(
        self, x: Tensor, nudge: Nudge | None = None, start: Settled | Sequence[Tensor] | None = None
    ) -> Settled:
        """Let the machine come to rest with ``x``, ``(*chips, batch, *inputs)``, on its input.

        Free without ``nudge``. From the settling ``start`` where given, reusing what was bound
        there, so ``x`` must be the same; a nudged phase of an exact machine is then relaxed as a
        displacement. From the layers' states where ``start`` is those. Counts in ``unsettled`` the
        samples that missed the tolerance, of those in ``settled``.
        """
        origin = start if isinstance(start, Settled) else None
        if origin is None:
            couplings = self.couple([parameter.detach() for parameter in self.parameters])
            problem = self.network.bind(couplings, self.periphery.put(x))
        else:
            problem = origin.problem
        if origin is not None and nudge is not None and self.exact:
            return self._displace(origin, [nudge])[0]
        if nudge is not None:
            nudge = nudge.through(self.periphery.drive)
        clamped = Clamped(problem.x) if origin is None else origin.clamped
        phase = self._fluctuate(problem, clamped)
        states = origin.rest.states if origin is not None else start
        rest = self._count(self.solver.settle(phase, nudge, states))  # type: ignore[arg-type]
        settled = self._sense(phase, rest, clamped, free=nudge is None)
        self._tell_settled(settled, free=nudge is None)
        return replace(settled, problem=problem)

    @torch.no_grad()
    def settle_each(self, free: Settled, nudges: Sequence[Nudge]) -> list[Settled]:
        """Let the machine come to rest under each of ``nudges``, from the free settling ``free``.

        Returns and counts what as many calls of ``settle`` would, in their order. An exact machine
        asks its solver for all at once, which saves a tenth of the phases of a small network.

        >>> from madem.network import Current, Free, Layer
        >>> weights = [torch.ones(1, 1), torch.zeros(1)]
        >>> machine = Simulated.ideal(Network(1, (Layer(1, Free()),)), [weights])
        >>> free, push = machine.settle(torch.zeros(1, 1)), torch.ones(1, 1)
        >>> nudges = [Current(beta, push) for beta in (1.0, -1.0)]
        >>> [phase.moved[-1].item() for phase in machine.settle_each(free, nudges)]
        [-1.0, 1.0]
        """
        if self.exact:
            return self._displace(free, nudges)
        return [self.settle(free.states[0], nudge, start=free) for nudge in nudges]

    @torch.no_grad()
    def contrast(
        self, high: Settled, low: Settled, scale: Tensor | complex | float = 1.0
    ) -> tuple[Tensor, ...]:
        """Return ``dE/dtheta`` at ``high`` minus at ``low``, one a parameter.

        Every sample counts ``scale`` times (a number, or one a sample), and is summed.
        """
        moves = [Move(*sides, scale) for sides in zip(*_sides(high, low), strict=True)]
        self._tell_contrast(high)
        parts: list[Tensor] = []
        problem = (high.origin or low.origin or low).problem
        bound = zip(self.stores, problem.couplings, problem.ends, strict=True)
        for store, coupling, ends in bound:
            parts += store.contrast(coupling, [moves[e] for e in ends])
        return tuple(parts)

    @torch.no_grad()
    def reaction(
        self, high: Settled, low: Settled, scale: Tensor | complex | float = 1.0
    ) -> Tensor:
        """Return ``dE/dx`` at ``high`` minus at ``low``, the shape of ``x``, times ``scale``."""
        at, up, down = _sides(high, low)
        origin = high.origin or low.origin
        moved = origin.displacements if origin else low.problem.displaced(at[1:])
        change = torch.zeros_like(at[0])
        for side, sign in ((up, -1), (down, 1)):
            if side[-1] is not None:
                change = change + sign * moved.reaction([s for s in side if s is not None])
        return Move(at[0], scale=scale).scaled(change)

    def write(self, changes: Sequence[Tensor]) -> tuple[Written | None, ...]:
        """Change the parameters by ``changes``, as well as their stores can."""
        left, written = list(changes), []
        for store in self.stores:
            count = len(store.parameters)
            written.append(store.write(left[:count]))
            del left[:count]
        for each in written:
            for event in () if each is None else each.events:
                self.listener(event)
        return tuple(written)

    def state(self) -> dict[str, Tensor]:
        """Return all that stores, drawn lines and the read noise's generator hold."""
        held = {f"{i}.{k}": t for i, s in enumerate(self.stores) for k, t in s.state().items()}
        kinds = ", ".join(type(store).__name__ for store in self.stores)
        about = as_bytes({"stores": kinds, **self.periphery.settings})
        return {**held, **self.periphery.state(), "noise": self.noise.get_state(), "about": about}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what ``state`` of a machine of the same kind and shape returned.

        Raises ``InputError`` with the difference otherwise, and has then changed nothing.
        """
        before = self.state()
        check_same(state, before["about"])
        check_fit(state, {"noise": before["noise"], **self.periphery.state()})
        try:
            for i, store in enumerate(self.stores):
                store.restore(part_of(state, f"{i}."))
        except InputError:
            for i, store in enumerate(self.stores):
                store.restore(part_of(before, f"{i}."))
            raise
        self.periphery = self.periphery.restored(state)
        self.noise.set_state(state["noise"].cpu())

    def _count(self, rest: Rest) -> Rest:
        self.settled += rest.converged.numel()
        if not bool(rest.converged.all()):
            self.unsettled += int((~rest.converged).sum())
        return rest

    def _displace(self, origin: Settled, nudges: Sequence[Nudge]) -> list[Settled]:
        """Relax nudged phases as displacements from the free one."""
        problem = origin.displacements
        phases = []
        for rest in self.solver.settle_each(problem, nudges):
            output, clamped = origin.output, origin.clamped
            settled = Settled(
                (), output, self._count(rest), problem, clamped, origin, moved=rest.states
            )
            phases.append(settled)
            if self.listener is not silent:
                moved = zip(origin.rest.states, rest.states, strict=True)
                states = (origin.states[0], *(s + u for s, u in moved))
                self._tell_settled(replace(settled, states=states), free=False)
        return phases

    def _fluctuate(self, problem: Problem, clamped: Clamped) -> Problem:
        """Return the problem as it is during one settling."""
        if not self.restless:
            return problem
        couplings = tuple(
            Fluctuating(coupling, store.fluctuation, self.noise)
            for coupling, store in zip(problem.couplings, self.stores, strict=True)
            if isinstance(coupling, Matrix | Lopsided | Digitised)
        )
        fixed = couplings[0].disturb(1, problem.fixed[0], clamped.lengths)
        return replace(problem, couplings=couplings, fixed=(fixed, *problem.fixed[1:]))

    def _sense(self, phase: Problem, rest: Rest, clamped: Clamped, free: bool) -> Settled:
        """Convert what the lines carry at rest."""
        bounds = [site.law.bound for site in phase.sites]
        states = [
            self.periphery.see(index, state, bound)
            for index, (state, bound) in enumerate(zip(rest.states, bounds, strict=True))
        ]
        last = phase.sites[-1].law
        if last.loaded:
            output = states[-1]
        else:
            states[-1] = rest.states[-1]  # driven, not sensed
            output = states[-1]
            if free:
                output = self.periphery.see(len(states) - 1, phase.output(rest.states), last.bound)
        return Settled((phase.x, *states), output, rest, phase, clamped)

    def _tell_contrast(self, high: Settled) -> None:
        """Tell the listener what a contrast takes."""
        if self.listener is silent:
            return
        samples = high.output.shape[-2]
        weights = sum(post * pre for post, pre in self.network.shapes)
        for item in ("activity product", "accumulator access"):
            self.listener(Event(item, float(samples * weights)))
        self.listener(Event("output gradient", float(samples * high.output.shape[-1])))

    def _tell_settled(self, settled: Settled, free: bool) -> None:
        """Tell the listener what this settling took: every number is a count a chip."""
        if self.listener is silent:
            return
        samples = settled.output.shape[-2]
        watts = torch.zeros(())
        for index, store in enumerate(self.stores):
            above = settled.states[index + 1]
            pre = settled.clamped.lines if not index else line_powers(settled.states[index])
            post = above.square().sum(-2) if index else above.new_zeros(above[..., 0, :].shape)
            forward = free or self.network.layers[index].law.loaded
            watts = watts + store.dissipation(pre if forward else torch.zeros_like(pre), post)
        inputs, *units = (math.prod(shape) for shape in self.network.state_shapes)
        loaded = [layer.law.loaded for layer in self.network.layers]
        moving = sum(n for n, moves in zip(units, loaded, strict=True) if moves)
        sensed = moving + (units[-1] if free and not loaded[-1] else 0)
        driven = inputs + (0 if free else units[-1])
        for item, count in (
            ("input conversion", driven),
            ("neuron settling" if free else "nudged neuron settling", moving),
            ("output conversion", sensed),
        ):
            self.listener(Event(item, float(samples * count)))
        read = "array read" if free else "nudged array read"
        self.listener(Event(read, float(samples), watts))
        if self.periphery.partial:
            self.listener(Event("partial sum conversion", self._partial_sums(settled, free)))

    def _partial_sums(self, settled: Settled, free: bool) -> Tensor:
        """Return how many sums of tiles were converted on the way to rest, a chip.

        Those of the input once, the others in every sweep; a readout is read once at the end of a
        free phase, and only drives in a nudged one.
        """
        sweeps = settled.rest.sweeps.sum(-1)
        total = torch.zeros_like(sweeps)
        samples = settled.output.shape[-2]
        joints = zip(self.periphery.partial, self.network.shapes, strict=True)
        for index, (tiles, (post, lines)) in enumerate(joints):
            loaded = self.network.layers[index].law.loaded
            if index and loaded:
                total = total + tiles.rows * post * sweeps
            elif free:
                total = total + tiles.rows * post * samples
            if index and (loaded or not free):
                total = total + tiles.columns * (lines - 1) * sweeps
        return total


Side = tuple[Tensor | None, ...]


def _sides(high: Settled, low: Settled) -> tuple[tuple[Tensor, ...], Side, Side]:
    """Return states and the displacements of two settlings from them, the input's first.

    Two phases that were relaxed as displacements from one free settling keep that; of states
    that were measured, the low ones are the origin.
    """
    origin = high.origin or low.origin
    if origin is not None:
        sides = [(None, *s.moved) if s.moved else (None,) * len(origin.states) for s in (high, low)]
        return origin.states, sides[0], sides[1]
    differences = [h - b for h, b in zip(high.states[1:], low.states[1:], strict=True)]
    return low.states, (None, *differences), (None,) * len(low.states)
