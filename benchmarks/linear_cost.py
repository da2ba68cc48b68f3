"""Time and memory of a cycle against the number of steps, from 1,024 to 131,072.

Boundary control of the heat equation, one state for each step, all intervals of a chunk stepped
together. For each N: the least wall time of a V-cycle of the state (the F-relaxation after the last
cycle counted in), of one of the adjoint, of the derivative with respect to all controls, and their
sum; the peak of what Python and numpy allocate (tracemalloc) from an empty process to the
derivative, in bytes and in state trajectories. Below the table the slopes of a least-squares line
through the logarithms: 1 means that twice the steps take twice as much.

By default there are as many levels as leave at most 16 steps on the coarsest, which is what an
MGRIT V-cycle of linear cost means; a level more costs each cycle a few calls, whatever N. With
`--levels L` the coarsest level grows in proportion to N and is stepped through one by one.

    OPENBLAS_NUM_THREADS=1 python benchmarks/linear_cost.py
"""

from __future__ import annotations

import argparse
import gc
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

import pint
from pint.equations import Cycles
from problems.heat import Heat, zero_target

ONE_CYCLE = Cycles(pint.Accuracy(cycles=1))


class Cycle:
    """A functional with trajectories, and what an iteration does with them."""

    def __init__(self, steps: int, points: int, coarsening: int, levels: int | None) -> None:
        if levels is None:
            levels, coarsest = 1, steps
            while coarsest > 16:
                levels, coarsest = levels + 1, coarsest // coarsening
        heat = Heat("neumann", points)
        self.levels = levels
        grid = pint.TimeGrid.uniform(1.0, steps, coarsening, levels)
        self.functional = pint.ReducedFunctional(heat.problem(zero_target(heat)), grid)
        self.control = self.functional.control(u=0.1)
        self.of_state = self.functional.state.new()
        self.of_adjoint = self.functional.adjoint.new()

    def state(self) -> None:
        self.functional.state.solve(self.of_state, self.control, ONE_CYCLE)

    def adjoint(self) -> None:
        self.functional.adjoint.solve(self.of_adjoint, self.of_state, ONE_CYCLE)

    def derivative(self) -> None:
        self.functional.derivative_of(self.of_state, self.of_adjoint)

    def all(self) -> None:
        for part in (self.state, self.adjoint, self.derivative):
            part()


def least_time(function: Callable[[], None], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(arguments: argparse.Namespace, steps: int) -> list[float]:
    """Return N, levels, the times in seconds and the peak memory in bytes."""
    of_cycle = (steps, arguments.points, arguments.coarsening, arguments.levels)
    gc.collect()
    tracemalloc.start()
    Cycle(*of_cycle).all()
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    cycle = Cycle(*of_cycle)
    cycle.all()
    repeats = max(arguments.repeats, min(16, 2**14 // steps))
    times = [least_time(part, repeats) for part in (cycle.state, cycle.adjoint, cycle.derivative)]
    return [steps, cycle.levels, *times, sum(times), memory]


def slope(steps: np.ndarray, values: np.ndarray) -> float:
    return float(np.polyfit(np.log(steps), np.log(values), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--least", type=int, default=1024, metavar="N")
    parser.add_argument("--most", type=int, default=131072, metavar="N")
    parser.add_argument("--points", type=int, default=127, help="unknowns of a state")
    parser.add_argument("--coarsening", type=int, default=4, metavar="m")
    parser.add_argument("--levels", type=int, help="the same for all N")
    parser.add_argument("--repeats", type=int, default=3, help="of the largest N, at least")
    arguments = parser.parse_args()

    print(f"{'N':>7} {'levels':>6} {'state':>9} {'adjoint':>9} {'derivat.':>9} {'sum':>9}"
          f" {'a step':>9} {'memory':>9} {'trajectories':>12}")  # fmt: skip
    rows = []
    steps = arguments.least
    while steps <= arguments.most:
        row = measure(arguments, steps)
        rows.append(row)
        milliseconds = " ".join(f"{1e3 * value:6.1f} ms" for value in row[2:6])
        trajectories = row[6] / (8 * steps * arguments.points)
        print(f"{steps:7d} {row[1]:6.0f} {milliseconds} {1e6 * row[5] / steps:6.2f} us"
              f" {row[6] / 1e6:6.1f} MB {trajectories:12.3f}", flush=True)  # fmt: skip
        steps *= 2
    table = np.array(rows)
    for name, column in (("state", 2), ("adjoint", 3), ("derivative", 4), ("sum", 5)):
        print(f"slope of the time, {name:11s}{slope(table[:, 0], table[:, column]):6.3f}")
    print(f"slope of the memory{slope(table[:, 0], table[:, 6]):17.3f}")


if __name__ == "__main__":
    main()
