"""Methods that change their arguments are told, whatever numbers the first call happens to have."""

import numpy as np
import pytest

import pint


class Decay(pint.TimeStepper):
    """y' = u + a - y; all numbers of the first solve are zero."""

    initial_state = np.zeros(1)

    def __init__(self, batched=True):
        self.batched = batched

    def step(self, s, y, u, theta):
        return y + s.dt * (u["u"] + theta["a"] - y)


class DecayAdjoint(pint.Adjoint):
    def vjp(self, s, y, u, theta, lam):
        return lam - s.dt * lam, {"u": s.dt * lam}, {"a": (s.dt * lam).reshape(-1, 1).sum(axis=0)}


class Cost(pint.Objective):
    def step_cost(self, s, y0, y1, u, theta):
        return (s.dt * y0**2)[..., 0]

    def step_cost_derivative(self, s, y0, y1, u, theta):
        return 2 * s.dt * y0, 0.0, {}, {}

    def terminal(self, y, theta):
        return 10 * ((y - 1) ** 2).sum()

    def terminal_derivative(self, y, theta):
        return 20 * (y - 1), {}


class Size(pint.Regulariser):
    def value(self, control):
        return 0.5 * control.space.pair(self.derivative(control), control)

    def derivative(self, control):
        return control.space.dual(control)


FIELDS = {"u": pint.TimeControl(1), "a": pint.SharedControl(1)}


def minimum(stepper, adjoint, cost, levels=1):
    problem = pint.Problem(stepper, adjoint, cost, FIELDS, [Size()])
    grid = pint.TimeGrid.uniform(1.0, 16, 2, levels)
    return pint.minimize(pint.ReducedFunctional(problem, grid))


def spoilt(kind, name, place, change):
    """Return a class whose method changes the argument at a place, after its work."""

    def method(self, *arguments):
        result = getattr(kind, name)(self, *arguments)
        change(arguments[place])
        return result

    return type("Spoilt", (kind,), {name: method})


def shrink(array):
    array *= 0.5


def shrink_field(name):
    return lambda fields: shrink(fields[name])


def replace(name):
    return lambda fields: fields.update({name: fields[name] + 1.0})


CHANGES = {
    ("step", "y"): (Decay, 1, shrink),
    ("step", "u"): (Decay, 2, shrink_field("u")),
    ("step", "theta"): (Decay, 3, shrink_field("a")),
    ("step", "u replaced"): (Decay, 2, replace("u")),
    ("initial", "theta replaced"): (Decay, 0, replace("a")),
    ("vjp", "y"): (DecayAdjoint, 1, shrink),
    ("vjp", "lam"): (DecayAdjoint, 4, shrink),
    ("vjp", "theta"): (DecayAdjoint, 3, shrink_field("a")),
    ("step_cost", "y0"): (Cost, 1, shrink),
    ("step_cost", "u"): (Cost, 3, shrink_field("u")),
    ("step_cost_derivative", "y0"): (Cost, 1, shrink),
    ("terminal", "y"): (Cost, 0, shrink),
    ("terminal_derivative", "y"): (Cost, 0, shrink),
}


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(("name", "argument"), CHANGES)
def test_a_method_that_changes_an_argument(name, argument, batched, levels):
    kind, place, change = CHANGES[name, argument]
    parts = {one: one for one in (Decay, DecayAdjoint, Cost)}
    parts[kind] = spoilt(kind, name, place, change)
    stepper, adjoint, cost = parts.values()
    with pytest.raises(ValueError, match=rf"`Spoilt.{name}` must not .* `{argument.split()[0]}`"):
        minimum(stepper(batched), adjoint(), cost(), levels)


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("batched", [True, False])
def test_methods_that_return_what_they_keep_are_welcome(batched, levels):
    """A buffer of the method's own is no argument."""

    class Buffered(Decay):
        def step(self, s, y, u, theta):
            self.buffer = super().step(s, y, u, theta)
            return self.buffer

    expected = minimum(Decay(batched), DecayAdjoint(), Cost(), levels).objective
    found = minimum(Buffered(batched), DecayAdjoint(), Cost(), levels).objective
    assert found == expected


def test_a_regulariser_cannot_change_the_control():
    class Shrinking(Size):
        def value(self, control):
            shrink(control["u"])
            return super().value(control)

    problem = pint.Problem(Decay(), DecayAdjoint(), Cost(), FIELDS, [Shrinking()])
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 8))
    with pytest.raises(ValueError, match="read-only"):
        functional.value(functional.control(u=1.0))


def test_masked_results_are_refused():
    class Masked(Decay):
        def step(self, s, y, u, theta):
            return np.ma.masked_less(super().step(s, y, u, theta), 0.3)

    with pytest.raises(TypeError, match=r"`Masked.step` must return real numbers.*masks"):
        minimum(Masked(), DecayAdjoint(), Cost())
