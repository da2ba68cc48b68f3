"""Files that are written as a whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under a temporary name in the same folder, then rename it to `path`.

    A process that is killed at any moment leaves the previous file as it was. A symbolic link
    stays one, a file keeps its mode and, where the system allows it, its owner. A device or a
    pipe, such as ``/dev/null``, is written to and never replaced. Not collective: call it on one
    rank.

    Parameters
    ----------
    path : str or Path
        The file's final name.
    write : callable
        Receives the open binary file and writes the whole content.

    Raises
    ------
    OSError
        If the folder cannot be written, or nobody reads the pipe; `path` is then unchanged.
    """
    if _is_special(path):
        handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK)  # fails, and does not wait for a reader
        os.set_blocking(handle, True)
        with os.fdopen(handle, "wb") as file:
            write(file)
        return
    path = Path(os.path.realpath(path))
    temporary = path.parent / f"{_prefix(path)}{secrets.token_hex(8)}"
    handle = _created_like(path, temporary)
    try:
        with os.fdopen(handle, "wb") as file:
            with contextlib.suppress(OSError):  # some network folders have no locks
                fcntl.flock(file, fcntl.LOCK_SH)
            write(file)
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove_leftovers(path: str | Path) -> None:
    """Remove what processes that were killed while they wrote `path` have left in its folder.

    What a process is still writing stays. Not collective.
    """
    path = Path(os.path.realpath(path))
    for entry in path.parent.iterdir():
        if entry.name.startswith(_prefix(path)) and not _is_written(entry):
            entry.unlink(missing_ok=True)


def _prefix(path: Path) -> str:
    """Return how temporary names for `path` begin; a file's name has at most 255 bytes."""
    digest = hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()
    return f".pint.{path.name[:50]}.{digest}."


def _created_like(path: Path, temporary: Path) -> int:
    """Create a file with the mode and the owner of `path`, if that exists; return its handle."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        before = os.stat(path)
    except FileNotFoundError:
        return os.open(temporary, flags, 0o666)
    handle = os.open(temporary, flags, 0o600)
    with contextlib.suppress(OSError):  # only root may give a file away
        os.fchown(handle, before.st_uid, before.st_gid)
    with contextlib.suppress(OSError):  # some file systems know no modes
        os.fchmod(handle, stat.S_IMODE(before.st_mode))
    return handle


def _is_written(entry: Path) -> bool:
    """Whether a process has the file open in `write_atomically`."""
    try:
        handle = os.open(entry, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power failure, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def check_writable(path: str | Path) -> None:
    """Raise OSError if `write_atomically` could not write `path`; leaves no file behind.

    Not collective.
    """
    if not _is_special(path):
        tempfile.TemporaryFile(dir=Path(os.path.realpath(path)).parent).close()


def _is_special(path: str | Path) -> bool:
    """Whether there is something at `path` that is neither a file nor a folder.

    Raises OSError if no file can have this name.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
