"""Mean values of every argument: each is taken, or ends in one line that names the argument."""

import inspect

import numpy as np
import pytest

import pint
from pint.steppers import SCHEMES, Lagrangian, RungeKutta, RungeKuttaAdjoint, scheme
from problems.peaks import generate
from problems.resnet import DenseNetwork, Regularisation, classify

MEAN = {
    "None": None,
    "text": "x",
    "empty text": "",
    "-1": -1,
    "0": 0,
    "nan": float("nan"),
    "inf": float("inf"),
    "1.5": 1.5,
    "True": True,
    "list": [],
    "object": object(),
    "huge": 10**400,
    "complex": 1j,
    "array": np.ones((2, 3)),
    "texts": ["a"],
    "numpy": np.int64(2),
    "numpy float": np.float32(0.5),
    "mapping": {},
    "class": int,
}


class Decay(pint.TimeStepper):
    batched = True
    initial_state = np.ones(1)

    def step(self, s, y, u, theta):
        return y + s.dt * (u.get("u", 0.0) - y)


class DecayAdjoint(pint.Adjoint):
    def vjp(self, s, y, u, theta, lam):
        return lam - s.dt * lam, {"u": s.dt * lam}, {}


class Energy(pint.Objective):
    def terminal(self, y, theta):
        return float(y @ y)

    def terminal_derivative(self, y, theta):
        return 2 * y, {}


class Decays(pint.ODE):
    initial_state = np.ones(1)

    def f(self, t, y, u, theta):
        return u["u"] - y

    def f_vjp(self, t, y, u, theta, lam):
        return -lam, {"u": lam}, {}

    def jacobian(self, t, y, u, theta):
        return -np.ones((len(y), 1, 1))


class Size(Lagrangian):
    def value(self, t, y, u, theta):
        return (y**2).sum(axis=1)

    def gradient(self, t, y, u, theta, weight):
        return 2 * weight[:, None] * y, {}, {}


FIELDS = {"u": pint.TimeControl(1)}
PROBLEM = pint.Problem(Decay(), DecayAdjoint(), Energy(), FIELDS)
GRID = pint.TimeGrid.uniform(1.0, 8, coarsening=2, levels=2)
FUNCTIONAL = pint.ReducedFunctional(PROBLEM, GRID)
CONTROLS = FUNCTIONAL.controls
CONTROL = CONTROLS.control(u=0.5)
NETWORK = DenseNetwork(2, 3, 5)
X, LABELS = generate(12, seed=0)
TRAINING = NETWORK.problem(X, LABELS, batch_size=4)
WEIGHTS = NETWORK.random_control(pint.ReducedFunctional(TRAINING, GRID).controls, 0)
SHORT = {"iterations": 1}

CALLS = {
    pint.TimeGrid: dict(t=[0.0, 0.5, 1.0], coarsening=2, levels=1),
    pint.TimeGrid.uniform: dict(final_time=1.0, steps=8, coarsening=2, levels=2),
    pint.TimeControl: dict(
        shape=2, lower=None, upper=None, metric="time", restrict="inject", weight=1.0, every=1,
        interpolate="constant",
    ),
    pint.SharedControl: dict(shape=2, lower=None, upper=None, weight=1.0),
    pint.ArraySpace: dict(shape=2, dtype=float, weight=1.0, axis=0),
    pint.Tikhonov: dict(gamma=1.0, fields=["u"]),
    pint.Smoothness: dict(gamma=1.0, fields=["u"]),
    pint.Accuracy: dict(cycles=3, absolute=1e-3, relative=1e-3),
    pint.Problem: dict(
        stepper=Decay(), adjoint=DecayAdjoint(), objective=Energy(), controls=FIELDS,
        regularisers=(), examples=None,
    ),
    pint.ReducedFunctional: dict(
        problem=PROBLEM, grid=GRID, accuracy=None, relaxation="F", c_weight=1.0, cycle="V",
        guess="nested", kept_bytes=1e6, chunk_bytes=None, storage="all",
    ),
    pint.MGRIT: dict(
        grid=GRID, space=PROBLEM.space, relaxation="F", c_weight=1.0, cycle="V",
        chunk_bytes=None, storage="all",
    ),
    FUNCTIONAL.value: dict(control=CONTROL),
    FUNCTIONAL.gradient: dict(control=CONTROL),
    FUNCTIONAL.value_and_gradient: dict(control=CONTROL),
    FUNCTIONAL.on: dict(grid=GRID),
    FUNCTIONAL.control: dict(u=1.0),
    pint.ReducedFunctional(TRAINING, GRID).select: dict(indices=[0, 1]),
    CONTROLS.control: dict(u=1.0),
    CONTROLS.scatter: dict(values={"u": np.ones((8, 1))}),
    CONTROLS.inner: dict(a=CONTROL, b=CONTROL),
    CONTROLS.norm: dict(a=CONTROL),
    CONTROLS.riesz: dict(derivative=CONTROL),
    CONTROLS.dual: dict(control=CONTROL),
    CONTROLS.project: dict(control=CONTROL),
    pint.prolong: dict(control=CONTROL, space=CONTROLS, interpolate="constant"),
    pint.minimize: dict(
        functional=FUNCTIONAL, start=CONTROL, method=pint.ReducedSpace(**SHORT), callback=None,
        checkpoint=None,
    ),
    pint.ReducedSpace: dict(
        accuracy=None, iterations=1, gradient_tolerance=1.0, hessian=pint.lbfgs(),
        line_search=pint.armijo(), step=1.0,
    ),
    pint.OneShot: dict(cycles=2, tolerance=None, iterations=1),
    pint.Lagged: dict(cycles=2, iterations=1),
    pint.Adaptive: dict(iterations=1),
    pint.Stochastic: dict(
        rule=pint.sgd(), epochs=1, learning_rate=0.1, cycles=1, decay=0.0, shuffle=True, seed=0
    ),
    pint.External: dict(optimiser="scipy:L-BFGS-B", iterations=1),
    pint.Nested: dict(grids=[GRID], method=pint.OneShot(**SHORT)),
    pint.lbfgs: dict(memory=5),
    pint.sgd: dict(momentum=0.5),
    pint.adam: dict(beta1=0.9, beta2=0.99, eps=1e-8),
    pint.Checkpoint: dict(path="run.npz"),
    pint.Progress: dict(iterations=3, interval=1.0, stream=None),
    pint.RungeKutta: dict(ode=Decays(), tableau="rk4"),
    pint.Theta: dict(ode=Decays(), scheme="midpoint"),
    pint.RunningCost: dict(cost=Size(), quadrature="left"),
    RungeKuttaAdjoint: dict(stepper=RungeKutta(Decays())),
    scheme: dict(ode=Decays(), name=next(iter(SCHEMES))),
    pint.verify.check_problem: dict(problem=PROBLEM, grid=GRID, control=CONTROL, seed=0),
    pint.verify.adjoint_dot_test: dict(problem=PROBLEM, control=CONTROL, seed=0),
    pint.verify.stepper_test: dict(problem=PROBLEM, control=CONTROL, seed=0),
    pint.verify.taylor_test: dict(
        functional=FUNCTIONAL, control=CONTROL, direction=CONTROL, seed=0, exact=True, noise=None
    ),
    pint.verify.convergence_order: dict(solve=lambda dt: dt, dts=[1.0, 0.5, 0.25]),
    pint.verify.stepper_order: dict(
        stepper=Decay(), final_time=1.0, theta={}, steps=[4, 8, 16]
    ),
    pint.history_arrays: dict(history=[pint.Accuracy(1, 0.5, 0.5)]),
    DenseNetwork: dict(
        features=2, width=3, classes=5, activation="tanh", bias="vector", opening="trained"
    ),
    Regularisation: dict(tikhonov=1.0, opening=0.0, classification=0.0, smooth=0.0),
    NETWORK.problem: dict(
        x=X, labels=LABELS, regularisation=None, batch_size=None, metric="time"
    ),
    classify: dict(network=NETWORK, weights=WEIGHTS, x=X, at_once=4),
}  # fmt: skip

CASES = [
    pytest.param(call, name, id=f"{call.__qualname__}-{name}")
    for call, arguments in CALLS.items()
    for name in arguments
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("call", "name"), CASES)
def test_a_mean_value_is_taken_or_refused_in_one_line(call, name):
    wrong = []
    for label, value in MEAN.items():
        if (name, label) == ("callback", "class"):
            continue  # it is called, as it says
        try:
            call(**{**CALLS[call], name: value})
        except (TypeError, ValueError, pint.NumericalError) as error:
            text = str(error)
            short = "\n" not in text.strip() and len(text) < 400
            if not short or "`" not in text:
                wrong.append(f"{label}: {type(error).__name__}: {text[:150]}")
        except Exception as error:
            wrong.append(f"{label}: {type(error).__name__}: {str(error)[:150]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("call", [pint.OneShot, pint.Lagged, pint.ReducedSpace, pint.TimeControl])
def test_numbers_of_numpy_are_numbers(call):
    """Integers of numpy count as integers, floats as floats; a truth value is neither."""
    values = {"cycles": np.int64(2), "iterations": np.uint8(3), "every": np.int32(2)}
    values |= {"gradient_tolerance": np.float32(0.5), "weight": np.float32(0.5)}
    known = inspect.signature(call).parameters
    required = {"shape": np.int64(2)} if "shape" in known else {}
    for name in set(known) & set(values):
        made = call(**required, **{name: values[name]})
        assert float(getattr(made, name)) == float(values[name])
        with pytest.raises((TypeError, ValueError), match=rf"{name}="):
            call(**required, **{name: True})
