"""Random configurations of problem, grid and functional: MGRIT at convergence is the march."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from random import Random
from typing import Any

import numpy as np
import registry
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from registry import random_control

import pint
from pint.equations import Cycles, Lagged, March

TOLERANCE = 1e-10
COUNT = int(os.environ.get("PINT_CONFIGURATIONS", "0"))
"""So many configurations instead of a sample."""
SEED = int(os.environ.get("PINT_SEED", "0"))


class Cubic(pint.TimeStepper):
    """``y_{n+1} = y_n + dt (u_n - theta y_n^3)`` with controls that are single numbers."""

    initial_state = np.array([0.7, -0.4, 0.1])

    def __init__(self, batched):
        self.batched = batched

    def step(self, s, y, u, theta):
        force = u["u"][:, None] if self.batched else u["u"]
        return y + s.dt * (force - theta["theta"] * y**3)


class CubicAdjoint(pint.Adjoint):
    def vjp(self, s, y, u, theta, lam):
        slope = s.dt * lam
        dtheta = np.asarray(-(slope * y**3).sum())
        dy = lam - 3 * theta["theta"] * y**2 * slope
        return dy, {"u": slope.sum(axis=-1)}, {"theta": dtheta}


class Tracking(pint.Objective):
    """``l = dt |y1|^2 (1 + u^2) / 2``, ``psi = y_N . y_N theta``."""

    def step_cost(self, s, y0, y1, u, theta):
        dt = s.dt[:, 0] if np.ndim(s.dt) else s.dt
        return 0.5 * dt * (y1**2).sum(axis=-1) * (1 + u["u"] ** 2)

    def step_cost_derivative(self, s, y0, y1, u, theta):
        dt = s.dt[:, 0] if np.ndim(s.dt) else s.dt
        factor = dt * (1 + u["u"] ** 2)
        du = dt * (y1**2).sum(axis=-1) * u["u"]
        return 0.0, (factor[:, None] if np.ndim(factor) else factor) * y1, {"u": du}, {}

    def terminal(self, y, theta):
        return y @ y * theta["theta"]

    def terminal_derivative(self, y, theta):
        return 2 * y * theta["theta"], {"theta": np.asarray(y @ y)}


def cubic(batched, options):
    fields = {"u": pint.TimeControl((), **options), "theta": pint.SharedControl(())}
    return pint.Problem(Cubic(batched), CubicAdjoint(), Tracking(), fields)


def of_registry(stepper, objective, options):
    problem = registry.small_problem(stepper, objective)
    fields = {"u": pint.TimeControl(2, **options), "theta": pint.SharedControl(2)}
    parts = (problem.stepper, problem.adjoint, problem.objective)
    return pint.Problem(*parts, fields, problem.regularisers)


CUBIC = [("cubic", True), ("cubic", False)] * 3
OF_REGISTRY = [("registry", *pair) for pair in registry.PAIRS]
# Problems whose controls are what they are
NAMED = [
    ("named", name)
    for name in (
        "coarsened",
        "dense-tanh-vector-trained",
        "dense-smoothrelu-scalar-pad",
        "forced-rk4",
        "forced-midpoint",
        "forced-crank-nicolson",
        *registry.PREDATORS,
    )
]
# Their blocks cannot be sent
STRICT = [("named", name) for name in registry.STRICT]


@dataclass(frozen=True)
class Configuration:
    """What a random case is made of; its text makes it again."""

    number: int
    problem: tuple[Any, ...]
    control: dict[str, Any]
    steps: int
    sizes: int | None
    final_time: float
    coarsening: tuple[int, ...]
    options: dict[str, Any]
    tolerance: float | None
    lagged: bool
    seed: int

    def grid(self, comm: Any, levels: int | None = None) -> pint.TimeGrid:
        """Return the grid, by default with all levels."""
        count = len(self.coarsening) + 1 if levels is None else levels
        if self.sizes is None:
            return pint.TimeGrid.uniform(
                self.final_time, self.steps, self.coarsening or 2, count, comm
            )
        sizes = np.random.default_rng(self.sizes).uniform(0.5, 1.5, self.steps)
        times = np.concatenate([[0.0], np.cumsum(sizes)])
        times *= self.final_time / times[-1]
        return pint.TimeGrid(times, self.coarsening or 2, count, comm)

    def make_problem(self) -> pint.Problem:
        """Return a new problem."""
        kind, *arguments = self.problem
        makers: dict[str, Callable[..., pint.Problem]] = {
            "cubic": cubic,
            "registry": of_registry,
            "named": lambda name, options: registry.PROBLEMS[name](),
        }
        return makers[kind](*arguments, self.control)


def configurations(ranks: int = 1, largest: int = 40) -> Any:
    """Return a strategy of configurations for a number of ranks in time."""
    return st.integers(0, 2**32 - 1).map(lambda number: configuration(number, ranks, largest))


def configuration(number: int, ranks: int = 1, largest: int = 40) -> Configuration:
    """Return one of 2^32 configurations, all of whose choices are equally likely."""
    random = Random(number)
    steps, factors = random.randint(1, largest), []
    while len(factors) < 3 and steps // prod(factors) >= 2 and random.random() < 0.8:
        factors.append(random.randint(2, min(6, steps // prod(factors))))
    levels = len(factors) + 1
    control = {
        "restrict": random.choice(["inject", "mean"]),
        "metric": random.choice(["time", "euclidean"]),
        "every": random.choice([1, 1, 2, 3, 5]),
    }
    if control["every"] > 1 and steps > 1:
        control["interpolate"] = random.choice(["constant", "linear"])
    words = [random.choice(["F", "FCF", "FCFCF"]) for _ in range(levels)]
    options = {
        "relaxation": words[1:] if levels > 1 and random.random() < 0.5 else words[0],
        "c_weight": random.choice([1.0, 1.0, 0.7, 1.3]),
        "cycle": random.choice("VF"),
        "guess": random.choice(["zero", "constant", "coarse", "nested"]),
        "kept_bytes": random.choice([0, 300, 2**31]),
        "chunk_bytes": random.choice([None, 1, 100, 500]),
    }
    fits = levels > 1 and steps % factors[0] == 0 and steps // factors[0] >= ranks
    if fits and random.random() < 0.5:
        options["storage"] = "C"
    problem = random.choice([*CUBIC, *OF_REGISTRY, *NAMED, *(STRICT if ranks == 1 else [])])
    # Predators without prey enough blow up in finite time.
    longest = [0.3] if "predators" in str(problem[1]) else [0.3, 1.0, 2.0]
    case = Configuration(
        number=number,
        problem=problem,
        control=control,
        steps=steps,
        sizes=random.choice([None, random.randrange(100)]),
        # The largest steps are short enough for all schemes: this is about equality.
        final_time=min(random.choice(longest), 0.4 * (steps // prod(factors))),
        coarsening=tuple(factors),
        options=options,
        tolerance=random.choice([None, 1e-13]),
        lagged=levels > 1 and random.random() < 0.4,
        seed=random.randrange(100),
    )
    small = problem not in STRICT and not str(problem[1]).startswith("dense")
    if small and levels > 1 and random.random() < 0.4:
        options["correction"] = random.choice(["full", 1])
    return case


def sampled(few: int, parallel: bool = False) -> Callable[[Any], Any]:
    """Decorate a hypothesis test: a few configurations, or as many as the environment says.

    The same ones each time, and on all ranks; ``PINT_SEED`` gives others.
    """
    phases = [Phase.generate] if parallel else [Phase.generate, Phase.shrink]

    def decorate(test: Any) -> Any:
        return seed(SEED)(
            settings(
                max_examples=COUNT or few,
                database=None,
                deadline=None,
                phases=phases,
                suppress_health_check=list(HealthCheck),
            )(test)
        )

    return decorate


def solved(case: Configuration, comm: Any) -> tuple[pint.ReducedFunctional, Any, Any, float]:
    """Return a functional with the state and the adjoint that MGRIT has solved for, and J."""
    grid = case.grid(comm)
    rf = pint.ReducedFunctional(case.make_problem(), grid, unconverged="ignore", **case.options)
    control = random_control(rf.controls, case.seed, 0.3)
    # Each cycle makes one more interval exact, whatever the coarse steps are.
    intervals = case.steps // case.coarsening[0] + 2 if case.coarsening else 1
    how = Cycles(pint.Accuracy(intervals, relative=case.tolerance))
    if case.lagged:
        how = Lagged(2 * intervals + 2)
    state, adjoint = rf.state.new(), rf.adjoint.new()
    # From a trajectory of another control, which must leave no traces.
    rf.state.solve(state, 0.5 * control, how)
    rf.adjoint.solve(adjoint, state, how)
    rf.state.solve(state, control, how)
    rf.adjoint.solve(adjoint, state, how)
    return rf, state, adjoint, rf.objective(state).objective


def check(case: Configuration, comm: Any = None) -> None:
    """Compare state, adjoint, objective and gradient with those of the march on one rank."""
    rf, state, adjoint, objective = solved(case, comm)
    single = pint.ReducedFunctional(case.make_problem(), case.grid(None, levels=1))
    control = random_control(single.controls, case.seed, 0.3)
    exact, exact_adjoint = single.state.new(), single.adjoint.new()
    single.state.solve(exact, control, March())
    single.adjoint.solve(exact_adjoint, exact, March())
    array, first, count = rf.space.as_array, rf.grid.first, rf.grid.local_steps
    spacing = case.coarsening[0] if case.options.get("storage") == "C" else 1
    if count:
        here = slice(first, first + count + 1)
        expected = array(exact.points)
        close("state", array(rf.states(state)), expected[here], expected)
        expected = array(exact_adjoint.points)
        close("adjoint", array(adjoint.points), expected[here][::spacing], expected)
    expected = single.objective(exact).objective
    close("objective", objective, expected, max(1.0, abs(expected)))
    gradient = rf.controls.riesz(rf.derivative_of(state, adjoint)).gather()
    derivative = single.derivative_of(exact, exact_adjoint)
    expected = single.controls.riesz(derivative).gather()
    for name, values in expected.items():
        close(f"gradient {name}", gradient[name], values, np.concatenate([values.ravel(), [1e-3]]))
    # What both have left out would be a difference from this.
    direction = 1e-4 * random_control(single.controls, case.seed + 1, 1.0)
    slope = (single.value(control + direction) - single.value(control - direction)) / 2
    size = single.controls.norm(derivative) * single.controls.norm(direction)
    assert abs(slope - single.controls.pair(derivative, direction)) <= 1e-4 * size


def close(what: str, found: Any, expected: Any, size: Any) -> None:
    """Compare, relative to the largest entry of `size`, which is finite."""
    assert np.isfinite(size).all()
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=TOLERANCE * np.abs(size).max(), err_msg=what
    )
