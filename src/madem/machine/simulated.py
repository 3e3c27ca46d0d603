"""The simulated machine: settle, contrast, write, over an ensemble of chips at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Generator, Tensor

from madem.errors import InputError
from madem.ledger import Event
from madem.machine.arrays import Digitised, Fluctuating, behind
from madem.machine.loads import Loads
from madem.machine.periphery import Periphery
from madem.machine.stores import Exact, Store, as_bytes, check_fit, check_same, part_of
from madem.machine.writing import Written
from madem.network import Coupling, Matrix, Move, Network, Nudge, Problem
from madem.network.joints import image_of
from madem.randomness import branch
from madem.solver import Rest, Solver, Sweep


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


@dataclass(frozen=True)
class Settled:
    """A machine at rest, and what was seen of it.

    ``states``: the converted activities of the clamped input and of every layer, each
    ``(*chips, batch, *units)``; ``output``: what the output lines read; ``rest``: the solver's
    report; ``problem``: what was bound, to be reused by the phases that start from here, as is
    what is known of the ``clamped`` input.
    ``moved``: the displacement of every layer from the free settling ``origin``, where the nudged
    phase was relaxed as one. ``noise``: the state of the machine's generator when it settled, from
    which what a read of the input's lines saw then is known.
    """

    states: tuple[Tensor, ...]
    output: Tensor
    rest: Rest
    problem: Problem
    clamped: Clamped
    origin: Settled | None = None
    moved: tuple[Tensor, ...] = ()
    noise: Tensor | None = None

    @property
    def energy(self) -> Tensor:
        """The energy of each sample, ``(*chips, batch)``."""
        return self.problem.energy(self.rest.states)

    @cached_property
    def displacements(self) -> Problem:
        """The problem of displacements from here, shared by all phases nudged from here."""
        return self.problem.displaced(self.rest.states)


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
                f"stores must be one per joint, {len(network.joints)}, but are {len(stores)}"
            )
        self.network = network
        self.solver = solver
        self.stores = tuple(stores)
        self.periphery = periphery or Periphery()
        self.noise = noise or torch.Generator()
        self.listener = listener
        self.unsettled = 0
        self.settled = 0
        self.couple([parameter.detach() for parameter in self.parameters])  # refuses what cannot be
        if listener is not silent:
            network.shapes  # noqa: B018 - the ledger counts the lines of chains of arrays alone

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
        return any(_fluctuates(store) for store in self.stores)

    @property
    def _ends(self) -> list[tuple[int, ...]]:
        """The layers that each joint joins."""
        return [joint.ends for joint in self.network.joints]

    def couple(self, parameters: Sequence[Tensor]) -> list[Coupling]:
        """Return the couplings with ``parameters`` in the form of ``self.parameters``.

        Raises ``InputError`` where read noise or the periphery needs an array, and a joint is none.
        """
        self.periphery.check(self._ends)
        left, made = list(parameters), []
        for index, (joint, store) in enumerate(zip(self.network.joints, self.stores, strict=True)):
            count = len(store.parameters)
            coupling = store.couple(left[:count], joint)
            if self._asks(index) is not None:
                coupling = behind(coupling, partial(self._placed, index))
            made.append(self.network.shared(index, coupling))
            del left[:count]
        return made

    def _asks(self, index: int) -> str | None:
        """Return what needs joint ``index`` to lie on an array, None where nothing does."""
        if _fluctuates(self.stores[index]):
            return "read noise"
        asked = self.periphery.asks(index)
        return "gains of neurons" if asked is None and self._below(index) is not None else asked

    def _below(self, index: int) -> Tensor | None:
        """Return the gains of the neurons of the lower layer of joint ``index``."""
        lower = self.network.joints[index].ends[0]
        if not self.periphery.lines or not lower:
            return None
        return self.periphery.neurons(self._ends, lower).neuron

    def _placed(self, index: int, array: Coupling) -> Coupling:
        """Return the array of joint ``index`` as the periphery makes it."""
        if type(array) is not Matrix:
            joint = self.network.joints[index]
            raise InputError(
                f"{self._asks(index)}: that is of arrays, but the {type(joint).__name__} joint of "
                f"layers {joint.ends} is not a matrix, so it lies on none; keep it exact, with "
                "ideal lines"
            )
        return self.periphery.couple(index, array, self._below(index))

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
            put = self.periphery.put(x, self._ends, self.network.state_shapes[0])
            problem = self.network.bind(couplings, put)
        else:
            problem = origin.problem
        if origin is not None and nudge is not None and self.exact:
            return self._displace(origin, [nudge])[0]
        if nudge is not None:
            nudge = nudge.through(self.periphery.drive)
        clamped = Clamped(problem.x) if origin is None else origin.clamped
        noise = self.noise.get_state() if self.restless else None
        phase = self._fluctuate(problem, clamped, self.noise)
        states = origin.rest.states if origin is not None else start
        rest = self._count(self.solver.settle(phase, nudge, states))  # type: ignore[arg-type]
        settled = self._sense(phase, rest, clamped, free=nudge is None)
        self._tell_settled(settled, free=nudge is None)
        return replace(settled, problem=problem, noise=noise)

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
        """Return ``dE/dtheta`` at ``high`` minus at ``low``, one per parameter.

        Every sample counts ``scale`` times (a number, or one per sample), and is summed.
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
        """Return ``dE/dx`` at ``high`` minus at ``low``, the shape of ``x``, times ``scale``.

        What the drivers of the input sense of a transposed read in each of the two settlings. It
        fluctuates and is converted like any other read; what it saw is settled with the states, so
        that the same two settlings always answer the same.
        """
        at, up, down = _sides(high, low)
        if not self.exact:
            change = self._returned(low) - self._returned(high)
            return Move(at[0], scale=scale).scaled(change)
        origin = high.origin or low.origin
        moved = origin.displacements if origin else low.problem.displaced(at[1:])
        change = torch.zeros_like(at[0])
        for side, sign in ((up, -1), (down, 1)):
            if side[-1] is not None:
                change = change + sign * moved.reaction([s for s in side if s is not None])
        return Move(at[0], scale=scale).scaled(change)

    def _returned(self, settled: Settled) -> Tensor:
        """Return what is sensed at the input of a settling."""
        problem = settled.problem
        if settled.noise is not None:
            draws = branch(self.noise, settled.noise, "returned")
            problem = self._fluctuate(problem, settled.clamped, draws)
        return self.periphery.sense(problem.reaction(settled.rest.states), None)

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

    def _fluctuate(self, problem: Problem, clamped: Clamped, noise: Generator) -> Problem:
        """Return the problem as it is during one settling, with draws from ``noise``."""
        if not self.restless:
            return problem
        couplings, fixed = list(problem.couplings), list(problem.fixed)
        for index, (store, ends) in enumerate(zip(self.stores, problem.ends, strict=True)):
            if not _fluctuates(store):
                continue
            mean = couplings[index]
            noisy = behind(mean, partial(self._noisy, index, noise))
            couplings[index] = noisy
            for end, layer in enumerate(ends):
                if layer and not ends[1 - end]:  # the clamped input's: drawn once, with ``fixed``
                    at = fixed[layer - 1]
                    fixed[layer - 1] = _disturbed(at, mean, noisy, end, clamped)
        return replace(problem, couplings=tuple(couplings), fixed=tuple(fixed), drawn=True)

    def _noisy(self, index: int, noise: Generator, array: Coupling) -> Fluctuating:
        """Return the array of joint ``index`` with fluctuating cells."""
        joint, sigma = self.network.joints[index], self.stores[index].fluctuation
        shape = image_of(self.network.state_shapes[joint.ends[0]])
        line, below = self.periphery.line(index), self._below(index)
        return Fluctuating(array, sigma, noise, "bias" in joint.parameters, shape, line, below)

    def _sense(self, phase: Problem, rest: Rest, clamped: Clamped, free: bool) -> Settled:
        """Convert what the lines carry at rest."""
        bounds = [site.law.bound for site in phase.sites]
        offsets = [
            self.periphery.neurons(phase.ends, layer).sensed
            for layer in range(1, len(phase.sites) + 1)
        ]
        states = list(map(self.periphery.see, rest.states, bounds, offsets))
        last = phase.sites[-1].law
        if last.loaded:
            output = states[-1]
        else:
            states[-1] = rest.states[-1]  # driven, not sensed
            output = states[-1]
            if free:
                output = self.periphery.see(phase.output(rest.states), last.bound, offsets[-1])
        return Settled((phase.x, *states), output, rest, phase, clamped)

    def _tell_contrast(self, high: Settled) -> None:
        """Tell the listener what a contrast takes."""
        if self.listener is silent:
            return
        samples = high.output.shape[-2]
        weights = [post * pre for post, pre in self.network.shapes]
        products = 2 * sum(weights) - weights[0]  # of each phase where both ends of a weight move
        self.listener(Event("activity product", float(samples * products)))
        self.listener(Event("accumulator access", float(samples * sum(weights))))
        self.listener(Event("output gradient", float(samples * high.output.shape[-1])))

    def _tell_settled(self, settled: Settled, free: bool) -> None:
        """Tell the listener what this settling took: every number is a count per chip."""
        if self.listener is silent:
            return
        samples = settled.output.shape[-2]
        loads = [settled.clamped.loads, *(Loads.of(s) for s in settled.states[1:])]
        watts, drawn = torch.zeros(()), torch.zeros(())
        for index, (store, shape) in enumerate(zip(self.stores, self.network.shapes, strict=True)):
            pre, post = loads[index].on(shape[1], samples), loads[index + 1]
            if not (free or self.network.layers[index].law.loaded):
                pre = pre.off()
            if not index:
                post = post.off()
            watts = watts + store.dissipation(pre.powers, post.powers)
            drawn = drawn + store.dissipation(pre.sizes, post.sizes)
        inputs, *units = (math.prod(shape) for shape in self.network.state_shapes)
        loaded = [layer.law.loaded for layer in self.network.layers]
        moving = sum(n for n, moves in zip(units, loaded, strict=True) if moves)
        sensed = moving + (units[-1] if free and not loaded[-1] else 0)
        driven = inputs + (0 if free else units[-1])
        nudged = "" if free else "nudged "
        for item, count in (
            ("input conversion", driven),
            (f"{nudged}neuron settling", moving),
            ("sample and hold", sensed),
            ("output conversion", sensed),
        ):
            self.listener(Event(item, float(samples * count)))
        self.listener(Event(f"{nudged}line drive", drawn, -watts))
        self.listener(Event(f"{nudged}array read", float(samples), watts))
        if any(self.periphery.partial):
            self.listener(Event("partial sum conversion", self._partial_sums(settled, free)))

    def _partial_sums(self, settled: Settled, free: bool) -> Tensor:
        """Return how many sums of tiles were converted on the way to rest, a chip.

        Those of the input once, the others in every sweep; a readout is read once at the end of a
        free phase, and only drives in a nudged one.
        """
        sweeps = settled.rest.sweeps.sum(-1)
        total = torch.zeros_like(sweeps)
        samples = settled.output.shape[-2]
        inputs = [math.prod(shape) for shape in self.network.state_shapes]
        joints = zip(self.periphery.partial, inputs, inputs[1:], strict=False)
        for index, (tiles, pre, post) in enumerate(joints):
            if tiles is None:
                continue
            loaded = self.network.layers[index].law.loaded
            if index and loaded:
                total = total + tiles.rows * post * sweeps
            elif free:
                total = total + tiles.rows * post * samples
            if index and (loaded or not free):
                total = total + tiles.columns * pre * sweeps
        return total


def _fluctuates(store: Store) -> bool:
    """Return whether the weights of a store differ from one settling to the next."""
    sigma = store.fluctuation
    return isinstance(sigma, Tensor) or sigma > 0


def _disturbed(
    fixed: Tensor, mean: Coupling, noisy: Coupling, end: int, clamped: Clamped
) -> Tensor:
    """Return the current that never changes with the fluctuation of a read of the input."""
    if type(noisy) is Fluctuating and type(mean) is not Digitised:
        plain = end == 1 and noisy.line.pre is None and not noisy.shape
        squares = clamped.squares if plain else noisy.squares(end, clamped.x)
        return noisy.disturb(end, fixed, squares)
    both = [clamped.x, clamped.x]
    return fixed + (noisy.pull(end, both) - mean.pull(end, both))


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
