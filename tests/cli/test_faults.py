"""What a computer cannot do is one line, loses nothing, and can be gone on from."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from madem.device import presets
from madem.documents import dump_yaml
from madem.experiments.running.engines import processes
from madem.experiments.running.jobs import Job, Progress, Tell, run_jobs
from madem.experiments.running.rundir import RunDirectory
from madem.training import Trainer
from tests.cli.commands import command, one_line
from tests.experiments.kills import STUDIES


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "c.yaml"
    path.write_text(dump_yaml(STUDIES["train"]))
    return str(path)


def failing_after(count: int, number: int) -> Callable[[int], None]:
    """Return an ``fsync`` that fails from the call ``count`` on."""
    left = [count]

    def fsync(file: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(number, os.strerror(number))

    return fsync


@pytest.mark.parametrize(
    ("after", "number"),
    [(0, errno.EROFS), (1, errno.ENOSPC), (2, errno.ENOSPC), (4, errno.EIO), (7, errno.ENOSPC),
     (10, errno.ENOSPC)],
)  # fmt: skip
def test_storage_that_fails_is_one_line_and_the_run_goes_on(
    after: int, number: int, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("run", config, "--out", str(tmp_path / "whole")) == 0
    run = tmp_path / "run"
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", failing_after(after, number))
        assert command("run", config, "--out", str(run)) == 2
    told = capsys.readouterr().err
    assert os.strerror(number).lower() in told
    assert one_line(told), told
    assert ("madem run --resume" in told) == (after > 3)  # before that nothing has begun
    assert not list(run.rglob(".*.part"))
    assert command("run", config, "--out", str(run)) == 0
    for name in ("summary.json", "ledger.json", "report.html", "jobs/train.json"):
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_memory_that_is_not_there_is_one_line(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def learn(*_: Any) -> None:
        torch.empty(10**15)

    monkeypatch.setattr(Trainer, "advance", learn)
    assert command("run", config, "--out", str(tmp_path / "run")) == 2
    told = capsys.readouterr().err
    assert "not enough memory (4000000.0 GB were asked for at once); to go on" in told
    assert one_line(told), told


def test_a_run_deleted_at_work_is_one_line(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    learn = Trainer.advance

    def learn_and_lose(trainer: Trainer, *given: Any) -> Any:
        if trainer.step == 1:
            run.rename(tmp_path / "gone")
        return learn(trainer, *given)

    monkeypatch.setattr(Trainer, "advance", learn_and_lose)
    assert command("run", config, "--out", str(run)) == 2
    told = capsys.readouterr().err
    assert "checkpoints/train.safetensors': no such file or directory" in told
    assert one_line(told), told
    assert not run.exists()
    monkeypatch.undo()
    assert command("run", "--resume", str(tmp_path / "gone")) == 0


def test_bad_places_are_one_line(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    for out in ("x" * 300, "file/run", "/proc/run", "/dev/full", "/dev/null/run"):
        capsys.readouterr()
        assert command("run", config, "--out", str(tmp_path / out)) == 2
        told = capsys.readouterr().err
        assert one_line(told), told
        assert "--out" in told
    os.mkfifo(tmp_path / "pipe.svg")
    for option, name in (("--figure", str(tmp_path / "pipe.svg")), ("--json", "/dev/full")):
        capsys.readouterr()
        assert command("gradcheck", config, "--samples", "2", option, name) == 2
        assert "is a link or a device" in capsys.readouterr().err
    assert Path("/dev/full").is_char_device()
    assert (tmp_path / "pipe.svg").is_fifo()


def test_a_full_output_is_one_line() -> None:
    words = [sys.executable, "-m", "madem", "device", "list"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "madem: no space left on device\n")


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_outputs_change_nothing(closed: str, config: str, tmp_path: Path) -> None:
    command = f"{sys.executable} -m madem run {config} --workers 1 --out {tmp_path}/run {closed}"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert RunDirectory(tmp_path / "run").config()["experiment"] == "train"


def test_markup_is_text_on_the_console(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = Path(presets.__file__).parent / "presets" / "ideal.yaml"
    held = yaml.safe_load(shipped.read_text())
    held["description"] = "a[/]b :smile: [bold]c"
    held["parameters"]["high"]["source"] = "[/x]"
    (tmp_path / "[red]d.yaml").write_text(dump_yaml(held))
    monkeypatch.chdir(tmp_path)
    Path("[").mkdir()
    assert command("device", "show", "[red]d.yaml", "--figure", "[/x] $\\frac$.svg") == 0
    told = capsys.readouterr().out
    assert "a[/]b :smile: [bold]c" in told
    assert "[/x]" in told
    assert "drawn: [/x] $\\frac$.svg" in told


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fill(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "jobs/a.json")


@pytest.mark.parametrize(
    ("job", "error", "told"),
    [
        (die, ChildProcessError, "worker processes died 3 times"),
        (fill, OSError, "No space left on device: 'jobs/a.json'"),
    ],
)
def test_what_befalls_a_worker_is_told_as_it_is(
    job: Callable[..., Any], error: type[Exception], told: str, tmp_path: Path
) -> None:
    jobs = [Job(name, 1, job, ()) for name in "ab"]
    with pytest.raises(error, match=told):
        run_jobs(jobs, RunDirectory(tmp_path), [].append, partial(processes, 2), 2)


def one(tell: Tell) -> dict[str, Any]:
    tell(Progress("a", 1, 1, "[/]"))
    return {}


def test_a_progress_of_one(tmp_path: Path) -> None:
    heard: list[Progress] = []
    run_jobs([Job("a", 1, one, ())], RunDirectory(tmp_path), heard.append, None)
    assert heard == [Progress("a", 1, 1, "[/]")]


@pytest.mark.parametrize(
    "kills", [(signal.SIGTERM,), (signal.SIGINT, signal.SIGINT, signal.SIGTERM)]
)
def test_an_interrupted_run_is_one_line_however_often(
    kills: tuple[signal.Signals, ...], tmp_path: Path
) -> None:
    held = STUDIES["braille"] | {"machine": {"chips": 4}}
    one = {"schedule": {"steps": 20000, "batch": 8}}
    for task in ("classify", "reconstruct"):
        held[task] = {"one_layer": one, "two_layer": one | {"network": {"hidden": [5]}}}
    (tmp_path / "c.yaml").write_text(dump_yaml(held))
    out = tmp_path / "run"
    words = [sys.executable, "-m", "madem", "run", str(tmp_path / "c.yaml"), "--out", str(out)]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child inherits no more
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 120
    while not list(out.glob("checkpoints/*")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for kill in kills:
        os.killpg(process.pid, kill) if kill == signal.SIGINT else process.send_signal(kill)
        time.sleep(0.01)
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 130, told
    assert told == f"interrupted; to go on: madem run --resume {out}\n"
