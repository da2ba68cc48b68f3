"""Implicit steps on PETSc vectors: what they keep, and their guesses, save linear solves."""

import numpy as np
import pytest

import pint

pytestmark = pytest.mark.petsc
POINTS, STEPS = 15, 128


class Burgers(pint.TimeStepper):
    """Implicit Euler for the viscous Burgers equation by Newton's method; counts linear solves."""

    uses_guess, kept_shape = True, (POINTS,)

    def __init__(self):
        from petsc4py import PETSc

        from pint.states.petsc import PetscSpace

        h, one = 1 / (POINTS + 1), np.ones(POINTS - 1)
        self.start = np.sin(2 * np.pi * h * np.arange(1, POINTS + 1))
        self.D = (np.diag(one, 1) - np.diag(one, -1)) / (2 * h)
        self.L = (np.diag(one, 1) + np.diag(one, -1) - 2 * np.eye(POINTS)) / h**2
        mesh = PETSc.DMDA().create([POINTS], comm=PETSc.COMM_SELF)
        self._space = PetscSpace(mesh)
        self.new, self.right, self.change = (mesh.createGlobalVec() for _ in range(3))
        self.matrix = PETSc.Mat().createDense((POINTS, POINTS), comm=PETSc.COMM_SELF).setUp()
        self.ksp = PETSc.KSP().create(PETSc.COMM_SELF)
        self.ksp.setType("preonly")
        self.ksp.getPC().setType("lu")
        self.solves = self.found = self.sought = 0
        self.guesses = {}

    @property
    def space(self):
        return self._space

    def initial(self, theta):
        self.new.array[:] = self.start
        return self.new

    def linearise(self, dt, y):
        jacobian = 0.02 * self.L - y[:, None] * self.D - np.diag(self.D @ y)
        self.matrix.setValues(range(POINTS), range(POINTS), np.eye(POINTS) - dt * jacobian)
        self.matrix.assemble()
        self.ksp.setOperators(self.matrix)

    def solve(self, s, y, u):
        """Put the new state into `new`."""
        found = self.guesses.setdefault(s.level, [0, 0])
        found[s.guess is not None] += 1
        start = y if s.guess is None else s.guess
        old, values = y.array_r.copy(), start.array_r.copy()
        for _ in range(20):
            f = 0.02 * self.L @ values - values * (self.D @ values) + u["u"]
            self.right.array[:] = values - old - s.dt * f
            if np.abs(self.right.array_r).max() <= 1e-13:
                break
            self.linearise(s.dt, values)
            self.ksp.solve(self.right, self.change)
            self.solves += 1
            values -= self.change.array_r
        self.new.array[:] = values

    def step(self, s, y, u, theta):
        self.solve(s, y, u)
        if s.kept is not None:
            s.kept[...] = self.new.array_r
        return self.new


class BurgersAdjoint(pint.Adjoint):
    def __init__(self, stepper):
        self.stepper, self.result = stepper, stepper.new.duplicate()

    def vjp(self, s, y, u, theta, lam):
        stepper = self.stepper
        stepper.sought += 1
        stepper.found += s.kept is not None
        if s.kept is None:
            stepper.solve(s, y, u)
        stepper.linearise(s.dt, stepper.new.array_r if s.kept is None else s.kept)
        stepper.ksp.solveTranspose(lam, self.result)
        stepper.solves += 1
        return self.result, {"u": s.dt * self.result.array_r}, {}


class Size(pint.Objective):
    def __init__(self, stepper):
        self.slope = stepper.new.duplicate()

    def terminal(self, y, theta):
        return 0.5 * float(y.array_r @ y.array_r)

    def terminal_derivative(self, y, theta):
        y.copy(self.slope)
        return self.slope, {}


def burgers(levels, kept_bytes=2**31, uses_guess=True):
    stepper = Burgers()
    stepper.uses_guess = uses_guess
    fields = {"u": pint.TimeControl(POINTS)}
    problem = pint.Problem(stepper, BurgersAdjoint(stepper), Size(stepper), controls=fields)
    grid = pint.TimeGrid.uniform(1.0, STEPS, 4, levels)
    accuracy = pint.Accuracy(30, relative=1e-11)
    return pint.ReducedFunctional(
        problem, grid, accuracy=accuracy, kept_bytes=kept_bytes, unconverged="error"
    ), stepper


def solves(levels, **options):
    """Return the linear solves of a value and of a gradient, the stepper, and the gradient."""
    functional, stepper = burgers(levels, **options)
    control = functional.control(u=0.3)
    functional.value(control)
    of_value = stepper.solves
    gradient = functional.gradient(control).vector
    return of_value, stepper.solves - of_value, stepper, gradient


def test_sequential_gradients_solve_each_step_once():
    _, of_gradient, stepper, _ = solves(1)
    assert of_gradient == STEPS == stepper.found == stepper.sought


@pytest.mark.parametrize("levels", [2, 3])
def test_after_a_converged_solve_every_transpose_finds_what_was_kept(levels):
    """On coarse levels what the adjoint solve itself has made, once for all of its cycles."""
    value, gradient, stepper, found = solves(levels)
    assert stepper.found == stepper.sought > 0
    for level, (without, guesses) in stepper.guesses.items():
        assert guesses > without, level  # none but the first ones, of the first guess
    nothing = solves(levels, kept_bytes=0, uses_guess=False)
    assert value < 0.75 * nothing[0] and gradient < 0.5 * nothing[1]
    for other in (nothing[3], solves(1)[3]):
        np.testing.assert_allclose(found, other, rtol=0, atol=1e-9 * np.abs(other).max())
