"""Tangents and Hessian products against differences of states and of gradients."""

import numpy as np
import pytest
import registry

import pint

NAMES = [
    "dahlquist-trapezoid-loop-terminal",
    "pendulum-effort",
    "swift-loop-terminal",
    "pendulum-loop-arrival",
    "coarsened",
    "reaction-loop",
    "forced-midpoint",
    "symbolic-rk4",
    "strict-predators-in-place",
]


def functional_of(problem, levels=3, **options):
    grid = pint.TimeGrid(2.0 * np.linspace(0, 1, 15) ** 1.1, [3, 2][: levels - 1] or 2, levels)
    return pint.ReducedFunctional(problem, grid, unconverged="error", **options)


def points(functional, count=3):
    return [registry.random_control(functional.controls, seed, 0.3) for seed in range(count)]


@pytest.mark.parametrize("name", NAMES)
def test_hessian_product_is_the_slope_of_the_gradient(name):
    functional = functional_of(registry.PROBLEMS[name]())
    space, h = functional.controls, 1e-4
    control, v, w = points(functional)
    product = functional.hessian_product(control, v)
    ahead, behind = (functional.gradient(control + d * v) for d in (h, -h))
    size = space.norm(product)
    assert space.norm(product - (0.5 / h) * (ahead - behind)) < 3e-6 * size
    other = functional.hessian_product(control, w)
    assert space.inner(product, w) == pytest.approx(space.inner(other, v), abs=1e-7 * size)


@pytest.mark.parametrize("name", NAMES)
def test_tangent_is_the_slope_of_the_states(name):
    functional, h = functional_of(registry.PROBLEMS[name](), levels=2), 1e-4
    control, v = points(functional, 2)
    found = functional.tangent(control, v)
    slope = functional.controls.pair(functional.derivative(control), v)
    by_differences = name.startswith("strict")
    assert found.slope == pytest.approx(slope, rel=1e-8 if by_differences else 1e-12)
    moved = []
    for d in (h, -h):
        state = functional.state.new()
        functional.state.solve(state, control + d * v, pint.equations.March())
        moved.append(functional.gather_states(state))
    differences = (moved[0] - moved[1]) / (2 * h)
    np.testing.assert_allclose(
        found.states(), differences, rtol=0, atol=1e-6 * np.abs(differences).max()
    )


class QuarticCost(pint.Objective):
    """``|y_N|^4 / 4``."""

    def terminal(self, y, theta):
        return 0.25 * float((y**2).sum()) ** 2

    def terminal_derivative(self, y, theta):
        return (y**2).sum() * y, {}


class Square(pint.TimeStepper):
    """``y + dt (u - y^2)``, whose code takes real numbers alone."""

    batched = True
    initial_state = np.array([0.5])

    def step(self, s, y, u, theta):
        return y + s.dt * (np.asarray(u["u"], dtype=float) - np.abs(y) ** 2)


class SquareAdjoint(pint.Adjoint):
    def vjp(self, s, y, u, theta, lam):
        return lam * (1 - 2 * s.dt * y), {"u": s.dt * lam}, {}


class SquareTangent(pint.Tangent):
    def jvp(self, s, y, u, theta, dy, du, dtheta):
        return dy * (1 - 2 * s.dt * y) + s.dt * du["u"]

    def second_vjp(self, s, y, u, theta, lam, dy, du, dtheta):
        return -2 * s.dt * lam * dy, {}, {}


def square(tangent=None):
    fields = {"u": pint.TimeControl(1)}
    return pint.Problem(Square(), SquareAdjoint(), QuarticCost(), fields, tangent=tangent)


def test_transposing_twice_equals_a_tangent_of_the_users():
    results = []
    for tangent in (None, SquareTangent()):
        functional = functional_of(square(tangent), levels=1)
        control, v = points(functional, 2)
        results.append((functional.tangent(control, v), functional.hessian_product(control, v)))
    np.testing.assert_allclose(results[0][0].points, results[1][0].points, rtol=1e-13)
    np.testing.assert_allclose(results[0][1].vector, results[1][1].vector, rtol=1e-8)


def test_gauss_newton_leaves_out_the_curvature_of_the_steps():
    functional = functional_of(square(SquareTangent()), levels=1)
    control, v = points(functional, 2)
    end = functional.tangent(control, v)
    state = functional.state.new()
    functional.state.solve(state, control, pint.equations.March())
    y, dy = state.points[-1, 0], end.points[-1, 0]
    product = functional.hessian_product(control, v, "gauss-newton")
    assert functional.controls.inner(product, v) == pytest.approx(3 * y**2 * dy**2, rel=1e-8)


def test_mistakes_are_answered_in_one_line():
    with pytest.raises(TypeError, match="tangent"):
        square(tangent="jvp")
    functional = functional_of(square(), levels=1)
    control, v = points(functional, 2)
    with pytest.raises(ValueError, match="kind"):
        functional.hessian_product(control, v, "newton")
    grid = pint.TimeGrid.uniform(1.0, 12, 3, 2)
    stored = pint.ReducedFunctional(square(), grid, storage="C")
    with pytest.raises(ValueError, match="storage"):
        stored.hessian_product(stored.control(), stored.control(u=1.0))
