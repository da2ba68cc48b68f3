"""The checks of pint.verify pass on right problems, and name the place of every planted error."""

import numpy as np
import pytest
import registry
from registry import Pendulum, PendulumAdjoint, RunningCost, TerminalCost

import pint
from pint.verify import adjoint_dot_test, stepper_test, taylor_test


def problem(levels=2, stepper=None, adjoint=None, objective=None, batched=True, controls=None):
    grid = pint.TimeGrid(np.linspace(0, 1, 10) ** 1.2, coarsening=2, levels=levels)
    stepper = stepper or Pendulum(batched)
    controls = controls or {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)}
    return pint.Problem(
        grid,
        stepper,
        (adjoint or PendulumAdjoint)(stepper),
        (objective or RunningCost)(),
        pint.ControlSpace(grid, **controls),
        [pint.Tikhonov(0.3, ["u", "theta"])],
    )


def control_of(problem):
    return registry.random_control(problem.controls, seed=3)


def taylor(problem, **options):
    return taylor_test(pint.ReducedFunctional(problem), control_of(problem), **options)


def failing_places(report):
    with pytest.raises(pint.VerificationError, match="FAILED"):
        report.require()
    for check in report.failures:
        assert str(check) in str(report)
    return {(check.method, check.level, check.field) for check in report.failures}


# Right problems


@pytest.mark.parametrize("batched", [True, False])
def test_right_problem_passes_and_reports_what_was_checked(batched):
    right = problem(levels=3, batched=batched)
    for report in (
        stepper_test(right, control_of(right)),
        adjoint_dot_test(right, control_of(right)),
        taylor(right),
        taylor(right, exact=False),
    ):
        report.require()
        assert report.passed
        assert "passed" in str(report)
    dots = adjoint_dot_test(right, control_of(right)).checks
    places = {(check.method, check.level, check.field) for check in dots}
    for level in range(3):
        assert ("PendulumAdjoint.step", level, "y") in places
        assert ("PendulumAdjoint.control_derivative", level, "u['u']") in places
        assert ("PendulumAdjoint.control_derivative", level, "theta['theta']") in places
    assert ("PendulumAdjoint.initial_derivative", None, "theta['theta']") in places
    assert ("RunningCost.step_cost_derivative", 0, "y1") in places
    assert ("RunningCost.terminal_derivative", None, "y") in places
    assert not any(check.by_differences for check in dots if "Adjoint" in check.method)


class CannotBeCopied(Pendulum):
    def __deepcopy__(self, memo):
        raise RuntimeError("its arrays are on a device")


def test_a_stepper_that_cannot_be_copied_is_tested_without_a_copy():
    right = problem(stepper=CannotBeCopied(True))
    assert stepper_test(right, control_of(right)).passed


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
    taylor_test(pint.ReducedFunctional(right), control)
    np.testing.assert_array_equal(control.vector, before)


def test_taylor_direction_is_used_as_given():
    right = problem()
    direction = right.controls.control(u=[1.0, 0.0])
    report = taylor(right, direction=direction)
    functional = pint.ReducedFunctional(right, accuracy=pint.Accuracy(20))
    derivative = functional.derivative(control_of(right))
    assert report.derivative == pytest.approx(right.controls.pair(derivative, direction), rel=1e-12)
    report.require()


# J linear, quadratic, constant


class Drift(pint.TimeStepper):
    """y' = u."""

    batched = True
    initial_state = np.ones(2)

    def step(self, s, y, u, theta, *, guess=None):
        return y + s.dt * u["u"]


class DriftAdjoint(pint.Adjoint):
    factor = 1.0

    def __init__(self, stepper):
        pass

    def step(self, s, y, u, theta, lam):
        return lam.copy()

    def control_derivative(self, s, y, u, theta, lam):
        return {"u": self.factor * s.dt * lam}, {}


class WrongDriftAdjoint(DriftAdjoint):
    factor = 1.001


def power(exponent):
    class Power(pint.Objective):
        def terminal(self, y, theta):
            return (y**exponent).sum()

        def terminal_derivative(self, y, theta):
            return exponent * y ** max(exponent - 1, 0), {}

    return Power


def drift_problem(objective, adjoint=DriftAdjoint):
    grid = pint.TimeGrid.uniform(1.0, 8)
    controls = pint.ControlSpace(grid, u=pint.TimeControl(2))
    stepper = Drift()
    return pint.Problem(grid, stepper, adjoint(stepper), objective(), controls)


def test_taylor_test_of_a_linear_functional_passes_on_rounding_alone():
    report = taylor(drift_problem(power(1)))
    assert report.passed
    assert report.rates == ()
    assert "linear" in str(report)


def test_taylor_test_finds_a_wrong_derivative_of_a_linear_functional():
    report = taylor(drift_problem(power(1), WrongDriftAdjoint))
    assert not report.passed
    assert report.rate == pytest.approx(1.0, abs=0.01)


def test_taylor_rate_of_a_quadratic_functional_is_two_at_every_h():
    report = taylor(drift_problem(power(2)))
    assert report.passed
    # the smallest remainders are 1e-12 of J, rounding at 1e-16: half a per cent of a rate
    np.testing.assert_allclose(report.rates, 2.0, atol=0.01)


def test_taylor_test_of_a_constant_functional_passes():
    assert taylor(drift_problem(power(0))).passed


def test_taylor_test_finds_a_relative_error_of_1e_4():
    class Slightly(DriftAdjoint):
        factor = 1.0001

    assert not taylor(drift_problem(power(3), Slightly)).passed


def test_taylor_test_turns_the_direction_away_from_the_bounds():
    grid = pint.TimeGrid.uniform(1.0, 8)
    controls = pint.ControlSpace(grid, u=pint.TimeControl(2, lower=0.0))

    class RootDrift(Drift):
        """y' = sqrt(1 + 10 u), which is NaN below -0.1."""

        def step(self, s, y, u, theta, *, guess=None):
            return y + s.dt * np.sqrt(1 + 10 * u["u"])

    class RootDriftAdjoint(DriftAdjoint):
        def control_derivative(self, s, y, u, theta, lam):
            return {"u": 5 * s.dt * lam / np.sqrt(1 + 10 * u["u"])}, {}

    stepper = RootDrift()
    bounded = pint.Problem(grid, stepper, RootDriftAdjoint(stepper), power(1)(), controls)
    report = taylor_test(pint.ReducedFunctional(bounded), controls.zeros())
    report.require()
    assert len(report.h) > 5


def test_taylor_test_skips_steps_to_where_the_objective_is_not_finite():
    class Narrow(power(1)):
        def terminal(self, y, theta):
            with np.errstate(invalid="ignore"):
                return np.log(y - 0.99).sum()

        def terminal_derivative(self, y, theta):
            return 1 / (y - 0.99), {}

    narrow = drift_problem(Narrow)
    down = narrow.controls.control(u=-0.5)
    report = taylor_test(pint.ReducedFunctional(narrow), narrow.controls.zeros(), down)
    assert report.h[0] < 0.1
    report.require()


# Planted errors. Each: what is wrong, and (method, level, field) of every failure.


class WrongSign(PendulumAdjoint):
    def step(self, s, y, u, theta, lam):
        return lam - self._transposed(s, y, u, theta, lam)[0]


class WrongSignOnLevelOne(PendulumAdjoint):
    def step(self, s, y, u, theta, lam):
        sign = -1 if s.level == 1 else 1
        return lam + sign * self._transposed(s, y, u, theta, lam)[0]


class WrongTimeStep(PendulumAdjoint):
    """Divides by the stride: the finest step size on every level."""

    def step(self, s, y, u, theta, lam):
        fine = pint.Steps(s.index, s.t0, s.t0 + s.dt / 2**s.level, s.level)
        return lam + self._transposed(fine, y, u, theta, lam)[0]


class NoControlTerm(PendulumAdjoint):
    def control_derivative(self, s, y, u, theta, lam):
        return {}, super().control_derivative(s, y, u, theta, lam)[1]


class SharedForgotten(PendulumAdjoint):
    def control_derivative(self, s, y, u, theta, lam):
        return super().control_derivative(s, y, u, theta, lam)[0], {}


class InitialForgotten(PendulumAdjoint):
    def initial_derivative(self, theta, lam0):
        return {}


class TransposedJacobian(PendulumAdjoint):
    """Swaps the two off-diagonal blocks of the Jacobian."""

    def step(self, s, y, u, theta, lam):
        swapped = lam[..., ::-1]
        return lam + self._transposed(s, y, u, theta, swapped)[0][..., ::-1]


class ReversedBatch(PendulumAdjoint):
    def step(self, s, y, u, theta, lam):
        return super().step(s, y, u, theta, lam[::-1])[::-1]


class NaNControlTerm(PendulumAdjoint):
    def control_derivative(self, s, y, u, theta, lam):
        du, dtheta = super().control_derivative(s, y, u, theta, lam)
        du["u"][-1, 0] = np.nan
        return du, dtheta


class WrongShape(PendulumAdjoint):
    def control_derivative(self, s, y, u, theta, lam):
        du, dtheta = super().control_derivative(s, y, u, theta, lam)
        return du, {"theta": np.append(dtheta["theta"], 0.0)}


STEP = "PendulumAdjoint.step".replace("PendulumAdjoint", "{}")
CONTROL = STEP.replace("step", "control_derivative")
DOT_ERRORS = [
    (WrongSign, {(STEP, 0, "y"), (STEP, 1, "y")}),
    (WrongSignOnLevelOne, {(STEP, 1, "y")}),
    (WrongTimeStep, {(STEP, 1, "y")}),
    (NoControlTerm, {(CONTROL, 0, "u['u']"), (CONTROL, 1, "u['u']")}),
    (SharedForgotten, {(CONTROL, 0, "theta['theta']"), (CONTROL, 1, "theta['theta']")}),
    (InitialForgotten, {("{}.initial_derivative", None, "theta['theta']")}),
    (TransposedJacobian, {(STEP, 0, "y"), (STEP, 1, "y")}),
    (ReversedBatch, {(STEP, 0, "y"), (STEP, 1, "y")}),
    (NaNControlTerm, {(CONTROL, 0, "u['u']"), (CONTROL, 1, "u['u']")}),
    (WrongShape, {(CONTROL, 0, "theta['theta']"), (CONTROL, 1, "theta['theta']")}),
]


@pytest.mark.parametrize(("adjoint", "places"), DOT_ERRORS)
def test_dot_test_names_the_place_of_a_wrong_adjoint(adjoint, places):
    wrong = problem(adjoint=adjoint)
    named = {(method.format(adjoint.__name__), *rest) for method, *rest in places}
    assert failing_places(adjoint_dot_test(wrong, control_of(wrong))) == named


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
    report = taylor(problem(levels=1, adjoint=adjoint))
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
    ("objective", "place"),
    [
        (MissingFactor, ("MissingFactor.step_cost_derivative", 0, "y0")),
        (WrongEnd, ("WrongEnd.terminal_derivative", None, "y")),
        (
            SharedCostForgotten,
            ("SharedCostForgotten.terminal_derivative", None, "theta['theta']"),
        ),
        (WrongOuter, ("WrongOuter.outer_derivative", None, "sum")),
    ],
)
@pytest.mark.parametrize("batched", [True, False])
def test_both_tests_find_a_wrong_cost_derivative(objective, place, batched):
    wrong = problem(objective=objective, batched=batched)
    assert failing_places(adjoint_dot_test(wrong, control_of(wrong))) == {place}
    assert not taylor(wrong).passed


def test_dot_test_finds_a_wrong_regulariser():
    class Wrong(pint.Regulariser):
        def value(self, control):
            return control.space.inner(control, control)

        def derivative(self, control):
            return control.space.dual(control)

    right = problem()
    wrong = pint.Problem(
        right.grid, right.stepper, right.adjoint, right.objective, right.controls, [Wrong()]
    )
    assert failing_places(adjoint_dot_test(wrong, control_of(wrong))) == {
        ("Wrong.derivative", None, "u['u']"),
        ("Wrong.derivative", None, "theta['theta']"),
    }


# Contracts


class ChangesState(Pendulum):
    def step(self, s, y, u, theta, *, guess=None):
        y += super().step(s, y, u, theta) - y
        return y.copy()


class ChangesControl(Pendulum):
    def step(self, s, y, u, theta, *, guess=None):
        new = super().step(s, y, u, theta)
        u["u"][...] = 0.0
        return new


class ChangesShared(Pendulum):
    def step(self, s, y, u, theta, *, guess=None):
        new = super().step(s, y, u, theta)
        theta["theta"][0] += 1e-3
        return new


class FromTheStepBefore(Pendulum):
    """Mixes up the batch axis: the forces of the neighbouring step."""

    def step(self, s, y, u, theta, *, guess=None):
        return super().step(s, y, {"u": np.roll(u["u"], 1, axis=0)}, theta)


class KeepsFirstStepSize(Pendulum):
    """A cache that is filled once: the step size of the first call."""

    kept = None

    def step(self, s, y, u, theta, *, guess=None):
        if self.kept is None:
            self.kept = s.dt.flat[0]
        return super().step(pint.Steps(s.index, s.t0, s.t0 + self.kept, s.level), y, u, theta)


class NaNLate(Pendulum):
    def step(self, s, y, u, theta, *, guess=None):
        return np.where(s.t1 > 0.9, np.nan, super().step(s, y, u, theta))


class WrongStepShape(Pendulum):
    def step(self, s, y, u, theta, *, guess=None):
        return super().step(s, y, u, theta)[:, :1]


class ChangesLambda(PendulumAdjoint):
    def step(self, s, y, u, theta, lam):
        lam += self._transposed(s, y, u, theta, lam)[0]
        return lam.copy()


class UsesLastLinearisation(PendulumAdjoint):
    """A stale cache: linearises where the stepper was last called."""

    def step(self, s, y, u, theta, lam):
        return super().step(s, self.stepper.last, u, theta, lam)


class Remembering(Pendulum):
    def step(self, s, y, u, theta, *, guess=None):
        self.last = y.copy()
        return super().step(s, y, u, theta)


class UnknownField(PendulumAdjoint):
    def control_derivative(self, s, y, u, theta, lam):
        du, dtheta = super().control_derivative(s, y, u, theta, lam)
        return {**du, "force": du["u"]}, dtheta


def test_stepper_test_names_changed_arguments():
    for stepper, field in (
        (ChangesState, "y"),
        (ChangesControl, "u['u']"),
        (ChangesShared, "theta['theta']"),
    ):
        wrong = problem(stepper=stepper())
        report = stepper_test(wrong, control_of(wrong))
        expected = {(f"{stepper.__name__}.step", level, field) for level in (0, 1)}
        assert expected <= failing_places(report)
        claims = {check.claim for check in report.failures if check.field == field}
        assert "argument is left as it is" in claims


def test_stepper_test_names_a_changed_adjoint():
    wrong = problem(adjoint=ChangesLambda)
    places = failing_places(stepper_test(wrong, control_of(wrong)))
    assert places == {("ChangesLambda.step", 0, "lam"), ("ChangesLambda.step", 1, "lam")}


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
            {("ReversedBatch.step", 0, "y"), ("ReversedBatch.step", 1, "y")},
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
            {("UsesLastLinearisation.step", 0, "y"), ("UsesLastLinearisation.step", 1, "y")},
            "called again",
        ),
        (
            Pendulum,
            UnknownField,
            {("UnknownField.control_derivative", level, "u") for level in (0, 1)},
            "names of fields",
        ),
        (
            Pendulum,
            WrongShape,
            {("WrongShape.control_derivative", level, "theta['theta']") for level in (0, 1)},
            "shape",
        ),
    ],
)
def test_stepper_test_names_a_broken_contract(stepper, adjoint, places, claim):
    wrong = problem(stepper=stepper(), adjoint=adjoint)
    report = stepper_test(wrong, control_of(wrong))
    assert places <= failing_places(report)
    assert any(claim in check.claim for check in report.failures)


def test_states_that_are_not_finite_are_refused_by_taylor_and_dot_test():
    wrong = problem(levels=1, stepper=NaNLate())
    with pytest.raises(pint.NotFiniteError, match="states of level 0"):
        taylor(wrong)
    with pytest.raises(pint.NotFiniteError, match="states of level 0"):
        adjoint_dot_test(wrong, control_of(wrong))


# Where the complex step does not work


class RealOnly(Pendulum):
    """Writes into a real array, which refuses complex numbers."""

    def step(self, s, y, u, theta, *, guess=None):
        new = np.empty(y.shape)
        new[...] = super().step(s, y, u, theta)
        return new


class Quietly(Pendulum):
    """Drops imaginary parts without an error; not analytic."""

    def step(self, s, y, u, theta, *, guess=None):
        return super().step(s, y.real, {"u": u["u"].real}, {"theta": theta["theta"].real})


@pytest.mark.parametrize("stepper", [RealOnly, Quietly])
def test_differences_take_over_where_the_complex_step_does_not_work(stepper):
    right = problem(stepper=stepper())
    report = adjoint_dot_test(right, control_of(right))
    report.require()
    steps = [check for check in report.checks if check.method.startswith("PendulumAdjoint.step")]
    assert steps
    assert all(check.by_differences for check in steps)
    assert max(check.error for check in steps) < 1e-9
    wrong = problem(stepper=stepper(), adjoint=WrongSign)
    assert ("WrongSign.step", 1, "y") in failing_places(adjoint_dot_test(wrong, control_of(wrong)))
    assert "by differences" in str(adjoint_dot_test(wrong, control_of(wrong)))
