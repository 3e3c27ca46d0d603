"""One writer: whole or not at all, through no link, under no name that can be guessed."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from madem.errors import InputError
from madem.experiments.running.files import LOCK, locked, read_file, write_asked, write_atomically


def test_the_mode_is_what_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.parametrize("name", ["victim", "nowhere"])
def test_a_link_is_neither_written_through_nor_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / name)
    with pytest.raises(InputError, match="is a link or a device"):
        write_asked(tmp_path / "link", b"theirs")
    with pytest.raises(InputError, match="is a link or a device"):
        read_file(tmp_path / "link")
    assert (tmp_path / "victim").read_bytes() == b"mine"
    assert {file.name for file in tmp_path.iterdir()} == {"victim", "link"}


def test_a_folder_that_is_a_link_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a").write_bytes(b"mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "jobs").symlink_to(tmp_path / "elsewhere")
    file = tmp_path / "run" / "jobs" / "a"
    with pytest.raises(InputError, match="run/jobs' is a link"):
        write_atomically(file, b"theirs", tmp_path / "run")
    with pytest.raises(InputError, match="run/jobs' is a link"):
        read_file(file, tmp_path / "run")
    assert (tmp_path / "elsewhere" / "a").read_bytes() == b"mine"


def test_the_folder_that_was_named_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "scratch")
    write_atomically(tmp_path / "run" / "jobs" / "a", b"x", tmp_path / "run")
    assert read_file(tmp_path / "scratch" / "jobs" / "a") == b"x"


def test_devices_pipes_and_folders_are_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/null"), Path("/dev/stdout"), tmp_path / "pipe"):
        with pytest.raises(InputError, match="is a link or a device"):
            write_asked(path, b"x")
    with pytest.raises(InputError, match="is a folder"):
        write_asked(tmp_path, b"x")
    with pytest.raises(InputError, match="no such file or directory"):
        write_asked(tmp_path / "none" / "a", b"x")
    with pytest.raises(InputError, match="file name too long"):
        write_asked(tmp_path / ("x" * 300), b"x")


def test_part_names_differ_and_are_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def fail(file: int) -> None:
        seen.extend(each.name for each in tmp_path.iterdir())
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left on device: .*a'"):
            write_atomically(tmp_path / "a", b"new")
    parts = {name for name in seen if name != "a"}
    assert len(parts) == 2
    assert not any(str(os.getpid()) in name for name in parts)
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_one_at_a_time_and_a_kill_lets_go(tmp_path: Path) -> None:
    told, held = os.pipe()
    child = os.fork()
    if child == 0:
        with locked(tmp_path):
            os.write(held, b"!")
            os.read(os.pipe()[0], 1)  # for ever
    os.read(told, 1)
    with pytest.raises(InputError, match=rf"at work already \(pid {child}\)"), locked(tmp_path):
        pass
    os.kill(child, 9)
    os.waitpid(child, 0)
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_the_lock_writes_into_no_file_of_others(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("precious")
    (tmp_path / "run").mkdir()
    os.link(tmp_path / "theirs", tmp_path / "run" / LOCK)
    with locked(tmp_path / "run"):
        pass
    assert (tmp_path / "theirs").read_text() == "precious"
