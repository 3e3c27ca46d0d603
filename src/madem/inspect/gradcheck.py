"""How good is the measured gradient, and what spoils it: beta, settling, round-off, hardware."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from madem.inspect.strengths import Bench, Nudged, best_of, curve
from madem.inspect.subject import Subject
from madem.learn import Agreement, Estimator, Implicit, Unrolled, agreements, centred
from madem.machine import Machine, Simulated, cells_of
from madem.memory import refuse_memory
from madem.network import Cost, Joint
from madem.randomness import rewind, streams
from madem.solver import Sweep

TIGHT = Sweep(1e-13, 20_000)
FEEBLE = 1e-6
"""A nudge so feeble that in double precision its strength does not count."""

WORTH = 1e-3
"""Part of the error, over the gradient, from which on it is worth advice."""

FINE = "nothing to improve: every part of the error is below 0.1 %"

Gradients = tuple[Tensor, ...]


@dataclass(frozen=True)
class Check:
    """What ``gradcheck`` found.

    ``layers``: agreement with the exact gradient, one per joint, from the input up; ``errors``:
    norms of the parts of the error over that of the exact gradient, ``wires`` where there are any;
    ``advice``: what would help; ``beta``: the estimator's strength, where that is a number, an
    ``Even`` one or measured; ``curve``: at strengths around it; ``auto``: at a measured one.
    """

    layers: list[Agreement]
    errors: dict[str, float]
    advice: list[str]
    beta: float | None
    curve: list[Nudged]
    auto: Nudged | None = None

    def text(self) -> str:
        """Return everything as JSON.

        >>> Check([], {"noise": 0.0}, [], None, []).text().startswith("{")
        True
        """
        return json.dumps(asdict(self), indent=1)


def check(subject: Subject, samples: int | None = None) -> Check:
    """Check the gradient of a network, on its own machine, on ``samples`` of its test set.

    By default they are 32, or all where there are fewer.
    The exact gradient is that of the same machine, its cells, wires and lines as they are, settled
    in double precision without read noise and without converters, by what its stores hold. Raises
    ``InputError`` where there are fewer samples, where the machine does not show what it computes
    with, and where it has no minimum to differentiate at.
    """
    plan, shapes = subject.plan, subject.plan.network.state_shapes
    chips = math.prod(plan.ensemble)
    refuse_memory({
        "samples or chips": 200.0 * chips * (samples or 32) * sum(map(math.prod, shapes))
    })  # fmt: skip
    x, target = subject.samples(samples)
    made = subject.simulated
    tight, double = (subject.still(torch.float64, solver) for solver in (TIGHT, made.solver))
    single = subject.still(torch.float32, made.solver)
    exact = through(tight, _exact(tight, x.double(), _precise(target), plan.task.cost))
    blind = any(own.wired for own in map(cells_of, tight.stores) if own) or tight.periphery.lines
    estimator, cost, share = plan.estimator, plan.task.cost, plan.network.shares[-1]
    bench, begun = Bench(subject.machine, x, target, cost), streams(estimator)
    own = bench.fixed(estimator)

    def asked(machine: Machine, estimator: Estimator = own) -> Gradients:
        rewind(begun, estimator)
        wide = isinstance(machine, Simulated) and machine.parameters[0].dtype == torch.float64
        given = (x.double(), _precise(target)) if wide else (x, target)
        return tuple(g.double() for g in estimator(machine, *given, cost).weights)

    aimed = asked(tight, centred(FEEBLE)) if blind else exact
    found, size = [asked(each) for each in (tight, double, single)], _norm(exact)
    seen = found[-1] if subject.machine.bare and made is subject.machine else asked(subject.machine)
    errors = {
        "beta_bias": _norm(found[0], aimed) / size,
        "settling": _norm(found[1], found[0]) / size,
        "round_off": _norm(found[2], found[1]) / size,
        "noise": _norm(seen, found[2]) / size,
    }
    if blind:
        errors["wires"] = _norm(aimed, exact) / size

    def off(estimator: Estimator) -> tuple[float, float]:
        error, bias = (asked(machine, estimator) for machine in (subject.machine, double))
        return _norm(error, exact) / size, _norm(bias, aimed) / size

    auto, (beta, around) = bench.auto(own, share, off), curve(own, share, off)
    now = _norm(seen, exact) / size
    nudge = best_of(now, around, auto) if now > WORTH else []
    free = tight.settle(x.double())
    both = zip(plan.network.joints, tight.parted(seen), tight.parted(exact), strict=True)
    held = [(_label(i, joint), _flat(ours), _flat(theirs))
            for i, (joint, ours, theirs) in enumerate(both, 1) if theirs]  # fmt: skip
    labels, ours, theirs = zip(*held, strict=True)
    return Check(
        agreements(labels, ours, theirs),
        errors,
        advise(nudge, errors, free.rest.sweeps),
        beta,
        around,
        auto,
    )


def _exact(machine: Simulated, x: Tensor, target: Tensor, cost: Cost) -> Gradients:
    """Return the gradient by what couplings are made of; lines that differ have no energy."""
    if not machine.periphery.lines:
        return Implicit()(machine, x, target, cost).weights
    ends = [joint.ends for joint in machine.network.joints]
    put = machine.periphery.put(x, ends, machine.network.state_shapes[0])
    return Unrolled()(machine, put, target, cost).weights


def through(machine: Simulated, gradients: Sequence[Tensor]) -> Gradients:
    """Return gradients by the weights between terminals as those by the cells' own weights."""
    found: list[Tensor] = []
    for store, mine in zip(machine.stores, machine.parted(gradients), strict=True):
        own = cells_of(store)
        found += mine if own is None else [own.through(gradient) for gradient in mine]
    return tuple(found)


def _precise(target: Tensor) -> Tensor:
    return target.double() if target.is_floating_point() else target


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])


def _label(number: int, joint: Joint) -> str:
    """Return the name of a joint: that of the layer above it in a chain."""
    chained = tuple(joint.ends) == (number - 1, number)
    return f"layer {number}" if chained else f"joint {number} of layers {tuple(joint.ends)}"


def _norm(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...] | None = None) -> float:
    """Return the norm of gradients, or of the difference of two."""
    parts = ours if theirs is None else [a - b for a, b in zip(ours, theirs, strict=True)]
    return float(torch.stack([p.norm() for p in parts]).norm())


def advise(nudge: list[str], errors: dict[str, float], sweeps: Tensor) -> list[str]:
    """Return what would make the gradient better: the strength of the ``nudge``, then the rest."""
    most = int(sweeps.max())
    advice = {
        "settling": (
            f"unsettled phases spoil it by {{}}: the free phase needs {most} sweeps to settle to "
            f"1e-13; try solver.tolerance=1e-6 with solver.budget={max(100, 2 * most)}"
        ),
        "round_off": "float32 spoils it by {}",
        "wires": (
            "terminals do not see what wires and lines do to the cells: the gradient is off by "
            "{}; with wires, try machine.voltages=cells"
        ),
        "noise": "read noise, converters and what else is of the machine add {} in one step",
    }
    parts = sorted(advice, key=lambda part: -errors.get(part, 0.0))
    said = [f"{100 * errors.get(p, 0.0):.2g} %" for p in parts]
    told = [advice[p].format(size) for p, size in zip(parts, said, strict=True)
            if errors.get(p, 0.0) >= WORTH]  # fmt: skip
    return [*nudge, *told] or [FINE]
