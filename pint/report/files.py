"""Files: written as a whole or not at all, read with errors that say what is wrong."""

from __future__ import annotations

import contextlib
import lzma
import os
import stat
import struct
import tempfile
import textwrap
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np


def write_atomically(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under a temporary name in the same folder, then rename it to `path`.

    A process that is killed at any moment leaves the previous file as it was. A symbolic link
    stays one. A device or a pipe, such as ``/dev/null``, is written to and never replaced. Not
    collective: call it on one rank.

    Parameters
    ----------
    path : str or Path
        The file's final name.
    write : callable
        Receives the open binary file and writes the whole content.

    Raises
    ------
    OSError
        If the folder cannot be written; `path` is then unchanged.
    """
    if _is_special(path):
        with open(path, "wb") as file:
            write(file)
        return
    path = Path(os.path.realpath(path))
    handle, temporary = tempfile.mkstemp(prefix=_prefix(path), dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove_leftovers(path: str | Path) -> None:
    """Remove what processes that were killed while they wrote `path` have left in its folder.

    Not collective. No other process may be writing `path`.
    """
    path = Path(os.path.realpath(path))
    for entry in path.parent.iterdir():
        if entry.name.startswith(_prefix(path)):
            entry.unlink(missing_ok=True)


def _prefix(path: Path) -> str:
    """Return how temporary names for `path` begin; a file's name has at most 255 bytes."""
    return f".pint.{path.name[:50]}."


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


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def load_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Return all arrays of an `.npz` file. Not collective.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not an `.npz` archive of numbers.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        tokenize.TokenError,  # of numpy's parser of a broken header, and SyntaxError
        SyntaxError,
        EOFError,
        KeyError,
        ValueError,
        AttributeError,  # a .npy file is no context manager; TypeError since Python 3.11
        TypeError,
        OverflowError,
        MemoryError,  # a broken header may ask for any size
        RuntimeError,  # encrypted or compressed in a way that Python cannot read
        struct.error,
    ) as error:
        reason = textwrap.shorten(str(error), 200)  # numpy quotes a broken directory whole
        if "allow_pickle" in str(error):  # of objects in an archive, and of all that is no archive
            objects = zipfile.is_zipfile(path)
            reason = "it holds Python objects" if objects else "it is no archive of arrays"
        raise ValueError(f"{path} is not a readable .npz file ({reason}).") from None
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy gives the bytes of any other member
            raise ValueError(f"{path} is not a readable .npz file (`{name}` is no array).")
    return arrays
