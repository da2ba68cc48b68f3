"""Scalar decay by MGRIT: `pint` against PyMGRIT, on one rank.

    y' = -y,  y(0) = 1,  t in [0, 5],  N = 10,000 steps of backward Euler, coarsening factor 10

    python benchmarks/run_all.py decay_against_pymgrit [--quick]

FCF, V-cycles until the residual norm is below 1e-10, on two and on four levels. A state is one
number: what is measured is the cost of the programs themselves. PyMGRIT's side is its own
application `Dahlquist`; `pint` advances all intervals by one numpy operation. `against_pymgrit`
says what had to match for the residual histories to agree, which is checked to 1e-6 first. Target:
20 times faster, set-up included.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from against_pymgrit import Ours, Posed, Theirs, check, compare, plot
from measuring import Row, installed, options_of, print_table, save

import pint

FINAL_TIME, COARSENING, TOLERANCE, TARGET = 5.0, 10, 1e-10, 20.0


class Decay(pint.TimeStepper):
    """``y / (1 + dt)`` from the initial state theta."""

    batched = True
    initial_state = (1.0,)

    def step(self, s: pint.Steps, y: Any, u: Any, theta: Any) -> Any:
        return y / (1.0 + s.dt)


class DecayAdjoint(pint.Adjoint):
    """The transpose of `Decay`."""

    def vjp(self, s: pint.Steps, y: Any, u: Any, theta: Any, lam: Any) -> Any:
        return lam / (1.0 + s.dt), {}, {}


class FinalValue(pint.Objective):
    """``y_N``."""

    def terminal(self, y: Any, theta: Any) -> float:
        return float(y[0])

    def terminal_derivative(self, y: Any, theta: Any) -> Any:
        return np.ones(1), {}


def ours(steps: int, levels: int) -> Posed:
    grid = pint.TimeGrid.uniform(FINAL_TIME, steps, coarsening=COARSENING, levels=levels)
    controls = {"unused": pint.SharedControl(1)}
    return pint.Problem(Decay(), DecayAdjoint(), FinalValue(), controls), grid, {}


def theirs(steps: int, levels: int) -> list[Any]:
    """Return PyMGRIT's applications, finest first."""
    from pymgrit.dahlquist.dahlquist import Dahlquist

    applications = [Dahlquist(t_start=0, t_stop=FINAL_TIME, nt=steps + 1)]
    for _ in range(levels - 1):
        applications.append(Dahlquist(t_interval=applications[-1].t[::COARSENING]))
    return applications


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table, and write it with a picture; return its rows."""
    options = options_of(__doc__, arguments, repeats=5)
    steps, several = (200, (2, 3)) if options.quick else (10_000, (2, 4))
    rows: list[Row] = []
    for levels in several:
        mine = Ours(partial(ours, steps, levels), TOLERANCE)
        other = Theirs(partial(theirs, steps, levels), TOLERANCE)
        if installed("pymgrit"):
            check(mine, other, relative=1e-6, states=1e-10)
        label = {"N": steps, "levels": levels}
        rows += compare(label, mine, other, options.repeats, TARGET)
    print_table("Scalar decay by MGRIT (seconds, medians)", rows)
    save("decay_against_pymgrit", rows, options.output)
    plot(options.output / "decay_against_pymgrit.png", "Scalar decay by MGRIT", rows, "levels")
    return rows


if __name__ == "__main__":
    main()
