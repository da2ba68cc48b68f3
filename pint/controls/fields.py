"""Fields of a control: one block for each time step, or shared by all of them."""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from pint.comm import private
from pint.errors import check_choice, integer, lengths, number, real_array, shown
from pint.states.metric import Metric, metric_of

BlockRestriction = Callable[[np.ndarray, np.ndarray], Any]
"""Gives the block of a coarse step from those of the fine steps and their sizes."""


class ControlField(ABC):
    """What time-dependent and shared fields have in common: a shape and bounds."""

    kind: str

    def __init__(
        self,
        shape: int | Sequence[int],
        lower: Any = None,
        upper: Any = None,
        weight: float = 1.0,
        comm: Any = None,
        matrix: Any = None,
    ) -> None:
        self.comm: Any = private(comm, f"{self.kind}(comm=...)")
        self.shape = lengths(f"{self.kind}(shape=...)", shape, 0 if self.distributed else 1)
        self.weight = number(self.kind, "weight", weight, positive=True)
        self.matrix: Metric | None = None
        if matrix is not None:
            size = int(np.prod(self.shape, dtype=int))
            self.matrix = metric_of(f"{self.kind}(metric=...)", matrix, size, self.comm)
        self.lower = self._bound("lower", lower, -np.inf)
        self.upper = self._bound("upper", upper, np.inf)
        both_vary = self._varies(self.lower) and self._varies(self.upper)
        if both_vary and len(self.lower) != len(self.upper):
            raise ValueError(
                f"`{self.kind}(lower=..., upper=...)`: bounds of {len(self.lower)} and of "
                f"{len(self.upper)} steps; give both for all N steps."
            )
        # Without one of them nothing is compared: a comparison takes memory for a whole block.
        both = lower is not None and upper is not None
        if both and not (self.lower <= self.upper).all():
            raise ValueError(
                f"`{self.kind}(lower=..., upper=...)`: a lower bound exceeds its upper."
            )
        if self.matrix is not None and self.bounded and not self.matrix.is_diagonal:
            raise ValueError(
                f"`{self.kind}(metric=...)` must be diagonal for a control with bounds: use the "
                "lumped mass matrix, scipy.sparse.diags of the sums of its rows."
            )

    @property
    def bounded(self) -> bool:
        """Whether a bound is finite."""
        return bool(np.isfinite(self.lower).any() or np.isfinite(self.upper).any())

    @property
    def distributed(self) -> bool:
        """Whether a block is distributed over more than one rank in space."""
        return bool(self.comm.size > 1)

    @property
    def block_weights(self) -> Any:
        """The diagonal of the metric of one block: a number, or an array of its shape."""
        if self.matrix is None:
            return self.weight
        return self.weight * self.matrix.diagonal.reshape(self.shape)

    def _bound(self, name: str, value: Any, default: float) -> np.ndarray:
        """Return a bound as a read-only array of the framework's own."""
        bound = real_array(f"{self.kind}({name}=...)", default if value is None else value)
        if np.isnan(bound).any() or (bound == -default).any():
            what = "NaN" if np.isnan(bound).any() else f"{-default}, which leaves no number"
            raise ValueError(f"`{self.kind}({name}=...)` contains {what}.")
        try:
            bound = np.broadcast_to(bound, self._bound_shape(bound))
        except ValueError:
            raise ValueError(
                f"`{self.kind}({name}=...)` has shape {bound.shape}, the control {self.shape}."
            ) from None
        bound.flags.writeable = False
        return bound

    def _bound_shape(self, bound: np.ndarray) -> tuple[int, ...]:
        """Return the shape that a bound is broadcast to."""
        return (len(bound), *self.shape) if self._varies(bound) else self.shape

    def _varies(self, bound: np.ndarray) -> bool:
        """Whether a bound has blocks for all steps."""
        return isinstance(self, TimeControl) and bound.ndim == len(self.shape) + 1


def check_field_name(owner: str, name: Any) -> None:
    """Raise an error, which begins with `owner`, unless `name` can be the name of a field.

    It is part of texts, the name of an argument, and that of an entry of an `.npz` archive.
    """
    # numpy.savez means something else by the first two, and adds `.npy` itself.
    reserved = ("file", "allow_pickle")
    if not isinstance(name, str):
        raise TypeError(f"`{owner}`: the name of a field must be a string, got {shown(name)}.")
    if not re.fullmatch(r"[^\W\d][\w.-]*", name) or name.endswith(".npy") or name in reserved:
        raise ValueError(
            f"`{owner}`: a field cannot be called {shown(name)}; use a letter, then letters, "
            "digits and underscores."
        )


class TimeControl(ControlField):
    r"""A control with one block for each time step, constant over the step.

    Parameters
    ----------
    shape : int or sequence of int
        Shape of one block.
    lower, upper : array_like, optional
        Bounds, broadcast to `shape`; or those of all N steps, with a leading axis of length N. With
        `every` > 1 those of all steps of a coefficient hold for it.
    metric : 'time', 'euclidean' or matrix
        Inner product: ``sum_n dt_n <u_n, v_n>``, which does not depend on the number of steps,
        ``sum_n <u_n, v_n>``, or ``sum_n dt_n u_n^T M v_n``: see Notes.
    restrict : 'inject', 'mean' or callable
        The block of a coarse step: that of the first fine step it covers, the mean over the
        covered interval, or ``restrict(blocks, dt)``: it receives the blocks of the m covered
        fine steps, shape (m, \*shape), and their sizes, shape (m,), and returns a block.
    weight : float
        Factor of the inner product, dimensionless; for example a cell volume.
    comm : communicator, optional
        The ranks in space that a block is distributed over, along its first axis; `shape` is then
        this rank's part. By default each of these ranks has all of it.
    every : int
        Steps for each coefficient of a control on a coarser time mesh.
    interpolate : 'constant' or 'linear'
        With `every` > 1: blocks that hold for `every` steps, or hat functions in time with nodes
        at every `every`-th point, taken at the steps' midpoints. The control still has a block
        for every step; gradients lie in the subspace of such blocks.

    Raises
    ------
    ValueError
        If bounds do not fit or cross, a choice is unknown, or hat functions have bounds (see
        `pint.hat_functions`); if a matrix does not fit, is not symmetric positive definite, or not
        diagonal beside bounds.

    Notes
    -----
    M is a symmetric positive definite matrix that acts on the numbers of a block: of scipy, dense,
    or of PETSc, distributed like the block. With the mass matrix of finite elements the number of
    updates does not depend on the mesh. It is factorised once; with bounds it must be diagonal,
    such as a lumped mass matrix, since projections onto bounds are not clipping otherwise.
    """

    kind = "TimeControl"

    def __init__(
        self,
        shape: int | Sequence[int],
        lower: Any = None,
        upper: Any = None,
        metric: Literal["time", "euclidean"] | Any = "time",
        restrict: Literal["inject", "mean"] | BlockRestriction = "inject",
        weight: float = 1.0,
        comm: Any = None,
        every: int = 1,
        interpolate: Literal["constant", "linear"] = "constant",
    ) -> None:
        matrix = None if isinstance(metric, str) else metric
        super().__init__(shape, lower, upper, weight, comm, matrix)
        self.every = every = integer("TimeControl", "every", every, 1)
        check_choice("TimeControl", "interpolate", interpolate, ("constant", "linear"))
        if interpolate == "linear" and every == 1:
            raise ValueError("`TimeControl(interpolate='linear')` needs `every` >= 2.")
        if interpolate == "linear" and self.bounded:
            raise ValueError(
                "`TimeControl(lower=..., upper=...)`: hat functions in the space of all steps "
                "cannot have bounds; use interpolate='constant', or `pint.hat_functions`, whose "
                "values at the nodes can."
            )
        if every > 1 and self.steps_bounded is not None:
            self._bound_coefficients(every)
        self.interpolate = interpolate
        if isinstance(metric, str):
            check_choice("TimeControl", "metric", metric, ("time", "euclidean"))
        is_name = isinstance(restrict, str) and restrict in ("inject", "mean")
        if not is_name and not callable(restrict):
            raise ValueError(
                "`TimeControl(restrict=...)` is 'inject', 'mean' or a function, "
                f"got {shown(restrict)}."
            )
        self.metric = metric if isinstance(metric, str) else "time"
        self.restrict = restrict

    def _bound_coefficients(self, every: int) -> None:
        """Give all steps of a coefficient the narrowest of their bounds, in place."""
        for name, narrowest in (("lower", np.maximum), ("upper", np.minimum)):
            bound = getattr(self, name)
            if self._varies(bound):
                of_coefficients = narrowest.reduceat(bound, np.arange(0, len(bound), every))
                bound = np.repeat(of_coefficients, every, axis=0)[: len(bound)]
                bound.flags.writeable = False
                setattr(self, name, bound)
        if not (self.lower <= self.upper).all():
            raise ValueError(
                "`TimeControl(lower=..., upper=...)`: no number is within the bounds of all "
                f"{every} steps of a coefficient; give it equal ones, or a smaller `every`."
            )

    @property
    def steps_bounded(self) -> int | None:
        """N where the bounds vary in time, None where they are those of every step."""
        counts = {len(bound) for bound in (self.lower, self.upper) if self._varies(bound)}
        return max(counts, default=None)

    def bounds_at(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Return lower and upper bounds of some steps, with a leading axis, or of every step."""
        lower, upper = (
            bound[first:last] if self._varies(bound) else bound
            for bound in (self.lower, self.upper)
        )
        return lower, upper


class SharedControl(ControlField):
    """Parameters that all time steps share (theta), the same on every rank in time.

    The inner product is ``weight <a, b>``, or ``weight a^T M b``.

    Parameters
    ----------
    shape : int or sequence of int
        Shape of the parameters.
    lower, upper : array_like, optional
        Bounds, broadcast to `shape`.
    weight : float
        Factor of the inner product, dimensionless; for example a cell volume.
    comm : communicator, optional
        The ranks in space that the parameters are distributed over, along their first axis;
        `shape` is then this rank's part. By default each of these ranks has all of them.
    metric : matrix, optional
        M, such as a mass matrix: see `TimeControl`.

    Raises
    ------
    ValueError
        As `TimeControl`.
    """

    kind = "SharedControl"

    def __init__(
        self,
        shape: int | Sequence[int],
        lower: Any = None,
        upper: Any = None,
        weight: float = 1.0,
        comm: Any = None,
        metric: Any = None,
    ) -> None:
        super().__init__(shape, lower, upper, weight, comm, metric)
