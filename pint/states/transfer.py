"""Transfers between the state spaces of two levels: restriction, prolongation, their transposes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pint.comm import reduce
from pint.errors import real_array, shown
from pint.states.space import Block, StateSpace

Action = Callable[[Block, Block], None]
"""Writes a linear map of each state of its first argument to the second one."""

SIDES = ("restrict", "prolong")

PIECE_BYTES = 2**18
"""States of so many bytes are transferred together: products with sparse matrices copy them."""


@dataclass(frozen=True, eq=False)
class Transfer:
    """Linear maps between the states of a level and those of the next coarser one.

    ``R = restrict`` takes a state to the coarser level, ``P = prolong`` takes a correction back.
    Each is one of

    - a matrix, an array or a sparse matrix of scipy, of shape (entries of a coarse state, entries
      of a fine state) for R and the converse for P; it acts on the entries of a state in their
      order in memory;
    - a PETSc matrix, for PETSc states: see also `pint.states.petsc.interpolation`;
    - a pair of functions, the map and its transpose. They take what the stepper takes, a batch of
      states if it is batched and one state if not, return new ones, and leave their arguments.

    Adjoints are dual vectors: P^T takes them down, R^T takes their corrections back.

    Parameters
    ----------
    restrict, prolong : array, sparse matrix, PETSc matrix, or pair of callables

    Raises
    ------
    TypeError
        If an argument is nothing of these, as is a function without its transpose.
    ValueError
        If a matrix has entries that are not finite.
    """

    restrict: Any
    prolong: Any

    def __post_init__(self) -> None:
        for side in SIDES:
            object.__setattr__(self, side, _checked(side, getattr(self, side)))

    def between(
        self, fine: StateSpace, coarse: StateSpace, batched: bool, owner: str
    ) -> LevelTransfer:
        """Return the transfer on blocks of two spaces. Collective in space.

        Raises
        ------
        ValueError, TypeError
            If it does not fit the spaces; the line begins with `owner`, who has made it.
        """
        if fine.comm.size != coarse.comm.size:
            raise ValueError(
                f"{owner}: the states of the coarse level must be distributed over the "
                f"{fine.comm.size} ranks of the finer ones, got {coarse.comm.size}."
            )
        down = _actions(self.restrict, fine, coarse, batched, f"{owner}: `Transfer(restrict=...)`")
        up = _actions(self.prolong, coarse, fine, batched, f"{owner}: `Transfer(prolong=...)`")
        return LevelTransfer(fine, coarse, *down, *up)


@dataclass(frozen=True, eq=False)
class LevelTransfer:
    """A `Transfer` between blocks of the states of two levels.

    Attributes
    ----------
    fine, coarse : StateSpace
    restrict, restrict_transposed, prolong, prolong_transposed : callable
        ``restrict(states, out)`` writes R of each state of a block to another block. Collective
        in space.
    """

    fine: StateSpace
    coarse: StateSpace
    restrict: Action
    restrict_transposed: Action
    prolong: Action
    prolong_transposed: Action

    @property
    def transposed(self) -> LevelTransfer:
        """The transfer of dual vectors, for sweeps that transpose: P^T goes down, R^T up."""
        return LevelTransfer(
            self.fine,
            self.coarse,
            self.prolong_transposed,
            self.prolong,
            self.restrict_transposed,
            self.restrict,
        )


def _checked(side: str, given: Any) -> Any:
    """Return one side of a transfer, a dense matrix as an array, or raise an error."""
    name = f"`Transfer({side}=...)`"
    if hasattr(given, "multTranspose"):  # a matrix of PETSc, which can be called, too
        return given
    if callable(given):
        raise TypeError(
            f"{name} is a function without its transpose, which the adjoint needs: give the pair "
            "(function, transpose)."
        )
    if isinstance(given, (tuple, list)) and any(callable(part) for part in given):
        if len(given) != 2 or not all(callable(part) for part in given):
            raise TypeError(f"{name} must be two functions, the map and its transpose.")
        return tuple(given)
    if hasattr(given, "tocsr"):
        matrix = given.tocsr().copy()  # a copy of the caller's, who may change his
        real_array(f"Transfer({side}=...)", matrix.data)
        entries = matrix.data
    else:
        try:
            matrix = np.array(given, dtype=None if hasattr(given, "dtype") else float)
        except (TypeError, ValueError):
            matrix = np.array(None)
        if matrix.ndim != 2 or matrix.dtype.kind not in "iuf":
            raise TypeError(
                f"{name} must be a matrix of real numbers, or a pair of functions (function, "
                f"transpose), got {shown(given)}."
            )
        matrix = entries = matrix.astype(float)
    if not np.isfinite(entries).all():
        raise ValueError(f"{name} must have finite entries.")
    return matrix


def _actions(
    side: Any, source: StateSpace, target: StateSpace, batched: bool, name: str
) -> tuple[Action, Action]:
    """Return a map and its transpose on blocks, checked on a zero state. Collective in space."""
    if isinstance(side, tuple):
        there = _each(side[0], source, target, batched, name)
        back = _each(side[1], target, source, batched, f"{name}, the transpose")
    else:
        there, back = source.products(side, target, name)
    there(source.allocate(1), target.allocate(1))
    back(target.allocate(1), source.allocate(1))
    return _in_pieces(there, source), _in_pieces(back, target)


def _in_pieces(action: Action, source: StateSpace) -> Action:
    """Return an action that handles so many states at a time that copies of them are small."""
    # Maps may be collective, so that all ranks which share a state handle as many at a time.
    fitting = PIECE_BYTES // max(1, source.state_bytes)
    size = int(reduce(source.comm, max(1, fitting), "min")[0])

    def act(states: Block, out: Block) -> None:
        for begin in range(0, len(states), size):
            action(states[begin : begin + size], out[begin : begin + size])

    return act


def _each(
    function: Callable[[Any], Any],
    source: StateSpace,
    target: StateSpace,
    batched: bool,
    name: str,
) -> Action:
    """Return the action of a user's function, whose results are checked for their shapes."""
    native = source.native(function, (0,))

    def act(states: Block, out: Block) -> None:
        pairs: Any = [(states, out)]
        if not batched:
            pairs = zip(source.states(states), target.states(out), strict=True)
        for some, place in pairs:
            try:
                result = native(some)
            except (ValueError, IndexError, TypeError) as error:
                text = " ".join(str(error).split())
                raise ValueError(
                    f"{name} raised {type(error).__name__} at states of shape "
                    f"{tuple(some.shape)}: {text}"
                ) from error
            shape = tuple(getattr(result, "shape", ()))
            if shape != tuple(place.shape):
                raise ValueError(
                    f"{name} must return states of shape {tuple(place.shape)} for those of shape "
                    f"{tuple(some.shape)}, got {shape}: are `restrict` and `prolong` exchanged?"
                )
            place[...] = result

    return act
