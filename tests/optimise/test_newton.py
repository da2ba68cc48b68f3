"""NewtonCG: quadratic problems in one step, the optimum of L-BFGS, bounds, and what it counts."""

import numpy as np
import pytest
import registry

import pint
from problems.ode import PROBLEMS

TIGHT = {"gradient_tolerance": 0.0, "relative_gradient_tolerance": 1e-9}


def functional_of(name, steps, levels=1, **options):
    known = PROBLEMS[name]
    problem = known() if isinstance(known, type) else known
    grid = pint.TimeGrid.uniform(problem.T, steps, 4, levels)
    return pint.ReducedFunctional(problem.problem(), grid, **options)


@pytest.mark.parametrize("coarse", [1, 2])
@pytest.mark.parametrize("name", ["oscillator", "double-integrator"])
def test_linear_quadratic_problems_take_one_step(name, coarse):
    functional = functional_of(name, 32)
    found = pint.minimize(functional, method=pint.NewtonCG(coarse=coarse, **TIGHT))
    assert found.status is pint.Status.CONVERGED
    assert found.iterations == 1
    exact = pint.minimize(functional, method=pint.GaussNewton(gradient_tolerance=1e-10))
    np.testing.assert_allclose(found.control.vector, exact.control.vector, rtol=0, atol=1e-7)


def test_van_der_pol_takes_fewer_sweeps_than_lbfgs():
    functional = functional_of("van-der-pol", 48)
    tolerances = {"gradient_tolerance": 0.0, "relative_gradient_tolerance": 1e-8}
    found = pint.minimize(functional, method=pint.NewtonCG(**tolerances))
    lbfgs = pint.minimize(functional, method=pint.ReducedSpace(**tolerances))
    assert found.status is lbfgs.status is pint.Status.CONVERGED
    assert found.objective == pytest.approx(lbfgs.objective, rel=1e-10)
    last = lbfgs.history[-1]
    assert 1.5 * sum(found.history[-1].sweeps.values()) < (
        (last.state_steps + last.adjoint_steps) / functional.grid.steps
    )
    columns = pint.history_arrays(found.history)
    for column in ("sweeps_state", "sweeps_adjoint", "sweeps_tangent"):
        assert (np.diff(columns[column]) >= 0).all()


def test_bounds():
    fields = {"u": pint.TimeControl(2, lower=-0.3, upper=0.2), "theta": pint.SharedControl(2)}
    plain = registry.PROBLEMS["pendulum-running"]()
    problem = pint.Problem(
        plain.stepper, plain.adjoint, plain.objective, fields, [pint.Tikhonov(1.0, ["u", "theta"])]
    )
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 10))
    found = pint.minimize(functional, method=pint.NewtonCG())
    other = pint.minimize(functional, method=pint.External("scipy:L-BFGS-B", iterations=300))
    assert found.status is pint.Status.CONVERGED
    assert found.objective == pytest.approx(other.objective, rel=1e-9)
    space = functional.controls
    assert (found.control.vector >= space.lower).all()
    assert (found.control.vector <= space.upper).all()
    assert np.isin(found.control["u"], [-0.3, 0.2]).any()


@pytest.mark.parametrize("method", ["Newton-CG", "trust-ncg", "trust-krylov"])
def test_newton_methods_of_scipy(method):
    functional = functional_of("oscillator", 16)
    found = pint.minimize(functional, method=pint.External(f"scipy:{method}"))
    exact = pint.minimize(functional, method=pint.GaussNewton())
    assert found.status is pint.Status.CONVERGED
    np.testing.assert_allclose(found.control.vector, exact.control.vector, rtol=0, atol=1e-6)


def test_options():
    with pytest.raises(ValueError, match="hessian"):
        pint.NewtonCG(hessian="exact")
    with pytest.raises(ValueError, match="coarse"):
        pint.NewtonCG(coarse=0)
    functional = functional_of("oscillator", 16, levels=2, storage="C")
    with pytest.raises(ValueError, match="storage"):
        pint.minimize(functional, method=pint.NewtonCG())


def test_begins_on_several_coarser_grids():
    functional = functional_of("oscillator", 64)
    method = pint.NewtonCG(coarse=2, **TIGHT)  # 32 and 16 steps
    found = pint.minimize(functional, method=method)
    assert found.status is pint.Status.CONVERGED
    assert found.iterations == 1
    # A start that is optimal stays where it is: no coarser problem leads away.
    again = pint.minimize(functional, found.control, pint.NewtonCG(coarse=2, iterations=1))
    assert again.objective <= found.objective * (1 + 1e-12)


def test_data_of_one_grid_do_without_a_coarser_one():
    grid = pint.TimeGrid.uniform(1.0, 64)
    plain = PROBLEMS["oscillator"]
    problem = (plain() if isinstance(plain, type) else plain).problem()
    times = grid.t[1::7]
    data = pint.MeasuredData(grid, times, np.ones((len(times), 2)))
    problem = pint.Problem(
        problem.stepper, problem.adjoint, data, problem.controls, [pint.Tikhonov(1e-2, ["u"])]
    )
    functional = pint.ReducedFunctional(problem, grid)
    found = pint.minimize(functional, method=pint.NewtonCG())
    assert found.status is pint.Status.CONVERGED
    assert all(count == int(count) for count in found.history[-1].sweeps.values())
