"""States that are PETSc vectors; the only module that imports petsc4py.

The sweeps work on blocks of numpy rows; the user's methods see PETSc vectors that are lent the
rows for the time of a call, without a copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from petsc4py import PETSc

from pint.grid.timegrid import Steps
from pint.interface import Adjoint, Fields, Objective, Problem, TimeStepper
from pint.states.space import StateSpace


class PetscSpace(StateSpace):
    """The space of PETSc vectors like a given one.

    Steppers of such states are not batched. Their methods receive vectors that are valid during
    the call and must not be changed, and return a vector, which is copied: the same work vector
    may be returned every time.

    Parameters
    ----------
    template : PETSc.Vec or PETSc.DM
        A vector with the layout of the states, or the mesh object that makes it. Its
        communicator is that of the ranks in space.
    weight : float
        Factor of the Euclidean norm, dimensionless; the root of the cell volume, say.

    Raises
    ------
    TypeError
        If `template` is neither a Vec nor a DM, or the scalars of PETSc are not float64.
    ValueError
        If `weight` is not positive and finite.
    """

    def __init__(self, template: PETSc.Vec | PETSc.DM, weight: float = 1.0) -> None:
        if isinstance(template, PETSc.DM):
            template = template.createGlobalVec()
        if not isinstance(template, PETSc.Vec):
            raise TypeError(
                "`PetscSpace(template=...)` must be a PETSc.Vec or a PETSc.DM, "
                f"got {type(template).__name__}."
            )
        if np.dtype(PETSc.ScalarType) != np.float64:
            raise TypeError(
                f"`PetscSpace` needs a PETSc build with float64 scalars, got {PETSc.ScalarType}."
            )
        if not 0 < weight < np.inf:
            raise ValueError(f"`PetscSpace(weight=...)` must be positive, got {weight}.")
        self.comm = template.getComm().tompi4py()
        self.shape = (template.getLocalSize(),)
        self.weight = float(weight)
        self._template = template
        self._free: list[PETSc.Vec] = []

    def allocate(self, count: int) -> np.ndarray:
        return np.zeros((count, *self.shape))

    def squared_norm(self, block: np.ndarray) -> float:
        flat = block.reshape(-1)
        return self.weight**2 * float(flat @ flat)

    @property
    def state_bytes(self) -> int:
        return 8 * self.shape[0]

    @contextmanager
    def lent(self, *rows: np.ndarray) -> Iterator[list[PETSc.Vec]]:
        """Lend rows of blocks to vectors, without copies, for the time of a `with` statement.

        The vectors are used again, since making one costs more than most explicit steps.
        """
        while len(self._free) < len(rows):
            self._free.append(self._template.duplicate())
        vectors = [self._free.pop() for _ in rows]
        try:
            for vector, row in zip(vectors, rows, strict=True):
                vector.placeArray(row)
            yield vectors
        finally:
            for vector in vectors:
                vector.resetArray()
            self._free.extend(vectors)

    def adapt(self, problem: Problem) -> Problem:
        if problem.stepper.batched:
            raise ValueError("`TimeStepper.batched` must be False for states that are PETSc.Vec.")
        return replace(
            problem,
            stepper=_Stepper(problem.stepper, self),
            adjoint=_Adjoint(problem.adjoint, self),
            objective=_Objective(problem.objective, self),
        )

    def destroy(self) -> None:
        """Free the vectors; the space cannot lend any afterwards. Collective."""
        for vector in self._free:
            vector.destroy()
        self._free.clear()
        # On more than one rank nothing is freed before this call.
        if self.comm.size > 1 and hasattr(PETSc, "garbage_cleanup"):
            PETSc.garbage_cleanup(self._template.getComm())


def _row(vector: Any, owner: object, method: str) -> np.ndarray:
    """Return the values of a vector that a user's method returned."""
    if not isinstance(vector, PETSc.Vec):
        raise ValueError(
            f"`{type(owner).__name__}.{method}` must return a PETSc.Vec, "
            f"got {type(vector).__name__}."
        )
    return vector.array_r


class _Stepper(TimeStepper):
    """A user's stepper, seen by the sweeps as one of numpy rows."""

    def __init__(self, stepper: TimeStepper, space: PetscSpace) -> None:
        self.stepper = self.wrapped = stepper
        self._space = space

    @property
    def space(self) -> StateSpace:
        return self._space

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields, *, guess: Any = None) -> Any:
        with self._space.lent(y) as (vector,):
            return _row(self.stepper.step(s, vector, u, theta), self.stepper, "step")

    def initial(self, theta: Fields) -> Any:
        return _row(self.stepper.initial(theta), self.stepper, "initial")

    def coarsen(self, level: int) -> TimeStepper:
        return _Stepper(self.stepper.coarsen(level), self._space)


class _Adjoint(Adjoint):
    """A user's adjoint, seen by the sweeps as one of numpy rows."""

    def __init__(self, adjoint: Adjoint, space: PetscSpace) -> None:
        self.adjoint = self.wrapped = adjoint
        self._space = space

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any) -> Any:
        with self._space.lent(y, lam) as vectors:
            new = self.adjoint.step(s, vectors[0], u, theta, vectors[1])
            return _row(new, self.adjoint, "step")

    def control_derivative(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Fields, Fields]:
        with self._space.lent(y, lam) as vectors:
            return self.adjoint.control_derivative(s, vectors[0], u, theta, vectors[1])

    def initial_derivative(self, theta: Fields, lam0: Any) -> Fields:
        with self._space.lent(lam0) as (vector,):
            return self.adjoint.initial_derivative(theta, vector)

    def coarsen(self, level: int) -> Adjoint:
        return _Adjoint(self.adjoint.coarsen(level), self._space)


class _Objective(Objective):
    """A user's objective, seen by the sweeps as one of numpy rows."""

    def __init__(self, objective: Objective, space: PetscSpace) -> None:
        self.objective = self.wrapped = objective
        self._space = space

    @property
    def has_outer(self) -> bool:
        return self.objective.has_outer

    @property
    def has_step_cost(self) -> bool:
        return self.objective.has_step_cost

    def step_cost(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        with self._space.lent(y0, y1) as vectors:
            return self.objective.step_cost(s, vectors[0], vectors[1], u, theta)

    def step_cost_derivative(
        self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields
    ) -> tuple[Any, Any, Fields, Fields]:
        method = "step_cost_derivative"
        with self._space.lent(y0, y1) as vectors:
            dy0, dy1, du, dtheta = self.objective.step_cost_derivative(
                s, vectors[0], vectors[1], u, theta
            )
            return (
                _row(dy0, self.objective, method),
                _row(dy1, self.objective, method),
                du,
                dtheta,
            )

    def terminal(self, y: Any, theta: Fields) -> float:
        with self._space.lent(y) as (vector,):
            return self.objective.terminal(vector, theta)

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        if type(self.objective).terminal is Objective.terminal:
            return 0.0 * y, {}
        with self._space.lent(y) as (vector,):
            dy, dtheta = self.objective.terminal_derivative(vector, theta)
            return _row(dy, self.objective, "terminal_derivative"), dtheta

    def outer(self, value: float) -> float:
        return self.objective.outer(value)

    def outer_derivative(self, value: float) -> float:
        return self.objective.outer_derivative(value)


def tao_minimize(
    kind: str,
    evaluate: Any,
    record: Any,
    start: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray] | None,
) -> None:
    """Run a method of PETSc's TAO in this process. Not collective.

    TAO's own stopping tests are switched off; options with the prefix ``pint_`` set the rest.

    Parameters
    ----------
    kind : str
        Of TAO: blmvm, bqnls, bncg, lmvm, ...
    evaluate : callable
        Returns objective and derivative at an array.
    record : callable
        Is told each iterate and returns whether to stop.
    start : ndarray
    bounds : (ndarray, ndarray), optional
        Lower and upper.
    """
    x = PETSc.Vec().createWithArray(start.copy(), comm=PETSc.COMM_SELF)
    vectors = [x.duplicate() for _ in range(3)]
    tao = PETSc.TAO().create(PETSc.COMM_SELF)
    tao.setType(kind)

    def objective_gradient(tao: Any, x: Any, gradient: Any) -> float:
        value, derivative = evaluate(x.array_r)
        gradient.array[:] = derivative
        return float(value)

    def stopping_test(tao: Any) -> None:
        if record(tao.getSolution().array_r):
            tao.setConvergedReason(PETSc.TAO.Reason.CONVERGED_USER)

    tao.setObjectiveGradient(objective_gradient, vectors[0])
    tao.setConvergenceTest(stopping_test)
    tao.setMaximumIterations(10**9)
    tao.setMaximumFunctionEvaluations(10**9)
    if bounds is not None:
        for vector, bound in zip(vectors[1:], bounds, strict=True):
            vector.array[:] = np.clip(bound, PETSc.NINFINITY, PETSc.INFINITY)
        tao.setVariableBounds(vectors[1], vectors[2])
    tao.setOptionsPrefix("pint_")
    tao.setFromOptions()
    tao.solve(x)
    for thing in (tao, x, *vectors):
        thing.destroy()
