"""Explicit Runge-Kutta steps on PETSc vectors with a lumped mass, and their exact transposes."""

from __future__ import annotations

from typing import Any

import numpy as np
from petsc4py import PETSc

from pint.errors import NumericalError, check_choice, check_kind
from pint.grid import Steps
from pint.interface import Adjoint, Fields, TimeStepper
from pint.petsc.equation import Equation
from pint.petsc.terms import Terms
from pint.states.petsc import PetscSpace
from pint.steppers.runge_kutta import TABLEAUX, Tableau


class ExplicitStep(TimeStepper):
    """An explicit Runge-Kutta step of ``M y' = f(t, y, u, theta)`` with a lumped mass M.

    In the boundary rows stages and result are the boundary values of their times. Making one is
    collective on the ranks in space.

    Parameters
    ----------
    equation : Equation
        Its `mass` is a PETSc.Vec without zeros, or None. `jacobian` serves the transposes.
    scheme : 'euler', 'rk2', 'rk4' or Tableau

    Raises
    ------
    TypeError, ValueError
        On all ranks in space, as of `ImplicitStep`, or if the mass is a matrix or has zeros.
    """

    def __init__(self, equation: Equation, scheme: str | Tableau = "rk4") -> None:
        if not isinstance(scheme, Tableau):
            check_choice("ExplicitStep", "scheme", scheme, list(TABLEAUX))
            scheme = TABLEAUX[scheme]
        self.tableau = scheme
        self._terms = terms = Terms("ExplicitStep", equation)
        self._inverse: Any = None
        if isinstance(terms.mass, PETSc.Mat):
            raise TypeError(
                "`ExplicitStep(equation=...)` needs a lumped `mass`, a PETSc.Vec such as "
                "`mass.getRowSum()` returns, got a PETSc.Mat."
            )
        if terms.mass is not None:
            least = terms.mass.min()[1]
            if not least > 0:
                raise ValueError(
                    f"`ExplicitStep(equation=...)` needs a lumped `mass` of positive numbers, got "
                    f"{least:.3g}."
                )
            self._inverse = terms.mass.copy()
            self._inverse.reciprocal()
        stages = len(self.tableau.b)
        vector = terms.vector
        self._states, self._slopes = ([vector.duplicate() for _ in range(stages)] for _ in range(2))
        self._new = vector.duplicate()
        self.kept_shape = (stages * vector.getLocalSize(),)

    @property
    def space(self) -> PetscSpace:
        return self._terms.space

    def initial(self, theta: Fields) -> Any:
        return self._terms.initial(theta)

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields) -> Any:
        self._make_stages(s, y, u, theta)
        if s.kept is not None:
            np.concatenate([state.array_r for state in self._states], out=s.kept)
        self._combine(s, 1.0, self.tableau.b, y, u, theta, self._new)
        return self._new

    def _make_stages(self, s: Steps, y: Any, u: Fields, theta: Fields) -> None:
        terms, tableau = self._terms, self.tableau
        before = terms.residuals
        for state, slope, a, c in zip(
            self._states, self._slopes, tableau.a, tableau.c, strict=True
        ):
            self._combine(s, c, a, y, u, theta, state)
            terms.f(s.t0 + c * s.dt, state, u, theta, slope)
            self._divide(slope)
        self.space.free_garbage(terms.residuals - before)
        if failure := terms.take_failure():
            raise NumericalError(failure)

    def _combine(
        self, s: Steps, c: float, weights: Any, y: Any, u: Fields, theta: Fields, out: Any
    ) -> None:
        """Put ``y + dt sum_j weights_j k_j`` into `out`, and the boundary values of its time."""
        y.copy(out)
        for weight, slope in zip(weights, self._slopes, strict=True):
            if weight:
                out.axpy(weight * s.dt, slope)
        if self._terms.bounded:
            values = self._terms.boundary_values(s.t0 + c * s.dt, u, theta)
            out.array[self._terms.places] = values

    def _divide(self, vector: PETSc.Vec) -> None:
        """Divide by the mass, in place."""
        if self._inverse is not None:
            vector.pointwiseMult(self._inverse, vector)

    def destroy(self) -> None:
        """Free all PETSc objects; the steps cannot be used any more. Collective."""
        for vector in (*self._states, *self._slopes, self._new):
            vector.destroy()
        if self._inverse is not None:
            self._inverse.destroy()
        self._terms.destroy()


class ExplicitAdjoint(Adjoint):
    """The transposes of an `ExplicitStep`. Making one is collective.

    Parameters
    ----------
    stepper : ExplicitStep
    """

    def __init__(self, stepper: ExplicitStep) -> None:
        check_kind("ExplicitAdjoint", "stepper", stepper, ExplicitStep, "an ExplicitStep")
        self.stepper = stepper
        vector = stepper._terms.vector
        self._dy, self._work = vector.duplicate(), vector.duplicate()
        self._slopes = [vector.duplicate() for _ in stepper._slopes]

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return self.stepper._terms.equation.initial_vjp(theta, lam0)

    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        stepper, dy, work = self.stepper, self._dy, self._work
        terms, tableau = stepper._terms, stepper.tableau
        into: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        if s.kept is None:
            stepper._make_stages(s, y, u, theta)
        else:
            parts = np.split(s.kept, len(stepper._states))
            for state, part in zip(stepper._states, parts, strict=True):
                state.array[:] = part
        lam.copy(dy)
        self._take_boundary(s, 1.0, dy, u, theta, into)
        for slope, b in zip(self._slopes, tableau.b, strict=True):
            dy.copy(slope)
            slope.scale(b * s.dt)
        before = terms.jacobians
        for place in reversed(range(len(self._slopes))):
            t, state, slope = s.t0 + tableau.c[place] * s.dt, *self._at(place)
            stepper._divide(slope)
            terms.add_vjp(t, state, u, theta, slope, 1.0, into)
            terms.jacobian(t, state, u, theta).multTranspose(slope, work)
            self._take_boundary(s, tableau.c[place], work, u, theta, into)
            dy.axpy(1.0, work)
            for other, a in zip(self._slopes, tableau.a[place], strict=True):
                if a:
                    other.axpy(a * s.dt, work)
        stepper.space.free_garbage(2 * (terms.jacobians - before))
        return dy, *into

    def _at(self, place: int) -> tuple[PETSc.Vec, PETSc.Vec]:
        return self.stepper._states[place], self._slopes[place]

    def _take_boundary(
        self, s: Steps, c: float, slope: PETSc.Vec, u: Fields, theta: Fields, into: Any
    ) -> None:
        """Move the boundary rows of a slope to the derivatives of the boundary values."""
        terms = self.stepper._terms
        if terms.bounded:
            values = slope.array_r[terms.places].copy()
            slope.array[terms.places] = 0.0
            terms.add_boundary_vjp(s.t0 + c * s.dt, u, theta, values, 1.0, into)

    def destroy(self) -> None:
        """Free the vectors. Collective."""
        for vector in (self._dy, self._work, *self._slopes):
            vector.destroy()
