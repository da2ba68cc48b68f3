"""The numbers of a result, as programs print and write them."""

from __future__ import annotations

from typing import Any

import pint


def word_of(status: pint.Status) -> str:
    """Return the name of a status as programs report it."""
    return status.name.lower().replace("_", " ")


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
        "seconds": last.seconds,
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
    print(f"{'updates':20s}{result.iterations} in {last.seconds:.2f} s")
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
