"""check_problem finds each planted error, names the place, and runs what still has a meaning."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import registry
import test_parts as planted
from ode_cases import Forced, ForcedCost
from registry import Pendulum, PendulumAdjoint, RunningCost

import pint
from pint.steppers import scheme
from pint.verify import adjoint_dot_test, check_problem, convergence_order, stepper_order


def failures(report):
    """Return the places of failures, without the Taylor tests that follow from them."""
    assert not report.passed
    with pytest.raises(pint.VerificationError, match="FAILED"):
        report.require()
    return {(c.method, c.level, c.field) for c in report.failures if c.method != "taylor_test"}


def check_at(report, method, level, field):
    return next(
        c for c in report.failures if (c.method, c.level, c.field) == (method, level, field)
    )


def report_of(**options):
    return check_problem(planted.problem(**options), planted.grid_of())


# Right problems; those of the registry are in test_contracts.py


def test_the_control_is_left_alone_and_the_report_repeats():
    problem, grid = planted.problem(), planted.grid_of()
    control = planted.control_of(problem, grid)
    before = control.vector.copy()
    first = check_problem(problem, grid, control)
    np.testing.assert_array_equal(control.vector, before)
    assert first.passed and "passed" in str(first)
    assert str(first) == str(check_problem(problem, grid, control))


def test_the_default_control_lies_within_the_bounds():
    seen = []

    class Watching(Pendulum):
        def step(self, s, y, u, theta):
            seen.append((u["u"].copy(), theta["theta"].copy()))
            return super().step(s, y, u, theta)

    controls = {
        "u": pint.TimeControl(2, lower=[2.0, -np.inf], upper=[3.0, -5.0]),
        "theta": pint.SharedControl(2, lower=0.5),
    }
    report_of(stepper=Watching(), controls=controls).require()
    u, theta = seen[0]
    assert (u[..., 0] > 2).all() and (u[..., 0] < 3).all()
    assert (u[..., 1] < -5).all()
    assert (theta > 0.5).all()


# Ten planted errors


class Linear(pint.TimeStepper):
    """Explicit Euler for ``y' = A y + B u``."""

    batched = True
    initial_state = np.array([1.0, 0.5])
    A = np.array([[0.0, 1.0], [-2.0, -0.3]])
    B = np.array([[0.0], [1.5]])

    def step(self, s, y, u, theta):
        return y + s.dt * (y @ self.A.T + u["force"] @ self.B.T)


class LinearAdjoint(pint.Adjoint):
    def vjp(self, s, y, u, theta, lam):
        return lam + s.dt * (lam @ Linear.A), {"force": s.dt * (lam @ Linear.B)}, {}


class Energy(pint.Objective):
    def step_cost(self, s, y0, y1, u, theta):
        return 0.5 * s.dt[:, 0] * ((y1**2).sum(axis=1) + (u["force"] ** 2).sum(axis=1))

    def step_cost_derivative(self, s, y0, y1, u, theta):
        return 0.0, s.dt * y1, {"force": s.dt * u["force"]}, {}


class LinearWrongSign(LinearAdjoint):
    def vjp(self, s, y, u, theta, lam):
        return lam - s.dt * (lam @ Linear.A), *super().vjp(s, y, u, theta, lam)[1:]


class LinearTransposed(LinearAdjoint):
    def vjp(self, s, y, u, theta, lam):
        return lam + s.dt * (lam @ Linear.A.T), *super().vjp(s, y, u, theta, lam)[1:]


class LinearFineStep(LinearAdjoint):
    def vjp(self, s, y, u, theta, lam):
        dy = lam + s.dt / 2**s.level * (lam @ Linear.A)
        return dy, *super().vjp(s, y, u, theta, lam)[1:]


class LinearWrongControlSign(LinearAdjoint):
    def vjp(self, s, y, u, theta, lam):
        return super().vjp(s, y, u, theta, lam)[0], {"force": -s.dt * (lam @ Linear.B)}, {}


class LinearOneEntry(LinearAdjoint):
    """Wrong in the second entry of step 4 only."""

    def vjp(self, s, y, u, theta, lam):
        dy, *rest = super().vjp(s, y, u, theta, lam)
        dy[s.index == 4, 1] *= 1 + 1e-6
        return dy, *rest


class LinearNoControl(LinearAdjoint):
    def vjp(self, s, y, u, theta, lam):
        return super().vjp(s, y, u, theta, lam)[0], {}, {}


class HalfEnergy(Energy):
    def step_cost_derivative(self, s, y0, y1, u, theta):
        dy0, dy1, du, dtheta = super().step_cost_derivative(s, y0, y1, u, theta)
        return dy0, 0.5 * dy1, du, dtheta


def linear_report(adjoint=LinearAdjoint, objective=Energy, stepper=Linear):
    fields = {"force": pint.TimeControl(1)}
    linear = pint.Problem(stepper(), adjoint(), objective(), fields)
    return check_problem(linear, pint.TimeGrid.uniform(1.0, 9, coarsening=2, levels=2))


def test_a_linear_problem_passes():
    linear_report().require()


@pytest.mark.parametrize(
    ("options", "places", "note"),
    [
        (
            dict(adjoint=LinearWrongSign),
            {("LinearWrongSign.vjp", level, "y") for level in (0, 1)},
            "the part beyond lam has the wrong sign",
        ),
        (
            dict(adjoint=LinearWrongControlSign),
            {("LinearWrongControlSign.vjp", level, "u['force']") for level in (0, 1)},
            "has the wrong sign",
        ),
        (
            dict(adjoint=LinearTransposed),
            {("LinearTransposed.vjp", level, "y") for level in (0, 1)},
            "the Jacobian is not transposed",
        ),
        (
            dict(adjoint=LinearFineStep),
            {("LinearFineStep.vjp", 1, "y")},
            "right for the step size of level 0",
        ),
        (
            dict(adjoint=LinearNoControl),
            {("LinearNoControl.vjp", level, "u['force']") for level in (0, 1)},
            "is zero or left out",
        ),
        (
            dict(objective=HalfEnergy),
            {("HalfEnergy.step_cost_derivative", 0, "y1")},
            "is 0.5 times what it should be",
        ),
    ],
)
def test_usual_mistakes_are_recognised(options, places, note):
    report = linear_report(**options)
    assert failures(report) == places
    for place in places:
        assert note in check_at(report, *place).note
        assert note in str(report)
    coarse_only = all(level == 1 for _, level, _ in places)
    assert any(c.method == "taylor_test" for c in report.failures) is not coarse_only


def test_the_entry_that_is_wrong_is_named():
    report = linear_report(LinearOneEntry)
    place = ("LinearOneEntry.vjp", 0, "y")
    assert place in failures(report)
    check = check_at(report, *place)
    assert check.entry == "step 4, entry [1]"
    assert 1e-9 < check.error < 1e-5
    assert f"LinearOneEntry.vjp, level 0, y, {check.entry}: transpose of Linear.step" in str(report)


def test_the_entry_is_found_in_large_states():
    class Large(pint.TimeStepper):
        initial_state = np.linspace(1, 2, 1000)

        def step(self, s, y, u, theta):
            return y + s.dt * (u["u"] * y - y**2)

    class LargeAdjoint(pint.Adjoint):
        def vjp(self, s, y, u, theta, lam):
            new = lam + s.dt * (u["u"] - 2 * y) * lam
            new[417] *= 1.01
            return new, {"u": np.atleast_1d(s.dt * (y @ lam))}, {}

    fields = {"u": pint.TimeControl(1)}
    problem = pint.Problem(Large(), LargeAdjoint(), planted.power(2)(), fields)
    report = check_problem(problem, pint.TimeGrid.uniform(1.0, 8))
    assert failures(report) == {("LargeAdjoint.vjp", 0, "y")}
    assert check_at(report, "LargeAdjoint.vjp", 0, "y").entry.endswith("entry [417]")


# One of each kind; test_parts.py has more.
@pytest.mark.parametrize(
    ("options", "place", "claim"),
    [
        (
            dict(adjoint=planted.SharedForgotten),
            ("SharedForgotten.vjp", 0, "theta['theta']"),
            "transpose",
        ),
        (
            dict(adjoint=planted.InitialForgotten),
            ("InitialForgotten.initial_vjp", None, "theta['theta']"),
            "transpose",
        ),
        (
            dict(stepper=planted.ChangesControl()),
            ("ChangesControl.step", 0, "u['u']"),
            "left as it is",
        ),
        (dict(adjoint=planted.ChangesLambda), ("ChangesLambda.vjp", 0, "lam"), "left as it is"),
        (
            dict(adjoint=planted.ChangesForAWhile),
            ("ChangesForAWhile.vjp", 0, "call"),
            "read-only",
        ),
        (dict(adjoint=planted.ReversedBatch), ("ReversedBatch.vjp", 1, "y"), "batch"),
        (
            dict(
                stepper=planted.Remembering(batched=False),
                adjoint=planted.UsesLastLinearisation,
                batched=False,
            ),
            ("UsesLastLinearisation.vjp", 0, "y"),
            "called again",
        ),
        (dict(stepper=planted.NaNLate()), ("NaNLate.step", 0, "y"), "finite"),
        (
            dict(adjoint=planted.NaNControlTerm),
            ("NaNControlTerm.vjp", 0, "u['u']"),
            "finite",
        ),
        (dict(stepper=planted.WrongStepShape()), ("WrongStepShape.step", 0, "y"), "shape"),
        (
            dict(adjoint=planted.UnknownField),
            ("UnknownField.vjp", 0, "u"),
            "names of fields",
        ),
        (
            dict(objective=planted.MissingFactor),
            ("MissingFactor.step_cost_derivative", 0, "y0"),
            "transpose",
        ),
        (
            dict(objective=planted.WrongOuter),
            ("WrongOuter.outer_derivative", None, "sum"),
            "transpose",
        ),
    ],
)
def test_planted_error_is_found_and_nothing_else_is_blamed(options, place, claim):
    report = report_of(**options)
    places = failures(report)
    assert place in places
    assert {method for method, _, _ in places} == {place[0]}
    assert claim in check_at(report, *place).claim
    assert place[0] in str(report)


def test_the_first_step_that_is_not_finite_is_named():
    class NaNInOneStep(Pendulum):
        """Between the steps that are sampled."""

        def step(self, s, y, u, theta):
            wrong = np.array([False, True]) & np.reshape((s.index == 5) & (s.level == 0), (-1, 1))
            return np.where(wrong, np.nan, super().step(s, y, u, theta))

    report = report_of(stepper=NaNInOneStep())
    check = check_at(report, "NaNInOneStep.step", 0, "y")
    assert (check.claim, check.entry) == ("all states are finite", "step 5, entry [1]")


# Errors that are raised, and what can be checked besides


def test_a_step_that_raises_leaves_the_rest_to_be_checked():
    class Raising(Pendulum):
        def step(self, s, y, u, theta):
            raise ZeroDivisionError("no mass")

    class WrongSquare(RunningCost):
        def terminal_derivative(self, y, theta):
            return y, {}

    report = report_of(stepper=Raising(), objective=WrongSquare)
    assert ("Raising.step", 0, "call") in failures(report)
    assert ("WrongSquare.terminal_derivative", None, "y") in failures(report)
    text = str(report)
    assert "ZeroDivisionError: no mass (test_check_problem.py, line" in text
    assert "not run, because Raising.step raises an error" in text
    assert {"PendulumAdjoint.vjp", "taylor_test"} <= {c.method for c in report.not_run}


def test_two_errors_are_both_found():
    class SharedAndSign(planted.WrongSign, planted.SharedForgotten):
        pass

    assert failures(report_of(adjoint=SharedAndSign)) == {
        ("SharedAndSign.vjp", level, "y") for level in (0, 1)
    } | {("SharedAndSign.vjp", level, "theta['theta']") for level in (0, 1)}


def test_an_adjoint_that_raises_is_reported():
    class Raising(PendulumAdjoint):
        def vjp(self, s, y, u, theta, lam):
            raise KeyError("force")

    report = report_of(adjoint=Raising)
    assert failures(report) == {("Raising.vjp", level, "call") for level in (0, 1)}
    assert "KeyError: 'force'" in str(report)


def test_a_step_that_returns_nothing_is_reported():
    class Forgetful(Pendulum):
        def step(self, s, y, u, theta):
            super().step(s, y, u, theta)

    assert ("Forgetful.step", 0, "y") in failures(report_of(stepper=Forgetful()))


def test_a_wrong_initial_state_is_reported():
    class WrongInitial(Pendulum):
        def initial(self, theta):
            return np.zeros(3)

    report = report_of(stepper=WrongInitial())
    assert failures(report) == {("WrongInitial.initial", None, "call")}
    assert "(2,), got (3,)" in str(report)
    assert "gives no initial state" in str(report)


def test_a_regulariser_that_raises_is_reported():
    class Raising(pint.Regulariser):
        def value(self, control):
            raise ValueError("no number")

        def derivative(self, control):
            return control

    report = check_problem(replace(planted.problem(), regularisers=[Raising()]), planted.grid_of())
    assert failures(report) == {
        ("Raising.derivative", None, f) for f in ("u['u']", "theta['theta']")
    }
    assert "ValueError: no number" in str(report)


def test_single_methods_of_states_distributed_in_space_are_refused():
    class Distributed(Pendulum):
        space = pint.ArraySpace(2)

    Distributed.space.comm = SimpleNamespace(size=2)
    distributed = replace(planted.problem(), stepper=Distributed())
    control = distributed.control_space(planted.grid_of()).zeros()
    for test in (pint.verify.stepper_test, pint.verify.adjoint_dot_test):
        with pytest.raises(ValueError, match=r"problem=.*space communicator of one rank"):
            test(distributed, control)


# The user's part behind a ready-made stepper or objective


class WrongTranspose(Forced):
    def f_vjp(self, t, y, u, theta, lam):
        dy, du, dtheta = super().f_vjp(t, y, u, theta, lam)
        return dy, {"u": -du["u"]}, dtheta


class WrongJacobian(Forced):
    def jacobian(self, t, y, u, theta):
        return 1.001 * super().jacobian(t, y, u, theta)  # with which Newton still converges


class JacobianOfAnotherShape(Forced):
    def jacobian(self, t, y, u, theta):
        return super().jacobian(t, y, u, theta)[0]


class WrongStart(Forced):
    def initial_vjp(self, theta, lam0):
        return {}


class ChangesStateInside(Forced):
    def f(self, t, y, u, theta):
        slope = super().f(t, y, u, theta)
        y *= 1.0 + 1e-15
        return slope


class WrongGradient(ForcedCost):
    def gradient(self, *arguments):
        dy, du, dtheta = super().gradient(*arguments)
        return 2 * dy, du, dtheta


class WrongTerminal(ForcedCost):
    def terminal_derivative(self, y, theta):
        return 0.0, super().terminal_derivative(y, theta)[1]


def ready_made(ode, cost, name):
    fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)}
    return pint.Problem(*scheme(ode(), name), pint.RunningCost(cost()), fields)


@pytest.mark.parametrize(
    ("ode", "cost", "name", "place"),
    [
        (WrongTranspose, ForcedCost, "forward-euler", ("WrongTranspose.f_vjp", 0, "u['u']")),
        (WrongStart, ForcedCost, "rk2", ("WrongStart.initial_vjp", None, "theta['theta']")),
        (ChangesStateInside, ForcedCost, "rk2", ("ChangesStateInside.f", 0, "y")),
        (Forced, WrongGradient, "rk2", ("WrongGradient.gradient", 0, "y")),
        (Forced, WrongTerminal, "rk2", ("WrongTerminal.terminal_derivative", None, "y")),
        (
            JacobianOfAnotherShape,
            ForcedCost,
            "midpoint",
            ("JacobianOfAnotherShape.jacobian", 0, "call"),
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Newton's method")
def test_the_users_part_is_named_behind_a_ready_made_one(ode, cost, name, place):
    report = check_problem(ready_made(ode, cost, name), planted.grid_of())
    places = failures(report)
    assert place in places
    assert {method for method, _, _ in places} == {place[0]}


@pytest.mark.parametrize(
    ("ode", "name", "place"),
    [
        (WrongTranspose, "midpoint", ("WrongTranspose.f_vjp", 0, "u['u']")),
        (WrongJacobian, "crank-nicolson", ("WrongJacobian.jacobian", 0, "y")),
    ],
)
def test_the_dot_test_names_the_users_part_behind_an_implicit_scheme(ode, name, place):
    wrong = ready_made(ode, ForcedCost, name)
    assert failures(adjoint_dot_test(wrong, planted.control_of(wrong))) == {place}


# Misuse


def test_a_control_in_place_of_the_grid():
    problem = planted.problem()
    with pytest.raises(TypeError, match=r"`check_problem\(grid=.*must be a TimeGrid, got Control"):
        check_problem(problem, planted.control_of(problem))


def test_a_control_that_is_none():
    with pytest.raises(TypeError, match=r"`check_problem\(control=.*pint.Control, got ndarray"):
        check_problem(planted.problem(), planted.grid_of(), np.zeros(20))


def test_states_that_are_no_arrays_are_refused():
    strict = registry.PROBLEMS["strict-predators"]()
    with pytest.raises(TypeError, match=r"problem=.*numpy arrays or PETSc vectors.*StrictBlock"):
        check_problem(strict, planted.grid_of())


def test_differences_in_place_of_an_adjoint_pass():
    right = planted.problem()
    report = check_problem(replace(right, adjoint=None), planted.grid_of())
    report.require()
    assert "DifferenceAdjoint.vjp" in {check.method for check in report.checks}


# Order of convergence


@pytest.mark.parametrize(
    ("scheme", "order"), [("forward-euler", 1), ("backward-euler", 1), ("trapezoid", 2)]
)
@pytest.mark.parametrize("batched", [True, False])
def test_order_of_steppers(scheme, order, batched):
    stepper = registry.Dahlquist(scheme, batched)
    values = dict(u={"u": [0.3, -0.2]}, theta={"theta": [0.5, 0.1]})
    report = stepper_order(stepper, 2.0, **values)
    # u and theta enter with exact weight dt in all three: forward Euler in their part
    assert report.order == pytest.approx(1 if scheme == "trapezoid" else order, abs=0.1)
    report = stepper_order(
        registry.Dahlquist(scheme, batched), 2.0, u={"u": [0, 0]}, theta={"theta": [0, 0]}
    )
    report.require(order)
    np.testing.assert_allclose(report.orders, order, atol=0.1)
    with pytest.raises(pint.VerificationError, match="expected 3"):
        report.require(3)
    assert f"{report.order:.3f}" in str(report)


def test_order_of_results_that_do_not_differ_is_infinite():
    assert convergence_order(lambda dt: 1.0, [0.4, 0.2, 0.1]).order == np.inf
    assert np.isnan(convergence_order(lambda dt: np.nan, [0.4, 0.2, 0.1]).order)


@pytest.mark.parametrize("dts", [[0.2, 0.1], [0.1, 0.2, 0.4], [0.4, 0.2, 0.15]])
def test_wrong_step_sizes(dts):
    with pytest.raises(ValueError, match="dts="):
        convergence_order(lambda dt: dt, dts)


def test_results_of_different_shapes():
    with pytest.raises(ValueError, match="solve="):
        convergence_order(lambda dt: np.zeros(round(1 / dt)), [0.5, 0.25, 0.125])
