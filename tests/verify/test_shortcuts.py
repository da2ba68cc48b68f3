"""Reports name the optional methods (in place, together, with what is kept) that are wrong."""

import numpy as np
import pytest
import registry
from registry import Pendulum, PendulumAdjoint, RunningCost

import pint
from pint.verify import check_problem, stepper_test


class Fast(Pendulum):
    """Writes in place, and keeps the slope at the beginning."""

    kept_shape = (2,)

    def slope(self, s, y, u, theta):
        return self.f(self.times(s)[0], y, u["u"], theta["theta"])

    def step_into(self, out, s, y, u, theta):
        k = self.slope(s, y, u, theta)
        if s.kept is not None:
            s.kept[...] = k
        end = self.f(self.times(s)[1], y + s.dt * k, u["u"], theta["theta"])
        out[...] = y + 0.5 * s.dt * (k + end)


class FastAdjoint(PendulumAdjoint):
    """Transposes that read the slope, and are formed together."""

    def _transposed(self, s, y, u, theta, lam):
        k = self.stepper.slope(s, y, u, theta) if s.kept is None else s.kept
        (t0, t1), u, theta = self.stepper.times(s), u["u"], theta["theta"]
        half = 0.5 * s.dt * lam
        second = self.stepper.f_transposed(t1, y + s.dt * k, u, theta, half)
        first = self.stepper.f_transposed(t0, y, u, theta, half + s.dt * second[0])
        return tuple(a + b for a, b in zip(first, second, strict=True))

    def step_into(self, out, s, y, u, theta, lam):
        out[...] = lam + self._transposed(s, y, u, theta, lam)[0]

    def step_with_derivative(self, out, s, y, u, theta, lam):
        dy, du, dtheta = self._transposed(s, y, u, theta, lam)
        out[...] = lam + dy
        return {"u": du}, {"theta": dtheta.reshape(-1, 2).sum(axis=0)}


def problem(stepper=Fast, adjoint=FastAdjoint, batched=True):
    grid = pint.TimeGrid(np.linspace(0, 1, 10) ** 1.2, coarsening=2, levels=2)
    controls = pint.ControlSpace(grid, u=pint.TimeControl(2), theta=pint.SharedControl(2))
    stepper = stepper(batched)
    return pint.Problem(grid, stepper, adjoint(stepper), RunningCost(), controls)


def report_of(stepper=Fast, adjoint=FastAdjoint, batched=True):
    wrong = problem(stepper, adjoint, batched)
    return stepper_test(wrong, registry.random_control(wrong.controls, seed=3))


OPTIONAL = ("step_into", "step_with_derivative")


@pytest.mark.parametrize("batched", [True, False])
def test_right_methods_pass(batched):
    right = problem(batched=batched)
    report = check_problem(right)
    report.require()
    places = {(check.method, check.level, check.field) for check in report.checks}
    for level in (0, 1):
        assert ("Fast.step_into", level, "y") in places
        assert ("FastAdjoint.step_into", level, "lam") in places
        assert ("FastAdjoint.step_with_derivative", level, "u['u']") in places
    assert ("Fast.step_into", 0, "s.kept") in places
    assert ("FastAdjoint.control_derivative", 0, "s.kept") in places
    assert not any(level == 1 for _, level, field in places if field == "s.kept")


def test_default_methods_are_not_listed():
    report = report_of(Pendulum, PendulumAdjoint)
    assert report.passed
    assert not any(check.method.endswith(OPTIONAL) for check in report.checks)
    assert not any(check.field == "s.kept" for check in report.checks)


# Planted errors


class AddsToPlace(Fast):
    def step_into(self, out, s, y, u, theta):
        before = out.copy()
        super().step_into(out, s, y, u, theta)
        out += 0 * before


class WritesToCopy(Fast):
    """Right where the place is contiguous, as that of a single step is."""

    def step_into(self, out, s, y, u, theta):
        new = np.empty(out.shape)
        super().step_into(new, s, y, u, theta)
        out.reshape(-1)[...] = new.reshape(-1)


class AnotherScheme(Fast):
    def step_into(self, out, s, y, u, theta):
        super().step_into(out, s, y, u, theta)
        out[...] = y + s.dt * self.slope(s, y, u, theta)


class InPlaceOfState(Fast):
    def step_into(self, out, s, y, u, theta):
        super().step_into(out, s, y, u, theta)
        y += 0.1


class Raises(Fast):
    def step_into(self, out, s, y, u, theta):
        super().step_into(out, s, y, u, theta)
        if s.level == 1:
            raise RuntimeError("no coarse step")


class FillsHalf(Fast):
    def step_into(self, out, s, y, u, theta):
        super().step_into(out, s, y, u, theta)
        if s.kept is not None:
            s.kept[..., 1:] = np.nan


class FillsNothing(Fast):
    def step_into(self, out, s, y, u, theta):
        super().step_into(out, s._replace(kept=None), y, u, theta)


class KeepsSomethingElse(Fast):
    def step_into(self, out, s, y, u, theta):
        super().step_into(out, s, y, u, theta)
        if s.kept is not None:
            s.kept[...] += 1e-6


class OtherStepWhenKeeping(Fast):
    def step_into(self, out, s, y, u, theta):
        super().step_into(out, s, y, u, theta)
        if s.kept is not None:
            out *= 1 + 1e-12


class KeepsOnItself(Fast):
    """What is kept belongs to the last call, whichever that was."""

    def step_into(self, out, s, y, u, theta):
        super().step_into(out, s, y, u, theta)
        self.last = None if s.kept is None else s.kept.copy()


class ReadsFromStepper(FastAdjoint):
    def _transposed(self, s, y, u, theta, lam):
        s = s if s.kept is None else s._replace(kept=self.stepper.last)
        return super()._transposed(s, y, u, theta, lam)


class WritesWithoutLam(FastAdjoint):
    def step_into(self, out, s, y, u, theta, lam):
        out[...] = self._transposed(s, y, u, theta, lam)[0]


class OverwritesLam(FastAdjoint):
    def step_into(self, out, s, y, u, theta, lam):
        lam += self._transposed(s, y, u, theta, lam)[0]
        out[...] = lam


class ChangesKept(FastAdjoint):
    def step_with_derivative(self, out, s, y, u, theta, lam):
        result = super().step_with_derivative(out, s, y, u, theta, lam)
        if s.kept is not None:
            s.kept[...] = 0.0
        return result


class ForgetsShared(FastAdjoint):
    def step_with_derivative(self, out, s, y, u, theta, lam):
        return super().step_with_derivative(out, s, y, u, theta, lam)[0], {}


class DerivativeAlone(FastAdjoint):
    def step_with_derivative(self, out, s, y, u, theta, lam):
        return self.control_derivative(s, y, u, theta, lam)


class MisnamesField(FastAdjoint):
    def step_with_derivative(self, out, s, y, u, theta, lam):
        du, dtheta = super().step_with_derivative(out, s, y, u, theta, lam)
        return {**du, "force": du["u"]}, dtheta


class WrongWithKept(FastAdjoint):
    def control_derivative(self, s, y, u, theta, lam):
        du, dtheta = super().control_derivative(s, y, u, theta, lam)
        return {"u": du["u"] * (1.0 if s.kept is None else 1 + 1e-9)}, dtheta


INTO, BOTH = "{}.step_into", "{}.step_with_derivative"
STEP_CLAIM = "is what `step` returns"
BOTH_CLAIM = "is what `step` and `control_derivative` return"
KEPT_CLAIM = "is the same with `s.kept` as without"
UNCHANGED = "argument is left as it is"
WRONG_STEPPERS = [
    (AddsToPlace, INTO, "y", STEP_CLAIM, (0, 1)),
    (WritesToCopy, INTO, "y", STEP_CLAIM, (0, 1)),
    (AnotherScheme, INTO, "y", STEP_CLAIM, (0, 1)),
    (InPlaceOfState, INTO, "y", UNCHANGED, (0, 1)),
    (Raises, INTO, "call", "returns without an error", (1,)),
    (FillsHalf, INTO, "s.kept", "is filled with finite numbers", (0,)),
    (FillsNothing, INTO, "s.kept", "is filled with finite numbers", (0,)),
    (KeepsSomethingElse, "FastAdjoint.step", "y", KEPT_CLAIM, (0,)),
    (KeepsSomethingElse, "FastAdjoint.control_derivative", "u['u']", KEPT_CLAIM, (0,)),
    (OtherStepWhenKeeping, INTO, "y", KEPT_CLAIM, (0,)),
]
WRONG_ADJOINTS = [
    (WritesWithoutLam, INTO, "y", STEP_CLAIM, (0, 1)),
    (OverwritesLam, INTO, "lam", UNCHANGED, (0, 1)),
    (ChangesKept, BOTH, "s.kept", UNCHANGED, (0,)),
    (ForgetsShared, BOTH, "theta['theta']", BOTH_CLAIM, (0, 1)),
    (DerivativeAlone, BOTH, "y", BOTH_CLAIM, (0, 1)),
    (MisnamesField, BOTH, "u", "has only names of fields", (0, 1)),
    (WrongWithKept, "{}.control_derivative", "u['u']", KEPT_CLAIM, (0,)),
]


def assert_names(report, method, field, claim, levels):
    found = [(check.method, check.level, check.field, check.claim) for check in report.failures]
    for level in levels:
        assert (method, level, field, claim) in found
        assert f"{method}, level {level}" in str(report)
    # Nothing is said about levels where all is well.
    assert not any(level not in levels for name, level, _, _ in found if name == method)


# The place of one step is contiguous: without batches `WritesToCopy` makes no mistake.
STEPPER_CASES = [
    (*case, batched)
    for case in WRONG_STEPPERS
    for batched in (True, False)
    if batched or case[0] is not WritesToCopy
]


@pytest.mark.parametrize(
    ("stepper", "method", "field", "claim", "levels", "batched"), STEPPER_CASES
)
def test_wrong_stepper(stepper, method, field, claim, levels, batched):
    report = report_of(stepper, batched=batched)
    assert_names(report, method.format(stepper.__name__), field, claim, levels)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(("adjoint", "method", "field", "claim", "levels"), WRONG_ADJOINTS)
def test_wrong_adjoint(adjoint, method, field, claim, levels, batched):
    report = report_of(adjoint=adjoint, batched=batched)
    assert_names(report, method.format(adjoint.__name__), field, claim, levels)


def test_what_is_kept_elsewhere_than_in_its_place():
    report = report_of(KeepsOnItself, ReadsFromStepper)
    assert_names(report, "ReadsFromStepper.step", "y", KEPT_CLAIM, (0,))


def test_a_wrong_method_explains_what_follows_from_it():
    report = check_problem(problem(AnotherScheme))
    assert {check.method for check in report.failures} == {"AnotherScheme.step_into"}
    why = "not run, because AnotherScheme.step_into does not write what `step` returns"
    assert {check.note for check in report.not_run} == {why}


def test_an_error_of_a_step_in_place_is_reported():
    class Fails(Fast):
        def step_into(self, out, s, y, u, theta):
            raise RuntimeError("out of paper")

    report = check_problem(problem(Fails))
    assert {check.method for check in report.failures} == {"Fails.step_into"}
    assert "RuntimeError: out of paper" in str(report)


def test_a_new_step_inherits_no_shortcut():
    class Euler(Fast):
        def step(self, s, y, u, theta, *, guess=None):
            return y + s.dt * self.slope(s, y, u, theta)

    out = np.empty((1, 2))
    s = problem().grid.batch(0, range(1), 1)
    u, theta = {"u": np.ones((1, 2))}, {"theta": np.ones(2)}
    Euler().step_into(out, s, np.ones((1, 2)), u, theta)
    np.testing.assert_array_equal(out, Euler().step(s, np.ones((1, 2)), u, theta))
