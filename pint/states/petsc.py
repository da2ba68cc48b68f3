"""States that are PETSc vectors; the only module that imports petsc4py.

The sweeps work on blocks of numpy rows; the user's methods see PETSc vectors that are lent the
rows for the time of a call, without a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from petsc4py import PETSc

from pint.comm import private
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
        Factor of the Euclidean norm, dimensionless; for example the root of the cell volume.

    Raises
    ------
    TypeError
        If `template` is neither a Vec nor a DM, or the scalars of PETSc are not float64.
    ValueError
        If `weight` is not positive and finite.
    """

    batches = False

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
        self.comm = private(template.getComm().tompi4py(), "PetscSpace(template=...)")
        self.shape = (template.getLocalSize(),)
        self.weight = float(weight)
        self._template = template
        self._free: list[PETSc.Vec] = []

    def allocate(self, count: int) -> np.ndarray:
        return np.zeros((count, *self.shape))

    def squared_norm(self, block: np.ndarray) -> float:
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

    def destroy(self) -> None:
        """Free the vectors; the space cannot lend any afterwards. Collective."""
        for vector in self._free:
            vector.destroy()
        self._free.clear()
        # On more than one rank nothing is freed before this call.
        if self.comm.size > 1 and hasattr(PETSc, "garbage_cleanup"):
            PETSc.garbage_cleanup(self._template.getComm())


def _values(result: Any) -> Any:
    """Return the values of a vector; anything else as it is."""
    return result.array_r if isinstance(result, PETSc.Vec) else result
