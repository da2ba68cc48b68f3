"""The ODE problems by plain loops, and their optima by dense algebra or scipy; nothing of pint."""

import numpy as np
import scipy.optimize


def linear_quadratic_optimum(A, B, y0, T, steps, scheme, q, r, s):
    """Return J* and u* of ``sum dt (w q |y|^2 + r |u|^2) + s |y_N|^2``; the nodes by scheme.

    The states are affine in all controls, ``y_n = M_n u + c_n``; the optimum solves one dense
    linear system.
    """
    A, B, y = (np.atleast_2d(np.asarray(x, dtype=float)) for x in (A, B, y0))
    dt, one = T / steps, np.eye(len(B))
    if scheme == "forward-euler":
        P, Q = one + dt * A, dt * B
    elif scheme == "backward-euler":
        P = np.linalg.inv(one - dt * A)
        Q = P @ (dt * B)
    else:  # the midpoint rule and Crank-Nicolson agree where f is linear and u constant
        inverse = np.linalg.inv(one - dt / 2 * A)
        P, Q = inverse @ (one + dt / 2 * A), inverse @ (dt * B)
    nodes = {"forward-euler": (1, 0), "backward-euler": (0, 1)}.get(scheme, (0.5, 0.5))
    return _dense_optimum(P, Q, y.ravel(), steps, dt, nodes, q, r, s)


def double_integrator_optimum(gamma, T, steps):
    """Return J* and u* of the double integrator: forward Euler, states at the right end."""
    dt = T / steps
    P, Q = np.array([[1, dt], [0, 1 - dt]]), np.array([[0], [dt]])
    return _dense_optimum(P, Q, np.array([0.0, -1.0]), steps, dt, (0, 1), 1.0, gamma, 0.0)


def _dense_optimum(P, Q, y0, steps, dt, nodes, q, r, s):
    d, k = Q.shape
    M, c = np.zeros((steps + 1, d, steps * k)), np.zeros((steps + 1, d))
    c[0] = y0
    for n in range(steps):
        M[n + 1], c[n + 1] = P @ M[n], P @ c[n]
        M[n + 1][:, n * k : (n + 1) * k] += Q
    weights = np.zeros(steps + 1)
    weights[:-1] += nodes[0] * q * dt
    weights[1:] += nodes[1] * q * dt
    weights[-1] += s
    H = 2 * np.einsum("n,ndi,ndj->ij", weights, M, M) + 2 * r * dt * np.eye(steps * k)
    g = 2 * np.einsum("n,ndi,nd->i", weights, M, c)
    u = np.linalg.solve(H, -g)
    J = 0.5 * u @ H @ u + g @ u + np.einsum("n,nd,nd->", weights, c, c)
    return J, u.reshape(steps, k)


# Nonlinear problems: right-hand side, running cost, terminal cost, y(0), T


def van_der_pol():
    return (
        lambda y, u: ((1 - y[1] ** 2) * y[0] - y[1] + u, y[0]),
        lambda y, u: y[0] ** 2 + y[1] ** 2 + u**2,
        lambda y: 0.0,
        (0.0, 1.0),
        10.0,
    )


def fishing(beta=0.0):
    return (
        lambda y, u: (
            y[0] - y[0] * y[1] - 0.4 * y[0] * u,
            -y[1] + y[0] * y[1] - 0.2 * y[1] * u,
        ),
        lambda y, u: (y[0] - 1) ** 2 + (y[1] - 1) ** 2 + beta * u**2,
        lambda y: 0.0,
        (0.5, 0.7),
        12.0,
    )


def pendulum():
    return (
        lambda y, u: (y[1], -9.81 * np.sin(y[0]) - 0.1 * y[1] + u),
        lambda y, u: 0.05 * u**2,
        lambda y: 20 * ((1 + np.cos(y[0])) + y[1] ** 2 / 2),
        (0.0, 0.0),
        4.0,
    )


def cost(definition, u):
    """Return J of the controls u, shape (N,) or (N, number of controls): RK4 and trapezoids."""
    f, L, psi, y0, T = definition
    dt = T / len(u)
    y, J = np.array(y0, dtype=u.dtype), 0.0
    y = y.reshape((2,) + (1,) * (u.ndim - 1)) + np.zeros_like(u[0])
    for v in u:
        k1 = np.array(f(y, v))
        k2 = np.array(f(y + dt / 2 * k1, v))
        k3 = np.array(f(y + dt / 2 * k2, v))
        k4 = np.array(f(y + dt * k3, v))
        new = y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        J = J + dt / 2 * (L(y, v) + L(new, v))
        y = new
    return J + psi(y)


def cost_and_derivative(definition, u):
    """Return J and dJ/du: every component by a complex step, all in one loop."""
    values = cost(definition, u[:, None] + 1e-30j * np.eye(len(u)))
    return values[0].real, values.imag / 1e-30


def optimum(definition, start, bounds=None):
    """Return J* and u* by scipy's L-BFGS-B with all pairs kept, in variables scaled by sqrt(dt)."""
    root = np.sqrt(definition[-1] / len(start))

    def scaled(x):
        J, derivative = cost_and_derivative(definition, x / root)
        return J, derivative / root

    result = scipy.optimize.minimize(
        scaled,
        start * root,
        jac=True,
        method="L-BFGS-B",
        bounds=None if bounds is None else [(bounds[0] * root, bounds[1] * root)] * len(start),
        options={"maxcor": 200, "maxiter": 3000, "maxfun": 6000, "ftol": 0.0, "gtol": 1e-11},
    )
    return result.fun, result.x / root
