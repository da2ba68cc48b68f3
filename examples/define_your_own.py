"""A control problem of your own: write three small classes, have them checked, solve.

Vaccination against an epidemic. S and I are the fractions of a population that are susceptible
and infected, u the rate of vaccination:

    minimise    integral of I + u^2 / 10
    subject to  S' = -3 S I - u S,   I' = 3 S I - I,   S(0) = 0.9, I(0) = 0.1,   0 <= u <= 0.6

by explicit Euler. Replace the lines between the two rules by your equation; `check_problem` says
which method, level, field and entry is wrong.

    python examples/define_your_own.py --plot epidemic.png
    mpiexec -n 2 python examples/define_your_own.py --method mgrit --steps 512
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from arguments import (
    Parser,
    check_outputs,
    integer,
    make_grid,
    most_cycles,
    run,
    solver_options,
    word_of,
)

import pint
from pint.comm import on_root
from pint.report.files import write_atomically

# ---------------------------------------------------------------------------------------------


class Epidemic(pint.TimeStepper):
    batched = True  # y has shape (steps, 2), a block of the control (steps, 1)
    initial_state = np.array([0.9, 0.1])

    def step(self, s, y, u, theta, *, guess=None):
        S, I = y[:, :1], y[:, 1:]  # noqa: E741
        infected, vaccinated = 3 * S * I, u["rate"] * S
        return y + s.dt * np.hstack([-infected - vaccinated, infected - I])


class EpidemicAdjoint(pint.Adjoint):
    def step(self, s, y, u, theta, lam):
        S, I = y[:, :1], y[:, 1:]  # noqa: E741
        p, q = lam[:, :1], lam[:, 1:]
        return lam + s.dt * np.hstack([3 * I * (q - p) - u["rate"] * p, 3 * S * (q - p) - q])

    def control_derivative(self, s, y, u, theta, lam):
        return {"rate": -s.dt * y[:, :1] * lam[:, :1]}, {}


class Cost(pint.Objective):
    def step_cost(self, s, y0, y1, u, theta):
        return (s.dt * (y1[:, 1:] + u["rate"] ** 2 / 10))[:, 0]

    def step_cost_derivative(self, s, y0, y1, u, theta):
        return 0.0 * y0, s.dt * np.array([0.0, 1.0]), {"rate": s.dt * u["rate"] / 5}, {}


def epidemic(grid: pint.TimeGrid) -> pint.Problem:
    controls = pint.ControlSpace(grid, rate=pint.TimeControl(1, lower=0.0, upper=0.6))
    return pint.Problem(grid, Epidemic(), EpidemicAdjoint(), Cost(), controls)


# ---------------------------------------------------------------------------------------------


def parser(comm: Any) -> Parser:
    """Return the parser of the command line."""
    new = Parser(prog="define_your_own.py", description="A control problem of your own.")
    new.comm = comm
    new.add_argument("--steps", type=integer(1), default=128, metavar="N", help="time steps")
    solver_options(new, method="mgrit")
    new.add_argument("--plot", metavar="PATH", help="picture of states and control")
    new.add_argument("--json", metavar="FILE", help="results")
    return new


def set_up(options: argparse.Namespace, comm: Any) -> pint.Problem:
    """Return the problem on the grid of the options."""
    check_outputs(options, "plot", "json")
    return epidemic(make_grid(options, 10.0, options.steps, comm))


def work(options: argparse.Namespace, problem: pint.Problem) -> dict[str, Any]:
    """Check the problem, solve it, write what is asked for, and return the numbers."""
    few = pint.TimeGrid(10 * np.linspace(0, 1, 17) ** 1.2, levels=2, comm=problem.grid.comm)
    pint.verify.check_problem(epidemic(few)).require()

    functional = pint.ReducedFunctional(
        problem,
        accuracy=pint.Accuracy(most_cycles(options), relative=1e-12),
        relaxation=options.relaxation,
        storage=options.storage,
    )
    start = problem.controls.control(rate=0.3)
    tolerances = dict(gradient_tolerance=1e-7, iterations=200)
    if options.method == "one-shot":
        method = pint.OneShot(functional, options.cycles or 2, lagged=options.lagged)
        result = method.solve(start, **tolerances)
    else:
        result = pint.minimize(functional, start, **tolerances)

    last, rate = result.history[-1], result.control.gather()["rate"]
    numbers = {
        "objective": result.objective,
        "gradient_norm": result.gradient_norm,
        "iterations": result.iterations,
        "status": word_of(result.status),
        "control": rate.tolist(),
        "state_steps": last.state_steps,
        "adjoint_steps": last.adjoint_steps,
        "seconds": last.seconds,
        "peak_memory": list(result.peak_memory),
    }
    comm, points = problem.grid.comm, slice(1 if problem.grid.comm.rank else 0, None)
    states = np.concatenate(comm.allgather(functional.states(result.state)[points]))
    if options.json:
        text = json.dumps(numbers, indent=1).encode()
        on_root(comm, lambda: write_atomically(options.json, lambda file: file.write(text)))
    if options.plot:
        on_root(comm, lambda: draw(options.plot, problem.grid.t, states, rate[:, 0]))
    if comm.rank == 0:
        print(f"J = {result.objective:.12g}, |gradient| = {result.gradient_norm:.1e}")
        print(f"{result.iterations} iterations, {last.seconds:.2f} s: {result.status.value}")
    return numbers


def draw(path: str, t: np.ndarray, states: np.ndarray, rate: np.ndarray) -> None:
    """Write the picture of the states and the control."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for values, name in zip(states.T, ("susceptible", "infected"), strict=True):
        axes.plot(t, values, label=name)
    axes.stairs(rate, t, color="k", label="rate of vaccination")
    axes.set(xlabel="time", ylim=(0, None), title="optimal vaccination")
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format=Path(path).suffix[1:], dpi=120)
    pyplot.close(figure)
    write_atomically(path, lambda file: file.write(picture.getvalue()))


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the program and return its numbers."""
    return run(arguments, parser, set_up, work)


if __name__ == "__main__":
    main()
