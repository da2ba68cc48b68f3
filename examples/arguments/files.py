"""Files that a program is given, and those that it will write.

Each option says by its type what its path is for, as in ``option("--plot", type=Picture)``. Before
any work, `check_files` compares what will be written with what is read, and with what is there.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arguments.rules import is_installed
from pint.report.files import check_writable
from pint.report.reading import open_regular, read_json
from problems.data import NAMES

CHECKPOINT_ARRAYS = {"history_columns.npy", "digests.npy"}
WEIGHTS_ARRAY = "classification_weight.npy"
PICTURES = {".png": (b"\x89PNG",), ".pdf": (b"%PDF",), ".svg": (b"<?xml", b"<svg")}
"""How pictures begin, by their endings."""
SERIES = re.compile(r"state(_\d+){0,2}\.(vtu|pvtu|pvd)")
"""Names of the files for ParaView, see `pint.io.write_series`."""


def description_of(path: str) -> Path:
    """Return the path of the description that belongs to a file of weights.

    Raises
    ------
    ValueError
        If the file is not called ``.npz``.
    """
    if Path(path).suffix != ".npz":
        raise ValueError(f"{path!r} must end in .npz, for .json is put in its place")
    return Path(path).with_suffix(".json")


class Input(str):
    """Argument type: the path of a file that is read."""

    @property
    def files(self) -> tuple[str, ...]:
        """All files that are read."""
        return (str(self),)


class WeightsInput(Input):
    """Argument type: weights, beside which there may be their description."""

    @property
    def files(self) -> tuple[str, ...]:
        """Weights and description."""
        described = Path(self).suffix == ".npz"
        return (str(self), str(description_of(self))) if described else (str(self),)


class Code(Input):
    """Argument type: ``FILE.py:NAME``."""

    @property
    def files(self) -> tuple[str, ...]:
        """The file of the code."""
        return (self.rpartition(":")[0],)


class Folder(Input):
    """Argument type: a folder of the files of a published data set."""

    @property
    def files(self) -> tuple[str, ...]:
        """Those of its files that could be data."""
        if not os.path.isdir(self):
            return ()
        with os.scandir(self) as entries:
            return tuple(
                entry.path
                for entry in entries
                if entry.is_file() and any(part in entry.name for part in ("idx", ".mat"))
            )


def data_set(text: str) -> str:
    """Argument type: the name of a data set, or the path of a file."""
    return text if text in NAMES else Input(text)


class Output(str):
    """Argument type: the path of a file that will be written.

    Attributes
    ----------
    heads : tuple of bytes
        How files of the kind that is written begin.
    """

    heads: tuple[bytes, ...] = (b"PK",)  # archives

    @property
    def files(self) -> tuple[str, ...]:
        """All files that will be written."""
        return (str(self),)

    def lost(self) -> str | None:
        """Return what is there that is not of the kind that is written, None if nothing is."""
        return None if _begins(self, self.heads) else "a file of another kind"


class History(Output):
    """Argument type: the table of the iterates that will be written."""

    heads = (b"iteration,",)


class Classes(Output):
    """Argument type: the table of classified examples that will be written."""

    heads = (b"example,",)


class Study(Output):
    """Argument type: the table of problems and rules that will be written."""

    heads = (b"problem,",)


class Numbers(Output):
    """Argument type: the numbers of a result that will be written, as JSON."""

    heads = (b'{\n "objective"',)


class DiagnosisOutput(Output):
    """Argument type: the numbers of a diagnosis that will be written, as JSON."""

    heads = (b'{\n "setup"',)


class Picture(Output):
    """Argument type: a picture that will be written."""

    def __new__(cls, text: str) -> Picture:
        """Raise ArgumentTypeError if the ending names no format."""
        if Path(text).suffix not in PICTURES:
            raise argparse.ArgumentTypeError(f"{text!r} must end in .png, .pdf or .svg")
        made = super().__new__(cls, text)
        made.heads = PICTURES[Path(text).suffix]
        return made


class StatesOutput(Output):
    """Argument type: states and controls that will be written."""

    def lost(self) -> str | None:
        """Return what is there that is no such file."""
        members = _members(self)
        if members is not None and "states.npy" not in members:
            return "an archive of other arrays"
        return super().lost()


class OutputFolder(str):
    """Argument type: a folder of files for ParaView, which is made if it is not there."""

    def __new__(cls, text: str) -> OutputFolder:
        """Raise ArgumentTypeError if the name is empty."""
        if not text:
            raise argparse.ArgumentTypeError("needs the name of a folder")
        return super().__new__(cls, text)

    def missing(self) -> list[str]:
        """Return the folders that are to be made, the innermost one first."""
        path = Path(os.path.abspath(self))
        return [str(one) for one in (path, *path.parents) if not os.path.lexists(one)]

    def check(self, name: str) -> None:
        """Raise ValueError, which names the option, if there can be no such folder.

        Also if it holds a file of another kind that has the name of one to be written.
        """
        path = Path(os.path.abspath(self))
        there = next(one for one in (path, *path.parents) if os.path.lexists(one))
        if not os.path.isdir(there):
            raise ValueError(f"argument {name}: {str(there)!r} is no folder")
        try:
            with tempfile.TemporaryDirectory(dir=there) as trial:
                os.makedirs(os.path.join(trial, path.relative_to(there)), exist_ok=True)
            found = os.listdir(there) if there == path else []
        except OSError as error:
            raise ValueError(
                f"argument {name}: cannot write to {str(there)!r}: {error.strerror or error}"
            ) from None
        for one in found:
            if SERIES.fullmatch(one) and not _begins(str(path / one), (b"<?xml", b"<VTKFile")):
                raise ValueError(
                    f"argument {name}: {str(path / one)!r} would be replaced, which is a file of "
                    "another kind: choose another name, or remove it"
                )

    def has(self, path: str) -> bool:
        """Whether a file has the name of one that may be written to the folder."""
        folder, name = os.path.split(os.path.realpath(path))
        return folder == os.path.realpath(self) and SERIES.fullmatch(name) is not None


class CheckpointOutput(Output):
    """Argument type: a checkpoint, which is there already if its run is resumed."""

    def lost(self) -> str | None:
        """Return None: `check_checkpoint` decides about what is there."""
        return None


class WeightsOutput(Output):
    """Argument type: weights that will be written, with their description beside them."""

    def __new__(cls, text: str) -> WeightsOutput:
        """Raise ArgumentTypeError if the name does not end in ``.npz``."""
        try:
            description_of(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return super().__new__(cls, text)

    @property
    def files(self) -> tuple[str, ...]:
        """Weights and description."""
        return (str(self), str(description_of(self)))

    def lost(self) -> str | None:
        """Return what is there that is no file of weights, or no description of any."""
        members = _members(self)
        if members is not None and WEIGHTS_ARRAY not in members:
            return "an archive of other arrays"
        if not _begins(self, self.heads):
            return "a file of another kind"
        described = description_of(self)
        if described.is_file() and described.stat().st_size and not _is_description(described):
            return f"{str(described)!r}, which describes no weights,"
        return None


def _is_description(path: Path) -> bool:
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "class_names" in content


class ModulesOutput(Output):
    """Argument type: weights of PyTorch modules that will be written."""

    def lost(self) -> str | None:
        """Return what is there that PyTorch has not written."""
        members = _members(self)
        if members is not None and not any(name.endswith("/data.pkl") for name in members):
            return "an archive of arrays"
        return super().lost()


def _begins(path: str, heads: tuple[bytes, ...]) -> bool:
    """Whether a file begins like one of a kind, or nothing would be lost with it."""
    try:
        with open_regular(path) as file:
            found = file.read(64)
    except (OSError, ValueError):
        return True
    return not found or found.startswith(heads)


def _members(path: str) -> set[str] | None:
    """Return the names in an archive, None if there is none at `path`."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            return set(archive.namelist())
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError):
        return None


def _files(options: argparse.Namespace, kind: Any) -> Iterator[tuple[str, str]]:
    """Yield each file of the options of a kind, after the option."""
    for name, value in vars(options).items():
        if isinstance(value, kind):
            for path in value.files:
                yield _called(name), path


def _called(name: str) -> str:
    return "FILE.npz" if name == "weights" else "--" + name.replace("_", "-")


def _place(path: str) -> tuple[object, ...] | None:
    """Return what two names of one file have in common, None of a device or pipe."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        real = Path(os.path.realpath(path))
        folder = os.stat(real.parent)
        return folder.st_dev, folder.st_ino, real.name
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return None
    return found.st_dev, found.st_ino


def check_files(options: argparse.Namespace) -> None:
    """Raise ValueError, naming the option, unless all results can be written and nothing is lost.

    No output may be an input, another output, or replace a file of another kind. Files are
    compared as the system knows them: links, other spellings of a path, and hard links are the
    same file. Not collective.
    """
    taken: dict[object, str] = {}
    for name, path in _files(options, Input):
        try:
            taken.setdefault(_place(path), f"is read by {name}: the result would replace it")
        except (OSError, ValueError):  # reported where it is read
            continue
    for name, path in _files(options, Output):
        _check_output(name, path)
        place = _place(path)
        if place is not None and place in taken:
            raise ValueError(f"argument {name}: {path!r} {taken[place]}")
        taken[place] = f"is written by {name}, too: give each result a file of its own"
    for name, value in vars(options).items():
        if isinstance(value, OutputFolder):
            _check_folder(_called(name), value, taken, options)
        if isinstance(value, Output):
            _check_what_is_there(_called(name), value)
        if isinstance(value, Picture) and not is_installed("matplotlib"):
            raise ValueError(
                f"argument {_called(name)}: needs matplotlib (pip install 'pint-control[examples]')"
            )


def _check_folder(
    name: str, folder: OutputFolder, taken: dict[object, str], options: argparse.Namespace
) -> None:
    """Raise ValueError if a folder cannot be made, or its files would replace others."""
    folder.check(name)
    for path in folder.missing()[-1:]:  # a file that is to be written has its folder already
        place = _place(path)
        if place in taken:
            raise ValueError(f"argument {name}: {path!r} {taken[place]}")
    for other, path in itertools.chain(_files(options, Input), _files(options, Output)):
        if folder.has(path):
            raise ValueError(f"argument {name}: its files would replace {path!r} of {other}")


def _check_output(name: str, path: str) -> None:
    try:
        is_folder = Path(path).is_dir()
        check_writable(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"argument {name}: cannot write {path!r}: {reason}") from None
    if is_folder:
        raise ValueError(f"argument {name}: {path!r} is a folder")


def _check_what_is_there(name: str, output: Output) -> None:
    members = _members(output)
    lost = output.lost()
    if lost is not None and CHECKPOINT_ARRAYS <= (members or set()):
        lost = "the checkpoint of a run"
    if lost is not None:
        raise ValueError(
            f"argument {name}: {str(output)!r} would replace {lost}: choose another name, or "
            "remove it"
        )


def check_checkpoint(options: argparse.Namespace) -> None:
    """Raise ValueError if --resume finds no file, or a file exists without --resume."""
    if getattr(options, "checkpoint", None) is None:
        return
    exists = Path(options.checkpoint).exists()
    if options.resume and not exists:
        raise ValueError(f"argument --resume: there is no checkpoint {options.checkpoint!r}")
    if exists and not options.resume:
        raise ValueError(
            f"argument --checkpoint: {options.checkpoint!r} exists: continue it by --resume, or "
            "remove it"
        )
