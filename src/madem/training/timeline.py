"""A word of training in time: what the chip does, one thing after another, as it is charged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from madem.ledger import Event, Ledger, Price, lasting, priced, totals
from madem.machine import Machine, Simulated
from madem.randomness import stream
from madem.solver import Timed
from madem.training.assemble import chips_of
from madem.training.evaluate import score
from madem.training.plan import Plan
from madem.training.settling import ITEMS

PARTS = {
    "settles": ("array read", "nudged array read"),
    "is converted": ("range setting", "output conversion", "partial sum conversion"),
    "output gradient": ("output gradient",),
    "products, added up": ("activity product", "accumulator access"),
}
"""What takes seconds, by what it does; every other item takes its joules meanwhile."""


@dataclass(frozen=True)
class Span:
    """A part of the timeline: when it starts and how long it lasts, s, and what it takes, J.

    ``what``: such as *free phase settles*; ``joules``: of all that is on meanwhile.
    """

    what: str
    start: float
    seconds: float
    joules: float


def timeline(plan: Plan, machine: Machine, prices: Mapping[str, Price]) -> list[Span]:
    """Return what a training step does for one sample, in order, mean over chips.

    The very events of one sample of the plan's validation set, so that what is simulated is what is
    charged; writes, which are due once a batch, are not among them.
    """
    heard: list[Event] = []
    watch = machine.watched(stream(plan.seed, plan.name, "timeline"), heard.append)
    x, target = plan.held("validation")
    x, target = x[:1], target[:1].expand(*plan.ensemble, *target[:1].shape)
    plan.estimator(watch, x, target, plan.task.cost)
    phases, rest = _phases(heard)
    gradient = [event for event in rest if event.item == "output gradient"]
    rest = [event for event in rest if event.item != "output gradient"]
    steps = [(f"{_named(k)} phase", events) for k, events in enumerate(phases)]
    steps[1:1] = [("", gradient)] if gradient else []
    spans: list[Span] = []
    for name, events in [*steps, ("", rest)]:
        spans += _spans(name, events, prices, spans[-1].start + spans[-1].seconds if spans else 0.0)
    return spans


def _named(k: int) -> str:
    """Return the name of phase ``k`` of a sample; no estimator has more than four nudged ones."""
    return ("free", "first nudged", "second nudged", "third nudged", "fourth nudged")[min(k, 4)]


def _phases(heard: list[Event]) -> tuple[list[list[Event]], list[Event]]:
    """Return the events of each settling, which begins by driving lines, and of the contrasts."""
    phases: list[list[Event]] = []
    rest: list[Event] = []
    digital = {*PARTS["products, added up"], "output gradient"}
    for event in heard:
        if event.item == "input conversion":
            phases.append([])
        (rest if event.item in digital else phases[-1]).append(event)
    return phases, rest


def _spans(name: str, events: list[Event], prices: Mapping[str, Price], start: float) -> list[Span]:
    """Return the spans of one step; what takes no seconds is on while the first of them lasts."""
    ledger, found = Ledger(), list[Span]()
    for event in events:
        ledger(event)
    rows = priced(ledger.totals, prices)
    timed = {item: part for part, items in PARTS.items() for item in items}
    idle = sum(float(row["joules"]) for row in rows if row["item"] not in timed)
    for part, items in PARTS.items():
        mine = [row for row in rows if row["item"] in items]
        if mine:
            joules = sum(float(row["joules"]) for row in mine) + (0.0 if found else idle)
            seconds = sum(float(row["seconds"]) for row in mine)
            found.append(Span(f"{name} {part}".strip(), start, seconds, joules))
            start += seconds
    return found


LENGTHS = (0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Of the free phases that are tried, in units of the neurons' pole."""


def by_phase(
    plan: Plan, machine: Simulated, prices: Mapping[str, Price], x: Tensor, target: Tensor
) -> list[dict[str, float]]:
    """Return what chips read of ``x`` where the free phase ends sooner, and what that takes.

    A row for each of ``LENGTHS``: ``seconds`` of the phase; ``accuracy``, the share that is right,
    mean over chips, and its ``spread``; joules of a sample, ``array_only`` and ``all_in``. None
    where tiles' sums are converted, which is done in sweeps until all is at rest.
    """
    if any(machine.periphery.partial):
        return []
    found, tau = [], chips_of(plan).timing.tau
    for length in LENGTHS:
        ledger = Ledger()
        watch = machine.watched(stream(plan.seed, plan.name, "phase"), ledger)
        output = replace(watch, solver=Timed(free=length)).settle(x).output
        right = score(plan.task.cost, output, target).double().mean(-1)
        lasts = dict.fromkeys(ITEMS["free"], tau * length)
        spent = totals(ledger.rows(lasting(prices, lasts, "cut")))
        found.append({
            "seconds": tau * length,
            "accuracy": float(right.mean()),
            "spread": float(right.std()) if right.numel() > 1 else 0.0,
            **{scope: spent[scope]["joules"] / x.shape[-2] for scope in spent},
        })  # fmt: skip
    return found
