"""A small service, and a detector that feeds it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np

from madem.beam import needed
from madem.beam.sources import Frame
from madem.beam.sources.messages import edge_of, message_of
from madem.documents import dump_yaml
from madem.experiments.config.base import override
from madem.serve.config import ServiceConfig
from madem.serve.labels import Label, messages_of
from madem.serve.record import Record
from madem.serve.sockets import joined, offered

SMALL = (
    "detector.block=5", "detector.frames=50", "detector.warming=50", "detector.calibration=100",
    "detector.validation=100", "detector.schedule.steps=200", "late=60.0",
)  # fmt: skip


def ports(count: int) -> list[int]:
    """Return ports that nobody has now."""
    held = [socket.socket() for _ in range(count)]
    for each in held:
        each.bind(("127.0.0.1", 0))
    found = [int(each.getsockname()[1]) for each in held]
    for each in held:
        each.close()
    return found


def small(*settings: str) -> ServiceConfig:
    """Return the config of a small service, at ports of its own."""
    source, verdicts, labels, page = ports(4)
    own = (f"source=tcp://127.0.0.1:{source}", f"verdicts={verdicts}", f"labels={labels}",
           f"page={page}")  # fmt: skip
    return ServiceConfig.of(override({}, [*SMALL, *own, *settings]))


def waited(done: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Return what ``done`` does once it is true; fail after so many seconds."""
    until = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)
    return found


@dataclass
class Running:
    """A service in a process of its own, in ``folder``."""

    config: ServiceConfig
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    said: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Start it, and wait until it has begun."""
        file = self.folder.parent / "service.yaml"
        file.write_text(dump_yaml(self.config.model_dump(mode="json")))
        command = [sys.executable, "-m", "madem", "detector", "serve", str(file)]
        with (self.folder.parent / "service.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--out", str(self.folder)], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL,
                env=os.environ | self.environment | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        waited(self._begun, 120)

    def _begun(self) -> bool:
        """Return whether its own worker has told of itself; one of a service before does not."""
        assert self.process is not None
        assert self.process.poll() is None, "it did not begin"
        own, worker = self.status("service"), self.status("worker").get("pid", 0)
        return own.get("pid") == self.process.pid and worker == own["pids"]["worker"]

    def status(self, name: str) -> dict[str, Any]:
        """Return what a process shows, nothing where it shows nothing."""
        try:
            held: dict[str, Any] = json.loads((self.folder / f"status/{name}.json").read_text())
        except (OSError, ValueError):
            return {}
        return held

    def kill(self, name: str) -> None:
        """Kill a process by its number, as a power cut would; ``service`` is the one above all."""
        if name == "service":
            assert self.process is not None
            self.process.kill()
            self.process.wait(10)
        else:
            os.kill(self.status("service")["pids"][name], signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(20)


@contextmanager
def running(
    config: ServiceConfig, folder: Path, environment: dict[str, str] | None = None
) -> Iterator[Running]:
    """Run a service; it is killed where a test fails."""
    service = Running(config, folder, environment or {})
    service.start()
    try:
        yield service
    finally:
        if service.process is not None and service.process.poll() is None:
            service.stop()


def pictures(config: ServiceConfig, count: int = 20) -> list[np.ndarray]:
    """Return frames of noise, as large as the module."""
    shape, draws = config.reading().module.shape, np.random.default_rng(0)
    return [draws.poisson(1.0, shape).astype(np.float32) for _ in range(count)]


class Feed:
    """A detector: it sends until it is told to stop, and never waits long for anybody."""

    def __init__(self, config: ServiceConfig, series: str, rate: float, most: int) -> None:
        """Begin to send."""
        self.config, self.series, self.rate, self.most = config, series, rate, most
        self.sent, self.dropped, self.ended = 0, 0, Event()
        self.thread = Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        zmq = needed("zmq", "serve")
        shown = pictures(self.config)
        with zmq.Context() as context, context.socket(zmq.PUSH) as out:
            out.setsockopt(zmq.LINGER, 60_000)
            out.bind(self.config.source)
            self._sent(out, edge_of("start", self.series, self.most), 60_000)
            began = time.monotonic()
            while self.sent < self.most and not self.ended.is_set():
                time.sleep(max(0.0, began + self.sent / self.rate - time.monotonic()))
                image = shown[self.sent % len(shown)]
                frame = Frame(self.series, self.sent, self.sent / self.rate, image)
                self.sent += 1
                if not self._sent(out, message_of(frame), 2000):  # the detector drops what it has
                    due = min(self.most, int(self.rate * (time.monotonic() - began)))
                    self.sent, before = max(self.sent, due), self.sent
                    self.dropped += 1 + self.sent - before
            assert self._sent(out, edge_of("end", self.series), 60_000)

    def _sent(self, out: Any, content: bytes, wait: int) -> bool:
        """Send a message, and return whether anybody took it in time."""
        zmq = needed("zmq", "serve")
        out.setsockopt(zmq.SNDTIMEO, wait)
        try:
            out.send(content)
        except zmq.Again:
            return False
        return True

    def finish(self) -> int:
        """Send the end, and return how many frames were sent."""
        self.thread.join(120)
        assert not self.thread.is_alive()
        return self.sent


class Labeller:
    """Somebody who labels what a detector sends, right or wrong, until it is told to stop."""

    def __init__(self, config: ServiceConfig, feed: Feed) -> None:
        """Begin to label."""
        self.config, self.feed, self.told, self.ended = config, feed, 0, Event()
        self.thread = Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with needed("zmq", "serve").Context() as context:
            out = joined(context, "PUSH", f"tcp://127.0.0.1:{self.config.labels}")
            while not self.ended.wait(0.05):
                new = range(self.told, self.feed.sent)
                labels = (Label(self.feed.series, number, number % 3 == 0) for number in new)
                taken = [offered(out, content) for content in messages_of(labels)]
                if all(taken):
                    self.told = new.stop
            out.close()

    def finish(self) -> int:
        """Return for how many frames labels were sent."""
        self.ended.set()
        self.thread.join(60)
        return self.told


def judged(folder: Path, series: str) -> tuple[Counter[int], Counter[int], Counter[str]]:
    """Return how often each image was judged, and told missing, and why it was missing."""
    verdicts, missing, why = Counter[int](), Counter[int](), Counter[str]()
    for line in Record(folder / "verdicts").lines(series):
        verdicts.update(each["image"] for each in line["verdicts"])
        for gap in line["gaps"]:
            missing.update(range(gap["image"], gap["image"] + gap["count"]))
            why[gap["why"]] += gap["count"]
    return verdicts, missing, why


def each_once(folder: Path, series: str, count: int) -> Counter[str]:
    """Check that every image up to ``count`` has one verdict, or is in one gap; return why."""
    verdicts, missing, why = judged(folder, series)
    assert verdicts + missing == Counter(range(count))
    return why
