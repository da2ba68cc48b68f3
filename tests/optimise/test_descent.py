"""Reduced-space and one-shot optimisation of problems whose optimum is known independently."""

import copy
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from linear_quadratic import DOUBLE_INTEGRATOR, SCALAR_LQR, Cost, Euler, EulerAdjoint
from scipy.optimize import lsq_linear

import pint
from pint.optimise import LineSearch
from pint.optimise.descent import Descent
from pint.optimise.fixed_cycles import FixedCycles
from pint.optimise.line_search import Trial
from pint.optimise.point import ROUNDING, Candidate, Point

OPTIMUM = 5.06187699853476e-2
STEPS = 20


def start(problem=DOUBLE_INTEGRATOR, steps=STEPS, levels=1, coarsening=4, t=None, **options):
    t = np.linspace(0.0, 1.0, steps + 1) if t is None else t
    grid = pint.TimeGrid(t, coarsening=coarsening, levels=levels)
    functional = pint.ReducedFunctional(problem.problem(**options), grid)
    return functional, functional.controls.zeros()


METHODS = {
    "sequential": (1, pint.ReducedSpace),
    "mgrit": (2, pint.ReducedSpace),
    "1 cycle": (2, partial(pint.OneShot, 1)),
    "2 cycles": (2, pint.OneShot),
    "4 cycles": (2, partial(pint.OneShot, 4)),
    "lagged": (2, pint.Lagged),
    "lagged twice": (2, partial(pint.Lagged, 2)),
    "adaptive": (2, pint.Adaptive),
}


def solve(method, **options):
    """Solve the double integrator by one of `METHODS`."""
    levels, kind = METHODS[method]
    functional, _ = start(levels=levels)
    return pint.minimize(functional, method=kind(**options))


def reduced(functional, control, callback=None, **options):
    """Minimise in the reduced space."""
    return pint.minimize(functional, control, pint.ReducedSpace(**options), callback=callback)


# Known optima


def test_double_integrator_at_zero_control():
    functional, control = start()
    assert functional.value(control) == pytest.approx(0.587808153806993, rel=1e-14)
    derivative = functional.derivative(control)
    assert np.linalg.norm(derivative.vector) == pytest.approx(0.147599043966513, rel=1e-13)


@pytest.mark.parametrize(
    ("method", "hessian", "line_search"),
    [
        ("sequential", pint.lbfgs(), pint.armijo()),
        ("sequential", pint.bfgs(), pint.fixed_step()),
        ("mgrit", pint.bfgs(), pint.armijo()),
        ("1 cycle", pint.lbfgs(), pint.armijo()),
        ("1 cycle", pint.bfgs(), pint.fixed_step()),
        ("2 cycles", pint.lbfgs(), pint.fixed_step()),
        ("4 cycles", pint.bfgs(), pint.armijo()),
        ("lagged", pint.bfgs(), pint.armijo()),
        ("lagged twice", pint.lbfgs(), pint.fixed_step()),
        ("adaptive", pint.bfgs(), pint.armijo()),
    ],
)
def test_double_integrator(method, hessian, line_search):
    result = solve(method, hessian=hessian, line_search=line_search, gradient_tolerance=1e-9)
    # Evaluated exactly, no control is better than the optimum.
    assert result.objective >= OPTIMUM * (1 - 1e-14)
    assert result.status is pint.Status.CONVERGED
    assert result.objective == pytest.approx(OPTIMUM, rel=1e-13)
    assert result.control["u"][0, 0] == pytest.approx(9.87622695991, rel=1e-7)
    assert result.gradient_norm < 2e-9


@pytest.mark.parametrize(
    ("method", "line_search"), [("sequential", pint.fixed_step()), ("1 cycle", pint.armijo())]
)
def test_double_integrator_by_steepest_descent(method, line_search):
    result = solve(
        method,
        hessian=pint.identity(),
        line_search=line_search,
        gradient_tolerance=1e-5,
        iterations=1000,
    )
    assert result.status is pint.Status.CONVERGED
    # J - J* <= |g|^2 / (2 r), r = 0.01 bounding the Hessian from below in the metric of time
    assert 0 <= result.objective - OPTIMUM <= 1e-10 / 0.02


def test_optimum_of_the_double_integrator_is_that_of_its_dense_quadratic_form():
    H, g, J0 = DOUBLE_INTEGRATOR.quadratic_form(np.linspace(0, 1, STEPS + 1))
    assert J0 - 0.5 * g @ np.linalg.solve(H, g) == pytest.approx(OPTIMUM, rel=1e-12)


@pytest.mark.parametrize("method", ["sequential", "mgrit", "2 cycles"])
def test_scalar_lqr_against_the_riccati_recursion(method):
    steps, q, r, s = 32, 1.0, 0.1, 0.5
    dt = 1 / steps
    a, b, P = 1 - dt, dt, s
    gains = []
    for _ in range(steps):
        gains.append(a * b * P / (dt * r + b**2 * P))
        P = dt * q + a**2 * P - (a * b * P) ** 2 / (dt * r + b**2 * P)
    y, expected = 1.0, []
    for gain in reversed(gains):
        expected.append(-gain * y)
        y = a * y + b * expected[-1]

    levels, kind = METHODS[method]
    functional, _ = start(SCALAR_LQR, steps=steps, levels=2 * levels - 1, coarsening=2)
    value = kind(gradient_tolerance=1e-10, line_search=pint.fixed_step())
    result = pint.minimize(functional, method=value)
    assert result.status is pint.Status.CONVERGED
    assert result.objective == pytest.approx(0.5 * P, rel=1e-13)
    np.testing.assert_allclose(result.control["u"][:, 0], expected, atol=1e-8)


# Quasi-Newton matrices, written densely in the coordinates in which the metric is Euclidean


def dense_inverse_hessian(pairs, scaling, size):
    H = scaling * np.eye(size)
    for s, y in pairs:
        curvature = s @ y
        V = np.eye(size) - np.outer(s, y) / curvature
        H = V @ H @ V.T + np.outer(s, s) / curvature
    return H


def dense_iterates(H, g, iterations, rescaled):
    """Return the iterates of dense BFGS with Armijo backtracking for x'Hx/2 + g'x, from zero."""
    x, pairs, iterates = np.zeros(len(g)), [], []
    for _ in range(iterations):
        iterates.append(x)
        scaling = 1.0
        if pairs:
            s, y = pairs[-1 if rescaled else 0]
            scaling = (s @ y) / (y @ y)
        gradient = H @ x + g
        direction = -dense_inverse_hessian(pairs, scaling, len(x)) @ gradient
        step = 1.0
        while 0.5 * step * direction @ H @ direction + gradient @ direction > (
            1e-4 * gradient @ direction
        ):
            step /= 2
        pairs.append((step * direction, step * H @ direction))
        x = x + step * direction
    return iterates


@pytest.mark.parametrize("metric", ["time", "euclidean"])
@pytest.mark.parametrize(
    ("hessian", "rescaled"),
    [(pint.bfgs(), False), (pint.lbfgs(memory=12), True)],
    ids=["bfgs", "lbfgs"],
)
def test_iterates_are_those_of_dense_matrices(metric, hessian, rescaled):
    steps, iterations = 8, 12
    t = np.linspace(0, 1, steps + 1) ** 1.3
    functional, control = start(t=t, metric=metric)
    controls = []
    reduced(
        functional,
        control,
        hessian=hessian,
        line_search=pint.armijo(),
        iterations=iterations,
        gradient_tolerance=0.0,
        callback=lambda iterate, control, state: controls.append(control.vector),
    )
    root = np.sqrt(functional.controls.weights)
    H, g, _ = DOUBLE_INTEGRATOR.quadratic_form(t)
    expected = dense_iterates(H / np.outer(root, root), g / root, iterations, rescaled)
    for values, x in zip(controls, expected, strict=False):
        np.testing.assert_allclose(values, x / root, rtol=1e-7, atol=1e-7)
    assert len(controls) == iterations + 1


def test_memory_holds_the_newest_pairs_and_bad_pairs_are_left_out():
    functional, zero = start()
    space = functional.controls
    random = np.random.default_rng(0)
    hessian = pint.lbfgs(memory=2)
    steps = [space.control(u=random.standard_normal((STEPS, 1))) for _ in range(4)]
    for s in steps:
        hessian = hessian.updated(s, 2.0 * s)
    assert [pair[0] for pair in hessian.pairs] == steps[2:]
    assert hessian.scaling == pytest.approx(0.5)
    assert hessian.updated(steps[0], -steps[0]) is hessian
    assert hessian.updated(zero, zero) is hessian
    assert hessian.cleared().pairs == ()
    assert pint.identity().updated(steps[0], steps[0]).pairs == ()
    np.testing.assert_array_equal(pint.identity().apply(steps[0]).vector, steps[0].vector)


@pytest.mark.parametrize("hessian", [pint.lbfgs(), pint.identity()], ids=["lbfgs", "identity"])
def test_iterations_do_not_grow_with_the_number_of_steps_in_the_metric_of_time(hessian):
    counts = []
    for steps in (20, 80, 320):
        # graded: the last step is 10 to 50 times the first one
        functional, control = start(t=np.linspace(0, 1, steps + 1) ** 1.8)
        result = reduced(
            functional, control, hessian=hessian, gradient_tolerance=1e-2, iterations=300
        )
        assert result.status is pint.Status.CONVERGED
        counts.append(result.iterations)
    assert max(counts) <= 1.1 * min(counts) + 1


# Bounds


@pytest.mark.parametrize(
    ("method", "hessian"), [("sequential", pint.bfgs()), ("mgrit", pint.lbfgs())]
)
def test_bounded_optimum_is_that_of_an_active_set_method(method, hessian):
    t = np.linspace(0, 1, STEPS + 1) ** 1.2
    levels = 1 if method == "sequential" else 2
    functional, control = start(t=t, levels=levels, lower=0.5, upper=3.0)
    space = functional.controls
    H, g, J0 = DOUBLE_INTEGRATOR.quadratic_form(t)
    L = np.linalg.cholesky(H)
    expected = lsq_linear(
        L.T, -np.linalg.solve(L, g), bounds=(0.5, 3.0), method="bvls", tol=1e-15
    ).x
    value = 0.5 * expected @ H @ expected + g @ expected + J0

    result = reduced(functional, control, hessian=hessian, gradient_tolerance=1e-9, iterations=200)
    assert result.status is pint.Status.CONVERGED
    u = result.control["u"][:, 0]
    for bound in (0.5, 3.0):
        active = np.abs(expected - bound) < 1e-12
        assert active.any()
        np.testing.assert_array_equal(u == bound, active)
    assert ((u > 0.5) & (u < 3.0)).any()
    np.testing.assert_allclose(u, expected, atol=1e-6)
    assert result.objective == pytest.approx(value, rel=1e-12)
    gradient = functional.gradient(result.control)
    assert space.norm(result.control - space.project(result.control - gradient)) < 1e-8


def test_start_outside_the_bounds_is_projected():
    functional, control = start(lower=0.5, upper=3.0)
    result = reduced(functional, control, iterations=0)
    np.testing.assert_array_equal(result.control.vector, 0.5)


# Outcomes


def test_iteration_limit_and_history():
    result = solve("sequential", iterations=3, gradient_tolerance=0.0)
    assert result.status is pint.Status.ITERATION_LIMIT
    assert result.iterations == 3
    assert [iterate.iteration for iterate in result.history] == [0, 1, 2, 3]
    objectives = [iterate.objective for iterate in result.history]
    assert objectives == sorted(objectives, reverse=True)
    steps = [iterate.state_steps for iterate in result.history]
    trials = [1 + iterate.line_search_trials for iterate in result.history]
    assert steps == [STEPS * n for n in np.cumsum(trials)]
    adjoint_steps = np.array([iterate.adjoint_steps for iterate in result.history])
    # One adjoint for each update; the first one goes on to the minimum along its direction.
    assert adjoint_steps[0] == STEPS
    assert (np.diff(adjoint_steps)[1:] == STEPS).all()


def test_the_first_update_goes_to_the_minimum_along_the_gradient():
    # Along -g the objective is a parabola: its slope there is -|g|^2 at first, then near zero.
    functional, control = start()
    slopes, gradient = [], functional.gradient(control)

    def callback(iterate, control, state):
        slopes.append(functional.controls.inner(functional.gradient(control), gradient))

    reduced(functional, control, iterations=1, callback=callback)
    assert abs(slopes[1]) <= 0.1 * slopes[0]
    slopes.clear()
    steepest = pint.identity()
    reduced(functional, control, iterations=1, callback=callback, hessian=steepest)
    assert abs(slopes[1]) > 0.1 * slopes[0]


class WrongAdjoint(EulerAdjoint):
    """Points uphill."""

    def vjp(self, s, y, u, theta, lam):
        dy, du, dtheta = super().vjp(s, y, u, theta, lam)
        return dy, {"u": -du["u"] - 2 * self.problem.r * s.dt * u["u"]}, dtheta


def with_parts(stepper=Euler, adjoint=EulerAdjoint, cost=Cost, levels=1):
    grid = pint.TimeGrid.uniform(1.0, STEPS, coarsening=2, levels=levels)
    parts = [part(DOUBLE_INTEGRATOR) for part in (stepper, adjoint, cost)]
    problem = pint.Problem(*parts, {"u": pint.TimeControl(1)})
    functional = pint.ReducedFunctional(problem, grid)
    return functional, functional.control(u=1.0)


def test_line_search_fails_with_a_wrong_gradient_and_keeps_the_start():
    functional, control = with_parts(adjoint=WrongAdjoint)
    result = pint.minimize(functional, control)
    assert result.status is pint.Status.LINE_SEARCH_FAILED
    assert "taylor_test" in result.status.value
    assert result.iterations == 0
    np.testing.assert_array_equal(result.control.vector, control.vector)
    assert result.objective == result.history[0].objective
    assert not pint.verify.taylor_test(functional, control).passed


def test_a_fixed_step_to_infinity_is_not_taken():
    functional, control = start()
    with np.errstate(over="ignore", invalid="ignore"):
        result = reduced(functional, control, line_search=pint.fixed_step(), step=1e200)
    assert result.status is pint.Status.NOT_FINITE
    assert "smaller step or a line search" in result.message
    assert "the states of level 0 (step size 0.05) are not finite" in result.message
    assert result.objective == pytest.approx(0.587808153806993, rel=1e-14)
    np.testing.assert_array_equal(result.control.vector, 0.0)


class NaNOnLevel(Euler):
    level = 0

    def step(self, s, y, u, theta):
        new = super().step(s, y, u, theta)
        return new * np.nan if s.level == self.level else new


class NaNOnLevelOne(NaNOnLevel):
    level = 1


class NaNCost(Cost):
    def terminal(self, y, theta):
        return math.nan


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"stepper": NaNOnLevel}, r"states of level 0 \(step size 0.05\)"),
        ({"cost": NaNCost}, "objective is nan although all states are finite"),
    ],
)
def test_objective_that_is_nan_at_the_start_raises_and_says_where(parts, message):
    functional, control = with_parts(**parts)
    with pytest.raises(pint.NotFiniteError, match=message):
        pint.minimize(functional, control)


@pytest.mark.parametrize(
    "method", [pint.ReducedSpace(), pint.OneShot(), pint.Lagged(), pint.Adaptive()]
)
def test_a_coarse_level_without_finite_states_costs_no_more_than_its_help(method):
    functional, control = with_parts(stepper=NaNOnLevelOne, levels=2)
    sequential, start = with_parts()
    with pytest.raises(pint.NotFiniteError, match=r"states of level 1 \(step size 0.1\)"):
        functional.value(control)
    with pytest.warns(pint.ConvergenceWarning, match="first control"):
        result = pint.minimize(functional, control, method)
    expected = pint.minimize(sequential, start)
    assert result.status is expected.status is pint.Status.CONVERGED
    assert result.objective == pytest.approx(expected.objective, rel=1e-12)


class Scripted:
    """A search whose trials have the given `steps`; only the last one may be accepted."""

    is_open, accepted, rejected = True, False, 0

    def __init__(self, steps, accepts=True, judge=lambda trial: None):
        self.steps, self.accepts, self.judge = steps, accepts, judge

    @property
    def step(self):
        return self.steps[0]

    def judged(self, trial):
        self.judge(trial)
        if len(self.steps) == 1:
            self.is_open, self.accepted = False, self.accepts
            self.rejected += not self.accepts
        else:
            self.steps, self.rejected = self.steps[1:], self.rejected + 1
        return self


@pytest.mark.parametrize("method", ["1 cycle", "2 cycles", "lagged", "adaptive"])
def test_rejected_trials_leave_the_accepted_state_bitwise_unchanged(method):
    functional, control = start(levels=2)
    accepted = []

    class Rejecting(LineSearch):
        """Rejects two trials, accepts the third; checks the accepted state in between."""

        def begin(self, objective, step, error):
            state = accepted[-1]
            before, of = state.points.copy(), state.control.vector.copy()

            def judge(trial):
                np.testing.assert_array_equal(state.points, before)
                np.testing.assert_array_equal(state.control.vector, of)

            return Scripted([step, step / 2, step / 4], judge=judge)

    result = pint.minimize(
        functional,
        control,
        METHODS[method][1](line_search=Rejecting(1e-4), iterations=4),
        callback=lambda iterate, control, state: accepted.append(state),
    )
    assert len(accepted) == 5
    assert [iterate.line_search_trials for iterate in result.history] == [0, 2, 2, 2, 2]


def test_pairs_are_dropped_when_no_step_is_accepted_along_a_quasi_newton_direction():
    functional, control = start()
    directions, controls = [], []

    class RejectingOnce(LineSearch):
        def begin(self, objective, step, error):
            def judge(trial):
                directions.append(trial.predicted)

            return Scripted([0.25], accepts=len(directions) != 2, judge=judge)

    result = reduced(
        functional,
        control,
        line_search=RejectingOnce(1e-4),
        iterations=3,
        callback=lambda iterate, control, state: controls.append(control),
    )
    assert [iterate.line_search_trials for iterate in result.history] == [0, 0, 0, 1]
    space = functional.controls
    gradient = functional.gradient(controls[2])
    # the fourth search went along -g
    assert directions[3] == pytest.approx(-0.25 * space.inner(gradient, gradient), rel=1e-10)
    np.testing.assert_allclose(
        (controls[3] - controls[2]).vector, -0.25 * gradient.vector, rtol=1e-9, atol=1e-12
    )


def test_a_result_whose_exact_states_are_not_finite_is_that_of_the_start(monkeypatch):
    monkeypatch.setattr("pint.optimise.descent.is_finite", lambda point: False)
    result = solve("2 cycles", iterations=3)
    assert result.status is pint.Status.NOT_FINITE
    np.testing.assert_array_equal(result.control.vector, 0.0)
    assert result.objective == pytest.approx(0.587808153806993, rel=1e-14)


# Accuracy of the solves


def test_a_tighter_strategy_returns_to_its_cycles_after_a_step():
    functional, control = start(levels=2)
    point, candidate = Point(functional), Candidate(functional)
    strategy = FixedCycles(pint.Accuracy(1))
    strategy.begin(point, control)
    strategy.tighten(point)
    assert strategy.effort == 2
    assert functional.state.solver.cycles_done == 1 + 2
    strategy.solve_candidate(candidate, point, functional.control(u=0.1), None)
    strategy.accept(point, candidate)
    assert strategy.effort == 1
    assert functional.adjoint.solver.cycles_done == 1 + 2 + 1


def test_the_error_of_a_comparison_is_that_of_rounding_of_the_estimate_and_of_the_tolerance():
    functional, control = start(levels=2)
    point = Point(functional)
    point.solve_state(control, pint.Accuracy(2))
    size = abs(point.value.objective)
    point.state.convergence = pint.Convergence((1e-9,), converged=True)
    assert point.comparison_error(1e-6) == pytest.approx(1e-5 * size, rel=1e-6)
    point.objective_error = 0.5
    assert point.comparison_error(0.0) == pytest.approx(0.5, rel=1e-12)
    point.objective_error = math.nan
    assert point.comparison_error(0.0) == pytest.approx(ROUNDING * size)


# Line search


def searched(line_search, step, objective_of, scale=1.0):
    """Return the ended search of trials with the given objectives, and the steps tried."""
    search, tried = line_search.begin(scale, step), []
    while search.is_open:
        tried.append(search.step)
        search = search.judged(Trial(objective_of(search.step), -scale * search.step))
    return search, tried


def test_armijo_halves_until_the_decrease_suffices_and_cuts_more_where_not_finite():
    search, tried = searched(
        pint.armijo(), 1.0, lambda step: math.inf if step > 0.5 else 1.0 - step + 8 * step**2
    )
    assert tried == [1.0, 0.1]
    assert (search.accepted, search.step, search.rejected) == (True, 0.1, 1)

    search, tried = searched(LineSearch(1e-4, rejections=3), 1.0, lambda step: 2.0)
    assert (search.accepted, search.rejected) == (False, 4)
    assert tried == [1.0, 0.5, 0.25, 0.125]


def test_armijo_gives_up_early_where_the_error_of_inexact_solves_decides():
    """An excess that does not shrink with the step is no matter of the step."""
    for refinable, trials in ((True, 5), (False, 21)):
        search = pint.armijo().begin(1.0, 1.0)
        while search.is_open:
            search = search.judged(Trial(2.0, -search.step, refinable))
        assert (search.accepted, search.rejected) == (False, trials)


def test_armijo_accepts_what_may_be_good_enough():
    search = pint.armijo().begin(1.0, 1.0)
    assert not search.judged(Trial(1.1, -1.0, error=0.05)).accepted
    assert search.judged(Trial(1.1, -1.0, error=0.2)).accepted


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e9])
def test_wolfe_finds_the_minimum_of_a_parabola_from_any_step(scale):
    """Shortened by the parabola at once where that is within the safeguards."""
    search, tried = searched(pint.wolfe(), 1.0, lambda step: 1.0 - step + 2 * step**2)
    assert tried == [1.0, 0.25]
    assert search.accepted
    far = replace(pint.wolfe(), rejections=20)
    search, tried = searched(far, 1e10, lambda step: scale * (1.0 - step + 0.5 * step**2), scale)
    assert search.accepted
    assert 0.1 <= search.step <= 2.0
    assert len(tried) <= 12


def test_wolfe_cuts_by_ten_where_not_finite_and_after_three_rejections():
    _, tried = searched(pint.wolfe(), 1.0, lambda step: math.inf if step > 0.05 else 0.0)
    assert tried == pytest.approx([1.0, 0.1, 0.01])
    search, tried = searched(pint.wolfe(), 1.0, lambda step: 1.0 + 1e-3 * step)
    assert not search.accepted
    assert tried == pytest.approx([1, 0.5, 0.25, 0.125, 0.0125, 1.25e-3, 1.25e-4], rel=0.01)


def test_wolfe_takes_no_step_for_the_error_of_the_objective_alone():
    """A wrong direction: the objective grows, until it does so by less than its error."""
    search = replace(pint.wolfe(), rejections=20).begin(1.0, 1.0, 1e-9)
    while search.is_open:
        search = search.judged(Trial(1.0 + 3 * search.step, -search.step))
    assert not search.accepted
    # An objective that is wrong by about its error is no reason to doubt the direction.
    search = pint.wolfe().begin(1.0, 1.0, 1e-9)
    search = search.judged(Trial(1.0 + 5e-9, -1e-10))
    assert search.judged(Trial(1.0 + 0.5e-9, -1e-11)).accepted


def test_fixed_step_takes_an_increase_but_not_infinity():
    search, _ = searched(pint.fixed_step(), 0.3, lambda step: 5.0)
    assert (search.accepted, search.step, search.rejected) == (True, 0.3, 0)
    search, tried = searched(pint.fixed_step(), 1.0, lambda step: math.nan)
    assert (search.accepted, search.rejected, tried) == (False, 1, [1.0])


@pytest.mark.parametrize("decrease", [0.0, 1.0, -1.0, math.nan])
def test_armijo_refuses_constants_outside_zero_and_one(decrease):
    with pytest.raises(ValueError, match="decrease"):
        pint.armijo(decrease)


@pytest.mark.parametrize("constants", [(0.0, 0.5), (0.5, 0.4), (0.1, 1.0), (0.1, math.nan)])
def test_wolfe_refuses_constants_out_of_order(constants):
    with pytest.raises(ValueError, match=r"`wolfe\((decrease|curvature)=...\)`"):
        pint.wolfe(*constants)


@pytest.mark.parametrize("first", [1e-10, 1e10])
def test_a_first_step_wrong_by_ten_orders_is_mended_within_one_update(first, monkeypatch):
    found = Descent._first_step
    monkeypatch.setattr(
        Descent, "_first_step", lambda *args: found(*args) * (first if args[2].is_plain else 1)
    )
    result = solve("sequential", gradient_tolerance=1e-8)
    assert result.status is pint.Status.CONVERGED
    # The minimum along -g of the quadratic objective, up to the tolerance of the curvature test
    functional, control = start()
    g = functional.gradient(control)
    H = functional.gradient(control + g) - g
    best = control.space.inner(g, g) / control.space.inner(g, H)
    assert 0.1 * best <= result.history[1].step <= 1.9 * best
    assert result.iterations <= 30


def test_a_step_is_refused_where_the_search_finds_it():
    with pytest.raises(ValueError, match=r"`OneShot\(step=...\)` is for `armijo\(\)`"):
        pint.OneShot(step=0.5)


@pytest.mark.parametrize(
    ("numbers", "pairs"), [(1, 100), (160_000, 100), (320_000, 50), (10**7, 5), (10**9, 5)]
)
def test_lbfgs_keeps_as_many_pairs_as_fit(numbers, pairs):
    functional, _ = start()
    space = copy.copy(functional.controls)
    space.size = numbers
    assert pint.lbfgs().sized(space).memory == pairs
    assert pint.lbfgs(7).sized(space).memory == 7
    assert pint.bfgs().sized(space).memory is None


def test_lbfgs_refuses_a_negative_memory():
    with pytest.raises(ValueError, match="memory"):
        pint.lbfgs(-1)
