"""What the recommendation of `pint.diagnose` saves on ten poor set-ups.

Counted are the steps of all levels that a state and an adjoint solve from the first guess take to a
relative residual of 1e-9, over N; sequential steps take 2 N. Where a set-up does not converge in 60
cycles, they are those of 60 cycles. The last columns compare the mean factors of the cycles in use,
as the diagnosis predicts them, with those of the solves.

    python benchmarks/run_all.py diagnosis [--quick]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from measuring import Row, options_of, print_table, save

import pint
from pint.equations import Cycles, March
from pint.steppers import Lagrangian, scheme
from problems.heat import Heat, zero_target
from problems.ode import PROBLEMS
from problems.ode_catalogue import CATALOGUE
from problems.peaks import generate
from problems.resnet import DenseNetwork

ACCURACY = pint.Accuracy(60, relative=1e-9)


class Transport(pint.ODE):
    """``y_t = y_xx / Pe - y_x + u`` on (0, 1), zero at both ends, central differences."""

    def __init__(self, peclet: float, points: int = 15) -> None:
        h = 1 / (points + 1)
        right, eye = np.eye(points, k=1), np.eye(points)
        diffusion = (right + right.T - 2 * eye) / (peclet * h**2)
        self.matrix = diffusion - (right - right.T) / (2 * h)
        self.initial_state = np.exp(-100 * (h * np.arange(1, points + 1) - 0.3) ** 2)

    def f(self, t: Any, y: Any, u: Any, theta: Any) -> Any:
        return y @ self.matrix.T + u["u"]

    def f_vjp(self, t: Any, y: Any, u: Any, theta: Any, lam: Any) -> Any:
        return lam @ self.matrix, {"u": lam.sum(axis=1, keepdims=True)}, {}

    def jacobian(self, t: Any, y: Any, u: Any, theta: Any) -> Any:
        return np.broadcast_to(self.matrix, (len(y), *self.matrix.shape))


class Size(Lagrangian):
    """``|y|^2 / 2n + u^2 / 20``."""

    def value(self, t: Any, y: Any, u: Any, theta: Any) -> Any:
        return 0.5 * (y**2).mean(axis=1) + 0.05 * u["u"][:, 0] ** 2

    def gradient(self, t: Any, y: Any, u: Any, theta: Any, weight: Any) -> Any:
        return weight[:, None] * y / y.shape[1], {"u": 0.1 * weight[:, None] * u["u"]}, {}


def transport(peclet: float, name: str) -> tuple[pint.Problem, float]:
    fields = {"u": pint.TimeControl(1)}
    steppers = scheme(Transport(peclet), name)
    return pint.Problem(*steppers, pint.RunningCost(Size()), controls=fields), 1.0


def heat(**options: Any) -> tuple[pint.Problem, float]:
    definition = Heat(points=31, **options)
    return definition.problem(zero_target(definition)), 4.0


def ode(name: str, **settings: Any) -> tuple[pint.Problem, float]:
    definition = PROBLEMS[name](**settings)
    return definition.problem(), definition.T


def catalogue(name: str) -> tuple[pint.Problem, float]:
    return CATALOGUE[name].problem("rk4"), CATALOGUE[name].T


def network() -> tuple[pint.Problem, float]:
    return DenseNetwork(2, 8, 5, "tanh").problem(*generate(40, seed=0)), 2.0


@dataclass(frozen=True)
class Case:
    """A poor set-up."""

    made: Any
    steps: int
    coarsening: Any
    levels: int
    relaxation: str


CASES = {
    "heat, FCFCF, m = 2": Case(lambda: heat(nu=0.1), 2048, 2, 6, "FCFCF"),
    "heat, Crank-Nicolson, F": Case(
        lambda: heat(nu=0.1, scheme="crank-nicolson"), 1024, 32, 2, "F"
    ),
    "transport, Pe 1, m = 2": Case(lambda: transport(1, "implicit-euler"), 1024, 2, 6, "FCF"),
    "transport, Pe 10, FCFCF": Case(lambda: transport(10, "implicit-euler"), 1024, 4, 4, "FCFCF"),
    "transport, Pe 100": Case(lambda: transport(100, "crank-nicolson"), 512, 8, 2, "FCF"),
    "oscillator, m = 32": Case(lambda: ode("oscillator", T=40.0), 2048, 32, 2, "FCF"),
    "van der Pol, m = 2": Case(lambda: ode("van-der-pol"), 2048, 2, 5, "FCFCF"),
    "fishing, m = 2": Case(lambda: ode("fishing"), 2048, 2, 6, "FCF"),
    "seir, RK4, m = 4": Case(lambda: catalogue("seir"), 768, 4, 4, "FCF"),
    "network, four levels": Case(network, 1024, 4, 4, "FCFCF"),
}


def steps_of(setup: Any, functional: pint.ReducedFunctional, control: pint.Control) -> Row:
    """Return steps over N, cycles and mean factors of a state and an adjoint solve."""
    new = setup.functional(functional)
    at = pint.prolong(control, new.controls)
    state, adjoint = new.state.new(), new.adjoint.new()
    with np.errstate(all="ignore"):
        new.state.solve(state, at, Cycles(ACCURACY))
        before = sum(sum(one.solver.steps_evaluated) for one in (new.state, new.adjoint))
        if not state.convergence.converged:
            new.state.solve(state, at, March())
        spent = sum(new.state.solver.steps_evaluated) - before
        new.adjoint.solve(adjoint, state, Cycles(ACCURACY))
    total = sum(sum(one.solver.steps_evaluated) for one in (new.state, new.adjoint)) - spent
    found = state.convergence, adjoint.convergence
    return {
        "steps": total / new.grid.steps,
        "converged": all(one.converged for one in found),
        "residuals": [one.residuals for one in found],
    }


def measured(name: str, smaller: int = 1) -> Row:
    """Return the row of a case, with `smaller` times fewer steps."""
    case = CASES[name]
    problem, T = case.made()
    steps = case.steps // smaller
    grid = pint.TimeGrid.uniform(T, steps, case.coarsening, case.levels)
    functional = pint.ReducedFunctional(
        problem, grid, relaxation=case.relaxation, accuracy=ACCURACY
    )
    control = start_of(functional)
    found = pint.diagnose(functional, control)
    before = steps_of(found.setup, functional, control)
    after = steps_of(found.recommendation.setup, functional, control)
    parallel = found.recommendation.instead
    other = steps_of(parallel, functional, control) if parallel else {}
    row: Row = {
        "set-up": name,
        "N": steps,
        "steps/N": before["steps"] if before["converged"] else f"> {before['steps']:.0f}",
        "recommended": short(found.recommendation.setup),
        "steps/N then": after["steps"],
        "times fewer": before["steps"] / after["steps"],
        "best cycles": short(parallel) if parallel else "",
        "steps/N with them": other.get("steps", ""),
        "cause": found.slow.cause,
        "diagnosis/N": found.cost,
    }
    pairs = zip(("state", "adjoint"), (found.state, found.adjoint), strict=True)
    for (equation, predicted), norms in zip(pairs, before["residuals"], strict=True):
        above = [norm for norm in norms[: len(predicted.norms)] if norm > predicted.bound]
        mean = (above[-1] / above[0]) ** (1 / max(len(above) - 1, 1)) if above else 0.0
        row[f"{equation} predicted"], row[f"{equation} measured"] = predicted.factor, mean
    return row


def start_of(functional: pint.ReducedFunctional) -> pint.Control:
    """Return small random controls within the bounds, the same for every run."""
    values = np.random.default_rng(0)
    control = functional.controls.zeros()
    control.vector[...] = 0.5 * values.standard_normal(control.vector.shape)
    return functional.controls.project(control)


def short(setup: Any) -> str:
    """Return a set-up in few letters."""
    if setup.levels == 1:
        return "sequential"
    words = [",".join(map(str, setup.coarsening)), ",".join(dict.fromkeys(setup.relaxation))]
    words += [setup.coarse] if setup.coarse else []
    return " ".join([*words, *(["corrected"] if setup.correction else [])])


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table and write it; return its rows."""
    options = options_of(__doc__, arguments, repeats=1)
    if options.quick:
        rows = [
            measured(name, smaller=8) for name in ("van der Pol, m = 2", "network, four levels")
        ]
    else:
        rows = [measured(name) for name in CASES]
    print_table("Steps of state and adjoint to 1e-9", rows)
    save("diagnosis", rows, options.output)
    return rows


if __name__ == "__main__":
    main()
