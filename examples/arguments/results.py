"""The numbers of a result, as programs print and write them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import pint
from arguments.rules import STOCHASTIC
from pint.report.files import write_atomically

FAILURES = (
    pint.Status.LINE_SEARCH_FAILED,
    pint.Status.DIVERGING,
    pint.Status.NOT_FINITE,
    pint.Status.INFEASIBLE,
)
"""Statuses that end a program with exit code 1, after it has written its files."""


def failure_of(options: argparse.Namespace, numbers: dict[str, Any]) -> str | None:
    """Return what went wrong and which options may help, None if the run has not failed."""
    status = next((one for one in FAILURES if word_of(one) == numbers.get("status")), None)
    if status is None:
        return None
    if status is pint.Status.INFEASIBLE:
        return status.value
    what = {
        pint.Status.LINE_SEARCH_FAILED: "no step along the search direction decreases J",
        pint.Status.DIVERGING: "objective and gradient grow from update to update",
        pint.Status.NOT_FINITE: "objective or gradient became NaN or infinite",
    }[status]
    return f"{what} (gradient norm {numbers['gradient_norm']:.3g}): {_advice(options, status)}"


def _advice(options: argparse.Namespace, status: pint.Status) -> str:
    """Return the options that may help."""
    if options.optimiser in STOCHASTIC:
        return f"take a smaller --learning-rate than {options.learning_rate:g}"
    search = getattr(options, "line_search", "wolfe")
    if search == "none" and status is not pint.Status.LINE_SEARCH_FAILED:
        return "take --line-search wolfe or armijo, or a smaller --step"
    if options.method in ("mgrit", "one-shot"):
        return "take more --cycles, a smaller --coarsening, or --method sequential"
    if status is pint.Status.LINE_SEARCH_FAILED:
        return (
            "where it is as small as rounding allows, take a larger --gradient-tolerance than "
            f"{options.gradient_tolerance:g}"
        )
    return "try another start, a shorter time, or smaller steps"


def word_of(status: pint.Status) -> str:
    """Return the name of a status as programs report it."""
    return status.name.lower().replace("_", " ")


def write_all(*writers: Callable[[], object]) -> None:
    """Write all results; the first OSError is raised after the others have been written.

    Collective if a writer is: all ranks call all.
    """
    failed = None
    for write in writers:
        try:
            write()
        except OSError as error:
            failed = failed or error
    if failed is not None:
        raise failed


def write_json(path: str | None, numbers: dict[str, Any]) -> None:
    """Write numbers to the file of ``--json``, if there is one. Not collective."""
    if path is not None:
        text = json.dumps(numbers, indent=1) + "\n"
        write_atomically(path, lambda file: file.write(text.encode()))


def summary_of(result: pint.Result, control: Any) -> dict[str, Any]:
    """Return the numbers of ``--json``; `control` as it should appear there."""
    last = result.history[-1]
    return {
        "objective": result.objective,
        "gradient_norm": result.gradient_norm,
        "iterations": result.iterations,
        "status": word_of(result.status),
        "control": control,
        "state_steps": last.state_steps,
        "adjoint_steps": last.adjoint_steps,
        "seconds": result.seconds,
        "peak_memory": list(result.peak_memory),
        "solves": result.solves,
        "converged_solves": result.converged_solves,
    }


def print_result(result: pint.Result) -> None:
    """Print what was reached, evaluated with exact state and adjoint."""
    last = result.history[-1]
    print(f"{'status':20s}{result.message}")
    print(f"{'objective':20s}{result.objective:.14g} (state solved exactly)")
    print(f"{'gradient norm':20s}{result.gradient_norm:.3e}")
    if result.constrained is not None:
        print(f"{'violation':20s}{max(result.constrained.violations):.3e}")
    print(f"{'updates':20s}{result.iterations} in {result.seconds:.2f} s")
    print(f"{'steps evaluated':20s}{last.state_steps} state, {last.adjoint_steps} adjoint")
    print_unconverged(result)
    print_peak_memory(result)


def print_unconverged(result: pint.Result) -> None:
    """Print how many solves to a tolerance have met it, unless all have."""
    if result.converged_solves < result.solves:
        print(f"{'converged solves':20s}{result.converged_solves} of {result.solves}")


def print_peak_memory(result: pint.Result) -> None:
    """Print the largest resident memory of the ranks' processes, interpreter and all."""
    peaks = result.peak_memory
    largest = f"{max(peaks) / 1e6:.0f} MB" if min(peaks) > 0 else "unknown"
    ranks = f" at most on each of {len(peaks)} ranks" if len(peaks) > 1 else ""
    print(f"{'peak memory':20s}{largest}{ranks}")
