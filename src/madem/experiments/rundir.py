"""The run directory: what a run knows of itself on disk, always whole, always resumable."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from madem.documents import dump_yaml, read_yaml
from madem.errors import InputError


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` so that a reader sees the old file or the new one, whole.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_atomically(folder / "a", b"whole")
    >>> (folder / "a").read_bytes()
    b'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class RunDirectory:
    """One run's folder.

    ``config.yaml`` says what is run; ``jobs/NAME.json`` and ``jobs/NAME.safetensors`` hold the
    finished jobs, ``checkpoints/NAME.safetensors`` the unfinished one; ``summary.json``,
    ``ledger.json``, ``metrics.json`` and ``report.html`` the results; ``machine.json`` times and
    versions of the computer, apart from everything that must be reproducible.
    """

    def __init__(self, path: Path) -> None:
        """Point at ``path``; nothing is read or written yet."""
        self.path = path

    def claim(self, config: dict[str, Any]) -> None:
        """Take the folder for ``config``, or raise ``InputError`` where it holds something else."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"--out: {str(self.path)!r} is a file, not a folder")
        if (self.path / "config.yaml").exists():
            held = self.config()
            if held != config:
                key = _first_difference(held, config)
                raise InputError(
                    f"--out: {str(self.path)!r} belongs to another config ({key}); "
                    "choose another folder, or --resume it as it is"
                )
            self._seal((self.path / "config.yaml").read_bytes())
            for part in self.path.rglob(".*.part"):  # what a kill left half written
                part.unlink()
            return
        if self.path.is_dir() and any(self.path.iterdir()):
            raise InputError(f"--out: {str(self.path)!r} is not empty and holds no run")
        text = dump_yaml(config).encode()
        try:
            write_atomically(self.path / "config.yaml", text)
        except OSError as error:
            reason = (error.strerror or "cannot be written").lower()
            raise InputError(f"--out: {str(self.path)!r}: {reason}") from None
        self._seal(text)

    def _seal(self, text: bytes) -> None:
        """Remember which config the jobs of this folder belong to."""
        write_atomically(self.path / "config.sha256", sha256(text).hexdigest().encode())

    def config(self) -> dict[str, Any]:
        """Return the config, or raise ``InputError`` where there is none that can be read."""
        file = self.path / "config.yaml"
        if not file.is_file():
            raise InputError(f"{str(self.path)!r} is not a run directory: it has no config.yaml")
        seal = self.path / "config.sha256"
        if seal.is_file() and seal.read_text() != sha256(file.read_bytes()).hexdigest():
            raise InputError(
                f"{str(file)!r} was changed after the run began: its results belong to another "
                "config; put it back, or start in another folder"
            )
        return read_yaml(file, "config")

    def save_json(self, name: str, values: Any) -> None:
        """Write ``values`` as ``name``."""
        text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(self.path / name, text.encode())

    def load_json(self, name: str) -> Any:
        """Return what ``name`` holds, None where there is no such file."""
        file = self.path / name
        if not file.is_file():
            return None
        try:
            return json.loads(file.read_bytes())
        except ValueError:
            raise InputError(f"{str(file)!r} is damaged: it is not JSON") from None

    def save_tensors(self, name: str, tensors: dict[str, Tensor], note: str = "") -> None:
        """Write ``tensors`` and a ``note`` as ``name``."""
        whole = {key: value.contiguous() for key, value in tensors.items()}
        write_atomically(self.path / name, save(whole, {"note": note}))

    def load_tensors(self, name: str) -> tuple[dict[str, Tensor], str] | None:
        """Return the tensors and the note of ``name``, None where there is no such file."""
        file = self.path / name
        if not file.is_file():
            return None
        try:
            with safe_open(str(file), "pt") as held:
                note = (held.metadata() or {}).get("note", "")
                return {key: held.get_tensor(key) for key in list(held.keys())}, note
        except (SafetensorError, OSError):
            raise InputError(f"{str(file)!r} is damaged: it is not a checkpoint") from None

    def remove(self, name: str) -> None:
        """Remove the file ``name`` if it is there."""
        (self.path / name).unlink(missing_ok=True)


def _first_difference(held: Any, wanted: Any, path: str = "") -> str:
    """Name the first key in which two configs differ."""
    if isinstance(held, dict) and isinstance(wanted, dict):
        for key in [*held, *wanted]:
            if held.get(key) != wanted.get(key):
                return _first_difference(held.get(key), wanted.get(key), f"{path}.{key}".strip("."))
    shown = [text if len(text := repr(value)) < 60 else "..." for value in (held, wanted)]
    return f"{path} is {shown[0]} there and {shown[1]} here"
