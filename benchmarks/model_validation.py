"""Predicted against measured times, on one rank or on as many as mpiexec starts.

(i)  a two-level solve of the heat equation's state, three V-cycles with FCF-relaxation;
(ii) one-shot updates of a dense network, 5,000 examples, width 8, 1,024 layers, coarsening 32.

The costs are measured by `pint.model.measure` on the same ranks, in turn with the runs that they
are to predict, because a machine's speed drifts. The table has medians of the repeats and the ratio
of predicted to measured time, which is to lie between 0.8 and 1.2. The machine must be idle
otherwise: ranks that wait for a rank that waits for a core are not in the model.

    OPENBLAS_NUM_THREADS=1 python benchmarks/model_validation.py
    OPENBLAS_NUM_THREADS=1 mpiexec -n 2 python benchmarks/model_validation.py
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import pint
from pint.equations import Cycles
from pint.model import SEQUENTIAL, Configuration, Costs, measure, predict, solve_time
from problems.heat import Heat, zero_target
from problems.peaks import generate
from problems.resnet import DenseNetwork, Regularisation

MEMORY = 3
WARM_UP = 1

Method = Callable[..., Any]
"""Makes a method of `pint.minimize` from keyword options."""


def network(examples: int) -> tuple[DenseNetwork, pint.Problem]:
    """Return the dense network and its problem."""
    x, labels = generate(examples, seed=0)
    dense = DenseNetwork(2, 8, 5)
    weights = Regularisation(tikhonov=1e-4, opening=1e-4, classification=1e-4, smooth=1e-4)
    return dense, dense.problem(x, labels, weights)


def random_control(dense: DenseNetwork, problem: pint.Problem, grid: pint.TimeGrid) -> pint.Control:
    """Return a random control of the network on a grid."""
    return dense.random_control(problem.control_space(grid), seed=0)


def state_solve(
    functional: pint.ReducedFunctional, control: pint.Control, cycles: int
) -> Callable[[], list[float]]:
    """Return a function that does one state solve and returns its seconds in a list."""
    state = functional.state.new()
    functional.state.solve(state, control, Cycles(pint.Accuracy(1)))

    def timed() -> list[float]:
        functional.comm.Barrier()
        start = time.perf_counter()
        functional.state.solve(state, control, Cycles(pint.Accuracy(cycles)))
        functional.comm.Barrier()
        return [time.perf_counter() - start]

    return timed


def updates(
    functional: pint.ReducedFunctional, control: pint.Control, count: int, method: Method
) -> Callable[[], list[float]]:
    """Return a function that does updates and returns the seconds of each but the first ones."""

    def timed() -> list[float]:
        times: list[float] = []
        settings = {
            "iterations": WARM_UP + count,
            "line_search": pint.fixed_step(),
            "hessian": pint.lbfgs(MEMORY),
            "step": 1e-3,
        }
        pint.minimize(
            functional,
            control,
            method(**settings),
            callback=lambda *_: times.append(time.perf_counter()),
        )
        return [b - a for a, b in pairwise(times)][WARM_UP:]

    return timed


def compare(
    problem: pint.Problem,
    control: pint.Control,
    cases: dict[str, tuple[Callable[[], list[float]], Callable[[Costs], float]]],
    repeats: int,
    seconds: float,
) -> dict[str, tuple[float, float]]:
    """Return predicted and measured seconds of each case: medians over the repeats."""
    predicted: dict[str, list[float]] = {name: [] for name in cases}
    measured: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats):
        # The mean of the calls, not their median: a run is the sum of its calls.
        costs = measure(problem, control, seconds=seconds, average=statistics.fmean)
        for name, (run, prediction) in cases.items():
            predicted[name].append(prediction(costs))
            measured[name] += run()
    return {
        name: (statistics.median(predicted[name]), statistics.median(measured[name]))
        for name in cases
    }


def heat_cases(comm: Any, options: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Return predicted and measured seconds of the heat solves, with 1023 points in space."""
    steps, m = options.heat_steps, 16
    equation = Heat(points=1023)
    problem = equation.problem(zero_target(equation))
    grid = pint.TimeGrid.uniform(1.0, steps, m, 2, comm)
    control = problem.control_space(grid).zeros()
    cases = {}
    for relaxation in ("F", "FCF"):
        functional = pint.ReducedFunctional(problem, grid, relaxation=relaxation, guess="coarse")
        configuration = Configuration(2, m, relaxation, cycles=3)
        cases[f"heat, 3 cycles, {relaxation}"] = (
            state_solve(functional, control, 3),
            partial(one_solve, steps, comm.size, configuration),
        )
    return compare(problem, control, cases, options.repeats, options.seconds)


def one_solve(steps: int, ranks: int, configuration: Configuration, costs: Costs) -> float:
    """Return the predicted time of a solve and of handing it the control."""
    handing = float(costs.bind(-(-steps // ranks))) + costs.initial
    return solve_time(costs, steps, ranks, configuration) + handing


def one_update(layers: int, ranks: int, configuration: Configuration, costs: Costs) -> float:
    """Return the predicted time of an update."""
    return predict(costs, layers, ranks, configuration, memory=MEMORY).seconds


def network_cases(comm: Any, options: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Return predicted and measured seconds of the network's updates."""
    m, layers = 32, options.layers
    dense, problem = network(options.examples)
    grids = [pint.TimeGrid.uniform(5.0, layers, m, levels, comm) for levels in (2, 1)]
    functionals = [pint.ReducedFunctional(problem, grid, relaxation="F") for grid in grids]
    parallel, alone = functionals
    control, start = (random_control(dense, problem, grid) for grid in grids)
    kinds: dict[str, tuple[Method, dict[str, Any]]] = {
        "one-shot, k = 1": (partial(pint.OneShot, cycles=1), {"cycles": 1}),
        "one-shot, k = 2": (partial(pint.OneShot, cycles=2), {"cycles": 2}),
        "one-shot, lagged": (partial(pint.Lagged, cycles=1), {"cycles": 1, "lagged": True}),
    }
    cases = {}
    for name, (method, kind) in kinds.items():
        cases[name] = (
            updates(parallel, control, options.updates, method),
            partial(one_update, layers, comm.size, Configuration(2, m, "F", **kind)),
        )
    cases["sequential"] = (
        updates(alone, start, options.updates, pint.ReducedSpace),
        partial(one_update, layers, comm.size, SEQUENTIAL),
    )
    return compare(problem, control, cases, options.repeats, options.seconds)


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Print the table on the first rank; return the ratio for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it runs")
    parser.add_argument("--examples", type=int, default=5000)
    parser.add_argument("--layers", type=int, default=1024)
    parser.add_argument("--heat-steps", type=int, default=2048)
    parser.add_argument("--updates", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.1, help="for each cost")
    parser.add_argument("--only", choices=["heat", "network"])
    options = parser.parse_args(arguments)
    if options.quick:
        options.examples, options.layers, options.heat_steps = 100, 128, 256
        options.updates, options.repeats, options.seconds = 2, 1, 0.01
    comm = pint.world()
    results = {}
    if options.only != "network":
        results.update(heat_cases(comm, options))
    if options.only != "heat":
        results.update(network_cases(comm, options))
    if comm.rank == 0:
        print(f"{'case':24s}  ranks  predicted (s)  measured (s)  ratio")
        for name, (predicted, measured) in results.items():
            ratio = predicted / measured
            print(f"{name:24s}  {comm.size:5d}  {predicted:13.4f}  {measured:12.4f}  {ratio:5.2f}")
    return {name: predicted / measured for name, (predicted, measured) in results.items()}


if __name__ == "__main__":
    main()
