"""Groups of options that several programs have."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any

from arguments.files import CheckpointOutput, History, Numbers, Picture, StatesOutput
from arguments.parser import Parser, cycles, integer, integers, number, words
from arguments.running import INTERRUPTED


def cycle_options(option: Callable[..., Any]) -> None:
    """Add, by the function `option`, what `make_grid` reads and the relaxation."""
    option("--levels", type=integer(1), default=2, metavar="L", help="levels of MGRIT")
    option("--coarsening", type=integers, default="4", metavar="m[,m...]", help="by level")
    option("--relaxation", type=words, default="FCF", metavar="F|FCF|FCFCF[,...]", help="by level")


def solver_options(
    parser: Parser, method: str | None, more: Sequence[str] = (), note: str = ""
) -> Callable[..., Any]:
    """Add the options of the time-parallel solver; returns the function that adds more to them.

    `more` are methods besides the usual ones, which `note` explains.
    """
    option = parser.add_argument_group("time-parallel solver").add_argument
    option("--method", choices=["sequential", "mgrit", "one-shot", *more], default=method,
           help=f"sequential and mgrit are reduced space{note}")  # fmt: skip
    cycle_options(option)
    option("--cycles", type=cycles, metavar="k|adaptive",
           help="cycles a solve (one-shot: 2), or the most of them (mgrit: 30); adaptive, of "
           "one-shot: their number from error estimates")  # fmt: skip
    option("--lagged", action=argparse.BooleanOptionalAction,
           help="one-shot: each cycle begins with the coarse correction of the last update, half "
           "the steps (default: with --cycles 1)")  # fmt: skip
    option("--storage", choices=["all", "C"], default="all",
           help="time points whose states are stored: all, or the C-points alone, every m-th one "
           "(--coarsening); the others are then computed again where they are needed")  # fmt: skip
    option("--unconverged", choices=["warn", "error", "ignore"], default="warn",
           help="what follows where MGRIT does not meet its tolerance: one warning, an error "
           "(exit code 1), or nothing")  # fmt: skip
    return option


def optimiser_options(parser: Parser, gradient_tolerance: float, iterations: int) -> None:
    """Add the options of the optimiser, which `minimise` reads."""
    option = parser.add_argument_group("optimisation").add_argument
    option("--optimiser", choices=["lbfgs", "scipy", "tao"], default="lbfgs",
           help="pint's own, scipy's L-BFGS-B or PETSc's blmvm")  # fmt: skip
    option("--gradient-tolerance", type=number(), default=gradient_tolerance,
           help="norm of the (projected) gradient to stop at")  # fmt: skip
    option("--iterations", type=integer(0), default=iterations, help="control updates")
    limit_options(option)


def limit_options(option: Callable[..., Any]) -> None:
    """Add, by the function `option`, the other ends of a run, which `limits_of` reads."""
    option("--relative-gradient-tolerance", type=number(), default=0.0, metavar="R",
           help="stop at R times the first gradient norm, too")  # fmt: skip
    option("--time-limit", type=number(), default=math.inf, metavar="S",
           help="wall time of the optimisation, seconds")  # fmt: skip
    option("--evaluations", type=integer(1), metavar="E",
           help="objectives to evaluate at most, with those of rejected steps")  # fmt: skip


def checkpoint_options(parser: Parser) -> None:
    """Add the options of the checkpoint, which `check_checkpoint` and `make_checkpoint` read."""
    option = parser.add_argument_group("checkpoint").add_argument
    option("--checkpoint", type=CheckpointOutput, metavar="FILE.npz",
           help="where the run is saved, also at SIGTERM and SIGINT, which then end it after the "
           f"current update, exit code {INTERRUPTED}")  # fmt: skip
    option("--checkpoint-interval", type=number(), default=60.0, metavar="S",
           help="least seconds between two checkpoints; 0: one after every update")  # fmt: skip
    option("--resume", action="store_true", help="continue the run in --checkpoint")


def output_options(parser: Parser, plot: str) -> None:
    """Add the options of the output; `plot` says what the picture shows."""
    option = parser.add_argument_group("output").add_argument
    option("--plot", type=Picture, metavar="FILE.png", help=plot)
    option("--json", type=Numbers, metavar="FILE.json", help="the numbers of the result")
    option(
        "--npz", type=StatesOutput, metavar="FILE.npz", help="times, states and controls, for numpy"
    )
    option(
        "--history", type=History, metavar="FILE.csv", help="one row an iterate, written at the end"
    )
    option("--progress", action="store_true", help="a bar, or lines in a log file")
