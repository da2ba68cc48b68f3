"""A reaction-diffusion equation whose coarse levels have meshes of twice the width."""

import numpy as np

import pint
from problems.meshes import interpolation


class Reaction(pint.TimeStepper):
    """``(I - dt L) y_{n+1} = y_n + dt (y_n - y_n^3 + u_n)``, L the difference Laplacian times 0.1.

    On the interior points of a mesh of (0, 1); ``y_0 = theta sin(pi x)``. On a coarse level
    ``control_map`` takes the control of level 0 to its mesh.

    Parameters
    ----------
    points : sequence of int
        Of each level, half of the one before or the same; the last counts for all that follow.
    batched : bool
        Transfers are matrices if steps are batched, functions if not.
    """

    def __init__(self, points=(15, 7, 3), batched=True, level=0):
        self.points, self.batched, self.level = tuple(points), batched, level
        n = self.size = self._size(level)
        self.initial_state = np.zeros(n)
        self.mode = np.sin(np.pi * np.arange(1, n + 1) / (n + 1))
        line = np.eye(n, k=1) + np.eye(n, k=-1) - 2 * np.eye(n)
        self.laplacian = 0.1 * (n + 1) ** 2 * line
        self.control_map = np.eye(self._size(0))
        for finer in range(level):
            if self._size(finer) != self._size(finer + 1):
                self.control_map = self._restriction(finer) @ self.control_map

    def _size(self, level):
        return self.points[min(level, len(self.points) - 1)]

    def _restriction(self, level):
        return interpolation(self._size(level), 1, False).toarray().T / 2

    def coarsen(self, level):
        return Reaction(self.points, self.batched, level)

    def transfer(self, level):
        if self._size(level - 1) == self._size(level):
            return None
        P, R = interpolation(self._size(level - 1), 1, False), self._restriction(level - 1)
        if self.batched:
            return pint.Transfer(R, P)
        return pint.Transfer((R.dot, R.T.dot), (P.dot, P.T.dot))

    @property
    def space(self):
        return pint.ArraySpace(self.size, weight=(self.size + 1) ** -0.5)

    def initial(self, theta):
        return theta["theta"][0] * self.mode

    def solve(self, dt, right):
        matrix = np.eye(self.size) - np.asarray(dt)[..., None] * self.laplacian
        return np.linalg.solve(matrix, right[..., None])[..., 0]

    def step(self, s, y, u, theta):
        return self.solve(s.dt, y + s.dt * (y - y**3 + u["u"] @ self.control_map.T))


class ReactionAdjoint(pint.Adjoint):
    def __init__(self, stepper):
        self.stepper = stepper

    def vjp(self, s, y, u, theta, lam):
        solution = self.stepper.solve(s.dt, lam)  # the matrix is symmetric
        dy = (1 + s.dt * (1 - 3 * y**2)) * solution
        return dy, {"u": s.dt * solution @ self.stepper.control_map}, {}

    def initial_vjp(self, theta, lam0):
        return {"theta": np.array([self.stepper.mode @ lam0])}

    def coarsen(self, level):
        return ReactionAdjoint(self.stepper.coarsen(level))


class Tracking(pint.Objective):
    """``l = dt (|y1 - 1|^2 + 0.1 |u|^2) / 2``, ``psi = |y_N|^2 / 2``."""

    def step_cost(self, s, y0, y1, u, theta):
        return 0.5 * (s.dt * ((y1 - 1) ** 2 + 0.1 * u["u"] ** 2)).sum(axis=-1)

    def step_cost_derivative(self, s, y0, y1, u, theta):
        return 0.0, s.dt * (y1 - 1), {"u": 0.1 * s.dt * u["u"]}, {}

    def terminal(self, y, theta):
        return 0.5 * (y**2).sum()

    def terminal_derivative(self, y, theta):
        return y, {}


class Weighted(pint.Objective):
    """``psi = w . y_N``, ``l = dt w . y1``: linear in the states."""

    def __init__(self, size):
        self.weights = np.random.default_rng(5).standard_normal(size)

    def step_cost(self, s, y0, y1, u, theta):
        return (s.dt * y1 * self.weights).sum(axis=-1)

    def step_cost_derivative(self, s, y0, y1, u, theta):
        return 0.0, s.dt * self.weights + 0.0 * y1, {}, {}

    def terminal(self, y, theta):
        return (self.weights * y).sum()

    def terminal_derivative(self, y, theta):
        return self.weights.copy(), {}


def reaction_problem(points=(15, 7, 3), batched=True):
    stepper = Reaction(points, batched)
    fields = {"u": pint.TimeControl(points[0]), "theta": pint.SharedControl(1)}
    return pint.Problem(stepper, ReactionAdjoint(stepper), Tracking(), fields)
