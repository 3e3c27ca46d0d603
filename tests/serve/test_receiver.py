"""The ring: bounded, and every message that is dropped is counted; the whole beside EPICS."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
import zmq

from madem.beam.sources import Frame
from madem.beam.sources.messages import GIVEN_UP, edge_of, message_of
from madem.serve.receiver import Ring, receive, take
from madem.serve.record import Record
from madem.serve.sockets import bound
from madem.serve.status import TOLD, Status
from madem.serve.worker import Worker, _work
from tests.beam.sources.test_pva import needs_simulator, simulated
from tests.serve.running import each_once, judged, ports, running, small, waited


def test_all_that_comes_is_held_judged_or_counted() -> None:
    ring, judged = Ring(10, 10**6), 0
    for number in range(1000):
        ring.put(bytes(10), float(number))
        if number % 17 == 0:
            found = ring.after(-1, 3)
            judged += len(found)
            ring.done(found[-1].number)
    assert judged + ring.dropped + len(ring.held) == 1000
    assert len(ring.held) <= 10
    assert ring.size == 10 * len(ring.held)


def test_bytes_are_bounded_and_one_message_always_fits() -> None:
    ring = Ring(1000, 100)
    for _ in range(50):
        ring.put(bytes(30), 0.0)
    assert (len(ring.held), ring.size, ring.dropped) == (3, 90, 47)
    ring.put(bytes(500), 0.0)
    assert (len(ring.held), ring.size, ring.dropped) == (1, 500, 50)


def test_what_was_given_is_lost_only_where_it_is_asked_for_again() -> None:
    for recorded, dropped in ((2, 0), (0, 2)):
        ring = Ring(3, 10**6)
        for _ in range(3):
            ring.put(b"x", 0.0)
        assert [each.number for each in ring.after(-1, 3)] == [0, 1, 2]
        for _ in range(3):
            ring.put(b"x", 0.0)  # pushes out those that the worker has
        ring.done(recorded)
        assert ring.dropped == dropped


def test_a_message_in_which_two_workers_died_is_given_up_and_no_other() -> None:
    ring, lives = Ring(100, 10**6), list[list[int]]()
    for number in range(40):
        ring.put(b"bad" if number in (7, 30) else b"good", 0.0)
    at, worker, said = -1, 1, list[str | None]()
    while at < 39:
        said.append(ring.asked(at, worker))
        given = ring.after(at, 10)
        lives.append([each.number for each in given])
        if any(each.content == b"bad" for each in given):  # nothing of it comes into the record
            worker += 1
        else:
            at = given[-1].number
    assert said.count("given up") == 2
    assert worker <= 1 + 2 * 3
    assert sum(map(len, lives)) < 40 + 2 * (10 + 2)
    assert ring.after(39, 10) == []
    assert ring.dropped == 0


def test_a_worker_that_is_given_something_and_does_not_get_it_is_counted() -> None:
    ring = Ring(100, 10**6)
    for _ in range(20):
        ring.put(b"x", 0.0)
    ring.asked(-1, 5)
    assert len(ring.after(-1, 10)) == 10
    assert [ring.asked(-1, 5), len(ring.after(-1, 10))] == [None, 1]  # it asked a moment too soon
    assert [ring.asked(-1, 5), len(ring.after(-1, 10))] == ["asked again", 1]
    assert ring.asked(0, 5) is None
    assert "asked again" in TOLD
    assert ring.held[0].content == b"x"
    assert GIVEN_UP not in [each.content for each in ring.held]


@pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")  # as at the end of a process
def test_images_larger_than_a_mebibyte_are_judged_and_those_after_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, over, context = small(), Event(), zmq.Context()
    monkeypatch.setattr(zmq, "Context", lambda: context)
    image = np.random.default_rng(0).poisson(1.0, (1024, 1024)).astype(np.float32)
    worker = Worker(config, folder)
    with tempfile.TemporaryDirectory() as sockets:
        given = Path(sockets), lambda: not over.is_set()
        own = [Thread(target=receive, args=(config, folder, *given), daemon=True),
               Thread(target=_work, args=(worker, *given), daemon=True)]  # fmt: skip
        for each in own:
            each.start()
        try:
            out = bound(context, "PUSH", config.source, "source")
            out.send(edge_of("start", "1-A", 3))
            for number in range(3):
                out.send(message_of(Frame("1-A", number, 0.0, image)))
            waited(lambda: worker.place.next == 3 and not worker.unwritten, 20)
        finally:
            over.set()
            for each in own:
                each.join(10)
            context.destroy(0)
    each_once(folder, "1-A", 3)
    assert worker.status.counts["frames"] == 3


def test_where_there_is_no_memory_the_ring_shrinks_and_goes_on(tmp_path: Path) -> None:
    class Short:
        """A socket whose third message finds no memory."""

        taken = 0

        def recv(self, _: int) -> bytes:
            self.taken += 1
            if self.taken == 3:
                raise MemoryError
            if self.taken > 6:
                raise zmq.Again
            return bytes(100)

    status, ring, source = Status(tmp_path, "receiver"), Ring(1000, 10**6), Short()
    take(source, ring, status)
    assert (len(ring.held), ring.dropped, ring.most_bytes) == (1, 1, 100)
    take(source, ring, status)
    assert status.counts == {"received": 5, "memory": 1}
    assert (len(ring.held), ring.dropped) == (1, 4)
    assert "memory" in TOLD


def test_the_newest_are_kept() -> None:
    ring = Ring(3, 10**6)
    for number in range(10):
        ring.put(b"%d" % number, 0.0)
    assert [each.content for each in ring.after(-1, 9)] == [b"7", b"8", b"9"]
    assert [each.number for each in ring.after(8, 9)] == [9]


@needs_simulator
@pytest.mark.slow
def test_a_service_judges_what_a_process_variable_shows(folder: Path) -> None:
    config = small("protocol=pva", "source=madem:image", "photon=2")
    rows, columns = config.reading().module.shape
    shown = ("-nx", str(columns), "-ny", str(rows), "-mn", "0", "-mx", "20", "-rt", "300")
    record = Record(folder / "verdicts")

    def series() -> list[str]:
        files = [each.read_text() for each in (folder / "verdicts").glob("*.jsonl")]
        return [json.loads(text.partition("\n")[0])["place"][0] for text in files if "\n" in text]

    def judged_so_far() -> int:
        return sum(sum(judged(folder, each)[0].values()) for each in series())

    with simulated(*shown) as network, running(config, folder, network) as service:
        waited(lambda: judged_so_far() >= 200, 120)
        service.kill("worker")
        waited(lambda: judged_so_far() >= 300, 120)
        before = len(series())
        service.kill("receiver")  # it connects anew: a new series, since numbers may begin anew
        waited(lambda: len(series()) > before and judged_so_far() >= 500, 120)
        held = service.status("worker")
        assert service.stop() == 130
    reasons, count = Counter[str](), 0
    for each in series():
        verdicts, missing, why = judged(folder, each)
        assert verdicts + missing == Counter(range(record.reached(each)))
        reasons, count = reasons + why, count + sum(verdicts.values())
    print(f"\n{count} verdicts in {len(series())} series, gaps {dict(reasons)}, {held['waits']}")
    assert set(reasons) <= {"start missed", "lost"}
    assert reasons["lost"] < count / 2


SCALAR = """
import sys, time
from p4p.nt import NTScalar
from p4p.server import Server
from p4p.server.thread import SharedPV
shown = SharedPV(nt=NTScalar("d"), initial=1.0)
local = {f"EPICS_PVAS_{key}": "127.0.0.1" for key in ("INTF_ADDR_LIST", "BEACON_ADDR_LIST")}
with Server([{"madem:other": shown}], conf=local | {"EPICS_PVAS_SERVER_PORT": sys.argv[1],
            "EPICS_PVAS_BROADCAST_PORT": "0", "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO"}):
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_process_variable_without_images_is_told_in_one_line(folder: Path) -> None:
    pytest.importorskip("p4p", reason="needs the extra serve")
    (port,) = ports(1)
    other = subprocess.Popen([sys.executable, "-c", SCALAR, str(port)])
    network = {
        "EPICS_PVA_ADDR_LIST": "127.0.0.1", "EPICS_PVA_AUTO_ADDR_LIST": "NO",
        "EPICS_PVA_NAME_SERVERS": f"127.0.0.1:{port}",
    }  # fmt: skip
    log, line = folder.parent / "service.log", "receiver: source: madem:other shows no images"
    try:
        with running(small("protocol=pva", "source=madem:other"), folder, network) as service:
            waited(lambda: log.read_text().count(line) > 1)  # it is begun again
            assert "Traceback" not in log.read_text()
            assert service.status("service")["counts"]["restarted"] > 0
    finally:
        other.terminate()
        other.wait(10)
