"""Arguments of the command line: their types, and errors in one line."""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any, NoReturn

import problems  # noqa: F401  (first: it says so where `pint` is the units library)

# isort: split
import pint
from pint.comm import all_arrive
from pint.steppers.coarsening import CoarseStep, coarse_step

SMALLEST, LARGEST = 1e-12, 1e12
"""Of parameters of ``--set``, which are made for numbers near 1."""


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds the default to the help of each option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line, from rank 0, and ends every rank with code 2."""

    comm: Any = pint.SerialComm()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, formatter_class=HelpFormatter, **options)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Return the options; in their ``given`` the names of those that were given."""
        options = super().parse_args(args, namespace)
        nothing = argparse.Namespace(**dict.fromkeys(vars(options)))
        given = vars(super().parse_args(args, nothing))
        options.given = frozenset(name for name, value in given.items() if value is not None)
        return options

    def error(self, message: str) -> NoReturn:
        text = f"{self.prog}: error: {' '.join(message.split())}"
        if self.comm.rank == 0:
            print(text, file=sys.stderr, flush=True)
        if not all_arrive(self.comm):  # the mistake of some ranks alone
            print(text, file=sys.stderr, flush=True)
            self.comm.Abort(2)
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


def real(text: str) -> float:
    """Argument type: a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number, got {text!r}")
    return value


def assignment(text: str) -> tuple[str, float]:
    """Argument type: ``name=value`` with a finite value."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"must be name=value, got {text!r}")
    return name, real(value)


def check_size(name: str, value: float) -> None:
    """Raise ValueError unless a parameter of ``--set`` is positive and no power of it overflows."""
    if not SMALLEST <= value <= LARGEST:
        raise ValueError(
            f"argument --set: {name} must be positive, from {SMALLEST:g} to {LARGEST:g}, got "
            f"{value:g}"
        )


def integers(text: str) -> list[int]:
    """Argument type: comma-separated integers >= 2."""
    return [integer(2)(part) for part in text.split(",")]


def cycles(text: str) -> int | str:
    """Argument type: an integer >= 1, or ``adaptive``."""
    try:
        return text if text == "adaptive" else integer(1)(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or adaptive") from None


def words(text: str) -> list[str]:
    """Argument type: comma-separated relaxations F, FCF, FCFCF, ..."""
    for word in text.split(","):
        if word != "F" + "CF" * word.count("C"):
            raise argparse.ArgumentTypeError(f"must be F, FCF, FCFCF, ..., got {word!r}")
    return text.split(",")


def coarse(text: str) -> CoarseStep | None:
    """Argument type: a step for coarse levels."""
    try:
        return coarse_step("", text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).strip()) from None


def correction(text: str) -> int | str:
    """Argument type: ``full``, or a rank >= 1."""
    try:
        return text if text == "full" else integer(1)(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or full") from None
