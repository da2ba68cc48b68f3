"""Files that others have made: regular ones only, and no more memory than they may ask for."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

LEAST_UNPACKED, MOST_RATIO = 2**26, 100
"""A file may unpack to so many bytes, or to so many times its own size if that is more."""

LONGEST_JSON = 2**24
"""In bytes: the objects of a text take up to twenty times as many."""


def open_regular(path: str | Path) -> io.BufferedReader:
    """Open a regular file to be read. Not collective.

    Pipes, sockets and devices have no end, or nobody writes to them: they are never opened.

    Raises
    ------
    OSError
        If it cannot be opened, or there is something else at `path`, also behind a link.
    """
    _require_regular(path, os.stat(path).st_mode)
    # Whoever puts a pipe there in between cannot make the program wait.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        _require_regular(path, os.fstat(handle).st_mode)
        return os.fdopen(handle, "rb")
    except OSError:
        os.close(handle)
        raise


def _require_regular(path: str | Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))


def size_of(file: BinaryIO) -> int:
    """Return the size of an open file in bytes."""
    return os.fstat(file.fileno()).st_size


def read_regular(path: str | Path) -> bytes:
    """Return the content of a regular file, as long as it was when it was opened.

    Not collective.

    Raises
    ------
    OSError
        As `open_regular`.
    """
    with open_regular(path) as file:
        return file.read(size_of(file))


def read_json(path: str | Path) -> Any:
    """Return what a regular file of JSON says. Not collective.

    Raises
    ------
    OSError
        As `open_regular`.
    ValueError
        As `parse_json`.
    """
    with open_regular(path) as file:
        return parse_json(file.read(min(size_of(file), LONGEST_JSON + 1)))


def most_unpacked(size: int) -> int:
    """Return to how many bytes a compressed file of `size` bytes may unpack.

    Tables of numbers are rarely compressed to less than a tenth; what is made to fill the memory
    is compressed to a thousandth.
    """
    return max(LEAST_UNPACKED, MOST_RATIO * size)


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text says.

    Raises
    ------
    ValueError
        If it is none, is nested too deeply, or is longer than `LONGEST_JSON`.
    """
    if len(text) > LONGEST_JSON:
        raise ValueError(f"it is longer than {LONGEST_JSON} bytes")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
