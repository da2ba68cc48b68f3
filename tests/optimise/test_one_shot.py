"""One-shot with a fixed number of cycles and with adaptive accuracy: optima, errors, guards."""

import math
from functools import partial

import numpy as np
import pytest
from linear_quadratic import DOUBLE_INTEGRATOR

import pint
from pint.optimise.solves import ErrorControlled, Extrapolation
from problems.heat import Heat, manufactured
from problems.ode import PROBLEMS

OPTIMUM = 5.06187699853476e-2  # of the double integrator


def ode(name, steps, coarsening=4, levels=2, **settings):
    definition = PROBLEMS[name](**settings)
    grid = pint.TimeGrid.uniform(definition.T, steps, coarsening, levels)
    functional = pint.ReducedFunctional(definition.problem(grid))
    return functional, definition.start(functional.problem.controls)


def heat(kind="distributed", coarsening=4, levels=2):
    definition = Heat(kind, 9)
    grid = pint.TimeGrid.uniform(1.0, 32, coarsening, levels)
    functional = pint.ReducedFunctional(definition.problem(grid, manufactured(definition, 1.0)))
    return functional, functional.problem.controls.zeros()


PROBLEM = {
    "double-integrator": partial(ode, "double-integrator", 20),
    "oscillator": partial(ode, "oscillator", 64, T=10.0),
    "oscillator-3-levels": partial(ode, "oscillator", 64, coarsening=2, levels=3, T=10.0),
    "vector-lqr": partial(ode, "vector-lqr", 32),
    "van-der-pol": partial(ode, "van-der-pol", 64),
    "fishing": partial(ode, "fishing", 48),  # with bounds
    "heat": heat,
    "heat-initial": partial(heat, "initial"),
    "heat-neumann": partial(heat, "neumann"),
}


def exact(functional):
    """Return a function that gives objective and gradient of a control by sequential sweeps."""
    own = pint.ReducedFunctional(functional.problem)
    state, adjoint = own.new_state(), own.new_adjoint()

    def evaluate(control):
        own.propagate(state, control)
        own.propagate_adjoint(adjoint, state)
        derivative = own.derivative_of(state, adjoint)
        return own.objective(state).objective, control.space.riesz(derivative)

    return evaluate


# Optima


RULES = {
    "adaptive": {"cycles": "adaptive"},
    "lagged": {"cycles": 1, "lagged": True},
    "lagged twice": {"cycles": 2, "lagged": True},
}


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", PROBLEM)
def test_one_shot_finds_the_optimum_of_the_reduced_space(name, rule):
    functional, control = PROBLEM[name]()
    _, gradient = exact(functional)(control)
    tolerance = 1e-6 * control.space.norm(gradient)
    sequential, start = PROBLEM[name](levels=1)
    expected = pint.minimize(sequential, start, gradient_tolerance=tolerance, iterations=1000)
    result = pint.OneShot(functional, **RULES[rule]).solve(
        control, gradient_tolerance=tolerance, iterations=1000
    )
    assert result.status is pint.Status.CONVERGED
    assert result.gradient_norm <= tolerance
    assert result.objective == pytest.approx(expected.objective, rel=1e-8)


@pytest.mark.parametrize("cycles", [1, 2, "adaptive"])
def test_double_integrator_to_ten_digits_and_never_below_its_optimum(cycles):
    for tolerance in (1e-3, 1e-5, 1e-9):
        functional, control = PROBLEM["double-integrator"]()
        result = pint.OneShot(functional, cycles).solve(control, gradient_tolerance=tolerance)
        assert result.status is pint.Status.CONVERGED
        assert result.objective >= OPTIMUM - 1e-12
    assert result.objective == pytest.approx(OPTIMUM, abs=1e-12)


@pytest.mark.parametrize("name", ["double-integrator", "van-der-pol", "heat", "heat-neumann"])
def test_a_lagged_sweep_makes_each_step_once(name):
    """N steps of level 0 and N/m of level 1 for the state, as many for adjoint and gradient."""
    functional, control = PROBLEM[name]()
    functional = pint.ReducedFunctional(functional.problem, relaxation="F")
    state, adjoint = functional.new_state(), functional.new_adjoint()
    grid = functional.problem.grid
    for _ in range(2):
        before = [solver.steps_evaluated for solver in solvers(functional)]
        functional.lagged_state_cycles(state, control)
        functional.objective(state)
        functional.lagged_adjoint_cycles(adjoint, state)
        functional.derivative_of(state, adjoint)
        for solver, old in zip(solvers(functional), before, strict=True):
            made = tuple(np.subtract(solver.steps_evaluated, old))
            assert made == (grid.steps, grid.steps // grid.coarsening[0])


def solvers(functional):
    return functional.state_solver, functional.adjoint_solver


@pytest.mark.parametrize("name", PROBLEM)
def test_lagged_cycles_converge_to_the_exact_gradient(name):
    functional, control = PROBLEM[name]()
    objective, expected = exact(functional)(control)
    state, adjoint = functional.new_state(), functional.new_adjoint()
    for _ in range(40):
        functional.lagged_state_cycles(state, control)
        functional.lagged_adjoint_cycles(adjoint, state)
    gradient = control.space.riesz(functional.derivative_of(state, adjoint))
    assert functional.objective(state).objective == pytest.approx(objective, rel=1e-13)
    size = abs(expected.vector).max()
    np.testing.assert_allclose(gradient.vector, expected.vector, rtol=0, atol=1e-11 * size)


def test_lagged_solves_need_a_number_of_cycles():
    functional, _ = PROBLEM["double-integrator"]()
    for options in ({"cycles": "adaptive"}, {"cycles": 1, "tolerance": 1e-8}):
        with pytest.raises(ValueError, match="lagged"):
            pint.OneShot(functional, lagged=True, **options)


def test_reduced_space_with_controlled_errors():
    functional, control = PROBLEM["oscillator"]()
    fixed = pint.minimize(functional, control, gradient_tolerance=1e-7)
    functional, control = PROBLEM["oscillator"]()
    result = pint.minimize(functional, control, gradient_tolerance=1e-7, error_controlled=True)
    assert result.status is fixed.status is pint.Status.CONVERGED
    assert result.objective == pytest.approx(fixed.objective, rel=1e-12)
    cycles = [r.history[-1].state_cycles + r.history[-1].adjoint_cycles for r in (result, fixed)]
    assert cycles[0] < 0.5 * cycles[1]


def test_controlled_errors_on_one_level_are_sequential_stepping():
    functional, control = ode("oscillator", 32, levels=1)
    result = pint.minimize(functional, control, error_controlled=True, iterations=3)
    assert result.history[-1].state_cycles == 0
    assert result.history[-1].gradient_error == 0.0


def cycles_until(name, rule, fraction=1e-6):
    """Return the cycles until the exact gradient is `fraction` of that at the start."""
    functional, control = PROBLEM[name]()
    evaluate = exact(functional)
    space = control.space
    first = space.norm(evaluate(control)[1])

    class Reached(Exception):  # noqa: N818
        pass

    def callback(iterate, control, state):
        if space.norm(evaluate(control)[1]) <= fraction * first:
            raise Reached(iterate.state_cycles + iterate.adjoint_cycles)

    with pytest.raises(Reached) as reached:
        pint.OneShot(functional, rule).solve(
            control, callback=callback, gradient_tolerance=1e-15, iterations=500
        )
    return reached.value.args[0]


@pytest.mark.parametrize("name", ["double-integrator", "heat"])
def test_adaptive_needs_few_cycles(name):
    cycles = {rule: cycles_until(name, rule) for rule in (1, 2, 4, 10, "adaptive")}
    adaptive = cycles.pop("adaptive")
    assert adaptive <= 1.35 * min(cycles.values())
    assert adaptive <= 0.4 * cycles[10] or adaptive <= min(cycles.values())


# Errors


@pytest.mark.parametrize("name", ["double-integrator", "oscillator", "van-der-pol", "heat"])
def test_estimated_errors_are_of_the_size_of_the_errors(name):
    functional, control = PROBLEM[name]()
    evaluate, ratios = exact(functional), []

    def callback(iterate, control, state):
        _, gradient = evaluate(control)
        norm = control.space.norm
        ratios.append(abs(norm(gradient) - iterate.gradient_norm) / iterate.gradient_error)
        assert iterate.gradient_error < 0.5 * iterate.gradient_norm

    pint.OneShot(functional, "adaptive").solve(control, callback=callback, iterations=12)
    assert np.median(ratios) < 1.0
    assert max(ratios) < 10.0


def test_extrapolation_of_a_geometric_sequence_is_exact():
    error, values = Extrapolation(), 5.0 + 3.0 * 0.4 ** np.arange(6)
    estimates = [error.add(abs(difference)) for difference in np.diff(values)]
    np.testing.assert_allclose(estimates[1:], abs(values[2:] - 5.0), rtol=1e-12)


def perturbed(functional, control, size):
    """Return J and its correction with a state whose C-points are wrong by about `size`."""
    state, adjoint = functional.new_state(), functional.new_adjoint()
    functional.propagate(state, control)
    truth = functional.objective(state).objective
    points = functional.state_solver.c_points(state.trajectory)
    points += size * np.random.default_rng(0).standard_normal(points.shape)
    functional.relax_state(state, control)
    functional.propagate_adjoint(adjoint, state)
    value = functional.objective(state)
    corrected = value.corrected(functional.state_correction(state, adjoint))
    return abs(value.objective - truth), abs(corrected.objective - truth)


@pytest.mark.parametrize("name", ["van-der-pol", "fishing", "oscillator"])
def test_correction_by_the_adjoint_leaves_a_second_order_error(name):
    functional, control = PROBLEM[name]()
    plain, corrected = np.array([perturbed(functional, control, 10.0**-k) for k in (3, 4)]).T
    assert math.log10(plain[0] / plain[1]) == pytest.approx(1, abs=0.1)
    assert math.log10(corrected[0] / corrected[1]) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("name", ["double-integrator", "van-der-pol", "oscillator-3-levels"])
def test_cycles_after_relaxation_are_the_same_and_cost_less(name):
    functional, control = PROBLEM[name]()
    states, costs = [], []
    for relaxed in (False, True):
        state, adjoint = functional.new_state(), functional.new_adjoint()
        functional.state_cycles(state, control, pint.Accuracy(1))
        functional.adjoint_cycles(adjoint, state, pint.Accuracy(1))
        before = functional.state_solver.steps_evaluated[0]
        functional.state_cycles(state, control, pint.Accuracy(1), relaxed)
        costs.append(functional.state_solver.steps_evaluated[0] - before)
        functional.adjoint_cycles(adjoint, state, pint.Accuracy(1))
        functional.adjoint_cycles(adjoint, state, pint.Accuracy(1), relaxed)
        states.append((state.trajectory, adjoint.trajectory))
    for ours, theirs in zip(*states, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    factor = functional.problem.grid.coarsening[0]
    saved = functional.problem.grid.steps * (factor - 1) / factor
    assert costs[0] - costs[1] == saved


# Guards


def test_one_cycle_on_the_van_der_pol_oscillator_ends_with_a_status():
    functional, control = PROBLEM["van-der-pol"]()
    result = pint.OneShot(functional, 1).solve(control, iterations=30)
    assert isinstance(result.status, pint.Status)
    assert np.isfinite(result.control.vector).all()
    assert math.isfinite(result.objective + result.gradient_norm)


@pytest.mark.parametrize("line_search", [pint.armijo(), pint.fixed_step()], ids=["armijo", "fixed"])
@pytest.mark.parametrize("cycles", [1, 2, "adaptive"])
@pytest.mark.parametrize("step", [1.0, 1e30])
def test_a_result_is_finite_whatever_the_steps_do(cycles, line_search, step):
    functional, control = PROBLEM["van-der-pol"]()
    with np.errstate(all="ignore"):
        result = pint.OneShot(functional, cycles).solve(
            control, line_search=line_search, step=step, iterations=4
        )
    assert np.isfinite(result.control.vector).all()
    assert math.isfinite(result.objective + result.gradient_norm)
    assert all(math.isfinite(row.objective) for row in result.history)


class Growing:
    """Steps that move away from the optimum."""

    decrease = None

    def search(self, evaluate, objective, step):
        return evaluate(-1e3), 0


@pytest.mark.parametrize("cycles", [2, "adaptive"])
def test_a_growing_gradient_is_called_divergence(cycles):
    functional, control = PROBLEM["double-integrator"]()
    result = pint.OneShot(functional, cycles).solve(
        control, line_search=Growing(), hessian=pint.identity(), iterations=50
    )
    assert result.status is pint.Status.DIVERGING
    assert "FCF" in result.status.value
    assert math.isfinite(result.objective)


def test_residuals_that_grow_from_cycle_to_cycle_are_called_divergence():
    functional, _ = PROBLEM["double-integrator"]()
    state, solves = functional.new_state(), ErrorControlled()
    for number, residual in enumerate([1.0, 2.0, 3.0, 5.0, 8.0, 13.0]):
        assert not solves.diverges
        state.convergence = pint.Convergence((residual,), converged=False)
        solves._note_residual(state, first=number == 0)
    assert solves.diverges


def test_a_change_of_the_gradient_below_its_error_is_no_pair():
    solves = ErrorControlled()
    assert not solves.pair_is_reliable(1.0, 2.0)
    assert solves.eta == solves.target / 4
    assert solves.pair_is_reliable(2.0, 1.0)
    assert solves.eta == solves.target / 2


@pytest.mark.parametrize("cycles", ["many", 0, 2.5])
def test_bad_cycles(cycles):
    functional, _ = PROBLEM["double-integrator"]()
    with pytest.raises(ValueError, match=r"cycles=.*got"):
        pint.OneShot(functional, cycles)


def test_bad_combinations():
    functional, control = PROBLEM["double-integrator"]()
    with pytest.raises(ValueError, match=r"tolerance=.*adaptive"):
        pint.OneShot(functional, "adaptive", tolerance=1e-3)
    for option in ({"error_controlled": True}, {"checkpoint": pint.Checkpoint("unused.npz")}):
        with pytest.raises(ValueError, match=next(iter(option))):
            pint.minimize(functional, control, "scipy:L-BFGS-B", **option)


def test_history_counts_and_terms():
    functional, control = PROBLEM["oscillator"]()
    result = pint.OneShot(functional, "adaptive").solve(control, iterations=6)
    for row in result.history:
        assert row.steps_by_level[0] == row.state_steps + row.adjoint_steps
        assert row.objective == row.cost + sum(row.regularisers)
        assert sum(row.phases.values()) <= row.seconds
    for name in ("state_cycles", "adjoint_cycles", "state_steps", "seconds"):
        counts = [getattr(row, name) for row in result.history]
        assert counts == sorted(counts)
    assert result.history[-1].phases["update"] > 0


def test_double_integrator_of_the_tests_and_of_the_problems_agree():
    grid = pint.TimeGrid.uniform(1.0, 20, 4, 2)
    functional = pint.ReducedFunctional(DOUBLE_INTEGRATOR.problem(grid))
    result = pint.OneShot(functional, "adaptive").solve(functional.problem.controls.zeros())
    assert result.objective == pytest.approx(OPTIMUM, abs=1e-12)
