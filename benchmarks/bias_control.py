"""Stochastic training by cycles: a fixed number, as many as the gradient needs, sequential steps.

The dense network of width 8 on 500 points of the peaks data in batches of 50, trained by Adam
from five starts, with five orders of the batches; N layers, coarsening factor 4, FCF-relaxation.
For each way of solving, the objective of all examples at the end (mean and standard deviation over
the starts; mean difference from sequential steps), and the steps of states and adjoints on all
levels, those for the estimates included, relative to two fixed cycles, on one rank. The errors
of gradients are relative to them, by sequential steps of another functional at the same controls:
the largest that an update was made from, and the smallest and the largest ratio of an estimate to
the true error.

    python benchmarks/run_all.py bias_control [--quick]
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Sequence
from typing import Any

from measuring import Row, options_of, print_table, save

import pint
from pint.equations import Cycles, March
from pint.optimise.stochastic.run import Order
from problems.peaks import generate
from problems.resnet import DenseNetwork, Regularisation

EXAMPLES, BATCH, RATE, SEEDS = 500, 50, 0.02, 5
NETWORK = DenseNetwork(features=2, width=8, classes=5)
SEQUENTIAL = "sequential steps"
CASES = {"2 levels, T = 5": (2, 5.0), "3 levels, T = 10": (3, 10.0)}
WAYS: dict[str, Any] = {
    SEQUENTIAL: 1,
    "1 cycle": 1,
    "2 cycles": 2,
    "adaptive": "adaptive",
    "adaptive, at most 3": pint.BiasControl(most_cycles=3),
}


class Errors:
    """Callback: compares each gradient with that by sequential steps."""

    def __init__(self, functional: pint.ReducedFunctional, method: pint.Stochastic) -> None:
        self.functional, self.order = functional, iter(Order(functional.problem.examples, True, 0))
        self.method, self.done = method, 0
        self.errors: list[float] = []
        self.ratios: list[float] = []

    def __call__(self, iterate: Any, control: pint.Control, state: Any) -> None:
        estimated = not math.isnan(iterate.gradient_error)
        cycles, self.done = iterate.state_cycles - self.done, iterate.state_cycles
        self.functional.select(next(self.order).indices)
        if iterate.state_residual == 0:
            self.errors.append(0.0)
            return
        exact = self._gradient(control, March())
        own = self._gradient(control, Cycles(pint.Accuracy(cycles - estimated)))
        norm = control.space.norm
        error = norm(own - exact)
        self.errors.append(error / norm(exact))
        if estimated:
            self.ratios.append(iterate.gradient_error / error)

    def _gradient(self, control: pint.Control, how: Any) -> pint.Control:
        f = self.functional
        state, adjoint = f.state.new(), f.adjoint.new()
        f.state.solve(state, control, how)
        f.adjoint.solve(adjoint, state, how)
        return f.controls.riesz(f.derivative_of(state, adjoint))


def functional_of(levels: int, layers: int, final_time: float, seed: int) -> Any:
    """Return the network's functional and its first control."""
    problem = NETWORK.problem(*generate(EXAMPLES, 0), Regularisation(1e-5, 1e-5, 1e-5), BATCH)
    grid = pint.TimeGrid.uniform(final_time, layers, 4, levels)
    functional = pint.ReducedFunctional(problem, grid)
    return functional, NETWORK.random_control(functional.controls, seed)


def train(case: str, way: str, layers: int, epochs: int, seeds: int) -> Row:
    """Return what training from several starts gives."""
    levels, final_time = CASES[case]
    levels = 1 if way == SEQUENTIAL else levels
    objectives, steps, errors, ratios = [], [], [], []
    for seed in range(seeds):
        functional, start = functional_of(levels, layers, final_time, seed)
        method = pint.Stochastic(pint.adam(), epochs, RATE, cycles=WAYS[way], seed=seed)
        result = pint.minimize(functional, start, method)
        objectives.append(result.objective)
        steps.append(sum(result.history[-1].steps_by_level))
        if isinstance(method.cycles, pint.BiasControl) and levels > 1 and seed == 0:
            other, _ = functional_of(levels, layers, final_time, seed)
            measured = Errors(other, method)
            functional, start = functional_of(levels, layers, final_time, seed)  # counts from 0
            pint.minimize(functional, start, method, callback=measured)
            errors += measured.errors
            ratios += measured.ratios
    return {
        "network": case,
        "solved by": way,
        "objective": statistics.mean(objectives),
        "deviation": f"{statistics.stdev(objectives):.4f}",
        "steps": statistics.mean(steps),
        "largest error": f"{max(errors):.1e}" if errors else "",
        "estimate / error": f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else "",
    }


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print and write the table; return its rows."""
    options = options_of(__doc__, arguments, repeats=1)
    layers, epochs, seeds = (16, 2, 2) if options.quick else (32, 15, SEEDS)
    rows: list[Row] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pint.ConvergenceWarning)
        for case in list(CASES)[: 1 if options.quick else None]:
            some = [train(case, way, layers, epochs, seeds) for way in WAYS]
            two = next(row["steps"] for row in some if row["solved by"] == "2 cycles")
            for row in some:
                row["steps"] = f"{row['steps'] / two:.2f}"
                row["difference"] = f"{row['objective'] - some[0]['objective']:+.4f}"
            for row in some:
                row["objective"] = f"{row['objective']:.4f}"
            rows += some
    print_table(f"Stochastic training, N = {layers}, {seeds} starts", rows)
    save("bias_control", rows, options.output)
    return rows


if __name__ == "__main__":
    main()
