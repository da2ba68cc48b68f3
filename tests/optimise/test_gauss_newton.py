"""Gauss-Newton: optima of an independent program, gains of Riccati, optima of L-BFGS, refusals."""

import dataclasses

import numpy as np
import pytest
import registry
import sympy
from linear_quadratic import LinearQuadratic

import pint
from pint.steppers.symbolic import SympyODE
from problems.ode import PROBLEMS
from problems.ode_catalogue import CATALOGUE

# Iterations of an interior-point program on the same discretisation, from the same start
INTERIOR_POINT = {
    "cart-pole": 23, "rayleigh": 20, "rocket": 21, "batch-reactor": 11, "arm": 16, "quadrotor": 15,
    "seir": 28, "attitude": 7, "duffing": 4, "hiv": 36, "van-de-vusse": 17, "catalyst": 16,
    "tracking": 17, "crane": 9,
}  # fmt: skip


def solved(problem, steps, final_time, start=None, **options):
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(final_time, steps))
    control = None if start is None else start(functional.controls)
    return pint.minimize(functional, control, pint.GaussNewton(**options))


@pytest.mark.parametrize("name", CATALOGUE)
def test_optima_of_the_catalogue(name):
    one = CATALOGUE[name]
    result = solved(one.problem("rk4"), one.steps, one.final_time, one.start)
    assert result.status is pint.Status.CONVERGED
    assert not result.all_at_once.fallback
    assert result.gradient_norm <= 1e-8
    errors = [abs(result.objective - least) / abs(least) for least in one.minima]
    assert min(errors) < 1e-8
    if name in INTERIOR_POINT:
        assert result.iterations <= 1.9 * INTERIOR_POINT[name]


@pytest.mark.parametrize("scheme", ["implicit-euler", "crank-nicolson", "forward-euler"])
@pytest.mark.parametrize("name", ["cart-pole", "quadrotor", "tracking"])
def test_other_schemes_find_the_optima_of_lbfgs_or_better_ones(name, scheme):
    one = CATALOGUE[name]
    result = solved(one.problem(scheme), 48, one.final_time, one.start)
    assert result.status is pint.Status.CONVERGED
    other = pint.minimize(result.functional, result.control, pint.ReducedSpace(iterations=30))
    assert result.objective <= other.objective + 1e-9 * abs(other.objective)


@pytest.mark.parametrize("name", ["double-integrator", "scalar-lqr", "vector-lqr", "oscillator"])
def test_linear_quadratic_problems_take_one_iteration(name):
    one = PROBLEMS[name]()
    result = solved(one.problem(), one.steps, one.T, gradient_tolerance=1e-11)
    assert (result.status, result.iterations) == (pint.Status.CONVERGED, 1)


def test_control_and_gains_are_those_of_riccati():
    """By the recursion itself, for an explicit Euler step and a cost at its beginning."""
    random = np.random.default_rng(3)
    A, B = random.standard_normal((3, 3)), random.standard_normal(3)
    lq = LinearQuadratic(A, B, np.diag([1.0, 0.0, 2.0]), 0.3, 0.7, np.array([1.0, -2, 0.5]), False)
    N, T = 30, 1.5
    result = solved(lq.problem(), N, T)
    dt = T / N
    F, G, P = np.eye(3) + dt * A, dt * B[:, None], 0.7 * np.eye(3)
    gains = []
    for _ in range(N):
        K = -np.linalg.solve(dt * 0.3 + G.T @ P @ G, G.T @ P @ F)
        P = dt * lq.Q + F.T @ P @ (F + G @ K)
        gains.append(K)
    gains.reverse()
    y, u = lq.y0, []
    for K in gains:
        u.append(K @ y)
        y = F @ y + G @ u[-1]
    assert result.objective == pytest.approx(0.5 * lq.y0 @ P @ lq.y0, rel=1e-12)
    np.testing.assert_allclose(result.control["u"], u, rtol=1e-12, atol=1e-12 * np.abs(u).max())
    np.testing.assert_allclose(
        result.all_at_once.gains, gains, rtol=1e-12, atol=1e-12 * np.abs(gains).max()
    )


@pytest.mark.parametrize(
    ("name", "steps", "most"),
    [("van-der-pol", 64, 8), ("van-der-pol", 1024, 8), ("pendulum", 96, 20)],
)
def test_optima_of_lbfgs(name, steps, most):
    one = PROBLEMS[name]()
    result = solved(one.problem(), steps, one.T, one.start)
    assert result.status is pint.Status.CONVERGED
    assert result.iterations <= most
    method = pint.ReducedSpace(iterations=1000, gradient_tolerance=1e-7)
    other = pint.minimize(result.functional, result.control, method)
    assert result.objective == pytest.approx(other.objective, rel=1e-9)


@pytest.mark.parametrize(("bounds", "most"), [({}, 25), ({"lower": -50.0, "upper": 50.0}, 15)])
def test_fishing(bounds, most):
    one = PROBLEMS["fishing"](beta=0.01)
    result = solved(one.problem(**bounds), 96, one.T, one.start)
    assert result.status is pint.Status.CONVERGED
    assert result.iterations <= most
    active = result.all_at_once.active["u"]
    assert (np.abs(active).sum() > 0) == (not bounds)
    assert (result.control["u"][active == 1] == 1.0).all()


# Shared parameters


def decay(**options):
    """Return the estimation of two parameters of a decay, one of them the initial state's."""
    y, rate, source, u = sympy.symbols("y rate source u")
    ode = SympyODE(
        [y],
        [-rate * y + source + u],
        {"u": u},
        parameters={"rate": rate, "source": source},
        running_cost=(y - 1) ** 2 + 0.1 * u**2,
        terminal_cost=(rate - 2) ** 2 + source**4 + (y - 0.2) ** 2,
        initial_state=[2.0],
    )
    return ode.problem("rk4", **options)


@pytest.mark.parametrize("bounds", [{}, {"rate": (0.0, 1.5), "u": (-0.3, 5.0)}])
def test_shared_parameters(bounds):
    result = solved(decay(controls=bounds), 40, 2.0)
    assert result.status is pint.Status.CONVERGED
    method = pint.ReducedSpace(iterations=500, gradient_tolerance=1e-9)
    other = pint.minimize(result.functional, None, method)
    assert result.objective == pytest.approx(other.objective, rel=1e-10)
    assert result.control["rate"].item() == pytest.approx(other.control["rate"].item(), rel=1e-6)
    assert bool(result.all_at_once.active["rate"] != 0) == bool(bounds)


def test_a_start_that_depends_on_parameters():
    """And a cost of one number by an outer function, steps one by one."""

    class Stepper(registry.Pendulum):
        batched = False

    problem = registry.PROBLEMS["pendulum-loop-arrival"]()
    plain = pint.Problem(
        problem.stepper,
        problem.adjoint,
        problem.objective,
        problem.controls,
        [pint.Tikhonov(0.5, list(problem.controls))],
    )
    result = solved(plain, 20, 1.0)
    assert result.status is pint.Status.CONVERGED
    method = pint.ReducedSpace(iterations=500, gradient_tolerance=1e-9)
    other = pint.minimize(result.functional, None, method)
    assert result.objective <= other.objective + 1e-9


# How runs begin and end


def test_states_of_another_run_are_a_warm_start():
    one = CATALOGUE["duffing"]
    first = solved(one.problem("rk4"), one.steps, one.final_time, one.start)
    again = pint.minimize(
        first.functional, first.control, pint.GaussNewton(start_states=first.states())
    )
    assert again.status is pint.Status.CONVERGED
    assert again.iterations <= 2


def test_history_and_callback():
    seen = []

    def callback(iterate, control, state):
        seen.append((iterate.iteration, state.points.shape))
        return iterate.iteration == 3

    one = CATALOGUE["arm"]
    functional = pint.ReducedFunctional(
        one.problem("rk4"), pint.TimeGrid.uniform(one.final_time, one.steps)
    )
    start = one.start(functional.controls)
    result = pint.minimize(functional, start, pint.GaussNewton(), callback=callback)
    assert result.status is pint.Status.STOPPED
    assert [number for number, _ in seen] == [0, 1, 2, 3]
    assert len(result.history) == 4
    assert result.history[3].gradient_norm == result.all_at_once.kkt
    limited = pint.minimize(functional, start, pint.GaussNewton(iterations=2))
    assert limited.status is pint.Status.ITERATION_LIMIT
    assert limited.iterations == 2
    assert limited.objective <= functional.value(start)


def test_lbfgs_goes_on_where_no_step_is_found():
    """Explicit steps that are too long for the equation: trajectories blow up."""
    one = CATALOGUE["hiv"]
    result = solved(one.problem("rk4"), 64, one.final_time, one.start, iterations=60)
    assert result.all_at_once.fallback
    assert np.isfinite(result.objective)
    assert result.objective <= result.functional.value(one.start(result.functional.controls))
    assert [row.iteration for row in result.history] == list(range(len(result.history)))


def test_a_saddle_point_is_told(caplog):
    y, u = sympy.symbols("y u")
    ode = SympyODE(
        [y],
        [u],
        {"u": u},
        running_cost=u**2 / 100,
        terminal_cost=(y**2 - 1) ** 2,
        initial_state=[0.0],
    )
    result = solved(ode.problem("rk4"), 20, 1.0)
    assert (result.iterations, result.all_at_once.minimum) == (0, False)
    assert "may be a saddle point" in caplog.text
    better = solved(ode.problem("rk4"), 20, 1.0, lambda controls: controls.control(u=0.5))
    assert better.all_at_once.minimum
    assert better.objective < 0.01


def test_shared_parameters_alone():
    y, k, t = sympy.symbols("y k t")
    ode = SympyODE(
        [y], [-k * y], parameters={"k": k}, running_cost=(y - sympy.exp(-2 * t)) ** 2,
        initial_state=[1.0], time=t,
    )  # fmt: skip
    free = solved(ode.problem("rk4"), 40, 2.0, lambda controls: controls.control(k=0.3))
    assert free.control["k"].item() == pytest.approx(2, abs=1e-5)
    bounded = ode.problem("rk4", controls={"k": (0, 1.5)})
    held = solved(bounded, 40, 2.0, lambda controls: controls.control(k=0.3))
    assert (held.status, held.control["k"].item()) == (pint.Status.CONVERGED, 1.5)


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_units_do_not_matter(unit):
    """Of states and controls, and another one of the objective: the same iterates."""
    a, b, u = sympy.symbols("a b u")
    found = []
    for size in (1.0, unit):
        rhs = [(1 - (b / size) ** 2) * a - b + u, a]
        cost = (a**2 + b**2 + u**2) / size**3
        ode = SympyODE([a, b], rhs, {"u": u}, running_cost=cost, initial_state=[0, size])
        problem = ode.problem("rk4", controls={"u": (-0.4 * size, 0.4 * size)})
        result = solved(problem, 48, 10.0, gradient_tolerance=0.0, iterations=8, fallback=False)
        found.append(result.control["u"] / size)
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)


def test_control_rates():
    name = "crane"
    problem = dataclasses.replace(
        CATALOGUE[name].problem("rk4"), regularisers=(pint.Smoothness(1e-2, ["u"]),)
    )
    found = [
        solved(problem, 48, CATALOGUE[name].T),
        pint.minimize(
            pint.ReducedFunctional(problem, pint.TimeGrid.uniform(CATALOGUE[name].T, 48)),
            None,
            pint.ReducedSpace(iterations=500),
        ),
    ]
    assert found[0].iterations <= 10
    assert not found[0].all_at_once.fallback
    assert found[0].objective == pytest.approx(found[1].objective, rel=1e-10)


def test_what_does_not_suit_is_refused():
    def check(problem, words, **options):
        functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 12))
        with pytest.raises(ValueError, match=words):
            pint.minimize(functional, None, pint.GaussNewton(**options))

    term = pint.Tikhonov(1.0, ["u"])
    unknown = type(
        "Mine", (pint.Regulariser,), {"value": term.value, "derivative": term.derivative}
    )
    problem = dataclasses.replace(
        registry.PROBLEMS["pendulum-running"](), regularisers=(unknown(),)
    )
    check(problem, "takes no regularisers but `Tikhonov` and `Smoothness`")
    check(registry.PROBLEMS["convolution-kernel-5"](), "states of up to 50 numbers")
    check(CATALOGUE["arm"].problem("rk4"), "must have the shape", start_states=np.zeros((3, 4)))
    grid = pint.TimeGrid.uniform(1.0, 12, 4, 2)
    functional = pint.ReducedFunctional(CATALOGUE["arm"].problem("rk4"), grid, storage="C")
    with pytest.raises(ValueError, match="`GaussNewton` needs the states of all points"):
        pint.minimize(functional, None, pint.GaussNewton())
    for options in ({"hessian": "newton"}, {"iterations": -1}, {"start_states": "zero"}):
        with pytest.raises(ValueError, match="`GaussNewton"):
            pint.GaussNewton(**options)
