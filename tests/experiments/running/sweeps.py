"""A sweep of small jobs, whose workers can be killed while they are at work."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from madem.experiments.config.base import Strict
from madem.experiments.running.experiment import Experiment
from madem.experiments.running.jobs import Job, Progress, Tell
from madem.experiments.running.results import Result
from madem.experiments.running.rundir import RunDirectory

STEPS = 20


class Sweep(Strict):
    """``jobs`` descents at a ``rate``; SWEEP_PAUSE of the environment makes their steps slow."""

    jobs: int = 16
    rate: float = 1e-3


def descend(config: Sweep, path: Path, name: str, tell: Tell) -> dict[str, Any]:
    """Descend a quadratic; killed once midway where a file KILL-NAME lies beside the run."""
    folder, checkpoint = RunDirectory(path), f"checkpoints/{name}.safetensors"
    generator = torch.Generator().manual_seed(int(name))
    matrix = torch.randn(60, 60, generator=generator, dtype=torch.float64)
    point = torch.randn(60, generator=generator, dtype=torch.float64)
    begun = 0
    if (held := folder.load_tensors(checkpoint)) is not None:
        point, begun = held[0]["point"], held[1]
    for step in range(begun, STEPS):
        time.sleep(float(os.environ.get("SWEEP_PAUSE", "0")))
        point -= config.rate * matrix.T @ (matrix @ point)
        if step % 5 == 4:
            folder.save_tensors(checkpoint, {"point": point}, step + 1)
            tell(Progress(name, step + 1, STEPS, f"step {step + 1}"))
        mark = path.parent / f"KILL-{name}"
        if step == STEPS // 2 and mark.exists():
            mark.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
    return {"point": point.tolist(), "threads": torch.get_num_threads()}


class Points(Result):
    """Where every descent came to."""

    points: list[list[float]]


def jobs_of(config: Sweep, path: Path) -> list[Job]:
    return [Job(str(n), STEPS, descend, (config, path, str(n))) for n in range(config.jobs)]


def check(config: Sweep) -> None:
    del config


def summarise(config: Sweep, folder: RunDirectory, held: Mapping[str, Any]) -> Points:
    results = [held[str(n)] for n in range(config.jobs)]
    assert all(each["threads"] == 1 for each in results)
    return Points(points=[each["point"] for each in results])


SWEEP = Experiment("sweep", Sweep, check, jobs_of, summarise)
