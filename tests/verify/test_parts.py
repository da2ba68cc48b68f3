"""The checks of pint.verify pass on right problems, and name the place of every planted error."""

from dataclasses import replace

import numpy as np
import pytest
import registry
from registry import Pendulum, PendulumAdjoint, RunningCost, TerminalCost

import pint
from pint.equations import March
from pint.verify import adjoint_dot_test, stepper_test, taylor_test
from pint.verify.arguments import samples_by_level


def grid_of(levels=2):
    return pint.TimeGrid(np.linspace(0, 1, 10) ** 1.2, coarsening=2, levels=levels)


def problem(stepper=None, adjoint=None, objective=None, batched=True, controls=None):
    stepper = stepper or Pendulum(batched)
    return pint.Problem(
        stepper,
        (adjoint or PendulumAdjoint)(stepper),
        (objective or RunningCost)(),
        controls or {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)},
        [pint.Tikhonov(0.3, ["u", "theta"])],
    )


def control_of(problem, grid=None):
    return registry.random_control(problem.control_space(grid or grid_of()), seed=3)


def contracts(problem, grid=None):
    return stepper_test(problem, control_of(problem, grid))


def dots(problem, grid=None):
    return adjoint_dot_test(problem, control_of(problem, grid))


def taylor(problem, grid=None, **options):
    functional = pint.ReducedFunctional(problem, grid or grid_of())
    return taylor_test(functional, registry.random_control(functional.controls, seed=3), **options)


def failing_places(report):
    with pytest.raises(pint.VerificationError, match="FAILED"):
        report.require()
    for check in report.failures:
        assert str(check) in str(report)
    return {(check.method, check.level, check.field) for check in report.failures}


# Right problems


@pytest.mark.parametrize("batched", [True, False])
def test_right_problem_passes_and_reports_what_was_checked(batched):
    right, grid = problem(batched=batched), grid_of(levels=3)
    reports = (
        contracts(right, grid),
        dots(right, grid),
        taylor(right, grid),
        taylor(right, grid, exact=False),
    )
    for report in reports:
        report.require()
        assert report.passed
        assert "passed" in str(report)
    places = {(check.method, check.level, check.field) for check in reports[1].checks}
    for level in range(3):
        for field in ("y", "u['u']", "theta['theta']"):
            assert ("PendulumAdjoint.vjp", level, field) in places
    assert ("PendulumAdjoint.initial_vjp", None, "theta['theta']") in places
    assert ("RunningCost.step_cost_derivative", 0, "y1") in places
    assert ("RunningCost.terminal_derivative", None, "y") in places
    exact = [check for check in reports[1].checks if "Adjoint" in check.method]
    assert not any(check.by_differences for check in exact)


class CannotBeCopied(Pendulum):
    def __deepcopy__(self, memo):
        raise RuntimeError("its arrays are on a device")


def test_a_stepper_that_cannot_be_copied_is_tested_without_a_copy():
    assert contracts(problem(stepper=CannotBeCopied(True))).passed


def test_reports_are_the_same_for_the_same_seed_and_differ_for_another():
    right = problem()
    first, again, other = (taylor(right, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.derivative != other.derivative


def test_checks_leave_the_control_as_it_is():
    right = problem()
    control = control_of(right)
    before = control.vector.copy()
    adjoint_dot_test(right, control)
    stepper_test(right, control)
    taylor_test(pint.ReducedFunctional(right, grid_of()), control)
    np.testing.assert_array_equal(control.vector, before)


def test_samples_are_steps_of_the_problem_with_their_own_states_and_controls():
    right = problem()
    functional = pint.ReducedFunctional(right, grid_of(levels=3))
    control = registry.random_control(functional.controls, seed=3)
    state = functional.state.new()
    functional.state.solve(state, control, March())
    for level, _, _, (sample,) in samples_by_level(right, state, control, seed=0):
        s = sample.at["s"]
        rows = s.index if level < 2 else s.index[:1]  # the second one of a single step is moved
        assert len(set(rows)) == {0: 3, 1: 3, 2: 1}[level]
        np.testing.assert_array_equal(s.t1[:, 0], functional.grid.t[s.index + 2**level])
        np.testing.assert_array_equal(sample.at["y"][: len(rows)], state.points[rows])
        np.testing.assert_array_equal(sample.at["u"]["u"][: len(rows)], control["u"][rows])


@pytest.mark.parametrize("exact", [True, False])
def test_taylor_test_solves_by_stepping_or_by_cycles(exact):
    functional = pint.ReducedFunctional(problem(), grid_of())
    control = registry.random_control(functional.controls, seed=3)
    taylor_test(functional, control, exact=exact).require()
    for solver in (functional.state.solver, functional.adjoint.solver):
        assert (solver.cycles_done == 0) is exact


def test_taylor_direction_is_used_as_given():
    functional = pint.ReducedFunctional(problem(), grid_of(), accuracy=pint.Accuracy(20))
    direction = functional.control(u=[1.0, 0.0])
    control = registry.random_control(functional.controls, seed=3)
    report = taylor_test(functional, control, direction)
    slope = functional.controls.pair(functional.derivative(control), direction)
    assert report.derivative == pytest.approx(slope, rel=1e-12)
    report.require()


# J linear, quadratic, constant


class Drift(pint.TimeStepper):
    """y' = u."""

    batched = True
    initial_state = np.ones(2)

    def step(self, s, y, u, theta):
        return y + s.dt * u["u"]


class DriftAdjoint(pint.Adjoint):
    factor = 1.0

    def __init__(self, stepper):
        pass

    def vjp(self, s, y, u, theta, lam):
        return lam.copy(), {"u": self.factor * s.dt * lam}, {}


class WrongDriftAdjoint(DriftAdjoint):
    factor = 1.001


def power(exponent):
    class Power(pint.Objective):
        def terminal(self, y, theta):
            return (y**exponent).sum()

        def terminal_derivative(self, y, theta):
            return exponent * y ** max(exponent - 1, 0), {}

    return Power


def drifting(objective, adjoint=DriftAdjoint):
    stepper = Drift()
    fields = {"u": pint.TimeControl(2)}
    drift = pint.Problem(stepper, adjoint(stepper), objective(), fields)
    return pint.ReducedFunctional(drift, pint.TimeGrid.uniform(1.0, 8))


def drift_report(objective, adjoint=DriftAdjoint):
    functional = drifting(objective, adjoint)
    return taylor_test(functional, registry.random_control(functional.controls, seed=3))


def test_taylor_test_of_a_linear_functional_passes_on_rounding_alone():
    report = drift_report(power(1))
    assert report.passed
    assert report.rates == ()
    assert "linear" in str(report)


def test_taylor_test_finds_a_wrong_derivative_of_a_linear_functional():
    report = drift_report(power(1), WrongDriftAdjoint)
    assert not report.passed
    assert report.rate == pytest.approx(1.0, abs=0.01)


def test_taylor_rate_of_a_quadratic_functional_is_two_at_every_h():
    report = drift_report(power(2))
    assert report.passed
    # the smallest remainders are 1e-12 of J, rounding at 1e-16: half a per cent of a rate
    np.testing.assert_allclose(report.rates, 2.0, atol=0.01)


def test_taylor_test_of_a_constant_functional_passes():
    assert drift_report(power(0)).passed


def test_taylor_test_finds_a_relative_error_of_1e_4():
    class Slightly(DriftAdjoint):
        factor = 1.0001

    assert not drift_report(power(3), Slightly).passed


def test_taylor_test_turns_the_direction_away_from_the_bounds():
    class RootDrift(Drift):
        """y' = sqrt(1 + 10 u), which is NaN below -0.1."""

        def step(self, s, y, u, theta):
            return y + s.dt * np.sqrt(1 + 10 * u["u"])

    class RootDriftAdjoint(DriftAdjoint):
        def vjp(self, s, y, u, theta, lam):
            return lam.copy(), {"u": 5 * s.dt * lam / np.sqrt(1 + 10 * u["u"])}, {}

    step = RootDrift()
    fields = {"u": pint.TimeControl(2, lower=0.0)}
    bounded = pint.Problem(step, RootDriftAdjoint(step), power(1)(), fields)
    functional = pint.ReducedFunctional(bounded, pint.TimeGrid.uniform(1.0, 8))
    report = taylor_test(functional, functional.control())
    report.require()
    assert len(report.h) > 5


def test_taylor_test_skips_steps_to_where_the_objective_is_not_finite():
    class Narrow(power(1)):
        def terminal(self, y, theta):
            with np.errstate(invalid="ignore"):
                return np.log(y - 0.99).sum()

        def terminal_derivative(self, y, theta):
            return 1 / (y - 0.99), {}

    functional = drifting(Narrow)
    report = taylor_test(functional, functional.control(), functional.control(u=-0.5))
    assert report.h[0] < 0.1
    report.require()


# Planted errors. Each: what is wrong, and (method, level, field) of every failure.


class WrongSign(PendulumAdjoint):
    def vjp(self, s, y, u, theta, lam):
        dy, *rest = super().vjp(s, y, u, theta, lam)
        return 2 * lam - dy, *rest


class WrongSignOnLevelOne(PendulumAdjoint):
    def vjp(self, s, y, u, theta, lam):
        dy, *rest = super().vjp(s, y, u, theta, lam)
        return (2 * lam - dy if s.level == 1 else dy), *rest


class WrongTimeStep(PendulumAdjoint):
    """Divides by the stride: the finest step size on every level."""

    def vjp(self, s, y, u, theta, lam):
        fine = pint.Steps(s.index, s.t0, s.t0 + s.dt / 2**s.level, s.level)
        dy = super().vjp(fine, y, u, theta, lam)[0]
        return dy, *super().vjp(s, y, u, theta, lam)[1:]


class NoControlTerm(PendulumAdjoint):
    def vjp(self, s, y, u, theta, lam):
        dy, _, dtheta = super().vjp(s, y, u, theta, lam)
        return dy, {}, dtheta


class SharedForgotten(PendulumAdjoint):
    def vjp(self, s, y, u, theta, lam):
        dy, du, _ = super().vjp(s, y, u, theta, lam)
        return dy, du, {}


class InitialForgotten(PendulumAdjoint):
    def initial_vjp(self, theta, lam0):
        return {}


class TransposedJacobian(PendulumAdjoint):
    """Swaps the two off-diagonal blocks of the Jacobian."""

    def vjp(self, s, y, u, theta, lam):
        swapped = self.transposed(s, y, u, theta, lam[..., ::-1])[0][..., ::-1]
        return lam + swapped, *super().vjp(s, y, u, theta, lam)[1:]


class ReversedBatch(PendulumAdjoint):
    def vjp(self, s, y, u, theta, lam):
        reversed_dy = super().vjp(s, y, u, theta, lam[::-1])[0][::-1]
        return reversed_dy, *super().vjp(s, y, u, theta, lam)[1:]


class NaNControlTerm(PendulumAdjoint):
    def vjp(self, s, y, u, theta, lam):
        dy, du, dtheta = super().vjp(s, y, u, theta, lam)
        du["u"][-1, 0] = np.nan
        return dy, du, dtheta


class WrongShape(PendulumAdjoint):
    def vjp(self, s, y, u, theta, lam):
        dy, du, dtheta = super().vjp(s, y, u, theta, lam)
        return dy, du, {"theta": np.append(dtheta["theta"], 0.0)}


U, SHARED = "u['u']", "theta['theta']"
DOT_ERRORS = [
    (WrongSign, [(0, "y"), (1, "y")]),
    (WrongSignOnLevelOne, [(1, "y")]),
    (WrongTimeStep, [(1, "y")]),
    (NoControlTerm, [(0, U), (1, U)]),
    (SharedForgotten, [(0, SHARED), (1, SHARED)]),
    (InitialForgotten, [(None, SHARED)]),
    (TransposedJacobian, [(0, "y"), (1, "y")]),
    (ReversedBatch, [(0, "y"), (1, "y")]),
    (NaNControlTerm, [(0, U), (1, U)]),
    (WrongShape, [(0, SHARED), (1, SHARED)]),
]


@pytest.mark.parametrize(("adjoint", "places"), DOT_ERRORS)
def test_dot_test_names_the_place_of_a_wrong_adjoint(adjoint, places):
    method = "initial_vjp" if adjoint is InitialForgotten else "vjp"
    named = {(f"{adjoint.__name__}.{method}", *place) for place in places}
    assert failing_places(dots(problem(adjoint=adjoint))) == named


# Coarse levels do not enter an exact gradient, stepping makes batches of one step only, and a
# wrong shape is refused before.
@pytest.mark.parametrize(
    "adjoint",
    [
        adjoint
        for adjoint, _ in DOT_ERRORS
        if adjoint not in (WrongSignOnLevelOne, WrongTimeStep, ReversedBatch, WrongShape)
    ],
)
def test_taylor_test_finds_a_wrong_adjoint(adjoint):
    report = taylor(problem(adjoint=adjoint), grid_of(levels=1))
    assert not report.passed
    with pytest.raises(pint.VerificationError, match="not the derivative of J"):
        report.require()


class MissingFactor(RunningCost):
    def step_cost_derivative(self, s, y0, y1, u, theta):
        dy0, dy1, du, dtheta = super().step_cost_derivative(s, y0, y1, u, theta)
        return dy0 / s.dt, dy1, du, dtheta


class WrongEnd(RunningCost):
    def terminal_derivative(self, y, theta):
        return y, {}


class SharedCostForgotten(TerminalCost):
    def terminal_derivative(self, y, theta):
        return super().terminal_derivative(y, theta)[0], {}


class WrongOuter(RunningCost):
    def outer_derivative(self, value):
        return 1.0


@pytest.mark.parametrize(
    ("objective", "batched", "place"),
    [
        (MissingFactor, True, ("MissingFactor.step_cost_derivative", 0, "y0")),
        (MissingFactor, False, ("MissingFactor.step_cost_derivative", 0, "y0")),
        (WrongEnd, False, ("WrongEnd.terminal_derivative", None, "y")),
        (
            SharedCostForgotten,
            True,
            ("SharedCostForgotten.terminal_derivative", None, "theta['theta']"),
        ),
        (WrongOuter, False, ("WrongOuter.outer_derivative", None, "sum")),
    ],
)
def test_both_tests_find_a_wrong_cost_derivative(objective, place, batched):
    wrong = problem(objective=objective, batched=batched)
    assert failing_places(dots(wrong)) == {place}
    assert not taylor(wrong).passed


@pytest.mark.parametrize(("place", "batched"), [("y0", True), ("y1", False), ("y", True)])
def test_zero_stands_for_a_derivative_only_where_it_is_zero(place, batched):
    """All costs of `RunningCost` depend on the states."""

    class Zero(RunningCost):
        def step_cost_derivative(self, *arguments):
            dy0, dy1, *rest = super().step_cost_derivative(*arguments)
            return (0.0 if place == "y0" else dy0), (0.0 if place == "y1" else dy1), *rest

        def terminal_derivative(self, *arguments):
            dy, dtheta = super().terminal_derivative(*arguments)
            return (0.0 if place == "y" else dy), dtheta

    wrong = problem(objective=Zero, batched=batched)
    method = "terminal_derivative" if place == "y" else "step_cost_derivative"
    assert contracts(wrong).passed
    named = {(f"Zero.{method}", None if place == "y" else 0, place)}
    assert failing_places(dots(wrong)) == named
    assert not taylor(wrong).passed


def test_dot_test_finds_a_wrong_regulariser():
    class Wrong(pint.Regulariser):
        def value(self, control):
            return control.space.inner(control, control)

        def derivative(self, control):
            return control.space.dual(control)

    wrong = replace(problem(), regularisers=[Wrong()])
    assert failing_places(dots(wrong)) == {
        ("Wrong.derivative", None, "u['u']"),
        ("Wrong.derivative", None, "theta['theta']"),
    }


# Contracts


class ChangesState(Pendulum):
    def step(self, s, y, u, theta):
        y += super().step(s, y, u, theta) - y
        return y.copy()


class ChangesControl(Pendulum):
    def step(self, s, y, u, theta):
        new = super().step(s, y, u, theta)
        u["u"][...] = 0.0
        return new


class ChangesShared(Pendulum):
    def step(self, s, y, u, theta):
        new = super().step(s, y, u, theta)
        theta["theta"][0] += 1e-3
        return new


class FromTheStepBefore(Pendulum):
    """Mixes up the batch axis: the forces of the neighbouring step."""

    def step(self, s, y, u, theta):
        return super().step(s, y, {"u": np.roll(u["u"], 1, axis=0)}, theta)


class KeepsFirstStepSize(Pendulum):
    """A cache that is filled once: the step size of the first call."""

    kept = None

    def step(self, s, y, u, theta):
        if self.kept is None:
            self.kept = s.dt.flat[0]
        return super().step(pint.Steps(s.index, s.t0, s.t0 + self.kept, s.level), y, u, theta)


class NaNLate(Pendulum):
    def step(self, s, y, u, theta):
        return np.where(s.t1 > 0.9, np.nan, super().step(s, y, u, theta))


class WrongStepShape(Pendulum):
    def step(self, s, y, u, theta):
        return super().step(s, y, u, theta)[:, :1]


class ChangesLambda(PendulumAdjoint):
    def vjp(self, s, y, u, theta, lam):
        dy, *rest = super().vjp(s, y, u, theta, lam)
        lam[...] = dy
        return dy, *rest


class ChangesForAWhile(PendulumAdjoint):
    """Puts back what it changes, which no comparison shows."""

    def vjp(self, s, y, u, theta, lam):
        lam *= 2.0
        lam *= 0.5
        return super().vjp(s, y, u, theta, lam)


class UsesLastLinearisation(PendulumAdjoint):
    """A stale cache: linearises where the stepper was last called."""

    def vjp(self, s, y, u, theta, lam):
        return super().vjp(s, self.stepper.last, u, theta, lam)


class Remembering(Pendulum):
    def step(self, s, y, u, theta):
        self.last = y.copy()
        return super().step(s, y, u, theta)


class UnknownField(PendulumAdjoint):
    def vjp(self, s, y, u, theta, lam):
        dy, du, dtheta = super().vjp(s, y, u, theta, lam)
        return dy, {**du, "force": du["u"]}, dtheta


def test_stepper_test_names_changed_arguments():
    for stepper, field in (
        (ChangesState, "y"),
        (ChangesControl, "u['u']"),
        (ChangesShared, "theta['theta']"),
    ):
        report = contracts(problem(stepper=stepper()))
        expected = {(f"{stepper.__name__}.step", level, field) for level in (0, 1)}
        assert expected <= failing_places(report)
        claims = {check.claim for check in report.failures if check.field == field}
        assert "argument is left as it is" in claims


def test_stepper_test_names_a_changed_adjoint():
    places = failing_places(contracts(problem(adjoint=ChangesLambda)))
    assert places == {("ChangesLambda.vjp", 0, "lam"), ("ChangesLambda.vjp", 1, "lam")}


@pytest.mark.parametrize("batched", [True, False])
def test_stepper_test_hands_out_read_only_arguments(batched):
    report = contracts(problem(adjoint=ChangesForAWhile, batched=batched))
    places = {("ChangesForAWhile.vjp", level, "call") for level in (0, 1)}
    assert failing_places(report) == places
    assert {check.claim for check in report.failures} == {"accepts read-only arguments"}
    assert "read-only" in report.failures[0].note


@pytest.mark.parametrize(
    ("stepper", "adjoint", "places", "claim"),
    [
        (
            FromTheStepBefore,
            PendulumAdjoint,
            {("FromTheStepBefore.step", 0, "y"), ("FromTheStepBefore.step", 1, "y")},
            "batch",
        ),
        (
            Pendulum,
            ReversedBatch,
            {("ReversedBatch.vjp", 0, "y"), ("ReversedBatch.vjp", 1, "y")},
            "batch",
        ),
        (
            KeepsFirstStepSize,
            PendulumAdjoint,
            {("KeepsFirstStepSize.step", 1, "y")},
            "called again",
        ),
        (
            NaNLate,
            PendulumAdjoint,
            {("NaNLate.step", 0, "y"), ("NaNLate.step", 1, "y")},
            "finite",
        ),
        (WrongStepShape, PendulumAdjoint, {("WrongStepShape.step", 0, "y")}, "shape"),
        (
            lambda: Remembering(batched=False),
            UsesLastLinearisation,
            {("UsesLastLinearisation.vjp", level, "y") for level in (0, 1)},
            "called again",
        ),
        (
            Pendulum,
            UnknownField,
            {("UnknownField.vjp", level, "u") for level in (0, 1)},
            "names of fields",
        ),
        (
            Pendulum,
            WrongShape,
            {("WrongShape.vjp", level, "theta['theta']") for level in (0, 1)},
            "shape",
        ),
    ],
)
def test_stepper_test_names_a_broken_contract(stepper, adjoint, places, claim):
    report = contracts(problem(stepper=stepper(), adjoint=adjoint))
    assert places <= failing_places(report)
    assert any(claim in check.claim for check in report.failures)


def test_states_that_are_not_finite_are_refused_by_taylor_and_dot_test():
    wrong, grid = problem(stepper=NaNLate()), grid_of(levels=1)
    for check in (taylor, dots):
        with pytest.raises(pint.NotFiniteError, match="states of level 0"):
            check(wrong, grid)


# Where the complex step does not work


class RealOnly(Pendulum):
    """Writes into a real array, which refuses complex numbers."""

    def step(self, s, y, u, theta):
        new = np.empty(y.shape)
        new[...] = super().step(s, y, u, theta)
        return new


class Quietly(Pendulum):
    """Drops imaginary parts without an error; not analytic."""

    def step(self, s, y, u, theta):
        return super().step(s, y.real, {"u": u["u"].real}, {"theta": theta["theta"].real})


@pytest.mark.parametrize("stepper", [RealOnly, Quietly])
def test_differences_take_over_where_the_complex_step_does_not_work(stepper):
    report = dots(problem(stepper=stepper()))
    report.require()
    steps = [check for check in report.checks if check.method.startswith("PendulumAdjoint.vjp")]
    assert steps
    assert all(check.by_differences for check in steps)
    assert max(check.error for check in steps) < 1e-9
    report = dots(problem(stepper=stepper(), adjoint=WrongSign))
    assert ("WrongSign.vjp", 1, "y") in failing_places(report)
    assert "by differences" in str(report)


# Misuse


@pytest.mark.parametrize("test", [stepper_test, adjoint_dot_test])
def test_a_grid_in_place_of_a_control(test):
    with pytest.raises(
        TypeError, match=r"\(control=\.\.\.\)` must be a pint\.Control, got TimeGrid"
    ):
        test(problem(), grid_of())


@pytest.mark.parametrize("test", [stepper_test, adjoint_dot_test])
def test_states_that_are_no_arrays_are_refused(test):
    strict = registry.PROBLEMS["strict-predators"]()
    message = rf"{test.__name__}.*numpy arrays or PETSc vectors; `StrictSpace` stores StrictBlock"
    with pytest.raises(TypeError, match=message):
        test(strict, registry.random_control(strict.control_space(grid_of())))
