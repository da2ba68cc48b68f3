"""How good results and error estimates of one-shot rules are, against exact numbers.

For `one_shot_study.py --estimates`. Each rule minimises until its gradient, in the control's metric
and projected at the bounds, is 1e-6 of the first one. Every iterate's objective and gradient norm
are computed again by sequential steps. A rule's row says

- how the run ended, its updates, and in how many more of them than the sequential method's;
- the exact objective and gradient norm of its result, the objective of the start, and whether
  the result is worse than that;
- for rules that estimate errors: the share of the estimates that are smaller than the error, and
  the largest ratio of an error to its estimate.

Errors below rounding, 1e-13 of the objective or of the first gradient, count as zero.
"""

from __future__ import annotations

import argparse
import math
import warnings
from dataclasses import dataclass, field
from typing import Any

from arguments import word_of

import pint
from pint.controls import projected_gradient

REDUCTION = 1e-6
ROUNDING = 1e-13


def functional_for(
    rule: Any, exact: pint.ReducedFunctional, relaxation: Any
) -> pint.ReducedFunctional:
    """Return a new functional for a rule: ``sequential`` has one level."""
    grid = one_level(exact.grid) if rule == "sequential" else exact.grid
    words = "FCF" if rule == "sequential" else relaxation
    return pint.ReducedFunctional(exact.problem, grid, relaxation=words)


def one_level(grid: pint.TimeGrid) -> pint.TimeGrid:
    """Return the grid of the same steps with one level."""
    return pint.TimeGrid.uniform(float(grid.t[-1]), grid.steps, comm=grid.comm)


def method_of(rule: Any, iterations: int, tolerance: float) -> pint.Method:
    """Return the method of a rule."""
    options: dict[str, Any] = {"iterations": iterations, "gradient_tolerance": tolerance}
    if rule == "sequential":
        return pint.ReducedSpace(**options)
    if rule == "lagged":
        return pint.Lagged(**options)
    return pint.Adaptive(**options) if rule == "adaptive" else pint.OneShot(cycles=rule, **options)


@dataclass
class Exact:
    """Objective and gradient norm by sequential steps. Collective."""

    functional: pint.ReducedFunctional

    def __call__(self, control: pint.Control) -> tuple[float, float]:
        space = self.functional.controls
        there = pint.prolong(control, space)
        value, gradient = self.functional.value_and_gradient(there)
        return value, space.norm(projected_gradient(there, gradient))


@dataclass
class Errors:
    """Callback: the ratio of each error to its estimate."""

    exact: Exact
    first: float
    ratios: list[float] = field(default_factory=list)

    def __call__(self, iterate: pint.Iterate, control: pint.Control, state: Any) -> None:
        objective, norm = self.exact(control)
        for error, estimate, rounding in (
            (objective - iterate.objective, iterate.objective_error, abs(objective)),
            (norm - iterate.gradient_norm, iterate.gradient_error, self.first),
        ):
            if not math.isnan(estimate):
                self.ratios.append(abs(error) / max(estimate, ROUNDING * rounding, 1e-300))


def measure(
    options: argparse.Namespace, posed: tuple[pint.ReducedFunctional, pint.Control], rule: Any
) -> dict[str, Any]:
    """Minimise by a rule and return what `add` prints of it. Collective."""
    functional, start = functional_for(rule, posed[0], options.relaxation), posed[1]
    exact = Exact(functional.on(one_level(functional.grid)))
    before, first = exact(start)
    method = method_of(rule, options.updates, REDUCTION * first)
    watch = Errors(exact, first)
    start = pint.prolong(start, functional.controls)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pint.ConvergenceWarning)
        result = pint.minimize(functional, start, method, callback=watch)
    known = watch.ratios
    return {
        "status": word_of(result.status),
        "updates": result.iterations,
        "start_objective": before,
        "exact_objective": result.objective,
        "exact_gradient": result.gradient_norm / first,
        "worse_than_start": result.objective > before,
        "estimates": len(known),
        "too_small": sum(ratio > 1 for ratio in known) / len(known) if known else math.nan,
        "worst_factor": max(known, default=math.nan),
    }


def add(
    options: argparse.Namespace,
    problems: dict[str, tuple[pint.ReducedFunctional, pint.Control]],
    table: dict[str, dict[str, dict[str, Any]]],
) -> None:
    """Add the measures to the rows of a table, in place, and print them. Collective."""
    root = next(iter(problems.values()))[0].comm.rank == 0
    if root:
        print("\n| problem | k | status | updates | / sequential | J(start) | J | gradient / first "
              "| too small | worst |\n|---|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    for name, posed in problems.items():
        sequential = measure(options, posed, "sequential")
        for rule in options.rules:
            row = sequential if rule == "sequential" else measure(options, posed, rule)
            table[name][str(rule)]["estimates"] = row
            if root:
                ratio = row["updates"] / max(sequential["updates"], 1)
                worse = " (worse than the start)" if row["worse_than_start"] else ""
                print(
                    f"| {name} | {rule} | {row['status']} | {row['updates']} | {ratio:.2f} "
                    f"| {row['start_objective']:.8g} | {row['exact_objective']:.8g}{worse} "
                    f"| {row['exact_gradient']:.2g} | {100 * row['too_small']:.1f} % "
                    f"| {row['worst_factor']:.2g} |",
                    flush=True,
                )
