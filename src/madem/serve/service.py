"""The service: its folder, its four processes, and who starts them again."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from madem.beam import needed
from madem.documents import dump_yaml, read_yaml
from madem.errors import InputError, abridged
from madem.experiments.running.files import locked, write_atomically
from madem.memory import refuse_memory
from madem.serve.config import ServiceConfig
from madem.serve.learner import learn
from madem.serve.model import calibrated, made, newest
from madem.serve.page import show, token_of
from madem.serve.receiver import receive
from madem.serve.status import Status
from madem.serve.store import Store
from madem.serve.worker import work

Doing = Callable[[ServiceConfig, Path, Path, Callable[[], bool]], None]

PARTS: dict[str, Doing] = {"receiver": receive, "worker": work, "learner": learn, "page": show}
"""The processes, in the order in which they are started."""

SLOWEST = 2.0
"""Seconds that are waited at most until a process that dies often is started again."""

LEAVING = 5.0
"""Seconds that are waited for ports which are taken: a service that was killed is leaving them."""

logger = logging.getLogger("madem.serve")


def prepare(config: ServiceConfig, folder: Path) -> Store:
    """Take the folder for ``config``, and calibrate a chip where it has none.

    Raises ``InputError`` where the folder is of another config, or something is not installed.
    """
    for name in (
        "zmq",
        "cbor2",
        "dectris.compression",
        "starlette",
        "uvicorn",
        "prometheus_client",
    ):
        needed(name, "serve")
    for part in folder.glob(".*.part"):  # which a kill has left half written
        part.unlink(missing_ok=True)
    for below in ("status", "verdicts"):
        (folder / below).mkdir(parents=True, exist_ok=True)
    held, file = config.model_dump(mode="json"), folder / "config.yaml"
    store = Store(folder, config.generations)
    if (store.numbers() and file.exists()
            and read_yaml(file, "config").get("detector") != held["detector"]):  # fmt: skip
        raise InputError(
            f"--out: {abridged(folder)} holds a chip of another config: choose another folder, or "
            "set detector as it was"
        )
    write_atomically(file, dump_yaml(held).encode())
    current = store.current()
    if current is None:
        if store.numbers():
            try:
                store.load(store.numbers()[-1])
            except InputError as error:
                raise InputError(f"--out: no generation of {abridged(folder)} can be used: "
                                 f"{error}, or begin in another folder") from None  # fmt: skip
        logger.info("generation %d: calibrated", calibrated(config, store))
        store.pin(1)
    elif newest(config, store) is None:
        made(config, current)  # says what is wrong with it
    token_of(folder)
    return store


def serve(
    config: ServiceConfig, folder: Path, ended: threading.Event, ready: Callable[[], Any] = print
) -> None:
    """Run the service in ``folder`` until ``ended`` is set; ``ready`` is called when it has begun.

    A process that dies is started again, at once at first, after a while where it dies often; one
    that gives no sign of life for ``config.hung`` s is killed.
    """
    refuse_memory({"ring_bytes": config.ring_bytes, "remembered": 2000 * config.remembered})
    config.calibration()  # a file that cannot be read is refused before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        _wait_for_ports(config)
        prepare(config, folder)
        status, failed = Status(folder / "status", "service"), dict[str, list[float]]()
        with tempfile.TemporaryDirectory(prefix="madem-") as sockets, _Begun() as begun:
            parts = {k: v for k, v in PARTS.items() if k != "learner" or config.mode == "twin"}
            given = config, folder, Path(sockets)
            running = {name: begun(name, *given) for name in parts}
            ready()
            try:
                while not ended.wait(0.1):
                    for name, process in running.items():
                        if process.is_alive():
                            if begun.silent(name) > config.hung:
                                status.count("hung", 1, name)
                                begun.end(process)
                            continue
                        again = [at for at in failed.get(name, []) if at > time.monotonic() - 60]
                        if again and time.monotonic() - again[-1] < min(
                            0.1 * 2 ** len(again), SLOWEST
                        ):
                            continue
                        failed[name] = [*again, time.monotonic()]
                        status.count("restarted", 1, f"{name}, exit {process.exitcode}")
                        running[name] = begun(name, *given)
                    status.shown = {"pids": {k: p.pid for k, p in running.items()}}
                    status.write()
            finally:
                _stopped(list(running.values()))


def _wait_for_ports(config: ServiceConfig) -> None:
    """Wait for ports that a service before is still leaving; ``InputError`` if others have them."""
    until = time.monotonic() + LEAVING
    for key in ("verdicts", "labels", "page"):
        port = int(getattr(config, key))
        while True:
            with socket.socket(socket.AF_INET6 if ":" in config.host else socket.AF_INET) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    tried.bind((config.host, port))
                    break
                except OSError as error:
                    if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                        raise InputError(
                            f"{key}: port {port} of {config.host}: {error.strerror}: choose "
                            "another port, or end who has it"
                        ) from None
            time.sleep(0.1)


class _Begun:
    """Begins processes that end with this one, however that ends: they see a pipe being closed.

    They are forked from one that has imported everything and has run nothing, so that one that
    died is there again at once.
    """

    def __init__(self) -> None:
        """Begin none yet."""
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([__name__])
        self.reader, self.writer = self.context.Pipe(duplex=False)
        self.signs = dict[str, Any]()

    def __enter__(self) -> _Begun:
        """Return what begins processes."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let them see that they are to end."""
        self.writer.close()
        self.reader.close()

    def __call__(
        self, name: str, config: ServiceConfig, folder: Path, sockets: Path
    ) -> BaseProcess:
        """Begin the process ``name``."""
        self.signs[name] = self.context.Value("d", time.monotonic(), lock=False)
        given = (name, config, folder, sockets, self.reader, self.signs[name])
        process: BaseProcess = self.context.Process(
            target=_part, args=given, name=name, daemon=True
        )
        process.start()
        return process

    def silent(self, name: str) -> float:
        """Return for how long a process has given no sign of life, s."""
        return time.monotonic() - float(self.signs[name].value)

    def end(self, process: BaseProcess) -> None:
        """Kill a process that hangs, even one that is stopped."""
        process.kill()
        process.join(LEAVING)
        self.signs[process.name].value = time.monotonic()


def _part(
    name: str, config: ServiceConfig, folder: Path, sockets: Path, above: Connection, sign: Any
) -> None:
    """Be one of the processes; the terminal's interrupt is for the one that started it.

    Each asks again and again whether it is to go on: that is its sign of life.
    """

    def alive() -> bool:
        sign.value = time.monotonic()
        return not above.poll()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("madem").setLevel(logging.INFO)
    try:
        PARTS[name](config, folder, sockets, alive)
    except (InputError, OSError, MemoryError) as error:  # it is begun again: one line each time
        logger.error("%s: %s", name, error or "there is no memory")
        raise SystemExit(2) from None


def _stopped(running: list[BaseProcess]) -> None:
    for process in running:
        process.terminate()
    for process in running:
        process.join(5)
        if process.is_alive():
            process.kill()
