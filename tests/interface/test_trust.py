"""Numbers that belong to the problem as it is now: nothing remembered, copied or shared wrongly."""

import copy
import pickle

import numpy as np
import pytest
from registry import Pendulum, PendulumAdjoint, TerminalCost, random_control

import pint
from pint.equations import March
from problems.classification import Classification
from problems.peaks import generate
from problems.resnet import DenseNetwork


class Spring(pint.TimeStepper):
    stiffness = 1.0
    initial_state = np.ones(1)

    def step(self, s, y, u, theta):
        return y + s.dt * (u["u"] - self.stiffness * y)


class SpringAdjoint(pint.Adjoint):
    def __init__(self, stepper):
        self.stepper = stepper

    def vjp(self, s, y, u, theta, lam):
        return lam - s.dt * self.stepper.stiffness * lam, {"u": s.dt * lam}, {}


class Goal(pint.Objective):
    target = 2.0

    def terminal(self, y, theta):
        return ((y - self.target) ** 2).sum()

    def terminal_derivative(self, y, theta):
        return 2 * (y - self.target), {}


GRID = pint.TimeGrid.uniform(1.0, 16, coarsening=4, levels=2)


def spring(grid=GRID, terms=()):
    stepper = Spring()
    problem = pint.Problem(
        stepper, SpringAdjoint(stepper), Goal(), {"u": pint.TimeControl(1)}, terms
    )
    return pint.ReducedFunctional(problem, grid)


CHANGES = {
    "target": lambda problem, by: setattr(problem.objective, "target", by),
    "target of the class": lambda problem, by: setattr(Goal, "target", by),
    "gamma": lambda problem, by: setattr(problem.regularisers[0], "gamma", by),
    "constant": lambda problem, by: setattr(problem.stepper, "stiffness", by),
    "initial": lambda problem, by: setattr(problem.stepper, "initial_state", np.full(1, by)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("levels", [1, 2])
def test_a_changed_problem_counts_as_it_is(change, levels, monkeypatch):
    monkeypatch.setattr(Goal, "target", 2.0)
    grid = pint.TimeGrid.uniform(1.0, 16, coarsening=4, levels=levels)
    functional = spring(grid, [pint.Tikhonov(1.0, ["u"])])
    control = functional.control(u=0.5)
    before = functional.value(control)
    change(functional.problem, 3.0)
    fresh = pint.ReducedFunctional(functional.problem, grid)
    gradient = functional.gradient(control)
    assert functional.value(control) == pytest.approx(fresh.value(control), rel=1e-11)
    assert abs(functional.value(control) - before) > 1e-3
    np.testing.assert_allclose(gradient.vector, fresh.gradient(control).vector, rtol=1e-9)


def test_value_and_gradient_together():
    functional = spring()
    control = functional.control(u=0.5)
    value, gradient = functional.value_and_gradient(control)
    counts = functional.state.solver.steps_evaluated[0]
    assert value == pytest.approx(functional.value(control), rel=1e-11)
    np.testing.assert_allclose(gradient.vector, functional.gradient(control).vector, rtol=1e-9)
    assert counts > 0


def test_a_failed_solve_does_not_spoil_the_next():
    functional = spring()
    right = spring().value(functional.control(u=0.5))
    bad = functional.control(u=0.5)
    bad.vector[3] = np.nan
    with pytest.raises(pint.NotFiniteError):
        functional.value(bad)
    assert functional.value(functional.control(u=0.5)) == pytest.approx(right, rel=1e-11)


@pytest.mark.parametrize("method", [copy.copy, copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize("part", ["functional", "state", "adjoint", "solver", "trajectory"])
def test_what_shares_memory_is_not_copied(method, part):
    functional = spring()
    parts = {
        "functional": functional,
        "state": functional.state,
        "adjoint": functional.adjoint,
        "solver": functional.state.solver,
        "trajectory": functional.state.new(),
    }
    if part == "trajectory" and method is copy.copy:
        return  # two names for one block, as for any object
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        method(parts[part])


# Examples that functionals share


def batches():
    network, (x, labels) = DenseNetwork(2, 3, 5), generate(12, seed=0)
    return network, x, labels, network.problem(x, labels, batch_size=4)


def alone(network, x, labels, indices, grid=GRID):
    functional = pint.ReducedFunctional(network.problem(x[indices], labels[indices]), grid)
    control = network.random_control(functional.controls, seed=1)
    return functional.value_and_gradient(control)


def test_functionals_of_one_problem_keep_their_examples():
    network, x, labels, problem = batches()
    selections = {"first": None, "one": [4, 5, 6, 7], "other": [1, 9, 11, 2]}
    functionals = {name: pint.ReducedFunctional(problem, GRID) for name in selections}
    control = network.random_control(functionals["one"].controls, seed=1)
    solved = {}
    for name, functional in functionals.items():
        if selections[name] is not None:
            functional.select(selections[name])
        solved[name] = functional.state.new(), functional.adjoint.new()
        functional.state.solve(solved[name][0], control, March())
        functional.adjoint.solve(*reversed(solved[name]), March())
    for name, functional in functionals.items():
        value, gradient = alone(network, x, labels, selections[name] or [0, 1, 2, 3])
        assert functional.objective(solved[name][0]).objective == pytest.approx(value, rel=1e-10)
        derivative = functional.derivative_of(*solved[name])
        assert functional.value(control) == pytest.approx(value, rel=1e-10)
        for found in (functional.controls.riesz(derivative), functional.gradient(control)):
            np.testing.assert_allclose(found.vector, gradient.vector, atol=1e-9)


@pytest.mark.parametrize("indices", [range(4, 8), iter([4, 5, 6, 7]), (4, 5, 6, 7)])
def test_examples_from_any_iterable(indices):
    network, x, labels, problem = batches()
    functional = pint.ReducedFunctional(problem, GRID)
    functional.select(indices)
    control = network.random_control(functional.controls, seed=1)
    value = alone(network, x, labels, [4, 5, 6, 7])[0]
    assert functional.value(control) == pytest.approx(value, rel=1e-10)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copied_network_reads_its_own_batch(duplicate):
    network, x, labels, problem = batches()
    again = duplicate(problem)
    functional = pint.ReducedFunctional(again, GRID)
    functional.select([4, 5, 6, 7])
    control = network.random_control(functional.controls, seed=1)
    value = alone(network, x, labels, [4, 5, 6, 7])[0]
    assert functional.value(control) == pytest.approx(value, rel=1e-10)
    assert isinstance(again.objective, Classification)


def test_data_are_copied():
    network, x, labels, problem = batches()
    right = alone(network, x.copy(), labels, [4, 5, 6, 7])[0]
    x[...] = 100.0
    functional = pint.ReducedFunctional(problem, GRID)
    functional.select([4, 5, 6, 7])
    control = network.random_control(functional.controls, seed=1)
    assert functional.value(control) == pytest.approx(right, rel=1e-10)


# States that a callback keeps


def test_a_state_that_a_callback_keeps_does_not_change_unnoticed():
    functional, kept, copies = spring(), [], []

    def keep(iterate, control, state):
        kept.append(state)
        copies.append(functional.gather_states(state))
        np.testing.assert_array_equal(state.points, copies[-1])
        with pytest.raises(ValueError, match="read-only"):
            state.points[0] = 1.0

    method = pint.ReducedSpace(line_search=pint.armijo(), step=0.1)  # which takes some updates
    pint.minimize(functional, method=method, callback=keep)
    assert len(kept) > 2
    for state in kept[:-2]:  # the last two still have their trajectories
        for use in (lambda s: s.points, functional.gather_states, functional.objective):
            with pytest.raises(ValueError, match="solved for another control since"):
                use(state)
    for state, points in zip(kept[-2:], copies[-2:], strict=True):
        try:
            np.testing.assert_array_equal(state.points, points)
        except ValueError as error:
            assert "solved for another control since" in str(error)


# Optional pairs of the initial state, and numbers that are not finite


def pendulum(**methods):
    stepper = Pendulum()
    adjoint = type("Mine", (PendulumAdjoint,), methods)(stepper)
    fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(2), "p": pint.SharedControl(1)}
    problem = pint.Problem(stepper, adjoint, TerminalCost(), fields)
    return pint.ReducedFunctional(problem, GRID)


def test_an_initial_state_that_depends_on_the_control_without_its_derivative():
    right = pendulum()  # depends on theta, not on p
    right.gradient(random_control(right.controls))
    wrong = pendulum(initial_vjp=lambda self, theta, lam0: {})
    for use in (wrong.gradient, lambda control: pint.minimize(wrong, control)):
        with pytest.raises(TypeError, match=r"`Pendulum.initial`.*`theta`, but `Mine.initial_vjp`"):
            use(random_control(wrong.controls))


def test_a_derivative_that_is_not_finite():
    def vjp(self, *arguments):
        dy, du, dtheta = PendulumAdjoint.vjp(self, *arguments)
        return dy, {"u": du["u"] * np.nan}, dtheta

    functional = pendulum(vjp=vjp)
    control = random_control(functional.controls)
    for method in (functional.derivative, functional.gradient, functional.value_and_gradient):
        with pytest.raises(pint.NotFiniteError, match=r"derivative is NaN.*`Mine.vjp`"):
            method(control)
    assert np.isfinite(functional.value(control))


@pytest.mark.parametrize("method", ["value", "derivative", "gradient"])
def test_an_initial_state_that_is_not_finite(method):
    functional = spring()
    functional.problem.stepper.initial_state = np.full(1, np.nan)
    with pytest.raises(pint.NotFiniteError, match=r"`Spring.initial`.*NaN"):
        getattr(functional, method)(functional.control())
    with pytest.raises(pint.NotFiniteError, match=r"`Spring.initial`.*NaN"):
        pint.minimize(functional)


def test_a_tolerance_that_float32_cannot_meet():
    stepper = Spring()
    stepper.initial_state = np.ones(1, np.float32)
    fields = {"u": pint.TimeControl(1)}
    problem = pint.Problem(stepper, SpringAdjoint(stepper), Goal(), fields)
    functional = pint.ReducedFunctional(problem, GRID)
    functional.value(functional.control(u=0.5))
    assert functional.state.solver.cycles_done < 10
    assert functional.value(functional.control(u=0.5)) == pytest.approx(
        spring().value(spring().control(u=0.5)), rel=1e-5
    )
    with pytest.raises(ValueError, match=r"ReducedFunctional\(accuracy=.*states, 1e-07.*1e-12"):
        pint.ReducedFunctional(problem, GRID, accuracy=pint.Accuracy(relative=1e-12))
    method = pint.ReducedSpace(accuracy=pint.Accuracy(relative=1e-12))
    with pytest.raises(ValueError, match=r"ReducedSpace\(accuracy=.*states, 1e-07"):
        pint.minimize(functional, method=method)
