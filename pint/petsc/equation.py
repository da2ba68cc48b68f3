"""What a user writes: ``M y' = f(t, y, u, theta)`` on PETSc vectors, with its derivatives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from petsc4py import PETSc

from pint.errors import shown
from pint.interface import Fields


class Equation(ABC):
    """``M y' = f(t, y, u, theta) + B u``, for `ImplicitStep` and `ExplicitStep`.

    Vectors that methods receive are valid during the call. Every rank in space calls each method
    at the same time. A method may raise `NumericalError` on any rank, after its collective calls:
    the step then counts as NaN on all of them.

    Attributes
    ----------
    template : PETSc.Vec or PETSc.DM
        A vector with the layout of the states, or the mesh object that makes it.
    weight : float
        Factor of the norm of states, as of `pint.states.petsc.PetscSpace`.
    state_metric : PETSc.Mat or None
        The matrix of that norm, such as a mass matrix; None for the Euclidean norm.
    mass : PETSc.Mat, PETSc.Vec or None
        M, the diagonal of a lumped M, or None for the identity. It must not change.
    controls : mapping of str to PETSc.Mat, PETSc.Vec, ndarray or number
        B for each field of the control that enters the equation linearly, times or shared: see
        `pint.petsc.ControlMatrix`.
    boundary : array_like of int
        The places, among this rank's numbers of a state, of rows with a Dirichlet condition: there
        y equals `boundary_values` at the end of each step, and f is not read.
    initial_state : PETSc.Vec or ndarray
        y_0 (this rank's numbers, if it is an array), where it does not depend on theta.
    """

    template: Any
    weight: float = 1.0
    state_metric: Any = None
    mass: Any = None
    controls: Mapping[str, Any] = {}
    boundary: Any = ()
    initial_state: Any

    @abstractmethod
    def f(self, t: float, y: Any, u: Fields, theta: Fields, out: Any) -> None:
        """Write f to the vector `out`, without ``B u``."""

    @abstractmethod
    def jacobian(self, t: float, y: Any, u: Fields, theta: Fields, matrix: Any) -> None:
        """Write f_y to `matrix`, which `matrix()` has made.

        Entries that are not set keep their values. Steps assemble the matrix afterwards.
        """

    def matrix(self) -> Any:
        """Return an assembled matrix with room for f_y, M and the diagonal; by default of the DM.

        Its values are the first that `jacobian` finds. Steps destroy it.
        """
        if not isinstance(self.template, PETSc.DM):
            raise TypeError(
                f"`{type(self).__name__}.matrix` must be defined, and return an assembled matrix "
                "with the pattern of the Jacobian, because `template` is no PETSc.DM."
            )
        return self.template.createMatrix()

    def f_vjp(self, t: float, y: Any, u: Fields, theta: Fields, lam: Any) -> tuple[Fields, Fields]:
        """Return ``f_u^T lam`` and ``f_theta^T lam`` by field, without those of ``B u``.

        Derivatives of fields that every rank in space has whole are summed over the ranks.
        """
        return {}, {}

    def boundary_values(self, t: float, u: Fields, theta: Fields) -> Any:
        """Return y at t in the rows of `boundary`: an array, or a number for all of them."""
        return 0.0

    def boundary_vjp(self, t: float, u: Fields, theta: Fields, lam: Any) -> tuple[Fields, Fields]:
        """Return the transposed derivatives of `boundary_values`, applied to an array, by field.

        Define it where the values depend on the control; else its transposed solves have
        homogeneous rows and nothing more.
        """
        return {}, {}

    def initial(self, theta: Fields) -> Any:
        """Return y_0(theta), as a vector or as an array of this rank's numbers."""
        return self.initial_state

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        """Return ``(dy_0/dtheta)^T lam0`` by field; by default nothing depends on theta."""
        return {}


class LinearEquation(Equation):
    """``M y' = A y + B u + source(t)`` with assembled matrices.

    Steps make one matrix and its factors for each step size.

    Parameters
    ----------
    stiffness : PETSc.Mat
        A; it must not change. Where A and M have PETSc's option SYMMETRIC, transposed solves are
        solves.
    mass, controls, boundary, template, weight
        As of `Equation`; the template is by default a vector that A multiplies.
    source : callable, optional
        ``source(t)`` returns this rank's numbers of the source as an array.
    initial_state : PETSc.Vec or ndarray, optional
        By default zero.
    initial_field : str, optional
        A shared field that is y_0, divided among the ranks as states are.
    boundary_values : callable or float
        ``boundary_values(t)`` returns y in the rows of `boundary`.

    Raises
    ------
    TypeError
        If `stiffness` is no Mat.
    """

    def __init__(
        self,
        stiffness: PETSc.Mat,
        mass: Any = None,
        *,
        controls: Mapping[str, Any] | None = None,
        source: Callable[[float], Any] | None = None,
        initial_state: Any = None,
        initial_field: str | None = None,
        boundary: Any = (),
        boundary_values: Any = 0.0,
        template: Any = None,
        weight: float = 1.0,
    ) -> None:
        if not isinstance(stiffness, PETSc.Mat):
            raise TypeError(
                f"`LinearEquation(stiffness=...)` must be a PETSc.Mat, got {shown(stiffness)}."
            )
        self.stiffness, self.mass, self.controls = stiffness, mass, dict(controls or {})
        self.source, self.boundary, self.weight = source, boundary, weight
        self._values = boundary_values
        self.template = stiffness.createVecRight() if template is None else template
        if initial_state is None:
            is_mesh = isinstance(self.template, PETSc.DM)
            initial_state = (
                self.template.createGlobalVec() if is_mesh else self.template.duplicate()
            )
        self.initial_state, self._initial_field = initial_state, initial_field

    def f(self, t: float, y: Any, u: Fields, theta: Fields, out: Any) -> None:
        self.stiffness.mult(y, out)
        if self.source is not None:
            out.array[:] += self.source(t)

    def jacobian(self, t: float, y: Any, u: Fields, theta: Fields, matrix: Any) -> None:
        self.stiffness.copy(matrix)

    def matrix(self) -> Any:
        return self.stiffness.duplicate(copy=True)

    def boundary_values(self, t: float, u: Fields, theta: Fields) -> Any:
        return self._values(t) if callable(self._values) else self._values

    def initial(self, theta: Fields) -> Any:
        return self.initial_state if self._initial_field is None else theta[self._initial_field]

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return {} if self._initial_field is None else {self._initial_field: lam0.array_r}
