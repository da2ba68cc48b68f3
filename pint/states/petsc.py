"""States that are PETSc vectors.

The sweeps work on blocks of numpy rows; the user's methods see PETSc vectors that are lent the
rows for the time of a call, without a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from petsc4py import PETSc

from pint.comm import private, reduce
from pint.errors import NumericalError
from pint.states.metric import SYMMETRY, Metric, metric_of
from pint.states.space import StateSpace
from pint.states.transfer import Transfer

GARBAGE_BYTES = 2**22
"""About so much memory of vectors that methods drop may wait for its release (2 us)."""

_OBJECT_BYTES = 2048


class PetscSpace(StateSpace):
    """The space of PETSc vectors like a given one.

    Steppers of such states are not batched. Their methods receive vectors that are valid during
    the call and must not be changed, and return a vector, which is copied: the same work vector
    may be returned every time.

    petsc4py does not free the objects that Python has dropped, because ranks do so at different
    times: they wait for ``PETSc.garbage_cleanup``, which is collective. The space calls it between
    the calls of methods, for its communicator and for ``PETSc.COMM_SELF``, so that methods may make
    temporary vectors. It counts calls, which are the same on all ranks of a state.

    Parameters
    ----------
    template : PETSc.Vec or PETSc.DM
        A vector with the layout of the states, or the mesh object that makes it. Its
        communicator is that of the ranks in space.
    weight : float
        Factor of the Euclidean norm, dimensionless; for example the root of the cell volume.
    metric : PETSc.Mat, optional
        M, symmetric positive definite, such as a mass matrix: the norm is
        ``weight * sqrt(y^T M y)``.

    Raises
    ------
    TypeError
        If `template` is neither a Vec nor a DM, or the scalars of PETSc are not float64.
    ValueError
        If `weight` is not positive and finite, or `metric` does not fit.
    """

    batches = False

    def __init__(
        self, template: PETSc.Vec | PETSc.DM, weight: float = 1.0, metric: Any = None
    ) -> None:
        self._owns_template = isinstance(template, PETSc.DM)
        if self._owns_template:
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
        self.comm = private(template.getComm().tompi4py(), "PetscSpace(template=...)")
        self.shape = (template.getLocalSize(),)
        self.weight = float(weight)
        self.metric: Metric | None = None
        if metric is not None:
            self.metric = metric_of(
                "PetscSpace(metric=...)", metric, template.getLocalSize(), self.comm
            )
        self._template = template
        self._free: list[PETSc.Vec] = []
        # The mean size, since all ranks must collect at the same call.
        mean = 8 * template.getSize() // self.comm.size
        self._calls, self._most = 0, max(1, GARBAGE_BYTES // (_OBJECT_BYTES + mean))
        self._collect()  # what spaces before this one have left

    def allocate(self, count: int) -> np.ndarray:
        return np.zeros((count, *self.shape))

    def squared_norm(self, block: np.ndarray) -> float:
        if self.metric is not None:
            return self.weight**2 * self.metric.squared_norm(block)
        flat = block.reshape(-1)
        return self.weight**2 * float(flat @ flat)

    def pair(self, a: np.ndarray, b: np.ndarray) -> float:
        return float((a * b).sum())

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

    def native(self, method: Callable[..., Any], states: tuple[int, ...]) -> Callable[..., Any]:
        def lending(*arguments: Any, out: Any = None) -> Any:
            # Before the call: the method may raise, and not on all ranks.
            self.free_garbage(1)
            given, places = list(arguments), list(states)
            guess = getattr(given[0], "guess", None)
            extra = [row for row in (guess, out) if row is not None]
            with self.lent(*(given[place] for place in places), *extra) as vectors:
                for place, vector in zip(places, vectors, strict=False):
                    given[place] = vector
                rest = vectors[len(places) :]
                if guess is not None:
                    given[0] = given[0]._replace(guess=rest[0])
                result = method(*given) if out is None else method(*given, out=rest[-1])
                if isinstance(result, tuple):
                    return tuple(_values(part) for part in result)
                return _values(result)

        return lending

    def products(
        self, matrix: Any, target: StateSpace, name: str
    ) -> tuple[Callable[[Any, Any], None], Callable[[Any, Any], None]]:
        if not isinstance(matrix, PETSc.Mat) or not isinstance(target, PetscSpace):
            return super().products(matrix, target, name)
        local = tuple(size[0] for size in matrix.getSizes())
        # Sizes that do not fit may do so on one of the ranks.
        wrong, other = reduce(
            self.comm,
            [local != (*target.shape, *self.shape), local != (*self.shape, *target.shape)],
            "max",
        )
        if wrong:
            hint = "" if other else ": are `restrict` and `prolong` exchanged?"
            rows, columns = (space._template.getSize() for space in (target, self))
            found = matrix.getSize()
            raise ValueError(
                f"{name} must be a matrix of {rows} rows and {columns} columns, divided among the "
                f"ranks as the vectors are, got {found[0]} and {found[1]}{hint}"
            )

        def product(source: PetscSpace, goal: PetscSpace, multiply: Any) -> Any:
            def act(states: np.ndarray, out: np.ndarray) -> None:
                for row, place in zip(states, out, strict=True):
                    with source.lent(row) as (vector,), goal.lent(place) as (result,):
                        multiply(vector, result)

            return act

        return (
            product(self, target, matrix.mult),
            product(target, self, matrix.multTranspose),
        )

    def vector(self) -> PETSc.Vec:
        """Return a new vector with the layout of the states; the caller destroys it. Collective."""
        return self._template.duplicate()

    def free_garbage(self, calls: int) -> None:
        """Count calls of a user's methods; free what they have dropped once it may be much.

        Methods that are called within those of a stepper are not counted otherwise. Collective.
        """
        self._calls += calls
        if self._calls >= self._most:
            self._collect()

    def _collect(self) -> None:
        """Free what Python has dropped on all ranks of a state. Collective."""
        self._calls = 0
        if hasattr(PETSc, "garbage_cleanup"):  # older versions free at once
            for comm in (self._template.getComm(), PETSc.COMM_SELF):
                PETSc.garbage_cleanup(comm)

    def destroy(self) -> None:
        """Free the vectors; the space cannot lend any afterwards. Collective."""
        for vector in self._free:
            vector.destroy()
        self._free.clear()
        if self._template:  # false once it has been destroyed
            self._collect()
        if self._owns_template:
            self._template.destroy()


class PetscMetric(Metric):
    """A metric by a PETSc matrix; its solver is made once.

    By default that is a Cholesky factorisation on one rank, else conjugate gradients to rounding;
    options with the prefix ``metric_`` change it.

    Parameters
    ----------
    owner : str
        For messages, such as ``TimeControl(metric=...)``.
    matrix : PETSc.Mat
    size : int
        Of this rank's part of a vector.
    comm : communicator
        The ranks that vectors are distributed over.

    Raises
    ------
    ValueError
        If the matrix is distributed otherwise, or is not symmetric positive definite.
    """

    def __init__(self, owner: str, matrix: PETSc.Mat, size: int, comm: Any) -> None:
        self.owner, self.size, self.comm = owner, size, comm
        ranks = matrix.getComm().getSize()
        wrong = ranks != comm.size or any(local != size for local, _ in matrix.getSizes())
        if reduce(comm, wrong, "max")[0]:
            raise ValueError(
                f"`{owner}` must be a PETSc matrix on {comm.size} rank(s), divided among them as "
                f"vectors are, got one of size {matrix.getSize()} on {ranks} rank(s)."
            )
        self._matrix = matrix
        self._vectors = matrix.createVecs()
        diagonal = matrix.getDiagonal()
        self.diagonal = diagonal.array.copy()
        diagonal.destroy()
        if not reduce(comm, np.all(self.diagonal > 0), "min")[0]:
            raise ValueError(f"`{owner}` must be positive definite: a mass matrix is.")
        self.is_diagonal = self._has_diagonal_alone()
        self._check_symmetry()
        self._solver = PETSc.KSP().create(matrix.getComm())
        self._solver.setOperators(matrix)
        self._solver.setType("preonly" if comm.size == 1 else "cg")
        self._solver.getPC().setType("cholesky" if comm.size == 1 else "jacobi")
        self._solver.setTolerances(rtol=1e-15, atol=1e-50, max_it=1000)
        self._solver.setOptionsPrefix("metric_")
        self._solver.setFromOptions()
        self._solver.setUp()

    def apply(self, rows: np.ndarray) -> np.ndarray:
        return self._each(rows, self._matrix.mult)

    def solve(self, rows: np.ndarray) -> np.ndarray:
        return rows / self.diagonal if self.is_diagonal else self._each(rows, self._solved)

    def _solved(self, right: PETSc.Vec, result: PETSc.Vec) -> None:
        self._solver.solve(right, result)
        reason = self._solver.getConvergedReason()
        if reason < 0:
            raise NumericalError(
                f"`{self.owner}`: the linear solver failed with PETSc's reason {reason}: is the "
                "matrix positive definite? Choose another one by options `-metric_ksp_type`."
            )

    def _each(self, rows: np.ndarray, action: Callable[[PETSc.Vec, PETSc.Vec], Any]) -> np.ndarray:
        """Return what an action makes of each row. Collective."""
        given, found = self._vectors
        results = np.empty(rows.shape)
        for row, result in zip(rows, results, strict=True):
            given.array[:] = row
            action(given, found)
            result[:] = found.array_r
        return results

    def _has_diagonal_alone(self) -> bool:
        """Whether no other entry is there. Collective."""
        if "aij" not in self._matrix.getType():
            return False
        starts, columns, values = self._matrix.getValuesCSR()
        rows = self._matrix.getOwnershipRange()[0] + np.arange(len(starts) - 1)
        beside = np.count_nonzero(values[columns != np.repeat(rows, np.diff(starts))])
        return not reduce(self.comm, beside)[0]

    def _check_symmetry(self) -> None:
        """Raise ValueError unless ``a^T M b = b^T M a`` for two vectors. Collective."""
        random = np.random.default_rng(self.comm.rank)
        a, b = random.standard_normal((2, 1, self.size))
        of_a, of_b = self.apply(a), self.apply(b)
        products = [a @ of_b.T, b @ of_a.T, a @ of_a.T, b @ of_b.T]
        one, other, *squares = reduce(self.comm, np.ravel(products))
        # NaN is no number that is large enough.
        if not min(squares) > 0 or not abs(one - other) <= 100 * SYMMETRY * max(squares):
            raise ValueError(
                f"`{self.owner}` must be symmetric and positive definite: a mass matrix is."
            )


def interpolation(fine: PETSc.DM, coarse: PETSc.DM) -> Transfer:
    """Return the transfer between the nodes of two meshes: linear interpolation and its transpose.

    Corrections are interpolated, ``P = coarse.createInterpolation(fine)``. ``R = D P^T`` takes
    states down, D a diagonal matrix that lets constants stay what they are: full weighting. The
    caller destroys the two matrices, the attributes of the result. Collective.

    Parameters
    ----------
    fine, coarse : PETSc.DM
        Mesh objects that fit, such as ``fine = coarse.refine()``: DMDA meshes of 2n - 1 and n
        nodes in each direction (2n and n if they are periodic).
    """
    prolong, scaling = coarse.createInterpolation(fine)
    restrict = prolong.transpose(PETSc.Mat())
    restrict.diagonalScale(scaling)
    scaling.destroy()
    return Transfer(restrict, prolong)


def _values(result: Any) -> Any:
    """Return the values of a vector; anything else as it is."""
    return result.array_r if isinstance(result, PETSc.Vec) else result
