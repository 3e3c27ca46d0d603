"""The states of a chip, in numbered generations that are whole or not there.

``generations/000007/`` holds ``state.safetensors`` and ``manifest.json``, which has the SHA-256 of
the state; a folder gets its name when all in it is on the disk, and ``CURRENT`` names it after
that. So a kill at any time leaves the old generation or the new one. ``journal.jsonl`` says what
was written to the chip since.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from madem.errors import InputError, abridged
from madem.experiments.running.files import read_file, write_atomically

NUMBER = re.compile(r"[0-9]{6,15}")
"""The name of a generation's folder."""
FORMAT = 1
"""Of a generation; it rises when what one holds changes."""


class NewerError(InputError):
    """A generation that a newer madem wrote."""


class Generation(NamedTuple):
    """A state of the chip: its ``number``, tensors, and what its manifest says of it."""

    number: int
    tensors: dict[str, Tensor]
    manifest: dict[str, Any]


@dataclass(frozen=True)
class Store:
    """The generations in the folder ``path``; ``keep`` of them, besides pinned ones.

    >>> import tempfile, torch
    >>> store = Store(Path(tempfile.mkdtemp()))
    >>> store.save({"x": torch.ones(2)}, {"why": "an example"})
    1
    >>> store.current().tensors["x"].tolist(), store.numbers()
    ([1.0, 1.0], [1])
    """

    path: Path
    keep: int = 20

    @property
    def home(self) -> Path:
        """Where the generations are."""
        return self.path / "generations"

    def numbers(self) -> list[int]:
        """Return the numbers of all generations, the newest last."""
        if not self.home.is_dir():
            return []
        return sorted(int(each.name) for each in self.home.iterdir() if NUMBER.fullmatch(each.name))

    def save(self, tensors: Mapping[str, Tensor], said: Mapping[str, Any]) -> int:
        """Keep a new generation, which becomes the current one, and return its number.

        ``said``: what its manifest says besides. Raises ``OSError`` where storage fails; the
        current generation is then what it was.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        number = max(self.numbers(), default=0) + 1
        parent = self.pointed()
        content = save({name: each.contiguous() for name, each in tensors.items()})
        manifest = {"format": FORMAT, "number": number, "parent": parent, "at": time.time(),
                    "sha256": sha256(content).hexdigest(), **said}  # fmt: skip
        part = self.home / f".{number:06d}.{os.getpid()}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            for name, held in (("state.safetensors", content), ("manifest.json", _text(manifest))):
                with (part / name).open("xb") as file:
                    file.write(held)
                    file.flush()
                    os.fsync(file.fileno())
            _synced(part)
            part.rename(self.home / f"{number:06d}")
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        _synced(self.home)
        self.point(number)
        self.prune()
        return number

    def point(self, number: int) -> None:
        """Make generation ``number`` the current one; ``InputError`` where it is not whole."""
        self.load(number)
        write_atomically(self.path / "CURRENT", f"{number:06d}\n".encode())
        _synced(self.path)
        with suppress(FileNotFoundError):
            (self.path / "journal.jsonl").rename(self.path / "journal.before.jsonl")

    def pointed(self) -> int | None:
        """Return which generation ``CURRENT`` names, None where it names none."""
        text = b""
        with suppress(InputError):  # a link, or a folder
            text = (read_file(self.path / "CURRENT") or b"").strip() if self.path.is_dir() else b""
        return int(text) if text.isdigit() and len(text) == 6 else None

    def whole(self) -> Iterator[Generation]:
        """Yield the current generation, then the others, newest first, if whole."""
        for number in dict.fromkeys([self.pointed(), *self.numbers()[::-1]]):
            with suppress(InputError):
                if number is not None:
                    yield self.load(number)

    def current(self) -> Generation | None:
        """Return the current generation, or else the newest whole one, None where there is none."""
        return next(self.whole(), None)

    def fault(self) -> str | None:
        """Return what is wrong with what ``CURRENT`` names, None where nothing is."""
        try:
            self.load(self.pointed() or 0)
        except NewerError:
            return "newer generation"
        except InputError:
            return "damaged generation"
        return None

    def load(self, number: int) -> Generation:
        """Return generation ``number``; raise ``InputError`` where it is missing or damaged."""
        where = self.home / f"{number:06d}"
        try:
            manifest = json.loads((where / "manifest.json").read_bytes())
            content = (where / "state.safetensors").read_bytes()
            if manifest["format"] > FORMAT:
                raise NewerError(
                    f"{abridged(where)} has format {manifest['format']}, but this madem reads "
                    f"{FORMAT}: go on with the madem that wrote it"
                )
            if manifest["sha256"] != sha256(content).hexdigest() or manifest["number"] != number:
                raise ValueError
            return Generation(number, dict(sorted(load(content).items())), manifest)
        except FileNotFoundError:
            raise InputError(f"there is no generation {number} in {abridged(self.path)}") from None
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError, SafetensorError, RecursionError):
            raise InputError(
                f"{abridged(where)} is damaged: roll back to another generation"
            ) from None

    def pin(self, number: int) -> None:
        """Keep generation ``number`` for good."""
        self.load(number)
        write_atomically(self.home / f"{number:06d}" / "pinned", b"")

    def pinned(self, number: int) -> bool:
        """Return whether a generation is kept for good."""
        return (self.home / f"{number:06d}" / "pinned").exists()

    def prune(self) -> None:
        """Remove the oldest generations, and what a kill has left half written."""
        for part in self.home.glob(".*.part"):
            shutil.rmtree(part, ignore_errors=True)
        loose = [each for each in self.numbers() if not self.pinned(each)]
        for number in loose[: -self.keep]:
            if number != self.pointed():
                shutil.rmtree(self.home / f"{number:06d}", ignore_errors=True)

    def note(self, entry: Mapping[str, Any]) -> None:
        """Add to the journal what was written to the chip since the current generation."""
        with (self.path / "journal.jsonl").open("ab") as file:
            file.write(_text({"since": self.pointed(), **entry}) + b"\n")

    def noted(self) -> list[dict[str, Any]]:
        """Return what the journal says; a line that a kill has cut off is left out."""
        found = list[dict[str, Any]]()
        with suppress(FileNotFoundError):
            for line in (self.path / "journal.jsonl").read_bytes().splitlines():
                with suppress(ValueError):
                    found.append(json.loads(line))
        return found


def _text(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, allow_nan=False).encode()


def _synced(folder: Path) -> None:
    """Let the names in a folder be on the disk."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
