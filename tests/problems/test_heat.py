"""Heat control against closed forms, discrete and continuous, and the theory of MGRIT."""

import numpy as np
import pytest

import pint
from pint.equations import Cycles
from problems.heat import Heat, HeatData, manufactured, zero_target

EIGENVECTOR_OPTIMUM = 0.02095324126527738


def solve(heat, data, steps, levels=1, **options):
    grid = pint.TimeGrid.uniform(1.0, steps, coarsening=4, levels=levels)
    functional = pint.ReducedFunctional(heat.problem(data), grid)
    options = {"gradient_tolerance": 1e-9, "iterations": 200} | options
    return pint.minimize(functional, method=pint.ReducedSpace(**options))


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_optimum_of_the_eigenvector_problem(levels):
    heat = Heat()
    result = solve(heat, zero_target(heat), 64, levels)
    assert result.objective == pytest.approx(EIGENVECTOR_OPTIMUM, rel=1e-12)


@pytest.mark.parametrize("dimension", [1, 2])
@pytest.mark.parametrize("scheme", ["implicit-euler", "crank-nicolson"])
def test_initial_control_in_closed_form(scheme, dimension):
    """u_k = e_k d_k / (e_k^2 + alpha) with e_k = R(dt mu_k)^N, for every discrete mode k."""
    heat = Heat("initial", points=7, dimension=dimension, scheme=scheme, nu=0.02)
    steps, target = 16, np.random.default_rng(0).standard_normal(heat.size)

    def zero(t):
        return 0.0 * t + np.zeros(heat.size)

    data = HeatData(zero(0.0), zero, lambda t: 0.0 * t + target)
    result = solve(heat, data, steps, gradient_tolerance=1e-12)
    eigenvalues, modes = np.linalg.eigh(heat.laplacian.toarray())
    z, w = eigenvalues / steps, heat.implicitness
    decay = ((1 + (1 - w) * z) / (1 - w * z)) ** steps
    expected = modes @ (decay * (modes.T @ target) / (decay**2 + heat.alpha))
    np.testing.assert_allclose(result.control["u"], expected, atol=1e-9)


@pytest.mark.parametrize("control", ["distributed", "neumann"])
@pytest.mark.parametrize("scheme", ["implicit-euler", "crank-nicolson"])
def test_manufactured_optimum_is_approached_with_second_order_in_h(control, scheme):
    """Errors of state and control in L^2; dt ~ h^2 with implicit Euler, dt ~ h else."""
    errors = []
    for n in (12, 24, 48):
        heat = Heat(control, n if control == "neumann" else n - 1, scheme=scheme)
        steps = n * n // 8 if scheme == "implicit-euler" else n
        data = manufactured(heat, 1.0)
        result = solve(heat, data, steps)
        grid = result.control.space.grid
        middle = 0.5 * (grid.t[1:] + grid.t[:-1])[:, None]
        difference = result.control["u"] - data.exact_control(middle)
        weights = result.control.space.weights.reshape(difference.shape)
        state = result.states()[1:] - data.exact_state(grid.t[1:, None])
        errors.append(
            (
                np.sqrt((weights * difference**2).sum()),
                np.sqrt(heat.volume / steps * (state**2).sum()),
            )
        )
    slopes = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(slopes[-1], 2.0, atol=0.1)


@pytest.mark.parametrize("control", ["distributed", "initial", "neumann"])
def test_mgrit_finds_the_sequential_optimum(control):
    heat = Heat(control, points=9)
    data = manufactured(heat, 1.0)
    expected = solve(heat, data, 32)
    for levels in (2, 3):
        result = solve(heat, data, 32, levels)
        assert result.objective == pytest.approx(expected.objective, rel=1e-9)


def residuals(points, levels, relaxation, cycle="V", coarsening=2, steps=128, cycles=7):
    """Residual history of the state from a random guess."""
    heat = Heat(points=points, nu=1.0)
    grid = pint.TimeGrid.uniform(1.0, steps, coarsening, levels)
    options = {"relaxation": relaxation, "cycle": cycle, "guess": "zero"}
    functional = pint.ReducedFunctional(heat.problem(zero_target(heat)), grid, **options)
    state, control = functional.state.new(), functional.control()
    functional.state.solve(state, control, Cycles(pint.Accuracy(1)))
    state.points[1:] = np.random.default_rng(1).standard_normal(state.points[1:].shape)
    functional.state.solve(state, control, Cycles(pint.Accuracy(cycles)))
    return np.array(state.convergence.residuals)


@pytest.mark.parametrize("coarsening", [2, 4, 8])
@pytest.mark.parametrize(("relaxation", "nu"), [("F", 0), ("FCF", 1), ("FCFCF", 2)])
def test_two_level_convergence_is_within_the_theory(relaxation, nu, coarsening):
    """|e| <= max_k |a^m - b| (1 - |b|^Nc) / (1 - |b|) |a|^(m nu) a cycle, by mode k.

    Dobrev et al., SIAM J. Sci. Comput. 39 (2017), S501, doi:10.1137/16M1074096, Theorem 3.3;
    a = R(z_k), b = R(m z_k). The matrices commute, so the residual obeys the same bound.
    """
    steps, heat = 128, Heat(points=31, nu=1.0)
    z = np.linalg.eigvalsh(heat.laplacian.toarray()) / steps
    a, b = 1 / (1 - z), 1 / (1 - coarsening * z)
    intervals = steps // coarsening
    bound = (
        np.abs(a**coarsening - b) * (1 - b**intervals) / (1 - b) * np.abs(a) ** (coarsening * nu)
    ).max()
    history = residuals(31, 2, relaxation, coarsening=coarsening)
    history = history[history > 1e-12 * history[0]]
    assert len(history) > 3
    assert (history[1:] / history[:-1] <= bound * (1 + 1e-9)).all()


@pytest.mark.parametrize(
    ("relaxation", "cycle", "levels"),
    [
        *(("F", "V", 2), ("F", "F", 3), ("F", "V", 4), ("F", "F", 5)),
        *(("FCF", "F", 2), ("FCF", "V", 3), ("FCF", "F", 4), ("FCF", "V", 5)),
    ],
)
def test_convergence_does_not_depend_on_the_mesh(relaxation, cycle, levels):
    """Mean factors over cycles 2..5 differ by less than 20 % for nx = 17 to 257."""
    factors = []
    for points in (17, 65, 257):
        history = residuals(points, levels, relaxation, cycle, steps=128, cycles=5)
        factors.append((history[-1] / history[1]) ** (1 / 3))
    assert max(factors) / min(factors) < 1.2


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"control": "wall"}, "control"),
        ({"scheme": "explicit"}, "scheme"),
        ({"dimension": 3}, "dimension"),
        ({"control": "neumann", "dimension": 2}, "dimension"),
        ({"points": 0}, "points"),
        ({"nu": 0.0}, "nu"),
        ({"alpha": -1.0}, "alpha"),
    ],
)
def test_wrong_parameters(options, name):
    with pytest.raises(ValueError, match=rf"Heat\({name}="):
        Heat(**options)
