"""Linear solves of implicit steps: what guesses, kept states and kept factors save.

    y_t + y y_x = 0.02 y_xx + u on (0, 1),  y = 0 at both ends,  y(x, 0) = sin 2 pi x

by central differences, implicit Euler with 128 steps to T = 1; the cost is that of the states and
1e-2 times that of the control. Counted are the linear systems that are solved, those of Newton's
method and those of transposes, and the matrices that are set up (factorised), over some updates of
`pint.ReducedSpace` with MGRIT to a residual of 1e-12 of the states, and of `pint.OneShot` (two
levels, coarsening factor 4). The steps are

    numpy, neither    `pint.Theta` that gets no guess and keeps nothing for its transposes
    numpy, kept       the transposes find the implicit states
    numpy             and the steps begin at the last iterate: what `pint` does
    PETSc             `pint.petsc.ImplicitStep(reuse=0)`: a matrix for each iteration
    PETSc, reuse      the default: factors serve several iterations

    python benchmarks/run_all.py implicit_solves [--quick]

The last two need PETSc: this Python's, or that of ``.venv-petsc`` (``make environment``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from measuring import Row, mpi_command, on_ranks, options_of, plot_bars, print_table, save

import pint
from pint.steppers import ODE

VISCOSITY = 0.02


class Burgers(ODE):
    """The equation with dense Jacobians; counts linear systems."""

    def __init__(self, points: int) -> None:
        self.D, self.L = differences(points)
        self.initial_state = np.sin(2 * np.pi * np.arange(1, points + 1) / (points + 1))
        self._solves = 0

    def f(self, t: Any, y: Any, u: Any, theta: Any) -> Any:
        return VISCOSITY * y @ self.L.T - y * (y @ self.D.T) + u["u"]

    def jacobian(self, t: Any, y: Any, u: Any, theta: Any) -> Any:
        self._solves += len(y)  # each of them is solved with once
        return self._slope(y)

    def _slope(self, y: Any) -> Any:
        advected = (y @ self.D.T)[:, :, None] * np.eye(len(self.D))
        return VISCOSITY * self.L - y[:, :, None] * self.D - advected

    def f_vjp(self, t: Any, y: Any, u: Any, theta: Any, lam: Any) -> Any:
        return np.einsum("bij,bi->bj", self._slope(y), lam), {"u": lam}, {}


def differences(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrices of central differences of first and second order."""
    h, one = 1 / (points + 1), np.ones(points - 1)
    above, below = np.diag(one, 1), np.diag(one, -1)
    return (above - below) / (2 * h), (above + below - 2 * np.eye(points)) / h**2


class Cost(pint.Objective):
    """``h/2 sum_n dt (|y_{n+1}|^2 + 1e-2 |u_n|^2)`` for both kinds of states."""

    def __init__(self, points: int, slope: Any = None) -> None:
        self.h, self._slope = 1 / (points + 1), slope

    def step_cost(self, s: Any, y0: Any, y1: Any, u: Any, theta: Any) -> Any:
        y = y1 if self._slope is None else y1.array_r
        squares = (y**2).sum(axis=-1) + 1e-2 * (u["u"] ** 2).sum(axis=-1)
        return 0.5 * self.h * np.reshape(s.dt, np.shape(squares)) * squares

    def step_cost_derivative(self, s: Any, y0: Any, y1: Any, u: Any, theta: Any) -> Any:
        of_u = {"u": 1e-2 * self.h * s.dt * u["u"]}
        if self._slope is None:
            return 0.0, self.h * s.dt * y1, of_u, {}
        y1.copy(self._slope)
        self._slope.scale(self.h * s.dt)
        return 0.0, self._slope, of_u, {}


def with_petsc(points: int, reuse: float) -> pint.Problem:
    """Return the problem with PETSc states on one rank."""
    from petsc4py import PETSc

    from pint.petsc import Equation, ImplicitAdjoint, ImplicitStep

    D, L = differences(points)
    starts = np.clip(3 * np.arange(points + 1) - 1, 0, 3 * points - 2).astype(PETSc.IntType)
    band = np.abs(np.subtract.outer(np.arange(points), np.arange(points))) <= 1
    rows, columns = np.nonzero(band)

    class PetscBurgers(Equation):
        template = PETSc.Vec().createMPI(points, comm=PETSc.COMM_SELF)
        initial_state = np.sin(2 * np.pi * np.arange(1, points + 1) / (points + 1))

        def __init__(self) -> None:
            self.controls = {"u": 1.0}

        def f(self, t: Any, y: Any, u: Any, theta: Any, out: Any) -> None:
            out.array[:] = VISCOSITY * L @ y.array_r - y.array_r * (D @ y.array_r)

        def jacobian(self, t: Any, y: Any, u: Any, theta: Any, matrix: Any) -> None:
            values = y.array_r
            dense = VISCOSITY * L - values[:, None] * D - np.diag(D @ values)
            matrix.setValuesCSR(starts, columns.astype(PETSc.IntType), dense[rows, columns])

        def matrix(self) -> Any:
            csr = (starts, columns.astype(PETSc.IntType), np.ones(len(columns)))
            return PETSc.Mat().createAIJ(points, csr=csr, comm=PETSc.COMM_SELF)

    equation = PetscBurgers()
    step = ImplicitStep(equation, reuse=reuse)
    cost = Cost(points, equation.template.duplicate())
    fields = {"u": pint.TimeControl(points, weight=1 / (points + 1))}
    return pint.Problem(step, ImplicitAdjoint(step), cost, fields)


def with_arrays(points: int, guess: bool) -> pint.Problem:
    """Return the problem with numpy states; `guess` says whether its steps read guesses."""
    step, adjoint = pint.steppers.scheme(Burgers(points), "implicit-euler")
    step.uses_guess = guess
    fields = {"u": pint.TimeControl(points, weight=1 / (points + 1))}
    return pint.Problem(step, adjoint, Cost(points), fields)


def optimise(
    problem: pint.Problem, method: str, updates: int, steps: int, kept: bool = True
) -> float:
    """Run some updates; return the objective."""
    grid = pint.TimeGrid.uniform(1.0, steps, coarsening=4, levels=2)
    options: dict[str, Any] = {} if kept else {"kept_bytes": 0}
    if method == "one-shot":
        how: Any = pint.OneShot(2, iterations=updates)
    else:
        how = pint.ReducedSpace(iterations=updates)
        options["accuracy"] = pint.Accuracy(40, relative=1e-12)
    functional = pint.ReducedFunctional(problem, grid, **options)
    return float(pint.minimize(functional, method=how).objective)


def count_petsc(method: str, updates: int, steps: int, points: int) -> None:
    """Print the counts of both steps with PETSc, as JSON."""
    found = {}
    for name, reuse in (("PETSc", 0.0), ("PETSc, reuse", 0.1)):
        problem = with_petsc(points, reuse)
        objective = optimise(problem, method, updates, steps)
        counts = problem.stepper.counts
        solves = counts.solves + counts.transposed
        found[name] = (objective, solves, counts.transposed, counts.set_ups)
    print(json.dumps(found))


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table, and write it with a picture; return its rows."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--petsc"]:
        count_petsc(arguments[1], *map(int, arguments[2:]))
        return []
    options = options_of(__doc__, arguments, repeats=1)
    updates, steps, points = (1, 16, 7) if options.quick else (4, 128, 31)
    command, rows = mpi_command(), []
    for method in ("MGRIT to 1e-12", "one-shot"):
        found = {}
        for name, guess, kept in (
            ("numpy, neither", False, False), ("numpy, kept", False, True), ("numpy", True, True)
        ):  # fmt: skip
            problem = with_arrays(points, guess)
            objective = optimise(problem, method, updates, steps, kept)
            solves = problem.stepper.ode._solves
            found[name] = (objective, solves, "", solves)
        if command is not None:
            program = (__file__, "--petsc", method, *map(str, (updates, steps, points)))
            found |= on_ranks(command, 1, *program)
        most, expected = found["numpy, neither"][1], found["numpy"][0]
        for name, (objective, solves, transposed, set_ups) in found.items():
            # One-shot updates stop at other iterates where guesses change their rounding.
            assert abs(objective / expected - 1) < 1e-6, f"{name}: another objective"
            rows.append({
                "method": method, "steps": name, "linear solves": solves,
                "of neither": solves / most, "transposed": transposed, "set up": set_ups,
            })  # fmt: skip
    print_table(f"Burgers, {points} points, {steps} steps, {updates} updates (counts)", rows)
    save("implicit_solves", rows, options.output)
    plot_bars(
        options.output / "implicit_solves.png",
        "Linear solves of implicit steps (no seconds)",
        {f"{row['method']}: {row['steps']}": row["linear solves"] for row in rows},
    )
    return rows


if __name__ == "__main__":
    main()
