"""Mistakes in a problem: every message names the part, the method or the field."""

import numpy as np
import pytest
from registry import Pendulum, PendulumAdjoint, RunningCost, TerminalCost, random_control

import pint

GRID = pint.TimeGrid.uniform(1.0, 12, coarsening=3, levels=2)


def parts(batched=True, **changes):
    stepper = Pendulum(batched)
    return {
        "grid": GRID,
        "stepper": stepper,
        "adjoint": PendulumAdjoint(stepper),
        "objective": RunningCost(),
        "controls": pint.ControlSpace(GRID, u=pint.TimeControl(2), theta=pint.SharedControl(2)),
        **changes,
    }


def derivative(**changes):
    problem = pint.Problem(**parts(**changes))
    control = random_control(problem.controls)
    return pint.ReducedFunctional(problem).derivative(control)


def test_the_parts_as_they_are_make_a_problem():
    for batched in (True, False):
        assert np.isfinite(derivative(batched=batched).vector).all()


# The parts of a problem


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("grid", "TimeGrid"),
        ("stepper", "TimeStepper"),
        ("adjoint", "Adjoint"),
        ("objective", "Objective"),
        ("controls", "ControlSpace"),
    ],
)
def test_parts_of_a_wrong_type(name, kind):
    with pytest.raises(TypeError, match=rf"Problem\({name}=.*{kind}.*got str"):
        pint.Problem(**parts(**{name: "something else"}))


def test_regularisers_of_a_wrong_type():
    with pytest.raises(TypeError, match=r"Problem\(regularisers=.*got a float"):
        pint.Problem(**parts(regularisers=[0.1]))


def test_controls_of_another_grid():
    other = pint.TimeGrid.uniform(1.0, 12, coarsening=3, levels=2)
    controls = pint.ControlSpace(other, u=pint.TimeControl(2), theta=pint.SharedControl(2))
    with pytest.raises(ValueError, match=r"Problem\(controls=.*another grid"):
        pint.Problem(**parts(controls=controls))


def test_a_space_of_a_wrong_type():
    class NoSpace(Pendulum):
        space = 2

    with pytest.raises(TypeError, match=r"NoSpace\.space.*StateSpace"):
        pint.Problem(**parts(stepper=NoSpace()))


@pytest.mark.parametrize("kind", [pint.TimeStepper, pint.Adjoint])
def test_interfaces_without_their_methods_cannot_be_made(kind):
    with pytest.raises(TypeError, match="step"):
        kind()


def test_error_names_an_unknown_guess():
    with pytest.raises(ValueError, match=r"guess=.*'best'"):
        pint.ReducedFunctional(pint.Problem(**parts()), guess="best")


# What a user's methods return


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("shorten", [lambda y: y[..., :1], lambda y: y[..., None], lambda y: 0.0])
def test_a_step_of_a_wrong_shape(batched, shorten):
    class Short(Pendulum):
        def step(self, *arguments, **options):
            return shorten(super().step(*arguments, **options))

    with pytest.raises(ValueError, match=r"Short\.step.*shape \(.*2,?\)"):
        derivative(stepper=Short(batched), batched=batched)


@pytest.mark.parametrize("batched", [True, False])
def test_an_adjoint_step_of_a_wrong_shape(batched):
    class Short(PendulumAdjoint):
        def step(self, *arguments):
            return super().step(*arguments)[..., :1]

    with pytest.raises(ValueError, match=r"Short\.step.*shape \(.*2,?\)"):
        derivative(adjoint=Short(Pendulum(batched)), batched=batched)


def test_an_initial_state_of_a_wrong_shape():
    class Short(Pendulum):
        def initial(self, theta):
            return np.zeros(3)

    with pytest.raises(ValueError, match=r"Short\.initial.*\(2,\).*\(3,\)"):
        derivative(stepper=Short())


@pytest.mark.parametrize("value", [[1.0, 2.0], (1, 2), np.array([1.0, 2.0])])
def test_a_fixed_initial_state_is_array_like(value):
    class Fixed(pint.TimeStepper):
        initial_state = value

        def step(self, s, y, u, theta, *, guess=None):
            return y

    problem = pint.Problem(**parts(stepper=Fixed(), objective=TerminalCost()))
    functional = pint.ReducedFunctional(problem)
    assert functional.value(problem.controls.zeros()) == pytest.approx(0.5)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (lambda du, dtheta: ({**du, "force": du["u"]}, dtheta), "`force`.*time-dependent.*'u'"),
        (lambda du, dtheta: (dtheta, {}), "`theta`.*time-dependent.*'u'"),
        (lambda du, dtheta: (du, {"mass": np.zeros(2)}), "`mass`.*shared.*'theta'"),
        (lambda du, dtheta: (du, du), "`u`.*shared.*'theta'"),
        (lambda du, dtheta: ({"u": du["u"][..., :1]}, dtheta), r"derivative\['u'\].*shape"),
        (lambda du, dtheta: (du, {"theta": np.zeros(3)}), r"derivative\['theta'\].*\(3,\)"),
    ],
)
def test_derivatives_of_unknown_fields_and_wrong_shapes(batched, changes, message):
    class Wrong(PendulumAdjoint):
        def control_derivative(self, *arguments):
            return changes(*super().control_derivative(*arguments))

    class WrongCost(RunningCost):
        def step_cost_derivative(self, *arguments):
            *dy, du, dtheta = super().step_cost_derivative(*arguments)
            return *dy, *changes(du, dtheta)

    with pytest.raises(ValueError, match=f"Wrong.*{message}"):
        derivative(adjoint=Wrong(Pendulum(batched)), batched=batched)
    with pytest.raises(ValueError, match=f"WrongCost.*{message}"):
        derivative(objective=WrongCost(), batched=batched)


def test_a_derivative_of_the_initial_state_by_an_unknown_field():
    class Wrong(PendulumAdjoint):
        def initial_derivative(self, theta, lam0):
            return {"u": lam0}

    with pytest.raises(ValueError, match=r"Wrong.*`u`.*shared"):
        derivative(adjoint=Wrong(Pendulum()))


def test_a_terminal_derivative_of_a_wrong_shape():
    class Wrong(TerminalCost):
        def terminal_derivative(self, y, theta):
            return np.zeros(3), {}

    with pytest.raises(ValueError, match=r"Wrong\.terminal_derivative.*\(2,\).*\(3,\)"):
        derivative(objective=Wrong())


@pytest.mark.parametrize("batched", [True, False])
def test_step_cost_derivatives_of_a_wrong_shape(batched):
    for position in (0, 1):

        class Wrong(RunningCost):
            def step_cost_derivative(self, *arguments, position=position):
                result = list(super().step_cost_derivative(*arguments))
                result[position] = np.zeros(3)
                return tuple(result)

        with pytest.raises(ValueError, match=r"Wrong\.step_cost_derivative.*shape"):
            derivative(objective=Wrong(), batched=batched)


@pytest.mark.parametrize("wrong", [lambda costs: costs.sum(), lambda costs: costs[:, None]])
def test_a_step_cost_must_be_one_number_a_step(wrong):
    class Wrong(RunningCost):
        def step_cost(self, *arguments):
            return wrong(super().step_cost(*arguments))

    with pytest.raises(ValueError, match=r"Wrong\.step_cost.*shape \(12,\)"):
        derivative(objective=Wrong())


def test_a_step_cost_without_its_derivative():
    class OnlyValue(pint.Objective):
        def step_cost(self, s, y0, y1, u, theta):
            return (s.dt * y1**2).sum(axis=-1)

    with pytest.raises(TypeError, match=r"OnlyValue.*step_cost.*derivative"):
        derivative(objective=OnlyValue())


# Values that are not finite


@pytest.mark.parametrize("batched", [True, False])
def test_nan_of_a_step_names_the_level(batched):
    class NotANumber(Pendulum):
        def step(self, s, y, u, theta, *, guess=None):
            return super().step(s, y, u, theta) + (np.nan if s.level == 1 else 0.0)

    with pytest.raises(pint.NotFiniteError, match=r"level 1 \(step size 0\.25\)"):
        derivative(stepper=NotANumber(batched), batched=batched)


def test_nan_of_the_objective_alone():
    class NotANumber(TerminalCost):
        def terminal(self, y, theta):
            return np.nan

    with pytest.raises(pint.NotFiniteError, match=r"all states are finite.*Objective"):
        derivative(objective=NotANumber())
