"""What the example programs share: argument types, solver options, errors in one line."""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pint
from pint.comm import ending_all_ranks


class Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line, from rank 0, and ends every rank with code 2."""

    comm: Any = pint.SerialComm()

    def error(self, message: str) -> NoReturn:
        if self.comm.rank == 0:
            print(f"{self.prog}: error: {' '.join(message.split())}", file=sys.stderr, flush=True)
        self.comm.Barrier()
        raise SystemExit(2)

    def print_help(self, file: Any = None) -> None:
        if self.comm.rank == 0:
            super().print_help(file)


def integer(least: int) -> Any:
    """Return an argument type: an integer >= `least`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"must be an integer >= {least}, got {text!r}")
        return value

    return parse


def number(positive: bool = False) -> Any:
    """Return an argument type: a finite number > 0, or >= 0."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and (value > 0 or (value == 0 and not positive))):
            sign = ">" if positive else ">="
            raise argparse.ArgumentTypeError(f"must be a finite number {sign} 0, got {text!r}")
        return value

    return parse


def integers(text: str) -> list[int]:
    """Argument type: comma-separated integers >= 2."""
    return [integer(2)(part) for part in text.split(",")]


def words(text: str) -> list[str]:
    """Argument type: comma-separated relaxations F, FCF, FCFCF, ..."""
    for word in text.split(","):
        if word != "F" + "CF" * word.count("C"):
            raise argparse.ArgumentTypeError(f"must be F, FCF, FCFCF, ..., got {word!r}")
    return text.split(",")


def solver_options(parser: Parser, method: str) -> Callable[..., Any]:
    """Add the options of the time-parallel solver; returns the function that adds more to them."""
    option = parser.add_argument_group("time-parallel solver").add_argument
    option("--method", choices=["sequential", "mgrit", "one-shot"], default=method,
           help="sequential and mgrit are reduced space")  # fmt: skip
    option("--levels", type=integer(1), default=2, metavar="L", help="levels of MGRIT")
    option("--coarsening", type=integers, default="4", metavar="m[,m...]", help="by level")
    option("--relaxation", type=words, default="FCF", metavar="F|FCF|FCFCF[,...]", help="by level")
    option("--cycles", type=integer(1), metavar="k",
           help="cycles a solve (one-shot: 2), or the most of them (mgrit: 30)")  # fmt: skip
    return option


def make_grid(
    options: argparse.Namespace, final_time: float, steps: int, comm: Any
) -> pint.TimeGrid:
    """Return the time grid of the solver options; ValueError names the one that does not fit."""
    levels = 1 if options.method == "sequential" else options.levels
    if options.method == "one-shot" and levels < 2:
        raise ValueError("argument --levels: one-shot needs at least 2 levels")
    for name in ("coarsening", "relaxation"):
        if levels > 1 and len(getattr(options, name)) not in (1, levels - 1):
            raise ValueError(
                f"argument --{name}: give one value, or one for each of the {levels - 1} finer "
                f"levels, got {len(getattr(options, name))}"
            )
    try:
        return pint.TimeGrid.uniform(final_time, steps, options.coarsening, levels, comm)
    except ValueError as error:
        raise ValueError(f"argument --coarsening/--levels: {error}") from None


def check_outputs(options: argparse.Namespace, *names: str) -> None:
    """Raise ValueError, naming the option, if a result could not be written later."""
    for name in names:
        path = getattr(options, name)
        if path is None:
            continue
        if Path(path).is_dir():
            raise ValueError(f"argument --{name}: {path!r} is a folder")
        try:
            tempfile.TemporaryFile(dir=Path(path).absolute().parent).close()
        except OSError as error:
            reason = error.strerror or error
            raise ValueError(f"argument --{name}: cannot write {path!r}: {reason}") from None
    if options.plot and Path(options.plot).suffix not in (".png", ".pdf", ".svg"):
        raise ValueError(f"argument --plot: {options.plot!r} must end in .png, .pdf or .svg")
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        raise ValueError("argument --plot: needs matplotlib (pip install 'pint-control[examples]')")


def run(
    arguments: list[str] | None,
    parser: Callable[[Any], Parser],
    set_up: Callable[[argparse.Namespace, Any], Any],
    work: Callable[[argparse.Namespace, Any], dict[str, Any]],
) -> dict[str, Any]:
    """Run a program and return its numbers.

    A ValueError of `set_up` is a wrong argument: one line, exit code 2. A numerical failure of
    `work` is one line too, exit code 1.
    """
    try:
        comm = pint.world()
    except RuntimeError as error:
        parser(pint.SerialComm()).error(str(error))
    command = parser(comm)
    options = command.parse_args(arguments)
    try:
        setup = set_up(options, comm)
    except ValueError as error:
        command.error(str(error))
    with ending_all_ranks(comm):
        try:
            return work(options, setup)
        except pint.NumericalError as error:
            if comm.rank == 0:
                print(f"{command.prog}: {error}", file=sys.stderr, flush=True)
            comm.Barrier()
            raise SystemExit(1) from None
