"""Measured data, sums of costs, and a free final time: values and derivatives."""

import numpy as np
import pytest
import sympy

import pint
from pint.steppers.symbolic import SympyODE

y, v, u, T, t, k = sympy.symbols("y v u T t k")


def decay(scheme="rk4", **more):
    ode = SympyODE(
        [y, v], [v, u - k * y], {"u": u}, parameters={"k": k}, running_cost=u**2 * t + y**2,
        terminal_cost=v * k, initial_state=[1, k], time=t, **more,
    )  # fmt: skip
    return ode.problem(scheme)


def test_data_at_points_with_gaps_repeats_and_components():
    grid = pint.TimeGrid(np.array([0.0, 0.1, 0.4, 0.7, 1.0]))
    problem = decay()
    values = [[1.5], [0.2], [0.4], [np.nan], [2.0]]
    times = [0.0, 0.4, 0.4, 0.7, 1.0]
    sigma = np.array([[1.0], [0.5], [2.0], [1.0], [0.1]])
    data = pint.MeasuredData(grid, times, values, sigma, components=[1])
    assert data.count == 4
    both = pint.Problem(
        problem.stepper, problem.adjoint, pint.SumOfCosts([problem.objective, data]),
        problem.controls,
    )  # fmt: skip
    one, two = (pint.ReducedFunctional(p, grid) for p in (problem, both))
    control = one.control(u=0.3, k=[1.2])
    states = one.gather_states(one._solved(control)[0])[:, 1]
    points = [0, 2, 2, 4]
    residuals = [
        (states[n] - value) / width
        for n, value, width in zip(points, [1.5, 0.2, 0.4, 2.0], [1.0, 0.5, 2.0, 0.1], strict=True)
    ]
    expected = one.value(control) + 0.5 * np.square(residuals).sum()
    assert two.value(two.control(u=0.3, k=[1.2])) == pytest.approx(expected, rel=1e-13)
    pint.verify.check_problem(both, grid).require()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": [0.3]}, "0.3 is no point"),
        ({"values": [[1.0, 2.0], [1.0, 2.0]]}, "a row for each"),
        ({"values": [[np.nan, np.nan]]}, "no finite number"),
        ({"sigma": 0.0}, "positive"),
        ({"components": [0]}, "name 2 numbers"),
        ({"values": [[np.inf, 1.0]]}, "infinite"),
    ],
)
def test_data_that_do_not_fit(change, message):
    options = {"times": [0.5], "values": [[1.0, 2.0]], "sigma": 1.0, **change}
    with pytest.raises(ValueError, match=message):
        pint.MeasuredData(pint.TimeGrid.uniform(1.0, 4), **options)


def test_complex_data_are_refused():
    with pytest.raises(TypeError, match=r"`MeasuredData\(values=\.\.\.\)` must hold real"):
        pint.MeasuredData(pint.TimeGrid.uniform(1.0, 4), [0.5], [1j])


@pytest.mark.parametrize("steps", [2, 8])
def test_data_of_another_grid_are_refused(steps):
    problem = decay()
    data = pint.MeasuredData(pint.TimeGrid.uniform(1.0, 4), [0.5], [[1.0, 2.0]])
    problem = pint.Problem(problem.stepper, problem.adjoint, data, problem.controls)
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, steps))
    with pytest.raises(ValueError, match="another grid than that of the functional"):
        functional.value(functional.controls.zeros())


def test_components_that_the_state_lacks():
    problem, grid = decay(), pint.TimeGrid.uniform(1.0, 4)
    data = pint.MeasuredData(grid, [0.5], [[1.0, 2.0]], components=[0, 2])
    problem = pint.Problem(problem.stepper, problem.adjoint, data, problem.controls)
    functional = pint.ReducedFunctional(problem, grid)
    with pytest.raises(ValueError, match="names number 2 of the state"):
        functional.value(functional.controls.zeros())


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_standard_errors_and_estimates_in_other_units(unit):
    def estimated(unit):
        ode = SympyODE(
            [y, v], [-unit * k * y, k * unit * y - T / unit * v], parameters={"k": k, "T": T},
            initial_state=[1, 0],
        )  # fmt: skip
        grid, problem = pint.TimeGrid.uniform(2.0, 8), ode.problem()
        times = grid.t[1:]
        noise = 0.01 * np.cos(np.arange(16.0).reshape(8, 2))
        values = np.stack([np.exp(-times), times * np.exp(-times)], axis=1) + noise
        data = pint.MeasuredData(grid, times, values, 0.01)
        problem = pint.Problem(problem.stepper, problem.adjoint, data, problem.controls)
        functional = pint.ReducedFunctional(problem, grid)
        start = functional.control(k=1.1 / unit, T=0.9 * unit)
        result = pint.minimize(functional, start, pint.GaussNewton(iterations=30))
        return result, pint.standard_errors(result)

    (plain, errors), (other, scaled) = estimated(1.0), estimated(unit)
    assert other.objective == pytest.approx(plain.objective, rel=1e-9)
    assert scaled["k"] * unit == pytest.approx(errors["k"], rel=1e-5)
    assert scaled["T"] / unit == pytest.approx(errors["T"], rel=1e-5)


@pytest.mark.parametrize("scheme", ["rk4", "crank-nicolson"])
def test_free_final_time_by_expression_and_around_steps(scheme):
    grid = pint.TimeGrid.uniform(1.0, 8, coarsening=2, levels=2)
    rhs, cost = [u - y * sympy.sin(t)], u**2 + y**2 * t
    plain = SympyODE([y], rhs, {"u": u}, running_cost=cost, initial_state=[1], time=t)
    scaled = SympyODE(
        [y], rhs, {"u": u}, parameters={"T": T}, running_cost=cost, initial_state=[1], time=t,
        final_time=T,
    )  # fmt: skip
    around = pint.free_final_time(plain.problem(scheme), pint.FinalTime(0.1))
    inside = scaled.problem(scheme, controls={"T": pint.FinalTime(0.1)})
    at = [pint.ReducedFunctional(problem, grid) for problem in (around, inside)]
    one, two = (f.derivative(f.control(u=0.3, T=2.0)) for f in at)
    np.testing.assert_allclose(one["u"], two["u"], atol=1e-11)
    np.testing.assert_allclose(one["T"], two["T"], atol=1e-11)
    long = pint.ReducedFunctional(plain.problem(scheme), pint.TimeGrid.uniform(2.0, 8))
    assert at[0].value(at[0].control(u=0.3, T=2.0)) == pytest.approx(
        long.value(long.control(u=0.3)), rel=1e-12
    )
    pint.verify.check_problem(around, grid).require()
    with pytest.raises(ValueError, match="positive lower bound"):
        scaled.problem(scheme)
    with pytest.raises(ValueError, match="must be positive"):
        pint.FinalTime(0.0)
    with pytest.raises(ValueError, match="has a field of that name"):
        pint.free_final_time(inside, pint.FinalTime(0.1))
