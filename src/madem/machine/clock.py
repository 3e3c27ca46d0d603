"""The time at which a chip settles, and how its cells fluctuate in it.

Samples follow one another, and so do the phases of each. A batch is settled phase by phase: what is
slower than a sample lasts is one value per cell and chip when a batch comes, the same for all its
samples, and moves on from batch to batch. By how much cells have changed since, in the later phases
of a sample, and what is faster, is drawn for each sample and line, with the correlation that it has
over the phases of one sample; other samples are at other times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from madem.device.fluctuation import Bands, noise_floor
from madem.ledger import load_prices
from madem.machine.stores import SignedPair, Store, cells_of
from madem.machine.writing import Written
from madem.network import Network
from madem.randomness import branch, normal_like

PHASE = 10.0
"""How long a phase settles, in poles of a neuron: as the ledger charges, 10 ns at 1 ns (ours)."""


@dataclass(frozen=True)
class Times:
    """How long a chip takes for what it does with one sample, one thing after another, s.

    ``tau``: the pole of a neuron; ``settles``: how long a free and a nudged phase settle;
    ``follows``: from there until the next one can begin, while states are converted and, after a
    free one, the gradient by the outputs is computed; ``contrast``: to multiply and to add up;
    ``events``: of each event of a write. Left out: setting ranges of converters, converting partial
    sums.
    """

    tau: float
    settles: tuple[float, float]
    follows: tuple[float, float]
    contrast: float
    events: Mapping[str, float]

    @staticmethod
    def of(network: Network, tau: float, phases: tuple[float, float] | None = None) -> Times:
        """Return the times of ``network`` by the prices of the ledger, with neurons' pole ``tau``.

        ``phases``: how long free and nudged ones settle, ``PHASE`` poles by default.

        >>> from madem.network import Free, Layer
        >>> times = Times.of(Network(60, (Layer(32, Free()),)), 1e-9)
        >>> f"{times.settles[0]:.2g} {times.follows[0]:.3g} {times.contrast:.3g}"
        '1e-08 3.47e-07 9.76e-07'
        """
        events = {item: price.seconds for item, price in load_prices().items()}
        units = [math.prod(shape) for shape in network.state_shapes[1:]]
        loaded = [layer.law.loaded for layer in network.layers]
        moving = sum(n for n, moves in zip(units, loaded, strict=True) if moves)
        sensed = moving if loaded[-1] else moving + units[-1]
        weights = sum(
            math.prod(shape) for joint in network.joints for shape in joint.parameters.values()
        )
        convert = events["output conversion"]
        gradient = units[-1] * events["output gradient"]
        return Times(
            tau, phases or (PHASE * tau, PHASE * tau),
            (sensed * convert + gradient, moving * convert),
            weights * events["accumulator access"], events,
        )  # fmt: skip

    @property
    def sample(self) -> float:
        """How long a sample lasts that is nudged twice and contrasted."""
        free, nudged = (a + b for a, b in zip(self.settles, self.follows, strict=True))
        return free + 2 * nudged + self.contrast

    def lag(self, phases: int) -> float:
        """Return how long after the last of so many phases of a sample the next one is at rest."""
        return self.follows[phases > 1] + self.settles[1]


@dataclass(frozen=True)
class Moment:
    """A phase of samples whose lines remember what they drew in the phases before.

    ``origin``: where the machine's generator stood when the samples came; ``row``: how much of what
    is drawn for each of their phases until now they see, the last row of a Cholesky factor of the
    phases' covariance; ``white``: how much of what is white.
    """

    origin: Tensor
    row: tuple[float, ...]
    white: float = 1.0

    def draw(self, generator: Generator, name: tuple[int, int], like: Tensor) -> Tensor:
        """Return normal numbers like ``like``, for the end ``name`` of a joint."""
        found = torch.zeros_like(like)
        for i, weight in enumerate(self.row):
            if weight:
                found += weight * normal_like(like, branch(generator, self.origin, *name, i))
        return found


TINY = 1e-14
"""Added to variances, in squares of a cell's: some are zero, and all have been rounded."""


class Clock:
    """When a machine settles and how its ``stores`` fluctuate by then.

    ``now``: when the next sample can come, ``at``: when the last batch came, s since the start, of
    each chip; ``slow``: the bands that are slower than a sample, as neurons see them, and
    ``states``: theirs in each store that has cells, as of then; ``fast``: the others, in poles;
    ``moments``: when the phases of its samples are, s after the first. All of this is of the newest
    free phase: one that is nudged from an older free phase, with another in between, is taken to
    follow the newest, so nudge each before the next one (a backward pass before the next forward
    one); else bands as fast as a batch correlate where they would not.

    >>> from madem.device.fluctuation import TwoLevel
    >>> times = Times(1e-9, (1e-8, 1e-8), (3e-7, 3e-8), 1e-6, {})
    >>> clock = Clock(TwoLevel(1e3).bands, times, (), Generator())
    >>> clock.settle(32, Generator(), free=True)
    >>> f"{clock.now:.3g}"
    '9.92e-06'
    """

    def __init__(
        self, bands: Bands, times: Times, stores: Sequence[Store], draws: Generator,
        ensemble: tuple[int, ...] = (),
    ) -> None:  # fmt: skip
        """Begin at zero, with cells drawn from ``draws``."""
        self.bands = bands
        self.times = times
        self.slow = bands.seen(times.tau).split(times.sample)[0]
        fast = bands.split(times.sample)[1]
        self.fast = Bands(tuple(t / times.tau for t in fast.times), fast.shares)
        self.now = torch.zeros(ensemble, dtype=torch.float64)
        self.at = torch.zeros(ensemble, dtype=torch.float64)
        held = [cells_of(store) for store in stores]
        self.states = {
            i: self.slow.begin(tuple(pairs.weight.shape), draws)
            for i, pairs in enumerate(held) if pairs is not None and self.slow.times
        }  # fmt: skip
        self.moments: tuple[float, ...] = (0.0,)

    def copy(self) -> Clock:
        """Return a clock of its own that goes on from here."""
        other = copy(self)
        other.states = dict(self.states)
        return other

    def settle(self, samples: int, draws: Generator, free: bool) -> None:
        """Come to the next phase of so many samples, ``free`` with new ones; cells move on."""
        times = self.times
        if free:
            lag, self.at = self.now - self.at, self.now
            self.moments = (0.0,)
            self.states = {i: self.slow.after(each, lag, draws) for i, each in self.states.items()}
        else:
            self.moments = (*self.moments, self.moments[-1] + times.lag(len(self.moments)))
        kind = 0 if free else 1
        self.now = self.now + samples * (times.settles[kind] + times.follows[kind])

    def contrasted(self, samples: int) -> None:
        """Multiply and add up what two phases of so many samples showed."""
        self.now = self.now + samples * self.times.contrast

    def wrote(self, written: Written) -> None:
        """Wait for a write."""
        for event in written.events:
            self.now = self.now + event.count * self.times.events[event.item]

    def moment(self, origin: Tensor) -> Moment:
        """Return the present phase of samples that came when the generator was at ``origin``.

        What is drawn is a constant of its phase, which neurons follow from zero: ``1 - exp(-end)``
        of it arrives. So that they show what they would of noise, fast bands are drawn as large as
        ``Bands.arrived`` says, and white noise, of ``1 - exp(-2 end)``, by ``coth(end / 2)``.
        """
        count = range(len(self.moments))
        square = torch.tensor(
            [[self._drawn(i, j) for j in count] for i in count], dtype=torch.float64
        )
        square += TINY * torch.eye(len(count))
        row = torch.linalg.cholesky(square)[-1].tolist()
        return Moment(origin, tuple(row), math.tanh(self._end(count[-1]) / 2) ** -0.5)

    def _end(self, phase: int) -> float:
        """Return how long a phase of a sample lasts, in poles."""
        return self.times.settles[phase > 0] / self.times.tau

    def _drawn(self, i: int, j: int) -> float:
        """Return the covariance, between two phases, of what lines draw, in squares of sigma."""
        first, second = sorted((i, j))
        before, now = self.moments[first], self.moments[second]
        changed = self.slow.correlation(now - before) - self.slow.correlation(now + before)
        ends = self._end(first), self._end(second)
        return changed + self.fast.arrived((now - before) / self.times.tau, ends)

    def moved(self, index: int, store: Store) -> list[Tensor]:
        """Return the parameters of the store ``index`` as this phase of all samples sees them.

        With what slow bands added when the batch came, as far as it is expected to be left.
        """
        held = [parameter.detach() for parameter in store.parameters]
        if index in self.states:
            left = self.slow.value(self.states[index], self.moments[-1])
            held[0] = held[0] + (store.fluctuation * left).to(held[0])
        return held

    def state(self) -> dict[str, Tensor]:
        """Return all that it holds, for ``restore``."""
        slow = {f"clock.slow.{i}": each for i, each in self.states.items()}
        return {"clock.now": self.now, "clock.at": self.at, **slow}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what ``state`` returned."""
        self.now, self.at = state["clock.now"].double(), state["clock.at"].double()
        self.states = {i: state[f"clock.slow.{i}"].clone() for i in self.states}


def noise_floors(pairs: SignedPair, tau: float) -> tuple[Tensor, Tensor]:
    """Return the thermal and shot noise of each line of ``pairs``, in units of the states.

    Of the lines of the lower layer, and of the upper one, ``(*chips, lines)``, bias line included.
    """
    lower, upper = (
        noise_floor(sums, pairs.cell.read_voltage, tau) / pairs.unit for sums in pairs.line_sums
    )
    return lower, upper
