"""How good is the measured gradient, and what spoils it: beta, settling, round-off, noise."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from madem.experiments.imagesbuild import (
    COSTS,
    estimator_of,
    flat_for,
    images_of,
    machine_of,
    network_of,
)
from madem.experiments.imagesconfig import ImagesConfig
from madem.learn import Agreement, Contrast, Estimator, Implicit, agreements
from madem.machine import Simulated
from madem.network import Cost
from madem.solver import Sweep

TIGHT = Sweep(1e-13, 20_000)


@dataclass(frozen=True)
class Check:
    """What ``gradcheck`` found.

    ``layers``: agreement with the exact gradient, one a joint, from the input up; ``errors``: norms
    of the parts of the error over the norm of the exact gradient; ``advice``: what would help.
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


def check_images(
    config: ImagesConfig, held: list[Tensor] | None = None, samples: int = 32
) -> Check:
    """Check the gradient of an images config on ``samples`` test images.

    ``held``: the parameters of a saved run, else those of the start. Raises ``InputError`` where
    the network has no minimum to differentiate at.
    """
    images = images_of(config)
    network = network_of(config, tuple(images.train.shape[1:]))
    x = flat_for(network, images.test[:samples])
    target = images.test_classes[:samples]
    estimator, cost = estimator_of(config), COSTS[config.learning.cost]

    def machine(dtype: torch.dtype, tight: bool) -> Simulated:
        made = machine_of(config, network, dtype)
        if held is not None:
            for own, saved in zip(made.parameters, held, strict=True):
                own.copy_(saved)
        return Simulated(network, TIGHT if tight else made.solver, made.stores)

    single, double = torch.float32, torch.float64
    exact = Implicit()(machine(double, True), x.double(), target, cost).weights
    found = {
        "tight": _ask(estimator, machine(double, True), x.double(), target, cost),
        "double": _ask(estimator, machine(double, False), x.double(), target, cost),
        "single": _ask(estimator, machine(single, False), x, target, cost),
    }
    size = _norm(exact)
    errors = {
        "beta_bias": _norm(found["tight"], exact) / size,
        "settling": _norm(found["double"], found["tight"]) / size,
        "round_off": _norm(found["single"], found["double"]) / size,
        "noise": 0.0,
    }
    labels, ours, theirs = [], [], []
    left, right = list(found["single"]), list(exact)
    for number, joint in enumerate(network.joints, 1):
        count = len(joint.parameters)
        labels.append(f"layer {number}")
        ours.append(torch.cat([g.flatten().double() for g in left[:count]]))
        theirs.append(torch.cat([g.flatten() for g in right[:count]]))
        del left[:count], right[:count]
    free = machine(double, True).settle(x.double())
    return Check(
        agreements(labels, ours, theirs),
        errors,
        advise(config, errors, estimator, free.rest.sweeps),
    )


def _ask(
    estimator: Estimator, machine: Simulated, x: Tensor, target: Tensor, cost: Cost
) -> tuple[Tensor, ...]:
    return tuple(g.double() for g in estimator(machine, x, target, cost).weights)


def _norm(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...] | None = None) -> float:
    """Return the norm of gradients, or of the difference of two."""
    parts = ours if theirs is None else [a - b for a, b in zip(ours, theirs, strict=True)]
    return float(torch.stack([p.norm() for p in parts]).norm())


def advise(
    config: ImagesConfig, errors: dict[str, float], estimator: Estimator, sweeps: Tensor
) -> list[str]:
    """Return what would make the gradient better, the largest part of the error first."""
    told = []
    parts = sorted(errors, key=lambda part: -errors[part])
    for part in parts:
        if errors[part] < 1e-3:
            continue
        if part == "beta_bias":
            beta = config.estimator.beta
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
    return told or ["nothing to improve: every part of the error is below 0.1 %"]
