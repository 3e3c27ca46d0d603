"""Monte Carlo over chips: yield, recovery after damage, forgetting under measurement bias.

All levels and all chips of a question ride on the chip axis of one program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binomtest
from torch import Tensor

from madem.device import Static
from madem.errors import InputError
from madem.experiments.brailleconfig import defaults, make
from madem.experiments.brailleyardsticks import programmed
from madem.experiments.build import ESTIMATORS, Plan, plan
from madem.experiments.chipsconfig import ChipsConfig, make_chips
from madem.experiments.config.base import merged
from madem.experiments.running.experiment import Experiment
from madem.experiments.running.jobs import Job, Progress, Tell
from madem.experiments.running.rundir import RunDirectory
from madem.experiments.training import Trainer, accuracy, resume
from madem.learn import Estimator, Gradient
from madem.machine import Machine, Observed, SignedPair, Simulated, Written
from madem.machine.base import Scale
from madem.network import Cost, Nudge
from madem.randomness import stream

CHECKPOINT_EVERY = 100
PHASES = {"nudged": True, "free": False}
"""Which settling a biased measurement adds its offset to: whether it is a nudged one."""


def plan_of(config: ChipsConfig, levels: int, ideal: Sequence[str] = ()) -> Plan:
    """Return the plan of all chips of ``levels`` levels, the non-idealities ``ideal`` off."""
    task, depth = config.network.split(".")
    chip = config.chip.model_dump(mode="json") | dict.fromkeys(ideal, False)
    part = {"flip_probability": 0.2 if task == "classify" else 0.05, depth: {"steps": config.steps}}
    held = {"seed": config.seed, "chips": levels * config.chips, "letters": config.letters}
    values = merged(defaults(config.words), held | {"chip": chip, task: part})
    return plan(make(values), task, depth)


def over_chips(config: ChipsConfig, levels: Sequence[float]) -> Tensor:
    """Return the level of every chip, ``(chips, 1, 1)``, level after level."""
    return torch.tensor(levels).repeat_interleave(config.chips)[:, None, None]


def struck(plan: Plan, store: SignedPair, index: int, shares: Tensor) -> Static:
    """Return the cells of a layer after a share of each chip's, ``(chips, 1, 1)``, got stuck."""
    draws = stream(plan.seed, "struck", index)
    shape = store.static.stuck.shape
    hit = torch.rand(shape, generator=draws) < shares
    level = torch.rand(shape, generator=draws) * plan.cell.high
    stuck = store.static.stuck | hit
    return replace(store.static, stuck=stuck, level=torch.where(hit, level, store.static.level))


def uneven(plan: Plan, store: SignedPair, index: int, spreads: Tensor) -> Static:
    """Return the cells of a layer, their largest conductances spread by each chip's own amount."""
    normal = torch.randn(store.static.high.shape, generator=stream(plan.seed, "uneven", index))
    high = plan.cell.high * (1 + spreads * normal).clamp_min(0.1)
    return replace(store.static, high=high)


Flaw = Callable[[Plan, SignedPair, int, Tensor], Static]
"""What happens to the cells of one layer: (plan, cells, layer, level of every chip)."""


def pairs_of(machine: Simulated) -> list[SignedPair]:
    """Return the pairs of all layers."""
    return [store for store in machine.stores if isinstance(store, SignedPair)]


def afflict(plan: Plan, machine: Simulated, flaw: Flaw, levels: Tensor) -> None:
    """Let ``flaw`` happen to all layers."""
    for index, store in enumerate(pairs_of(machine)):
        store.wear(flaw(plan, store, index, levels))


def ex_situ(config: ChipsConfig, plan: Plan) -> Simulated:
    """Return chips onto which digitally trained weights were programmed once, the flaws unknown.

    One network per chip of a level, the same at every level.
    """
    training = plan.training.model_copy(update={"steps": config.ideal_steps})
    return programmed(replace(plan, training=training), config.chips)


def seen(trainer: Trainer, machine: Simulated, name: str) -> list[float]:
    """Return the accuracy of each chip on the validation data of ``trainer``."""
    x, target, _ = trainer.validation
    return accuracy(trainer.plan, machine, x, target, name).tolist()


def train(
    trainer: Trainer, path: Path, job: str, until: int, rates: Sequence[float] | None, tell: Tell
) -> None:
    """Train to the step ``until`` as planned, or at constant ``rates``, leaving checkpoints."""
    folder = RunDirectory(path)
    while trainer.step < until:
        trainer.learn(trainer.plan.rates(trainer.step) if rates is None else rates)
        if trainer.step % CHECKPOINT_EVERY == 0 or trainer.step == until:
            folder.save_tensors(f"checkpoints/{job}.safetensors", *trainer.checkpoint())
            last = max(until, *trainer.looks)
            tell(Progress(job, trainer.step, last, f"{trainer.plan.chips} chips"))


def yield_job(
    config: ChipsConfig, path: Path, job: str, flaw: Flaw, levels: Sequence[float], tell: Tell
) -> dict[str, Any]:
    """Train chips of every level of a flaw, and program ideal weights onto the same ones."""
    plan = plan_of(config, len(levels), ["stuck_cells", "device_spread"])
    each = over_chips(config, levels)
    trainer = Trainer(plan, 2)
    afflict(plan, trainer.machine, flaw, each)
    resume(trainer, path, job)
    train(trainer, path, job, config.steps, None, tell)
    programmed = ex_situ(config, plan)
    afflict(plan, programmed, flaw, each)
    return {
        "in situ": seen(trainer, trainer.machine, "in situ"),
        "ex situ": seen(trainer, programmed, "ex situ"),
    }


def recovery_job(config: ChipsConfig, path: Path, job: str, tell: Tell) -> dict[str, Any]:
    """Let cells die half-way through training, and train on; beside it, weights that cannot."""
    plan = plan_of(config, len(config.damage))
    each, half = over_chips(config, config.damage), config.steps // 2
    trainer = Trainer(plan, 2)
    trainer.looks = evenly(0, config.steps, config.looks) | {half}
    resume(trainer, path, job)
    train(trainer, path, job, min(half, config.steps), None, tell)
    if not dead(trainer, half):
        afflict(plan, trainer.machine, struck, each)
        trainer.look()
    train(trainer, path, job, config.steps, None, tell)
    programmed = ex_situ(config, plan)
    before = seen(trainer, programmed, "ex situ before")
    afflict(plan, programmed, struck, each)
    after = seen(trainer, programmed, "ex situ after")
    return {"curve": trainer.curve, "half": half, "ex situ": {"before": before, "after": after}}


def dead(trainer: Trainer, half: int) -> bool:
    """Return whether the cells have died already: the chips were then looked at twice."""
    return sum(step == half for step, *_ in trainer.curve) > 1


def evenly(first: int, last: int, count: int) -> set[int]:
    """Return ``count`` steps evenly spread from ``first`` to ``last``.

    >>> sorted(evenly(0, 10, 3))
    [0, 5, 10]
    """
    return {first + round((last - first) * k / (count - 1)) for k in range(count)}


class Biased(Machine):
    """A machine whose sensed activities are off by a constant in some of its settlings.

    ``offsets``: one per layer, ``(chips, 1, units)``, in units of the state; ``nudged``: whether
    they are added to what is sensed in nudged phases, or in free ones, the outputs among it.
    """

    def __init__(self, machine: Machine, offsets: tuple[Tensor, ...], nudged: bool) -> None:
        """Put the measurement around ``machine``."""
        self.network = machine.network
        self.machine = machine
        self.offsets = offsets
        self.nudged = nudged

    @property
    def parameters(self) -> list[Tensor]:
        """The machine's."""
        return self.machine.parameters

    def settle(
        self,
        x: Tensor,
        nudge: Nudge | None = None,
        start: Observed | Sequence[Tensor] | None = None,
    ) -> Observed:
        """Come to rest as the machine does; what is sensed of it is off."""
        settled = self.machine.settle(x, nudge, start)
        return settled if (nudge is not None) != self.nudged else self._off(settled)

    def settle_each(self, free: Observed, nudges: Sequence[Nudge]) -> Sequence[Observed]:
        """Come to rest under each nudge; what is sensed is off."""
        phases = self.machine.settle_each(free, nudges)
        return [self._off(phase) for phase in phases] if self.nudged else phases

    def _off(self, settled: Observed) -> Observed:
        states = [s + o for s, o in zip(settled.states[1:], self.offsets, strict=True)]
        output = settled.output + self.offsets[-1]
        return replace(settled, states=(settled.states[0], *states), output=output)

    def contrast(self, high: Observed, low: Observed, scale: Scale = 1.0) -> tuple[Tensor, ...]:
        """Return the machine's contrast of what was sensed."""
        return self.machine.contrast(high, low, scale)

    def write(self, changes: Sequence[Tensor]) -> tuple[Written | None, ...]:
        """Write the machine."""
        return self.machine.write(changes)


@dataclass(frozen=True)
class BiasedEstimator:
    """An estimator that sees the machine through a biased measurement."""

    estimator: Estimator
    offsets: tuple[Tensor, ...]
    nudged: bool

    def __call__(self, machine: Machine, x: Tensor, target: Tensor, cost: Cost) -> Gradient:
        """Return the gradient that is measured."""
        return self.estimator(Biased(machine, self.offsets, self.nudged), x, target, cost)


def forgetting_job(
    config: ChipsConfig, path: Path, job: str, estimator: str, nudged: bool, tell: Tell
) -> dict[str, Any]:
    """Train chips, then let them learn on with a measurement that is off."""
    plan = plan_of(config, len(config.offsets))
    trainer = Trainer(plan, 2)
    end = config.steps + config.bias_steps
    trainer.looks = evenly(config.steps, end, config.looks)
    resume(trainer, path, job)
    train(trainer, path, job, config.steps, None, tell)
    each = over_chips(config, config.offsets)
    offsets = [
        each * torch.randn(plan.chips, 1, layer.shape[0],
                           generator=stream(plan.seed, "offsets", index))
        for index, layer in enumerate(plan.network.layers)
    ]  # fmt: skip
    measured = ESTIMATORS[estimator](plan.training.beta)
    trainer.estimator = BiasedEstimator(measured, tuple(offsets), nudged)
    rates = [config.bias_rate * rate for rate in plan.training.rates]
    train(trainer, path, job, end, rates, tell)
    return {"curve": [look for look in trainer.curve if look[0] >= config.steps]}


def jobs_of(config: ChipsConfig, path: Path) -> list[Job]:
    """Return all jobs of a run, the longest first."""
    flaws = {
        "yield.defects": (struck, config.defect_rates),
        "yield.spread": (uneven, config.spreads),
    }
    long = config.steps + config.bias_steps
    biased = [
        Job(name, long, forgetting_job, (config, path, name, estimator, nudged))
        for estimator in ESTIMATORS
        for phase, nudged in PHASES.items()
        for name in [f"forgetting.{estimator}.{phase}"]
    ]
    whole = [
        Job(name, config.steps, yield_job, (config, path, name, flaw, levels))
        for name, (flaw, levels) in flaws.items()
    ]
    recovery = Job("recovery", config.steps, recovery_job, (config, path, "recovery"))
    return [*biased, *whole, recovery]


def check(config: ChipsConfig) -> None:
    """Raise ``InputError`` for a config that cannot be built."""
    for field in ("defect_rates", "spreads", "damage", "offsets"):
        levels = getattr(config, field)
        if len(levels) < 2 or levels[0] or sorted(set(levels)) != list(levels):
            raise InputError(f"{field} must begin with 0 and rise, but is {list(levels)}")
    plan_of(config, 1)
    if not config.chip.read_noise and not config.chip.converters:
        raise InputError(
            "chip: an ideal measurement has no offset; leave read_noise or converters on"
        )


def by_level(config: ChipsConfig, values: Sequence[float]) -> Tensor:
    """Return the accuracies of all chips, ``(levels, chips)``."""
    return torch.tensor(values, dtype=torch.float64).view(-1, config.chips)


def good_share(accuracies: Tensor, target: float) -> list[list[float]]:
    """Return of each level the share of chips that reach ``target``, and Wilson's 95 % interval.

    >>> [round(v, 3) for v in good_share(torch.tensor([[0.9, 0.9, 0.9, 0.1]]), 0.5)[0]]
    [0.75, 0.301, 0.954]
    """
    rows = []
    for level in accuracies:
        good = int((level >= target).sum())
        interval = binomtest(good, len(level)).proportion_ci(method="wilson")
        rows.append([good / len(level), float(interval.low), float(interval.high)])
    return rows


def curve_of(config: ChipsConfig, curve: Sequence[Any]) -> dict[str, Any]:
    """Return steps, and mean and standard deviation over chips, ``[look][level]``."""
    looks = torch.stack([by_level(config, values) for _, values, _ in curve])
    return {
        "step": [step for step, *_ in curve],
        "mean": looks.mean(-1).tolist(),
        "sd": looks.std(-1).tolist(),
    }


def summarise(config: ChipsConfig, folder: RunDirectory) -> dict[str, Any]:
    """Return yields, recovery and forgetting, level by level."""
    held = {j.name: folder.finished(j.name) for j in jobs_of(config, folder.path)}
    yields: dict[str, Any] = {}
    for name, levels in (("defects", config.defect_rates), ("spread", config.spreads)):
        yields[name] = {"levels": list(levels)}
        for way, values in held[f"yield.{name}"].items():
            accuracies = by_level(config, values)
            yields[name][way] = {
                "yield": good_share(accuracies, config.target),
                "mean": accuracies.mean(-1).tolist(),
                "sd": accuracies.std(-1).tolist(),
            }
    recovery = held["recovery"]
    fixed = {
        when: by_level(config, values).mean(-1).tolist()
        for when, values in recovery["ex situ"].items()
    }
    half = [k for k, (step, *_) in enumerate(recovery["curve"]) if step == recovery["half"]]
    curve = curve_of(config, recovery["curve"])
    return {
        "experiment": "chips",
        "seed": config.seed,
        "chips": config.chips,
        "target": config.target,
        "yield": yields,
        "recovery": {
            "levels": list(config.damage),
            "half": recovery["half"],
            "curve": curve,
            "before": curve["mean"][half[0]],
            "just_after": curve["mean"][half[1]],
            "after": curve["mean"][-1],
            "ex_situ": fixed,
        },
        "forgetting": {"levels": list(config.offsets)}
        | {
            key: curve_of(config, held[f"forgetting.{key}"]["curve"])
            for estimator in ESTIMATORS
            for phase in PHASES
            for key in [f"{estimator}.{phase}"]
        },
    }


EXPERIMENT = Experiment("chips", make_chips, check, jobs_of, summarise)
