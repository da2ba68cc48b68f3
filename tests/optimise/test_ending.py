"""Ends of a run before it has converged: the callback, limits, options of other packages."""

import math
import time
from functools import partial

import numpy as np
import pytest
from linear_quadratic import DOUBLE_INTEGRATOR, Cost, Euler, EulerAdjoint

import pint
from pint.optimise import Status
from problems.peaks import generate
from problems.resnet import DenseNetwork

SCIPY = [f"scipy:{name}" for name in ("L-BFGS-B", "TNC", "SLSQP", "trust-constr", "BFGS", "CG")]
TAO = ["tao:blmvm", "tao:bqnls", "tao:bncg", "tao:lmvm", "tao:cg"]
PACKAGES = [
    *SCIPY,
    "scipy:Newton-CG",
    *(pytest.param(name, marks=pytest.mark.petsc) for name in TAO),
]
DESCENTS = [pint.ReducedSpace, partial(pint.OneShot, 2), pint.Lagged, pint.Adaptive]


def start(levels=2, adjoint=EulerAdjoint, cost=Cost):
    grid = pint.TimeGrid.uniform(1.0, 20, coarsening=4, levels=levels)
    parts = [part(DOUBLE_INTEGRATOR) for part in (Euler, adjoint, cost)]
    return pint.ReducedFunctional(pint.Problem(*parts, {"u": pint.TimeControl(1)}), grid)


def training():
    network = DenseNetwork(features=2, width=4, classes=5)
    problem = network.problem(*generate(40, seed=0), batch_size=10)
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(2.0, 8, 4, 2))
    return functional, network.random_control(functional.controls, seed=1)


def stochastic(**options):
    return pint.Stochastic(pint.sgd(), epochs=5, learning_rate=0.1, **options)


def never(kind):
    """Return a kind of method that does not converge by itself."""
    return partial(kind, gradient_tolerance=0.0, iterations=1000)


def raising(iterate, control, state):
    if iterate.iteration == 3:
        raise StopIteration


def check_stopped(kind, callback):
    method = partial(pint.External, kind) if isinstance(kind, str) else kind
    result = pint.minimize(start(), method=never(method)(), callback=callback)
    assert result.status is Status.STOPPED
    assert result.iterations == len(result.history) - 1 == 3
    assert result.objective < result.history[0].objective


@pytest.mark.parametrize("kind", [*DESCENTS, *PACKAGES], ids=str)
def test_the_callback_stops_every_method(kind):
    check_stopped(kind, raising)


@pytest.mark.parametrize("kind", [pint.OneShot, "scipy:L-BFGS-B", "scipy:trust-constr"])
@pytest.mark.parametrize("true", [True, np.True_])
def test_the_callback_stops_by_its_answer(kind, true):
    check_stopped(kind, lambda iterate, control, state: iterate.iteration == 3 and true)


@pytest.mark.parametrize("answer", [None, 1, "yes", [True], math.inf])
def test_other_answers_of_the_callback_are_ignored(answer):
    method = pint.ReducedSpace(iterations=2)
    result = pint.minimize(start(), method=method, callback=lambda *row: answer)
    assert result.status is Status.ITERATION_LIMIT


def test_the_callback_stops_stochastic_and_nested_runs():
    functional, control = training()
    result = pint.minimize(functional, control, stochastic(), callback=raising)
    assert (result.status, len(result.history)) == (Status.STOPPED, 4)
    grids = [pint.TimeGrid.uniform(1.0, 10, 4, 2)]
    nested = pint.Nested(grids, pint.OneShot(2, gradient_tolerance=1e-3))
    result = pint.minimize(start(), method=nested, callback=raising)
    assert (result.status, result.iterations) == (Status.STOPPED, 3)


@pytest.mark.parametrize("kind", DESCENTS)
@pytest.mark.parametrize("line_search", [pint.wolfe(), pint.armijo()], ids=["wolfe", "armijo"])
def test_evaluations_are_counted_and_limited(kind, line_search):
    for most in (1, 2, 7):
        method = never(kind)(evaluations=most, line_search=line_search)
        result = pint.minimize(start(), method=method)
        assert result.status is Status.EVALUATION_LIMIT
        assert sum(1 + row.line_search_trials for row in result.history) <= most
        assert result.objective <= result.history[0].objective * (1 + 1e-9)  # inexact in row 0


@pytest.mark.parametrize("name", PACKAGES)
def test_evaluations_of_other_packages_are_limited(name):
    result = pint.minimize(start(1), method=never(partial(pint.External, name))(evaluations=7))
    assert result.status is Status.EVALUATION_LIMIT
    # What scipy reports after it has tried another point is evaluated again.
    assert result.history[-1].state_steps <= 20 * 8


def test_evaluations_of_stochastic_and_nested_runs_are_limited():
    functional, control = training()
    result = pint.minimize(functional, control, stochastic(evaluations=6))
    assert (result.status, len(result.history)) == (Status.EVALUATION_LIMIT, 6)
    grids = [pint.TimeGrid.uniform(1.0, 10, 4, 2)]
    nested = pint.Nested(grids, never(pint.OneShot)(2, evaluations=8))
    result = pint.minimize(start(), method=nested)
    rows = [row for run in (*result.stages, result) for row in run.history]
    assert result.status is Status.EVALUATION_LIMIT
    # The functional's grid has one evaluation in any case.
    assert sum(1 + row.line_search_trials for row in rows) <= 9


def wait(*row):
    time.sleep(0.02)


@pytest.mark.parametrize("kind", [*DESCENTS, PACKAGES[0], PACKAGES[3], PACKAGES[-1]], ids=str)
def test_time_is_limited(kind):
    method = partial(pint.External, kind) if isinstance(kind, str) else kind
    result = pint.minimize(start(), method=never(method)(time_limit=0.05), callback=wait)
    assert result.status is Status.TIME_LIMIT
    assert result.iterations <= 4


def test_time_of_stochastic_and_nested_runs_is_limited():
    functional, control = training()
    result = pint.minimize(functional, control, stochastic(time_limit=0.05), callback=wait)
    assert result.status is Status.TIME_LIMIT
    grids = [pint.TimeGrid.uniform(1.0, 10, 4, 2)]
    nested = pint.Nested(grids, never(pint.OneShot)(2, time_limit=0.0))
    result = pint.minimize(start(), method=nested)
    assert result.status is Status.TIME_LIMIT
    assert (result.iterations, result.stages[0].iterations) == (0, 0)


def test_time_ends_a_line_search_that_would_go_on():
    class Slow(Cost):
        calls = 0

        def step_cost(self, s, y0, y1, u, theta):
            Slow.calls += 1
            if Slow.calls > 1:
                time.sleep(0.02)
            return super().step_cost(s, y0, y1, u, theta) + (Slow.calls > 1) * 1e6

    method = pint.ReducedSpace(time_limit=0.1)
    result = pint.minimize(start(1, cost=Slow), method=method)
    assert result.status is Status.TIME_LIMIT
    assert Slow.calls < 12


def test_a_solve_does_no_more_cycles_than_can_change_it():
    began = time.perf_counter()
    result = pint.minimize(start(), method=pint.OneShot(cycles=1_000_000, iterations=3))
    assert time.perf_counter() - began < 5
    assert result.objective < result.history[0].objective


@pytest.mark.parametrize(
    ("kind", "levels"),
    [
        (pint.ReducedSpace, 1),
        (partial(pint.External, SCIPY[0]), 1),
        (pint.GaussNewton, 1),
        (partial(pint.OneShot, cycles=2), 2),
        (pint.Lagged, 2),
        (pint.Adaptive, 2),
    ],
)
def test_a_gradient_tolerance_relative_to_the_first_one(kind, levels):
    method = kind(gradient_tolerance=0.0, relative_gradient_tolerance=1e-3)
    result = pint.minimize(start(levels), method=method)
    assert result.status is Status.CONVERGED
    norms = [row.gradient_norm for row in result.history]
    assert norms[-1] <= 1e-3 * norms[0] < min(norms[:-1])


class BadLater(EulerAdjoint):
    """NaN after some calls."""

    calls = 0

    def vjp(self, s, y, u, theta, lam):
        type(self).calls += 1
        dy, du, dtheta = super().vjp(s, y, u, theta, lam)
        return dy * (math.nan if type(self).calls > 150 else 1.0), du, dtheta


@pytest.mark.parametrize("name", PACKAGES)
def test_an_adjoint_that_becomes_nan_ends_the_run(name):
    BadLater.calls = 0
    functional = start(1, adjoint=BadLater)
    result = pint.minimize(functional, method=never(partial(pint.External, name))())
    assert result.status is Status.NOT_FINITE


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("scipy:L-BFGS-B", {"maxiter": 3}),
        ("scipy:L-BFGS-B", {"maxfun": 4}),
        ("scipy:L-BFGS-B", {"ftol": 1e-2}),
        ("scipy:L-BFGS-B", {"gtol": 1e-1}),
        ("scipy:TNC", {"maxfun": 20}),
        ("scipy:SLSQP", {"maxiter": 3}),
        ("scipy:SLSQP", {"ftol": 1e-2}),
        ("scipy:trust-constr", {"maxiter": 3}),
        ("scipy:trust-constr", {"gtol": 1e-1}),
        ("scipy:BFGS", {"maxiter": 3}),
        ("scipy:BFGS", {"gtol": 1e-1}),
        ("scipy:CG", {"maxiter": 3}),
        ("scipy:Newton-CG", {"maxiter": 3}),
        *(pytest.param(name, {"tao_max_it": 3}, marks=pytest.mark.petsc) for name in TAO),
        pytest.param("tao:blmvm", {"tao_max_funcs": 5}, marks=pytest.mark.petsc),
        pytest.param("tao:bqnls", {"tao_gatol": 1e-2}, marks=pytest.mark.petsc),
        pytest.param("tao:bncg", {"tao_grtol": 1e-1}, marks=pytest.mark.petsc),
    ],
)
def test_options_of_other_packages_end_the_run(name, options):
    method = never(partial(pint.External, name))(options=options)
    result = pint.minimize(start(1), method=method)
    assert result.status is Status.OPTIONS_MET
    if {"maxiter", "tao_max_it"} & set(options):
        assert 2 <= result.iterations <= 4  # the packages count differently
    assert result.iterations < 30


@pytest.mark.petsc
def test_options_of_tao_are_gone_afterwards():
    from petsc4py import PETSc

    options = PETSc.Options()
    options["pint_tao_max_it"] = 7
    name = "tao:blmvm"
    runs = [
        pint.minimize(start(1), method=never(partial(pint.External, name))(options=given))
        for given in ({"tao_max_it": 2}, None)
    ]
    assert [run.iterations for run in runs] == [2, 7]
    options.delValue("pint_tao_max_it")
    assert not options.hasName("pint_tao_max_it")


class Relaxing(pint.TimeStepper):
    initial_state = np.zeros(1)

    def step(self, s, y, u, theta):
        if np.max(u["u"]) > 0:
            raise StopIteration
        return y + s.dt * (u["u"] - y)


class RelaxingAdjoint(pint.Adjoint):
    def vjp(self, s, y, u, theta, lam):
        return lam - s.dt * lam, {"u": s.dt * lam}, {}


class Target(pint.Objective):
    def terminal(self, y, theta):
        return ((y - 1.0) ** 2).sum()

    def terminal_derivative(self, y, theta):
        return 2.0 * (y - 1.0), {}


@pytest.mark.parametrize("method", [pint.ReducedSpace(), pint.External("scipy:L-BFGS-B")])
@pytest.mark.parametrize("batched", [False, True])
def test_stop_iteration_of_a_step_is_an_error(method, batched):
    stepper = Relaxing()
    stepper.batched = batched
    problem = pint.Problem(stepper, RelaxingAdjoint(), Target(), {"u": pint.TimeControl(1)})
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 20))
    with pytest.raises((StopIteration, RuntimeError)):
        pint.minimize(functional, method=method)


@pytest.mark.parametrize("kind", [pint.ReducedSpace, partial(pint.External, SCIPY[0]), stochastic])
@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"time_limit": -1.0}, "time_limit=...)` must be"),
        ({"time_limit": math.nan}, "time_limit=...)` must be"),
        ({"time_limit": "1h"}, "time_limit=...)` must be"),
        ({"evaluations": 0}, "evaluations=...)` must be an integer >= 1"),
        ({"evaluations": 2.5}, "evaluations=...)` must be an integer >= 1"),
    ],
)
def test_limits_out_of_range_are_named(kind, options, line):
    with pytest.raises(ValueError, match=line.replace("(", r"\(").replace(")", r"\)")):
        kind(**options)
