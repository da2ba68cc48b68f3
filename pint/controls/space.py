"""The space of all controls of a problem, with its metric and its bounds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pint.comm import SerialComm, agreeing, on_root, private, reduce
from pint.controls import matrices
from pint.controls.control import Control
from pint.controls.fields import ControlField, SharedControl, TimeControl, check_field_name
from pint.controls.halo import neighbour_halo
from pint.controls.mesh import ControlMesh
from pint.controls.restriction import Restriction
from pint.controls.saved import check_fields
from pint.errors import check_kind, real_array
from pint.grid.timegrid import TimeGrid
from pint.report.archives import load_arrays


class ControlSpace:
    """The space of all controls of a problem, with its metric.

    Parameters
    ----------
    grid : TimeGrid
        Its steps carry the blocks of the time-dependent fields.
    comm : communicator, optional
        The ranks in space among which the states, or the examples, are divided, so that each of
        them contributes a part of the derivative with respect to a field that is not distributed
        itself: the parts are summed once for each gradient. By default there are no such parts.
    **fields : TimeControl or SharedControl
        By name.

    Attributes
    ----------
    space_comm : communicator
        The ranks in space: `comm`, or the ranks that a field is distributed over.
    part_comm : communicator
        The ranks that contribute parts: `comm`, one rank without it.
    meshes : dict
        The `pint.controls.mesh.ControlMesh` of each field on a coarser time mesh.
    neighbours : pint.controls.halo.Halo
        The exchange of the blocks beside this rank's own.
    matrices : dict
        The `pint.states.metric.Metric` of each field whose metric is a matrix and not diagonal.
    weights, counted_weights : ndarray, shape (size,)
        The metric's diagonal; 0 for numbers that another rank adds, so that sums over the local
        numbers, with these weights, add up to inner products.
    parts : list of (slice, (bool, bool))
        The parts of a vector, and whether each is distributed over the ranks in time and over
        those in space.
    alike : list of (slice, bool)
        The parts that are not empty, and whether other ranks hold the same numbers, which must
        stay the same to the last bit.

    Examples
    --------
    >>> import pint
    >>> grid = pint.TimeGrid.uniform(2.0, 4)
    >>> space = pint.ControlSpace(grid, force=pint.TimeControl(1), mass=pint.SharedControl(1))
    >>> one = space.control(force=1.0, mass=3.0)
    >>> float(space.inner(one, one))  # 4 steps of length 0.5, and 3^2
    11.0
    """

    def __init__(self, grid: TimeGrid, comm: Any = None, /, **fields: ControlField) -> None:
        if comm is not None:
            comm = private(comm, "ControlSpace(comm=...)")
        with agreeing(grid.comm, "ControlSpace", comm) as ranks:
            ranks.same["fields"] = list(fields)  # their order is that of their places
            for name, field in fields.items():
                check_field_name("ControlSpace(...)", name)
                if not isinstance(field, (TimeControl, SharedControl)):
                    raise TypeError(
                        f"`ControlSpace({name}=...)` must be a TimeControl or a SharedControl, "
                        f"got {type(field).__name__}."
                    )
                part = ranks.same_in_time if field.distributed else ranks.same
                part[name] = field
            bounds = {name: self._bounds(grid, name, field) for name, field in fields.items()}
        self.grid = grid
        self.comm = grid.comm
        self.fields = dict(fields)
        self.time_fields = {n: f for n, f in fields.items() if isinstance(f, TimeControl)}
        self.shared_fields = {n: f for n, f in fields.items() if isinstance(f, SharedControl)}
        over = next((f.comm for f in fields.values() if f.distributed), SerialComm())
        self.space_comm: Any = over if comm is None else comm
        self.part_comm: Any = SerialComm() if comm is None else comm
        # Fields with the same distribution lie together, so that one product serves them all.
        self.places: dict[str, tuple[slice, tuple[int, ...]]] = {}
        self.size = 0
        self.parts: list[tuple[slice, tuple[bool, bool]]] = []
        for some in (self.time_fields, self.shared_fields):
            for distributed in (True, False):
                start = self.size
                for name, field in some.items():
                    if field.distributed is distributed:
                        steps = (grid.local_steps,) if name in self.time_fields else ()
                        self._place(name, (*steps, *field.shape))
                over = (some is self.time_fields, distributed)
                self.parts.append((slice(start, self.size), over))
        in_space = self.space_comm.size
        # One rank adds what is replicated: every rank must get the same number to the last bit,
        # for decisions are taken by it, and a product is rounded as the memory is aligned.
        self._counted = [
            part
            for part, (over_time, over_space) in self.parts
            if part.start < part.stop
            and (over_time or self.comm.rank == 0)
            and (over_space or self.space_comm.rank == 0)
        ]
        self.alike = [
            (part, not (over_time or self.comm.size == 1) or not (over_space or in_space == 1))
            for part, (over_time, over_space) in self.parts
            if part.start < part.stop
        ]
        self._lengths = {
            name: field.comm.allgather(field.shape[0])
            for name, field in fields.items()
            if field.distributed
        }
        self.matrices = matrices.not_diagonal(fields)
        self.weights = matrices.diagonal(self)
        self.counted_weights = np.zeros(self.size)
        for counted in self._counted:
            self.counted_weights[counted] = self.weights[counted]
        self.lower = self._spread({name: lower for name, (lower, _) in bounds.items()})
        self.upper = self._spread({name: upper for name, (_, upper) in bounds.items()})
        self.bounded = any(field.bounded for field in fields.values())
        self.meshes = {
            name: ControlMesh(
                grid,
                field.every,
                field.interpolate,
                grid.dt if field.metric == "time" else np.ones(grid.local_steps),
            )
            for name, field in self.time_fields.items()
            if field.every > 1
        }
        self._restriction = Restriction(grid, self.time_fields)
        self.neighbours = neighbour_halo(grid)

    def _place(self, name: str, shape: tuple[int, ...]) -> None:
        stop = self.size + int(np.prod(shape, dtype=int))
        self.places[name] = (slice(self.size, stop), shape)
        self.size = stop

    @staticmethod
    def _bounds(grid: TimeGrid, name: str, field: ControlField) -> tuple[np.ndarray, np.ndarray]:
        """Return the bounds of this rank's part of a field."""
        if not isinstance(field, TimeControl) or field.steps_bounded is None:
            return field.lower, field.upper
        if field.steps_bounded != grid.steps:
            raise ValueError(
                f"`TimeControl(lower=..., upper=...)` of `{name}` has bounds of "
                f"{field.steps_bounded} steps, the grid has N = {grid.steps}; give one block "
                "of bounds for grids of any N."
            )
        return field.bounds_at(grid.first, grid.last)

    def __copy__(self) -> ControlSpace:
        return self

    def __deepcopy__(self, memo: Any) -> ControlSpace:
        return self  # nothing of it changes, and controls of one space can be added

    def _spread(self, values: Mapping[str, Any]) -> np.ndarray:
        """Return the local vector with each field's value at every one of its steps."""
        vector = np.empty(self.size)
        for name, (where, shape) in self.places.items():
            vector[where].reshape(shape)[...] = values[name]
        return vector

    def zeros(self) -> Control:
        """Return the zero control. Not collective."""
        return Control(self, np.zeros(self.size))

    def control(self, /, **values: Any) -> Control:
        """Return the control with the given values; fields not named are zero. Collective.

        Parameters
        ----------
        **values : array_like
            By field name. For a time-dependent field the blocks of all N steps, or one block
            for every step; on a coarser time mesh the coefficients, or blocks, which are
            projected; for a shared field the parameters. All ranks give the same values.

        Raises
        ------
        TypeError
            If a value does not consist of real numbers.
        ValueError
            If a field is unknown, a shape does not fit, a value is NaN or infinite, or the ranks
            give different values.
        """
        new = self.zeros()
        with agreeing(self.comm, "control", self.space_comm) as ranks:
            for name, value in values.items():
                if name not in self.fields:
                    raise ValueError(
                        f"the control has no field `{name}`; it has {list(self.fields)}."
                    )
                array = real_array(f"control({name}=...)", value)
                self._assign(new[name], name, array, self.meshes.get(name))
                ranks.same[name] = array
        for name in values:
            if name in self.meshes:
                new[name][...] = self.meshes[name].project(new[name])
        return new

    def require_agreement(self, ranks: agreeing, control: Control, argument: str = "") -> None:
        """Let `ranks` compare the shared fields of an argument, a control of this space."""
        for name, field in self.shared_fields.items():
            same = ranks.same_in_time if field.distributed else ranks.same
            same[f"{argument}.{name}".lstrip(".")] = control[name]

    def scatter(self, values: Mapping[str, np.ndarray]) -> Control:
        """Return the control whose `gather` gave `values`, to the last bit. Not collective.

        Raises
        ------
        TypeError, ValueError
            If a shape does not fit, or a value does not consist of finite real numbers.
        """
        check_kind("ControlSpace.scatter", "values", values, Mapping, "a mapping of arrays")
        new = self.zeros()
        for name, value in values.items():
            if name not in self.fields:
                raise ValueError(f"`scatter`: no field `{name}`; there are {list(self.fields)}.")
            self._assign(new[name], name, real_array(f"control({name}=...)", value))
        return new

    def block_shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a block of a field on all ranks in space together."""
        shape = self.fields[name].shape
        return (sum(self._lengths[name]), *shape[1:]) if name in self._lengths else shape

    def _whole_shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a field, all time steps and all ranks together."""
        steps = (self.grid.steps,) if name in self.time_fields else ()
        return (*steps, *self.block_shape(name))

    def _assign(
        self, target: np.ndarray, name: str, array: np.ndarray, mesh: ControlMesh | None = None
    ) -> None:
        """Set a field, in place; values may be coefficients on `mesh`. Not collective."""
        shape = self.block_shape(name)
        part: tuple[slice, ...] = ()
        if not np.isfinite(array).all():
            raise ValueError(f"the control's `{name}` contains NaN or infinity.")
        if array.ndim == 0:
            target[...] = array
            return
        if name in self._lengths:
            lengths = self._lengths[name]
            start = sum(lengths[: self.fields[name].comm.rank])
            part = (slice(start, start + lengths[self.fields[name].comm.rank]),)
        if mesh is not None and array.shape == (mesh.coefficients, *shape):
            target[...] = mesh.expand(array)[(slice(None), *part)]
        elif name in self.time_fields and array.shape == self._whole_shape(name):
            target[...] = array[self.grid.first : self.grid.last][(slice(None), *part)]
        elif array.shape == shape:
            target[...] = array[part]
        else:
            raise ValueError(
                f"the control's `{name}` must have shape {self._whole_shape(name)}, "
                f"got {array.shape}."
            )

    def load(self, path: str | Path) -> Control:
        """Return the control saved in a `.npz` file by `Control.save`. Collective.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If the file is not an `.npz` archive, or its fields are not this space's.
        """
        with agreeing(self.comm, "ControlSpace.load", self.space_comm) as ranks:
            ranks.same = {"path": os.fspath(path)}
        shapes = {name: self._whole_shape(name) for name in self.fields}

        def read() -> dict[str, np.ndarray]:
            return load_arrays(path, lambda declared: check_fields(declared, shapes))

        values = on_root(self.space_comm, lambda: on_root(self.comm, read))
        try:
            loaded = self.scatter(values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from None
        for name, mesh in self.meshes.items():
            loaded[name][...] = mesh.project(loaded[name])
        return loaded

    def inner(self, a: Control, b: Control) -> float:
        """Return the metric's inner product of two controls. Collective."""
        return self.pair(self.dual(a), b)

    def norm(self, a: Control) -> float:
        """Return the metric's norm of a control. Collective."""
        return float(np.sqrt(self.inner(a, a)))

    def pair(self, derivative: Control, direction: Control) -> float:
        """Return the derivative (dual) applied to a direction (primal). Collective."""
        parts = self.local_pair(self._own(derivative).vector, self._own(direction).vector)
        return float(self.sums(parts)[0])

    def local_pair(self, derivative: np.ndarray, direction: np.ndarray) -> float:
        """Return this rank's part of `pair`, of two vectors; `sums` adds the parts of all ranks."""
        return sum(derivative[part] @ direction[part] for part in self._counted)

    def sums(self, parts: Any) -> np.ndarray:
        """Return the sums of one or more numbers over all ranks. Collective."""
        for comm in (self.comm, self.space_comm):
            if comm.size > 1:  # spares two conversions, which cost more than a small product
                parts = reduce(comm, parts)
        return np.atleast_1d(parts)

    def total(self, name: str, local: float) -> float:
        """Return the sum of a number per rank, part of a sum over the blocks of a field.

        Collective.
        """
        if not self.fields[name].distributed and self.space_comm.rank > 0:
            local = 0.0  # as in `pair`
        return float(reduce(self.space_comm, reduce(self.comm, local))[0])

    def sum_parts(self, derivative: Control) -> None:
        """Sum what ranks have contributed to a derivative, in place. Collective.

        That is the shared fields over the ranks in time, and all fields that are not distributed
        over `part_comm`.
        """
        shared = derivative.vector[self.parts[2][0].start :]
        shared[...] = reduce(self.comm, shared)
        if self.part_comm.size == 1:
            return
        whole = [derivative.vector[part] for part, (_, over_space) in self.parts if not over_space]
        ends = np.cumsum([len(values) for values in whole])
        sums = reduce(self.part_comm, np.concatenate(whole))
        for values, part in zip(whole, np.split(sums, ends[:-1]), strict=True):
            values[...] = part

    def riesz(self, derivative: Control) -> Control:
        """Return the gradient: the control g with ``inner(g, v) == pair(derivative, v)``.

        For controls on a coarser time mesh, for all v on that mesh. Collective.
        """
        gradient = Control(self, self._own(derivative).vector / self.weights)
        if self.matrices:
            matrices.solve(self, gradient.vector)
        for name, mesh in self.meshes.items():
            gradient[name][...] = mesh.project(gradient[name])
        return gradient

    def dual(self, control: Control) -> Control:
        """Return the derivative that `control` represents: the inverse of `riesz`.

        Collective where a metric is a PETSc matrix.
        """
        return Control(self, self.weighted(self._own(control).vector))

    def weighted(self, vector: np.ndarray, counted: bool = False) -> np.ndarray:
        """Return the matrix of the metric times a vector.

        With `counted` it is 0 where another rank adds, as `counted_weights` are. Collective where
        a metric is a PETSc matrix.
        """
        product = vector * (self.counted_weights if counted else self.weights)
        if self.matrices:
            matrices.multiply(self, product)
        return product

    def _own(self, control: Control) -> Control:
        """Return a control, or raise an error if it is none, or not of a space like this."""
        if not isinstance(control, Control) or len(control.vector) != self.size:
            self.require_fitting(control)
        return control

    def require_fitting(self, control: Control) -> None:
        """Raise an error, the same on every rank, unless `control` is of a space like this.

        Raises
        ------
        TypeError
            If it is no `Control`.
        ValueError
            If its fields, steps, ranks in time or coarsening factors are others.
        """
        if not isinstance(control, Control):
            raise TypeError(
                f"a control must be a `pint.Control`, got {type(control).__name__}; make one with "
                "`functional.control(...)`."
            )
        other = control.space
        if other is self:
            return
        if described(other) != described(self):
            raise ValueError(
                f"the control has the fields {described(other)}, those of the problem are "
                f"{described(self)}; make it with `functional.control(...)`."
            )
        if other.grid.steps != self.grid.steps:
            raise ValueError(
                f"the control has {other.grid.steps} time steps, the problem {self.grid.steps}; "
                "use `pint.prolong(control, functional.controls)`."
            )
        if other.comm.size != self.comm.size:
            raise ValueError(
                f"the control is divided among {other.comm.size} ranks in time, the problem among "
                f"{self.comm.size}; use `pint.prolong(control, functional.controls)`."
            )
        # The number of levels may differ: a control does not depend on it.
        if other.grid.coarsening[: len(self.grid.coarsening)] != self.grid.coarsening:
            raise ValueError(
                f"the control's grid has the coarsening factors {list(other.grid.coarsening)}, the "
                f"problem's {list(self.grid.coarsening)}; use "
                "`pint.prolong(control, functional.controls)`."
            )

    def project(self, control: Control) -> Control:
        """Return the nearest control within the bounds; `control` itself without bounds."""
        if not self.bounded:
            return self._own(control)
        return Control(self, np.clip(self._own(control).vector, self.lower, self.upper))

    def restrict(self, control: Control, reverse: bool = False) -> list[dict[str, np.ndarray]]:
        r"""Return the time-dependent blocks of each level's steps on this rank. Collective.

        Entry l maps a field's name to an array of shape (local steps of level l, \*shape): row j
        is the control restricted to the interval of the rank's j-th step, in the order of time.
        With `reverse` the coarse steps are counted from the end of time. Level 0 is a view
        of `control`.
        """
        return self._restriction.levels(control.time, reverse)


def described(space: ControlSpace) -> dict[str, str]:
    """Return kind and shape of each field's blocks, on all ranks in space together."""
    return {
        name: f"{field.kind}({space.block_shape(name)})" for name, field in space.fields.items()
    }
