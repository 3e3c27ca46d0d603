"""The run directory: what a run knows of itself on disk, always whole, always resumable."""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from shlex import quote
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from madem.documents import dump_yaml, load_keys
from madem.errors import InputError, abridged, fault
from madem.experiments.running.files import LOCK, leftovers, locked, read_file, write_atomically

DERIVED = ("summary.json", "metrics.json", "ledger.json", "tuning.json")
"""Made from the jobs whenever they are asked for, so that they need no checksum."""

FORMAT = 2
"""Of files of tensors: it rises when what they hold changes. Files without one are of format 0."""


class RunDirectory:
    """One run's folder.

    ``config.yaml`` says what is run; ``jobs/NAME.json`` and ``jobs/NAME.safetensors`` hold the
    finished jobs, ``checkpoints/NAME.safetensors`` the unfinished one; ``summary.json``,
    ``ledger.json``, ``metrics.json`` and ``report.html`` the results; ``machine.json`` times and
    versions of the computer, apart from everything that must be reproducible. ``.lock`` names the
    process that is at work.

    What cannot be made anew carries the SHA-256 of its content, so that damage is found: every
    other content than what was written is refused, that of another file or run too. Links inside
    the folder are never followed.
    """

    def __init__(self, path: Path) -> None:
        """Point at ``path``; nothing is read or written yet."""
        self.path = path

    def at_work(self) -> AbstractContextManager[None]:
        """Keep other processes from writing here; raise ``InputError`` where one is at work."""
        return locked(self.path)

    def claim(self, config: dict[str, Any]) -> None:
        """Take the folder for ``config``, or raise ``InputError`` where it holds something else."""
        where = f"--out: {abridged(self.path)}"
        try:
            if self.path.exists() and not self.path.is_dir():
                raise InputError(f"{where} is a file, not a folder")
            if not os.path.lexists(self.path / "config.yaml") and self._foreign():
                raise InputError(f"{where} is not empty and holds no run")
            self.path.mkdir(parents=True, exist_ok=True)
            with self.at_work():
                self._enter(config)
        except OSError as error:
            raise InputError(f"--out: {fault(error)}") from None

    def _foreign(self) -> bool:
        """Return whether there is anything that no run has left."""
        ours = {LOCK, *(part.name for part in leftovers(self.path))}
        return self.path.is_dir() and any(each.name not in ours for each in self.path.iterdir())

    def _enter(self, config: dict[str, Any]) -> None:
        """Write ``config``, or see that it is the one that is here; clear up after a kill."""
        text = self.read("config.yaml")
        if text is None:
            text = dump_yaml(config).encode()
            self.write("config.yaml", text)
        elif (held := self.config()) != config:
            raise InputError(
                f"--out: {abridged(self.path)} belongs to another config "
                f"({_first_difference(held, config)}); choose another folder, or --resume it as "
                "it is"
            )
        self.write("config.sha256", sha256(text).hexdigest().encode())
        self.clear()

    def clear(self) -> None:
        """Remove what was left half written, and what jobs said of their progress."""
        for part in leftovers(self.path):
            part.unlink(missing_ok=True)

    def config(self) -> dict[str, Any]:
        """Return the config, or raise ``InputError`` where there is none that can be read."""
        file = self.path / "config.yaml"
        try:
            text = self.read("config.yaml")
        except NotADirectoryError:
            text = None
        if text is None:
            raise InputError(f"{abridged(self.path)} is not a run directory: it has no config.yaml")
        seal = self.read("config.sha256")
        if seal is not None and seal != sha256(text).hexdigest().encode():
            raise InputError(
                f"{abridged(file)} was changed after the run began: its results belong to another "
                "config; put it back, or start in another folder"
            )
        return load_keys(text, f"config: {abridged(file)}")

    def write(self, name: str, content: bytes) -> None:
        """Write ``content`` as ``name``, whole or not at all."""
        write_atomically(self.path / name, content, self.path)

    def read(self, name: str) -> bytes | None:
        """Return what ``name`` holds, None where there is no such file."""
        return read_file(self.path / name, self.path)

    def save_json(self, name: str, values: Any, key: str | None = None) -> None:
        """Write ``values`` as ``name``, a record with its checksum where it cannot be made anew.

        ``key``: a hash of what it is the record of. Raises ``InputError`` for numbers that are not
        finite, which JSON does not know.
        """
        try:
            text = _text(values if key is None else values | {"job_hash": key})
        except ValueError:
            raise InputError(
                f"{name} would hold a number that is not finite: the training diverged; smaller "
                "rates or a smaller beta may help"
            ) from None
        if name not in DERIVED:
            text = _text(json.loads(text) | {"sha256": sha256(text).hexdigest()})
        self.write(name, text)

    def load_json(self, name: str, key: str | None = None) -> dict[str, Any] | None:
        """Return the record ``name``, None where there is none, or none of ``key``, if given.

        Raises ``InputError`` where it is another than was written.
        """
        content = self.read(name)
        if content is None:
            return None
        try:
            held = json.loads(content)
            if not isinstance(held, dict):
                raise ValueError
            if name not in DERIVED and held.pop("sha256") != sha256(_text(held)).hexdigest():
                raise ValueError
            found = held.pop("job_hash", None)
            return held if key in (None, found) else None
        except (ValueError, KeyError, RecursionError):
            raise self._damaged(name) from None

    def finished(self, job: str, key: str | None = None) -> dict[str, Any]:
        """Return the result of ``job``, or raise ``InputError`` where it is not finished."""
        held = self.load_json(f"jobs/{job}.json", key)
        if held is None:
            raise InputError(
                f"{abridged(self.path)} is not finished; to go on: {resumed(self.path)}"
            )
        return held

    def save_tensors(self, name: str, tensors: dict[str, Tensor], note: Any = None) -> None:
        """Write ``tensors``, a ``note`` (what JSON knows), format and checksum as ``name``."""
        whole = {key: value.contiguous() for key, value in tensors.items()}
        held = {"format": FORMAT, "note": note, "sha256": self._seal(name, whole, note)}
        self.write(name, save(whole, {"held": json.dumps(held)}))

    def load_tensors(self, name: str) -> tuple[dict[str, Tensor], Any] | None:
        """Return the tensors and the note of ``name``, None where there is no such file.

        Raises ``InputError`` where it is another than was written, or of another format.
        """
        content = self.read(name)
        if content is None:
            return None
        try:
            size = int.from_bytes(content[:8], "little")
            held = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["held"])
            tensors = dict(sorted(load(content).items()))  # as they come, in no order
            found, note = held.get("format", 0), held["note"]
            if found == FORMAT and held["sha256"] != self._seal(name, tensors, note):
                raise ValueError
        except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, AttributeError):
            raise self._damaged(name) from None
        if found != FORMAT:
            raise InputError(
                f"{abridged(self.path / name)} has format {found}, but this madem reads format "
                f"{FORMAT}: go on with the madem that wrote it, or start in another folder"
            )
        return tensors, note

    def tensors(self, job: str) -> dict[str, Tensor]:
        """Return the tensors of a finished job; raise ``InputError`` where they are missing."""
        found = self.load_tensors(f"jobs/{job}.safetensors")
        if found is None:
            name = f"jobs/{job}.safetensors"
            raise InputError(f"{abridged(self.path)} is damaged: {name} is missing")
        return found[0]

    def _seal(self, name: str, tensors: dict[str, Tensor], note: Any) -> str:
        """Return the SHA-256 of tensors, their names and note, the file's name and the config."""
        said = [FORMAT, note, name, sha256(self.read("config.yaml") or b"").hexdigest()]
        return sha256(save(tensors, {"note": json.dumps(said)})).hexdigest()

    def _damaged(self, name: str) -> InputError:
        return InputError(
            f"{abridged(self.path / name)} is damaged: it is not what was written; without it, "
            "--resume does that part of the run again"
        )


def resumed(path: Path) -> str:
    """Return the command that goes on with the run in ``path``."""
    return f"madem run --resume {quote(str(path))}"


def _text(values: Any) -> bytes:
    """Return ``values`` as JSON, always the same."""
    return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False).encode()


def _first_difference(held: Any, wanted: Any, path: str = "") -> str:
    """Name the first key in which two configs differ."""
    if isinstance(held, dict) and isinstance(wanted, dict):
        for key in [*held, *wanted]:
            if held.get(key) != wanted.get(key):
                return _first_difference(held.get(key), wanted.get(key), f"{path}.{key}".strip("."))
    shown = [text if len(text := json.dumps(v)) < 60 else "..." for v in (held, wanted)]
    return f"{path} is {shown[0]} there and {shown[1]} here"
