"""The heat equation by MGRIT: `pint` against PyMGRIT, on one rank.

    u_t - u_xx = -sin(pi x) (sin t - pi^2 cos t),  u(0, t) = u(1, t) = 0,  u(x, 0) = sin pi x,

1025 points in x in [0, 1] and in t in [0, 2], backward Euler, coarsening factor 4, 5 levels, FCF,
V-cycles until the residual norm is below 1e-7. The solution is sin(pi x) cos t.

    python benchmarks/run_all.py heat_against_pymgrit [--quick]

PyMGRIT's side is its own application `Heat1D`: the unknowns are the 1023 inner points, the
right-hand side is taken at the end of the step, each step builds its matrix and calls scipy's
`spsolve`. `pint` has the same unknowns and the same step (`problems.heat`, control 'initial'), the
factors of each level's matrix kept, and all intervals of a chunk solved by one call.
`against_pymgrit` says what had to match for the residual histories to agree, which is checked to
1e-6 first. Target: 30 times faster, set-up included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from against_pymgrit import Ours, Posed, Theirs, check, compare, plot
from measuring import Row, installed, options_of, print_table, save

import pint
from problems.heat import Heat, HeatData

FINAL_TIME, COARSENING, LEVELS, TOLERANCE, TARGET = 2.0, 4, 5, 1e-7, 30.0


def first_state(x: np.ndarray) -> np.ndarray:
    return np.sin(np.pi * x)


def source(x: np.ndarray, t: Any) -> np.ndarray:
    return -np.sin(np.pi * x) * (np.sin(t) - np.pi**2 * np.cos(t))


def ours(points: int, times: int, levels: int) -> Posed:
    """Return problem, grid and control, the initial state; `points` count the boundary."""
    heat = Heat("initial", points=points - 2, nu=1.0)
    mode = first_state(heat.coordinates[0])

    def of_time(t: Any) -> np.ndarray:
        return mode * (np.pi**2 * np.cos(t) - np.sin(t))

    data = HeatData(mode, of_time, lambda t: 0.0 * t + mode)
    grid = pint.TimeGrid.uniform(FINAL_TIME, times - 1, coarsening=COARSENING, levels=levels)
    return heat.problem(data), grid, {"u": mode}


def theirs(points: int, times: int, levels: int) -> list[Any]:
    """Return PyMGRIT's applications, finest first."""
    from pymgrit.heat.heat_1d import Heat1D

    common: Row = {"x_start": 0, "x_end": 1, "nx": points, "a": 1}
    common |= {"init_cond": first_state, "rhs": source}
    applications = [Heat1D(**common, t_start=0, t_stop=FINAL_TIME, nt=times)]
    for _ in range(levels - 1):
        applications.append(Heat1D(**common, t_interval=applications[-1].t[::COARSENING]))
    return applications


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table, and write it with a picture; return its rows."""
    options = options_of(__doc__, arguments, repeats=3)
    sizes = (33, 65, 3) if options.quick else (1025, 1025, LEVELS)
    mine = Ours(lambda: ours(*sizes), TOLERANCE)
    other = Theirs(lambda: theirs(*sizes), TOLERANCE)
    if installed("pymgrit"):
        check(mine, other, relative=1e-6, states=1e-7)
    label = {"points": sizes[0], "times": sizes[1], "levels": sizes[2]}
    rows = compare(label, mine, other, options.repeats, TARGET)
    print_table("Heat equation by MGRIT (seconds, medians)", rows)
    save("heat_against_pymgrit", rows, options.output)
    plot(options.output / "heat_against_pymgrit.png", "Heat equation by MGRIT", rows, "points")
    return rows


if __name__ == "__main__":
    main()
