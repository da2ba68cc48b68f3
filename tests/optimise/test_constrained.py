"""Constraints: closed forms, multipliers, the same by every method, and what cannot be met."""

import numpy as np
import pytest
import sympy

import pint
from pint.optimise.constrained.method import _Parts
from pint.optimise.gauss_newton.shooting import Shooting
from pint.steppers.symbolic import SympyODE

METHODS = {
    "gauss-newton": pint.GaussNewton(),
    "reduced": pint.ReducedSpace(iterations=1500),
    "adaptive": pint.Adaptive(iterations=1500),
    "scipy": pint.External("scipy:L-BFGS-B", iterations=1500),
}

y, v, u = sympy.symbols("y v u")


def integrator(steps=20, cost=u**2 / 2, initial=0, levels=1, **bounds):
    ode = SympyODE([y], [u], {"u": u}, running_cost=cost, initial_state=[initial])
    problem = ode.problem("midpoint", "midpoint", controls=bounds)
    grid = pint.TimeGrid.uniform(1.0, steps, coarsening=4, levels=levels)
    return ode, pint.ReducedFunctional(problem, grid)


@pytest.mark.parametrize("method", METHODS)
def test_terminal_equality(method):
    # min 1/2 int u^2, y(1) = 2: u = 2 = -multiplier
    ode, functional = integrator(levels=2 if method == "adaptive" else 1)
    options = pint.AugmentedLagrangian(METHODS[method], [ode.terminal_constraint(y - 2)])
    result = pint.minimize(functional, None, options)
    assert result.status is pint.Status.CONVERGED
    assert result.objective == pytest.approx(2.0, abs=5e-8)
    np.testing.assert_allclose(result.control["u"], 2.0, atol=2e-8)
    assert result.constrained.multipliers[0] == pytest.approx([-2.0], abs=1e-6)
    assert result.constrained.violations[0] <= 1e-8
    assert result.state.control.space is functional.controls


@pytest.mark.parametrize("method", ["gauss-newton", "reduced"])
def test_integral_is_a_bound_or_an_equation(method):
    # min 1/2 int u^2, int y = 1: u = 3 (1 - t), J = 3/2; midpoints: 1 / sum of squares
    ode, functional = integrator()
    places = (np.arange(20) + 0.5) / 20
    exact = 0.5 / ((1 - places) ** 2).mean()
    for constraint in (
        ode.integral_constraint(y, 1.0),
        ode.integral_constraint([-y, y], [-1.0, 5.0], equality=False),
    ):
        result = pint.minimize(
            functional, None, pint.AugmentedLagrangian(METHODS[method], [constraint])
        )
        assert result.objective == pytest.approx(exact, rel=1e-7)
        assert result.status is pint.Status.CONVERGED
    assert result.constrained.multipliers[0] == pytest.approx([2 * exact, 0.0], rel=1e-6)
    assert result.states().shape == (21, 1)


def test_active_path_constraint_has_the_multiplier_of_its_density():
    # min int (y - 1)^2 / 2, y' = u, u <= 1 - as a path constraint: u = 1
    ode, functional = integrator(40, (y - 2) ** 2 / 2)
    options = pint.AugmentedLagrangian(pint.GaussNewton(), [ode.path_constraint(u - 1)])
    result = pint.minimize(functional, None, options)
    np.testing.assert_allclose(result.control["u"], 1.0, atol=2e-8)
    t = (np.arange(40) + 0.5) / 40
    adjoint = 2 * (1 - t) - (1 - t**2) / 2  # int from t to 1 of 2 - s
    np.testing.assert_allclose(result.constrained.multipliers[0][:, 0], adjoint, atol=1e-3)


def test_inequality_that_does_not_press_changes_nothing():
    ode, functional = integrator(cost=(y - 1) ** 2 / 2 + u**2 / 2)
    free = pint.minimize(functional, None, pint.GaussNewton())
    constraints = [ode.path_constraint(y - 5), ode.terminal_constraint(y - 3, equality=False)]
    found = pint.minimize(
        functional, None, pint.AugmentedLagrangian(METHODS["reduced"], constraints)
    )
    assert found.objective == pytest.approx(free.objective, abs=1e-12)
    assert not any(m.any() for m in found.constrained.multipliers)


def test_history_has_all_runs_and_the_violations():
    ode, functional = integrator()
    seen = []
    options = pint.AugmentedLagrangian(METHODS["reduced"], [ode.terminal_constraint(y - 2)])
    result = pint.minimize(
        functional, None, options, callback=lambda row, control, state: seen.append(row)
    )
    assert seen == list(result.history)
    assert [row.iteration for row in seen] == list(range(result.iterations + 1))
    assert len({len(row.violations) for row in seen}) == 1
    assert seen[0].violations == (2.0,)
    assert seen[0].objective == pytest.approx(0.0, abs=1e-12)  # without the penalty
    assert seen[-1].objective == pytest.approx(result.objective, rel=1e-12)
    table = pint.history_arrays(result.history)
    assert table["violations_0"][-1] == result.constrained.violations[0]
    assert (np.diff(table["seconds"]) >= 0).all()
    stopped = pint.minimize(functional, None, options, callback=lambda row, *_: row.iteration == 2)
    assert (stopped.status, stopped.iterations) == (pint.Status.STOPPED, 2)


@pytest.mark.parametrize("method", ["gauss-newton", "reduced", "adaptive"])
def test_unreachable_state_is_infeasible(method):
    ode, functional = integrator(levels=2 if method == "adaptive" else 1, u=(-1, 1))
    options = pint.AugmentedLagrangian(METHODS[method], [ode.terminal_constraint(y - 2)])
    result = pint.minimize(functional, None, options)
    assert result.status is pint.Status.INFEASIBLE
    assert "cannot be met" in result.message
    assert result.objective == pytest.approx(0.5, abs=1e-6)
    assert result.constrained.violations[0] == pytest.approx(1.0, abs=1e-6)


def test_contradiction_is_infeasible_and_finite():
    ode, functional = integrator()
    both = [ode.path_constraint(y - 1), ode.path_constraint(2 - y)]
    result = pint.minimize(functional, None, pint.AugmentedLagrangian(pint.GaussNewton(), both))
    assert result.status is pint.Status.INFEASIBLE
    assert np.isfinite(result.control["u"]).all()
    assert np.isfinite(result.gradient_norm)


@pytest.mark.parametrize("quadrature", ["left", "right", "midpoint", "trapezoid"])
@pytest.mark.parametrize("scheme", ["rk4", "crank-nicolson"])
def test_augmented_problem_passes_the_checks(scheme, quadrature):
    k, t = sympy.symbols("k t")
    ode = SympyODE(
        [y, v], [v, u - k * sympy.sin(y)], {"u": u}, parameters={"k": k},
        running_cost=y**2 + u**2, initial_state=[k, 1], time=t,
    )  # fmt: skip
    constraints = [
        ode.terminal_constraint([y * v - k, v]),
        ode.path_constraint([y * u - t, v - k], at="begin"),
        ode.path_constraint(y**2 - 0.1, equality=True),
        ode.integral_constraint([u * y, v**2 * k], [0.1, 2.0], quadrature=quadrature),
    ]
    grid = pint.TimeGrid.uniform(1.0, 8, coarsening=2, levels=2)
    parts = _Parts(constraints, ode.problem(scheme), grid)
    for number, term in enumerate(parts.terms):
        term.penalty = 2.0 + number
        term.multipliers += 0.3
    pint.verify.check_problem(parts.problem, grid).require()


class Single(pint.TimeStepper):
    """y' = u by forward Euler, one step a call, states of shape (2, 1)."""

    initial_state = np.zeros((2, 1))

    def step(self, s, y, u, theta):
        return y + s.dt * u["u"]


class Square(pint.Objective):
    def step_cost(self, s, y0, y1, u, theta):
        return 0.5 * s.dt * float((u["u"] ** 2).sum())

    def step_cost_derivative(self, s, y0, y1, u, theta):
        return 0.0, 0.0, {"u": s.dt * u["u"]}, {}


class Sum(pint.IntegralConstraint):
    bound = 1.0
    quadrature = "right"

    def value(self, t, y, u, theta):
        return y.sum(axis=(1, 2))[:, None]

    def vjp(self, t, y, u, theta, weight):
        return np.broadcast_to(weight[:, :, None], y.shape), {}, {}


class Below(pint.PathConstraint):
    def value(self, t, y, u, theta):
        return y[:, 0] - 0.4

    def vjp(self, t, y, u, theta, weight):
        of_y = np.zeros(y.shape)
        of_y[:, 0] = weight
        return of_y, {}, {}


def test_constraints_by_hand_with_single_steps():
    problem = pint.Problem(Single(), None, Square(), {"u": pint.TimeControl((2, 1))})
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 10))
    options = pint.AugmentedLagrangian(pint.ReducedSpace(iterations=500), [Sum(), Below()])
    result = pint.minimize(functional, None, options)
    assert result.status is pint.Status.CONVERGED
    states = result.states()
    assert states[1:].sum() / 10 == pytest.approx(1.0, abs=1e-7)
    assert states[:, 0].max() <= 0.4 + 1e-8
    assert states[:, 1].max() > 0.6
    gauss_newton = pint.minimize(
        functional, None, pint.AugmentedLagrangian(pint.GaussNewton(), [Sum(), Below()])
    )
    assert gauss_newton.objective == pytest.approx(result.objective, rel=1e-7)


def test_mistakes_are_one_line_before_any_work():
    ode, functional = integrator()
    end = ode.terminal_constraint(y - 2)
    outer = pint.AugmentedLagrangian(pint.GaussNewton(), end)
    with pytest.raises(ValueError, match="needs at least one"):
        pint.AugmentedLagrangian(pint.GaussNewton(), [])
    with pytest.raises(TypeError, match="must consist of"):
        pint.AugmentedLagrangian(pint.GaussNewton(), [1])
    with pytest.raises(ValueError, match="cannot be AugmentedLagrangian"):
        pint.minimize(functional, None, pint.AugmentedLagrangian(outer, [end]))
    with pytest.raises(ValueError, match="cannot be Nested"):
        nested = pint.Nested([pint.TimeGrid.uniform(1.0, 10)], pint.ReducedSpace())
        pint.minimize(functional, None, pint.AugmentedLagrangian(nested, [end]))
    with pytest.raises(ValueError, match="cannot be resumed"):
        pint.minimize(functional, None, outer, checkpoint=pint.Checkpoint("run.npz"))
    wrong = Below()
    wrong.count = 3
    problem = pint.Problem(Single(), None, Square(), {"u": pint.TimeControl((2, 1))})
    other = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 4))
    with pytest.raises(ValueError, match=r"Below.value.*\(1, 3\)"):
        pint.minimize(other, None, pint.AugmentedLagrangian(pint.ReducedSpace(), [wrong]))
    with pytest.raises(ValueError, match="only states and parameters"):
        ode.terminal_constraint(u)


def test_units_change_nothing():
    def run(of_j, of_c):
        ode, functional = integrator(10, of_j * (u**2 / 2 + sympy.sin(y)))
        constraints = [
            ode.terminal_constraint(of_c * (y - 2)),
            ode.path_constraint(of_c * (u - 2.4)),
            ode.integral_constraint(y * of_c, 0.9 * of_c, equality=False),
        ]
        method = pint.GaussNewton(gradient_tolerance=1e-9 * of_j)
        options = pint.AugmentedLagrangian(method, constraints, tolerance=1e-5 * of_c)
        return pint.minimize(functional, None, options)

    of_j, of_c = 1e8, 1e-6
    scaled, plain = run(of_j, of_c), run(1.0, 1.0)
    assert scaled.status is plain.status is pint.Status.CONVERGED
    assert scaled.objective / of_j == pytest.approx(plain.objective, rel=1e-9)
    assert len(scaled.constrained.outer) == len(plain.constrained.outer)
    multiplier = scaled.constrained.multipliers[0] * of_c / of_j
    assert multiplier == pytest.approx(plain.constrained.multipliers[0], rel=1e-6)


def test_numbers_of_one_constraint_in_other_units():
    lists = [[y - 2, 1e6 * (v - 1)], [1e-6 * (y - 2), 1e3 * (v - 1)]]
    ode = SympyODE([y, v], [u, y], {"u": u}, running_cost=u**2 / 2, initial_state=[0, 0])
    functional = pint.ReducedFunctional(ode.problem("rk4"), pint.TimeGrid.uniform(1.0, 10))
    for values in lists:
        constraint = ode.terminal_constraint(values)
        options = pint.AugmentedLagrangian(pint.GaussNewton(), constraint, outer_iterations=5)
        result = pint.minimize(functional, None, options)
        np.testing.assert_allclose(result.states()[-1], [2.0, 1.0], atol=1e-3)


def test_runs_that_find_no_minimum_do_not_show_constraints_to_be_infeasible():
    ode, functional = integrator()
    end = ode.terminal_constraint(y - 2)
    for method, status in (
        (pint.ReducedSpace(evaluations=5), pint.Status.EVALUATION_LIMIT),
        (pint.ReducedSpace(iterations=0), pint.Status.ITERATION_LIMIT),
    ):
        result = pint.minimize(functional, None, pint.AugmentedLagrangian(method, [end]))
        assert result.status is status


class WrongSlope(pint.TerminalConstraint):
    def value(self, y, theta):
        return y - 2

    def vjp(self, y, theta, weight):
        return -weight, {}


def test_a_wrong_slope_is_a_failed_line_search():
    _, functional = integrator()
    options = pint.AugmentedLagrangian(METHODS["reduced"], [WrongSlope()])
    assert pint.minimize(functional, None, options).status is pint.Status.LINE_SEARCH_FAILED


class ByHand(pint.IntegralConstraint):
    def __init__(self, value=None, vjp=None, **options):
        self.__dict__.update(options)
        self.results = value, vjp

    def value(self, t, y, u, theta):
        return y if self.results[0] is None else self.results[0](y)

    def vjp(self, t, y, u, theta, weight):
        return (weight, {}, {}) if self.results[1] is None else self.results[1](weight)


@pytest.mark.parametrize(
    ("constraint", "error", "words"),
    [
        (ByHand(list), ValueError, r"`ByHand\.value` must return an array of shape \(1, 1\)"),
        (ByHand(lambda y: y + 1j), TypeError, r"`ByHand\.value` must return real numbers"),
        (ByHand(None, lambda w: (w, {})), TypeError, r"`ByHand\.vjp` must return 3 results"),
        (ByHand(None, lambda w: (w[:, 0], {}, {})), ValueError, r"`ByHand\.vjp` must return"),
        (ByHand(None, lambda w: (w, {"w": w}, {})), ValueError, r"for `w`, which is no time-dep"),
        (ByHand(bound=[1.0, 2.0]), ValueError, r"`ByHand\(bound=\.\.\.\)` must be a finite"),
        (ByHand(bound=np.nan), ValueError, r"`ByHand\(bound=\.\.\.\)` must be a finite number"),
        (ByHand(bound=1j), TypeError, r"`ByHand\(bound=\.\.\.\)` must hold real numbers"),
        (ByHand(quadrature="simpson"), ValueError, r"`ByHand\(quadrature=\.\.\.\)` is"),
    ],
)
def test_mistakes_in_a_constraint_by_hand_name_it(constraint, error, words):
    _, functional = integrator(4)
    with pytest.raises(error, match=words):
        pint.minimize(functional, None, pint.AugmentedLagrangian(METHODS["reduced"], [constraint]))


def test_integrals_do_not_show_in_what_gauss_newton_returns():
    ode, functional = integrator(8)
    constraint = ode.integral_constraint(y, 1.0)
    result = pint.minimize(
        functional, None, pint.AugmentedLagrangian(pint.GaussNewton(), constraint)
    )
    assert result.all_at_once.gains.shape == (8, 1, 1)
    assert result.all_at_once.multipliers.shape == (8, 1)
    start, states = result.shift(0)
    method = pint.GaussNewton(start_states=states)
    again = pint.minimize(functional, start, pint.AugmentedLagrangian(method, constraint))
    assert again.objective == pytest.approx(result.objective, rel=1e-7)
    with pytest.raises(ValueError, match=r"start_states=\.\.\.\)` must have the shape"):
        method = pint.GaussNewton(start_states=states[1:])
        pint.minimize(functional, start, pint.AugmentedLagrangian(method, constraint))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_constraint_that_is_nan_at_the_start_is_named():
    ode, functional = integrator(8)
    root = sympy.sqrt(y - 1)
    for constraint in (ode.terminal_constraint(root), ode.path_constraint(root)):
        options = pint.AugmentedLagrangian(METHODS["reduced"], constraint)
        with pytest.raises(pint.NotFiniteError, match=r"`Sympy\w+\.value` is NaN or infinite"):
            pint.minimize(functional, None, options)


def test_multi_start_takes_what_violates_least():
    ode, functional = integrator(8, u=(-1, 1))
    outer = pint.AugmentedLagrangian(
        METHODS["reduced"], ode.terminal_constraint(y**2 - 4), outer_iterations=2
    )
    result = pint.minimize(functional, None, pint.MultiStart(outer, starts=3))
    violations = [max(one.constrained.violations) for one in result.stages]
    assert max(result.constrained.violations) == min(violations)


@pytest.mark.parametrize("integral", [False, True])
def test_second_derivatives_are_differences_of_the_first(integral):
    t = sympy.Symbol("t")
    ode = SympyODE(
        [y, v], [v, u - sympy.sin(y)], {"u": u}, running_cost=y**2 * v + u**2,
        initial_state=[1, 1], time=t,
    )  # fmt: skip
    constraints = [
        ode.terminal_constraint([y * v - 1, v**2]),
        ode.path_constraint([y * u**2 - t - 3, v + sympy.exp(y)], at="begin"),
        ode.path_constraint([y**3 - 0.1], equality=True),
    ]
    if integral:
        constraints.append(ode.integral_constraint([u * y, v**2], [0.1, 2.0]))
    grid = pint.TimeGrid(np.array([0.0, 0.3, 0.5, 1.0]))
    parts = _Parts(constraints, ode.problem("rk4"), grid)
    for number, term in enumerate(parts.terms):
        term.penalty = term.penalty * (2.0 + number)
        term.multipliers += 0.3
    functional = pint.ReducedFunctional(parts.problem, grid)
    assert parts.problem.objective.has_hessian
    shooting, control = Shooting(functional), functional.control(u=0.7)
    states = functional.gather_states(functional._solved(control)[0])
    shooting.set_typical(states, control, np.zeros((3, states.shape[1])))
    exact = [shooting.cost_hessian(states, control), shooting.terminal_hessian(states, control)]
    shooting._has_hessian = False
    other = [shooting.cost_hessian(states, control), shooting.terminal_hessian(states, control)]
    for one, two in zip(exact, other, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-7 * np.abs(two).max())


def test_gauss_newton_takes_few_iterations():
    x, w = sympy.symbols("x w")
    ode = SympyODE([x, w], [w, u], {"u": u}, running_cost=u**2 / 2, initial_state=[0, 1])
    functional = pint.ReducedFunctional(ode.problem("midpoint"), pint.TimeGrid.uniform(1.0, 60))
    constraints = [ode.terminal_constraint([x, w + 1]), ode.path_constraint(x - 1 / 9)]
    options = pint.AugmentedLagrangian(pint.GaussNewton(fallback=False), constraints)
    result = pint.minimize(functional, None, options)
    assert result.status is pint.Status.CONVERGED
    assert result.iterations <= 40
