"""Mistakes in a problem: every message names the part, the method or the field."""

import copy
import pickle

import numpy as np
import pytest
from registry import Pendulum, PendulumAdjoint, RunningCost, TerminalCost, random_control

import pint
from pint.steppers import Lagrangian

GRID = pint.TimeGrid.uniform(1.0, 12, coarsening=3, levels=2)


def parts(batched=True, **changes):
    stepper = Pendulum(batched)
    return {
        "stepper": stepper,
        "adjoint": PendulumAdjoint(stepper),
        "objective": RunningCost(),
        "controls": {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)},
        **changes,
    }


def derivative(**changes):
    functional = pint.ReducedFunctional(pint.Problem(**parts(**changes)), GRID)
    return functional.derivative(random_control(functional.controls))


def test_the_parts_as_they_are_make_a_problem():
    for batched in (True, False):
        assert np.isfinite(derivative(batched=batched).vector).all()


# The parts of a problem


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("stepper", "TimeStepper"),
        ("adjoint", "Adjoint"),
        ("objective", "Objective"),
        ("examples", "Examples"),
    ],
)
def test_parts_of_a_wrong_type(name, kind):
    with pytest.raises(TypeError, match=rf"Problem\({name}=.*{kind}.*got str"):
        pint.Problem(**parts(**{name: "something else"}))


def test_regularisers_of_a_wrong_type():
    with pytest.raises(TypeError, match=r"Problem\(regularisers=.*got a float"):
        pint.Problem(**parts(regularisers=[0.1]))


def test_a_grid_where_the_stepper_belongs():
    with pytest.raises(TypeError, match=r"got TimeGrid: a problem has no grid; give it to"):
        pint.Problem(GRID, *list(parts().values())[1:])


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        (lambda: pint.ControlSpace(GRID, u=pint.TimeControl(1)), "must map names.*ControlSpace"),
        (lambda: [pint.TimeControl(1)], "must map names.*got list"),
        (lambda: {"u": 2}, "`u` must be a TimeControl or a SharedControl, got int"),
    ],
)
def test_controls_of_a_wrong_type(controls, message):
    with pytest.raises(TypeError, match=rf"Problem\(controls=.*{message}"):
        pint.Problem(**parts(controls=controls()))


def test_the_fields_of_a_problem_cannot_be_replaced():
    fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)}
    problem = pint.Problem(**parts(controls=fields))
    with pytest.raises(TypeError):
        problem.controls["u"] = pint.TimeControl(3)
    fields["u"] = pint.TimeControl(3)
    assert problem.controls["u"].shape == (2,)


def test_a_space_of_a_wrong_type():
    class NoSpace(Pendulum):
        space = 2

    with pytest.raises(TypeError, match=r"NoSpace\.space.*StateSpace"):
        pint.Problem(**parts(stepper=NoSpace()))


@pytest.mark.parametrize(("kind", "method"), [(pint.TimeStepper, "step"), (pint.Adjoint, "vjp")])
def test_interfaces_without_their_methods_cannot_be_made(kind, method):
    with pytest.raises(TypeError, match=method):
        kind()


def test_error_names_an_unknown_guess():
    with pytest.raises(ValueError, match=r"guess=.*'best'"):
        pint.ReducedFunctional(pint.Problem(**parts()), GRID, guess="best")


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
@pytest.mark.parametrize("name", ["vjp", "step"])
def test_a_transpose_of_a_wrong_shape(batched, name):
    class Short(PendulumAdjoint):
        def vjp(self, *arguments):
            dy, *rest = super().vjp(*arguments)
            return dy[..., :1], *rest

    class ShortAlone(PendulumAdjoint):
        def step(self, *arguments):
            return self.vjp(*arguments)[0][..., :1]

    wrong = {"vjp": Short, "step": ShortAlone}[name]
    with pytest.raises(ValueError, match=rf"{wrong.__name__}\.{name}.*shape \(.*2,?\)"):
        derivative(adjoint=wrong(Pendulum(batched)), batched=batched)


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

        def step(self, s, y, u, theta):
            return y

    problem = pint.Problem(**parts(stepper=Fixed(), objective=TerminalCost()))
    functional = pint.ReducedFunctional(problem, GRID)
    assert functional.value(functional.control()) == pytest.approx(0.5)


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
        def vjp(self, *arguments):
            dy, *fields = super().vjp(*arguments)
            return dy, *changes(*fields)

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
        def initial_vjp(self, theta, lam0):
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


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("zero", [0.0, 0])
def test_zero_stands_for_the_derivatives_of_costs_that_do_not_depend_on_states(batched, zero):
    class Effort(pint.Objective):
        def step_cost(self, s, y0, y1, u, theta):
            return (s.dt * u["u"] ** 2).sum(axis=-1)

        def step_cost_derivative(self, s, y0, y1, u, theta):
            return zero, zero, {"u": 2 * s.dt * u["u"]}, {}

        def terminal(self, y, theta):
            return (theta["theta"] ** 2).sum()

        def terminal_derivative(self, y, theta):
            return zero, {"theta": 2 * theta["theta"]}

    problem = pint.Problem(**parts(batched=batched, objective=Effort()))
    for grid in (GRID, pint.TimeGrid.uniform(1.0, 12)):
        functional = pint.ReducedFunctional(problem, grid)
        control = random_control(functional.controls)
        slopes = functional.derivative(control)
        np.testing.assert_allclose(slopes["u"], 2 * control["u"] / 12, rtol=1e-13)
        np.testing.assert_allclose(slopes["theta"], 2 * control["theta"], rtol=1e-13)


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


# Optional methods, and results that are no real numbers

PAIRS = [("step_cost", "step_cost_derivative"), ("terminal", "terminal_derivative")]


def objective(*methods, kind=pint.Objective, **more):
    """Return an object whose class defines some methods."""
    return type("Mine", (kind,), {name: lambda self, *rest: 0.0 for name in methods} | more)()


@pytest.mark.parametrize("pair", [*PAIRS, ("outer", "outer_derivative")])
@pytest.mark.parametrize("there", [0, 1])
def test_a_cost_or_its_derivative_alone(pair, there):
    rest = [name for other in PAIRS if other != pair for name in other]
    message = rf"`Mine` defines `{pair[there]}` but not `{pair[1 - there]}`"
    with pytest.raises(TypeError, match=message):
        pint.Problem(**parts(objective=objective(pair[there], *rest)))


def test_an_objective_without_a_cost():
    with pytest.raises(TypeError, match="`Mine` defines neither `step_cost` nor `terminal`"):
        pint.Problem(**parts(objective=objective()))
    with pytest.raises(TypeError, match="Did you mean `terminal` by `terminals`"):
        pint.Problem(**parts(objective=objective("terminals")))


@pytest.mark.parametrize("wrong", ["step_costs", "stepcost", "step_cost_"])
def test_a_misspelt_cost_beside_another(wrong):
    mine = objective("terminal", "terminal_derivative", wrong)
    with pytest.raises(TypeError, match=f"not define `step_cost`.*mean `step_cost` by `{wrong}`"):
        pint.Problem(**parts(objective=mine))


def test_a_method_of_the_object_alone_counts():
    mine = TerminalCost()
    mine.outer = lambda value: 2 * value
    with pytest.raises(TypeError, match="`outer` but not `outer_derivative`"):
        pint.Problem(**parts(objective=mine))
    mine.outer_derivative = lambda value: 2.0
    plain, doubled = derivative(objective=TerminalCost()), derivative(objective=mine)
    np.testing.assert_allclose(doubled.vector, 2 * plain.vector, rtol=1e-12)


def test_the_terminal_cost_of_a_lagrangian_without_its_derivative():
    one = objective("value", "gradient", "terminal", kind=Lagrangian)
    with pytest.raises(TypeError, match="`Mine` defines `terminal` but not `terminal_derivative`"):
        pint.RunningCost(one)


def test_a_stepper_without_an_initial_state():
    with pytest.raises(TypeError, match="`Mine` must have an `initial_state`"):
        pint.Problem(**parts(stepper=objective("step", kind=pint.TimeStepper)))


def test_regularisers_may_come_from_a_generator():
    terms = [pint.Tikhonov(1.0, ["u"]), pint.Smoothness(1.0, ["u"])]
    assert pint.Problem(**parts(regularisers=(term for term in terms))).regularisers == (*terms,)


def test_a_problem_can_be_copied_and_pickled():
    problem = pint.Problem(**parts(regularisers=[pint.Tikhonov(1.0, ["u"])]))
    for again in (copy.deepcopy(problem), pickle.loads(pickle.dumps(problem))):
        assert again.adjoint.stepper is again.stepper  # what parts share, their copies share
        values = []
        for one in (problem, again):
            functional = pint.ReducedFunctional(one, GRID)
            values.append(functional.value(random_control(functional.controls)))
        assert values[0] == values[1]


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("in_place", [True, False])
def test_complex_steps_are_refused(batched, in_place):
    class Complex(Pendulum):
        def step(self, s, y, u, theta, out=None):
            new = super().step(s, y, u, theta) + 1j * y
            if out is None:
                return new
            out[...] = new
            return out

    stepper = Complex(batched)
    stepper.in_place = in_place
    with pytest.raises(TypeError, match=r"`Complex\.step` must (return|write) real numbers"):
        derivative(stepper=stepper, batched=batched)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (0, lambda dy: dy + 0j, r"Wrong.vjp.*real numbers, got complex128"),
        (0, lambda dy: dy.astype(object), r"vjp.*real numbers, got object"),
        (0, lambda dy: None, r"vjp.*shape.*NoneType"),
        (1, lambda du: {"u": du["u"] + 0j}, r"derivative\['u'\].*real numbers, got complex128"),
        (1, lambda du: None, r"time-dependent field as a mapping, got NoneType"),
        (2, lambda dtheta: [dtheta["theta"]], r"shared field as a mapping, got list"),
    ],
)
def test_transposes_that_are_no_real_numbers(batched, place, change, message):
    class Wrong(PendulumAdjoint):
        def vjp(self, *arguments):
            results = list(super().vjp(*arguments))
            results[place] = change(results[place])
            return tuple(results)

    with pytest.raises((TypeError, ValueError), match=message):
        derivative(adjoint=Wrong(Pendulum(batched)), stepper=Pendulum(batched))


@pytest.mark.parametrize("wrong", [None, 1j, "1", np.ones(1), True, np.complex128(1j)])
@pytest.mark.parametrize("name", ["terminal", "outer", "outer_derivative"])
def test_costs_that_are_no_numbers(name, wrong):
    mine = type("Mine", (TerminalCost,), {name: lambda self, *rest: wrong})()
    if name.startswith("outer"):
        other = {"outer": "outer_derivative", "outer_derivative": "outer"}[name]
        setattr(type(mine), other, lambda self, value: 1.0)
    with pytest.raises((TypeError, ValueError), match=rf"`Mine\.{name}` must return"):
        derivative(objective=mine)


@pytest.mark.parametrize("value", [[1j, 0], ["a", "b"], [True, False], np.array([1j, 0.0]), None])
def test_initial_states_that_are_no_real_numbers(value):
    stepper = Pendulum()
    stepper.initial_state = value
    with pytest.raises(TypeError, match=r"Pendulum.*initial_state"):
        pint.Problem(**parts(stepper=stepper))


def test_the_precision_of_an_initial_state_is_kept():
    stepper = Pendulum()
    assert stepper.space.dtype == np.float64
    stepper.initial_state = np.zeros(2, np.float32)
    assert stepper.space.dtype == np.float32


# Values that are not finite


@pytest.mark.parametrize("batched", [True, False])
def test_nan_of_a_step_names_the_level(batched):
    class NotANumber(Pendulum):
        def step(self, s, y, u, theta):
            return super().step(s, y, u, theta) + (np.nan if s.level == 1 else 0.0)

    with pytest.raises(pint.NotFiniteError, match=r"level 1 \(step size 0\.25\)"):
        derivative(stepper=NotANumber(batched), batched=batched)


def test_nan_of_the_objective_alone():
    class NotANumber(TerminalCost):
        def terminal(self, y, theta):
            return np.nan

    with pytest.raises(pint.NotFiniteError, match=r"all states are finite.*Objective"):
        derivative(objective=NotANumber())
