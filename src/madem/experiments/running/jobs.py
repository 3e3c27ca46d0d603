"""The jobs of a run, each finished whole: done on worker processes, found again on resuming."""

from __future__ import annotations

import ctypes
import multiprocessing as mp
import os
import queue
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from madem.errors import InputError


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
    """A named piece of a run, ``steps`` long: ``function(*arguments, tell)``, picklable."""

    name: str
    steps: int
    function: Callable[..., None]
    arguments: tuple[Any, ...]

    def run(self, tell: Tell) -> None:
        """Do the job in this process, on one thread: how many cores there are changes nothing."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        keep_memory()
        try:
            self.function(*self.arguments, tell)
        finally:
            torch.set_num_threads(threads)


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

PR_SET_PDEATHSIG = 1
"""The option of ``prctl`` (Linux) that ends a process with its parent."""


def run_jobs(jobs: Sequence[Job], tell: Tell, workers: int) -> None:
    """Do ``jobs`` on ``workers`` processes (in this one where there is one worker or job).

    An error in a job ends the others and is raised here. Interrupted, it ends them at once;
    what they have saved stays.
    """
    if min(workers, len(jobs)) <= 1:
        for job in jobs:
            job.run(tell)
        return
    context = mp.get_context("spawn")
    told: mp.Queue[Progress | BaseException | None] = context.Queue()
    waiting: mp.Queue[Job | None] = context.Queue()
    for job in jobs:
        waiting.put(job)
    for _ in range(workers):
        waiting.put(None)
    processes = [
        context.Process(target=_work, args=(waiting, told, os.getpid()), daemon=True)
        for _ in range(workers)
    ]
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:  # workers inherit the mask: an interrupt is heard here, and never by them
        for process in processes:
            process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
    try:
        _listen(told, processes, tell)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _listen(told: Any, processes: Sequence[Any], tell: Tell) -> None:
    """Pass progress on until every worker is done."""
    busy = len(processes)
    while busy:
        try:
            message = told.get(timeout=1.0)
        except queue.Empty:
            for process in processes:
                if process.exitcode not in (None, 0):
                    raise ChildProcessError(
                        f"a worker process died with exit code {process.exitcode}"
                    ) from None
            continue
        if isinstance(message, BaseException):
            raise message
        if message is None:
            busy -= 1
        else:
            tell(message)


def _work(waiting: Any, told: Any, parent: int) -> None:
    """Do jobs until there are none; stop where the run that asked for them is gone."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def tell(progress: Progress) -> None:
        if os.getppid() != parent:
            os._exit(1)
        told.put(progress)

    with suppress(KeyboardInterrupt):
        while (job := waiting.get()) is not None:
            try:
                job.run(tell)
            except (InputError, OSError, MemoryError) as error:
                told.put(error)
                return
            except Exception as error:  # crosses a process border: the type may not pickle
                told.put(RuntimeError(f"{job.name}: {type(error).__name__}: {error}"))
                return
        told.put(None)
