"""The methods of scipy on problems with known optima, with and without bounds."""

import linear_quadratic
import numpy as np
import pytest
import registry

import pint
from pint.equations import March
from pint.optimise.external import ExternalRun
from pint.optimise.scipy_adaptor import WITH_BOUNDS, WITHOUT_BOUNDS

OPTIMUM = 5.06187699853476e-2  # the double integrator, N = 20, from its Riccati recursion


def functional(levels=1, steps=20, t=None, **bounds):
    grid = pint.TimeGrid.uniform(1.0, steps, 4, levels) if t is None else pint.TimeGrid(t)
    return pint.ReducedFunctional(linear_quadratic.DOUBLE_INTEGRATOR.problem(**bounds), grid)


def solve(rf, method, callback=None, iterations=300):
    external = pint.External(f"scipy:{method}", iterations=iterations)
    return pint.minimize(rf, method=external, callback=callback)


@pytest.mark.parametrize(
    ("method", "levels"),
    [*((method, 1) for method in (*WITH_BOUNDS, "BFGS", "CG")), ("L-BFGS-B", 2), ("SLSQP", 2)],
)
def test_optimum_without_bounds(method, levels):
    result = solve(functional(levels), method)
    assert result.status is pint.Status.CONVERGED
    assert result.gradient_norm <= 1e-8
    np.testing.assert_allclose(result.objective, OPTIMUM, rtol=1e-12)


def test_newton_cg_comes_as_near_as_differences_of_gradients_let_it():
    result = solve(functional(), "Newton-CG")
    np.testing.assert_allclose(result.objective, OPTIMUM, rtol=1e-10)
    assert result.status in (pint.Status.CONVERGED, pint.Status.LINE_SEARCH_FAILED)


@pytest.mark.parametrize("method", WITH_BOUNDS)
def test_bounds(method):
    rf = functional(lower=-1.0, upper=2.0)
    own = pint.minimize(rf, method=pint.ReducedSpace(gradient_tolerance=1e-9))
    result = solve(rf, method)
    assert result.status is pint.Status.CONVERGED
    np.testing.assert_allclose(result.objective, own.objective, rtol=1e-8)
    np.testing.assert_allclose(result.control["u"], own.control["u"], atol=1e-5)
    assert (result.control["u"] >= -1).all() and (result.control["u"] <= 2).all()
    assert (result.control["u"] == 2).any() == (own.control["u"] == 2).any() or (
        method == "trust-constr"  # an interior-point method stays off the bounds
    )


def test_variables_are_scaled_by_the_metric():
    """The first step of L-BFGS-B is along -g: the Riesz gradient, whatever the steps' sizes."""
    t = np.concatenate([np.linspace(0, 0.5, 17), np.linspace(0.5, 1, 5)[1:]])
    rf = functional(t=t)
    start = rf.controls.zeros()
    result = solve(rf, "L-BFGS-B", iterations=1)
    step, gradient = result.control.vector, rf.gradient(start).vector
    np.testing.assert_allclose(step / step[0], gradient / gradient[0], rtol=1e-10)


def test_history_callback_and_result():
    rows = []

    def callback(iterate, control, state):
        rows.append((iterate, control["u"].copy(), state.points[-1].copy()))

    rf = functional(2)
    result = solve(rf, "L-BFGS-B", callback=callback)
    assert [row[0] for row in rows] == list(result.history)
    assert [row.iteration for row in result.history] == list(range(result.iterations + 1))
    for iterate, control, end in rows:
        exact = functional()
        at = exact.control(u=control)
        assert iterate.objective == pytest.approx(exact.value(at), rel=1e-11)
        state = exact.state.new()
        exact.state.solve(state, at, March())
        np.testing.assert_allclose(end, state.points[-1], atol=1e-10)
    np.testing.assert_array_equal(rows[-1][1], result.control["u"])
    assert result.state.control is result.control
    assert result.history[0].line_search_trials == 0
    steps = [row.state_steps for row in result.history]
    assert steps == sorted(set(steps))


def test_an_iterate_that_is_reported_again_is_no_new_row():
    rf = functional()
    run = ExternalRun(rf, pint.External("scipy:trust-constr"), None)
    run.begin(rf.controls.zeros())
    for factor in (0.0, 1.0, 1.0, 2.0):
        run.record(factor * np.ones(20))
    assert len(run.history) == 3
    assert [row.line_search_trials for row in run.history] == [0, 0, 0]


@pytest.mark.parametrize(
    ("method", "iterations"),
    [*((method, 3) for method in (*WITH_BOUNDS, *WITHOUT_BOUNDS)), ("L-BFGS-B", 0)],
)
def test_iteration_limit(method, iterations):
    result = solve(functional(), method, iterations=iterations)
    assert result.status is pint.Status.ITERATION_LIMIT
    assert result.iterations == iterations == len(result.history) - 1


def test_shared_and_time_dependent_controls_together():
    problem = registry.PROBLEMS["pendulum-running"]()
    rf = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 8))
    start = registry.random_control(rf.controls)
    options = {"gradient_tolerance": 1e-7, "iterations": 500}
    ours = pint.minimize(rf, start, pint.ReducedSpace(**options))
    theirs = pint.minimize(rf, start, pint.External("scipy:BFGS", **options))
    assert ours.status is theirs.status is pint.Status.CONVERGED
    np.testing.assert_allclose(theirs.objective, ours.objective, rtol=1e-10)


def test_an_objective_that_stops_being_finite_ends_with_the_last_good_iterate():
    rf = functional()
    cost = rf.problem.objective.step_cost
    calls = []

    def broken(*arguments):
        calls.append(1)
        return cost(*arguments) * (np.nan if len(calls) == 4 else 1.0)

    object.__setattr__(rf.problem.objective, "step_cost", broken)
    result = solve(rf, "L-BFGS-B")
    assert result.status is pint.Status.NOT_FINITE
    assert np.isfinite(result.objective)
    assert result.objective == result.history[-1].objective


@pytest.mark.parametrize("options", [{"maxiter": None}, {"ftol": "x"}, {"callback": print}])
def test_options_that_scipy_refuses(options):
    method = pint.External("scipy:L-BFGS-B", options=options)
    with pytest.raises(ValueError, match=rf"External\(options=.*L-BFGS-B .* {next(iter(options))}"):
        pint.minimize(functional(), method=method)


def test_an_error_of_the_user_is_not_laid_to_the_options():
    def mistake(*arguments):
        raise ValueError("the user's mistake")

    method = pint.External("scipy:L-BFGS-B", options={"maxcor": 3})
    with pytest.raises(ValueError, match=r"^the user's mistake"):
        pint.minimize(functional(), method=method, callback=mistake)


def test_options_that_tao_refuses_do_not_stay():
    pytest.importorskip("petsc4py")
    for options in ({"tao_max_it": "x"}, {"tao_ls_type": "nonsense"}):
        method = pint.External("tao:blmvm", options=options)
        with pytest.raises(ValueError, match=rf"External\(options=.* {next(iter(options))}: [UI]"):
            pint.minimize(functional(), method=method)
    result = pint.minimize(functional(), method=pint.External("tao:blmvm"))
    assert result.status is pint.Status.CONVERGED


def test_options_of_scipy_are_passed_on():
    short, long = (
        pint.minimize(
            functional(), method=pint.External("scipy:L-BFGS-B", options={"maxcor": pairs})
        )
        for pairs in (1, 20)
    )
    assert short.iterations > long.iterations


@pytest.mark.parametrize("method", WITHOUT_BOUNDS)
def test_method_that_takes_no_bounds(method):
    with pytest.raises(ValueError, match="takes no bounds"):
        solve(functional(lower=0.0), method)
