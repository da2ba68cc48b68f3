"""States that ranks in space divide into parts of very different sizes; steps are collective."""

import numpy as np

import pint
from pint.comm import reduce


class Mean(pint.TimeStepper):
    """``y_{n+1} = y_n + dt (u - mean y + y^2 / 8)``; rank r of `comm` has 40 (r + 1) components.

    The batch of a step is what the ranks must have alike: they sum over it together.
    """

    batched = True

    def __init__(self, comm):
        self.comm = comm
        self.shape = self.kept_shape = (40 * (comm.rank + 1),)
        self.size = int(reduce(comm, self.shape)[0])

    @property
    def space(self):
        return pint.ArraySpace(self.shape, comm=self.comm)

    def initial(self, theta):
        return np.full(self.shape, 0.5)

    def mean(self, y):
        sums = reduce(self.comm, np.array([len(y), *y.sum(axis=1)]))
        assert sums[0] == self.comm.size * len(y), "batches of different sizes"
        return sums[1:, None] / self.size

    def step(self, s, y, u, theta):
        if s.kept is not None:
            s.kept[...] = y - self.mean(y)
        return y + s.dt * (u["force"] - self.mean(y) + y**2 / 8)


class MeanAdjoint(pint.Adjoint):
    def __init__(self, stepper):
        self.stepper = stepper

    def vjp(self, s, y, u, theta, lam):
        if s.kept is None:  # a collective step of those whose results were not kept
            self.stepper.mean(y)
        force = s.dt * lam.sum(axis=1, keepdims=True)
        return lam + s.dt * (y * lam / 4 - self.stepper.mean(lam)), {"force": force}, {}


class Size(pint.Objective):
    def __init__(self, comm):
        self.comm = comm

    def terminal(self, y, theta):
        return 0.5 * float(reduce(self.comm, (y * y).sum())[0])

    def terminal_derivative(self, y, theta):
        return y, {}


def mean_problem(space):
    """Return a problem whose steps are collective over the ranks of `space`."""
    stepper, fields = Mean(space), {"force": pint.TimeControl(1)}
    return pint.Problem(stepper, MeanAdjoint(stepper), Size(space), controls=fields, comm=space)
