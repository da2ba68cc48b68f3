"""Other steps on coarse levels: cycles and updates where the fine step is explicit, RK4.

Van der Pol (64 steps, m = 8: coarse steps of 1.25), problems of the catalogue with m = 4 on two or
three levels, and Allen-Cahn by the method of lines (16 cells, 64 steps, m = 8); FCF-relaxation.
Counted are

- cycles of the first state solve to a residual of 1e-9 relative to the states; on two levels half
  as many as there are coarse intervals, and one more, make it exact in any case,
- updates of reduced space by MGRIT (1e-12) and the cycles of state and adjoint an update,
- updates of adaptive one-shot, and the share of them that MGRIT makes: where it fails, they are
  sequential.

    python benchmarks/run_all.py coarse_steps [--quick]
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from measuring import Row, installed, options_of, print_table, save

import pint
from pint.equations import Cycles
from pint.steppers import ODE, RunningCost, scheme
from problems.ode import PROBLEMS, Tracking
from problems.ode_catalogue import CATALOGUE

STEPS = (None, "implicit-euler", "sdirk2", "two-solve", "rkc", "substeps:4")
SECONDS = 60.0
"""Of a minimisation at most."""


class AllenCahn(ODE):
    """``y_t = nu y_xx + y - y^3 + u`` on (0, 1), no flux; u in both halves."""

    def __init__(self, cells: int) -> None:
        x = (np.arange(cells) + 0.5) / cells
        self.nu = 0.01 * cells**2
        self.initial_state = 0.5 * np.cos(np.pi * x) + 0.1 * np.cos(5 * np.pi * x)
        self.halves = np.stack([x < 0.5, x >= 0.5]).astype(float)

    def diffused(self, y: Any) -> Any:
        around = np.concatenate([y[:, :1], y, y[:, -1:]], axis=1)
        return self.nu * (around[:, 2:] - 2 * y + around[:, :-2])

    def f(self, t: Any, y: Any, u: Any, theta: Any) -> Any:
        return self.diffused(y) + y - y**3 + u["u"] @ self.halves

    def f_vjp(self, t: Any, y: Any, u: Any, theta: Any, lam: Any) -> Any:
        return self.diffused(lam) + (1 - 3 * y**2) * lam, {"u": lam @ self.halves.T}, {}


def allen_cahn(coarse: Any) -> pint.Problem:
    """Return the control problem of `AllenCahn`."""
    parts = scheme(AllenCahn(16), "rk4", coarse=coarse)
    cost = RunningCost(Tracking(0.5 / 16, 0.05, target=0.3))
    return pint.Problem(*parts, cost, {"u": pint.TimeControl(2)})


def of_name(name: str, coarse: Any) -> pint.Problem:
    """Return a problem of `problems`, in machine code where there is a compiler."""
    backend: Any = "compiled" if installed("numba") else "numpy"
    if name in CATALOGUE:
        return CATALOGUE[name].problem(coarse=coarse, backend=backend)
    from problems.ode_expressions import problem

    made: pint.Problem = problem(PROBLEMS[name](), coarse=coarse, backend=backend)
    return made


CASES: dict[str, tuple[Callable[[Any], pint.Problem], float, int, int, int]] = {
    "van-der-pol": (partial(of_name, "van-der-pol"), 10.0, 64, 8, 2),
    **{
        name: (partial(of_name, name), CATALOGUE[name].T, CATALOGUE[name].steps, 4, levels)
        for name, levels in (("seir", 3), ("rocket", 3), ("van-de-vusse", 3), ("hiv", 2))
    },
    "allen-cahn": (allen_cahn, 4.0, 64, 8, 2),
}
"""Problem, final time, steps, coarsening factor, levels."""


def row(name: str, coarse: str | None) -> Row:
    """Return the numbers of one problem with one coarse step."""
    make, final_time, steps, factor, levels = CASES[name]
    grid = pint.TimeGrid.uniform(final_time, steps, factor, levels)
    functional = pint.ReducedFunctional(
        make(coarse), grid, unconverged="ignore",
        accuracy=pint.Accuracy(30, relative=1e-12),
    )  # fmt: skip
    known = CATALOGUE[name] if name in CATALOGUE else None
    start = functional.controls.zeros() if known is None else known.start(functional.controls)
    state = functional.state.new()
    functional.state.solve(state, start, Cycles(pint.Accuracy(30, relative=1e-9)))
    convergence = state.convergence
    assert convergence is not None
    found: Row = {
        "problem": name,
        "coarse step": coarse or "rk4",
        "cycles": len(convergence.residuals) if convergence.converged else "-",
    }
    settings: dict[str, Any] = {"iterations": 1000, "gradient_tolerance": 1e-6}
    settings["time_limit"] = SECONDS
    for word, method in (("mgrit", pint.ReducedSpace), ("adaptive", pint.Adaptive)):
        try:
            result = pint.minimize(functional, start, method(**settings))
        except pint.NumericalError:
            found[word] = "not finite"
            continue
        last, is_done = result.history[-1], result.status is pint.Status.CONVERGED
        found[word] = result.iterations if is_done else result.status.name.lower()
        if word == "mgrit":
            total = last.state_cycles + last.adjoint_cycles
            found["cycles an update"] = round(total / max(1, last.iteration), 1)
        else:
            parallel = [one.state_residual > 0 for one in result.history[:-1]]
            found["by MGRIT"] = f"{100 * np.mean(parallel):.0f} %" if parallel else "-"
    return found


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table and write it; return its rows."""
    options = options_of(__doc__, arguments, repeats=1)
    logging.disable(logging.WARNING)
    names = ["van-der-pol"] if options.quick else list(CASES)
    steps = STEPS[:2] if options.quick else STEPS
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = [row(name, coarse) for name in names for coarse in steps]
    print_table("Cycles and updates", rows)
    save("coarse_steps", rows, options.output)
    return rows


if __name__ == "__main__":
    main()
