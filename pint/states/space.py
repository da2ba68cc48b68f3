"""State spaces: how states are stored in blocks of many time points, and measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from pint.comm import SerialComm, gather_rows_on_root, private
from pint.errors import lengths, number, real_array, shown
from pint.states.metric import Metric, metric_of

Block = Any
"""Many states in one array, the time point as the first axis."""


class StateSpace(ABC):
    """The space that one state lives in; the solver takes storage and norms from it.

    Attributes
    ----------
    shape : tuple of int
        Shape of this rank's part of one state.
    comm : communicator
        The ranks that a state is distributed over; one by default.
    axis : int
        The axis of a state that is distributed.
    batches : bool
        Whether a block of many states can be handed to a batched stepper.
    on_host : bool
        Whether the user's methods are given times and controls as arrays of numpy, as they are;
        otherwise what `lift` makes of them.
    """

    shape: tuple[int, ...]
    comm: Any = SerialComm()
    axis: int = 0
    batches: bool = True
    on_host: bool = True

    @abstractmethod
    def allocate(self, count: int) -> Block:
        r"""Return `count` zero states as one block of shape (count, \*shape). Not collective."""

    @abstractmethod
    def squared_norm(self, block: Block) -> float:
        """Return this rank's part of the sum of the squared norms of all states in `block`.

        Summed over `comm` it is the whole. Not collective.
        """

    @property
    @abstractmethod
    def state_bytes(self) -> int:
        """The storage of this rank's part of one state in bytes."""

    @property
    def precision(self) -> float:
        """The relative rounding error of a state's numbers."""
        return float(np.finfo(float).eps)

    @abstractmethod
    def pair(self, a: Block, b: Block) -> float:
        """Return this rank's part of the sum of the products of all entries. Not collective."""

    def singles(self, block: Block, backward: bool = False) -> Any:
        """Return the states of a block one by one, as blocks of one state; more than once."""
        rows = range(len(block))
        return [block[row : row + 1] for row in (reversed(rows) if backward else rows)]

    def states(self, block: Block, backward: bool = False) -> Any:
        """Return the states of a block one by one, which share its memory; more than once."""
        return [block[row] for row in reversed(range(len(block)))] if backward else block

    @property
    def chunk_bytes(self) -> int | None:
        """States of so many bytes are advanced together; None stands for a core's cache."""
        return None

    def as_array(self, block: Block) -> np.ndarray:
        """Return a block as an array of numpy, for files and reports."""
        return np.asarray(block)

    def lift(self, values: np.ndarray, sums: bool = False) -> Any:
        """Return an array of numpy as one of the kind that blocks are; not always a copy.

        With `sums` it is one that derivatives are added to, of a type that is wide enough.
        """
        return values

    def messenger(self, comm: Any) -> Any:
        """Return what sends and receives blocks as `comm` sends and receives arrays of numpy."""
        return comm

    def native(self, method: Callable[..., Any], states: tuple[int, ...]) -> Callable[..., Any]:
        """Return a user's method as a function of states as blocks hold them.

        Parameters
        ----------
        method : callable
            It takes and returns states of the kind that its user works with.
        states : tuple of int
            The numbers of the arguments that are states; ``out`` and ``s.guess`` are, too.
        """
        return method

    def products(
        self, matrix: Any, target: StateSpace, name: str
    ) -> tuple[Callable[[Block, Block], None], Callable[[Block, Block], None]]:
        """Return the products with a matrix and with its transpose, from blocks to blocks.

        Raises
        ------
        TypeError, ValueError
            If these states know no such matrices, or it does not take states to those of the
            space `target`; the line begins with `name`.
        """
        divided = " that are divided among ranks" if self.comm.size > 1 else ""
        raise TypeError(
            f"{name} must be a pair of functions (function, transpose) for states of a "
            f"{type(self).__name__}{divided}, got {shown(matrix)}."
        )


def one_by_one(values: Any, backward: bool = False) -> Any:
    """Return the rows of an array as batches of one row, views; `backward` from the last row on.

    Taking the rows of a reversed view is twice as fast as reversing an array by its indices. The
    rows themselves are ordinary arrays.
    """
    if not isinstance(values, np.ndarray):  # other arrays may know no negative strides
        rows = range(len(values))
        return [values[row : row + 1] for row in (reversed(rows) if backward else rows)]
    ordered = values[::-1] if backward else values
    return ordered.reshape(len(values), 1, *values.shape[1:])


class ArraySpace(StateSpace):
    """States that are numpy arrays of one shape.

    The norm is ``weight * sqrt(sum(y**2))``, the sum over all of `comm`, or
    ``weight * sqrt(y^T M y)``.

    Parameters
    ----------
    shape : int or sequence of int
        Shape of one state; of this rank's part, if it is distributed.
    dtype : dtype
        Scalar type: float64 by default, float32, or complex numbers of either, which controls and
        costs do not know.
    weight : float
        Factor of the Euclidean norm, dimensionless; for example the root of the mesh width.
    comm : communicator, optional
        The ranks in space that a state is distributed over; by default each rank has all of it.
    axis : int
        The axis that is distributed; a rank's part of it may be empty.
    metric : sparse matrix or ndarray, optional
        M, symmetric positive definite, such as the mass matrix of finite elements; it acts on the
        numbers of a state. Diagonal, of this rank's part, if states are distributed.

    Raises
    ------
    TypeError
        If `dtype` is another one.
    ValueError
        If `shape` has a dimension below 1, `weight` is not positive and finite, or `metric` does
        not fit or is not symmetric positive definite.
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        dtype: Any = np.float64,
        weight: float = 1.0,
        comm: Any = None,
        axis: int = 0,
        metric: Any = None,
    ) -> None:
        self.comm = private(comm, "ArraySpace(comm=...)")
        self.shape = lengths("ArraySpace(shape=...)", shape, 0 if self.comm.size > 1 else 1)
        dimensions = max(len(self.shape), 1)
        if not isinstance(axis, Integral) or not -dimensions <= axis < dimensions:
            raise ValueError(
                f"`ArraySpace(axis=...)` must be an axis of the shape {self.shape}, "
                f"got {shown(axis)}."
            )
        self.axis = int(axis) % dimensions
        # Only the axis that is distributed may be empty.
        lengths(
            "ArraySpace(shape=...)", (*self.shape[: self.axis], *self.shape[self.axis + 1 :]), 1
        )
        self.weight: float = number("ArraySpace", "weight", weight, positive=True)
        self.dtype: np.dtype[Any] = _checked_dtype(dtype)
        self.metric: Metric | None = None
        if metric is not None:
            size = int(np.prod(self.shape, dtype=int))
            self.metric = metric_of("ArraySpace(metric=...)", metric, size, self.comm)

    @property
    def precision(self) -> float:
        return float(np.finfo(self.dtype).eps)

    def __repr__(self) -> str:
        return f"ArraySpace({self.shape}, dtype={self.dtype}, weight={self.weight})"

    def allocate(self, count: int) -> np.ndarray:
        return np.zeros((count, *self.shape), dtype=self.dtype)

    def squared_norm(self, block: np.ndarray) -> float:
        if self.metric is not None:
            rows = block.reshape(len(block), self.metric.size)
            return self.weight**2 * self.metric.squared_norm(rows)
        flat = block.reshape(-1)
        return self.weight**2 * float(np.vdot(flat, flat).real)

    def pair(self, a: np.ndarray, b: np.ndarray) -> float:
        count = len(a)
        return float(np.einsum("ij,ij->", a.reshape(count, -1), b.reshape(count, -1)))

    def singles(self, block: np.ndarray, backward: bool = False) -> np.ndarray:
        return one_by_one(block, backward)

    def states(self, block: np.ndarray, backward: bool = False) -> Any:
        ordered = block[::-1] if backward else block
        if ordered.ndim > 1:
            return ordered
        return [ordered[row, ...] for row in range(len(ordered))]  # numbers alone cannot be written

    def products(
        self, matrix: Any, target: StateSpace, name: str
    ) -> tuple[Callable[[Block, Block], None], Callable[[Block, Block], None]]:
        if hasattr(matrix, "multTranspose") or self.comm.size > 1:
            return super().products(matrix, target, name)
        rows, columns = (int(np.prod(space.shape, dtype=int)) for space in (target, self))
        if matrix.shape != (rows, columns):
            hint = ""
            if matrix.shape == (columns, rows):
                hint = ": are `restrict` and `prolong` exchanged?"
            raise ValueError(
                f"{name} must be a matrix of shape ({rows}, {columns}) for states of shapes "
                f"{self.shape} and {target.shape}, got {matrix.shape}{hint}"
            )
        transpose = matrix.T.tocsr() if hasattr(matrix, "tocsr") else matrix.T
        return _product(matrix), _product(transpose)

    @property
    def state_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=int)) * self.dtype.itemsize


def _product(matrix: Any) -> Callable[[np.ndarray, np.ndarray], None]:
    """Return the product of a dense or sparse matrix with each state of a block."""

    def act(states: np.ndarray, out: np.ndarray) -> None:
        flat = states.reshape(len(states), -1)
        out[...] = (matrix @ flat.T).T.reshape(out.shape)

    return act


def _checked_dtype(dtype: Any) -> np.dtype[Any]:
    try:
        found = np.dtype(object if dtype is None else dtype)
    except TypeError:
        found = np.dtype(object)
    if found not in (np.float64, np.float32, np.complex128, np.complex64):
        raise TypeError(f"`ArraySpace(dtype=...)` is float64 or float32, got {shown(dtype)}.")
    return found


def space_like(owner: object) -> ArraySpace:
    """Return the space of arrays like ``owner.initial_state``, in float32 if that is.

    Its norm is that of ``owner.state_metric``, where there is one.

    Raises
    ------
    TypeError
        If there is no such state, or it does not consist of real numbers.
    """
    name, state = type(owner).__name__, getattr(owner, "initial_state", None)
    if state is None:
        raise TypeError(
            f"`{name}` must have an `initial_state`, or a `space` and a method `initial`."
        )
    if isinstance(state, (np.ndarray, np.generic)) or not hasattr(state, "shape"):
        real_array(f"{name}.initial_state", state)
    single = getattr(state, "dtype", None) == np.float32
    metric = getattr(owner, "state_metric", None)
    return ArraySpace(np.shape(state), np.float32 if single else np.float64, metric=metric)


def gathered(space: StateSpace, comm: Any, points: Block) -> np.ndarray | None:
    """Return a trajectory at all points, shape (N + 1, ...), on the first rank; else None.

    `points` are those of a rank in time, row 0 the point before them. Collective.
    """
    own = space.as_array(points[0 if comm.rank == 0 else 1 :])
    whole = own if space.comm.rank == 0 else None
    if own.ndim > 1:
        whole = gather_rows_on_root(space.comm, own, 1 + space.axis)
    return None if whole is None else gather_rows_on_root(comm, whole)
