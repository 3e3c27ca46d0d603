"""The service as a whole: killed at any time, overloaded, and ended."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from threading import Event
from urllib.request import urlopen

import cbor2
import pytest
import zmq

from madem.errors import InputError
from madem.experiments.config.base import override
from madem.serve import service as service_module
from madem.serve.config import ServiceConfig
from madem.serve.model import made
from madem.serve.record import Record
from madem.serve.service import prepare
from madem.serve.sockets import joined, taken
from madem.serve.store import Store
from tests.serve.running import SMALL, Feed, Labeller, Running, each_once, running, small, waited

SERIES = "1-TEST"
SMALL_DISK = os.environ.get("MADEM_SMALL_DISK")
"""A folder on a disk of a few ten megabytes that a test may fill."""
NAMES = ("worker", "learner", "page", "receiver", "service", "ended")
ANNOUNCED = 200_000
"""Images that a detector says will come, of which it sends as many as there is time for."""


def ended(service: Running) -> bool:
    """Return whether the record has the end of the series."""
    lines = list(Record(service.folder / "verdicts").lines(SERIES))
    return bool(lines) and not lines[-1]["place"][5]


def begun(store: Store, before: set[Path], seconds: float = 0.0) -> set[Path]:
    """Return generations half written, but those known ``before``; wait some time for one."""
    until = time.monotonic() + seconds
    while not (found := set(store.home.glob(".*.part")) - before) and time.monotonic() < until:
        pass
    return found


def killed(service: Running, name: str) -> bool:
    """Kill a process, or end the service as one that is asked to, *ended*; return whether it was.

    It is begun again at once.
    """
    if name == "ended":
        service.stop()
    else:
        try:
            service.kill(name)
        except (ProcessLookupError, KeyError):  # dead already, and not yet started again
            return False
    return True


@pytest.mark.parametrize("kills", [6, pytest.param(200, marks=pytest.mark.slow)])
def test_a_kill_at_any_time_loses_no_verdict_and_leaves_a_legal_generation(
    folder: Path, kills: int
) -> None:
    draw, config, store = random.Random(kills), small("trial=1", "worse=1"), Store(folder)
    turns, done = ["worker", "learner", "page", "receiver", "learner"], Counter[str]()
    halves = set[Path]()
    with running(config, folder) as service:
        feed = Feed(config, SERIES, 100.0, ANNOUNCED)
        labeller = Labeller(config, feed)
        while (count := sum(done[name] for name in NAMES)) < kills:
            time.sleep(draw.uniform(0.05, 0.4))
            name = {5: "service", 25: "ended"}.get(count % 40, turns[count % 5])
            if name in ("learner", "service", "ended") and draw.random() < 0.8:
                begun(store, halves, 2.0)  # the moment at which one is being written
            if not killed(service, name):
                continue
            new = begun(store, halves)
            halves |= new
            done.update({name: 1, "in a write": bool(new)})
            generation = store.load(store.pointed() or 0)  # raises where it is not whole
            assert made(config, generation).number in store.numbers()
            if name in ("service", "ended"):
                service.start()
        last = feed.sent  # an end sent to a receiver that was just killed would be lost
        waited(lambda: Record(folder / "verdicts").reached(SERIES) > last, 120)
        feed.ended.set()
        sent, told = feed.finish(), labeller.finish()
        waited(lambda: ended(service), 120)
        number = store.pointed() or 0
    why, left = each_once(folder, SERIES, ANNOUNCED), list(store.home.glob(".*.part"))
    verdicts = ANNOUNCED - sum(why.values())
    print(f"\n{dict(done)}; generations up to {number}; {sent} images sent, of which nobody took "
          f"{feed.dropped}; {told} labels; {verdicts} verdicts, gaps {dict(why)}")  # fmt: skip
    assert set(why) <= {"lost", "ended early", "start missed"}
    assert ANNOUNCED - sent <= why["ended early"] <= ANNOUNCED
    assert verdicts > 0
    assert number > 1
    assert len(left) <= 1  # of the last one that was killed in a write
    assert done["in a write"] >= kills // 10 or kills < 20


def test_a_process_that_hangs_is_begun_again(folder: Path) -> None:
    config = small("hung=3")
    with running(config, folder) as service:
        feed = Feed(config, SERIES, 50.0, 400)
        waited(lambda: Record(folder / "verdicts").reached(SERIES) > 20)
        for name in ("worker", "learner", "page", "receiver"):
            os.kill(service.status("service")["pids"][name], signal.SIGSTOP)
        waited(lambda: service.status("service")["counts"].get("hung") == 4)
        feed.finish()
        waited(lambda: ended(service), 60)
        urlopen(f"http://127.0.0.1:{config.page}/status.json", timeout=10).close()
        assert service.status("service")["counts"]["restarted"] == 4
    each_once(folder, SERIES, 400)


def test_overload_drops_are_counted_exactly(folder: Path) -> None:
    config = small("ring=20")
    with running(config, folder) as service:
        feed = Feed(config, SERIES, 5000.0, 3000)
        assert feed.finish() == 3000
        waited(lambda: ended(service), 60)
        why = each_once(folder, SERIES, 3000)
        waited(lambda: service.status("receiver")["counts"]["received"] == 3002)
        dropped = service.status("receiver")["counts"]["dropped"]
    assert dropped > 0
    start = why["start missed"]
    assert why["lost"] + start == dropped - (start > 0)  # the start itself may have been dropped


@pytest.mark.slow
@pytest.mark.skipif(SMALL_DISK is None, reason="no small disk: set MADEM_SMALL_DISK to a folder")
def test_a_disk_that_fills_up_stops_no_verdict(folder: Path) -> None:
    own = Path(shutil.copytree(folder, Path(SMALL_DISK or "") / "service"))
    config, log = small("remembered=1000", "trial=1", "worse=1"), own.parent / "service.log"
    with running(config, own) as service, zmq.Context() as context:
        taking = joined(context, "PULL", f"tcp://127.0.0.1:{config.verdicts}")
        feed = Feed(config, SERIES, 50.0, ANNOUNCED)
        labeller = Labeller(config, feed)
        waited(lambda: Record(own / "verdicts").reached(SERIES) > 100)
        heard = Counter[str]()
        with (own.parent / "filling").open("wb", 0) as filling, suppress(OSError):
            while True:
                filling.write(bytes(4096))

        def kept() -> bool:
            each = [cbor2.loads(content) for content in taken(taking)]
            heard.update(verdict["why"] for verdict in each)
            return heard["storage"] > 100

        waited(kept, 60)
        assert service.status("service")["counts"].get("restarted", 0) == 0
        (own.parent / "filling").unlink()
        feed.ended.set()
        feed.finish()
        labeller.finish()
        waited(lambda: ended(service), 60)
        taking.close()
    why = each_once(own, SERIES, ANNOUNCED)
    print(f"\n{dict(heard)}, gaps {dict(why)}")
    assert set(why) == {"ended early"}
    assert Store(own).current() is not None
    assert "Traceback" not in log.read_text()


def test_it_ends_when_it_is_asked_to(folder: Path) -> None:
    config = small()
    with running(config, folder) as service:
        assert Feed(config, SERIES, 200.0, 40).finish() == 40
        waited(lambda: ended(service))
        assert service.stop() == 130
    assert not each_once(folder, SERIES, 40)
    assert Store(folder).pointed() == 1


def test_a_folder_of_another_config_is_refused(folder: Path) -> None:
    other = small("detector.reduction.window=200")
    with pytest.raises(InputError, match="a chip of another config"):
        prepare(other, folder)


def test_a_folder_without_a_whole_generation_is_refused(folder: Path) -> None:
    (folder / "generations/000001/state.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match=r"no generation of .* can be used: .* is damaged"):
        prepare(small(), folder)
    manifest = folder / "generations/000001/manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(InputError, match=r"can be used: .* has format 99, but this madem reads 1"):
        prepare(small(), folder)


def refused(folder: Path, *settings: str) -> str:
    """Return the one line with which a service does not begin."""
    command = [sys.executable, "-m", "madem", "detector", "serve", "--out", str(folder)]
    for each in settings:
        command += ["--set", each]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("key", ["verdicts", "labels", "page"])
def test_a_port_that_others_have_is_refused_in_one_line(
    folder: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        if key == "labels":
            assert f"labels: port {port} of 127.0.0.1: Address already in use: choose another" in (
                refused(folder, f"labels={port}", *SMALL)
            )
        monkeypatch.setattr(service_module, "LEAVING", 0.3)
        with pytest.raises(InputError, match=f"{key}: port {port} .*: choose another port"):
            service_module.serve(small(f"{key}={port}"), folder, Event())


def test_what_cannot_begin_is_refused_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    line = refused(tmp_path / "new", "ring_bytes=1000000000000", *SMALL)
    assert "931 GiB" in line
    assert "lower ring_bytes" in line
    assert "no such file" in refused(tmp_path / "new", "file=none.h5", *SMALL)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("host=0.0.0.0", "can be reached by others"),
        ("host=here", "must be an IP address"),
        ("source=host:31001", "tcp://HOST:PORT"),
        ("source=tcp://host:31001x", "tcp://HOST:PORT"),
        ("corner=[0, -1]", "greater than or equal to 0"),
        ("page=31011", "three different ports"),
        ("detector.machine.chips=2", "a service has one module"),
        ("audits=0.1", "did you mean 'audit'"),
        ("ring=0", "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(setting: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        ServiceConfig.of(override({}, [setting]))
    assert "\n" not in str(refused.value)
