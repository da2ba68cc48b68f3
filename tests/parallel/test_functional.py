"""Objective and gradient, states and adjoints on many ranks: the numbers of one rank."""

from itertools import product

import linear_quadratic
import pytest
from parallel.cases import (
    SMALL,
    assert_same_control,
    assert_same_residuals,
    assert_same_trajectory,
    random_case,
)
from registry import random_control, small_problem

import pint
from pint.equations import Cycles, March

STEPPERS = ["pendulum", "dahlquist-backward-euler", "pendulum-loop", "dahlquist-trapezoid-loop"]
RANDOM = [random_case(seed) for seed in range(200, 216)]


def options_of(case):
    """Return a choice of everything that a functional is made with, by the case's seed."""
    random = case.random()
    choose = lambda *choices: choices[random.integers(len(choices))]  # noqa: E731
    return dict(
        relaxation=choose("F", "FCF", "FCFCF"),
        cycle=choose("V", "F"),
        c_weight=choose(1.0, 0.8),
        accuracy=pint.Accuracy(choose(1, 2, 3)),
    ), choose("inject", "mean")


def functional(case, comm, stepper, objective, guess):
    options, restrict = options_of(case)
    problem = small_problem(stepper, objective, restrict)
    return pint.ReducedFunctional(problem, case.grid(comm), guess=guess, **options)


@pytest.mark.layout
@pytest.mark.parametrize(
    ("case", "objective"),
    [
        *product(SMALL, ["running", "terminal"]),
        *((case, ("running", "terminal")[case.seed % 2]) for case in RANDOM),
    ],
    ids=str,
)
def test_value_gradient_state_and_adjoint(world, case, objective):
    stepper = STEPPERS[case.seed % len(STEPPERS)]
    guesses = ("zero", "constant", "coarse", "nested")
    for guess in (
        guesses[case.seed % 2 :: 2] if case in SMALL else guesses[case.seed // 4 % 4 :][:1]
    ):
        ours, serial = (
            functional(case, comm, stepper, objective, guess) for comm in (world, pint.SerialComm())
        )
        solutions = []
        for each in (ours, serial):
            control = random_control(each.controls, case.seed)
            state, adjoint = each.state.new(), each.adjoint.new()
            for _ in range(2):  # first from the guess, then warm-started at another control
                each.state.solve(state, control, Cycles(each.accuracy))
                each.adjoint.solve(adjoint, state, Cycles(each.accuracy))
                control = 0.9 * control
            solutions.append((state, adjoint))
        (state, adjoint), (expected_state, expected_adjoint) = solutions
        for mine, theirs in ((state, expected_state), (adjoint, expected_adjoint)):
            assert_same_trajectory(ours.grid, mine.points, theirs.points)
            assert_same_residuals(
                mine.convergence.residuals, theirs.convergence.residuals, theirs.points
            )
        value, expected = ours.objective(state), serial.objective(expected_state)
        assert value.objective == pytest.approx(expected.objective, rel=1e-13)
        assert value.regularisers == pytest.approx(expected.regularisers, rel=1e-13)
        assert_same_control(
            ours.derivative_of(state, adjoint),
            serial.derivative_of(expected_state, expected_adjoint),
        )


@pytest.mark.layout
@pytest.mark.parametrize("case", SMALL, ids=str)
@pytest.mark.parametrize("stepper", ["pendulum", "dahlquist-trapezoid-loop"])
def test_exact_sweeps_are_the_gradient_of_the_value(world, case, stepper):
    """Sequential sweeps over ranks, and MGRIT cycles until nothing changes, agree."""
    problem = small_problem(stepper, "running")
    cycles = pint.Accuracy(max(1, case.steps // 2))  # FCF is exact after half as many intervals
    rf = pint.ReducedFunctional(problem, case.grid(world), accuracy=cycles)
    control = random_control(rf.controls)
    state, adjoint = rf.state.new(), rf.adjoint.new()
    rf.state.solve(state, control, March())
    rf.adjoint.solve(adjoint, state, March())
    assert rf.value(control) == pytest.approx(rf.objective(state).objective, rel=1e-12)
    difference = rf.derivative(control) - rf.derivative_of(state, adjoint)
    space = rf.controls
    assert space.norm(difference) <= 1e-12 * space.norm(rf.derivative(control))


@pytest.mark.parametrize("where", ["state", "objective"])
def test_every_rank_raises_where_values_are_not_finite(world, where):
    grid = pint.TimeGrid.uniform(1.0, 16, 2, 2, world)
    rf = pint.ReducedFunctional(small_problem("pendulum", "running"), grid)
    control = random_control(rf.controls)
    if where == "state" and grid.local_steps and world.rank == world.size // 2:
        control["u"][-1] = float("nan")
    if where == "objective":
        control["theta"][...] = float("nan")
    with pytest.raises(pint.NotFiniteError):
        rf.gradient(control)


OTHERS = {
    "no control": (lambda grid: 0.0, TypeError, "must be a `pint.Control`, got float"),
    "field": (lambda grid: space(grid, v=pint.TimeControl(1)), ValueError, "has the fields"),
    "shape": (lambda grid: space(grid, u=pint.TimeControl(2)), ValueError, "has the fields"),
    "kind": (lambda grid: space(grid, u=pint.SharedControl(1)), ValueError, "has the fields"),
    "steps": (lambda grid: space(uniform(32, grid.comm)), ValueError, "has 32 time steps"),
    "factors": (lambda grid: space(uniform(16, grid.comm, 2)), ValueError, "factors [2], the pro"),
    "levels": (lambda grid: space(uniform(16, grid.comm, 4, 1)), ValueError, "factors [], the"),
}
if pint.world().size > 1:
    OTHERS["ranks"] = (lambda grid: space(uniform(16)), ValueError, "divided among 1 ranks")
SOLVE = {
    "value": lambda rf, control: rf.value(control),
    "gradient": lambda rf, control: rf.gradient(control),
    "minimize": pint.minimize,
    "scipy": lambda rf, control: pint.minimize(rf, control, pint.External("scipy:L-BFGS-B")),
    "one-shot": lambda rf, control: pint.minimize(rf, control, pint.OneShot()),
}


def uniform(steps, comm=None, coarsening=4, levels=2):
    return pint.TimeGrid.uniform(1.0, steps, coarsening, levels, comm)


def space(grid, **fields):
    return pint.ControlSpace(grid, **(fields or {"u": pint.TimeControl(1)})).zeros()


@pytest.mark.parametrize(
    ("other", "solve"),
    [*((other, "value") for other in OTHERS), *(("steps", solve) for solve in SOLVE)],
)
def test_a_control_of_another_problem_is_refused_on_every_rank(world, other, solve):
    make, error, message = OTHERS[other]
    grid = uniform(16, world)
    rf = pint.ReducedFunctional(linear_quadratic.DOUBLE_INTEGRATOR.problem(), grid)
    with pytest.raises(error) as caught:
        SOLVE[solve](rf, make(grid))
    assert message in str(caught.value)
    assert set(world.allgather(str(caught.value))) == {str(caught.value)}


def test_a_control_of_an_equal_space_or_of_more_levels_is_taken(world):
    problem = linear_quadratic.DOUBLE_INTEGRATOR.problem()
    rf = pint.ReducedFunctional(problem, uniform(16, world))
    values = {rf.value(space(uniform(16, world, [4, 2][:n], n + 1))) for n in (1, 2)}
    assert values == {rf.value(rf.controls.zeros())}
