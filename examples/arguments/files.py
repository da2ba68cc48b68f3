"""Files that a program is given, and those that it will write."""

from __future__ import annotations

import argparse
from pathlib import Path

import pint
from arguments.rules import is_installed
from pint.report.files import check_writable


def check_checkpoint(options: argparse.Namespace) -> None:
    """Raise ValueError if --resume finds no file, or a file exists without --resume."""
    if options.checkpoint is None:
        return
    check_outputs(options, "checkpoint")
    exists = Path(options.checkpoint).exists()
    if options.resume and not exists:
        raise ValueError(f"argument --resume: there is no checkpoint {options.checkpoint!r}")
    if exists and not options.resume:
        raise ValueError(
            f"argument --checkpoint: {options.checkpoint!r} exists: continue it by --resume, or "
            "remove it"
        )


def make_checkpoint(options: argparse.Namespace) -> pint.Checkpoint | None:
    """Return the checkpoint of the options, if they have one."""
    if options.checkpoint is None:
        return None
    return pint.Checkpoint(options.checkpoint, options.checkpoint_interval, options.resume)


def check_outputs(options: argparse.Namespace, *names: str) -> None:
    """Raise ValueError, naming the option, if a result could not be written later."""
    for name in names:
        path = getattr(options, name)
        if path is None:
            continue
        try:
            is_folder = Path(path).is_dir()
            check_writable(path)
        except OSError as error:
            reason = error.strerror or error
            raise ValueError(f"argument --{name}: cannot write {path!r}: {reason}") from None
        if is_folder:
            raise ValueError(f"argument --{name}: {path!r} is a folder")
    if options.plot and Path(options.plot).suffix not in (".png", ".pdf", ".svg"):
        raise ValueError(f"argument --plot: {options.plot!r} must end in .png, .pdf or .svg")
    if options.plot and not is_installed("matplotlib"):
        raise ValueError("argument --plot: needs matplotlib (pip install 'pint-control[examples]')")
