"""Problems of tensors: the same numbers as of expressions, in every way to give them."""

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import sympy

import pint
from pint.steppers.symbolic import SympyODE


@dataclass
class Framework:
    problem: Any
    np: Any


@pytest.fixture(params=["torch", "jax"])
def framework(request):
    library = pytest.importorskip(request.param)
    module = importlib.import_module(f"pint.autodiff.{request.param}")
    numbers = library if request.param == "torch" else importlib.import_module("jax.numpy")
    return Framework(module.problem, numbers)


FIELDS = {"u": pint.TimeControl(1), "ab": pint.TimeControl(2), "k": pint.SharedControl(1)}


def functions(np_):
    def rate(t, y, u, theta):
        first = (1 - y[1] ** 2) * y[0] - y[1] + u["u"][0] * theta["k"][0]
        return np_.stack([first, y[0] + t * u["ab"].sum()])

    def running(t, y, u, theta):
        return (y**2).sum() + u["u"][0] ** 2 + (u["ab"] ** 2).sum() + theta["k"][0] ** 4

    def terminal(y, theta):
        return np_.sin(y[0]) * theta["k"][0]

    def step(t0, t1, y, u, theta):
        h = t1 - t0
        k1 = rate(t0, y, u, theta)
        k2 = rate(t0 + h / 2, y + h / 2 * k1, u, theta)
        k3 = rate(t0 + h / 2, y + h / 2 * k2, u, theta)
        return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + rate(t1, y + h * k3, u, theta))

    def initial(theta):
        return np_.stack([theta["k"][0], 1.0 + 0.0 * theta["k"][0]])

    return rate, running, terminal, step, initial


def expressions():
    a, b, u, p, q, k, t = sympy.symbols("a b u p q k t")
    return SympyODE(
        [a, b], [(1 - b**2) * a - b + u * k, a + t * (p + q)], {"u": u, "ab": [p, q]},
        parameters={"k": k}, running_cost=a**2 + b**2 + u**2 + p**2 + q**2 + k**4,
        terminal_cost=sympy.sin(a) * k, initial_state=[k, 1], time=t,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("form", "scheme", "levels"),
    [("rate", "rk4", 1), ("rate", "crank-nicolson", 2), ("step", "rk4", 1), ("step", "rk4", 2)],
)
def test_same_as_expressions(framework, form, scheme, levels):
    rate, running, terminal, step, initial = functions(framework.np)
    given = {"rate": rate} if form == "rate" else {"step": step}
    made = framework.problem(
        initial_state=initial, controls=FIELDS, running_cost=running, terminal_cost=terminal,
        scheme=scheme, **given,
    )  # fmt: skip
    grid = pint.TimeGrid.uniform(2.0, 12, coarsening=3, levels=levels)
    found, other = (pint.ReducedFunctional(p, grid) for p in (made, expressions().problem(scheme)))
    values = {"u": 0.3, "ab": [0.1, -0.2], "k": [0.8]}
    J, slope = found.value_and_gradient(found.control(**values))
    J2, slope2 = other.value_and_gradient(other.control(**values))
    assert J == pytest.approx(J2, rel=1e-12)
    for name in FIELDS:
        np.testing.assert_allclose(slope[name], slope2[name], rtol=1e-10, atol=1e-12)
    pint.verify.check_problem(made, grid).require()


def test_gauss_newton_with_exact_hessians(framework):
    rate, running, terminal, _, initial = functions(framework.np)
    made = framework.problem(
        rate=rate, initial_state=initial, controls=FIELDS, running_cost=running,
        terminal_cost=terminal,
    )  # fmt: skip
    assert made.objective.has_hessian
    grid = pint.TimeGrid.uniform(1.0, 10)
    results = [
        pint.minimize(pint.ReducedFunctional(p, grid), None, pint.GaussNewton())
        for p in (made, expressions().problem())
    ]
    assert results[0].objective == pytest.approx(results[1].objective, rel=1e-12)
    assert results[0].iterations == results[1].iterations


def test_batches_and_directions(framework):
    np_ = framework.np

    def step(t0, t1, y, u, theta):
        return y + (t1 - t0) * (u["u"] - np_.sin(y) * theta["k"])

    def one(t, y, u, theta):
        return (y**2).sum(-1) + (u["u"] ** 2).sum(-1)

    fields = {"u": pint.TimeControl(2), "k": pint.SharedControl(2)}
    made = [
        framework.problem(
            step=step, initial_state=[1.0, 2.0], controls=fields, running_cost=one, batches=b
        )
        for b in (True, False)
    ]
    grid = pint.TimeGrid(np.linspace(0, 1, 9) ** 1.3, coarsening=2, levels=2)
    slopes = []
    for p in made:
        functional = pint.ReducedFunctional(p, grid)
        slopes.append(functional.derivative(functional.control(u=0.4, k=[0.3, 0.7])).vector)
    np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-13)
    stepper, random = made[1].stepper, np.random.default_rng(0)
    s = grid.batch(0, range(3), 1)
    y, dy, lam = random.normal(size=(3, 3, 2))
    u, du = ({"u": random.normal(size=(3, 2))} for _ in range(2))
    theta, dtheta = ({"k": random.normal(size=2)} for _ in range(2))
    forward = stepper.tangent().jvp(s, y, u, theta, dy, du, dtheta)
    back = made[1].adjoint.vjp(s, y, u, theta, lam)
    paired = (dy * back[0]).sum() + (du["u"] * back[1]["u"]).sum() + dtheta["k"] @ back[2]["k"]
    assert (forward * lam).sum() == pytest.approx(paired, rel=1e-12)


def test_hessian_products_are_exact(framework):
    """Second derivatives of steps and costs are those of the framework."""
    _, running, terminal, step, initial = functions(framework.np)
    made = framework.problem(
        step=step, initial_state=initial, controls=FIELDS, running_cost=running,
        terminal_cost=terminal,
    )  # fmt: skip
    functional = pint.ReducedFunctional(made, pint.TimeGrid.uniform(1.0, 4))
    control = functional.control(u=0.4, ab=[0.3, -0.2], k=[0.7])
    v, w = functional.control(u=1.0, k=[0.5]), functional.control(u=-0.3, ab=[0.1, 0.9], k=[1.0])
    of_v, of_w = (functional.hessian_product(control, one) for one in (v, w))
    inner = functional.controls.inner
    assert inner(of_v, w) == pytest.approx(inner(of_w, v), rel=1e-11)
    h = 1e-4
    ahead, behind = (functional.derivative(control + d * v) for d in (h, -h))
    slope = functional.controls.pair(ahead - behind, w) / (2 * h)
    assert inner(of_v, w) == pytest.approx(slope, rel=1e-6)


def test_float32_states(framework):
    rate, running, _, _, _ = functions(framework.np)
    made = [
        framework.problem(
            rate=rate, initial_state=np.array([0.5, 1.0], dtype), controls=FIELDS,
            running_cost=running,
        )
        for dtype in (np.float32, float)
    ]  # fmt: skip
    assert made[0].space.dtype == np.float32
    slopes = []
    for p in made:
        functional = pint.ReducedFunctional(p, pint.TimeGrid.uniform(1.0, 6))
        slopes.append(functional.derivative(functional.control(u=0.3, k=[0.8])).vector)
    np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-4, atol=1e-5)


def test_mistakes(framework):
    rate, running, _, step, _ = functions(framework.np)

    def value(**changes):
        given = {"rate": rate, "initial_state": [0.5, 1.0], "running_cost": running, **changes}
        made = framework.problem(controls=FIELDS, **given)
        functional = pint.ReducedFunctional(made, pint.TimeGrid.uniform(1.0, 4))
        return functional.value(functional.control(k=[1.0]))

    with pytest.raises(ValueError, match="`rate` or `step`, and not both"):
        value(step=step)
    with pytest.raises(ValueError, match="`running_cost` or `terminal_cost`"):
        value(running_cost=None)
    with pytest.raises(TypeError, match="must be a function"):
        value(rate=3.0)
    with pytest.raises(ValueError, match="`rate` must return an array of shape"):
        value(rate=lambda t, y, u, theta: y[:1])


def test_functions_of_torch_that_change_or_convert():
    torch = pytest.importorskip("torch")
    from pint.autodiff.torch import problem

    def value(rate):
        made = problem(
            rate=rate, initial_state=[1.0], controls={"u": pint.TimeControl(1)}, batches=True,
            terminal_cost=lambda y, theta: y.sum(),
        )  # fmt: skip
        functional = pint.ReducedFunctional(made, pint.TimeGrid.uniform(1.0, 4))
        return functional.value(functional.control())

    def changes(t, y, u, theta):
        y += 1.0
        return y

    with pytest.raises(TypeError, match="`changes` must not change its arguments"):
        value(changes)
    with pytest.raises(TypeError, match=r"must return a tensor of torch.float64.*float32"):
        value(lambda t, y, u, theta: y.to(torch.float32))
    with pytest.raises(TypeError, match="must return a tensor, got float"):
        value(lambda t, y, u, theta: 1.0)
