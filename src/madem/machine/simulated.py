"""The simulated machine: settle, contrast, write, over an ensemble of chips at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Generator, Tensor

from madem.errors import InputError, shown
from madem.fast import bind
from madem.machine import sampling
from madem.machine.account import of_contrast, of_settling
from madem.machine.arrays import behind
from madem.machine.base import Listener, Machine, Observed, Scale, Start, between, silent
from madem.machine.clock import Clock, Moment
from madem.machine.noise import SettlingNoise, fluctuates
from madem.machine.periphery import Periphery
from madem.machine.settled import Clamped, Settled, own
from madem.machine.stores import Exact, Store, as_bytes, check_fit, part_of
from madem.machine.strength import relative
from madem.machine.writing import Written
from madem.network import (
    Amplified,
    Conv,
    Coupling,
    Matrix,
    Move,
    Network,
    Nudge,
    Problem,
    ResistiveConv,
)
from madem.network.joints import Limits
from madem.randomness import branch, normal, stream
from madem.solver import Rest, Solver, Sweep


@dataclass(eq=False, repr=False)
class Simulated(Machine):
    """A machine of ``network`` and ``solver`` whose weights lie in ``stores``.

    Exact stores and an ideal periphery make it the ideal network; pairs of cells and
    converters, a chip. Reads fluctuate by draws from ``noise``, anew in every settling, or in time
    by a ``clock``; ``listener`` hears every event.

    >>> from madem.network import Dense, Free, Layer
    >>> network = Network(1, (Layer(1, Free()),))
    >>> weights = [torch.tensor([[2.0]]), torch.tensor([0.5])]
    >>> Simulated.ideal(network, [weights]).settle(torch.tensor([[1.0]])).output.item()
    2.5
    """

    network: Network
    solver: Solver
    stores: Sequence[Store]
    periphery: Periphery = Periphery()
    noise: Generator = field(default_factory=torch.Generator)
    listener: Listener = silent
    clock: Clock | None = None

    def __post_init__(self) -> None:
        """Refuse stores that cannot hold the network."""
        joints = len(self.network.joints)
        if len(self.stores) != joints:
            raise InputError(f"stores must be one per joint, {joints}, but are {len(self.stores)}")
        self.couple([parameter.detach() for parameter in self.parameters])  # refuses what cannot be
        if self.listener is not silent:
            self.network.shapes  # noqa: B018 - the ledger counts the lines of chains of arrays alone

    @staticmethod
    def ideal(
        network: Network, parameters: Sequence[Sequence[Tensor]], solver: Solver | None = None
    ) -> Simulated:
        """Return the ideal machine with ``parameters``, a list per joint."""
        solver = solver or Sweep()
        if not isinstance(solver, Solver):
            raise InputError(f"solver must be a Solver, as Sweep(), but is {shown(solver)}")
        pairs = zip(network.joints, parameters, strict=True)
        return Simulated(network, solver, [Exact(j, p) for j, p in pairs])

    @property
    def parameters(self) -> list[Tensor]:
        """All parameters, one joint's after another's."""
        return [parameter for store in self.stores for parameter in store.parameters]

    @property
    def exact(self) -> bool:
        """Whether states come to rest, weights do not fluctuate, and nothing is converted."""
        return self.periphery.exact and not self.restless and self.solver.rests

    @property
    def bare(self) -> bool:
        """Whether the machine is the ideal one."""
        return self.exact and None not in self.limits and not self.periphery.lines

    @property
    def names(self) -> list[str]:
        """A name for each parameter, such as ``1.weight``; pairs of cells hold ``[W b]`` as one."""
        held = enumerate(zip(self.network.joints, self.stores, strict=True), 1)
        return [
            f"{i}.{name}"
            for i, (joint, store) in held
            for name, _ in zip(joint.parameters, store.parameters, strict=False)
        ]

    @property
    def limits(self) -> list[Limits | None]:
        """Those of the joints, None for cells."""
        return [limits for store in self.stores for limits in store.limits]

    def __str__(self) -> str:
        """Return what holds the weights, and the solver."""
        kinds = "ideal" if self.bare else ", ".join(type(store).__name__ for store in self.stores)
        return f"{kinds}, {self.solver}"

    @property
    def restless(self) -> bool:
        """Whether reads fluctuate."""
        return self.clock is not None or any(fluctuates(store) for store in self.stores)

    @property
    def _ends(self) -> list[tuple[int, ...]]:
        """The layers that each joint joins."""
        return [joint.ends for joint in self.network.joints]

    def couple(self, parameters: Sequence[Tensor]) -> list[Coupling]:
        """Return the couplings with ``parameters`` in the form of ``self.parameters``.

        Raises ``InputError`` where read noise or the periphery needs an array, and a joint is none.
        """
        self.periphery.check(self._ends)
        made, held = [], zip(self.network.joints, self.stores, self.parted(parameters), strict=True)
        for index, (joint, store, mine) in enumerate(held):
            coupling = store.couple(mine, joint)
            if self._asks(index) is not None:
                coupling = behind(coupling, partial(self._placed, index))
            made.append(self.network.shared(index, coupling))
        return made

    def _asks(self, index: int) -> str | None:
        """Return what needs joint ``index`` to lie on an array, None where nothing does."""
        if fluctuates(self.stores[index]):
            return "read noise"
        asked, gains = self.periphery.asks(index), self.periphery.below(index, self._ends)
        return "gains of neurons" if asked is None and gains is not None else asked

    def _placed(self, index: int, array: Coupling) -> Coupling:
        """Return the array of joint ``index`` as the periphery makes it."""
        if type(array) is not Matrix:
            joint = self.network.joints[index]
            raise InputError(
                f"{self._asks(index)}: that is of arrays, but the {type(joint).__name__} joint of "
                f"layers {joint.ends} is not a matrix, so it lies on none; keep it exact, with "
                "ideal lines"
            )
        return self.periphery.couple(index, array, self.periphery.below(index, self._ends))

    @torch.no_grad()
    def settle(self, x: Tensor, nudge: Nudge | None = None, start: Start = None) -> Settled:
        """Let the machine come to rest with ``x``, ``(*chips, batch, *inputs)``, on its input.

        Free without ``nudge``. From the settling ``start`` where given, reusing what was bound
        there, so ``x`` must be the same; a nudged phase of an exact machine is then relaxed as a
        displacement. From the layers' states where ``start`` is those. Counts in ``unsettled`` the
        samples that missed the tolerance, of those in ``settled``.
        """
        origin = own(start) if isinstance(start, Observed) else None
        noise = self.noise.get_state() if self.restless or self.periphery.drawing else None
        if noise is not None and not self.restless:
            normal((1,), self.noise)  # else settlings of a quiet chip stood where the last one did
        if self.clock is not None:
            axis = x.dim() - 1 - len(self.network.state_shapes[0])
            self.clock.settle(x.shape[axis], self.noise, origin is None)
        problem = self._bound(x, origin)
        if origin is not None and nudge is not None and self.exact:
            return self._displace(origin, [nudge])[0]
        periphery = self.periphery
        if nudge is not None:
            loaded = self.network.layers[-1].law.loaded
            nudge = sampling.driven(periphery, self.noise, nudge, origin, loaded)
        clamped = Clamped(problem.x) if origin is None else origin.clamped
        moment = self._moment(noise, origin)
        phase = self._fluctuate(problem, clamped, self.noise, moment)
        states = origin.rest.states if origin is not None else start
        rest = self.solver.settle(phase, nudge, states)  # type: ignore[arg-type]
        self.count(rest.converged)
        settled = self._sense(phase, rest, clamped, free=nudge is None)
        self._tell_settled(settled, free=nudge is None)
        settled = replace(settled, problem=problem, noise=noise, moment=moment)
        if origin is None or nudge is None or not periphery.sampled:
            return settled
        return sampling.moved(periphery, self.noise, settled, origin)

    def _moment(self, noise: Tensor | None, origin: Settled | None) -> Moment | None:
        """Return which phase of its samples this is, where the machine has a clock."""
        if self.clock is None or noise is None:
            return None
        known = None if origin is None else origin.moment
        return self.clock.moment(noise if known is None else known.origin)

    def _bound(self, x: Tensor, origin: Settled | None) -> Problem:
        """Return the network with ``x`` on its input, as its cells are now."""
        clock = self.clock
        if clock is None and origin is not None:
            return origin.problem
        parameters = [parameter.detach() for parameter in self.parameters]
        if clock is not None:
            held = enumerate(self.stores)
            parameters = [each for i, store in held for each in clock.moved(i, store)]
        couplings = self.couple(parameters)
        if origin is not None:
            return bind(self.network, couplings, origin.problem.x)
        self._check_chips(x)
        put = self.periphery.put(x, self._ends, self.network.state_shapes[0])
        return bind(self.network, couplings, put)

    def _check_chips(self, x: Tensor) -> None:
        """Refuse chips beside a convolution, which knows samples alone."""
        for joint in self.network.joints:
            inner = joint.joint if isinstance(joint, Amplified) else joint
            images = isinstance(inner, Conv | ResistiveConv)
            if images and x.dim() > 1 + len(self.network.state_shapes[0]):
                raise InputError(
                    f"the {type(inner).__name__} joint of layers {joint.ends} convolves the images "
                    f"of one chip, (batch, channels, height, width), but x is {tuple(x.shape)}"
                )

    @torch.no_grad()
    def settle_each(self, free: Observed, nudges: Sequence[Nudge]) -> list[Settled]:
        """Let the machine come to rest under each of ``nudges``, from the free settling ``free``.

        Returns and counts what as many calls of ``settle`` would, in their order. An exact machine
        asks its solver for all at once, which saves a tenth of the phases of a small network.

        >>> from madem.network import Current, Free, Layer
        >>> weights = [torch.ones(1, 1), torch.zeros(1)]
        >>> machine = Simulated.ideal(Network(1, (Layer(1, Free()),)), [weights])
        >>> free, push = machine.settle(torch.zeros(1, 1)), torch.ones(1, 1)
        >>> nudges = [Current(beta, push) for beta in (1.0, -1.0)]
        >>> [phase.states[-1].item() for phase in machine.settle_each(free, nudges)]
        [-1.0, 1.0]
        """
        if self.exact:
            return self._displace(own(free), nudges)
        return [self.settle(free.states[0], nudge, start=free) for nudge in nudges]

    @torch.no_grad()
    def contrast(self, high: Observed, low: Observed, scale: Scale = 1.0) -> tuple[Tensor, ...]:
        """Return ``dE/dtheta`` at ``high`` minus at ``low``, one per parameter, as stores contrast.

        Every sample counts ``scale`` times (a number, or one per sample), and is summed.
        """
        moves = between(high, low, scale)
        if self.clock is not None:
            self.clock.contrasted(high.output.shape[-2])
        if self.listener is not silent:
            for event in of_contrast(self.network, high.output.shape[-2]):
                self.listener(event)
        return self.compare(own(high.origin or low.origin or low).problem.couplings, moves)

    def compare(self, couplings: Sequence[Coupling], moves: Sequence[Move]) -> tuple[Tensor, ...]:
        """Return what the stores contrast, one per parameter, from how every layer moved."""
        return tuple(
            part
            for store, coupling, ends in zip(self.stores, couplings, self._ends, strict=True)
            for part in store.contrast(coupling, [moves[end] for end in ends])
        )

    @torch.no_grad()
    def reaction(self, high: Observed, low: Observed, scale: Scale = 1.0) -> Tensor:
        """Return ``dE/dx`` at ``high`` minus at ``low``, the shape of ``x``, times ``scale``.

        What the drivers of the input sense of a transposed read in each of the two settlings. It
        fluctuates and is converted like any other read; what it saw is settled with the states, so
        that the same two settlings always answer the same.
        """
        own_high, own_low = own(high), own(low)
        if not self.exact:
            change = self._seen(own_low) - self._seen(own_high)
            return Move(low.states[0], scale=scale).scaled(change)
        x, *moves = between(high, low, scale)
        origin = high.origin or low.origin
        moved = (
            own(origin).displacements
            if origin
            else own_low.problem.displaced([move.at for move in moves])
        )
        change = torch.zeros_like(x.at)
        for sign, side in ((-1, [move.high for move in moves]), (1, [move.low for move in moves])):
            if side[-1] is not None:
                change = change + sign * moved.reaction([s for s in side if s is not None])
        return x.scaled(change)

    def strength(self, free: Observed, current: Tensor, share: float | None) -> Tensor:
        """Return how strong a nudge by ``current`` moves each sample by ``share`` of its size."""
        if not self.exact:
            return super().strength(free, current, share)
        return relative(own(free).displacements, current, share)

    def _seen(self, settled: Settled) -> Tensor:
        """Return what is sensed at the input of a settling; where it is sampled, its change."""
        now = self._returned(settled)
        if not self.periphery.sampled:
            return self.periphery.sense(now, None, settled.converged.dim())
        before = now if settled.origin is None else self._returned(own(settled.origin))
        return sampling.returned(self.periphery, self.noise, settled, now, before)

    def _returned(self, settled: Settled) -> Tensor:
        """Return what the lines of the input carry in a settling."""
        problem = settled.problem
        if settled.noise is not None:
            draws = branch(self.noise, settled.noise, "returned")
            problem = self._fluctuate(problem, settled.clamped, draws, settled.moment)
        return problem.reaction(settled.rest.states)

    def write(self, changes: Sequence[Tensor]) -> tuple[Written | None, ...]:
        """Ask each store to change its parameters by ``changes``; return what was really written.

        Devices miss what they were asked for by their programming error.
        """
        parts = zip(self.stores, self.parted(changes), strict=True)
        written = tuple(store.write(mine) for store, mine in parts)
        for each in written:
            if each is not None and self.clock is not None:
                self.clock.wrote(each)
            for event in () if each is None else each.events:
                self.listener(event)
        return written

    def parted(self, parameters: Sequence[Tensor]) -> list[list[Tensor]]:
        """Return ``parameters`` as a list per store."""
        left = iter(parameters)
        return [[next(left) for _ in store.parameters] for store in self.stores]

    def load(self, parameters: Sequence[Tensor]) -> None:
        """Put ``parameters`` into the stores of numbers."""
        for store, mine in zip(self.stores, self.parted(parameters), strict=True):
            store.load(mine)

    def watched(self, noise: Generator, listener: Listener = silent) -> Simulated:
        """Return a machine on the same stores that draws from ``noise`` and tells ``listener``."""
        clock = None if self.clock is None else self.clock.copy()
        return replace(self, noise=noise, listener=listener, clock=clock)

    def part(self, *names: str | int) -> None:
        """Draw read noise of its own for ``names`` from here on."""
        seed = int(torch.randint(1 << 62, (), generator=self.noise))
        self.noise.manual_seed(stream(seed, *names).initial_seed())

    def state(self) -> dict[str, Tensor]:
        """Return all that stores, drawn lines and the read noise's generator hold."""
        held = {f"{i}.{k}": t for i, s in enumerate(self.stores) for k, t in s.state().items()}
        kinds = ", ".join(type(store).__name__ for store in self.stores)
        clock = self.clock
        time = {} if clock is None else {"noise in time": str(clock.bands)}
        about = as_bytes({"stores": kinds, **self.periphery.settings, **time})
        held = {**super().state(), **held, **self.periphery.state()}
        held |= {} if clock is None else clock.state()
        return {**held, "noise": self.noise.get_state(), "about": about}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what ``state`` of a machine of the same kind and shape returned.

        Raises ``InputError`` with the difference otherwise, and has then changed nothing.
        """
        check_fit(state, self.state())
        for i, store in enumerate(self.stores):
            store.restore(part_of(state, f"{i}."))
        super().restore(state)
        self.periphery = self.periphery.restored(state)
        self.noise.set_state(state["noise"].cpu())
        if self.clock is not None:
            self.clock.restore(state)

    def _displace(self, origin: Settled, nudges: Sequence[Nudge]) -> list[Settled]:
        """Relax nudged phases as displacements from the free one."""
        problem, still = origin.displacements, torch.zeros_like(origin.states[0])
        phases = []
        for rest in self.solver.settle_each(problem, nudges):
            self.count(rest.converged)
            settled = Settled(
                (still, *rest.states), origin.output, rest.converged, origin,
                rest=rest, problem=problem, clamped=origin.clamped,
            )  # fmt: skip
            phases.append(settled)
            if self.listener is not silent:
                moved = zip(origin.rest.states, rest.states, strict=True)
                states = (origin.states[0], *(s + u for s, u in moved))
                self._tell_settled(replace(settled, states=states), free=False)
        return phases

    def _tell_settled(self, settled: Settled, free: bool) -> None:
        """Tell the listener what this settling took."""
        if self.listener is not silent:
            account = of_settling(self.network, self.stores, self.periphery, settled, free)
            for event in account:
                self.listener(event)

    def _fluctuate(
        self, problem: Problem, clamped: Clamped, noise: Generator, moment: Moment | None
    ) -> Problem:
        """Return the problem as it is during one settling, with draws from ``noise``."""
        if not self.restless:
            return problem
        held = self.network, self.stores, self.periphery
        return SettlingNoise(*held, noise, self.clock, moment).added(problem, clamped)

    def _sense(self, phase: Problem, rest: Rest, clamped: Clamped, free: bool) -> Settled:
        """Convert what the lines carry at rest."""
        bounds = [site.law.bound for site in phase.sites]
        offsets = [
            self.periphery.neurons(phase.ends, layer).sensed
            for layer in range(1, len(phase.sites) + 1)
        ]
        axes = [rest.converged.dim()] * len(bounds)
        states = list(map(self.periphery.sense, rest.states, bounds, axes, offsets))
        output, last = states[-1], phase.sites[-1].law
        if not last.loaded:
            output = states[-1] = rest.states[-1]  # driven, not sensed
            if free:
                shown = phase.output(rest.states) if rest.output is None else rest.output
                output = self.periphery.sense(shown, last.bound, axes[-1], offsets[-1])
        return Settled(
            (phase.x, *states), output, rest.converged, rest=rest, problem=phase, clamped=clamped
        )
