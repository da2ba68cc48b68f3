"""Solves of state and adjoint with a linear correction of coarse steps."""

from functools import partial

import numpy as np
import pytest
import registry
from pairwise import pairwise
from solves import SOLVES, assert_same_numbers
from solves import numbers as numbers_of
from test_storage import GRIDS, OPTIONS, PROBLEMS, control_of, functional

import pint
from pint.equations import Cycles, Lagged, March
from problems.heat import Heat, manufactured
from problems.ode import PROBLEMS as ODES

SMALL = ["pendulum-running", "pendulum-loop-running", "forced-rk4", "forced-midpoint", "heat"]
COMPILED = [name for name in ("compiled-rk4", "compiled-midpoint") if name in registry.PROBLEMS]
PROBLEMS = {**PROBLEMS, **{name: registry.PROBLEMS[name] for name in COMPILED}}


def made(monkeypatch, name, *arguments, **options):
    monkeypatch.setitem(functional.__globals__["PROBLEMS"], name, PROBLEMS[name])
    return functional(name, *arguments, **options)


@pytest.mark.parametrize(
    ("name", "grid", "option", "correction", "storage"),
    pairwise([*SMALL, *COMPILED], list(GRIDS), list(OPTIONS)[:3], ["full", 1], ["all", "C"]),
)
def test_converged_numbers_are_those_of_sequential_steps(
    monkeypatch, name, grid, option, correction, storage
):
    exact = made(monkeypatch, name, grid, "all")
    expected = numbers_of(exact, "marched", control_of(exact))
    rf = made(monkeypatch, name, grid, storage, correction=correction, **OPTIONS[option])
    assert_same_numbers(numbers_of(rf, "to_tolerance", control_of(rf)), expected, 1e-10)


@pytest.mark.parametrize(
    ("solve", "grid", "correction"), pairwise(list(SOLVES), list(GRIDS), ["full", 1])
)
@pytest.mark.parametrize("name", ["forced-midpoint", "pendulum-running"])
def test_c_points_alone_give_the_numbers_of_all_points(name, solve, grid, correction):
    every, few = (functional(name, grid, kind, correction=correction) for kind in ("all", "C"))
    expected = numbers_of(every, solve, control_of(every))
    assert_same_numbers(numbers_of(few, solve, control_of(few)), expected)


@pytest.mark.parametrize(
    ("grid", "relaxation", "cycle", "storage"),
    pairwise([(48, 4, 2), (45, 4, 2), (50, (3, 2), 3)], ["F", "FCF"], ["V", "F"], ["all", "C"]),
)
def test_one_cycle_solves_the_adjoint(grid, relaxation, cycle, storage):
    """At any state: the residual is rounding after the first cycle."""
    steps, coarsening, levels = grid
    if storage == "C":
        steps = 48
    grid = pint.TimeGrid.uniform(4.0, steps, coarsening, levels)
    problem = ODES["van-der-pol"]().problem()
    options = {"relaxation": relaxation, "cycle": cycle, "storage": storage}
    rf = pint.ReducedFunctional(problem, grid, correction="full", **options)
    state, adjoint = rf.state.new(), rf.adjoint.new()
    rf.state.solve(state, control_of(rf), Cycles(pint.Accuracy(1)))
    rf.adjoint.solve(adjoint, state, Cycles(pint.Accuracy(2)))
    first, second = adjoint.convergence.residuals
    assert second < 1e-12 * np.linalg.norm(adjoint.points) < 1e-6 * first


@pytest.mark.parametrize(
    ("steps", "final_time", "m", "cycles"),
    [(64, 10.0, 4, 4), (256, 10.0, 8, 2), (1024, 100.0, 4, 3)],
)
def test_cycles_of_van_der_pol_from_the_nested_guess(steps, final_time, m, cycles):
    grid = pint.TimeGrid.uniform(final_time, steps, m, levels=2)
    rf = pint.ReducedFunctional(
        ODES["van-der-pol"]().problem(), grid, relaxation="F", correction="full"
    )
    state = rf.state.new()
    rf.state.solve(state, rf.controls.zeros(), Cycles(pint.Accuracy(cycles + 1)))
    residuals = state.convergence.residuals
    assert residuals[cycles] <= 1e-9 < residuals[cycles - 1]


@pytest.mark.parametrize("correction", ["full", 1])
@pytest.mark.parametrize("storage", ["all", "C"])
@pytest.mark.parametrize("levels", [2, 3])
def test_the_whole_solve_and_its_adjoint_are_transposes(correction, storage, levels):
    """Linear steps and a linear cost: the derivative is J's change, whatever the distance."""
    grid = pint.TimeGrid.uniform(4.0, 48, 4, levels)
    problem = ODES["vector-lqr"]().problem()
    problem = pint.Problem(problem.stepper, problem.adjoint, Linear(), problem.controls)
    accuracy = pint.Accuracy(30, relative=1e-14)
    options = {"storage": storage, "accuracy": accuracy, "unconverged": "ignore"}
    rf = pint.ReducedFunctional(problem, grid, correction=correction, **options)
    control, direction = control_of(rf), control_of(rf, seed=5)
    product = rf.controls.pair(rf.derivative(control), direction)
    change = rf.value(control + direction) - rf.value(control)
    assert product == pytest.approx(change, rel=1e-12)


class Linear(pint.Objective):
    weights = np.array([1.0, -2.0, 0.5, 0.3, 1.0, -0.7])

    def terminal(self, y, theta):
        return float(self.weights @ y)

    def terminal_derivative(self, y, theta):
        return self.weights, {}


@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("relaxation", ["F", "FCF"])
def test_lagged_cycles_converge_faster_and_stay(levels, relaxation):
    grid, problem = pint.TimeGrid.uniform(4.0, 96, 4, levels), registry.PROBLEMS["forced-rk4"]()
    found = {}
    for correction in (None, "full"):
        rf = pint.ReducedFunctional(problem, grid, correction=correction, relaxation=relaxation)
        state, adjoint, exact = rf.state.new(), rf.adjoint.new(), rf.state.new()
        control, errors = control_of(rf), []
        rf.state.solve(exact, control, March())
        for _ in range(10):
            rf.state.solve(state, control, Lagged(1))
            rf.adjoint.solve(adjoint, state, Lagged(1))
            errors.append(abs(state.points - exact.points).max())
        found[correction] = np.array(errors)
    assert (found["full"][2:5] < 0.1 * found[None][2:5]).all()
    assert max(found["full"][-3:]) < 1e-13 * abs(exact.points).max()
    rf.adjoint.solve(exact_adjoint := rf.adjoint.new(), exact, March())
    expected = rf.derivative_of(exact, exact_adjoint).vector
    np.testing.assert_allclose(
        rf.derivative_of(state, adjoint).vector, expected, rtol=0, atol=1e-12 * abs(expected).max()
    )


def test_a_lagged_start_from_another_state_leaves_that_one_as_it_is():
    rf = functional("forced-rk4", "3-levels", "all", correction="full", relaxation="F")
    state, trial, control = rf.state.new(), rf.state.new(), control_of(rf)
    rf.state.solve(state, control, Lagged(2))
    delta, tau = state.delta, state.tau.copy()
    rf.state.solve(trial, 1.1 * control, Lagged(1, start=state))
    assert state.delta is delta
    np.testing.assert_array_equal(state.tau, tau)
    again = rf.state.new()
    rf.state.copy_guess(state, again)
    rf.state.solve(again, 1.1 * control, Lagged(1))
    np.testing.assert_array_equal(again.points, trial.points)


def test_what_a_correction_costs():
    """Two transposes of each step for each state cycle; none for the adjoint of a lagged solve."""
    grid = pint.TimeGrid.uniform(4.0, 48, 4, 2)
    problem = ODES["van-der-pol"]().problem()
    made = {}
    for correction in (None, "full"):
        rf = pint.ReducedFunctional(problem, grid, relaxation="F", correction=correction)
        state, adjoint, control = rf.state.new(), rf.adjoint.new(), rf.controls.zeros()
        solvers, counts = (rf.state.solver, rf.adjoint.solver), []
        for how in (Cycles(pint.Accuracy(1)), Lagged(1), Lagged(1)):
            before = [solver.steps_evaluated[0] for solver in solvers]
            rf.state.solve(state, control, how)
            rf.adjoint.solve(adjoint, state, how)
            counts.append([s.steps_evaluated[0] - b for s, b in zip(solvers, before, strict=True)])
        made[correction] = np.array(counts)
    np.testing.assert_array_equal(made["full"] - made[None], [[96, 96], [96, 0], [96, 0]])


@pytest.mark.skipif(not COMPILED, reason="needs numba")
@pytest.mark.parametrize("correction", ["full", 1])
@pytest.mark.parametrize("levels", [2, 3])
def test_compiled_steps_of_one_size(correction, levels):
    found = []
    for name in ("symbolic-rk4", "compiled-rk4"):
        grid = pint.TimeGrid.uniform(2.0, 48, 4, levels)
        rf = pint.ReducedFunctional(registry.PROBLEMS[name](), grid, correction=correction)
        found.append(
            numbers_of(rf, "cycles", control_of(rf)) + numbers_of(rf, "lagged", control_of(rf))
        )
    assert_same_numbers(*found)


# Mistakes


@pytest.mark.parametrize(
    ("correction", "levels", "message"),
    [
        ("fool", 2, "is 'full', a rank >= 1 or None, got 'fool'"),
        (0.5, 2, "is 'full', a rank"),
        (True, 2, "is 'full', a rank"),
        ([1], 2, "is 'full', a rank"),
        (0, 2, "a rank from 1 to 2, the numbers of a state, got 0"),
        (-1, 2, "a rank from 1 to 2"),
        (3, 2, "a rank from 1 to 2, the numbers of a state, got 3"),
        ("full", 1, "a grid of one level has none"),
    ],
)
def test_mistakes(correction, levels, message):
    grid = pint.TimeGrid.uniform(10.0, 64, 4, levels)
    problem = ODES["van-der-pol"]().problem()
    with pytest.raises(ValueError, match=r"`ReducedFunctional\(correction=...\)`") as error:
        pint.ReducedFunctional(problem, grid, correction=correction)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_rank_may_be_an_integer_of_numpy():
    grid = pint.TimeGrid.uniform(10.0, 64, 4, 2)
    rf = pint.ReducedFunctional(ODES["van-der-pol"]().problem(), grid, correction=np.int64(2))
    assert rf.on(grid).state.rank == 2


def test_large_states():
    definition = Heat("distributed", points=31)
    problem = definition.problem(manufactured(definition, 1.0))
    grid = pint.TimeGrid.uniform(1.0, 16, 4, 2)
    with pytest.raises(
        ValueError, match="states of up to 20 numbers, those of the problem have 31"
    ):
        pint.ReducedFunctional(problem, grid, correction="full")


@pytest.mark.parametrize("name", ["reaction", "reaction-loop"])
def test_other_spaces_on_coarse_levels(name):
    grid = pint.TimeGrid.uniform(1.0, 16, 4, 2)
    with pytest.raises(ValueError, match="needs the same states on all levels") as error:
        pint.ReducedFunctional(registry.PROBLEMS[name](), grid, correction=1)
    assert "\n" not in str(error.value)


@pytest.mark.petsc
def test_states_of_petsc():
    from problems.heat_petsc import petsc_problem

    definition = Heat("distributed", points=5)
    make = partial(manufactured, definition, 1.0)
    problem, _ = petsc_problem(definition, pint.SerialComm(), make)
    grid = pint.TimeGrid.uniform(1.0, 16, 4, 2)
    with pytest.raises(ValueError, match="whole numpy arrays, got a PetscSpace on 1 rank"):
        pint.ReducedFunctional(problem, grid, correction="full")
