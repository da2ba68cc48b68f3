"""Problems whose convergence is known, or can be computed by hand."""

import numpy as np

import pint
from pint.steppers import Lagrangian, scheme
from problems.peaks import generate
from problems.resnet import DenseNetwork


class Linear(pint.ODE):
    """``y' = A y + u``, the same u for all components."""

    def __init__(self, matrix, initial):
        self.matrix, self.initial_state = np.array(matrix, float), np.array(initial, float)

    def f(self, t, y, u, theta):
        return y @ self.matrix.T + u["u"]

    def f_vjp(self, t, y, u, theta, lam):
        return lam @ self.matrix, {"u": lam.sum(axis=1, keepdims=True)}, {}

    def jacobian(self, t, y, u, theta):
        return np.broadcast_to(self.matrix, (len(y), *self.matrix.shape))


class Size(Lagrangian):
    def value(self, t, y, u, theta):
        return 0.5 * (y**2).mean(axis=1) + 0.05 * u["u"][:, 0] ** 2

    def gradient(self, t, y, u, theta, weight):
        return weight[:, None] * y / y.shape[1], {"u": 0.1 * weight[:, None] * u["u"]}, {}


def dahlquist(rate=-1.0):
    return Linear([[rate]], [1.0])


def oscillator():
    return Linear([[0.0, 1.0], [-1.0, 0.0]], [1.0, 0.0])


def heat(points=15, nu=0.1):
    x = np.arange(1, points + 1) / (points + 1)
    laplacian = np.diag(np.full(points - 1, 1.0), 1)
    laplacian += laplacian.T - 2 * np.eye(points)
    return Linear(nu * (points + 1) ** 2 * laplacian, np.sin(np.pi * x))


def advection_diffusion(peclet, points=15):
    """``y_t = y_xx / Pe - y_x`` on (0, 1), zero at both ends, central differences."""
    h = 1 / (points + 1)
    x = h * np.arange(1, points + 1)
    right = np.diag(np.ones(points - 1), 1)
    diffusion = (right + right.T - 2 * np.eye(points)) / (peclet * h**2)
    return Linear(diffusion - (right - right.T) / (2 * h), np.exp(-100 * (x - 0.3) ** 2))


def functional(
    ode, name="implicit-euler", T=1.0, N=64, m=4, levels=2, comm=None, times=None, **options
):
    """Return the functional of a linear equation with the cost `Size`."""
    fields = {"u": pint.TimeControl(1)}
    problem = pint.Problem(*scheme(ode, name), pint.RunningCost(Size()), controls=fields)
    if times is None:
        grid = pint.TimeGrid.uniform(T, N, m, levels, comm)
    else:
        grid = pint.TimeGrid(times, m, levels, comm)
    return pint.ReducedFunctional(problem, grid, **options)


def network(N=64, m=4, comm=None, **options):
    """Return functional and control of a residual network."""
    x, labels = generate(40, seed=0)
    problem = DenseNetwork(2, 8, 5, "tanh").problem(x, labels)
    grid = pint.TimeGrid.uniform(2.0, N, m, 2, comm)
    new = pint.ReducedFunctional(problem, grid, **options)
    values = np.random.default_rng(0)
    fields = new.controls.fields.items()
    shapes = {
        name: ((N,) if name in new.controls.time_fields else ()) + field.shape
        for name, field in fields
    }
    return new, new.control(
        **{name: 0.7 * values.standard_normal(shape) for name, shape in shapes.items()}
    )
