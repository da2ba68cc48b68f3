"""Hat functions in time with bounds: against unbounded ones and a bounded program, by checks."""

import numpy as np
import pytest
from linear_quadratic import DOUBLE_INTEGRATOR, Cost, Euler, EulerAdjoint
from scipy.optimize import minimize

import pint
from pint.verify import check_problem

STEPS, EVERY, T = 24, 6, 1.5
NODES = np.linspace(0, T, STEPS // EVERY + 1)


def problem(field=None):
    parts = (part(DOUBLE_INTEGRATOR) for part in (Euler, EulerAdjoint, Cost))
    return pint.Problem(*parts, {"u": field or pint.TimeControl(1)})


def solved(given, levels=1, method=None):
    functional = pint.ReducedFunctional(given, pint.TimeGrid.uniform(T, STEPS, 4, levels))
    return pint.minimize(functional, method=method or pint.ReducedSpace(gradient_tolerance=1e-11))


def test_without_bounds_it_is_the_optimum_in_the_space_of_all_steps():
    field = pint.TimeControl(1, every=EVERY, interpolate="linear")
    expected, found = solved(problem(field)), solved(pint.hat_functions(problem(), "u", NODES))
    assert found.objective == pytest.approx(expected.objective, rel=1e-12)
    middles = (np.arange(STEPS) + 0.5) * T / STEPS
    blocks = np.interp(middles, NODES, found.control["u"][:, 0])
    np.testing.assert_allclose(blocks, expected.control["u"][:, 0], atol=1e-7)


@pytest.mark.parametrize("method", [None, pint.External("scipy:L-BFGS-B", gradient_tolerance=1e-9)])
def test_bounds_that_vary_from_node_to_node(method):
    lower, upper = [-1.0, 0.1, -1.0, -1.0, 0.3], [0.5, 0.6, 0.2, 1.0, 1.0]
    result = solved(pint.hat_functions(problem(), "u", NODES, lower, upper), method=method)
    functional = result.functional

    def control(values):
        return functional.control(u=values[:, None])

    # The objective is quadratic: its derivatives at the unit vectors are all of it.
    first = functional.derivative(control(np.zeros(5)))["u"][:, 0].copy()
    rows = [functional.derivative(control(row))["u"][:, 0] - first for row in np.eye(5)]
    program = minimize(
        lambda c: 0.5 * c @ np.array(rows) @ c + first @ c,
        np.clip(np.zeros(5), lower, upper),
        jac=lambda c: np.array(rows) @ c + first,
        bounds=list(zip(lower, upper, strict=True)),
        options={"ftol": 1e-15, "gtol": 1e-12},
    )
    np.testing.assert_allclose(result.control["u"][:, 0], program.x, atol=1e-6)
    assert (program.x > np.array(lower)).any() and (program.x == lower).any()


def test_all_checks():
    given = pint.hat_functions(problem(), "u", [0.0, 0.3, 0.4, 1.2], lower=-3)
    check_problem(given, pint.TimeGrid(np.linspace(0, T, 13) ** 1.2, 3, 2)).require()


@pytest.mark.parametrize("levels", [2, 3])
def test_mgrit_gives_the_same(levels):
    given = pint.hat_functions(problem(), "u", NODES, upper=0.4)
    expected = solved(given)
    found = solved(given, levels, pint.ReducedSpace(gradient_tolerance=1e-9))
    assert found.objective == pytest.approx(expected.objective, rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((3, "u", NODES), r"`hat_functions\(problem=...\)` must be a `pint.Problem`"),
        ((problem(), "v", NODES), r"`hat_functions\(name=...\)` must be a `TimeControl`.*'v'"),
        ((problem(), "u", NODES[::-1]), "increasing times"),
        ((problem(pint.TimeControl(1, lower=0)), "u", NODES), "give them here"),
        ((problem(), "u", NODES, 1.0, 0.0), "a lower bound exceeds its upper"),
        ((problem(), "u", NODES, np.zeros(3)), "lower=...*has shape"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, error):
    with pytest.raises((ValueError, TypeError), match=error):
        pint.hat_functions(*arguments)
