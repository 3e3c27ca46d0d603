"""Training one network on one task, with the yardsticks of the main job beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from madem.data.task import Flat
from madem.experiments.config.parts import DigitalConfig
from madem.experiments.running.experiment import Experiment, Records
from madem.experiments.running.jobs import Job, Tell
from madem.experiments.running.results import Mean
from madem.experiments.running.rundir import RunDirectory
from madem.experiments.running.trained import resumed, stepping, train
from madem.experiments.train.config import TrainConfig
from madem.experiments.train.results import Look, Spent, TrainResults
from madem.ledger import load_prices, totals
from madem.training import (
    OnChips,
    Plan,
    Trainer,
    ideal_outputs,
    measured,
    predicts,
    prices_of,
    programmed,
    score,
    scores,
    train_digitally,
)

JOB, YARDSTICKS = "train", "yardsticks"


def train_job(config: TrainConfig, path: Path, tell: Tell) -> dict[str, Any]:
    """Train the network, from its checkpoint where there is one; return what came of it."""
    folder, plan = RunDirectory(path), config.plan()
    trainer = resumed(Trainer(plan), folder, JOB)
    train(trainer, folder, JOB, tell)
    x, target = plan.held("test")
    found = scores(plan, trainer.machine, x, target, "test").reshape(-1, len(x))
    folder.save_tensors(f"jobs/{JOB}.safetensors", {"test": found})
    spent = trainer.ledger.rows(prices_of(plan, load_prices())) if trainer.ledger.totals else []
    return {
        "curve": [{k: v for k, v in row.items() if k != "spent"} for row in trainer.curve],
        "written": float(trainer.written_fraction.mean()) if plan.ensemble else None,
        "ledger": spent,
        "score": "squared error" if predicts(plan.task.cost, target) else "accuracy",
        "classes": by_class(plan, found, target),
    }


def by_class(plan: Plan, found: Tensor, target: Tensor) -> dict[str, float]:
    """Return the share of right decisions of every class whose name is known, mean over chips."""
    task = plan.task.task if isinstance(plan.task, Flat) else plan.task
    names = () if predicts(task.cost, target) else getattr(task, "names", ())
    shares = {name: found[:, target == i] for i, name in enumerate(names)}
    return {name: float(each.mean()) for name, each in shares.items() if each.numel()}


def yardstick_job(config: TrainConfig, path: Path, tell: Tell) -> dict[str, Any]:
    """Train the network digitally as every candidate says; test the best of each yardstick."""
    plan = config.plan()
    assert config.yardsticks is not None
    candidates = {"backprop": config.yardsticks.backprop}
    if isinstance(plan.making, OnChips):
        candidates["ex_situ"] = config.yardsticks.ex_situ
    steps, count = plan.schedule.steps, sum(map(len, candidates.values()))
    done, found = 0, dict[str, Tensor]()
    for name, each in candidates.items():
        tried = []
        for candidate in each:
            heard = stepping(tell, YARDSTICKS, count * steps, name, done * steps)
            tried.append(tested(plan, candidate, name, heard))
            done += 1
        found[name] = max(tried, key=lambda pair: pair[0])[1]
    RunDirectory(path).save_tensors(f"jobs/{YARDSTICKS}.safetensors", found)
    return {"yardsticks": list(found)}


def tested(
    plan: Plan, how: DigitalConfig, name: str, tell: Callable[[int], None]
) -> tuple[float, Tensor]:
    """Return how good a candidate is on validation data, and its scores on the test set."""
    once, found = name == "ex_situ", {}
    if once:
        machine = programmed(plan, how.recipe(plan), tell=tell)
    else:
        weights = train_digitally(plan, how.recipe(plan), name, tell)
    for part in ("validation", "test"):
        x, target = plan.held(part)
        found[part] = (
            scores(plan, machine, x, target, f"ex situ {part}") if once
            else score(plan.task.cost, ideal_outputs(plan, weights, x), target)
        )  # fmt: skip
    better = -1 if predicts(plan.task.cost, target) else 1
    return better * float(found["validation"].mean()), found["test"].flatten(0, -2)


def jobs_of(config: TrainConfig, path: Path) -> list[Job]:
    """Return the jobs of a run: the training, and its yardsticks."""
    steps = config.plan().schedule.steps
    jobs = [Job(JOB, steps, train_job, (config, path))]
    if config.yardsticks is not None:
        jobs.append(Job(YARDSTICKS, steps, yardstick_job, (config, path)))
    return jobs


def check(config: TrainConfig) -> None:
    """Raise ``InputError`` for a config that cannot be built, its data included."""
    plan = config.plan()
    plan.making.assemble(plan)


def summarise(config: TrainConfig, folder: RunDirectory, held: Records) -> TrainResults:
    """Return what came of the training, from its jobs."""
    result, test = held[JOB], folder.tensors(JOB)["test"]
    beside = folder.tensors(YARDSTICKS) if YARDSTICKS in held else {}
    spent = totals(result["ledger"]) if result["ledger"] else None
    each = test.mean(-1)
    folder.save_json("ledger.json", {JOB: result["ledger"]})
    return TrainResults(
        seed=config.seed,
        chips=len(test),
        score=result["score"],
        test=Mean.of(measured(test)),
        spread=float(each.std()) if len(each) > 1 else 0.0,
        **{name: Mean.of(measured(other)) for name, other in beside.items()},
        gain={name: Mean.of(measured(test - other)) for name, other in beside.items()},
        classes=result.get("classes", {}),
        written=result["written"],
        unsettled=result["curve"][-1]["unsettled"],
        spent=None if spent is None else Spent(
            array_joules=spent["array_only"]["joules"],
            array_seconds=spent["array_only"]["seconds"],
            joules=spent["all_in"]["joules"],
            seconds=spent["all_in"]["seconds"],
        ),
        curve=[Look(
            step=row["step"], validation=sum(row["score"]) / len(row["score"]),
            training=row["train_score"], cost=row["train_cost"], unsettled=row["unsettled"],
        ) for row in result["curve"]],
    )  # fmt: skip


def plans(config: TrainConfig) -> dict[str, Plan]:
    """Return the one plan, by the name of its job."""
    return {JOB: config.plan()}


EXPERIMENT = Experiment("train", TrainConfig, check, jobs_of, summarise, plans)
