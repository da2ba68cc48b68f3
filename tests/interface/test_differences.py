"""The adjoint by differentiating the step numerically, against the adjoints that are written."""

import numpy as np
import pytest
import registry
from registry import Pendulum, PendulumAdjoint, RunningCost

import pint
from pint.interface import DifferenceAdjoint

GRID = pint.TimeGrid(2.0 * np.linspace(0, 1, 12) ** 1.1, coarsening=[2, 3], levels=3)

# A field of many weights costs as many steps: small networks do.
NAMES = [
    *(name for name in registry.PROBLEMS if name not in {*registry.NETWORKS, *registry.STRICT}),
    "dense-tanh-vector-trained",
    "dense-smoothrelu-scalar-pad",
]


def arguments(problem, level):
    """Return arguments of some steps of a level: a batch, or one step."""
    random = np.random.default_rng(level)
    control = registry.random_control(problem.control_space(GRID), seed=3)
    rows = range(0, 6, GRID.strides[level])
    shape = (problem.stepper.coarsen(level) if level else problem.stepper).space.shape
    y, lam = 0.5 * random.standard_normal((2, len(rows), *shape))
    u = {name: values[rows.start : rows.stop : rows.step] for name, values in control.time.items()}
    if problem.stepper.batched:
        s = GRID.batch(level, rows, len(shape))
        return s, y, u, control.shared, lam
    return GRID.single(level, 0), y[0], {n: v[0] for n, v in u.items()}, control.shared, lam[0]


def assert_near(found, expected, like, tolerance):
    """Compare products by field, of which zero ones may be left out."""
    for name, block in like.items():
        zero = np.zeros(np.shape(block))
        one, other = found.get(name, zero), np.asarray(expected.get(name, zero))
        assert np.shape(one) == np.shape(block)
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * (1 + np.abs(other).max()))


@pytest.mark.parametrize("name", NAMES)
def test_differences_are_the_written_transposes(name):
    problem = registry.PROBLEMS[name]()
    for level in (0, 2):
        differences, adjoint = DifferenceAdjoint(problem.stepper), problem.adjoint
        if level:
            differences, adjoint = differences.coarsen(level), adjoint.coarsen(level)
        s, y, u, theta, lam = arguments(problem, level)
        before = [y.copy(), lam.copy()]
        found = differences.vjp(s, y, u, theta, lam)
        expected = adjoint.vjp(s, y, u, theta, lam)
        assert_near({"y": found[0]}, {"y": expected[0]}, {"y": y}, 1e-13)
        assert_near(found[1], expected[1], u, 1e-13)
        assert_near(found[2], expected[2], theta, 1e-13)
        np.testing.assert_array_equal([y, lam], before)
    lam0 = np.random.default_rng(7).standard_normal(problem.space.shape)
    found, expected = (
        one.initial_vjp(theta, lam0)
        for one in (DifferenceAdjoint(problem.stepper), problem.adjoint)
    )
    assert_near(found, expected, theta, 1e-13)


class RealOnly(Pendulum):
    """Writes into a real array, which refuses complex numbers."""

    def step(self, s, y, u, theta):
        new = np.empty(y.shape)
        new[...] = super().step(s, y, u, theta)
        return new


class Quietly(Pendulum):
    """Drops imaginary parts without an error."""

    def step(self, s, y, u, theta):
        return super().step(s, y.real, {"u": u["u"].real}, {"theta": theta["theta"].real})


class QuietInControl(Pendulum):
    """Drops the imaginary part of the control alone."""

    def step(self, s, y, u, theta):
        return super().step(s, y, {"u": np.real(u["u"])}, theta)


class QuietFirst(Pendulum):
    """Drops the imaginary part of the first component of the state alone."""

    def step(self, s, y, u, theta):
        mixed = np.stack([y[..., 0].real + 0 * y[..., 1], y[..., 1]], axis=-1)
        return super().step(s, mixed, u, theta)


class RealCasts(Pendulum):
    """Casts with a warning of numpy, as writing to a real array does."""

    def step(self, s, y, u, theta):
        return super().step(s, np.asarray(y).astype(float), u, theta)


class RealInitial(Pendulum):
    def initial(self, theta):
        return np.array([float(np.real(theta["theta"][1])) ** 2, 0.5])


@pytest.mark.filterwarnings("error::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(
    "stepper", [RealOnly, Quietly, QuietInControl, QuietFirst, RealCasts, RealInitial]
)
def test_central_differences_where_the_complex_step_does_not_work(stepper, batched):
    step = stepper(batched)
    fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)}
    problem = pint.Problem(step, None, RunningCost(), fields)
    assert isinstance(problem.adjoint, DifferenceAdjoint)
    s, y, u, theta, lam = arguments(problem, 1)
    found, expected = (
        one.vjp(s, y, u, theta, lam)
        for one in (problem.adjoint, PendulumAdjoint(Pendulum(batched)))
    )
    for one, other in zip(found, expected, strict=True):
        one, other = (part if isinstance(part, dict) else {"y": part} for part in (one, other))
        assert_near(one, other, other, 1e-8)
    found, expected = (
        one.initial_vjp(theta, np.ones(2)) for one in (problem.adjoint, PendulumAdjoint(step))
    )
    assert_near(found, expected, theta, 1e-8)


def test_a_whole_optimisation_without_an_adjoint():
    written = registry.small_problem("pendulum", "running")
    without = pint.Problem(Pendulum(), None, RunningCost(), written.controls, written.regularisers)
    results = []
    for problem in (written, without):
        functional = pint.ReducedFunctional(problem, GRID)
        control = registry.random_control(functional.controls, seed=3)
        results.append(functional.derivative(control).vector)
    np.testing.assert_allclose(results[1], results[0], rtol=0, atol=1e-12 * abs(results[0]).max())


@pytest.mark.parametrize("name", ["strict-predators", "strict-predators-loop"])
def test_states_that_are_no_arrays_are_refused(name):
    strict = registry.PROBLEMS[name]()
    without = pint.Problem(strict.stepper, None, strict.objective, strict.controls)
    functional = pint.ReducedFunctional(without, GRID)
    with pytest.raises(TypeError, match=r"adjoint=None\).*numpy arrays, got StrictBlock"):
        functional.derivative(functional.control())
