"""A pendulum, ``q' = v``, ``v' = -theta_0 sin q - theta_1 v + u cos t``, and costs for it."""

import numpy as np

import pint


class Pendulum(pint.TimeStepper):
    """Heun's method for ``y' = f(t, y, u, theta)``, y = (q, v); y_0 = (theta_1^2, 0.5).

    ``f = (v, -theta_0 sin q - theta_1 v + u_0 cos t + u_1 q)``.
    """

    initial_state = np.zeros(2)

    def __init__(self, batched=True):
        self.batched = batched

    def initial(self, theta):
        return np.stack([theta["theta"][1] ** 2, 0.5 + 0 * theta["theta"][0]])

    @staticmethod
    def f(t, y, u, theta):
        q, v = y[..., 0], y[..., 1]
        force = u[..., 0] * np.cos(t) + u[..., 1] * q
        return np.stack([v, -theta[0] * np.sin(q) - theta[1] * v + force], axis=-1)

    @staticmethod
    def f_transposed(t, y, u, theta, lam):
        """Return ``f_y^T lam``, ``f_u^T lam`` and ``f_theta^T lam``, the last by step."""
        q, v, p, w = y[..., 0], y[..., 1], lam[..., 0], lam[..., 1]
        return (
            np.stack([(-theta[0] * np.cos(q) + u[..., 1]) * w, p - theta[1] * w], axis=-1),
            np.stack([np.cos(t) * w, q * w], axis=-1),
            np.stack([-np.sin(q) * w, -v * w], axis=-1),
        )

    def times(self, s):
        """Return t0 and t1 without the axis of the state."""
        return (s.t0[:, 0], s.t1[:, 0]) if self.batched else (s.t0, s.t1)

    def step(self, s, y, u, theta):
        (t0, t1), u, theta = self.times(s), u["u"], theta["theta"]
        k = self.f(t0, y, u, theta)
        return y + 0.5 * s.dt * (k + self.f(t1, y + s.dt * k, u, theta))


class PendulumAdjoint(pint.Adjoint):
    def __init__(self, stepper):
        self.stepper = stepper

    def transposed(self, s, y, u, theta, lam):
        """Return the transposes with respect to y, u and theta, by step; the first without lam."""
        (t0, t1), u, theta = self.stepper.times(s), u["u"], theta["theta"]
        k = self.slope(s, y, u, theta)
        half = 0.5 * s.dt * lam
        second = self.stepper.f_transposed(t1, y + s.dt * k, u, theta, half)
        first = self.stepper.f_transposed(t0, y, u, theta, half + s.dt * second[0])
        return tuple(a + b for a, b in zip(first, second, strict=True))

    def slope(self, s, y, u, theta):
        """Return f at the beginning of the step."""
        return self.stepper.f(self.stepper.times(s)[0], y, u, theta)

    def vjp(self, s, y, u, theta, lam):
        dy, du, dtheta = self.transposed(s, y, u, theta, lam)
        return lam + dy, {"u": du}, {"theta": dtheta.reshape(-1, 2).sum(axis=0)}

    def initial_vjp(self, theta, lam0):
        return {"theta": np.array([0.0, 2 * theta["theta"][1] * lam0[0]])}


class Swift(Pendulum):
    """The pendulum's step, which writes in place and keeps the slope at its beginning."""

    in_place = True
    kept_shape = (2,)

    def step(self, s, y, u, theta, out=None):
        (t0, t1), u, theta = self.times(s), u["u"], theta["theta"]
        k = self.f(t0, y, u, theta)
        if s.kept is not None:
            s.kept[...] = k
        return np.add(y, 0.5 * s.dt * (k + self.f(t1, y + s.dt * k, u, theta)), out=out)


class SwiftAdjoint(PendulumAdjoint):
    """Writes in place, reads the slope, and defines `step` beside `vjp`."""

    in_place = True

    def slope(self, s, y, u, theta):
        return super().slope(s, y, u, theta) if s.kept is None else s.kept

    def vjp(self, s, y, u, theta, lam, out=None):
        dy, du, dtheta = super().vjp(s, y, u, theta, lam)
        return np.add(dy, 0.0, out=out), du, dtheta

    def step(self, s, y, u, theta, lam, out=None):
        return np.add(lam, self.transposed(s, y, u, theta, lam)[0], out=out)


class TerminalCost(pint.Objective):
    """``psi = |y_N - 1|^2 / 2 + theta . y_N``."""

    def terminal(self, y, theta):
        return 0.5 * ((y - 1) ** 2).sum() + (theta["theta"] * y).sum()

    def terminal_derivative(self, y, theta):
        return y - 1 + theta["theta"], {"theta": y}


class RunningCost(pint.Objective):
    """Step costs of all arguments, a terminal cost, and an outer function.

    ``l = dt (|y0|^2 / 2 + sin(y1).1 + |u|^2 |y0|^2 / 4 + theta . y1 cos t0)``,
    ``psi = |y_N|^2``, ``F(J) = J + J^2 / 10``.
    """

    @staticmethod
    def _cosine(s):
        return np.cos(s.t0)

    def step_cost(self, s, y0, y1, u, theta):
        u, theta = u["u"], theta["theta"]
        size = (y0**2).sum(axis=-1, keepdims=True)
        each = 0.5 * y0**2 + np.sin(y1) + 0.25 * u**2 * size + theta * y1 * self._cosine(s)
        return (s.dt * each).sum(axis=-1)

    def step_cost_derivative(self, s, y0, y1, u, theta):
        u, theta = u["u"], theta["theta"]
        size = (y0**2).sum(axis=-1, keepdims=True)
        squared = (u**2).sum(axis=-1, keepdims=True)
        dtheta = s.dt * y1 * self._cosine(s)
        return (
            s.dt * (y0 + 0.5 * squared * y0),
            s.dt * (np.cos(y1) + theta * self._cosine(s)),
            {"u": s.dt * 0.5 * u * size},
            {"theta": dtheta.reshape(-1, 2).sum(axis=0)},
        )

    def terminal(self, y, theta):
        return (y**2).sum()

    def terminal_derivative(self, y, theta):
        return 2 * y, {}

    def outer(self, value):
        return value + 0.1 * value**2

    def outer_derivative(self, value):
        return 1 + 0.2 * value
