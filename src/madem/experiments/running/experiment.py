"""An experiment: a question, the jobs that answer it, and what their results amount to."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from madem.device.presets import preset
from madem.errors import InputError
from madem.experiments.config.base import Strict
from madem.experiments.running.engines import Pool, processes, versions
from madem.experiments.running.jobs import Job, Tell, run_jobs
from madem.experiments.running.results import Result
from madem.experiments.running.rundir import RunDirectory
from madem.training import Plan

Records = Mapping[str, Any]
"""What the jobs of a run have found, by their names."""


@dataclass(frozen=True)
class Experiment:
    """What ``madem run`` needs of a question.

    ``model``: that of its configs; ``check``: raises ``InputError`` for a config that cannot be
    built; ``jobs``: all jobs of a run in a folder, the longest first, each of which returns what
    ``jobs/NAME.json`` shall hold; ``summarise``: what the results of all jobs, by name, amount
    to; ``plans``: the networks that can be looked at, by the name of the job that saves each,
    ``checkpoints/NAME.safetensors``.
    """

    name: str
    model: type[Strict]
    check: Callable[[Any], None]
    jobs: Callable[[Any, Path], list[Job]]
    summarise: Callable[[Any, RunDirectory, Records], Result]
    plans: Callable[[Any], Mapping[str, Plan]] = lambda _: {}

    def prepare(self, config: Any, path: Path) -> None:
        """Claim ``path`` for a run, before anything is written."""
        self.check(config)
        RunDirectory(path).claim(config.model_dump(mode="json"))

    def results(self, config: Any, path: Path) -> Result:
        """Write all results of the run in ``path`` from its jobs, and return them.

        Raises ``InputError`` where a job is not finished.
        """
        folder = RunDirectory(path)
        jobs = self.jobs(config, path.absolute())
        held = {job.name: folder.finished(job.name, job.key) for job in jobs}
        summary = self.summarise(config, folder, held)
        folder.save_json("summary.json", summary.model_dump(mode="json"))
        return summary

    def jobs_left(self, config: Any, path: Path) -> list[Job]:
        """Return the jobs that the run in ``path`` has still to do."""
        folder = RunDirectory(path)
        return [job for job in self.jobs(config, path.absolute()) if not job.done(folder)]

    def run(
        self, config: Any, path: Path, tell: Tell, workers: int = 2, pool: Pool | None = None
    ) -> Result:
        """Do what is left of the run in ``path``; write and return its results.

        ``pool``: what makes the workers; by default, ``workers`` processes of this computer, or
        this process itself where there is one worker or job. Raises ``InputError`` where another
        process is at work there.
        """
        self.prepare(config, path)
        folder = RunDirectory(path)
        with folder.at_work():
            began = time.time()
            left = self.jobs_left(config, path)
            if pool is None and min(workers, len(left)) > 1:
                pool = partial(processes, workers)
            run_jobs(left, RunDirectory(path.absolute()), tell, pool, workers)
            if left or folder.load_json("machine.json") is None:
                folder.save_json("machine.json", describe_machine(time.time() - began, workers))
            return self.results(config, path)


def describe_machine(seconds: float, workers: int) -> dict[str, Any]:
    """Return what depends on the computer: versions, name, and the wall-clock of this session."""
    return {
        "versions": {"Python": platform.python_version(), **versions()},
        "host": platform.node(),
        "processor": platform.machine(),
        "wall_clock_seconds": seconds,
        "workers": workers,
    }


REPRODUCED = (
    "Yi, Kendall, Williams, Kumar, Nature Electronics 6, 45-51 (2023), "
    "doi 10.1038/s41928-022-00869-w"
)
"""The article on the experiment that the project reproduces."""


def citations(config: Mapping[str, Any]) -> list[str]:
    """Return what work with a run of ``config`` should cite: us, the article, the device's source.

    A device of one's own whose file has moved since is left out.

    >>> citations({"machine": {"device": "cmo-hfox"}})[2:]
    ['IBM, arXiv 2502.04524']
    """
    device = (config.get("machine") or config.get("chip") or {}).get("device")
    sources: tuple[str, ...] = ()
    with suppress(InputError):
        sources = preset(device).citations if device else ()
    return [f"madem {version('madem')} (CITATION.cff)", REPRODUCED, *sources]
