"""A whole small run: the same for the same seed, resumable at any instant, never mixed up."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from madem.cli import main
from madem.errors import InputError
from madem.experiments.braille import study as braille
from madem.experiments.braille.config import BrailleConfig
from madem.experiments.braille.study import EXPERIMENT
from madem.experiments.running import trained
from madem.experiments.running.jobs import Progress
from madem.training import Trainer, looks_at
from tests.conftest import SMALL, small_config


def deaf(progress: Progress) -> None:
    del progress


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "whole"
    EXPERIMENT.run(small_config(), path, deaf, workers=1)
    return path


def test_summary_has_the_documented_shape(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert {"seed", "chips", "flip_probability", "tasks"} <= set(summary)
    for task in ("classify", "reconstruct"):
        for depth in ("one_layer", "two_layer"):
            part = summary["tasks"][task][depth]
            for key in (
                "accuracy_mean",
                "bayes",
                "backprop",
                "ex_situ",
                "untrained",
                "written_fraction_per_step",
            ):
                assert 0 <= part[key] <= 1
            assert part["accuracy_sd"] >= 0
            assert set(part["accuracy_by_flip"]) >= {"0.0", "0.2"}
            for phase in ("training", "inference"):
                spent = part["ledger"][phase]
                for key in ("joules", "seconds"):
                    assert 0 < spent["array_only"][key] <= spent["all_in"][key]
    assert 0 <= summary["tasks"]["reconstruct"]["one_layer"]["dot_accuracy_mean"] <= 1


def test_same_seed_same_summary_and_another_seed_another(finished: Path, tmp_path: Path) -> None:
    EXPERIMENT.run(small_config(), tmp_path / "again", deaf, workers=2)  # nor do workers change it
    same = (tmp_path / "again" / "summary.json").read_bytes()
    assert same == (finished / "summary.json").read_bytes()
    EXPERIMENT.run(small_config("seed=1"), tmp_path / "other", deaf, workers=1)
    assert same != (tmp_path / "other" / "summary.json").read_bytes()


class Killed(BaseException):
    """Stands for a kill between two instants."""


@pytest.mark.parametrize("after", [1, 4, 9, 20])
def test_a_killed_run_resumes_bit_for_bit(
    after: int, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "EVERY", 7)
    heard = 0

    def kill(progress: Progress) -> None:
        nonlocal heard
        heard += 1
        if heard == after:
            raise Killed

    with pytest.raises(Killed):
        EXPERIMENT.run(small_config(), tmp_path / "run", kill, workers=1)
    assert not (tmp_path / "run" / "summary.json").exists()
    EXPERIMENT.run(small_config(), tmp_path / "run", deaf, workers=1)
    for name in ("summary.json", "ledger.json", "metrics.json"):
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.parametrize(
    "settings", [(), ("machine.wire=20 ohm",), ("machine.wire=20 ohm", "machine.voltages=cells")]
)
def test_a_checkpoint_is_where_it_goes_on(settings: tuple[str, ...]) -> None:
    config = small_config(*settings)
    whole = Trainer(config.plan("classify.two_layer"))
    for _ in range(12):
        whole.advance()
    held = whole.state()
    part = Trainer(config.plan("classify.two_layer"))
    part.restore(held)
    for _ in range(8):
        whole.advance()
        part.advance()
    (ours, note), (theirs, other) = whole.state(), part.state()
    assert note == other
    assert all(bool((ours[key] == theirs[key]).all()) for key in ours)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_command_line_resumes(
    kill: signal.Signals, finished: Path, tmp_path: Path
) -> None:
    words = tmp_path / "words.txt"
    words.write_text("ab\ncd\nef\ngh\n")
    settings = [part for setting in SMALL for part in ("--set", setting)]
    command = [sys.executable, "-m", "madem", "run"]
    for attempt in range(5):  # a run as small as this one may be done before the signal arrives
        out = tmp_path / f"run{attempt}"
        started = [*command, "braille", "--words", str(words), "--out", str(out), *settings]
        process = subprocess.Popen(
            started, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 60
        while not list(out.glob("jobs/*.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, kill)
        told = process.communicate(timeout=60)[1]
        if process.returncode:
            break
    assert process.returncode == (130 if kill is signal.SIGINT else -kill)
    if kill is signal.SIGINT:
        assert told == f"interrupted; to go on: madem run --resume {out}\n"
    done = subprocess.run(
        [*command, "--resume", str(out)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (out / "summary.json").read_bytes() == (finished / "summary.json").read_bytes()
    assert (out / "report.html").stat().st_size > 100_000


def test_another_config_does_not_enter(finished: Path) -> None:
    with pytest.raises(InputError, match="belongs to another config .seed is 0 there and 5 here"):
        EXPERIMENT.run(small_config("seed=5"), finished, deaf)


def test_a_config_edited_under_its_results_is_refused(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("chips: 2", "chips: 3"))
    with pytest.raises(InputError, match="was changed after the run began"):
        braille.RunDirectory(copy).config()


def test_a_config_alone_is_enough_to_run_it_again(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes((finished / "config.yaml").read_bytes())
    config = BrailleConfig.of(braille.RunDirectory(tmp_path).config())
    EXPERIMENT.run(config, tmp_path, deaf, workers=1)
    assert (tmp_path / "summary.json").read_bytes() == (finished / "summary.json").read_bytes()


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="is not empty and holds no run"):
        EXPERIMENT.run(small_config(), tmp_path, deaf)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x00" * 100])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run"
    (path / "checkpoints").mkdir(parents=True)
    file = path / "checkpoints" / "classify.two_layer.safetensors"
    file.write_bytes(content)
    config = small_config()
    with pytest.raises(InputError, match="classify.two_layer.safetensors' is damaged"):
        braille.train_job(config, path, "classify.two_layer", "classify.two_layer", {}, deaf)


def test_a_checkpoint_of_another_network_is_named(tmp_path: Path) -> None:
    folder = braille.RunDirectory(tmp_path)
    other = Trainer(small_config().plan("classify.one_layer"))
    folder.save_tensors("checkpoints/classify.two_layer.safetensors", *other.state())
    with pytest.raises(InputError, match="classify.two_layer.* is damaged"):
        braille.train_job(
            small_config(), tmp_path, "classify.two_layer", "classify.two_layer", {}, deaf
        )


def test_looks_are_spread_and_end_at_the_end() -> None:
    looks = looks_at(3000, 25)
    assert looks[0] == 1
    assert looks[-1] == 3000
    assert list(looks) == sorted(set(looks))


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["madem", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    code = stopped.value.code
    return code if isinstance(code, int) else 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "braile"), "unknown experiment 'braile': did you mean 'braille'"),
        (("run",), "experiment is missing (allowed: braille, "),
        (("run", "braille", "--set", "sede=1"), "unknown key 'sede': did you mean 'seed'"),
        (("run", "braille", "--words", "none.txt"), "--words: 'none.txt': no such file"),
        (("run", "braille", "--chips", "0"), "machine.chips: input should be greater"),
        (("run", "braille", "--chip", "3"), "No such option: --chip"),
        (("run", "--resume", "none"), "'none' is not a run directory"),
        (("run", "braille", "--resume", "none"), "--resume goes on with the config"),
        (("run", "braille", "--out", "file"), "--out: 'file' is a file, not a folder"),
        (("report", "none"), "'none' is not a run directory"),
        (("device", "show", "taox"), "unknown preset 'taox': did you mean 'taox-1t1m'"),
        (("devise", "list"), "No such command 'devise'"),
        (
            ("run", "braille", "--set", "classify.two_layer.network.hidden=[40]"),
            "61 x 80 with pairs",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    assert command(monkeypatch, *arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert message in told.err
    assert told.err.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["file"]  # nothing written


def test_report_of_an_unfinished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    braille.RunDirectory(tmp_path).claim(small_config().model_dump(mode="json"))
    assert command(monkeypatch, "report", str(tmp_path)) == 2
    assert "is not finished; to go on: madem run --resume" in capsys.readouterr().err


def test_report_is_redrawn_the_same(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command(monkeypatch, "report", str(finished)) == 0
    first = (finished / "report.html").read_bytes()
    assert command(monkeypatch, "report", str(finished)) == 0
    assert (finished / "report.html").read_bytes() == first
    text = first.decode()
    assert "http://" not in text.replace("http://www.w3.org", "").replace(
        "http://purl.org", ""
    ).replace("http://creativecommons.org", "")
    assert "<script" not in text


def test_version_and_devices(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "--version") == 0
    assert command(monkeypatch, "device", "list") == 0
    assert command(monkeypatch, "device", "show", "taox-1t1m") == 0
    told = capsys.readouterr().out
    assert told.startswith("madem 0.")
    assert "taox-1t1m" in told
    assert "3.894 uS" in told
