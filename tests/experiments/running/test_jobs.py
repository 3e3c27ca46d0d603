"""Sweeps on both engines: what dies costs the jobs in flight and nothing else."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from madem.errors import InputError
from madem.experiments.running import engines
from madem.experiments.running.engines import engine, processes
from madem.experiments.running.jobs import Job, Progress, run_jobs
from madem.experiments.running.rundir import RunDirectory
from tests.cli.commands import command, one_line
from tests.experiments.running.sweeps import STEPS, SWEEP, Sweep, jobs_of
from tests.experiments.running.test_experiment import deaf

ROOT = Path(__file__).parents[3]


def records(run: Path) -> dict[str, bytes]:
    """Return the records of all jobs, and what else they left beside them."""
    return {file.name: file.read_bytes() for file in (run / "jobs").iterdir()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    run = tmp_path_factory.mktemp("sweep") / "run"
    SWEEP.run(Sweep(), run, deaf, workers=1)
    assert len(records(run)) == 16
    return records(run)


def test_a_killed_worker_costs_the_jobs_in_flight(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    (tmp_path / "KILL-7").touch()
    told: list[Progress] = []
    SWEEP.run(Sweep(), tmp_path / "run", told.append, workers=2)
    assert not (tmp_path / "KILL-7").exists()
    assert records(tmp_path / "run") == undisturbed
    assert {said.job for said in told if said.done == STEPS} == {str(n) for n in range(16)}
    assert len(told) < 2 * 16 * 4  # and what was finished was not done again


def breaking(tell: object) -> dict[str, int]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def test_a_job_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    jobs = [Job("a", 1, breaking, ()), Job("b", 1, breaking, ())]
    with pytest.raises(ChildProcessError, match="died 3 times and no job was finished"):
        run_jobs(jobs, RunDirectory(tmp_path), deaf, partial(processes, 2), 2)


def failing(tell: object) -> dict[str, int]:
    raise ZeroDivisionError("no rest")


def test_an_error_in_a_job_is_raised_here(tmp_path: Path) -> None:
    jobs = [Job("a", 1, failing, ()), Job("b", 1, failing, ())]
    with pytest.raises(ZeroDivisionError, match="no rest"):
        run_jobs(jobs, RunDirectory(tmp_path), deaf, partial(processes, 2), 2)
    assert not list((tmp_path / "jobs").iterdir())


def test_an_unchanged_job_is_recognised_and_a_changed_one_is_not(tmp_path: Path) -> None:
    folder = RunDirectory(tmp_path)
    [job] = jobs_of(Sweep(jobs=1), tmp_path)
    job.run(folder, deaf)
    again, elsewhere = jobs_of(Sweep(jobs=1), tmp_path), jobs_of(Sweep(jobs=1), tmp_path / "x")
    assert again[0].done(folder)
    assert elsewhere[0].key == job.key
    [other] = jobs_of(Sweep(jobs=1, rate=2e-3), tmp_path)
    assert not other.done(folder)
    assert not Job("0", STEPS, failing, job.arguments).done(folder)


PROGRAM = """
import sys
from pathlib import Path
from tests.experiments.running.sweeps import SWEEP, Sweep
if __name__ == "__main__":
    SWEEP.run(Sweep(), Path(sys.argv[1]), print, workers=2)
"""


def children(group: int) -> list[int]:
    """Return the processes of a group that are still there."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.usefixtures("heard")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_ended_run_leaves_no_process_and_goes_on(
    tmp_path: Path, how: signal.Signals, undisturbed: dict[str, bytes]
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py"), str(run)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "SWEEP_PAUSE": "0.02"}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(list(run.glob("jobs/*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    if how is signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does
    else:
        process.kill()
    told = process.communicate(timeout=10)[1]
    assert told.count("Traceback") == (how is signal.SIGINT), told  # of the run, of no worker
    deadline = time.monotonic() + 5
    while (left := children(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left
    done = len(list(run.glob("jobs/*.json")))
    assert 2 <= done < 16
    SWEEP.run(Sweep(), run, deaf, workers=1)
    assert records(run) == undisturbed


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """Start a scheduler and two workers, as if on other machines; yield the address."""
    note, common = folder / "scheduler.json", ["--no-dashboard", "--scheduler-file"]
    words = [
        ["dask_scheduler", "--host", "127.0.0.1", "--port", "0", *common, str(note)],
        ["dask_worker", "--nthreads", "1", "--nworkers", "2", "--local-directory", str(folder),
         *common, str(note)],
    ]  # fmt: skip
    started = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{name}", *options],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for name, *options in words
    ]  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not note.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        yield json.loads(note.read_text())["address"]
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(20)


@pytest.mark.slow
def test_the_same_on_dask(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    pytest.importorskip("distributed")
    (tmp_path / "KILL-7").touch()
    with cluster(tmp_path) as address, engine("dask", address, 2) as (pool, count):
        assert count >= 1
        told: list[Progress] = []
        SWEEP.run(Sweep(), tmp_path / "run", told.append, count, pool)
    assert not (tmp_path / "KILL-7").exists()
    assert records(tmp_path / "run") == undisturbed
    assert {said.job for said in told if said.done == STEPS} == {str(n) for n in range(16)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "dsk"], "unknown engine 'dsk' did you mean 'dask'"),
        (["--address", "tcp://here:8786"], "give --engine dask with it"),
        (["--engine", "dask", "--address", "nonsense"], "'nonsense': no dask scheduler answers"),
        (["--engine", "dask", "--address", "tcp://127.0.0.1:9"], "no dask scheduler answers there"),
    ],
)
def test_an_engine_that_is_not_there_is_one_line(
    options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    began = time.monotonic()
    assert command("run", "braille", *options) == 2
    assert time.monotonic() - began < 10
    told = capsys.readouterr().err
    assert message in told
    assert one_line(told)
    assert not list(tmp_path.iterdir())


def test_a_missing_dask_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert command("run", "braille", "--engine", "dask") == 2
    told = capsys.readouterr().err
    assert "pip install 'madem[many]'" in told
    assert one_line(told)


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-OpenSSH\r\n"])
def test_what_is_no_scheduler_is_not_waited_for(
    greeting: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(engines, "PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as other:
        answering = threading.Thread(target=lambda: _greet(other, greeting))
        answering.start()
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        with (
            pytest.raises(InputError, match="no dask scheduler answers there"),
            engine("dask", address, 1),
        ):
            pass
        answering.join()


def _greet(server: socket.socket, greeting: bytes) -> None:
    asked, _ = server.accept()
    with asked, suppress(ConnectionError):
        asked.sendall(greeting)
        asked.recv(1)
