"""The problems of `problems.finite_elements` with PETSc states, distributed in space.

Every rank makes the whole mesh, and keeps the rows of its unknowns, which follow each other in the
numbering of scikit-fem. For a nonlinear term it evaluates the quadrature points that its rows need,
so that neighbours share some of them and exchange nothing but the unknowns around.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from petsc4py import PETSc

import pint
from pint.comm import reduce
from pint.errors import check_choice
from pint.interface import Fields
from pint.petsc import Equation, ImplicitAdjoint, ImplicitStep, LinearEquation
from pint.steppers.running_cost import NODES, between
from problems.finite_elements.catalogue import QUADRATURES, FiniteElementProblem
from problems.finite_elements.equation import Function, SemiDiscrete
from problems.finite_elements.optimum import Data


class Layout:
    """How unknowns and controls are divided among ranks in space: in their order.

    Parameters
    ----------
    equation : SemiDiscrete
    comm : communicator
        The ranks in space.

    Attributes
    ----------
    rows, controls : slice
        This rank's unknowns of the state and of the control.
    """

    def __init__(self, equation: SemiDiscrete, comm: Any) -> None:
        size = equation.elements.size
        if size < comm.size:
            raise ValueError(
                f"`petsc_problem(comm=...)`: {comm.size} ranks in space cannot share {size} "
                "unknowns; use more cells or fewer ranks."
            )
        ends = [size * rank // comm.size for rank in range(comm.size + 1)]
        self.comm = comm
        self.rows = slice(ends[comm.rank], ends[comm.rank + 1])
        self.controls = self.rows
        if equation.control_on == "boundary":
            # A rank has the controls at the unknowns that it has.
            first, last = np.searchsorted(equation.control_numbers, ends[comm.rank :][:2])
            self.controls = slice(int(first), int(last))

    @property
    def petsc_comm(self) -> Any:
        """The communicator as PETSc takes it."""
        return PETSc.COMM_SELF if self.comm.size == 1 else self.comm

    def matrix(self, matrix: Any, rows: slice, columns: slice) -> PETSc.Mat:
        """Return a sparse matrix on PETSc, of which this rank has some rows. Collective."""
        own = matrix.tocsr()[rows]
        parts = (own.indptr.astype(PETSc.IntType), own.indices.astype(PETSc.IntType), own.data)
        sizes = ((rows.stop - rows.start, matrix.shape[0]),
                 (columns.stop - columns.start, matrix.shape[1]))  # fmt: skip
        return PETSc.Mat().createAIJ(size=sizes, csr=parts, comm=self.petsc_comm)


class Nonlinear(Equation):
    """`SemiDiscrete` with a reaction on PETSc vectors.

    Parameters
    ----------
    equation : SemiDiscrete
    layout : Layout
    """

    def __init__(self, equation: SemiDiscrete, layout: Layout) -> None:
        rows, of = layout.rows, equation.elements
        self._equation, self._rows = equation, rows
        self._stiffness = layout.matrix(equation.stiffness, rows, rows)
        self.template = self._stiffness.createVecRight()
        self.mass = layout.matrix(equation.mass_matrix, rows, rows)
        self.initial_state = equation.initial_state[rows]
        self._sources = Sources(equation, rows)
        load = equation.load[rows]
        points = np.unique(load.indices)
        values = [part[points] for part in (of.values, *of.gradients)]
        around = np.unique(np.concatenate([part.indices for part in values]))
        self._load = load[:, points]
        self._parts = [part[:, around].tocsr() for part in values]
        # The entries of this rank's rows follow each other.
        self._starts = of.pattern.indptr[rows.start : rows.stop + 1]
        entries = slice(self._starts[0], self._starts[-1])
        self._columns = of.pattern.indices[entries].astype(PETSc.IntType)
        self._starts = (self._starts - self._starts[0]).astype(PETSc.IntType)
        self._linear = equation.linear_entries[entries]
        self._assembly = [part[entries][:, points] for part in equation.assembly]
        self._around = PETSc.Vec().createSeq(len(around), comm=PETSc.COMM_SELF)
        numbers = PETSc.IS().createGeneral(around.astype(PETSc.IntType), comm=PETSc.COMM_SELF)
        self._scatter = PETSc.Scatter().create(self.template, numbers, self._around, None)
        numbers.destroy()

    def _at_points(self, y: PETSc.Vec) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return values and partial derivatives at the points that this rank needs. Collective."""
        self._scatter.scatter(y, self._around, addv=False)
        value, *gradient = (part @ self._around.array_r for part in self._parts)
        return value, gradient

    def f(self, t: float, y: Any, u: Fields, theta: Fields, out: Any) -> None:
        self._stiffness.mult(y, out)
        reaction: Any = self._equation.reaction
        local = self._load @ reaction.value(*self._at_points(y))
        out.scale(-1.0)
        out.array[:] += self._sources(t) - local

    def matrix(self) -> PETSc.Mat:
        return self._stiffness.duplicate(copy=True)

    def jacobian(self, t: float, y: Any, u: Fields, theta: Fields, matrix: Any) -> None:
        reaction: Any = self._equation.reaction
        of_y, of_gradient = reaction.derivatives(*self._at_points(y))
        entries = self._linear.copy()
        for assembly, slope in zip(self._assembly, (of_y, *of_gradient), strict=False):
            entries -= assembly @ slope
        matrix.setValuesCSR(self._starts, self._columns, entries)
        matrix.assemble()


class Sources:
    """Source and flux as functions of time, in the rows of this rank."""

    def __init__(self, equation: SemiDiscrete, rows: slice) -> None:
        self._terms: list[tuple[Function, np.ndarray, Any]] = []
        for function, places, load in equation.sources:
            own = load[rows]
            points = np.unique(own.indices)
            self._terms.append((function, places[:, points], own[:, points]))
        self._size = rows.stop - rows.start

    def __call__(self, t: float) -> np.ndarray:
        total = np.zeros(self._size)
        for function, places, load in self._terms:
            total += load @ np.ravel(function(np.array([[t]]), places))
        return total


class PetscTracking(pint.Objective):
    """`problems.finite_elements.Tracking` on PETSc vectors, by the rule of a quadrature."""

    def __init__(
        self, equation: SemiDiscrete, layout: Layout, data: Data, alpha: float, quadrature: str
    ) -> None:
        self.alpha, self.nodes = alpha, NODES[quadrature]
        self._target, self._comm = data.target, layout.comm
        self._points = equation.elements.points[:, layout.rows]
        self._mass = layout.matrix(equation.elements.mass, layout.rows, layout.rows)
        self._control_mass = layout.matrix(equation.control_mass, layout.controls, layout.controls)
        self._deviation, self._weighted = self._mass.createVecs()
        self._control, self._of_control = self._control_mass.createVecs()
        self._slopes = [self._deviation.duplicate() for _ in range(2)]

    def _deviates(self, s: pint.Steps, y0: Any, y1: Any, place: float) -> None:
        """Compute the deviation from the target within a step, and M times it."""
        y = between(y0.array_r, y1.array_r, place)
        t = np.array([[s.t0 + place * s.dt]])
        self._deviation.array[:] = y - np.ravel(self._target(t, self._points))
        self._mass.mult(self._deviation, self._weighted)

    def _weigh(self, u: Fields) -> None:
        self._control.array[:] = u["u"]
        self._control_mass.mult(self._control, self._of_control)

    def step_cost(self, s: pint.Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        self._weigh(u)
        total = self.alpha * (self._control.array_r @ self._of_control.array_r)
        for place, weight in self.nodes:
            self._deviates(s, y0, y1, place)
            total += weight * (self._deviation.array_r @ self._weighted.array_r)
        return 0.5 * s.dt * reduce(self._comm, total)[0]

    def step_cost_derivative(
        self, s: pint.Steps, y0: Any, y1: Any, u: Fields, theta: Fields
    ) -> tuple[Any, Any, Fields, Fields]:
        for slope in self._slopes:
            slope.set(0.0)
        for place, weight in self.nodes:
            self._deviates(s, y0, y1, place)
            for slope, share in zip(self._slopes, (1 - place, place), strict=True):
                slope.axpy(share * weight * s.dt, self._weighted)
        self._weigh(u)
        return *self._slopes, {"u": self.alpha * s.dt * self._of_control.array_r}, {}


def petsc_problem(
    of: FiniteElementProblem,
    comm: Any,
    data: Data | None = None,
    scheme: str = "crank-nicolson",
    **options: Any,
) -> pint.Problem:
    """Return a problem like ``of.problem(data, scheme)`` with PETSc states. Collective.

    The metrics of control and states are the mass matrices.

    Parameters
    ----------
    of : FiniteElementProblem
    comm : communicator
        The space communicator of `pint.split`; the grid has the time communicator.
    data : Data, optional
        By default those of ``of.data()``.
    scheme : 'implicit-euler', 'midpoint', 'crank-nicolson' or 'sdirk2'
    **options
        Of `pint.petsc.ImplicitStep`.

    Raises
    ------
    ValueError
        If the scheme is unknown, or there are more ranks in space than unknowns.
    """
    check_choice("petsc_problem", "scheme", scheme, list(QUADRATURES))
    data = of.data() if data is None else data
    equation = of.equation(data)
    layout = Layout(equation, comm)
    rows, controls = layout.rows, layout.controls
    made: Equation
    if equation.reaction is not None:
        made = Nonlinear(equation, layout)
    else:
        made = LinearEquation(
            layout.matrix(-equation.stiffness, rows, rows),
            layout.matrix(equation.mass_matrix, rows, rows),
            source=Sources(equation, rows),
            initial_state=equation.initial_state[rows],
        )
    made.controls = {"u": layout.matrix(equation.control_matrix, rows, controls)}
    made.state_metric = layout.matrix(equation.elements.mass, rows, rows)
    stepper = ImplicitStep(made, scheme, **options)
    cost = PetscTracking(equation, layout, data, of.alpha, QUADRATURES[scheme])
    metric = layout.matrix(equation.control_mass, controls, controls)
    field = pint.TimeControl(controls.stop - controls.start, metric=metric, comm=comm)
    return pint.Problem(stepper, ImplicitAdjoint(stepper), cost, {"u": field})
