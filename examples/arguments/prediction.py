"""What more ranks in time would gain, for runs on one."""

from __future__ import annotations

import argparse
from typing import Any

import pint
from arguments.rules import STOCHASTIC

RANKS = (4, 16)
LARGEST_STRIDE = 16  # explicit steps over more are rarely stable
LEAST_SECONDS = 0.5
"""Of a run; it takes about as long to predict, and shorter ones need no ranks."""


def print_prediction(options: argparse.Namespace, result: pint.Result) -> None:
    """Print what ranks in time would gain, where one has stepped sequentially for some time.

    Not collective: for one rank. Nothing is printed if the method was asked for, or if states are
    on a device, whose steps cannot be timed one by one.
    """
    grid, on_host = result.functional.grid, result.functional.space.on_host
    is_long = result.seconds >= LEAST_SECONDS and grid.steps >= 2 * RANKS[0]
    if not options.chosen or options.method != "sequential" or not (is_long and on_host):
        return
    levels = pint.TimeGrid.uniform(float(grid.t[-1]), grid.steps, 4, 2)
    control = pint.prolong(result.control, result.functional.problem.control_space(levels))
    try:
        costs = pint.model.measure(result.functional.problem, control, seconds=0.01)
    except pint.NumericalError:  # coarse steps may be too long
        return
    cycles = 2 if options.optimiser in STOCHASTIC else None  # else lagged ones
    limits: Any = {"cycles": cycles, "largest_stride": LARGEST_STRIDE}
    found = [pint.model.suggest(costs, grid.steps, ranks, **limits).best for ranks in RANKS]
    best = max(found, key=lambda one: one.gain)
    if best.gain < 1.1:
        print(f"{'more ranks':20s}none predicted to be faster, up to {RANKS[-1]} in time")
        return
    chosen, times = best.configuration, ", ".join(f"{one.gain:.2g}" for one in found)
    coarsening = ",".join(str(factor) for factor in chosen.coarsening)
    words = [chosen.relaxation] if isinstance(chosen.relaxation, str) else chosen.relaxation
    print(
        f"{'more ranks':20s}predicted: an update {times} times as fast on "
        f"{', '.join(map(str, RANKS))} in time (--method one-shot --cycles {chosen.cycles} "
        f"--levels {chosen.levels} --coarsening {coarsening} --relaxation {','.join(words)})"
    )
