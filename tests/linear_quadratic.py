"""Linear-quadratic problems with known optima, and their dense quadratic forms by plain loops."""

from dataclasses import dataclass

import numpy as np

import pint


@dataclass(frozen=True)
class LinearQuadratic:
    """``min sum_n dt (y'Q y + r u_n^2)/2 + s |y_N|^2/2``, ``y_{n+1} = y_n + dt (A y_n + B u_n)``.

    y in the step cost is y_{n+1} where `right`, else y_n.
    """

    A: np.ndarray
    B: np.ndarray
    Q: np.ndarray
    r: float
    s: float
    y0: np.ndarray
    right: bool

    def problem(self, **options):
        fields = {"u": pint.TimeControl(1, **options)}
        return pint.Problem(Euler(self), EulerAdjoint(self), Cost(self), fields)

    def value(self, t, u):
        """Return J of the controls `u`, by a plain loop."""
        y, J = self.y0, 0.0
        for dt, control in zip(np.diff(t), u, strict=True):
            new = y + dt * (self.A @ y + self.B * control)
            at = new if self.right else y
            J += 0.5 * dt * (at @ self.Q @ at + self.r * control**2)
            y = new
        return J + 0.5 * self.s * (y @ y)

    def quadratic_form(self, t):
        """Return H, g, J(0) of ``J = u'Hu/2 + g'u + J(0)``, from values at unit vectors."""
        units = np.eye(len(t) - 1)
        J0 = self.value(t, 0 * units[0])
        plus = np.array([self.value(t, unit) for unit in units])
        minus = np.array([self.value(t, -unit) for unit in units])
        sums = np.array([[self.value(t, a + b) for b in units] for a in units])
        return sums - plus[:, None] - plus[None, :] + J0, (plus - minus) / 2, J0


class Euler(pint.TimeStepper):
    batched = True

    def __init__(self, problem):
        self.problem = problem
        self.initial_state = problem.y0

    def step(self, s, y, u, theta):
        return y + s.dt * (y @ self.problem.A.T + u["u"] * self.problem.B)


class EulerAdjoint(pint.Adjoint):
    def __init__(self, problem):
        self.problem = problem

    def vjp(self, s, y, u, theta, lam):
        du = {"u": s.dt * (lam @ self.problem.B)[:, None]}
        return lam + s.dt * (lam @ self.problem.A), du, {}


class Cost(pint.Objective):
    def __init__(self, problem):
        self.problem = problem

    def step_cost(self, s, y0, y1, u, theta):
        y = y1 if self.problem.right else y0
        size = ((y @ self.problem.Q) * y).sum(axis=1) + self.problem.r * u["u"][:, 0] ** 2
        return 0.5 * s.dt[:, 0] * size

    def step_cost_derivative(self, s, y0, y1, u, theta):
        y = y1 if self.problem.right else y0
        dy, du = s.dt * (y @ self.problem.Q), {"u": s.dt * self.problem.r * u["u"]}
        return (0.0, dy, du, {}) if self.problem.right else (dy, 0.0, du, {})

    def terminal(self, y, theta):
        return 0.5 * self.problem.s * (y**2).sum()

    def terminal_derivative(self, y, theta):
        return self.problem.s * y, {}


DOUBLE_INTEGRATOR = LinearQuadratic(
    A=np.array([[0.0, 1.0], [0.0, -1.0]]),
    B=np.array([0.0, 1.0]),
    Q=2 * np.eye(2),
    r=2 * 0.005,
    s=0.0,
    y0=np.array([0.0, -1.0]),
    right=True,
)
"""T = 1, N = 20: J* = 5.06187699853476e-2, see test_descent.py."""

SCALAR_LQR = LinearQuadratic(
    A=np.array([[-1.0]]),
    B=np.array([1.0]),
    Q=np.array([[1.0]]),
    r=0.1,
    s=0.5,
    y0=np.array([1.0]),
    right=False,
)
