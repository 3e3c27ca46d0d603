"""Files that are whole or not there, links that are not followed, and one process at a time.

Everything that a run leaves and every file that a command is asked for goes through
``write_atomically``; everything that is read back from a run comes through ``read_file``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from madem.errors import InputError, abridged, fault

FOLDER = os.O_RDONLY | os.O_DIRECTORY
PARTS = ".*.part"
"""What a kill leaves of a file that was being written."""

LOCK = ".lock"
UNLOCKABLE = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""What ``flock`` says on file systems without locks, which are used without them."""


def write_atomically(path: Path, content: bytes, within: Path | None = None) -> None:
    """Write ``content`` to ``path`` so that a reader sees the old file or the new one, whole.

    ``within``: the folder that ``path`` lies in, the parent by default; folders below it are made
    where they are missing, and no link below it is followed. Its mode is what the umask leaves.
    Raises ``InputError`` where ``path`` is there already and is no plain file, so that neither
    what a link points to nor a device is overwritten, and ``OSError`` where storage fails; the old
    file is then as it was.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_atomically(folder / "a", b"whole")
    >>> (folder / "a").read_bytes()
    b'whole'
    """
    with _named(path), _parent(path, within, make=True) as folder:
        with suppress(FileNotFoundError):
            _refuse_other(path, os.stat(path.name, dir_fd=folder, follow_symlinks=False).st_mode)
        part = f".{secrets.token_hex(8)}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            with os.fdopen(os.open(part, flags, 0o666, dir_fd=folder), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(part, dir_fd=folder)
            raise


def write_asked(path: Path, content: bytes) -> None:
    """Write the file ``path`` that a person asked for; ``InputError`` says why it cannot be."""
    try:
        write_atomically(path, content)
    except OSError as error:
        raise InputError(str(fault(error))) from None


def read_file(path: Path, within: Path | None = None) -> bytes | None:
    """Return what the file ``path`` holds, None where there is none.

    Raises ``InputError`` where it, or a folder between it and ``within``, is a link.
    """
    with suppress(FileNotFoundError), _named(path), _parent(path, within) as folder:
        found = os.stat(path.name, dir_fd=folder, follow_symlinks=False).st_mode
        _refuse_other(path, found)
        flags = os.O_RDONLY | os.O_NOFOLLOW
        with os.fdopen(os.open(path.name, flags, dir_fd=folder), "rb") as file:
            return file.read()
    return None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder``; a kill releases it.

    Raises ``InputError`` where another process holds it.
    """
    path = folder / LOCK
    with _named(path), _parent(path, None) as opened:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        file = os.open(LOCK, flags, 0o666, dir_fd=opened)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(file, 20).decode(errors="replace").strip() or "unknown"
            raise InputError(
                f"{abridged(folder)}: another process is at work already (pid {pid})"
            ) from None
        except OSError as error:
            if error.errno not in UNLOCKABLE:
                raise
        with suppress(OSError):  # who holds it is good to know; a full disk is told elsewhere
            if os.fstat(file).st_nlink == 1:  # else it is another's file as well
                os.ftruncate(file, 0)
                os.write(file, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(file)


@contextmanager
def _parent(path: Path, within: Path | None, make: bool = False) -> Iterator[int]:
    """Open the folder that ``path`` lies in, following no link below ``within``."""
    root = within or path.parent
    here = os.open(root, FOLDER)
    try:
        for name in path.relative_to(root).parts[:-1]:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=here)
            try:
                below = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=here)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    raise InputError(_unlike(root / name)) from None
                raise
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


def _refuse_other(path: Path, mode: int) -> None:
    """Raise ``InputError`` where the file of ``mode`` at ``path`` is no plain one."""
    if S_ISDIR(mode):
        raise InputError(f"{abridged(path)} is a folder")
    if not S_ISREG(mode):
        raise InputError(_unlike(path))


def _unlike(path: Path) -> str:
    return f"{abridged(path)} is a link or a device: it is not followed, name the file itself"


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let errors of storage name ``path``, whichever part of it they came from."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def leftovers(folder: Path) -> Sequence[Path]:
    """Return what kills left half written anywhere in ``folder``."""
    return sorted(folder.rglob(PARTS))
