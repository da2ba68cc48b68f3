"""check_problem finds each planted error, names the place, and runs what still has a meaning."""

from types import SimpleNamespace

import numpy as np
import pytest
import registry
import test_parts as planted
from registry import Pendulum, PendulumAdjoint, RunningCost

import pint
from pint.verify import check_problem, convergence_order, stepper_order


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


# Right problems


@pytest.mark.parametrize("name", registry.PROBLEMS)
def test_every_problem_of_the_registry_passes(name):
    grid = pint.TimeGrid(np.linspace(0, 1, 10) ** 1.2, coarsening=2, levels=2)
    report = check_problem(registry.PROBLEMS[name](grid))
    report.require()
    assert "passed" in str(report)
    assert not report.not_run


def test_the_control_is_left_alone_and_the_report_repeats():
    problem = planted.problem()
    control = planted.control_of(problem)
    before = control.vector.copy()
    first = check_problem(problem, control)
    np.testing.assert_array_equal(control.vector, before)
    assert str(first) == str(check_problem(problem, control))


def test_the_default_control_lies_within_the_bounds():
    seen = []

    class Watching(Pendulum):
        def step(self, s, y, u, theta, *, guess=None):
            seen.append((u["u"].copy(), theta["theta"].copy()))
            return super().step(s, y, u, theta)

    controls = {
        "u": pint.TimeControl(2, lower=[2.0, -np.inf], upper=[3.0, -5.0]),
        "theta": pint.SharedControl(2, lower=0.5),
    }
    check_problem(planted.problem(stepper=Watching(), controls=controls)).require()
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

    def step(self, s, y, u, theta, *, guess=None):
        return y + s.dt * (y @ self.A.T + u["force"] @ self.B.T)


class LinearAdjoint(pint.Adjoint):
    def step(self, s, y, u, theta, lam):
        return lam + s.dt * (lam @ Linear.A)

    def control_derivative(self, s, y, u, theta, lam):
        return {"force": s.dt * (lam @ Linear.B)}, {}


class Energy(pint.Objective):
    def step_cost(self, s, y0, y1, u, theta):
        return 0.5 * s.dt[:, 0] * ((y1**2).sum(axis=1) + (u["force"] ** 2).sum(axis=1))

    def step_cost_derivative(self, s, y0, y1, u, theta):
        return 0.0 * y0, s.dt * y1, {"force": s.dt * u["force"]}, {}


class LinearWrongSign(LinearAdjoint):
    def step(self, s, y, u, theta, lam):
        return lam - s.dt * (lam @ Linear.A)


class LinearTransposed(LinearAdjoint):
    def step(self, s, y, u, theta, lam):
        return lam + s.dt * (lam @ Linear.A.T)


class LinearFineStep(LinearAdjoint):
    def step(self, s, y, u, theta, lam):
        return lam + s.dt / 2**s.level * (lam @ Linear.A)


class LinearWrongControlSign(LinearAdjoint):
    def control_derivative(self, s, y, u, theta, lam):
        return {"force": -s.dt * (lam @ Linear.B)}, {}


class LinearOneEntry(LinearAdjoint):
    """Wrong in the second entry of step 4 only."""

    def step(self, s, y, u, theta, lam):
        new = super().step(s, y, u, theta, lam)
        new[s.index == 4, 1] *= 1 + 1e-6
        return new


class LinearNoControl(LinearAdjoint):
    def control_derivative(self, s, y, u, theta, lam):
        return {}, {}


class HalfEnergy(Energy):
    def step_cost_derivative(self, s, y0, y1, u, theta):
        dy0, dy1, du, dtheta = super().step_cost_derivative(s, y0, y1, u, theta)
        return dy0, 0.5 * dy1, du, dtheta


def linear_problem(adjoint=LinearAdjoint, objective=Energy, stepper=Linear):
    grid = pint.TimeGrid.uniform(1.0, 9, coarsening=2, levels=2)
    controls = pint.ControlSpace(grid, force=pint.TimeControl(1))
    return pint.Problem(grid, stepper(), adjoint(), objective(), controls)


@pytest.mark.parametrize(
    ("options", "places", "note"),
    [
        (
            dict(adjoint=LinearWrongSign),
            {("LinearWrongSign.step", level, "y") for level in (0, 1)},
            "the part beyond lam has the wrong sign",
        ),
        (
            dict(adjoint=LinearWrongControlSign),
            {
                ("LinearWrongControlSign.control_derivative", level, "u['force']")
                for level in (0, 1)
            },
            "has the wrong sign",
        ),
        (
            dict(adjoint=LinearTransposed),
            {("LinearTransposed.step", level, "y") for level in (0, 1)},
            "the Jacobian is not transposed",
        ),
        (
            dict(adjoint=LinearFineStep),
            {("LinearFineStep.step", 1, "y")},
            "right for the step size of level 0",
        ),
        (
            dict(adjoint=LinearNoControl),
            {("LinearNoControl.control_derivative", level, "u['force']") for level in (0, 1)},
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
    report = check_problem(linear_problem(**options))
    assert failures(report) == places
    for place in places:
        assert note in check_at(report, *place).note
        assert note in str(report)
    coarse_only = all(level == 1 for _, level, _ in places)
    assert any(c.method == "taylor_test" for c in report.failures) is not coarse_only


def test_the_entry_that_is_wrong_is_named():
    report = check_problem(linear_problem(LinearOneEntry))
    place = ("LinearOneEntry.step", 0, "y")
    assert place in failures(report)
    check = check_at(report, *place)
    assert check.entry == "step 4, entry [1]"
    assert 1e-9 < check.error < 1e-5
    assert f"LinearOneEntry.step, level 0, y, {check.entry}: transpose of Linear.step" in str(
        report
    )


def test_the_entry_is_found_in_large_states():
    class Large(pint.TimeStepper):
        initial_state = np.linspace(1, 2, 1000)

        def step(self, s, y, u, theta, *, guess=None):
            return y + s.dt * (u["u"] * y - y**2)

    class LargeAdjoint(pint.Adjoint):
        def step(self, s, y, u, theta, lam):
            new = lam + s.dt * (u["u"] - 2 * y) * lam
            new[417] *= 1.01
            return new

        def control_derivative(self, s, y, u, theta, lam):
            return {"u": np.atleast_1d(s.dt * (y @ lam))}, {}

    grid = pint.TimeGrid.uniform(1.0, 8)
    controls = pint.ControlSpace(grid, u=pint.TimeControl(1))
    problem = pint.Problem(grid, Large(), LargeAdjoint(), planted.power(2)(), controls)
    report = check_problem(problem)
    assert failures(report) == {("LargeAdjoint.step", 0, "y")}
    assert check_at(report, "LargeAdjoint.step", 0, "y").entry.endswith("entry [417]")


@pytest.mark.parametrize(
    ("options", "place", "claim"),
    [
        (
            dict(adjoint=planted.SharedForgotten),
            ("SharedForgotten.control_derivative", 0, "theta['theta']"),
            "transpose",
        ),
        (
            dict(adjoint=planted.InitialForgotten),
            ("InitialForgotten.initial_derivative", None, "theta['theta']"),
            "transpose",
        ),
        (dict(stepper=planted.ChangesState()), ("ChangesState.step", 0, "y"), "left as it is"),
        (
            dict(stepper=planted.ChangesControl()),
            ("ChangesControl.step", 0, "u['u']"),
            "left as it is",
        ),
        (
            dict(stepper=planted.ChangesShared()),
            ("ChangesShared.step", 1, "theta['theta']"),
            "left as it is",
        ),
        (dict(adjoint=planted.ChangesLambda), ("ChangesLambda.step", 0, "lam"), "left as it is"),
        (
            dict(stepper=planted.FromTheStepBefore()),
            ("FromTheStepBefore.step", 0, "y"),
            "batch",
        ),
        (dict(adjoint=planted.ReversedBatch), ("ReversedBatch.step", 1, "y"), "batch"),
        (
            dict(stepper=planted.KeepsFirstStepSize()),
            ("KeepsFirstStepSize.step", 0, "y"),
            "called again",
        ),
        (
            dict(
                stepper=planted.Remembering(batched=False),
                adjoint=planted.UsesLastLinearisation,
                batched=False,
            ),
            ("UsesLastLinearisation.step", 0, "y"),
            "called again",
        ),
        (dict(stepper=planted.NaNLate()), ("NaNLate.step", 0, "y"), "finite"),
        (
            dict(adjoint=planted.NaNControlTerm),
            ("NaNControlTerm.control_derivative", 0, "u['u']"),
            "finite",
        ),
        (dict(stepper=planted.WrongStepShape()), ("WrongStepShape.step", 0, "y"), "shape"),
        (
            dict(adjoint=planted.WrongShape),
            ("WrongShape.control_derivative", 0, "theta['theta']"),
            "shape",
        ),
        (
            dict(adjoint=planted.UnknownField),
            ("UnknownField.control_derivative", 0, "u"),
            "names of fields",
        ),
        (
            dict(objective=planted.MissingFactor),
            ("MissingFactor.step_cost_derivative", 0, "y0"),
            "transpose",
        ),
        (
            dict(objective=planted.WrongEnd),
            ("WrongEnd.terminal_derivative", None, "y"),
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
    report = check_problem(planted.problem(**options))
    places = failures(report)
    assert place in places
    assert {method for method, _, _ in places} == {place[0]}
    assert claim in check_at(report, *place).claim
    assert place[0] in str(report)


def test_the_first_step_that_is_not_finite_is_named():
    class NaNInOneStep(Pendulum):
        """Between the steps that are sampled."""

        def step(self, s, y, u, theta, *, guess=None):
            wrong = np.array([False, True]) & np.reshape((s.index == 5) & (s.level == 0), (-1, 1))
            return np.where(wrong, np.nan, super().step(s, y, u, theta))

    report = check_problem(planted.problem(stepper=NaNInOneStep()))
    check = check_at(report, "NaNInOneStep.step", 0, "y")
    assert (check.claim, check.entry) == ("all states are finite", "step 5, entry [1]")


# Errors that are raised, and what can be checked besides


def test_a_step_that_raises_leaves_the_rest_to_be_checked():
    class Raising(Pendulum):
        def step(self, s, y, u, theta, *, guess=None):
            raise ZeroDivisionError("no mass")

    class WrongSquare(RunningCost):
        def terminal_derivative(self, y, theta):
            return y, {}

    report = check_problem(planted.problem(stepper=Raising(), objective=WrongSquare))
    assert ("Raising.step", 0, "call") in failures(report)
    assert ("WrongSquare.terminal_derivative", None, "y") in failures(report)
    text = str(report)
    assert "ZeroDivisionError: no mass (test_check_problem.py, line" in text
    assert "not run, because Raising.step raises an error" in text
    assert {"PendulumAdjoint.step", "taylor_test"} <= {c.method for c in report.not_run}


def test_two_errors_are_both_found():
    class SharedAndSign(planted.WrongSign, planted.SharedForgotten):
        pass

    assert failures(check_problem(planted.problem(adjoint=SharedAndSign))) == {
        ("SharedAndSign.step", level, "y") for level in (0, 1)
    } | {("SharedAndSign.control_derivative", level, "theta['theta']") for level in (0, 1)}


def test_an_adjoint_that_raises_is_reported():
    class Raising(PendulumAdjoint):
        def control_derivative(self, s, y, u, theta, lam):
            raise KeyError("force")

    report = check_problem(planted.problem(adjoint=Raising))
    assert failures(report) == {("Raising.control_derivative", level, "call") for level in (0, 1)}
    assert "KeyError: 'force'" in str(report)


def test_a_step_that_returns_nothing_is_reported():
    class Forgetful(Pendulum):
        def step(self, s, y, u, theta, *, guess=None):
            super().step(s, y, u, theta)

    assert ("Forgetful.step", 0, "y") in failures(
        check_problem(planted.problem(stepper=Forgetful()))
    )


def test_a_wrong_initial_state_is_reported():
    class WrongInitial(Pendulum):
        def initial(self, theta):
            return np.zeros(3)

    report = check_problem(planted.problem(stepper=WrongInitial()))
    assert failures(report) == {("WrongInitial.initial", None, "call")}
    assert "(2,), got (3,)" in str(report)
    assert "gives no initial state" in str(report)


def test_a_regulariser_that_raises_is_reported():
    class Raising(pint.Regulariser):
        def value(self, control):
            raise ValueError("no number")

        def derivative(self, control):
            return control

    right = planted.problem()
    wrong = pint.Problem(
        right.grid, right.stepper, right.adjoint, right.objective, right.controls, [Raising()]
    )
    report = check_problem(wrong)
    assert failures(report) == {
        ("Raising.derivative", None, f) for f in ("u['u']", "theta['theta']")
    }
    assert "ValueError: no number" in str(report)


def test_states_distributed_in_space_are_refused():
    class Distributed(Pendulum):
        space = pint.ArraySpace(2)

    Distributed.space.comm = SimpleNamespace(size=2)
    with pytest.raises(ValueError, match=r"problem=.*space communicator of one rank"):
        check_problem(planted.problem(stepper=Distributed()))


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
