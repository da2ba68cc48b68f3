"""Runs to save and to resume, serial and parallel: problems, methods, and how to compare runs."""

import linear_quadratic
import numpy as np
import registry

import pint
from problems.peaks import generate
from problems.resnet import DenseNetwork, Regularisation

STEPS = 19  # not divisible by the coarsening factor


def grid(levels, comm=None, steps=STEPS, final_time=1.0, coarsening=2):
    factors = (4, *[coarsening] * (levels - 2)) if levels > 1 else 4
    return pint.TimeGrid.uniform(final_time, steps, factors, levels, comm)


def bounded(levels, comm=None):
    problem = linear_quadratic.DOUBLE_INTEGRATOR.problem(grid(levels, comm), lower=-1.0, upper=2.0)
    return pint.ReducedFunctional(problem), problem.controls.zeros()


def pendulum(levels, comm=None, **field):
    stepper, time = registry.Pendulum(), grid(levels, comm)
    controls = pint.ControlSpace(time, u=pint.TimeControl(2, **field), theta=pint.SharedControl(2))
    regularisers = [pint.Tikhonov(0.3, ["u", "theta"])]
    parts = (stepper, registry.PendulumAdjoint(stepper), registry.RunningCost())
    functional = pint.ReducedFunctional(pint.Problem(time, *parts, controls, regularisers))
    return functional, controls.control(u=0.5, theta=0.5)


def hats(levels, comm=None):
    return pendulum(levels, comm, every=3, interpolate="linear")


def network(levels, comm=None):
    dense = DenseNetwork(features=2, width=4, classes=5)
    controls = dense.controls(grid(levels, comm, final_time=5.0))
    weights = Regularisation(1e-3, 1e-3, 1e-3, 1e-3)
    problem = dense.problem(controls, *generate(20, seed=0), weights)
    return pint.ReducedFunctional(problem), dense.random_control(controls, seed=1)


PROBLEMS = {"bounded": bounded, "pendulum": pendulum, "hats": hats, "network": network}

METHODS = {
    "sequential": (1, pint.minimize),
    "mgrit": (2, pint.minimize),
    "three-levels": (3, pint.minimize),
    "one-shot": (2, lambda functional, *args, **o: pint.OneShot(functional, 2).solve(*args, **o)),
    "lagged": (
        2,
        lambda functional, *args, **o: pint.OneShot(functional, 1, lagged=True).solve(*args, **o),
    ),
    "adaptive": (
        2,
        lambda functional, *args, **o: pint.OneShot(functional, "adaptive").solve(*args, **o),
    ),
}


def solve(problem, method, comm=None, **options):
    """Return the result and the controls of all updates seen by the callback, gathered."""
    levels, minimise = METHODS[method]
    functional, start = PROBLEMS[problem](levels, comm)
    controls = {}

    def record(iterate, control, state):
        controls[iterate.iteration] = control.gather()

    options = {"gradient_tolerance": 0.0, "callback": record, **options}
    return minimise(functional, start, **options), controls


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
        assert (row.step, row.line_search_trials) == (other.step, other.line_search_trials)
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
