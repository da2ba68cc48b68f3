"""The equations of a step's stages: SNES, KSP and factors for each step size."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from petsc4py import PETSc

from pint.errors import NumericalError
from pint.interface import Fields
from pint.petsc.terms import Terms

ROUNDOFF = 4 * float(np.finfo(float).eps)
ENOUGH = 1e-14
"""An estimated error, relative to the result, with which Newton's method ends."""
NOISE = 1e-11
"""A correction so small, relative to the result, is noise if it does not reduce the residual."""
_NUMERICAL = (71, 72, 81, 82, 91)
"""PETSc's error codes of zero pivots, floating point exceptions, and methods that fail."""
_DIRECT = ("mumps", "superlu_dist")
"""Packages that factorise matrices that are divided among ranks."""


@dataclass
class Counts:
    """What steps and their transposes have cost so far.

    Attributes
    ----------
    solves, transposed : int
        Calls of `KSPSolve` and of `KSPSolveTranspose`.
    set_ups : int
        Matrices that were filled, and whose factors or preconditioners were made.
    residuals, jacobians : int
        Calls of `Equation.f` and of `Equation.jacobian`.
    """

    solves: int = 0
    transposed: int = 0
    set_ups: int = 0
    residuals: int = 0
    jacobians: int = 0


@dataclass(frozen=True)
class Settings:
    """How to solve.

    Attributes
    ----------
    prefix : str
        PETSc's prefix of options.
    options : mapping
        Options that hold where the database has none of that name.
    reuse : float
        A reduction of the residual with which the factors of an earlier iteration are kept.
    """

    prefix: str
    options: Mapping[str, Any] = field(default_factory=dict)
    reuse: float = 0.0

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Have the options in PETSc's database for the time of a `with` statement."""
        database = PETSc.Options(self.prefix)
        added = [name for name in self.options if not database.hasName(name)]
        for name in added:
            database.setValue(name, self.options[name])
        try:
            yield
        finally:
            for name in added:
                database.delValue(name)


class Solver:
    """``M (z - base) = h f(t, z)`` and its transposes, for one h. Making one is collective.

    Parameters
    ----------
    terms : Terms
    h : float
    settings : Settings
    counts : Counts

    Attributes
    ----------
    failed : bool
        Whether a solve has failed: some preconditioners never recover.
    """

    def __init__(self, terms: Terms, h: float, settings: Settings, counts: Counts) -> None:
        self.terms, self.h, self.settings, self.counts = terms, h, settings, counts
        comm = terms.vector.getComm()
        self.matrix = terms.slope.duplicate(copy=terms.linear)
        self.matrix.setOption(PETSc.Mat.Option.KEEP_NONZERO_PATTERN, True)
        self.snes: Any = None
        if terms.linear:
            self.ksp = PETSc.KSP().create(comm)
        else:
            self.snes = self._new_snes(comm)
            self.ksp = self.snes.getKSP()
        _set_defaults(self.ksp, terms.space.comm.size > 1)
        with settings.applied():
            whole = self.ksp if self.snes is None else self.snes
            whole.setOptionsPrefix(settings.prefix)
            whole.setFromOptions()
        self.ksp.setOperators(self.matrix)
        self.iterative = self.ksp.getType() != PETSc.KSP.Type.PREONLY
        self._tolerances = self.ksp.getTolerances()
        # Of Newton's method: whether the factors serve the next iteration, and what it has seen
        self._serves = self.failed = False
        self._last = self._reach = self._scale = 0.0
        self._equation: tuple[Any, ...] = ()
        if terms.linear:
            self._complete(terms.slope)
            self.matrix.setOption(PETSc.Mat.Option.SYMMETRIC, terms.symmetric)

    @staticmethod
    def is_iterative(terms: Terms, settings: Settings) -> bool:
        """Whether linear equations are solved iteratively with some settings. Collective."""
        ksp = PETSc.KSP().create(terms.vector.getComm())
        _set_defaults(ksp, terms.space.comm.size > 1)
        with settings.applied():
            ksp.setOptionsPrefix(settings.prefix)
            ksp.setFromOptions()
        iterative = ksp.getType() != PETSc.KSP.Type.PREONLY
        ksp.destroy()
        return bool(iterative)

    def _new_snes(self, comm: Any) -> PETSc.SNES:
        snes = PETSc.SNES().create(comm)
        # PETSc's objects hold their callbacks, unseen by Python's collector of cycles.
        this, residual = weakref.ref(self), self.terms.vector.duplicate()

        def solver() -> Solver:
            found = this()
            assert found is not None
            return found

        snes.setFunction(lambda _, z, out: solver()._residual(z, out), residual)
        snes.setJacobian(lambda _, z, a, b: solver()._jacobian(z), self.matrix)
        snes.setConvergenceTest(lambda _, number, norms: solver()._test(number, *norms))
        snes.setTolerances(rtol=0.0, atol=0.0, stol=1e-12, max_it=50)
        self._residual_vector = residual
        return snes

    # The matrix

    def linearise(self, t: float, z: PETSc.Vec, u: Fields, theta: Fields) -> None:
        """Fill the matrix at z, for `solve_transposed`; that of a linear equation is there."""
        if self.terms.linear:
            return
        slope = self.terms.jacobian(t, z, u, theta)
        slope.copy(self.matrix, PETSc.Mat.Structure.SAME)
        self._complete(slope)

    def _complete(self, slope: PETSc.Mat) -> None:
        """Make ``M - h f_y``, with the identity in the boundary rows and columns, of f_y."""
        terms = self.terms
        self.matrix.scale(-self.h)
        terms.add_mass_to(self.matrix)
        if terms.bounded:
            self.matrix.zeroRowsColumns(terms.rows, diag=1.0)
        self.counts.set_ups += 1
        self._serves = True
        if self.snes is not None:
            self._reach = self.matrix.norm(PETSc.NormType.INFINITY)

    def _reset(self) -> None:
        """Have the factors made anew: packages cannot go on from those of a singular matrix."""
        self._serves, self.failed = False, True
        self.ksp.getPC().reset()
        self.ksp.setOperators(self.matrix)

    def forget(self) -> None:
        """Let Newton's method begin with new factors, so that a step depends on nothing before."""
        self._serves = False

    # Linear solves

    def solve(self, right: PETSc.Vec, z: PETSc.Vec, guessed: bool) -> None:
        """Solve a linear equation; `guessed` says whether z is near its solution."""
        self.ksp.setInitialGuessNonzero(guessed and self.iterative)
        self.counts.solves += 1
        self._call(self.ksp.solve, right, z)

    def solve_transposed(self, right: PETSc.Vec, result: PETSc.Vec) -> None:
        """Solve with the transposed matrix."""
        self.ksp.setInitialGuessNonzero(False)
        if self.snes is not None:  # Newton's method may have loosened them
            rtol, atol, divtol, most = self._tolerances
            self.ksp.setTolerances(rtol, atol, divtol, most)
        self.counts.transposed += 1
        # Transposed solves of PETSc's own LU are slower.
        solve = self.ksp.solve if self.terms.symmetric else self.ksp.solveTranspose
        self._call(solve, right, result)

    def _call(self, solve: Any, right: PETSc.Vec, result: PETSc.Vec) -> None:
        try:
            solve(right, result)
        except PETSc.Error as error:
            self._raise(error)
        reason = self.ksp.getConvergedReason()
        if reason < 0:
            self._reset()
            name = _name(PETSc.KSP.ConvergedReason, reason)
            raise NumericalError(
                f"the linear solver stopped with KSP's reason {name} for step size "
                f"{self.h:.3g}: the matrix may be singular, or choose another solver by the "
                f"options `-{self.settings.prefix}ksp_type` and `-{self.settings.prefix}pc_type`."
            )

    def _raise(self, error: PETSc.Error) -> None:
        self.failed = True
        cause = str(error).strip().splitlines()[-1].strip()
        cause = cause.split("] ", 1)[-1]
        if error.ierr in _NUMERICAL:
            raise NumericalError(
                f"the linear solver failed for step size {self.h:.3g} ({cause}): the matrix may be "
                "singular."
            ) from error
        raise ValueError(
            f"the solver with options prefix `{self.settings.prefix}` cannot be used ({cause}, "
            f"PETSc's error {error.ierr}): choose another one by the options "
            f"`-{self.settings.prefix}ksp_type` and `-{self.settings.prefix}pc_type`."
        ) from error

    # Nonlinear solves

    def solve_nonlinear(
        self,
        t: float,
        right: PETSc.Vec,
        target: np.ndarray,
        z: PETSc.Vec,
        y: PETSc.Vec,
        u: Fields,
        theta: Fields,
    ) -> None:
        """Solve ``M z - h f(t, z) = right``, z being `target` in the boundary rows, in place.

        Newton's method begins at z, where that fails at y, with new factors.
        """
        self._equation = (t, right, target, u, theta)
        self._scale = right.norm()
        if not np.isfinite(self._scale):
            z.set(np.nan)
            if failure := self.terms.take_failure():
                raise NumericalError(failure)
            return
        reason = self._newton(z, target)
        if reason < 0:
            self._reset()
            y.copy(z)
            reason = self._newton(z, target)
        self._equation = ()
        if reason < 0:
            self._reset()
            reason_name = _name(PETSc.SNES.ConvergedReason, reason)
            why = self.terms.take_failure() or f"reason {reason_name}"
            raise NumericalError(
                f"Newton's method of the step at t = {t:.6g} with h = {self.h:.3g} failed, "
                f"{why}. Use more steps, fewer levels or a smaller coarsening factor, or options "
                f"`-{self.settings.prefix}snes_...`."
            )

    def _newton(self, z: PETSc.Vec, target: np.ndarray) -> int:
        if self.terms.bounded:
            z.array[self.terms.places] = target
        try:
            self.snes.solve(None, z)
        except PETSc.Error as error:
            self._raise(error)
        return int(self.snes.getConvergedReason())

    def _residual(self, z: PETSc.Vec, out: PETSc.Vec) -> None:
        t, right, target, u, theta = self._equation
        terms = self.terms
        terms.f(t, z, u, theta, out)
        out.scale(-self.h)
        terms.add_mass(z, out, terms.vector)
        out.axpy(-1.0, right)
        if terms.bounded:
            out.array[terms.places] = z.array_r[terms.places] - target

    def _jacobian(self, z: PETSc.Vec) -> None:
        self.counts.solves += 1  # SNES solves with each matrix that it asks for
        if self._serves:
            return
        t, _, _, u, theta = self._equation
        try:
            self.linearise(t, z, u, theta)
        except NumericalError as error:  # an exception would leave SNES in mid-call
            self.terms.failure = str(error)
            self.matrix.zeroEntries()

    def _test(self, number: int, size: float, correction: float, residual: float) -> int:
        """Return SNES's reason to stop; 0 to go on."""
        reasons, last = PETSc.SNES.ConvergedReason, self._last
        self._last = residual
        if not np.isfinite(residual):
            return int(reasons.DIVERGED_FNORM_NAN)
        if number == 0:
            return int(residual <= ROUNDOFF * self._scale) * int(reasons.CONVERGED_FNORM_ABS)
        if residual <= ROUNDOFF * (self._scale + self._reach * size):
            return int(reasons.CONVERGED_FNORM_ABS)
        ratio = residual / last if last else 1.0
        if ratio < 1 and correction * ratio / (1 - ratio) <= ENOUGH * size:
            return int(reasons.CONVERGED_SNORM_RELATIVE)
        if ratio > 0.5 and correction <= NOISE * size:
            return int(reasons.CONVERGED_SNORM_RELATIVE)
        self._serves = self._serves and ratio <= self.settings.reuse
        return 0

    def destroy(self) -> None:
        """Free matrix and solver. Collective."""
        if self.snes is None:
            self.ksp.destroy()
        else:
            self.snes.destroy()
            self._residual_vector.destroy()
        self.matrix.destroy()


def _set_defaults(ksp: PETSc.KSP, several: bool) -> None:
    """Factorise where PETSc can; else iterate to almost rounding."""
    packages = [name for name in _DIRECT if PETSc.Sys.hasExternalPackage(name)]
    preconditioner = ksp.getPC()
    if several and not packages:
        ksp.setType(PETSc.KSP.Type.GMRES)
        preconditioner.setType(PETSc.PC.Type.BJACOBI)
    else:
        ksp.setType(PETSc.KSP.Type.PREONLY)
        preconditioner.setType(PETSc.PC.Type.LU)
        if several:
            preconditioner.setFactorSolverType(packages[0])
    ksp.setTolerances(rtol=1e-13, atol=1e-50, max_it=1000)


def _name(reasons: Any, number: int) -> str:
    """Return the name of PETSc's reason."""
    names = [name for name, value in vars(reasons).items() if value == number]
    return str(max(names, key=len, default=str(number)))
