"""Reports name the methods that differ in place, with kept values, with a guess, or alone."""

import numpy as np
import pytest
import registry
from registry import Pendulum, PendulumAdjoint, RunningCost, Swift, SwiftAdjoint
from test_parts import grid_of

import pint
from pint.verify import check_problem, stepper_test


def problem(stepper=Swift, adjoint=SwiftAdjoint, batched=True):
    stepper = stepper(batched)
    fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)}
    return pint.Problem(stepper, adjoint(stepper), RunningCost(), fields)


def report_of(stepper=Swift, adjoint=SwiftAdjoint, batched=True):
    wrong = problem(stepper, adjoint, batched)
    return stepper_test(wrong, registry.random_control(wrong.control_space(grid_of()), seed=3))


OUT = "is the same with `out=`"
RETURNED = "is returned"
ALONE = "is the first result of `vjp`"
KEPT = "is the same with `s.kept` as without"
FILLED = "is filled with finite numbers"
GUESS = "changes with `s.guess` by rounding only"
UNCHANGED = "argument is left as it is"
RUNS = "returns without an error"
VARIANTS = {OUT, RETURNED, ALONE, KEPT, FILLED, GUESS}


@pytest.mark.parametrize("batched", [True, False])
def test_right_methods_pass(batched):
    report = check_problem(problem(batched=batched), grid_of())
    report.require()
    places = {(check.method, check.level, check.field, check.claim) for check in report.checks}
    for level in (0, 1):
        for method in ("Swift.step", "SwiftAdjoint.vjp", "SwiftAdjoint.step"):
            assert (method, level, "y", OUT) in places
            assert (method, level, "out", RETURNED) in places
        assert ("SwiftAdjoint.step", level, "y", ALONE) in places
    for method in ("SwiftAdjoint.vjp", "SwiftAdjoint.step"):
        assert (method, 0, "y", KEPT) in places
        assert (method, 0, "s.kept", UNCHANGED) in places
    assert ("SwiftAdjoint.vjp", 0, "u['u']", KEPT) in places
    assert ("Swift.step", 0, "s.kept", FILLED) in places
    assert not any(level == 1 for _, level, field, _ in places if field == "s.kept")


def test_only_what_the_classes_offer_is_checked():
    report = report_of(Pendulum, PendulumAdjoint)
    assert report.passed
    assert not any(check.claim in VARIANTS for check in report.checks)
    assert not any(check.method == "PendulumAdjoint.step" for check in report.checks)


# Planted errors


class AddsToPlace(Swift):
    def step(self, s, y, u, theta, out=None):
        new = super().step(s, y, u, theta)
        if out is None:
            return new
        out += new - out
        return out


class WritesToCopy(Swift):
    """Right where the place is contiguous, as that of a single step is."""

    def step(self, s, y, u, theta, out=None):
        if out is None:
            return super().step(s, y, u, theta)
        out.reshape(-1)[...] = super().step(s, y, u, theta).reshape(-1)
        return out


class AnotherScheme(Swift):
    def step(self, s, y, u, theta, out=None):
        new = super().step(s, y, u, theta, out)
        if out is not None:
            out[...] = y + s.dt * self.f(self.times(s)[0], y, u["u"], theta["theta"])
        return new


class InPlaceOfState(Swift):
    def step(self, s, y, u, theta, out=None):
        new = super().step(s, y, u, theta, out)
        if out is not None:
            y += 0.1
        return new


class ReturnsAnother(Swift):
    def step(self, s, y, u, theta, out=None):
        return super().step(s, y, u, theta, out).copy()


class ReturnsNothing(Swift):
    def step(self, s, y, u, theta, out=None):
        new = super().step(s, y, u, theta, out)
        return new if out is None else None


class Raises(Swift):
    def step(self, s, y, u, theta, out=None):
        if s.level == 1 and out is not None:
            raise RuntimeError("no coarse step")
        return super().step(s, y, u, theta, out)


class WithoutOut(Swift):
    def step(self, s, y, u, theta):
        return super().step(s, y, u, theta)


class FillsHalf(Swift):
    def step(self, s, y, u, theta, out=None):
        new = super().step(s, y, u, theta, out)
        if s.kept is not None:
            s.kept[..., 1:] = np.nan
        return new


class FillsNothing(Swift):
    def step(self, s, y, u, theta, out=None):
        return super().step(s._replace(kept=None), y, u, theta, out)


class KeepsSomethingElse(Swift):
    def step(self, s, y, u, theta, out=None):
        new = super().step(s, y, u, theta, out)
        if s.kept is not None:
            s.kept[...] += 1e-6
        return new


class OtherStepWhenKeeping(Swift):
    def step(self, s, y, u, theta, out=None):
        new = super().step(s, y, u, theta, out)
        if s.kept is not None:
            new *= 1 + 1e-12
        return new


class KeepsOnItself(Swift):
    """What is kept belongs to the last call, whichever that was."""

    def step(self, s, y, u, theta, out=None):
        new = super().step(s, y, u, theta, out)
        self.last = None if s.kept is None else s.kept.copy()
        return new


class ReadsGuess(Swift):
    """Takes a guess for the result."""

    uses_guess = True

    def step(self, s, y, u, theta, out=None):
        new = super().step(s, y, u, theta, out)
        if s.guess is not None:
            new += 1e-6 * (s.guess - new)
        return new


class ChangesGuess(Swift):
    uses_guess = True

    def step(self, s, y, u, theta, out=None):
        new = super().step(s, y, u, theta, out)
        if s.guess is not None:
            s.guess[...] = new
        return new


class Guessing(Swift):
    """A right one: its guess is not needed."""

    uses_guess = True


class ReadsFromStepper(SwiftAdjoint):
    def slope(self, s, y, u, theta):
        s = s if s.kept is None else s._replace(kept=self.stepper.last)
        return super().slope(s, y, u, theta)


class WritesWithoutLam(SwiftAdjoint):
    def vjp(self, s, y, u, theta, lam, out=None):
        dy, *rest = super().vjp(s, y, u, theta, lam, out)
        if out is not None:
            out -= lam
        return dy, *rest


class OverwritesLam(SwiftAdjoint):
    def step(self, s, y, u, theta, lam, out=None):
        new = super().step(s, y, u, theta, lam, out)
        if out is not None:
            lam[...] = out
        return new


class ChangesKept(SwiftAdjoint):
    def vjp(self, s, y, u, theta, lam, out=None):
        result = super().vjp(s, y, u, theta, lam, out)
        if s.kept is not None:
            s.kept[...] = 0.0
        return result


class ForgetsShared(SwiftAdjoint):
    """Where it writes in place."""

    def vjp(self, s, y, u, theta, lam, out=None):
        dy, du, dtheta = super().vjp(s, y, u, theta, lam, out)
        return dy, du, dtheta if out is None else {}


class MisnamesField(SwiftAdjoint):
    def vjp(self, s, y, u, theta, lam, out=None):
        dy, du, dtheta = super().vjp(s, y, u, theta, lam, out)
        return dy, {**du, "force": du["u"]} if out is not None else du, dtheta


class WrongWithKept(SwiftAdjoint):
    def vjp(self, s, y, u, theta, lam, out=None):
        dy, du, dtheta = super().vjp(s, y, u, theta, lam, out)
        return dy, {"u": du["u"] * (1.0 if s.kept is None else 1 + 1e-9)}, dtheta


class WrongAlone(SwiftAdjoint):
    def step(self, s, y, u, theta, lam, out=None):
        return np.multiply(super().step(s, y, u, theta, lam, out), 1 + 1e-9, out=out)


class WrongTogether(SwiftAdjoint):
    def vjp(self, s, y, u, theta, lam, out=None):
        dy, *rest = super().vjp(s, y, u, theta, lam, out)
        return np.multiply(dy, 1 + 1e-9, out=out), *rest


class AdjointReadsGuess(SwiftAdjoint):
    def vjp(self, s, y, u, theta, lam, out=None):
        dy, du, dtheta = super().vjp(s, y, u, theta, lam, out)
        return dy, {"u": du["u"] * (1.0 if s.guess is None else 1 + 1e-9)}, dtheta


STEP, VJP = "step", "vjp"
# Each with batches or without: whether a mistake is found does not depend on that.
WRONG_STEPPERS = [
    (AddsToPlace, True, "y", OUT, (0, 1)),
    (WritesToCopy, True, "y", OUT, (0, 1)),
    (AnotherScheme, False, "y", OUT, (0, 1)),
    (InPlaceOfState, True, "y", UNCHANGED, (0, 1)),
    (ReturnsAnother, False, "out", RETURNED, (0, 1)),
    (ReturnsNothing, True, "out", RETURNED, (0, 1)),
    (Raises, False, "call", RUNS, (1,)),
    (FillsHalf, True, "s.kept", FILLED, (0,)),
    (FillsHalf, False, "s.kept", FILLED, (0,)),
    (FillsNothing, False, "s.kept", FILLED, (0,)),
    (OtherStepWhenKeeping, False, "y", KEPT, (0,)),
    (ReadsGuess, True, "y", GUESS, (0, 1)),
    (ReadsGuess, False, "y", GUESS, (0, 1)),
    (ChangesGuess, False, "s.guess", UNCHANGED, (0, 1)),
]
WRONG_ADJOINTS = [
    (WritesWithoutLam, True, VJP, "y", OUT, (0, 1)),
    (OverwritesLam, False, STEP, "lam", UNCHANGED, (0, 1)),
    (ChangesKept, True, VJP, "s.kept", UNCHANGED, (0,)),
    (ForgetsShared, False, VJP, "theta['theta']", OUT, (0, 1)),
    (MisnamesField, True, VJP, "u", "has only names of fields", (0, 1)),
    (WrongWithKept, False, VJP, "u['u']", KEPT, (0,)),
    (WrongAlone, True, STEP, "y", ALONE, (0, 1)),
    (WrongAlone, False, STEP, "y", ALONE, (0, 1)),
]


def assert_names(report, method, field, claim, levels):
    found = [(check.method, check.level, check.field, check.claim) for check in report.failures]
    for level in levels:
        assert (method, level, field, claim) in found
        assert f"{method}, level {level}" in str(report)
    # Nothing is said about levels where all is well.
    assert not any(level not in levels for name, level, _, _ in found if name == method)


@pytest.mark.parametrize(("stepper", "batched", "field", "claim", "levels"), WRONG_STEPPERS)
def test_wrong_stepper(stepper, batched, field, claim, levels):
    report = report_of(stepper, batched=batched)
    assert_names(report, f"{stepper.__name__}.step", field, claim, levels)


@pytest.mark.parametrize(("adjoint", "batched", "name", "field", "claim", "levels"), WRONG_ADJOINTS)
def test_wrong_adjoint(adjoint, batched, name, field, claim, levels):
    report = report_of(adjoint=adjoint, batched=batched)
    assert_names(report, f"{adjoint.__name__}.{name}", field, claim, levels)
    assert {check.method for check in report.failures} == {f"{adjoint.__name__}.{name}"}


@pytest.mark.parametrize("batched", [True, False])
def test_what_is_kept_must_be_what_the_transposes_need(batched):
    report = report_of(KeepsSomethingElse, batched=batched)
    assert_names(report, "SwiftAdjoint.step", "y", KEPT, (0,))
    assert_names(report, "SwiftAdjoint.vjp", "u['u']", KEPT, (0,))


def test_what_is_kept_elsewhere_than_in_its_place():
    report = report_of(KeepsOnItself, ReadsFromStepper)
    assert_names(report, "ReadsFromStepper.step", "y", KEPT, (0,))


@pytest.mark.parametrize("batched", [True, False])
def test_an_adjoint_that_depends_on_the_guess(batched):
    report = report_of(Guessing, AdjointReadsGuess, batched)
    assert_names(report, "AdjointReadsGuess.vjp", "u['u']", GUESS, (0, 1))


def test_steps_with_a_guess_pass():
    report = report_of(Guessing)
    report.require()
    methods = {check.method for check in report.checks if check.claim == GUESS}
    assert methods == {"Guessing.step", "SwiftAdjoint.vjp", "SwiftAdjoint.step"}


@pytest.mark.parametrize(("adjoint", "name"), [(WrongAlone, "step"), (WrongTogether, "vjp")])
def test_of_two_transposes_that_differ_the_wrong_one_is_named(adjoint, name):
    report = check_problem(problem(adjoint=adjoint), grid_of())
    failed = {check.method for check in report.failures}
    assert failed == {f"{adjoint.__name__}.{name}"}
    skipped = {f"not run, because WrongTogether.{VJP} is wrong"} if name == VJP else set()
    assert {check.note for check in report.not_run} == skipped


def test_a_wrong_method_explains_what_follows_from_it():
    report = check_problem(problem(AnotherScheme), grid_of())
    assert {check.method for check in report.failures} == {"AnotherScheme.step"}
    why = "not run, because AnotherScheme.step does not write its result to `out`"
    assert {check.note for check in report.not_run} == {why}


class Fails(Swift):
    def step(self, s, y, u, theta, out=None):
        if out is not None:
            raise RuntimeError("out of paper")
        return super().step(s, y, u, theta)


@pytest.mark.parametrize(
    ("stepper", "message"),
    [
        (Fails, "RuntimeError: out of paper"),
        (WithoutOut, "TypeError: WithoutOut.step() got an unexpected keyword argument 'out'"),
    ],
)
def test_an_error_of_a_step_in_place_is_reported(stepper, message):
    report = check_problem(problem(stepper), grid_of())
    assert {check.method for check in report.failures} == {f"{stepper.__name__}.step"}
    assert message in str(report)
