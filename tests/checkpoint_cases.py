"""Runs to save and to resume, serial and parallel: problems, methods, and how to compare runs."""

import linear_quadratic
import numpy as np
from pendulum_cases import Pendulum, PendulumAdjoint, RunningCost

import pint
from problems.peaks import generate
from problems.resnet import DenseNetwork, Regularisation

STEPS = 19  # not divisible by the coarsening factor


def grid(levels, comm=None, steps=STEPS, final_time=1.0, coarsening=2):
    factors = (4, *[coarsening] * (levels - 2)) if levels > 1 else 4
    return pint.TimeGrid.uniform(final_time, steps, factors, levels, comm)


def bounded(levels, comm=None):
    problem = linear_quadratic.DOUBLE_INTEGRATOR.problem(lower=-1.0, upper=2.0)
    functional = pint.ReducedFunctional(problem, grid(levels, comm))
    return functional, functional.controls.zeros()


def pendulum(levels, comm=None, correction=None, **field):
    stepper = Pendulum()
    fields = {"u": pint.TimeControl(2, **field), "theta": pint.SharedControl(2)}
    parts = (stepper, PendulumAdjoint(stepper), RunningCost())
    problem = pint.Problem(*parts, fields, [pint.Tikhonov(0.3, ["u", "theta"])])
    functional = pint.ReducedFunctional(problem, grid(levels, comm), correction=correction)
    return functional, functional.control(u=0.5, theta=0.5)


def hats(levels, comm=None):
    return pendulum(levels, comm, every=3, interpolate="linear")


def corrected(levels, comm=None):
    return pendulum(levels, comm, correction="full")


def network(levels, comm=None):
    dense = DenseNetwork(features=2, width=4, classes=5)
    problem = dense.problem(*generate(20, seed=0), Regularisation(1e-3, 1e-3, 1e-3, 1e-3))
    functional = pint.ReducedFunctional(problem, grid(levels, comm, final_time=5.0))
    return functional, dense.random_control(functional.controls, seed=1)


PROBLEMS = {
    "bounded": bounded,
    "pendulum": pendulum,
    "hats": hats,
    "corrected": corrected,
    "network": network,
}

METHODS = {
    "sequential": (1, pint.ReducedSpace),
    "mgrit": (2, pint.ReducedSpace),
    "three-levels": (3, pint.ReducedSpace),
    "one-shot": (2, pint.OneShot),
    "lagged": (2, pint.Lagged),
    "adaptive": (2, pint.Adaptive),
}


def solve(problem, method, comm=None, checkpoint=None, **options):
    """Return the result and the controls of all updates seen by the callback, gathered."""
    levels, kind = METHODS[method]
    functional, start = PROBLEMS[problem](levels, comm)
    controls = {}

    def record(iterate, control, state):
        controls[iterate.iteration] = control.gather()

    callback = options.pop("callback", record)
    value = kind(**{"gradient_tolerance": 0.0, **options})
    result = pint.minimize(functional, start, value, callback=callback, checkpoint=checkpoint)
    return result, controls


def ending(result):
    """Return status, updates, and numbers that depend on objective and control. Collective."""
    fields = result.control.gather().values()
    numbers = [result.objective, *(float(np.sin(values).sum()) for values in fields)]
    return result.status.name, result.iterations, numbers


def assert_same_run(resumed, whole, controls, expected, tolerance):
    """Compare results, histories, and the controls of the updates done after the restart."""
    assert resumed.status is whole.status
    assert resumed.iterations == whole.iterations
    for row, other in zip(resumed.history, whole.history, strict=True):
        assert row.line_search_trials == other.line_search_trials
        np.testing.assert_allclose(row.step, other.step, rtol=1e-6)  # interpolation, of rounded J
        for name in ("objective", "gradient_norm"):
            scale = max(abs(getattr(row, name)) for row in whole.history)
            difference = getattr(row, name) - getattr(other, name)
            assert abs(difference) <= tolerance * scale, (row.iteration, name)
    assert controls
    for number, fields in controls.items():
        for name, values in fields.items():
            scale = abs(expected[number][name]).max()
            np.testing.assert_allclose(
                values, expected[number][name], rtol=0, atol=tolerance * scale
            )
