"""The terms of an equation as steps need them: checked, counted, and the same on all ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
from petsc4py import PETSc

from pint.comm import SerialComm, agreeing, reduce
from pint.errors import NumericalError, check_kind, shown
from pint.interface import Fields
from pint.petsc.control_matrix import ControlMatrix
from pint.petsc.equation import Equation, LinearEquation
from pint.states.petsc import PetscSpace


class Terms:
    """Mass, right-hand side, Jacobian and boundary rows of an equation. Making one is collective.

    Parameters
    ----------
    owner : str
        The kind of step, for errors.
    equation : Equation

    Attributes
    ----------
    space : PetscSpace
    vector : PETSc.Vec
        Like the states, for intermediate results of a call.
    slope : PETSc.Mat
        f_y, as the last call of `jacobian` has left it.
    mass : PETSc.Mat, PETSc.Vec or None
        A Mat has the pattern of `slope`, unless the equation is linear.
    symmetric : bool
        Whether PETSc knows that the matrices of a linear equation are symmetric.
    bounded : bool
        Whether any rank has boundary rows.
    residuals, jacobians : int
        The calls of `Equation.f` and `Equation.jacobian`.
    """

    def __init__(self, owner: str, equation: Any) -> None:
        check_kind(owner, "equation", equation, Equation, "a `pint.petsc.Equation`")
        self.equation, self.linear = equation, isinstance(equation, LinearEquation)
        self.space = PetscSpace(equation.template, equation.weight, equation.state_metric)
        self.vector = self.space.vector()
        comm = self.space.comm
        self._name = type(equation).__name__
        self.residuals = self.jacobians = 0
        self.failure = ""
        self.slope = equation.stiffness if self.linear else equation.matrix()
        with agreeing(SerialComm(), owner, comm):
            self._check_matrices()
            self.places = self._checked_places()
            self._controls = {
                name: ControlMatrix(name, matrix, self.vector, comm)
                for name, matrix in equation.controls.items()
            }
        # Numbers of rows, as matrices count them
        first = self.vector.getOwnershipRange()[0]
        self.rows = (self.places + first).astype(PETSc.IntType)
        self.bounded = bool(reduce(comm, len(self.rows), "max")[0])
        self.mass = equation.mass
        matrices = [self.slope] + [self.mass] * isinstance(self.mass, PETSc.Mat)
        self.symmetric = self.linear and all(all(one.isSymmetricKnown()) for one in matrices)
        if isinstance(self.mass, PETSc.Mat) and not self.linear:
            self.mass = self._mass_like_slope()

    def _check_matrices(self) -> None:
        """Raise an error unless the matrices have the layout of a state."""
        local = self.vector.getLocalSize()
        mass = self.equation.mass
        if mass is not None and not isinstance(mass, (PETSc.Mat, PETSc.Vec)):
            raise TypeError(
                f"`{self._name}.mass` must be a PETSc.Mat, a PETSc.Vec (a lumped one) or None, "
                f"got {shown(mass)}."
            )
        if not isinstance(self.slope, PETSc.Mat):
            raise TypeError(
                f"`{self._name}.matrix` must return a PETSc.Mat, got {shown(self.slope)}."
            )
        name = "stiffness" if self.linear else "matrix"
        for what, part in ((name, self.slope), ("mass", mass)):
            if part is None:
                continue
            is_vector = isinstance(part, PETSc.Vec)
            sizes = [part.getSizes()] if is_vector else part.getSizes()
            if any(size[0] != local for size in sizes):
                found = " x ".join(f"{size[0]} of {size[1]}" for size in sizes)
                raise ValueError(
                    f"`{self._name}.{what}` must be divided among the ranks as the states are, on "
                    f"this rank {local} of {self.vector.getSize()} numbers, got {found}: make both "
                    "of one mesh."
                )

    def _checked_places(self) -> np.ndarray:
        local, boundary = self.vector.getLocalSize(), self.equation.boundary
        places = np.unique(np.asarray(boundary, dtype=float))
        inside = (places == np.round(places)) & (places >= 0) & (places < local)
        if not inside.all():
            raise ValueError(
                f"`{self._name}.boundary` must hold places among this rank's {local} numbers of a "
                f"state, from 0 on, got {places[~inside][0]:g}."
            )
        return places.astype(int)

    def _mass_like_slope(self) -> PETSc.Mat:
        """Return the mass matrix in the pattern of the Jacobian, so that sums of both are fast."""
        mass = self.slope.duplicate()
        mass.zeroEntries()
        mass.setOption(PETSc.Mat.Option.NEW_NONZERO_LOCATION_ERR, True)
        try:
            mass.axpy(1.0, self.equation.mass, PETSc.Mat.Structure.SUBSET)
        except PETSc.Error as error:
            raise ValueError(
                f"`{self._name}.matrix` must have room for the entries of `mass`: make it with the "
                "pattern of both."
            ) from error
        return mass

    def take_failure(self) -> str:
        """Return what the last method of the user's that failed has said, once."""
        text, self.failure = self.failure, ""
        return text

    # Products

    def add_mass(self, y: PETSc.Vec, out: PETSc.Vec, work: PETSc.Vec) -> None:
        """Add ``M y`` to `out`, in place."""
        if self.mass is None:
            out.axpy(1.0, y)
        elif isinstance(self.mass, PETSc.Vec):
            work.pointwiseMult(self.mass, y)
            out.axpy(1.0, work)
        else:
            self.mass.multAdd(y, out, out)

    def times_mass(self, y: PETSc.Vec, out: PETSc.Vec, transposed: bool = False) -> None:
        """Put ``M y`` or ``M^T y`` into `out`."""
        if self.mass is None:
            y.copy(out)
        elif isinstance(self.mass, PETSc.Vec):
            out.pointwiseMult(self.mass, y)
        elif transposed:
            self.mass.multTranspose(y, out)
        else:
            self.mass.mult(y, out)

    def add_mass_to(self, matrix: PETSc.Mat) -> None:
        """Add M to a matrix, in place."""
        if self.mass is None:
            matrix.shift(1.0)
        elif isinstance(self.mass, PETSc.Vec):
            matrix.setDiagonal(self.mass, PETSc.InsertMode.ADD_VALUES)
        else:
            structure = PETSc.Mat.Structure
            matrix.axpy(1.0, self.mass, structure.DIFFERENT if self.linear else structure.SAME)

    # The user's methods

    def initial(self, theta: Fields) -> PETSc.Vec:
        """Return y_0 as a vector, which the next call may change."""
        state = self.equation.initial(theta)
        if isinstance(state, PETSc.Vec):
            return state
        self.vector.array[:] = self.fitting("initial", state, self.vector.getLocalSize())
        return self.vector

    def boundary_values(self, t: float, u: Fields, theta: Fields) -> Any:
        """Return the values of this rank's boundary rows, or a number for all of them."""
        values = self.equation.boundary_values(t, u, theta)
        return self.fitting("boundary_values", values, len(self.places))

    def fitting(self, name: str, values: Any, length: int) -> Any:
        """Return what a method returned; ValueError unless it is a number or has a length."""
        if np.shape(values) not in ((), (length,)):
            raise ValueError(
                f"`{self._name}.{name}` must return this rank's {length} numbers, got an array of "
                f"shape {np.shape(values)}."
            )
        return values

    def f(self, t: float, y: Any, u: Fields, theta: Fields, out: PETSc.Vec) -> None:
        """Put ``f + B u`` into `out`; NaN where the method raises NumericalError."""
        self.residuals += 1
        if self.linear:
            self.forcing(t, u, theta, out)
            self.slope.multAdd(y, out, out)
            return
        try:
            self.equation.f(t, y, u, theta, out)
        except NumericalError as error:  # the other ranks go on, and find NaN in their sums
            self.failure = f"`{self._name}.f` raised {error}"
            out.set(np.nan)
        self.add_controls(1.0, u, theta, out)

    def forcing(self, t: float, u: Fields, theta: Fields, out: PETSc.Vec) -> None:
        """Put the part of a linear equation's ``f + B u`` that is independent of y into `out`."""
        if self.equation.source is None:
            out.set(0.0)
        else:
            local = self.vector.getLocalSize()
            out.array[:] = self.fitting("source", self.equation.source(t), local)
        self.add_controls(1.0, u, theta, out)

    def add_controls(self, factor: float, u: Fields, theta: Fields, out: PETSc.Vec) -> None:
        """Add ``factor B u`` to `out`, in place."""
        for name, matrix in self._controls.items():
            matrix.add(factor, self._block(name, u, theta), out)

    def jacobian(self, t: float, y: Any, u: Fields, theta: Fields) -> PETSc.Mat:
        """Return f_y. NumericalError on all ranks where the method raises it on one."""
        if self.linear:
            return self.slope
        self.jacobians += 1
        failed = 0.0
        try:
            self.equation.jacobian(t, y, u, theta, self.slope)
        except NumericalError as error:
            self.failure, failed = f"`{self._name}.jacobian` raised {error}", 1.0
        self.slope.assemble()
        if reduce(self.space.comm, failed, "max")[0]:
            raise NumericalError(
                self.take_failure() or f"`{self._name}.jacobian` failed on another rank."
            )
        return self.slope

    def add_vjp(
        self,
        t: float,
        y: Any,
        u: Fields,
        theta: Fields,
        lam: PETSc.Vec,
        factor: float,
        into: tuple[dict[str, Any], dict[str, Any]],
    ) -> None:
        """Add ``factor`` times the transposed derivatives of ``f + B u``, in place."""
        for name, matrix in self._controls.items():
            block = self._block(name, u, theta)
            found = {name: matrix.transposed(factor, lam, np.shape(block))}
            _add(into[0] if name in u else into[1], found, 1.0)
        for total, found in zip(into, self.equation.f_vjp(t, y, u, theta, lam), strict=True):
            _add(total, found, factor)

    def add_boundary_vjp(
        self,
        t: float,
        u: Fields,
        theta: Fields,
        lam: np.ndarray,
        factor: float,
        into: tuple[dict[str, Any], dict[str, Any]],
    ) -> None:
        """Add ``factor`` times the transposed derivatives of the boundary values, in place."""
        found = self.equation.boundary_vjp(t, u, theta, lam)
        for total, some in zip(into, found, strict=True):
            _add(total, some, factor)

    def _block(self, name: str, u: Fields, theta: Fields) -> Any:
        if name not in u and name not in theta:
            raise ValueError(
                f"`{self._name}.controls` has a matrix for the field `{name}`, which the problem "
                f"does not have: its fields are {', '.join([*u, *theta]) or 'none'}."
            )
        return u[name] if name in u else theta[name]

    def destroy(self) -> None:
        """Free what was made here. Collective."""
        for matrix in self._controls.values():
            matrix.destroy()
        if not self.linear:
            self.slope.destroy()
            if isinstance(self.mass, PETSc.Mat):
                self.mass.destroy()
        self.vector.destroy()
        self.space.destroy()


def _add(total: dict[str, Any], values: Fields, factor: float) -> None:
    for name, value in values.items():
        scaled = factor * np.asarray(value)
        total[name] = total[name] + scaled if name in total else scaled
