"""One-shot with a fixed number of cycles, lagged, and adaptive: optima, errors, guards."""

import math
from functools import partial

import numpy as np
import pytest
from linear_quadratic import DOUBLE_INTEGRATOR

import pint
from pint.equations import Cycles, Lagged, March, Relax
from pint.optimise import LineSearch
from pint.optimise.adaptive import TARGET, ControlledErrors, Extrapolation
from pint.optimise.lagged import LaggedCycles
from problems.heat import Heat, manufactured
from problems.ode import PROBLEMS

OPTIMUM = 5.06187699853476e-2  # of the double integrator


def ode(name, steps, coarsening=4, levels=2, **settings):
    definition = PROBLEMS[name](**settings)
    grid = pint.TimeGrid.uniform(definition.T, steps, coarsening, levels)
    functional = pint.ReducedFunctional(definition.problem(), grid)
    return functional, definition.start(functional.controls)


def heat(kind="distributed", coarsening=4, levels=2):
    definition = Heat(kind, 9)
    grid = pint.TimeGrid.uniform(1.0, 32, coarsening, levels)
    problem = definition.problem(manufactured(definition, 1.0))
    functional = pint.ReducedFunctional(problem, grid)
    return functional, functional.controls.zeros()


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
    own = functional.on(functional.grid)
    state, adjoint = own.state.new(), own.adjoint.new()

    def evaluate(control):
        own.state.solve(state, control, March())
        own.adjoint.solve(adjoint, state, March())
        derivative = own.derivative_of(state, adjoint)
        return own.objective(state).objective, control.space.riesz(derivative)

    return evaluate


# Optima


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("double-integrator", pint.Adaptive),
        ("double-integrator", partial(pint.Lagged, 2)),
        ("oscillator", pint.Lagged),
        ("oscillator-3-levels", pint.Adaptive),
        ("vector-lqr", partial(pint.Lagged, 2)),
        ("fishing", pint.Lagged),
        ("heat", pint.Adaptive),
        ("heat-initial", pint.Lagged),
        ("heat-initial", pint.Adaptive),
        ("heat-neumann", partial(pint.Lagged, 2)),
    ],
)
def test_one_shot_finds_the_optimum_of_the_reduced_space(name, kind):
    functional, control = PROBLEM[name]()
    _, gradient = exact(functional)(control)
    options = {"gradient_tolerance": 1e-6 * control.space.norm(gradient), "iterations": 1000}
    sequential, start = PROBLEM[name](levels=1)
    expected = pint.minimize(sequential, start, pint.ReducedSpace(**options))
    result = pint.minimize(functional, control, kind(**options))
    assert result.status is pint.Status.CONVERGED
    assert result.gradient_norm <= options["gradient_tolerance"]
    assert result.objective == pytest.approx(expected.objective, rel=1e-8)


@pytest.mark.parametrize("kind", [pint.OneShot, pint.Lagged, pint.Adaptive])
def test_double_integrator_to_ten_digits_and_never_below_its_optimum(kind):
    for tolerance in (1e-3, 1e-5, 1e-9):
        functional, control = PROBLEM["double-integrator"]()
        result = pint.minimize(functional, control, kind(gradient_tolerance=tolerance))
        assert result.status is pint.Status.CONVERGED
        assert result.objective >= OPTIMUM - 1e-12
    assert result.objective == pytest.approx(OPTIMUM, abs=1e-12)


@pytest.mark.parametrize("name", ["double-integrator", "van-der-pol", "heat", "heat-neumann"])
def test_a_lagged_sweep_makes_each_step_once(name):
    """N steps of level 0 and N/m of level 1 for the state, as many for adjoint and gradient."""
    functional, control = PROBLEM[name]()
    functional = pint.ReducedFunctional(functional.problem, functional.grid, relaxation="F")
    state, adjoint = functional.state.new(), functional.adjoint.new()
    grid = functional.grid
    for _ in range(2):
        before = [solver.steps_evaluated for solver in solvers(functional)]
        functional.state.solve(state, control, Lagged())
        functional.objective(state)
        functional.adjoint.solve(adjoint, state, Lagged())
        functional.derivative_of(state, adjoint)
        for solver, old in zip(solvers(functional), before, strict=True):
            made = tuple(np.subtract(solver.steps_evaluated, old))
            assert made == (grid.steps, grid.steps // grid.coarsening[0])


def solvers(functional):
    return functional.state.solver, functional.adjoint.solver


@pytest.mark.parametrize("name", PROBLEM)
def test_lagged_cycles_converge_to_the_exact_gradient(name):
    functional, control = PROBLEM[name]()
    objective, expected = exact(functional)(control)
    state, adjoint = functional.state.new(), functional.adjoint.new()
    for _ in range(40):
        functional.state.solve(state, control, Lagged())
        functional.adjoint.solve(adjoint, state, Lagged())
    gradient = control.space.riesz(functional.derivative_of(state, adjoint))
    assert functional.objective(state).objective == pytest.approx(objective, rel=1e-13)
    size = abs(expected.vector).max()
    np.testing.assert_allclose(gradient.vector, expected.vector, rtol=0, atol=1e-11 * size)


def test_adaptive_needs_fewer_cycles_than_the_reduced_space():
    results = []
    for kind in (pint.Adaptive, pint.ReducedSpace):
        functional, control = PROBLEM["double-integrator"]()
        results.append(pint.minimize(functional, control, kind(gradient_tolerance=1e-7)))
        assert results[-1].status is pint.Status.CONVERGED
    assert results[0].objective == pytest.approx(results[1].objective, rel=1e-12)
    cycles = [result.history[-1].state_cycles for result in results]
    assert cycles[0] < 0.7 * cycles[1]


def test_adaptive_on_one_level_is_the_reduced_space():
    results = []
    for kind in (pint.Adaptive, pint.ReducedSpace):
        functional, control = ode("oscillator", 32, levels=1)
        results.append(pint.minimize(functional, control, kind(iterations=3)))
    ours, theirs = results
    assert ours.history[-1].state_cycles == 0
    assert ours.history[-1].gradient_error == 0.0
    np.testing.assert_array_equal(ours.control.vector, theirs.control.vector)


def test_the_accuracy_of_the_reduced_space_is_that_of_the_functional_or_its_own():
    functional, control = PROBLEM["double-integrator"]()
    cycles = []
    for accuracy in (None, pint.Accuracy(1)):
        before = functional.state.solver.cycles_done
        pint.minimize(functional, control, pint.ReducedSpace(accuracy, iterations=0))
        cycles.append(functional.state.solver.cycles_done - before)
    assert cycles[0] > cycles[1] == 1


def cycles_until(name, method, fraction=1e-6):
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
        pint.minimize(functional, control, method, callback=callback)
    return reached.value.args[0]


@pytest.mark.parametrize("name", ["double-integrator", "heat"])
def test_adaptive_needs_few_cycles(name):
    most = {"gradient_tolerance": 1e-15, "iterations": 500}
    fixed = [cycles_until(name, pint.OneShot(cycles, **most)) for cycles in (2, 4, 10)]
    fixed.append(cycles_until(name, pint.Lagged(1, **most)))
    adaptive = cycles_until(name, pint.Adaptive(**most))
    assert adaptive <= 1.35 * min(fixed)
    assert adaptive <= 0.4 * fixed[2] or adaptive <= min(fixed)


# Cycles of state and adjoint, and rejected trials, of the first updates; the steps then evaluated
DECISIONS = {
    ("oscillator", pint.Adaptive): (
        [(2, 2, 0), (10, 5, 4), (12, 7, 0), (14, 9, 0), (16, 11, 0), (18, 13, 0)],
        (3216, 2000),
    ),
    ("van-der-pol", pint.Adaptive): (
        [(2, 3, 0), (9, 5, 3), (12, 8, 0), (14, 10, 0), (19, 12, 3), (21, 14, 0)],
        (4000, 2128),
    ),
    ("vector-lqr", pint.Lagged): (
        [(2, 2, 0), (5, 3, 2), (14, 7, 5), (16, 9, 0), (18, 11, 0), (22, 13, 1)],
        None,
    ),
    ("fishing", pint.Lagged): (
        [(2, 2, 0), (3, 3, 0), (12, 7, 5), (14, 9, 0), (16, 11, 0), (18, 13, 0)],
        None,
    ),
}


@pytest.mark.parametrize(("name", "kind"), DECISIONS)
def test_decisions_of_the_first_updates(name, kind):
    """A record: fewer cycles may be right as well, and then are a reason to look."""
    functional, control = PROBLEM[name]()
    rows, steps = DECISIONS[name, kind]
    method = kind(iterations=5, line_search=pint.armijo())
    result = pint.minimize(functional, control, method)
    found = [(r.state_cycles, r.adjoint_cycles, r.line_search_trials) for r in result.history]
    last = result.history[-1]
    assert found == rows
    assert steps in (None, (last.state_steps, last.adjoint_steps))


def test_lagged_solves_are_corrected_by_the_adjoint_when_a_search_is_repeated(monkeypatch):
    functional, control = PROBLEM["vector-lqr"]()
    corrections, tighten = [], LaggedCycles.tighten

    def noted(strategy, point):
        tighten(strategy, point)
        corrections.append(point.state.correction)
        plain = functional.objective(point.state).objective
        assert point.value.objective == plain + point.state.correction

    monkeypatch.setattr(LaggedCycles, "tighten", noted)
    method = pint.Lagged(iterations=3, line_search=pint.armijo())
    pint.minimize(functional, control, method)
    assert corrections
    assert all(correction != 0.0 for correction in corrections)


# Errors


@pytest.mark.parametrize("name", ["double-integrator", "oscillator", "van-der-pol", "heat"])
def test_estimated_errors_are_of_the_size_of_the_errors(name):
    functional, control = PROBLEM[name]()
    evaluate, ratios = exact(functional), []

    def callback(iterate, control, state):
        _, gradient = evaluate(control)
        norm = control.space.norm
        error = abs(norm(gradient) - iterate.gradient_norm)
        ratios.append(error / max(iterate.gradient_error, 1e-12 * norm(gradient)))
        assert iterate.gradient_error < 0.5 * iterate.gradient_norm

    pint.minimize(functional, control, pint.Adaptive(iterations=12), callback=callback)
    assert np.sum(np.array(ratios) > 1.0) <= 1
    assert max(ratios) < 3.0


def test_extrapolation_of_a_geometric_sequence_is_exact():
    error, values = Extrapolation(), 5.0 + 3.0 * 0.4 ** np.arange(6)
    estimates = [error.add(abs(difference)) for difference in np.diff(values)]
    np.testing.assert_allclose(estimates[1:], abs(values[2:] - 5.0), rtol=1e-12)


def perturbed(functional, control, size):
    """Return J and its correction with a state whose C-points are wrong by about `size`."""
    state, adjoint = functional.state.new(), functional.adjoint.new()
    functional.state.solve(state, control, March())
    truth = functional.objective(state).objective
    points = functional.state.solver.c_points(state.points)
    points += size * np.random.default_rng(0).standard_normal(points.shape)
    functional.state.solve(state, control, Relax())
    functional.adjoint.solve(adjoint, state, March())
    value = functional.objective(state)
    corrected = value.corrected(functional.state.correction(state, adjoint))
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
    states, costs, once = [], [], pint.Accuracy(1)
    for relaxed in (False, True):
        state, adjoint = functional.state.new(), functional.adjoint.new()
        functional.state.solve(state, control, Cycles(once))
        functional.adjoint.solve(adjoint, state, Cycles(once))
        before = functional.state.solver.steps_evaluated[0]
        functional.state.solve(state, control, Cycles(once, relaxed))
        costs.append(functional.state.solver.steps_evaluated[0] - before)
        functional.adjoint.solve(adjoint, state, Cycles(once))
        functional.adjoint.solve(adjoint, state, Cycles(once, relaxed))
        states.append((state.points, adjoint.points))
    for ours, theirs in zip(*states, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    factor = functional.grid.coarsening[0]
    saved = functional.grid.steps * (factor - 1) / factor
    assert costs[0] - costs[1] == saved


# Guards


def test_one_cycle_on_the_van_der_pol_oscillator_ends_with_a_status():
    functional, control = PROBLEM["van-der-pol"]()
    result = pint.minimize(functional, control, pint.Lagged(1, iterations=30))
    assert isinstance(result.status, pint.Status)
    assert np.isfinite(result.control.vector).all()
    assert math.isfinite(result.objective + result.gradient_norm)


@pytest.mark.parametrize(
    ("kind", "line_search", "step"),
    [
        (partial(pint.OneShot, 1), pint.fixed_step(), 1.0),
        (partial(pint.OneShot, 2), pint.armijo(), 1.0),
        (partial(pint.OneShot, 2), pint.fixed_step(), 1e30),
        (pint.Lagged, pint.armijo(), 1e30),
        (pint.Lagged, pint.fixed_step(), 1e30),
        (pint.Adaptive, pint.armijo(), 1e30),
        (pint.Adaptive, pint.fixed_step(), 1e30),
    ],
)
def test_a_result_is_finite_whatever_the_steps_do(kind, line_search, step):
    functional, control = PROBLEM["van-der-pol"]()
    method = kind(line_search=line_search, step=step, iterations=2)
    with np.errstate(all="ignore"):
        result = pint.minimize(functional, control, method)
    assert np.isfinite(result.control.vector).all()
    assert math.isfinite(result.objective + result.gradient_norm)
    assert all(math.isfinite(row.objective) for row in result.history)


class Growing(LineSearch):
    """Steps that move away from the optimum."""

    def begin(self, objective, step, error):
        return super().begin(objective, -1e3)


@pytest.mark.parametrize("kind", [pint.OneShot, pint.Adaptive])
def test_a_growing_gradient_is_called_divergence(kind):
    functional, control = PROBLEM["double-integrator"]()
    method = kind(line_search=Growing(None), hessian=pint.identity(), iterations=50)
    result = pint.minimize(functional, control, method)
    assert result.status is pint.Status.DIVERGING
    assert "line search" in result.status.value
    assert result.objective <= functional.value(control)
    assert math.isfinite(result.objective)


def test_residuals_that_grow_from_cycle_to_cycle_are_called_divergence():
    functional, _ = PROBLEM["double-integrator"]()
    state, strategy = functional.state.new(), ControlledErrors()
    for number, residual in enumerate([1.0, 2.0, 3.0, 5.0]):
        assert not strategy.diverges
        state.convergence = pint.Convergence((residual,), converged=False)
        strategy._note_residual(state, first=number == 0)
    assert strategy.diverges


def test_a_run_whose_solves_diverge_goes_on_with_exact_ones(monkeypatch):
    monkeypatch.setattr("pint.optimise.adaptive.MOST_GROWTH", 0)
    functional, control = PROBLEM["double-integrator"]()
    result = pint.minimize(functional, control, pint.Adaptive())
    assert result.status is pint.Status.CONVERGED
    assert result.objective == pytest.approx(OPTIMUM, abs=1e-12)
    assert all(row.gradient_error == 0 for row in result.history[1:4])


def test_a_change_of_the_gradient_below_its_error_is_no_pair():
    strategy = ControlledErrors()
    assert not strategy._judge(1.0, 2.0)
    assert strategy.eta == TARGET / 4
    assert strategy._judge(2.0, 1.0)
    assert strategy.eta == pytest.approx(1.2 * TARGET / 4)


def test_a_strategy_restores_what_it_has_saved():
    saved = ControlledErrors(eta=0.1, of_state=Extrapolation(0.7, 2.0), failures=2)
    restored = ControlledErrors()
    restored.load_state_dict(saved.state_dict())
    assert restored == saved


def test_history_counts_and_terms():
    functional, control = PROBLEM["oscillator"]()
    result = pint.minimize(functional, control, pint.Adaptive(iterations=6))
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
    functional = pint.ReducedFunctional(DOUBLE_INTEGRATOR.problem(), grid)
    result = pint.minimize(functional, method=pint.Adaptive())
    assert result.objective == pytest.approx(OPTIMUM, abs=1e-12)


def test_all_states_of_a_result():
    functional, control = PROBLEM["van-der-pol"]()
    result = pint.minimize(functional, control, pint.OneShot(iterations=2))
    states = result.states()
    assert len(states) == functional.grid.steps + 1
    np.testing.assert_array_equal(states, functional.states(result.state))
    assert result.stages == ()
