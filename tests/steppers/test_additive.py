"""DIRK and IMEX steps: orders, stability, transposes, mass matrices, one factorisation a size."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from ode_cases import Forced
from scipy.integrate import solve_ivp

import pint
from pint.steppers import DIRK, ODE, SplitODE, scheme
from pint.steppers.systems import layout
from pint.verify import check_problem

ORDERS = {"sdirk3": 3, "imex-euler": 1, "imex-rk2": 2, "imex-rk3": 3}
T, U, THETA = 1.5, np.array([0.8, -0.3]), {"theta": np.array([1.3, 0.4])}


class Stiff(ODE):
    """``M y' = -K y + theta_0 (1, 1) + u``, with bands."""

    initial_state = np.array([1.0, -0.5])
    bands = (1, 1)
    K = np.array([[4.0, -1.0], [0.5, 30.0]])
    mass_matrix = np.array([[1.0, 0.2], [0.1, 2.0]])

    def f(self, t, y, u, theta):
        return -y @ self.K.T + u["u"] + theta["theta"][0]

    def f_vjp(self, t, y, u, theta, lam):
        return -lam @ self.K, {"u": lam}, {"theta": np.array([lam.sum(), 0])}

    def jacobian(self, t, y, u, theta):
        bands = np.zeros((1, 3, 2))
        bands[0, 0, 1], bands[0, 1], bands[0, 2, 0] = self.K[0, 1], self.K.diagonal(), self.K[1, 0]
        return -bands


class Soft(Stiff):
    """Of which the order is seen with few steps."""

    K = np.array([[1.0, -1.0], [0.5, 2.0]])


class Mild(ODE):
    """``(cos(t) sin(y_1) + y_0 u_0, theta_1 y_0 y_1)``."""

    initial_state = np.zeros(2)

    def f(self, t, y, u, theta):
        a, b = y.T
        return np.stack([np.cos(t) * np.sin(b) + a * u["u"][:, 0], theta["theta"][1] * a * b], 1)

    def f_vjp(self, t, y, u, theta, lam):
        (a, b), (p, q), force = y.T, lam.T, u["u"][:, 0]
        k = theta["theta"][1]
        dy = np.stack([p * force + k * q * b, np.cos(t) * np.cos(b) * p + k * q * a], 1)
        return dy, {"u": np.stack([p * a, 0 * p], 1)}, {"theta": np.array([0, (q * a * b).sum()])}


class Target(pint.Objective):
    def terminal(self, y, theta):
        return 0.5 * (y**2).sum()

    def terminal_derivative(self, y, theta):
        return y, {}


def ode_of(name):
    return SplitODE(Stiff(), Mild()) if name.startswith("imex") else Forced()


def final_state(stepper, steps):
    grid, y = pint.TimeGrid.uniform(T, steps), stepper.initial(THETA)[None]
    for n in range(steps):
        y = stepper.step(grid.batch(0, range(n, n + 1), 1), y, {"u": U[None]}, THETA)
    return y[0]


@pytest.mark.parametrize("name", ORDERS)
def test_order(name):
    ode = SplitODE(Soft(), Mild()) if name.startswith("imex") else Forced()
    mass = np.eye(2) if ode.mass_matrix is None else ode.mass_matrix

    def f(t, y):
        return np.linalg.solve(mass, ode.f(np.array([t]), y[None], {"u": U[None]}, THETA)[0])

    exact = solve_ivp(f, (0, T), ode.initial(THETA), method="DOP853", rtol=1e-13, atol=1e-14)
    steps = (20, 40, 80)
    stepper = scheme(ode, name)[0]
    errors = [np.linalg.norm(final_state(stepper, n) - exact.y[:, -1]) for n in steps]
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(ORDERS[name], abs=0.1)


@pytest.mark.parametrize("name", ORDERS)
def test_all_checks(name):
    """Transposes to rounding, Taylor, kept stages, guesses, batches; on two levels."""
    fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)}
    problem = pint.Problem(*scheme(ode_of(name), name), Target(), fields)
    report = check_problem(problem, pint.TimeGrid(np.linspace(0, 0.9, 7) ** 1.2, 3, 2))
    report.require()
    if name.startswith("imex"):
        assert {"Stiff.jacobian", "Mild.f_vjp"} <= {check.method for check in report.checks}


def test_sdirk3_is_l_stable():
    class Decay(ODE):
        initial_state = np.ones(1)

        def f(self, t, y, u, theta):
            return -y * theta["rate"]

        def f_vjp(self, t, y, u, theta, lam):
            return -lam * theta["rate"], {}, {}

    rates = 10.0 ** np.arange(-2, 9)
    step = DIRK(Decay()).step
    s = pint.TimeGrid.uniform(1.0, 1).batch(0, range(1), 1)
    found = [step(s, np.ones((1, 1)), {}, {"rate": rate})[0, 0] for rate in rates]
    # The stability function from the tableau, b^T (I - z A)^{-1} 1 z + 1
    gamma = 0.43586652150845899942
    b = np.array([-(6 * gamma**2 - 16 * gamma + 1) / 4, (6 * gamma**2 - 20 * gamma + 5) / 4, gamma])
    A, one = np.array([[gamma, 0, 0], [(1 - gamma) / 2, gamma, 0], b]), np.ones(3)
    expected = [1 - rate * b @ np.linalg.solve(np.eye(3) + rate * A, one) for rate in rates]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-13)
    assert abs(found[-1]) < 1e-7


def test_a_step_of_imex_euler_is_one_solve():
    """Against scipy; the factors serve all steps of a size, and their transposes."""
    stepper, adjoint = scheme(SplitODE(Stiff(), Mild()), "imex-euler")
    rng = np.random.default_rng(0)
    y, u, lam = rng.standard_normal((3, 4, 2))
    s = pint.TimeGrid.uniform(0.4, 4).batch(0, range(4), 1)
    M, K = Stiff.mass_matrix, Stiff.K
    slope = Mild().f(np.reshape(s.t0, -1), y, {"u": u}, THETA)
    right = M @ y.T + 0.1 * (slope + u + THETA["theta"][0]).T
    expected = scipy.linalg.solve(M + 0.1 * K, right).T
    np.testing.assert_allclose(stepper.step(s, y, {"u": u}, THETA), expected, rtol=1e-13)
    kept = stepper.newton._systems._kept
    assert len(kept) == 1
    (entry,) = kept.values()
    adjoint.vjp(s, y, {"u": u}, THETA, lam)
    assert next(iter(kept.values())) is entry
    assert isinstance(entry[2], layout.BandedSystem) and entry[2].count == 1


def test_names_and_refusals():
    assert scheme(Forced(), "dirk3")[0].scheme == "sdirk3"
    assert scheme(Forced(), "dirk2")[0].scheme == "sdirk2"
    with pytest.raises(TypeError, match=r"`DIRK\(ode=...\)` must be a SplitODE for 'imex-rk2'"):
        scheme(Forced(), "imex-rk2")
    with pytest.raises(ValueError, match=r"`SplitODE\(explicit=...\)` has a `mass_matrix`"):
        SplitODE(Mild(), Stiff())
    with pytest.raises(TypeError, match=r"`SplitODE\(implicit=...\)` must be an ODE"):
        SplitODE(3, Mild())

    class Longer(Mild):
        initial_state = np.zeros(3)

    with pytest.raises(ValueError, match=r"`SplitODE\(explicit=...\)` must have states of shape"):
        SplitODE(Mild(), Longer())


def test_other_schemes_take_the_sum():
    ode = SplitODE(Stiff(), Mild())
    s = pint.TimeGrid.uniform(0.4, 2).batch(0, range(2), 1)
    y, u = np.random.default_rng(0).standard_normal((2, 2, 2))
    z = scheme(ode, "implicit-euler")[0].step(s, y, {"u": u}, THETA)
    slope = ode.f(np.reshape(s.t1, -1), z, {"u": u}, THETA)
    np.testing.assert_allclose((z - y) @ Stiff.mass_matrix.T, 0.2 * slope, rtol=1e-12, atol=1e-13)


def test_sparse_implicit_parts():
    class Sparse(Stiff):
        bands = None

        def jacobian(self, t, y, u, theta):
            return sp.csr_matrix(-self.K)

    y, u = np.random.default_rng(0).standard_normal((2, 3, 2))
    s = pint.TimeGrid.uniform(0.4, 3).batch(0, range(3), 1)
    steps = [DIRK(SplitODE(kind(), Mild()), "imex-rk3").step for kind in (Stiff, Sparse)]
    one, other = (step(s, y, {"u": u}, THETA) for step in steps)
    np.testing.assert_allclose(one, other, rtol=1e-13)
