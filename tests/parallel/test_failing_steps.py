"""Methods that raise pint.NumericalError: on whatever rank it is, all ranks go on with NaN."""

import numpy as np
import pytest

import pint

STEPS, AT = 12, 7
WHERE = "the solver failed at step 7"


class Decay(pint.TimeStepper):
    """``y_{n+1} = y_n + dt (u_n - y_n)``; step 7 does not work with a control that `fails`."""

    initial_state = np.ones(1)

    def __init__(self, fails=lambda u: False, batched=False, in_place=False):
        self.fails, self.batched, self.in_place = fails, batched, in_place

    def step(self, s, y, u, theta, out=None):
        at = np.atleast_1d(s.index).ravel() == AT
        if s.level == 0 and at.any() and self.fails(float(u["u"].ravel()[at][0])):
            if out is not None:
                out[...] = 7.0  # a result begun, and not finished
            raise pint.NumericalError(WHERE)
        new = y + s.dt * (u["u"] - y)
        if out is None:
            return new
        out[...] = new
        return None


class SecondControl:
    """Says yes to the second control that it is shown: the first trial of a line search."""

    def __init__(self):
        self.seen = []

    def __call__(self, u):
        if u not in self.seen:
            self.seen.append(u)
        return self.seen.index(u) == 1


class DecayAdjoint(pint.Adjoint):
    def __init__(self, stepper, fails=False):
        self.stepper, self.fails = stepper, fails

    def vjp(self, s, y, u, theta, lam):
        if self.fails and (np.atleast_1d(s.index) == AT).any():
            raise pint.NumericalError(WHERE)
        return lam - s.dt * lam, {"u": s.dt * lam}, {}


class Squares(pint.Objective):
    """``sum_n dt (y_n^2 + (u_n - 2)^2) / 2``."""

    def step_cost(self, s, y0, y1, u, theta):
        return 0.5 * (s.dt * (y0**2 + (u["u"] - 2.0) ** 2))[..., 0]

    def step_cost_derivative(self, s, y0, y1, u, theta):
        return s.dt * y0, 0.0, {"u": s.dt * (u["u"] - 2.0)}, {}


def functional(world, levels=2, storage="all", adjoint_fails=False, **options):
    stepper = Decay(**options)
    grid = pint.TimeGrid.uniform(1.0, STEPS, 2, levels, world)
    problem = pint.Problem(
        stepper, DecayAdjoint(stepper, adjoint_fails), Squares(), {"u": pint.TimeControl(1)}
    )
    return pint.ReducedFunctional(problem, grid, storage=storage)


def large(u):
    return u > 2.5


KINDS = {
    "single": {},
    "in-place": {"in_place": True},
    "batched": {"batched": True},
    "batched-in-place": {"batched": True, "in_place": True},
    "one-level": {"levels": 1},
    "c-points": {"storage": "C"},
    "three-levels": {"levels": 3, "batched": True},
}
METHODS = {
    "reduced": pint.ReducedSpace(),
    "one-shot": pint.OneShot(cycles=2),
    "lagged": pint.Lagged(),
    "adaptive": pint.Adaptive(),
}
SCIPY = pint.External("scipy:L-BFGS-B")


@pytest.mark.layout
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_solve_ends_all_ranks_with_the_message(kind, world):
    rf = functional(world, fails=large, **KINDS[kind])
    good, bad = rf.control(u=1.0), rf.control(u=3.0)
    expected = functional(world, **KINDS[kind])
    for solve in (rf.value, rf.gradient):
        with pytest.raises(pint.NotFiniteError, match=f"`Decay.step` raised .*{WHERE}"):
            solve(bad)
        # What the failure has left behind is no start for other solves.
        assert rf.value(good) == pytest.approx(expected.value(good), rel=1e-13)
        np.testing.assert_allclose(
            rf.gradient(good).vector, expected.gradient(good).vector, rtol=0, atol=1e-13
        )
    with pytest.raises(pint.NotFiniteError, match=WHERE):
        pint.minimize(rf, bad)


@pytest.mark.parametrize("method", [*METHODS, "scipy"])
def test_no_method_begins_where_a_step_fails(method, world):
    rf = functional(world, fails=large, batched=True)
    with pytest.raises(pint.NotFiniteError, match=WHERE):
        pint.minimize(rf, rf.control(u=3.0), method=METHODS.get(method, SCIPY))


@pytest.mark.layout
@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("reduced", "single"),
        ("reduced", "c-points"),
        ("one-shot", "batched-in-place"),
        ("one-shot", "c-points"),
        ("lagged", "single"),
        ("adaptive", "batched-in-place"),
    ],
)
def test_a_failing_trial_is_rejected(method, kind, world):
    second = SecondControl()
    rf = functional(world, fails=second, **KINDS[kind])
    result = pint.minimize(rf, method=METHODS[method])
    assert result.status is pint.Status.CONVERGED
    expected = pint.minimize(functional(world))
    assert result.objective == pytest.approx(expected.objective, rel=1e-12)
    assert sum(row.line_search_trials for row in result.history) >= 1
    # One rank alone makes step 7.
    assert sum(world.allgather(len(second.seen) > 2)) == 1


def test_an_optimiser_of_another_package_ends_at_the_last_good_iterate(world):
    rf = functional(world, fails=SecondControl())
    result = pint.minimize(rf, method=SCIPY)
    assert result.status is pint.Status.NOT_FINITE
    assert f"`Decay.step` raised NumericalError: {WHERE}" in result.message
    assert result.objective == result.history[-1].objective


@pytest.mark.layout
@pytest.mark.parametrize("kind", ["single", "batched", "c-points", "one-level"])
def test_a_failing_adjoint_is_not_finite(kind, world):
    rf = functional(world, adjoint_fails=True, **KINDS[kind])
    control = rf.control(u=1.0)
    assert np.isfinite(rf.value(control))
    with pytest.raises(pint.NotFiniteError, match=f"`DecayAdjoint.vjp` raised .*{WHERE}"):
        rf.gradient(control)
    for method in (pint.ReducedSpace(), SCIPY):
        result = pint.minimize(rf, control, method)
        assert result.status is pint.Status.NOT_FINITE
        assert f"`DecayAdjoint.vjp` raised NumericalError: {WHERE}" in result.message


def failing(name):
    """Return stepper, adjoint and objective of which the method `name` fails."""

    def fail(self, *arguments):
        raise pint.NumericalError(WHERE)

    kinds = [
        type(kind.__name__, (kind,), {name: fail} if hasattr(kind, name) else {})
        for kind in (Decay, DecayAdjoint, Squares)
    ]
    stepper = kinds[0]()
    return stepper, kinds[1](stepper), kinds[2]()


@pytest.mark.parametrize("storage", ["all", "C"])
@pytest.mark.parametrize(
    ("name", "value_fails"),
    [("step_cost", True), ("step_cost_derivative", False), ("initial", True)],
)
def test_costs_and_initial_states_may_fail_too(name, value_fails, storage, world):
    problem = pint.Problem(*failing(name), {"u": pint.TimeControl(1)})
    grid = pint.TimeGrid.uniform(1.0, STEPS, 2, 2, world)
    rf = pint.ReducedFunctional(problem, grid, storage=storage)
    for solve in [rf.value, rf.gradient][not value_fails :]:
        with pytest.raises(pint.NotFiniteError, match=f"{name}` raised .*{WHERE}"):
            solve(rf.control(u=1.0))
