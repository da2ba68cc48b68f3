"""The control: all its numbers in one vector, and a view of each field."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pint.comm import agreeing, gather_rows, on_root
from pint.report.files import write_atomically

if TYPE_CHECKING:
    from pint.controls.space import ControlSpace


@dataclass(frozen=True, eq=False)
class Control:
    r"""An element of a `ControlSpace`, or a derivative (dual) laid out like one.

    ``control["name"]`` is the view of one field: shape (local steps, \*shape) for a
    `TimeControl`, shape (\*shape) for a `SharedControl`. Arithmetic returns new controls, `copy`
    and the functions of the module of that name a control with numbers of its own.

    Attributes
    ----------
    space : ControlSpace
    vector : ndarray, shape (local size,)
        All local values, field after field.
    """

    space: ControlSpace
    vector: np.ndarray
    __array_ufunc__ = None  # numpy would multiply an array by each control in turn

    def copy(self) -> Control:
        """Return a control of the same space with a copy of the numbers."""
        return Control(self.space, self.vector.copy())

    def read_only(self) -> Control:
        """Return the same control, whose numbers cannot be changed through it."""
        vector = self.vector.view()
        vector.flags.writeable = False
        return Control(self.space, vector)

    def __copy__(self) -> Control:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the views of `time` and `shared`, which would become arrays of their own.
        return Control, (self.space, self.vector)

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            where, shape = self.space.places[name]
        except KeyError:
            raise KeyError(
                f"the control has no field {name!r}; it has {list(self.space.places)}"
            ) from None
        return self.vector[where].reshape(shape)

    def __add__(self, other: Control) -> Control:
        return Control(self.space, self.vector + self._like(other).vector)

    def __sub__(self, other: Control) -> Control:
        return Control(self.space, self.vector - self._like(other).vector)

    def __mul__(self, factor: float) -> Control:
        is_array = isinstance(factor, np.ndarray) and factor.dtype.kind in "iuf"
        if np.ndim(factor) > 0 or not (isinstance(factor, Real) or is_array):
            raise TypeError(
                f"a control can be multiplied by a real number, not by a {type(factor).__name__}; "
                "for the product of two controls see `ControlSpace.inner`."
            )
        return Control(self.space, float(factor) * self.vector)

    __rmul__ = __mul__

    def __neg__(self) -> Control:
        return Control(self.space, -self.vector)

    def _like(self, other: Control) -> Control:
        """Return `other` if it can be added, or raise an error."""
        if not isinstance(other, Control):
            raise TypeError(
                f"a control can be added to a control, not to a {type(other).__name__}."
            )
        if other.space is not self.space:
            self.space.require_fitting(other)
        return other

    @cached_property
    def time(self) -> dict[str, np.ndarray]:
        """The time-dependent fields by name, this rank's steps."""
        return {name: self[name] for name in self.space.time_fields}

    @cached_property
    def shared(self) -> dict[str, np.ndarray]:
        """The shared fields by name."""
        return {name: self[name] for name in self.space.shared_fields}

    def gather(self) -> dict[str, np.ndarray]:
        """Return all fields with the blocks of all time steps, on every rank. Collective."""
        gathered = {}
        for name, field in self.space.fields.items():
            values = self[name].copy()
            if name in self.space.time_fields:
                values = gather_rows(self.space.comm, values)
            if field.distributed:
                axis = 1 if name in self.space.time_fields else 0
                values = gather_rows(field.comm, values, axis)
            gathered[name] = values
        return gathered

    def save(self, path: str | Path) -> None:
        """Write all fields to one `.npz` file, replacing it in one step. Collective."""
        space = self.space
        with agreeing(space.comm, "Control.save", space.space_comm) as ranks:
            ranks.same = {"path": os.fspath(path)}
        gathered: dict[str, Any] = self.gather()

        def write() -> None:
            write_atomically(path, lambda file: np.savez(file, **gathered))

        on_root(space.space_comm, lambda: on_root(space.comm, write))
