"""What a sample of training takes, all in: on its chip, and in the arithmetic of a model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from madem.errors import InputError
from madem.learn import Contrast
from madem.ledger import Event, Ledger, load_prices, totals
from madem.machine import Machine
from madem.network import Network
from madem.training import Plan, chips_of, prices_of, settled_within, settling
from madem.training.settling import ITEMS, LONGEST

SAMPLES = 16
"""Of the validation set, on every chip, by which phases are timed."""


def phase_times(plan: Plan, machine: Machine) -> dict[str, float]:
    """Return how long each phase lasts, s, until 95 % have settled in it (``settling``).

    Where a sample has not settled after ``LONGEST`` poles of a neuron, as long as that.
    """
    nudged = isinstance(plan.estimator, Contrast)
    try:
        return settled_within(settling(plan, machine, SAMPLES, nudged))
    except InputError:
        return dict.fromkeys(ITEMS, LONGEST * chips_of(plan).timing.tau)


def a_sample(ledger: Ledger, plan: Plan, times: Mapping[str, float]) -> dict[str, float]:
    """Return the joules of a sample of training by what they are of; phases take ``times``, s."""
    spent = totals(ledger.rows(prices_of(plan, load_prices(), times)))
    samples = plan.schedule.steps * plan.schedule.batch
    each = {"array_joules": spent["array_only"], "joules": spent["all_in"]}
    return {key: scope["joules"] / samples for key, scope in each.items()}


def arithmetic(network: Network, samples: int, up: float | None, down: float) -> Iterator[Event]:
    """Yield what backpropagation through a model of a chain of arrays takes.

    ``up``, ``down``: sweeps in which states, and errors, come to rest; None for ``up`` where states
    are measured. A product a weight for each pass and for the gradient, at the precision of the
    activity products, two where both ends move; the model's weights are read in each pass, twice a
    sweep but the first where both ends move, and the gradient is added up, sample by sample, as
    activity differences are.
    """
    weights = [post * pre for post, pre in network.shapes]
    both, top = sum(weights[1:-1]), sum(weights[1:][-1:])
    passes = top + (2 * down - 1) * both
    if up is not None:
        passes += weights[0] + top + (2 * up - 1) * both
    yield Event("activity product", float(samples * (sum(weights) + both + passes)))
    yield Event("model weight read", float(samples * passes))
    yield Event("accumulator access", float(samples * sum(weights)))
    yield Event("output gradient", float(samples * math.prod(network.state_shapes[-1])))
