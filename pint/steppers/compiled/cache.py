"""Machine code that is kept from one process to the next."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

_ABANDONED = 86400.0
"""Seconds after which a folder that has not got its name will not get it any more."""

_SUMS = "sums"
"""The file with the checksums of all the others; a folder without it is not used."""


def folder() -> Path:
    """Return where machine code is kept; it may be deleted at any time.

    ``$PINT_CACHE``, else ``pint`` in ``$XDG_CACHE_HOME`` or in ``~/.cache``.
    """
    if given := os.environ.get("PINT_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pint"


def kept(text: str, versions: str, compiled: Callable[[str | None], Any]) -> Any:
    """Return what `compiled` makes of a source, with the machine code of an earlier process.

    Each source has a folder of its own, named by all that the machine code depends on. It is
    filled under another name and then renamed, so that it is complete from the first moment on,
    and never changed: processes that start at once do not meet in it. A folder that has been
    damaged is replaced. Where nothing can be written, this process compiles for itself.

    Parameters
    ----------
    text : str
    versions : str
    compiled : callable
        Takes the path of the source, None for one that has no file.
    """
    key = hashlib.sha256(f"{versions}\n{text}".encode()).hexdigest()[:32]
    try:
        home = folder()
        home.mkdir(parents=True, exist_ok=True)
        place = home / key
        if _is_whole(place, text):
            with contextlib.suppress(Exception):  # files of another program of the same name
                return compiled(str(place / "steps.py"))
        return _filled(place, text, compiled)
    # numba finds no place for its files where the folder is deleted meanwhile.
    except (OSError, RuntimeError) as error:
        logger.warning("compiled steps are not kept for the next run: %s", error)
        return compiled(None)


def _filled(place: Path, text: str, compiled: Callable[[str | None], Any]) -> Any:
    """Compile into a new folder, and give it its name."""
    for left in place.parent.glob(".new-*"):  # by a process that was killed
        with contextlib.suppress(OSError):  # another process may remove it
            if time.time() - left.stat().st_mtime > _ABANDONED:
                shutil.rmtree(left, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=place.parent))
    try:
        (new / "steps.py").write_text(text)
        result = compiled(str(new / "steps.py"))
        (new / _SUMS).write_text(_sums(new))
        if place.exists() and not _is_whole(place, text):
            damaged = new / "damaged"
            with contextlib.suppress(OSError):  # another process was faster
                place.rename(damaged)
            shutil.rmtree(damaged, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process has put its own there
            new.rename(place)
        return result
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _is_whole(place: Path, text: str) -> bool:
    """Return whether a folder holds what was once written into it, for this source."""
    try:
        same = (place / "steps.py").read_text() == text
        return same and (place / _SUMS).read_text() == _sums(place)
    except (OSError, ValueError):
        return False


def _sums(place: Path) -> str:
    """Return a checksum for each file of a folder and of those in it."""
    found = sorted(path for path in place.rglob("*") if path.is_file() and path.name != _SUMS)
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.relative_to(place)}"
        for path in found
    ]
    return "\n".join(lines)
