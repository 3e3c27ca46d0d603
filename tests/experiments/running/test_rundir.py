"""A run directory: damage is found, links are refused, nothing is mixed up."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from madem.documents import dump_yaml
from madem.errors import InputError
from madem.experiments.running import rundir
from madem.experiments.running.rundir import RunDirectory
from tests.cli.commands import command, one_line
from tests.experiments.kills import STUDIES


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    (folder / "c.yaml").write_text(dump_yaml(STUDIES["train"]))
    assert command("run", str(folder / "c.yaml"), "--out", str(folder / "run")) == 0
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A small finished run, its config beside it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "run"


def test_tensors_come_back_with_their_note(tmp_path: Path) -> None:
    folder = RunDirectory(tmp_path)
    tensors = {"b": torch.rand(3), "a": torch.arange(4), "none": torch.zeros(0)}
    folder.save_tensors("checkpoints/x.safetensors", tensors, {"step": 3, "curve": [[1, [0.1]]]})
    first = (tmp_path / "checkpoints/x.safetensors").read_bytes()
    found = folder.load_tensors("checkpoints/x.safetensors")
    assert found is not None
    assert found[1] == {"step": 3, "curve": [[1, [0.1]]]}
    assert all(torch.equal(found[0][name], held) for name, held in tensors.items())
    folder.save_tensors("checkpoints/x.safetensors", *found)
    assert (tmp_path / "checkpoints/x.safetensors").read_bytes() == first


def test_every_flipped_bit_of_tensors_is_found(tmp_path: Path) -> None:
    folder, file = RunDirectory(tmp_path), tmp_path / "x.safetensors"
    folder.save_tensors(file.name, {"w": torch.rand(6), "n": torch.arange(3)}, "note")
    whole = file.read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        with pytest.raises(InputError, match="x.safetensors' (is damaged|has format .* format 2)"):
            folder.load_tensors(file.name)


def test_tensors_of_another_file_or_run_are_damage(tmp_path: Path) -> None:
    here, there = (RunDirectory(tmp_path / name) for name in ("here", "there"))
    for folder, seed in ((here, 0), (there, 1)):
        folder.path.mkdir()
        folder.claim({"seed": seed})
        for name in "ab":
            folder.save_tensors(f"jobs/{name}.safetensors", {"w": torch.zeros(2)})
    for file in (here.path / "jobs/b.safetensors", there.path / "jobs/a.safetensors"):
        shutil.copy(file, here.path / "jobs/a.safetensors")
        with pytest.raises(InputError, match="a.safetensors' is damaged"):
            here.tensors("a")
    shutil.copytree(there.path, tmp_path / "copied")
    assert RunDirectory(tmp_path / "copied").tensors("a")["w"].tolist() == [0, 0]


@pytest.mark.parametrize("found", [0, 1, 3])
def test_a_checkpoint_of_another_format_is_named(
    tmp_path: Path, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, name = RunDirectory(tmp_path), "checkpoints/x.safetensors"
    monkeypatch.setattr(rundir, "FORMAT", found)
    folder.save_tensors(name, {"w": torch.zeros(2)}, "note")
    monkeypatch.undo()
    if not found:  # as it was written before formats had numbers
        held = json.dumps({"note": "note", "sha256": "0"})
        folder.write(name, save({"w": torch.zeros(2)}, {"held": held}))
    with pytest.raises(InputError, match=f"x.safetensors' has format {found}, but .* format 2"):
        folder.load_tensors(name)


RECORD = {"accuracy": [0.25, 0.5], "name": "ab", "none": None, "ledger": {"items": [{"joules": 1}]}}


@pytest.mark.parametrize(
    "content",
    ["", "{", "{}", "[]", "3", "null", '"x"', '{"sha256": 1}', '{"accuracy": 1}', "[" * 99999,
     "\xff"],
)  # fmt: skip
def test_records_of_another_shape_are_damaged(tmp_path: Path, content: str) -> None:
    folder, file = RunDirectory(tmp_path), tmp_path / "jobs" / "x.json"
    folder.save_json("jobs/x.json", RECORD)
    assert folder.load_json("jobs/x.json") == RECORD
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match="x.json' is damaged"):
        folder.load_json("jobs/x.json")


def test_a_digit_changed_is_damage(tmp_path: Path) -> None:
    folder, file = RunDirectory(tmp_path), tmp_path / "x.json"
    folder.save_json("x.json", RECORD)
    file.write_text(file.read_text().replace("0.25", "0.26"))
    with pytest.raises(InputError, match="is damaged"):
        folder.load_json("x.json")


def test_what_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x.json would hold a number that is not finite"):
        RunDirectory(tmp_path).save_json("x.json", {"cost": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("how", ["emptied", "halved", "noise", "folder", "{}", "[]", "3"])
def test_any_damaged_file_of_a_run_is_one_line_or_made_anew(
    how: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = (run / "summary.json").read_bytes()
    files = sorted(file for file in run.rglob("*") if file.is_file())
    assert len(files) >= 8
    for file in files:
        whole = file.read_bytes()
        if how == "folder":
            file.unlink()
            file.mkdir()
        else:
            noise = random.Random(0).randbytes(len(whole))
            texts = {"emptied": b"", "halved": whole[: len(whole) // 2], "noise": noise}
            file.write_bytes(texts.get(how, how.encode()))
        capsys.readouterr()
        for words in (("report", str(run)), ("run", "--resume", str(run), "--workers", "1")):
            code, told = command(*words), capsys.readouterr().err
            assert code in (0, 2), (file, words)
            assert one_line(told) if code else told == "", (file, words, told)
            if not code:
                assert (run / "summary.json").read_bytes() == summary
        if file.is_dir():
            file.rmdir()
        file.write_bytes(whole)


@pytest.mark.parametrize(
    "name",
    ["config.yaml", "jobs", "jobs/train.json", "checkpoints", "summary.json", "report.html",
     "ledger.json", "config.sha256", ".lock"],
)  # fmt: skip
def test_links_in_a_run_are_refused(
    name: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = tmp_path / "victim"
    (run / name).rename(victim)
    (run / name).symlink_to(victim)
    kept = [(f, f.read_bytes()) for f in [victim, *victim.rglob("*")] if f.is_file()]
    (run / "machine.json").unlink()
    for words in (("report", str(run)), ("run", "--resume", str(run))):
        capsys.readouterr()
        code, told = command(*words), capsys.readouterr().err
        if name == "checkpoints" and code == 0:  # nothing there is asked for any more
            continue
        assert code == 2
        assert one_line(told), told
        assert "link" in told or "symbolic" in told
    assert all(file.read_bytes() == held for file, held in kept)


def test_gradcheck_does_not_draw_through_a_link(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "victim").write_text("mine")
    (run / "gradcheck.svg").symlink_to(tmp_path / "victim")
    assert command("gradcheck", str(run), "--samples", "2") == 2
    assert "is a link" in capsys.readouterr().err
    assert (tmp_path / "victim").read_text() == "mine"


def test_two_at_once_is_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = run / "jobs" / ".0123456789abcdef.part"
    part.write_bytes(b"the other is writing this")
    config = str(run.parent / "c.yaml")
    figure = str(run.parent / "g.svg")
    with RunDirectory(run).at_work():
        for words in (
            ("run", config, "--out", str(run)),
            ("run", "--resume", str(run)),
            ("report", str(run)),
            ("gradcheck", str(run), "--samples", "2"),
        ):
            capsys.readouterr()
            assert command(*words) == 2
            told = capsys.readouterr().err
            assert f"another process is at work already (pid {os.getpid()})" in told
            assert one_line(told)
        assert command("gradcheck", str(run), "--samples", "2", "--figure", figure) == 0
    assert part.exists()
    assert command("run", "--resume", str(run)) == 0
    assert not part.exists()


def test_a_run_moved_or_copied_is_the_run(run: Path) -> None:
    wanted = (run / "summary.json").read_bytes()
    moved = run.rename(run.parent / "mövéd $x$ [b]")
    (moved / "summary.json").unlink()
    (moved / "jobs" / "train.json").unlink()
    assert command("run", "--resume", str(moved)) == 0
    assert (moved / "summary.json").read_bytes() == wanted


def test_results_are_the_same_for_the_same_seed(run: Path) -> None:
    config, again = str(run.parent / "c.yaml"), run.parent / "again"
    assert command("run", config, "--out", str(again)) == 0
    files = [f.relative_to(run) for f in run.rglob("*") if f.is_file()]
    for name in files:
        if name.name not in (".lock", "machine.json"):
            assert (again / name).read_bytes() == (run / name).read_bytes(), name
    assert len(json.loads((run / "summary.json").read_text())["curve"]) == 4
