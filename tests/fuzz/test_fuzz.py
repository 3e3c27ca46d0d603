"""Odd inputs at every door: each is refused in one line or answered, in seconds, and no memory.

``pytest tests/fuzz -m slow -s`` tries them all and prints what came of them; the default suite
tries some of each kind. Commands run in this process up to the point where a training would begin.
"""

from __future__ import annotations

import io
import os
import random
import resource
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import madem.serve.replay as replayed
from madem.beam.sources.hdf5 import Recorded
from madem.cli import main
from madem.serve import service
from madem.serve.replay import Sent
from tests.fuzz.doors import arguments, files, images
from tests.fuzz.inputs import Input, documents, keys, presets

SECONDS = 10
LONGEST = 310
MEGABYTES = 600

KINDS: dict[str, tuple[Callable[[random.Random, int], list[Input]], int, int]] = {
    "keys": (keys, 2200, 120),
    "presets": (presets, 450, 30),
    "documents": (documents, 200, 20),
    "files": (files, 350, 40),
    "arguments": (arguments, 300, 30),
    "images": (images, 120, 20),
}
"""How many of each kind the long test tries at most, and the short one."""


class HangError(BaseException):
    """Raised in whatever takes too long."""


@contextmanager
def hurried() -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def prepared(folder: Path, given: Input) -> set[str]:
    """Make the files of an input, and some that are no plain files; return the names of all."""
    folder.mkdir()
    (folder / "folder").mkdir()
    for suffix in ("", ".yaml"):
        (folder / f"loop{suffix}").symlink_to(folder / f"loop{suffix}")
        (folder / f"zero{suffix}").symlink_to("/dev/zero")
        (folder / f"full{suffix}").symlink_to("/dev/full")
        os.mkfifo(folder / f"pipe{suffix}")
    for name, content in given.files:
        (folder / name).write_bytes(content)
    return {each.name for each in folder.iterdir()}


def tried(given: Input, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what comes of an input: ``refused``, ``answered``, or what is wrong."""
    there = prepared(folder, given)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["madem", *given.line])
    out, err, code = io.StringIO(), io.StringIO(), 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with redirect_stdout(out), redirect_stderr(err), hurried():
            main()
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 0
    except HangError:
        return f"hang: over {SECONDS} s"
    except BaseException:
        return f"traceback: {traceback.format_exc().strip()[-900:]}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    new = {each.name for each in folder.iterdir()} - there
    shutil.rmtree(folder)
    said = err.getvalue()
    if code == 2:
        line = said.removesuffix("\n")
        clear = said.endswith("\n") and line.isprintable() and len(line) <= LONGEST
        whole = "refused" if clear else f"message of {len(said)}: {said[:400]!r}"
        return f"wrote: {new}" if new else whole
    faults = {
        f"memory: {grown:.0f} MB": grown > MEGABYTES,
        f"traceback: {said[-300:]}": "Traceback" in said,
        f"code {code}: {said[:300]}": code != 0,
        "silent: accepted": given.refuse,
    }
    return next((fault for fault, found in faults.items() if found), "answered")


def come_of(
    each: int, draws: random.Random, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Counter[str], list[str]]:
    """Try the inputs of every kind; ``each`` 0 is all of them, 1 some. Return counts and faults."""
    counts: Counter[str] = Counter()
    faults = []
    for kind, (make, *limits) in KINDS.items():
        for number, given in enumerate(make(draws, limits[each])):
            what = tried(given, folder / f"{kind}{number}", monkeypatch)
            counts[what.split(":")[0]] += 1
            if what not in ("refused", "answered"):
                line = " ".join(part[:120] for part in given.line)
                faults.append(f"{kind}: madem {line}\n    {what}\n    {given.about}")
    return counts, faults


@pytest.fixture(autouse=True)
def _nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop every run where its jobs would begin."""

    def stop(experiment: Any, config: Any, *_: Any) -> None:
        experiment.check(config)

    monkeypatch.setattr(sys.modules["madem.cli.run"], "_finish", stop)

    def begun(config: Any, *_: Any) -> None:
        config.reading()
        if config.file is not None:
            next(iter(config.calibration()))

    def sent(source: Any, *_: Any) -> Sent:
        if isinstance(source, Recorded):
            next(iter(source))
        return Sent(0, 0, 0)

    monkeypatch.setattr(service, "serve", begun)
    monkeypatch.setattr(replayed, "replay", sent)


def test_some_odd_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, faults = come_of(1, random.Random(0), tmp_path, monkeypatch)
    assert not faults, "\n".join(faults)
    assert counts["refused"] > 200


@pytest.mark.slow
def test_all_odd_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, faults = come_of(
        0, random.Random(int(os.environ.get("SEED", "1"))), tmp_path, monkeypatch
    )
    print(dict(counts), sum(counts.values()))
    Path(os.environ.get("FAULTS", os.devnull)).write_text("\n\n".join(faults))
    assert not faults, "\n".join(faults[:20])
    assert sum(counts.values()) >= 3000
