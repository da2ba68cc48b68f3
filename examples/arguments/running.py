"""A program from its arguments to its exit code."""

from __future__ import annotations

import argparse
import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import pint
from arguments.files import check_checkpoint, check_files
from arguments.parser import Parser
from arguments.results import failure_of
from arguments.rules import check_rules, choose_method
from pint.comm import agreeing, all_arrive, ending_all_ranks, is_alike, on_root, private

INTERRUPTED = 130
"""Exit code of a run that a signal ended after it was saved; what a shell has for Ctrl-C."""


@contextlib.contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Print pint's own warnings, and those of numbers, without the place in the code."""
    usual = warnings.showwarning

    def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, (pint.ConvergenceWarning, RuntimeWarning)):
            print(f"warning: {message}", file=sys.stderr, flush=True)
        else:
            usual(message, category, *place, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("always", pint.ConvergenceWarning)
        warnings.showwarning = show
        yield


def run(
    arguments: list[str] | None,
    parser: Callable[[Any], Parser],
    set_up: Callable[[argparse.Namespace, Any], Any],
    work: Callable[[argparse.Namespace, Any], dict[str, Any]],
    sizes: str = "--steps",
) -> dict[str, Any]:
    """Run a program and return its numbers.

    Options that break a rule, and a ValueError of `set_up`, are wrong arguments: one line, exit
    code 2; a MemoryError there is laid to the options `sizes`. A checkpoint that `work` cannot
    begin with is a wrong argument, too. A numerical failure of `work`, a status of the result that
    is one, or a file that cannot be written, is one line, exit code 1. A run that a signal
    interrupted ends with its files and its summary, exit code 130.
    """
    try:
        comm = pint.world()
    except RuntimeError as error:
        parser(pint.SerialComm()).error(str(error))
    command = parser(comm)
    options = command.parse_args(arguments)
    wrong = failure = None
    with ending_all_ranks(comm):
        try:
            with agreeing(private(comm, "comm"), command.prog) as ranks:
                ranks.same = vars(options)
                if "method" in options:
                    choose_method(options, comm.size)
                check_rules(options, comm.size)
            on_root(comm, lambda: check_files(options))
            on_root(comm, lambda: check_checkpoint(options))
            setup = set_up(options, comm)
        except (ValueError, MemoryError) as error:
            if not (is_alike(error) or all_arrive(comm)):
                raise  # the mistake of this rank ends all ranks
            # numpy raises a ValueError where an array has more bytes than there are addresses.
            is_size = isinstance(error, MemoryError) or "array is too big" in str(error)
            wrong = f"argument {sizes}: too large: {error}" if is_size else str(error)
    if wrong is not None:
        command.error(wrong)
    # Numbers that are not finite are reported once, not at each operation.
    quiet = np.errstate(over="ignore", invalid="ignore")
    with ending_all_ranks(comm), quiet, warnings_in_one_line():
        try:
            numbers = work(options, setup)
        except pint.NumericalError as error:
            if not (comm.size == 1 or is_alike(error)):
                raise
            failure = str(error)
        except pint.CheckpointError as error:
            wrong = f"argument --checkpoint: {error}"
        except OSError as error:  # for example a full disk
            failure = f"cannot write a result: {error}"
            if not is_alike(error):  # on one rank, and the others may wait for its messages
                print(f"{command.prog}: {failure}", file=sys.stderr, flush=True)
                if comm.size > 1:
                    comm.Abort(1)
                raise SystemExit(1) from None
    if wrong is not None:
        command.error(wrong)
    if failure is None:
        failure = failure_of(options, numbers)
        if failure is None and numbers.get("status") != "interrupted":
            return numbers
    if failure is not None and comm.rank == 0:
        print(f"{command.prog}: {failure}", file=sys.stderr, flush=True)
    comm.Barrier()
    raise SystemExit(INTERRUPTED if failure is None else 1)
