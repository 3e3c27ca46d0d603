"""How good is the measured gradient, and what spoils it: beta, settling, round-off, noise."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from madem.errors import InputError
from madem.experiments.brailleconfig import BrailleConfig
from madem.experiments.circuits import ideal_images, trainer_of
from madem.experiments.imagesbuild import (
    COSTS,
    estimator_of,
    flat_for,
    machine_of,
)
from madem.experiments.imagesconfig import ImagesConfig
from madem.experiments.running.rundir import RunDirectory
from madem.learn import Agreement, Contrast, Estimator, Implicit, agreements
from madem.machine import Simulated
from madem.memory import refuse_memory
from madem.network import Cost
from madem.randomness import stream
from madem.solver import Sweep

TIGHT = Sweep(1e-13, 20_000)


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


Gradients = tuple[Tensor, ...]
Make = Callable[[torch.dtype, bool], Simulated]
"""The ideal machine of a precision, settling as configured or, where asked, to 1e-13."""


def check_images(
    config: ImagesConfig, run: RunDirectory | None = None, name: str | None = None,
    samples: int = 32,
) -> Check:  # fmt: skip
    """Check the gradient of an images config on ``samples`` test images.

    With the parameters saved in ``run``, if given, else those of the start; ``name`` must be None.
    Raises ``InputError`` where the network is not ideal, or has no minimum to differentiate at, and
    where there are fewer images.
    """
    images, network, held = ideal_images(config, run, name)
    if not 1 <= samples <= len(images.test):
        raise InputError(f"samples must be from 1 to {len(images.test)}, the images to test on, "
                         f"but is {samples}")  # fmt: skip
    x = flat_for(network, images.test[:samples])
    target = images.test_classes[:samples]

    def make(dtype: torch.dtype, tight: bool) -> Simulated:
        made = machine_of(config, network, dtype)
        if held is not None:
            for own, saved in zip(made.parameters, held, strict=True):
                own.copy_(saved)
        return Simulated(network, TIGHT if tight else made.solver, made.stores)

    cost, beta = COSTS[config.learning.cost], config.estimator.beta
    return _check(make, None, (x, target, cost), estimator_of(config, network), beta)


def check_braille(
    config: BrailleConfig, run: RunDirectory | None, name: str | None = None, samples: int = 32
) -> Check:
    """Check the gradient of the Braille network ``name``, on its chips, on ``samples`` words.

    The exact gradient is that of the ideal network with the weights that the chips really hold:
    those of the last checkpoint in ``run`` where given, else those programmed at the start.
    ``noise`` is what read noise and converters add. Raises ``InputError`` for an unknown name, and
    for more samples than memory holds.
    """
    trainer = trainer_of(config, run, name)
    one = trainer.plan
    refuse_memory(
        {"samples or chips": 200.0 * one.chips * samples * sum(map(sum, one.network.shapes))}
    )

    def make(dtype: torch.dtype, tight: bool) -> Simulated:
        held = [weight.to(dtype) for weight in trainer.machine.parameters]
        parts = [[weight[..., :-1], weight[..., -1]] for weight in held]
        return Simulated.ideal(one.network, parts, TIGHT if tight else trainer.machine.solver)

    def through(gradients: Gradients) -> Gradients:
        stores = [trainer.store(i) for i in range(len(one.placements))]
        parts = zip(stores, gradients[::2], gradients[1::2], strict=True)
        lines = [(s, torch.cat([w, b.unsqueeze(-1)], -1)) for s, w, b in parts]
        return _parted(tuple(store.through(gradient) for store, gradient in lines))

    x, target, _ = one.task.sample((one.chips, samples), stream(config.seed, one.name, "gradcheck"))
    given = x, target, one.task.cost
    chip = Chip(trainer.machine, through if one.wires else None, one.seen)
    return _check(make, chip, given, one.estimator, one.training.beta)


@dataclass(frozen=True)
class Chip:
    """A chip to be checked.

    ``through``: turns gradients by the weights between terminals into those by the cells' own
    weights, None where there are no wires; ``seen``: whether the rule uses the cells' voltages.
    """

    machine: Simulated
    through: Callable[[Gradients], Gradients] | None
    seen: bool

    def rule(self, gradients: Gradients) -> Gradients:
        """Return what a chip without noise finds where the ideal network has ``gradients``."""
        return self.through(gradients) if self.seen and self.through else gradients


def _check(
    make: Make,
    chip: Chip | None,
    given: tuple[Tensor, Tensor, Cost],
    estimator: Estimator,
    beta: float,
) -> Check:
    """Compare what ``estimator`` finds, on the ``chip`` where there is one, with the exact."""
    x, target, cost = given
    single, double = torch.float32, torch.float64
    precise = (x.double(), target.double() if target.is_floating_point() else target, cost)
    exact = Implicit()(make(double, True), *precise).weights
    found = {
        "tight": _ask(estimator, make(double, True), *precise),
        "double": _ask(estimator, make(double, False), *precise),
        "single": _ask(estimator, make(single, False), *given),
    }
    network = make(single, False).network
    seen = found["single"]
    size = _norm(exact)
    errors = {
        "beta_bias": _norm(found["tight"], exact) / size,
        "settling": _norm(found["double"], found["tight"]) / size,
        "round_off": _norm(found["single"], found["double"]) / size,
        "noise": 0.0,
    }
    if chip is not None:
        seen = _parted(_ask(estimator, chip.machine, *given))
        errors["noise"] = _norm(seen, chip.rule(found["single"])) / size
        if chip.through is not None:
            aimed, exact = chip.rule(exact), chip.through(exact)
            errors["wires"] = _norm(aimed, exact) / _norm(exact)
    labels, ours, theirs = [], [], []
    left, right = list(seen), list(exact)
    for number, joint in enumerate(network.joints, 1):
        count = len(joint.parameters)
        labels.append(f"layer {number}")
        ours.append(torch.cat([g.flatten().double() for g in left[:count]]))
        theirs.append(torch.cat([g.flatten() for g in right[:count]]))
        del left[:count], right[:count]
    free = make(double, True).settle(precise[0])
    return Check(
        agreements(labels, ours, theirs),
        errors,
        advise(beta, errors, estimator, free.rest.sweeps),
    )


def _parted(lines: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return gradients of ``[W b]`` as those of weights and biases."""
    return tuple(part for each in lines for part in (each[..., :-1], each[..., -1]))


def _ask(
    estimator: Estimator, machine: Simulated, x: Tensor, target: Tensor, cost: Cost
) -> tuple[Tensor, ...]:
    return tuple(g.double() for g in estimator(machine, x, target, cost).weights)


def _norm(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...] | None = None) -> float:
    """Return the norm of gradients, or of the difference of two."""
    parts = ours if theirs is None else [a - b for a, b in zip(ours, theirs, strict=True)]
    return float(torch.stack([p.norm() for p in parts]).norm())


def advise(
    beta: float, errors: dict[str, float], estimator: Estimator, sweeps: Tensor
) -> list[str]:
    """Return what would make the gradient better, the largest part of the error first."""
    told = []
    parts = sorted(errors, key=lambda part: -errors[part])
    for part in parts:
        if errors[part] < 1e-3:
            continue
        if part == "beta_bias":
            order = 2 if isinstance(estimator, Contrast) and len(estimator.pairs) == 1 and (
                estimator.pairs[0][1] != 0 and estimator.pairs[0][0] != 0) else 1  # fmt: skip
            better = beta * (1e-3 / errors[part]) ** (1 / order)
            told.append(f"beta {beta:g} biases the gradient by {100 * errors[part]:.2g} %: "
                        f"try estimator.beta={better:.1g}")  # fmt: skip
        elif part == "settling":
            told.append(
                f"unsettled phases spoil it by {100 * errors[part]:.2g} %: the free phase needs "
                f"{int(sweeps.max())} sweeps to settle to 1e-13; try solver.tolerance=1e-6 with "
                f"solver.budget={max(100, 2 * int(sweeps.max()))}"
            )
        elif part == "round_off":
            told.append(f"float32 spoils it by {100 * errors[part]:.2g} %: raise beta, or float64")
        elif part == "wires":
            told.append(f"terminals do not see the voltages of the cells: the gradient is off "
                        f"by {100 * errors[part]:.2g} %; try chip.voltages=cells")  # fmt: skip
        elif part == "noise":
            told.append(f"read noise and converters add {100 * errors[part]:.2g} % in one step: "
                        f"raise beta, or average more samples")  # fmt: skip
    return told or ["nothing to improve: every part of the error is below 0.1 %"]
