"""Implicit Euler, midpoint, Crank-Nicolson and SDIRK2 on PETSc vectors, with exact transposes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pint.errors import check_choice, check_kind, number, shown
from pint.grid import Steps
from pint.interface import Adjoint, Fields, TimeStepper
from pint.petsc.equation import Equation
from pint.petsc.solver import Counts, Settings, Solver
from pint.petsc.terms import Terms
from pint.states import Transfer
from pint.states.petsc import PetscSpace
from pint.steppers.sdirk import ORDER_TWO

SOLVERS = 16
"""Most step sizes of which the factors are kept, on each mesh."""


@dataclass(frozen=True)
class Stage:
    """``M (z - base) = explicit dt f(t0, y) + implicit dt f(t0 + at dt, z)``.

    ``base = y + beyond (z' - y)``, z' being the result of the stage before. In the boundary rows
    ``z = y + part (g(t0 + until dt) - y)``. A guess of the step's result is one of
    ``y + (z - y) / near``.
    """

    implicit: float
    at: float
    explicit: float = 0.0
    beyond: float = 0.0
    part: float = 1.0
    until: float = 1.0
    near: float = 1.0


@dataclass(frozen=True)
class Scheme:
    """Stages, and the result ``y + beyond (z - y)`` of the last one's z."""

    stages: tuple[Stage, ...]
    beyond: float = 1.0


_GAMMA = ORDER_TWO
SCHEMES: Mapping[str, Scheme] = {
    "implicit-euler": Scheme((Stage(1.0, at=1.0),)),
    "midpoint": Scheme((Stage(0.5, at=0.5, part=0.5, near=0.5),), beyond=2.0),
    "crank-nicolson": Scheme((Stage(0.5, at=1.0, explicit=0.5),)),
    "sdirk2": Scheme((
        Stage(_GAMMA, at=_GAMMA, until=_GAMMA, near=_GAMMA),
        Stage(_GAMMA, at=1.0, beyond=(1.0 - _GAMMA) / _GAMMA),
    )),
}  # fmt: skip


class ImplicitStep(TimeStepper):
    r"""An implicit step of ``M y' = f(t, y, u, theta)`` on PETSc vectors.

    ====================  ==========================================================
    ``'implicit-euler'``  ``M (y1 - y0) = dt f(t1, y1)``
    ``'midpoint'``        ``M (y1 - y0) = dt f((t0 + t1) / 2, (y0 + y1) / 2)``
    ``'crank-nicolson'``  ``M (y1 - y0) = dt / 2 (f(t0, y0) + f(t1, y1))``
    ``'sdirk2'``          the two stages of `pint.SDIRK`, L-stable, of order 2
    ====================  ==========================================================

    A `LinearEquation` takes one `KSPSolve` for each stage, with factors or a preconditioner that
    are made once for each step size. Others are solved by SNES to almost rounding, from
    ``s.guess`` where there is one, else from `y`. States may be divided among ranks in space.
    Making one is collective on their communicator.

    By default PETSc factorises the matrices: by its own LU on one rank in space, by MUMPS or
    SuperLU_DIST on several; if it has neither, GMRES with block Jacobi iterates to ``rtol =
    1e-13``.

    Parameters
    ----------
    equation : Equation
    scheme : 'implicit-euler', 'midpoint', 'crank-nicolson' or 'sdirk2'
    prefix : str
        PETSc's options for SNES, KSP and PC begin with it: ``-pde_ksp_type``.
    options : mapping of str to value
        Options without prefix, which those of the command line precede: ``{"ksp_type": "cg"}``.
    reuse : float
        In [0, 1). Newton's method keeps its factors, from stage to stage, too, while each
        iteration multiplies the residual by at most `reuse`; 0 makes new ones in each iteration.
        Every step begins with new ones, so that it depends on nothing before.
    coarse : sequence of (Equation, Transfer) or None
        For levels 1, 2, ...: the equation on a coarser mesh, and how states get there from the
        level before; None stays on the mesh of the level before, as do all further levels.

    Attributes
    ----------
    counts : Counts
        Of steps and transposes on this mesh.

    Raises
    ------
    TypeError, ValueError
        On all ranks in space, if a part is of the wrong kind, matrices are not divided as the
        states are, boundary rows are out of range, or there is no such scheme.

    Notes
    -----
    A step whose equation cannot be solved raises `NumericalError`: its result counts as NaN, and a
    line search shortens its step.
    """

    may_differ = ("counts",)

    def __init__(
        self,
        equation: Equation,
        scheme: str = "implicit-euler",
        *,
        prefix: str = "pde_",
        options: Mapping[str, Any] | None = None,
        reuse: float = 0.1,
        coarse: Sequence[tuple[Equation, Transfer] | None] = (),
    ) -> None:
        check_choice("ImplicitStep", "scheme", scheme, list(SCHEMES))
        if number("ImplicitStep", "reuse", reuse) >= 1:
            raise ValueError(f"`ImplicitStep(reuse=...)` must be in [0, 1), got {reuse}.")
        if not isinstance(prefix, str):
            raise TypeError(f"`ImplicitStep(prefix=...)` must be a string, got {shown(prefix)}.")
        self._settings = Settings(prefix, dict(options or {}), float(reuse))
        self.scheme = scheme
        self._scheme = SCHEMES[scheme]
        self._terms = Terms("ImplicitStep", equation)
        self.counts = Counts()
        self._solvers: OrderedDict[str, Solver] = OrderedDict()
        vector = self._terms.vector
        self._right, self._base, self._slope, self._new = (vector.duplicate() for _ in range(4))
        self._z = [vector.duplicate() for _ in self._scheme.stages]
        self._transfers: list[Transfer | None] = []
        self._meshes: list[ImplicitStep] = [self]
        for item in coarse:
            self._add_mesh(item)
        linear = self._terms.linear
        self.uses_guess = not linear or Solver.is_iterative(self._terms, self._settings)
        # The transposes of a linear equation do not depend on the state.
        self.kept_shape = None if linear else (len(self._z) * vector.getLocalSize(),)

    def _add_mesh(self, item: Any) -> None:
        if item is None:
            self._meshes.append(self._meshes[-1])
            self._transfers.append(None)
            return
        is_pair = isinstance(item, tuple) and len(item) == 2
        if not is_pair or not isinstance(item[1], Transfer):
            raise TypeError(
                "`ImplicitStep(coarse=...)` must hold pairs (equation, pint.Transfer) or None, "
                f"got {shown(item)}."
            )
        settings = self._settings
        self._meshes.append(
            ImplicitStep(
                item[0],
                self.scheme,
                prefix=settings.prefix,
                options=settings.options,
                reuse=settings.reuse,
            )
        )
        self._transfers.append(item[1])

    @property
    def space(self) -> PetscSpace:
        return self._terms.space

    @property
    def equation(self) -> Equation:
        """The equation."""
        found: Equation = self._terms.equation
        return found

    def coarsen(self, level: int) -> ImplicitStep:
        return self._meshes[min(level, len(self._meshes) - 1)]

    def transfer(self, level: int) -> Transfer | None:
        return self._transfers[level - 1] if level <= len(self._transfers) else None

    def initial(self, theta: Fields) -> Any:
        return self._terms.initial(theta)

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields) -> Any:
        self._solve_stages(s, y, u, theta)
        if s.kept is not None:
            np.concatenate([z.array_r for z in self._z], out=s.kept)
        beyond, last = self._scheme.beyond, self._z[-1]
        if beyond == 1.0:
            return last
        last.copy(self._new)
        self._new.axpby(1.0 - beyond, beyond, y)
        return self._new

    def _solve_stages(self, s: Steps, y: Any, u: Fields, theta: Fields) -> None:
        """Compute z of each stage."""
        terms = self._terms
        for place, stage in enumerate(self._scheme.stages):
            solver, z = self._solver(stage.implicit * s.dt), self._z[place]
            if place == 0:
                solver.forget()
            t = s.t0 + stage.at * s.dt
            self._put_right(s, stage, y, self._z[place - 1], u, theta)
            target: Any = self._target(s, stage, y, u, theta) if terms.bounded else 0.0
            guessed = self.uses_guess and s.guess is not None
            start = s.guess if guessed else y
            start.copy(z)
            if guessed and stage.near != 1.0:
                z.axpby(1.0 - stage.near, stage.near, y)
            if terms.linear:
                self._solve_linear(solver, t, z, target, u, theta)
            else:
                solver.solve_nonlinear(t, self._right, target, z, y, u, theta)
        self._note()

    def _put_right(
        self, s: Steps, stage: Stage, y: Any, before: Any, u: Fields, theta: Fields
    ) -> None:
        """Put ``M base + explicit dt f(t0, y)`` into `_right`."""
        terms, base = self._terms, y
        if stage.beyond:
            before.copy(self._base)
            self._base.axpby(1.0 - stage.beyond, stage.beyond, y)
            base = self._base
        terms.times_mass(base, self._right)
        if stage.explicit:
            terms.f(s.t0, y, u, theta, self._slope)
            self._right.axpy(stage.explicit * s.dt, self._slope)
        if terms.bounded:
            self._right.array[terms.places] = 0.0

    def _target(self, s: Steps, stage: Stage, y: Any, u: Fields, theta: Fields) -> np.ndarray:
        """Return z in the boundary rows."""
        terms = self._terms
        values = terms.boundary_values(s.t0 + stage.until * s.dt, u, theta)
        old = y.array_r[terms.places]
        target: np.ndarray = old + stage.part * (np.asarray(values) - old)
        return target

    def _solve_linear(
        self, solver: Solver, t: float, z: Any, target: Any, u: Fields, theta: Fields
    ) -> None:
        """Solve ``M z - h f(t, z) = right`` with the kept factors; z is a guess, in place."""
        terms, right, slope = self._terms, self._right, self._slope
        if terms.bounded:
            # Columns of the boundary rows go to the right-hand side.
            known = self._base
            known.set(0.0)
            known.array[terms.places] = target
            terms.times_mass(known, slope)
            right.axpy(-1.0, slope)
            terms.f(t, known, u, theta, slope)
            z.axpy(-1.0, known)
        else:
            terms.forcing(t, u, theta, slope)
        right.axpy(solver.h, slope)
        if terms.bounded:
            right.array[terms.places] = 0.0
        solver.solve(right, z, guessed=self.uses_guess)
        if terms.bounded:
            z.array[terms.places] = target

    def _solver(self, h: float) -> Solver:
        """Return the solver of a step size; differences in the last digits are rounding."""
        key, solvers = f"{h:.12e}", self._solvers
        if key in solvers and solvers[key].failed:
            solvers.pop(key).destroy()
        if key in solvers:
            solvers.move_to_end(key)
            return solvers[key]
        if len(solvers) == SOLVERS:
            solvers.popitem(last=False)[1].destroy()
        solvers[key] = Solver(self._terms, h, self._settings, self.counts)
        return solvers[key]

    def _note(self) -> None:
        """Count the calls of the user's methods, whose temporaries wait for their release."""
        terms, counts = self._terms, self.counts
        calls = terms.residuals + terms.jacobians
        self.space.free_garbage(calls - counts.residuals - counts.jacobians)
        counts.residuals, counts.jacobians = terms.residuals, terms.jacobians

    def destroy(self) -> None:
        """Free all PETSc objects of all levels; the steps cannot be used any more. Collective."""
        for mesh in dict.fromkeys(self._meshes[1:]):
            if mesh is not self:
                mesh.destroy()
        for solver in self._solvers.values():
            solver.destroy()
        self._solvers.clear()
        for vector in (self._right, self._base, self._slope, self._new, *self._z):
            vector.destroy()
        self._terms.destroy()


class ImplicitAdjoint(Adjoint):
    """The transposes of an `ImplicitStep`: one `KSPSolveTranspose` for each stage.

    The factors are those of the step where the equation is linear. Otherwise the matrix is filled
    at the states that the step kept; without them the step is made again. Boundary rows are
    homogeneous in the transposed solve. Making one is collective.

    Parameters
    ----------
    stepper : ImplicitStep
    """

    def __init__(self, stepper: ImplicitStep) -> None:
        check_kind("ImplicitAdjoint", "stepper", stepper, ImplicitStep, "an ImplicitStep")
        self.stepper = stepper
        vector = stepper._terms.vector
        self._mu, self._dy, self._work = (vector.duplicate() for _ in range(3))
        self._slopes = [vector.duplicate() for _ in stepper._z]
        self._coarse: dict[int, ImplicitAdjoint] = {}

    def coarsen(self, level: int) -> ImplicitAdjoint:
        stepper = self.stepper.coarsen(level)
        if stepper is self.stepper:
            return self
        if id(stepper) not in self._coarse:
            self._coarse[id(stepper)] = ImplicitAdjoint(stepper)
        return self._coarse[id(stepper)]

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return self.stepper.equation.initial_vjp(theta, lam0)

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any) -> Any:
        self._transpose(s, y, u, theta, lam, None)
        return self._dy

    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        into: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        self._transpose(s, y, u, theta, lam, into)
        return self._dy, *into

    def _transpose(self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any, into: Any) -> None:
        """Put ``Phi_y^T lam`` into `_dy`, and add the other products to `into`."""
        stepper, dy, slopes = self.stepper, self._dy, self._slopes
        terms, scheme = stepper._terms, stepper._scheme
        self._find_states(s, y, u, theta)
        lam.copy(dy)
        dy.scale(1.0 - scheme.beyond)
        for slope in slopes[:-1]:
            slope.set(0.0)
        lam.copy(slopes[-1])
        slopes[-1].scale(scheme.beyond)
        for place in reversed(range(len(slopes))):
            stage, z = scheme.stages[place], stepper._z[place]
            self._solve(s, stage, z, slopes[place], u, theta, into)
            work, mu = self._work, self._mu
            terms.times_mass(mu, work, transposed=True)
            dy.axpy(1.0 - stage.beyond, work)
            if stage.beyond:
                slopes[place - 1].axpy(stage.beyond, work)
            if stage.explicit:
                terms.jacobian(s.t0, y, u, theta).multTranspose(mu, work)
                dy.axpy(stage.explicit * s.dt, work)
                if into is not None:
                    terms.add_vjp(s.t0, y, u, theta, mu, stage.explicit * s.dt, into)
        stepper._note()

    def _find_states(self, s: Steps, y: Any, u: Fields, theta: Fields) -> None:
        """Put z of each stage into those of the step."""
        stepper = self.stepper
        if stepper._terms.linear:
            return  # nothing depends on them
        if s.kept is None:
            stepper._solve_stages(s, y, u, theta)
            return
        parts = np.split(s.kept, len(stepper._z))
        for z, part in zip(stepper._z, parts, strict=True):
            z.array[:] = part

    def _solve(
        self, s: Steps, stage: Stage, z: Any, slope: Any, u: Fields, theta: Fields, into: Any
    ) -> None:
        """Put the multiplier of a stage into `_mu`, zero in the boundary rows.

        What the boundary values and the stage's f contribute is added to `into` and to `_dy`.
        """
        terms, mu, h = self.stepper._terms, self._mu, stage.implicit * s.dt
        t, places = s.t0 + stage.at * s.dt, terms.places
        solver = self.stepper._solver(h)
        solver.linearise(t, z, u, theta)
        if terms.bounded:
            at_boundary = slope.array_r[places].copy()
            slope.array[places] = 0.0
        solver.solve_transposed(slope, mu)
        if into is not None:
            terms.add_vjp(t, z, u, theta, mu, h, into)
        if not terms.bounded:
            return
        # The columns of the boundary rows: (M - h f_y)^T mu there
        work = self._work
        terms.times_mass(mu, work, transposed=True)
        at_boundary -= work.array_r[places]
        # After `linearise`, f_y is that at z.
        terms.slope.multTranspose(mu, work)
        at_boundary += h * work.array_r[places]
        self._dy.array[places] += (1.0 - stage.part) * at_boundary
        if into is not None:
            until = s.t0 + stage.until * s.dt
            terms.add_boundary_vjp(until, u, theta, at_boundary, stage.part, into)

    def destroy(self) -> None:
        """Free the vectors, and those of coarse levels. Collective."""
        for coarse in self._coarse.values():
            coarse.destroy()
        for vector in (self._mu, self._dy, self._work, *self._slopes):
            vector.destroy()
