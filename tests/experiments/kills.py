"""Tiny runs of every study, killed where they write, and gone on with.

``python -m tests.experiments.kills STUDY KILLS`` prints a line of JSON: how many moments there are
to kill at, where the kills fell, and what differed after resuming (nothing, it is hoped).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from madem.cli import main
from madem.documents import dump_yaml
from madem.experiments.catalogue import MODULES
from madem.experiments.running import trained
from tests.cli.test_verbs import STUDIES as SMALLEST

WORDS = ["ab", "cd", "ef", "gh"]
TASK = {"words": WORDS, "letters": 2}
TRAIN: dict[str, Any] = {
    "experiment": "train",
    "task": {"kind": "digits", "size": 8, "train": 64},
    "network": {"kind": "hopfield", "hidden": [8]},
    "rule": "adam",
    "schedule": {"epochs": 3, "rates": [0.01], "batch": 16},
}
ONE = {"schedule": {"steps": 12, "batch": 8, "looks": 3}}
TWO = ONE | {"network": {"hidden": [5]}}
STUDIES: dict[str, dict[str, Any]] = {
    "braille": {
        "experiment": "braille", "words": WORDS, "letters": 2, "test_samples": 100,
        "machine": {"chips": 2}, "test_flips": [0.2],
        "classify": {"one_layer": ONE, "two_layer": TWO},
        "reconstruct": {"one_layer": ONE, "two_layer": TWO},
    },
    "train": TRAIN,
    "random-sign": TRAIN | {"estimator": "random-sign"},
    "train-chips": TRAIN | {
        "estimator": {"kind": "random-sign", "beta": 0.5},
        "schedule": {"epochs": 3, "rates": [0.4], "batch": 16},
        "machine": {"kind": "chip", "chips": 2, "arrays": 4, "wire": "2 ohm"},
        "rule": {"kind": "accumulate", "threshold": "10 uS"},
        "writing": {"units": ["200 uS"]},
    },
    "spectrum": {
        "experiment": "spectrum", "words": WORDS, "tasks": ["braille"], "chips": 2, "steps": 3,
        "batch": 4, "tuning_chips": 2, "test_samples": 100, "levels": 1, "stated": 1,
        "writes": True, "writes_steps": 2, "pulses": True,
        "rules": ["centred", "sparse", "ex-situ"], "imperfections": ["stuck", "together"],
    },
    "detector": SMALLEST["detector"],
    "personal": SMALLEST["personal"],
    "variability": {
        "experiment": "variability", "task": TASK, "machine": {"chips": 2},
        "schedule": {"steps": 12, "looks": 3}, "ideal_steps": 5, "bias_steps": 6,
        "defect_rates": [0.0, 0.4], "spreads": [0.0, 0.4], "damage": [0.0, 0.3],
        "offsets": [0.0, 1.0],
    },
    "noise": {
        "experiment": "noise", "task": TASK, "machine": {"chips": 2}, "levels": ["0 uS", "8 uS"],
        "resamples": 100, "sizes": [6], "schedule": {"steps": 12}, "network": {"hidden": [5]},
    },
}  # fmt: skip
APART = (".lock", "machine.json")
"""Who was at work, and how long: not of the results."""


class Aim:
    """Counts the moments at which a run changes a file, and kills it at moment ``at``."""

    def __init__(self, at: int) -> None:
        self.at, self.moments = at, list[str]()
        self.fsync, self.replace, self.mkdir, self.unlink = (
            os.fsync,
            os.replace,
            os.mkdir,
            os.unlink,
        )
        os.fsync = self.writing
        for name in ("replace", "mkdir", "unlink"):
            setattr(os, name, self.after(getattr(self, name), name))

    def moment(self, name: str, leaving: Callable[[], object] = lambda: None) -> None:
        if len(self.moments) == self.at:
            leaving()
            os.kill(os.getpid(), signal.SIGKILL)
        self.moments.append(name)

    def writing(self, file: int) -> None:
        """A file may be empty, half written, or whole and not yet in its place."""
        size = os.fstat(file).st_size
        for name, held in (("empty", 0), ("half", size // 2), ("whole", size)):
            self.moment(f"part {name}", lambda held=held: os.ftruncate(file, held))
        self.fsync(file)

    def after(self, function: Callable[..., None], name: str) -> Callable[..., None]:
        def done(*arguments: Any, **options: Any) -> None:
            function(*arguments, **options)
            self.moment(f"{name} {Path(arguments[name == 'replace']).name}")

        return done


def forked(words: Sequence[str], at: int | None, note: Path) -> int:
    """Run the command line in a child, killed at the moment ``at``; return how it ended."""
    child = os.fork()
    if child == 0:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        aim = Aim(-1 if at is None else at)
        sys.argv = ["madem", *words]
        try:
            main()
        except SystemExit as left:
            note.write_text(json.dumps(aim.moments))
            os._exit(left.code if isinstance(left.code, int) else int(left.code is not None))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def contents(run: Path) -> dict[str, bytes]:
    """Return every file of a run that must be the same."""
    files = sorted(file for file in run.rglob("*") if file.is_file())
    return {str(f.relative_to(run)): f.read_bytes() for f in files if f.name not in APART}


def killed(folder: Path, study: str, kills: int) -> dict[str, Any]:
    """Kill ``kills`` runs of ``study`` at moments evenly spread, and compare what resumes."""
    config, note = folder / "config.yaml", folder / "moments.json"
    config.write_text(dump_yaml(STUDIES[study]))

    def begin(run: Path) -> list[str]:
        return ["run", str(config), "--out", str(run), "--workers", "1"]

    whole = folder / "whole"
    assert forked(begin(whole), None, note) == 0
    moments, wanted = json.loads(note.read_text()), contents(whole)
    wrong, fell = {}, {}
    for number in range(kills):
        at = (2 * number + 1) * len(moments) // (2 * kills)
        run = folder / f"killed{at}"
        assert forked(begin(run), at, note) == -signal.SIGKILL
        resumed = ["run", "--resume", str(run), "--workers", "1"]
        left = forked(resumed if (run / "config.yaml").exists() else begin(run), None, note)
        found = contents(run)
        names = [n for n in {*wanted, *found} if wanted.get(n) != found.get(n)]
        fell[at] = moments[at]
        if left or names:
            wrong[at] = {"moment": moments[at], "code": left, "different": sorted(names)}
        shutil.rmtree(run)
    return {"study": study, "moments": len(moments), "kills": fell, "wrong": wrong}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in (
        "matplotlib.backends.backend_svg",
        "sklearn.datasets",
        "rich.progress",
        "madem.report.device",
        *(f"madem.report.{name}" for name in MODULES),
    ):
        import_module(name)  # once, and not in every child
    trained.EVERY = 5
    with tempfile.TemporaryDirectory() as made:
        print(json.dumps(killed(Path(made), sys.argv[1], int(sys.argv[2]))))
