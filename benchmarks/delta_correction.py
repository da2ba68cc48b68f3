"""A linear correction of coarse steps: cycles from the nested guess to residuals of 1e-9.

Van der Pol's oscillator of `problems.ode` and the Lorenz system (sigma = 10, rho = 28, beta = 8/3),
both by the classical Runge-Kutta method without control, on two levels with F-relaxation and
V-cycles. `plain` are cycles without a correction, `rank 1` and `full` with one; residuals are
relative to the norm of the trajectory, 2-norms over the C-points. `adjoint` are the cycles of the
adjoint equation at the solved state, `seconds` the time of a state and an adjoint solve, `steps`
the evaluations of level 0 over those of two sequential sweeps; a derivative of a step counts as
many as a state has numbers.

    python benchmarks/run_all.py delta_correction [--quick]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from measuring import Row, medians, options_of, plot_bars, print_table, save

import pint
from pint.equations import Cycles
from problems.ode import PROBLEMS

TOLERANCE = 1e-9
CORRECTIONS = {"plain": None, "rank 1": 1, "full": "full"}
CASES = (
    # name, steps, final time, coarsening factor
    ("van der Pol", 64, 10.0, 4),
    ("van der Pol", 256, 10.0, 8),
    ("van der Pol", 1024, 100.0, 4),
    ("Lorenz", 1024, 5.0, 4),
)


class Lorenz(pint.ODE):
    """``a' = 10 (b - a)``, ``b' = a (28 - c) - b``, ``c' = a b - 8 c / 3``."""

    initial_state = np.ones(3)

    def f(self, t, y, u, theta):
        a, b, c = y.T
        return np.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], axis=1)

    def f_vjp(self, t, y, u, theta, lam):
        (a, b, c), (p, q, r) = y.T, lam.T
        of_y = [(28 - c) * q - 10 * p + b * r, 10 * p - q + a * r, -a * q - 8 / 3 * r]
        return np.stack(of_y, axis=1), {}, {}


class Last(pint.Objective):
    """``psi = |y_N|^2``."""

    def terminal(self, y, theta):
        return float(y @ y)

    def terminal_derivative(self, y, theta):
        return 2 * y, {}


def problem_of(name: str) -> pint.Problem:
    if name == "van der Pol":
        return PROBLEMS["van-der-pol"]().problem()
    stepper, adjoint = pint.steppers.scheme(Lorenz(), "rk4")
    return pint.Problem(stepper, adjoint, Last(), {"u": pint.TimeControl(1)})


def measure(name: str, steps: int, final_time: float, m: int, word: str, repeats: int) -> Row:
    """Return cycles, time and steps of one case."""
    grid = pint.TimeGrid.uniform(final_time, steps, m, levels=2)
    rf = pint.ReducedFunctional(
        problem_of(name), grid, relaxation="F", correction=CORRECTIONS[word], unconverged="error"
    )
    how, control = Cycles(pint.Accuracy(60, relative=TOLERANCE)), rf.controls.zeros()

    def solve() -> tuple[int, int]:
        state, adjoint = rf.state.new(), rf.adjoint.new()
        rf.state.solve(state, control, how)
        rf.adjoint.solve(adjoint, state, how)
        # The last residual is measured, and no correction follows it.
        return tuple(len(one.convergence.residuals) - 1 for one in (state, adjoint))

    cycles = solve()
    made = sum(s.steps_evaluated[0] for s in (rf.state.solver, rf.adjoint.solver))
    seconds = medians({"solve": solve}, repeats)["solve"]
    row: Row = {"problem": name, "N": steps, "T": final_time, "m": m, "correction": word}
    row |= {"cycles": cycles[0], "adjoint": cycles[1], "seconds": seconds}
    return row | {"steps": made / (2 * steps)}


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table and write it; return its rows."""
    options = options_of(__doc__, arguments if arguments is not None else sys.argv[1:], repeats=5)
    cases = CASES[:2] if options.quick else CASES
    repeats = 1 if options.quick else options.repeats
    rows = [measure(*case, word, repeats) for case in cases for word in CORRECTIONS]
    print_table("Cycles to residuals of 1e-9 from the nested guess", rows)
    save("delta_correction", rows, options.output)
    bars = {
        f"{row['problem']}, N = {row['N']}, {row['correction']}": row["seconds"] for row in rows
    }
    plot_bars(options.output / "delta_correction.png", "State and adjoint to 1e-9", bars)
    return rows


if __name__ == "__main__":
    main()
