"""How good is the measured gradient, and what spoils it: beta, settling, round-off, hardware."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from madem.inspect.subject import Subject
from madem.learn import Agreement, Contrast, Estimator, Implicit, Unrolled, agreements, centred
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

Gradients = tuple[Tensor, ...]


@dataclass(frozen=True)
class Check:
    """What ``gradcheck`` found.

    ``layers``: agreement with the exact gradient, one per joint, from the input up; ``errors``:
    norms of the parts of the error over that of the exact gradient, ``wires`` where there are any;
    ``advice``: what would help.
    """

    layers: list[Agreement]
    errors: dict[str, float]
    advice: list[str]

    def text(self) -> str:
        """Return everything as JSON.

        >>> Check([], {"noise": 0.0}, []).text().startswith("{")
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
    begun = streams(plan.estimator)

    def asked(machine: Machine, estimator: Estimator = plan.estimator) -> Gradients:
        rewind(begun, plan.estimator)
        wide = isinstance(machine, Simulated) and machine.parameters[0].dtype == torch.float64
        given = (x.double(), _precise(target)) if wide else (x, target)
        return tuple(g.double() for g in estimator(machine, *given, plan.task.cost).weights)

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
    free = tight.settle(x.double())
    both = zip(plan.network.joints, tight.parted(seen), tight.parted(exact), strict=True)
    held = [(_label(i, joint), _flat(ours), _flat(theirs))
            for i, (joint, ours, theirs) in enumerate(both, 1) if theirs]  # fmt: skip
    labels, ours, theirs = zip(*held, strict=True)
    return Check(
        agreements(labels, ours, theirs),
        errors,
        advise(plan.estimator, plan.network.shares[-1], errors, free.rest.sweeps),
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


def advise(
    estimator: Estimator, share: float, errors: dict[str, float], sweeps: Tensor
) -> list[str]:
    """Return what would make the gradient better, the largest part of the error first.

    ``share``: of the nudged layer in the energy, by which configs multiply their beta.
    """
    beta, most = getattr(estimator, "beta", None), int(sweeps.max())
    better = "a smaller beta"
    if isinstance(beta, float | int):
        even = isinstance(estimator, Contrast) and len(estimator.pairs) == 1 and (
            estimator.pairs[0][1] != 0 and estimator.pairs[0][0] != 0)  # fmt: skip
        excess = max(errors["beta_bias"], WORTH) / WORTH
        better = f"estimator.beta={beta / share / excess ** (1 / 2 if even else 1):.1g}"
    advice = {
        "beta_bias": f"the strength of the nudge biases the gradient by {{}}: try {better}",
        "settling": (
            f"unsettled phases spoil it by {{}}: the free phase needs {most} sweeps to settle to "
            f"1e-13; try solver.tolerance=1e-6 with solver.budget={max(100, 2 * most)}"
        ),
        "round_off": "float32 spoils it by {}: raise beta, or float64",
        "wires": (
            "terminals do not see what wires and lines do to the cells: the gradient is off by "
            "{}; with wires, try machine.voltages=cells"
        ),
        "noise": (
            "read noise, converters and what else is of the machine add {} in one step: raise "
            "beta, or average more samples"
        ),
    }
    parts = sorted(errors, key=lambda part: -errors[part])
    told = [advice[p].format(f"{100 * errors[p]:.2g} %") for p in parts if errors[p] >= WORTH]
    return told or ["nothing to improve: every part of the error is below 0.1 %"]
