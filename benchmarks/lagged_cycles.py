"""Lagged one-shot: steps until the gradient is 1e-6 of the first one, against plain cycles.

Double integrator (N = 20), oscillator (T = 10, N = 64), van der Pol (N = 64), fishing (N = 48); two
levels, coarsening factor 4; coarse steps see the control of the first fine step that they cover
(`inject`) or the mean of all (`mean`). Counted are steps of level 0 of state and adjoint together,
rejected trials and doubled cycles included, and control updates.

    python benchmarks/run_all.py lagged_cycles [--quick]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from measuring import Row, options_of, print_table, save

import pint
from problems.ode import PROBLEMS

CASES: dict[str, tuple[int, dict[str, Any]]] = {
    "double-integrator": (20, {}),
    "oscillator": (64, {"T": 10.0}),
    "van-der-pol": (64, {}),
    "fishing": (48, {}),
}
RULES: dict[str, Callable[..., Any]] = {
    "k = 1": partial(pint.OneShot, cycles=1),
    "k = 1, lagged": partial(pint.Lagged, cycles=1),
    "k = 2": partial(pint.OneShot, cycles=2),
    "k = 2, lagged": partial(pint.Lagged, cycles=2),
    "adaptive": pint.Adaptive,
}


def spent(name: str, restrict: str, relaxation: str, rule: Callable[..., Any]) -> str:
    """Return steps and updates of one run as a word."""
    steps, settings = CASES[name]
    definition = PROBLEMS[name](**settings)
    grid = pint.TimeGrid.uniform(definition.T, steps, 4, 2)
    problem = definition.problem(restrict=restrict)
    functional = pint.ReducedFunctional(problem, grid, relaxation=relaxation)
    start = definition.start(functional.controls)
    tolerance = 1e-6 * start.space.norm(functional.gradient(start))
    equations = functional.state, functional.adjoint
    before = [equation.solver.steps_evaluated[0] for equation in equations]
    method = rule(gradient_tolerance=tolerance, iterations=500)
    result = pint.minimize(functional, start, method)
    last = result.history[-1]
    if result.status is not pint.Status.CONVERGED:
        return result.status.name.lower().replace("_", " ")
    return f"{last.state_steps + last.adjoint_steps - sum(before)} ({result.iterations})"


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table and write it; return its rows."""
    options = options_of(__doc__, arguments, repeats=1)
    names = ["double-integrator"] if options.quick else list(CASES)
    rows: list[Row] = [
        {"problem": name, "relaxation": relaxation, "restriction": restrict}
        | {word: spent(name, restrict, relaxation, rule) for word, rule in RULES.items()}
        for name in names
        for relaxation in ("F", "FCF")
        for restrict in ("inject", "mean")
    ]
    print_table("Steps of level 0 (control updates)", rows)
    save("lagged_cycles", rows, options.output)
    return rows


if __name__ == "__main__":
    main()
