"""The jobs of a run: each leaves one record, and none that is there is done again."""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from secrets import token_hex
from typing import Any

import joblib
import torch
from pydantic import BaseModel

from madem.errors import InputError, abridged
from madem.experiments.running.engines import Pool, uninterrupted
from madem.experiments.running.rundir import RunDirectory


@dataclass(frozen=True)
class Progress:
    """How far a job is: ``done`` of ``total`` steps, and what it wants to say."""

    job: str
    done: int
    total: int
    text: str = ""


Tell = Callable[[Progress], None]
"""Where a job reports its progress."""


@dataclass(frozen=True)
class Job:
    """A named piece of a run, ``steps`` long: ``function(*arguments, tell)``, picklable.

    The function returns the job's result, which JSON must know. Equal functions and arguments
    must give equal results: a job may be begun on one machine and finished on another.
    """

    name: str
    steps: int
    function: Callable[..., dict[str, Any]]
    arguments: tuple[Any, ...]

    @cached_property
    def key(self) -> str:
        """The hash of all that the result depends on, folders excepted; it stands in the record."""
        said = [
            part.model_dump(mode="json") if isinstance(part, BaseModel) else part
            for part in self.arguments
            if not isinstance(part, Path)
        ]
        return str(joblib.hash([self.name, self.function, said]))

    def done(self, folder: RunDirectory) -> bool:
        """Return whether ``folder`` holds the record of this very job."""
        return folder.load_json(f"jobs/{self.name}.json", self.key) is not None

    def run(
        self, folder: RunDirectory, tell: Tell, going: Callable[[], None] = lambda: None
    ) -> None:
        """Do the job in this process, on one thread, and leave its record in ``folder``.

        ``going``: asked before the record is written; raises where nobody wants it any more.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        keep_memory()
        try:
            result = self.function(*self.arguments, tell)
        finally:
            torch.set_num_threads(threads)
        going()
        folder.save_json(f"jobs/{self.name}.json", result, self.key)


def keep_memory() -> None:
    """Let the C library keep what is freed, for the next tensor of that size.

    Given back to the system, large tensors fault in page by page every time they are made, a
    quarter of the time of a training. Does nothing where the library is not GNU's.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, size in ((M_MMAP_THRESHOLD, 2**25), (M_TRIM_THRESHOLD, 2**31 - 1)):
            mallopt(option, size)


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""The options of ``mallopt`` (malloc.h)."""

LOSSES = 3
"""How many pools in a row may break without a job finished: then a job breaks them, not chance."""


def run_jobs(
    jobs: Sequence[Job], folder: RunDirectory, tell: Tell, pool: Pool | None, workers: int = 1
) -> None:
    """Do those of ``jobs`` that ``folder`` has no record of, in a ``pool`` or in this process.

    The pool gets no more jobs at once than it has ``workers``, so that nothing waits in it when it
    is ended.

    A worker that dies costs the jobs in flight, which are begun again from their checkpoints. An
    error in a job ends the others and is raised here; so is an interrupt. What they have saved
    stays. Raises ``ChildProcessError`` where workers die and nothing gets finished.
    """
    lost, before = 0, len(jobs) + 1
    while left := [job for job in jobs if not job.done(folder)]:
        lost = lost if len(left) == before else 0
        before = len(left)
        try:
            if pool is None:
                left[0].run(folder, tell)
            else:
                _share(left, folder, tell, pool, workers)
        except BrokenExecutor as error:
            lost += 1
            if lost == LOSSES:
                raise ChildProcessError(
                    f"worker processes died {LOSSES} times and no job was finished in between; "
                    "is there enough memory for --workers?"
                ) from error


def _share(jobs: Sequence[Job], folder: RunDirectory, tell: Tell, pool: Pool, workers: int) -> None:
    """Do ``jobs`` in one pool, and pass on what they say of their progress.

    Progress is a file a job, as the record is, so that it needs no way between the machines but
    the folder. It names the run that asked: a job that finds another there, or none, stops.
    """
    run, heard = token_hex(8), dict[str, Any]()

    def listen() -> None:
        for job in jobs:
            said = (folder.load_json(_said(job)) or {}).get("said")
            if said and said != heard.get(job.name):
                heard[job.name] = said
                tell(Progress(**said))

    for job in jobs:
        folder.save_json(_said(job), {"run": run})
    try:
        with pool() as executor:
            waiting, asked = list(jobs), dict[Future[None], Job]()
            while waiting or asked:
                with uninterrupted():
                    while waiting and len(asked) < workers:
                        job = waiting.pop(0)
                        asked[executor.submit(_do, job, folder.path, run)] = job
                done, _ = wait(asked, 0.5, FIRST_COMPLETED)
                listen()
                for each in done:
                    each.result()
                    job = asked.pop(each)
                    text = heard.get(job.name, {}).get("text", "")
                    tell(Progress(job.name, job.steps, job.steps, text))
    finally:
        folder.clear()


def _said(job: Job) -> str:
    """Return the name of a job's progress; left by a kill, it is cleared up as all parts are."""
    return f"jobs/.{job.name}.part"


def _do(job: Job, path: Path, run: str) -> None:
    """Do ``job`` on a worker, as long as the ``run`` that asked for it goes on."""
    folder = RunDirectory(path)
    if not path.is_dir():
        raise InputError(
            f"{abridged(path)} is not to be seen from {socket.gethostname()}: a run on many "
            "machines needs a folder that all of them share"
        )

    def going() -> None:
        if (folder.load_json(_said(job)) or {}).get("run") != run:
            raise InterruptedError(f"{job.name}: the run that asked for it is over")

    def tell(progress: Progress) -> None:
        going()
        folder.save_json(_said(job), {"run": run, "said": asdict(progress)})

    job.run(folder, tell, going)
