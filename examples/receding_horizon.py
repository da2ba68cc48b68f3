"""Model-predictive control of a cart-pole whose plant is not the model.

The pole is swung up and held. Every `--apply` steps the optimal control of the next two seconds is
computed again from the state of the plant, by Gauss-Newton from the last solution, shifted; the
plant's motor gives a part of the force, and wind pushes. Two others for comparison: the first
control as it is, and the first control with its feedback gains, u + K (y - y*). If an optimisation
has failed, the program ends with exit code 1 after it has written its picture.

    python examples/receding_horizon.py [--steps 80] [--motor 0.9] [--wind 0.3] [--plot FILE.png]
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from arguments import FAILURES, Parser, Picture, integer, is_installed, real, run

import pint
import pint.equations
from pint.comm import alike
from pint.report.files import write_atomically
from problems.ode_catalogue import CATALOGUE

# With a cost on the way: one at the end alone would be put off for ever.
MODEL = replace(
    CATALOGUE["cart-pole"],
    running_cost="0.005*u**2 + 5*(x - 1)**2 + 10*(cos(theta) + 1) + 0.1*v**2 + 0.1*omega**2",
)
HORIZON = 80
BOUND = 20.0


def parser(comm: Any) -> Parser:
    """Return the parser of all options."""
    new = Parser("receding_horizon.py", description="Model-predictive control of a cart-pole.")
    new.comm = comm
    option = new.add_argument_group("plant").add_argument
    option("--steps", type=integer(1), default=120, help="steps of 0.025 s")
    option("--apply", type=integer(1), default=4, help="steps between two optimisations")
    option("--motor", type=real, default=0.9, help="part of the force that the motor gives")
    option("--wind", type=real, default=0.3, help="force of the wind, N")
    option("--plot", type=Picture, metavar="FILE.png", help="angle and force against time")
    return new


class Plant:
    """The true cart-pole, step by step."""

    def __init__(self, motor: float, wind: float) -> None:
        force = f"({motor!r}*u + {wind!r})"
        rhs = tuple(text.replace("u", force) for text in MODEL.rhs)
        self.problem = replace(MODEL, rhs=rhs).problem("rk4")
        self.grid = pint.TimeGrid.uniform(MODEL.T / HORIZON, 1)

    def step(self, y: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Return the state after one step with a constant force."""
        functional = pint.ReducedFunctional(pint.starting_at(self.problem, y), self.grid)
        state = functional.state.new()
        functional.state.solve(state, functional.control(u=u[None]), pint.equations.March())
        return np.array(state.points[-1])


def first_solution(comm: Any) -> pint.Result:
    """Return the optimal control of the model from its initial state. Collective."""
    grid = pint.TimeGrid.uniform(MODEL.T, HORIZON, comm=comm)
    backend = "compiled" if is_installed("numba") else "numpy"
    functional = pint.ReducedFunctional(MODEL.problem("rk4", backend=backend), grid)
    return pint.minimize(functional, MODEL.start(functional.controls), pint.GaussNewton())


def receding(
    plant: Plant, first: pint.Result, steps: int, apply: int
) -> tuple[np.ndarray, np.ndarray, list[pint.Result], list[float]]:
    """Return states and forces, results and seconds of the optimisations. Collective."""
    result, y = first, np.array(MODEL.initial_state)
    states, forces, results, seconds = [y], [], [first], []
    problem, grid = first.functional.problem, first.functional.grid
    while len(forces) < steps:
        for block in result.control.gather()["u"][: min(apply, steps - len(forces))]:
            y = plant.step(y, block)
            states.append(y)
            forces.append(block)
        begin = time.perf_counter()
        functional = pint.ReducedFunctional(pint.starting_at(problem, y), grid)
        control, guess = result.shift(apply)
        start = functional.control(**control.gather())
        guess[0] = y
        result = pint.minimize(functional, start, pint.GaussNewton(start_states=guess))
        seconds.append(time.perf_counter() - begin)
        results.append(result)
    return np.array(states), np.array(forces), results, seconds


def tracking(
    plant: Plant, first: pint.Result, steps: int, with_gains: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return states and forces of the first control, for its horizon. Collective."""
    assert first.all_at_once is not None and first.all_at_once.gains is not None
    parts = first.functional.comm.allgather(first.all_at_once.gains)
    gains, planned = np.concatenate(parts), first.functional.comm.bcast(first.states())
    y = np.array(MODEL.initial_state)
    states, forces = [y], []
    for n, block in enumerate(first.control.gather()["u"][:steps]):
        change = gains[n] @ (y - planned[n]) if with_gains else 0.0
        force = np.clip(block + change, -BOUND, BOUND)
        y = plant.step(y, force)
        states.append(y)
        forces.append(force)
    return np.array(states), np.array(forces)


def distance(y: np.ndarray) -> float:
    """Return how far a state is from the pole upright and at rest at x = 1."""
    return float(np.linalg.norm([y[0] - 1, 1 + np.cos(y[1]), y[2], y[3]]))


def solve(options: Any, first: pint.Result) -> dict[str, Any]:
    """Run all three, and print how they end. Collective."""
    plant, comm = Plant(options.motor, options.wind), first.functional.comm
    states, forces, results, seconds = receding(plant, first, options.steps, options.apply)
    iterations = [result.iterations for result in results]
    summary: dict[str, Any] = {
        "receding": distance(states[-1]),
        "at the horizon": distance(states[min(HORIZON, options.steps)]),
        "iterations": iterations,
        "seconds": seconds,
    }
    for name, with_gains in (("feedback", True), ("open loop", False)):
        summary[name] = distance(tracking(plant, first, options.steps, with_gains)[0][-1])
    if comm.rank == 0:
        print(f"first optimum: {iterations[0]} iterations, J = {first.objective:.6g}")
        later = iterations[1:]
        print(
            f"{len(seconds)} more, each from the last one: {min(later)} to "
            f"{max(later)} iterations, at most {1e3 * max(seconds):.0f} ms"
        )
        seen = min(HORIZON, options.steps) * MODEL.T / HORIZON
        print(
            f"distance from upright after {seen:g} s: open loop {summary['open loop']:.3g}, "
            f"feedback {summary['feedback']:.3g}, receding {summary['at the horizon']:.3g}"
        )
        print(f"receding at the end: {summary['receding']:.3g}")
        if options.plot:
            draw(options.plot, states, forces)
    for i, result in enumerate(results):
        if result.status in FAILURES:
            when = f"optimisation {i + 1} of {len(results)}"
            raise alike(pint.NumericalError(f"{when} has failed: {result.message}"))
    return summary


def draw(path: str, states: np.ndarray, forces: np.ndarray) -> None:
    """Draw angle and force; needs matplotlib. Not collective."""
    from matplotlib.figure import Figure

    t = np.arange(len(states)) * MODEL.T / HORIZON
    figure = Figure(figsize=(7, 5), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    above.plot(t, states[:, 1])
    above.axhline(np.pi, color="gray", linewidth=0.5)
    above.set_ylabel("angle of the pole")
    below.stairs(forces[:, 0], t, baseline=None)
    below.set_ylabel("force (N)")
    below.set_xlabel("time (s)")
    kind = path.rpartition(".")[2]
    write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=120))


def set_up(options: Any, comm: Any) -> pint.Result:
    """Solve the first problem. Collective."""
    return first_solution(comm)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the program; returns the numbers of the result."""
    return run(arguments, parser, set_up, solve)


if __name__ == "__main__":
    main()
