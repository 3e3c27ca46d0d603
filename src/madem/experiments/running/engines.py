"""Where jobs are done: worker processes of this computer (loky), or of many (dask)."""

from __future__ import annotations

import ctypes
import logging
import signal
import socket
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from joblib.externals.loky import ProcessPoolExecutor

from madem.errors import InputError, nearest, shown

ENGINES = ("loky", "dask")
PATIENCE = 4.0
"""Seconds to wait for a connection, then for the scheduler, then for a worker."""

GREETING = 2**20
"""Bytes that a scheduler's greeting never has."""

Pool = Callable[[], AbstractContextManager[Executor]]
"""Makes an executor that is gone, with what runs on it, when the context is left."""


@contextmanager
def engine(name: str, address: str | None, workers: int) -> Iterator[tuple[Pool | None, int]]:
    """Yield what makes pools of the engine ``name`` (None for its default), and its workers.

    ``workers``: processes of this computer. ``address``: of a dask scheduler, such as
    ``tcp://host:8786``, whose workers are used instead. Raises ``InputError`` where there is no
    such engine or nobody answers.
    """
    if name not in ENGINES:
        raise InputError(f"--engine: unknown engine {shown(name)} {nearest(name, ENGINES)}")
    if name == "loky":
        if address is not None:
            raise InputError("--address is of a dask scheduler: give --engine dask with it")
        yield None, workers
        return
    with _connected(address, workers) as client:
        yield partial(_cluster, client), len(client.ncores())


@contextmanager
def processes(workers: int) -> Iterator[Executor]:
    """Yield a pool of ``workers`` processes, each of one thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    pool = ProcessPoolExecutor(workers, initializer=_belong, env=threads)
    with warnings.catch_warnings():  # a worker that holds much memory is exchanged for a new one
        warnings.filterwarnings("ignore", "A worker stopped", UserWarning)
        try:
            yield pool
        finally:
            pool.shutdown(kill_workers=True)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let processes that are begun here never hear Ctrl-C: the run hears it and ends them."""
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)


PR_SET_PDEATHSIG = 1
"""The option of ``prctl`` (Linux) that ends a process with its parent."""


def _belong() -> None:
    """Let this worker end with the run, which alone hears Ctrl-C, whatever unblocked it here."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def versions() -> dict[str, str]:
    """Return the versions of what results may depend on."""
    return {name: version(name) for name in ("madem", "torch", "numpy")}


@contextmanager
def _connected(address: str | None, workers: int) -> Iterator[Any]:
    """Yield a client of the scheduler at ``address``, or of one of our own."""
    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise InputError("--engine dask needs another package: pip install 'madem[many]'") from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    where = f"--address: {shown(address)}"
    try:
        with uninterrupted():
            if address is None:
                client = Client(n_workers=workers, threads_per_worker=1, dashboard_address=None)
            else:
                parts = urlsplit(address)
                with socket.create_connection(
                    (parts.hostname or "", parts.port or 0), PATIENCE
                ) as asked:
                    # a scheduler speaks first, and says how many bytes are to come
                    size = int.from_bytes(asked.recv(8), "little") if parts.scheme == "tcp" else 1
                    if not 0 < size < GREETING:
                        raise ValueError
                    client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError):
        raise InputError(
            f"{where}: no dask scheduler answers there; an address is tcp://HOST:PORT"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
            theirs = client.run(versions)
        except TimeoutError:
            raise InputError(f"{where}: the scheduler there has no workers") from None
        except ModuleNotFoundError as error:
            raise InputError(f"{where}: a worker there has no {error.name}") from None
        for worker, held in theirs.items():
            if held != versions():
                raise InputError(f"{where}: worker {worker} has {held}, but here is {versions()}")
        yield client


@contextmanager
def _cluster(client: Any) -> Iterator[Executor]:
    """Yield the workers of ``client`` as a pool; a job that is lost three times is given up."""
    from distributed import KilledWorker

    pool = client.get_executor(pure=False)
    try:
        yield pool
    except (CancelledError, KilledWorker) as error:
        raise ChildProcessError(f"dask gave up: {error or 'the scheduler is gone'}") from error
    finally:
        pool.shutdown(wait=False)
