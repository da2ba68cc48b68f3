"""What users' methods return: checked, and added to the derivatives where it belongs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any
from weakref import ref

import numpy as np

from pint.comm import alike, sums_and_means
from pint.controls import Control, Lifted
from pint.errors import ComplexWarning, shown
from pint.interface import Fields, Problem, TimeStepper
from pint.states import LevelTransfer, StateSpace, Transfer, one_by_one

Views = tuple[Mapping[str, Any], Mapping[str, Any]]
"""Views of a derivative by field name: the rows of some steps, and the shared fields."""

KINDS = ("time-dependent", "shared")

STEP_ARGUMENTS = ("s", "y", "u", "theta", "lam")
"""Of a step and its transposes."""

MOST_WATCHED = 100
"""Calls of a method that are watched at most."""


def spaces_of(
    steppers: Sequence[TimeStepper], space: StateSpace
) -> tuple[list[StateSpace], list[LevelTransfer | None]]:
    """Return the space of the states of each level, and what lies between it and the finer one.

    `steppers` are those of all levels, `space` that of the first. Collective in space.

    Raises
    ------
    TypeError
        If `TimeStepper.transfer` returns anything else than a Transfer or None.
    ValueError
        If a transfer does not fit the spaces, or is missing.
    """
    finest, spaces = steppers[0], [space]
    transfers: list[LevelTransfer | None] = [None]
    for level, stepper in enumerate(steppers[1:], 1):
        name = f"`{type(finest).__name__}.transfer({level})`"
        found = finest.transfer(level)
        if found is None:
            _require_same_states(stepper, spaces[-1], name)
            spaces.append(spaces[-1])
            transfers.append(None)
            continue
        if not isinstance(found, Transfer):
            raise TypeError(f"{name} must be a pint.Transfer or None, got {shown(found)}.")
        if stepper.batched != finest.batched:
            raise ValueError(
                f"`{type(stepper).__name__}.batched` must be {finest.batched}, as that of the "
                "stepper of level 0."
            )
        spaces.append(stepper.space)
        transfers.append(found.between(spaces[-2], spaces[-1], stepper.batched, name))
    return spaces, transfers


def _require_same_states(stepper: TimeStepper, space: StateSpace, name: str) -> None:
    """Raise ValueError if a coarse stepper has other states, without a transfer to them."""
    # A stepper of coarse levels alone may do without an initial state, and so without a space.
    known = getattr(stepper, "initial_state", None) is not None
    if not known and type(stepper).space is TimeStepper.space:
        return
    if stepper.space.shape != space.shape:
        raise ValueError(
            f"{name} is None, but the stepper of that level, `{type(stepper).__name__}`, has "
            f"states of shape {stepper.space.shape}, the one before of shape {space.shape}: "
            "return a pint.Transfer between them."
        )


def as_rows(rows: range) -> slice:
    """Return an ascending range as a slice."""
    return slice(rows.start, rows.stop, rows.step)


def shifted(rows: range, by: int) -> range:
    """Return the range of ``rows + by``."""
    return range(rows.start + by, rows.stop + by, rows.step)


def rows_after(rows: Any) -> Any:
    """Return the rows one after some rows, or one row."""
    return slice(rows.start + 1, rows.stop + 1, rows.step) if isinstance(rows, slice) else rows + 1


def checked(result: Any, expected: Any, owner: object, method: str) -> Any:
    """Return a user's result if it has the shape of `expected` and is real, or raise an error."""
    if getattr(result, "shape", ()) != expected.shape:
        raise ValueError(
            f"`{type(owner).__name__}.{method}` must return an array of shape {expected.shape}, "
            f"got {getattr(result, 'shape', type(result).__name__)}."
        )
    if type(result) is not np.ndarray and np.ma.is_masked(result):
        raise TypeError(
            f"`{type(owner).__name__}.{method}` must return real numbers, got an array that masks "
            "some of them."
        )
    # Arrays of other libraries have types of their own, and refuse what does not fit.
    if getattr(getattr(result, "dtype", None), "kind", "f") not in "fiu":
        raise TypeError(
            f"`{type(owner).__name__}.{method}` must return real numbers, got {result.dtype}."
        )
    return result


def checked_slope(result: Any, expected: Any, owner: object, method: str) -> Any:
    """Do as `checked`, but let the number 0.0 pass."""
    if isinstance(result, (int, float)) and result == 0.0:
        return 0.0
    return checked(result, expected, owner, method)


def checked_number(result: Any, owner: object, method: str) -> float:
    """Return a user's cost as a float, or raise an error."""
    if type(result) is float:
        return result
    shape = getattr(result, "shape", ())
    if tuple(shape) != ():
        raise ValueError(
            f"`{type(owner).__name__}.{method}` must return one number, got an array of shape "
            f"{tuple(shape)}."
        )
    kind = getattr(getattr(result, "dtype", None), "kind", "f")
    try:
        if kind not in "fiu" or isinstance(result, (str, bytes, bool)):
            raise TypeError
        return float(result)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(
            f"`{type(owner).__name__}.{method}` must return a real number, got {shown(result)}."
        ) from None


def checked_control(result: Any, owner: object, method: str) -> Control:
    """Return a user's derivative if it is a control of real numbers, or raise TypeError."""
    if not isinstance(result, Control) or result.vector.dtype.kind != "f":
        got = f"one of {result.vector.dtype}" if isinstance(result, Control) else shown(result)
        raise TypeError(
            f"`{type(owner).__name__}.{method}` must return a pint.Control of real numbers, "
            f"got {got}."
        )
    return result


def require_same_shared(part: Control, owner: object, comm: Any) -> None:
    """Raise ValueError if ranks have other derivatives with respect to shared fields. Collective.

    The fields would then differ from rank to rank after the next update.
    """
    shared = [part[name].ravel() for name in part.space.shared_fields]
    if shared and not sums_and_means(comm, [], np.concatenate(shared))[2]:
        raise alike(
            ValueError(
                f"`{type(owner).__name__}.derivative` must have the same shared fields on all "
                "ranks: sum over the ranks what is a sum over steps."
            )
        )


def unpacked(result: Any, count: int, owner: object, method: str) -> Any:
    """Return the parts of a user's result, or raise TypeError unless there are `count`."""
    if not isinstance(result, (tuple, list)) or len(result) != count:
        got = f"{len(result)} of them" if isinstance(result, (tuple, list)) else shown(result)
        raise TypeError(
            f"`{type(owner).__name__}.{method}` must return {count} results, got {got}."
        )
    return result


class Methods(list[Any]):
    """A user's methods by level: a list that can be referred to weakly."""


def watched(methods: Methods, level: int, owner: Any, name: str) -> Watch:
    """Let the first calls of ``methods[level]`` raise an error where they do what they must not.

    A step in place may write complex numbers, which lose their imaginary parts; `vjp` returns three
    results; no method changes its arguments. Later calls are those of the method alone.
    """
    method = methods[level]

    # Not the list itself: it would keep the user's objects until Python looks for cycles.
    place, of_ode = (
        ref(methods),
        f" of `{type(owner.ode).__name__}`" if hasattr(owner, "ode") else "",
    )
    watch = Watch(f"`{type(owner).__name__}.{name}`{of_ode}", STEP_ARGUMENTS)

    def first(*arguments: Any, **options: Any) -> Any:
        known = place()
        if known is None or known[level] is method:
            return method(*arguments, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ComplexWarning)
            try:
                before = watch.copies(arguments)
                result = method(*arguments, **options)
                watch.compare(arguments, before)
            except (ComplexWarning, TypeError) as error:
                refused = "UFunc" in type(error).__name__ and "complex" in str(error)
                if isinstance(error, TypeError) and not refused:
                    raise
                text = f"{watch.method} must write real numbers, got complex ones."
                raise TypeError(text) from None
        if name == "vjp":
            for values, kind in zip(unpacked(result, 3, owner, name)[1:], KINDS, strict=True):
                require_mapping(values, kind, owner)
        if watch.is_over:
            known[level] = method
        return result

    methods[level] = first
    return watch


class Watch:
    """Raises ValueError where a user's method has changed one of its arguments.

    What a call with zeros leaves as it is may change with other numbers: the watch is over after
    the first call without an argument that is zero throughout, and after `MOST_WATCHED` calls.

    Parameters
    ----------
    method : str
        How to name the method in the error.
    arguments : sequence of str
        The names of its arguments, in order.

    Attributes
    ----------
    is_over : bool
    """

    def __init__(self, method: str, arguments: Sequence[str]) -> None:
        self.method, self.arguments = method, arguments
        self.is_over, self._calls = False, 0

    def copies(self, arguments: Sequence[Any]) -> list[dict[str, np.ndarray]]:
        """Return copies of the arrays of arguments, before a call."""
        return [
            {name: part.copy() for name, part in _arrays(argument).items()}
            for argument in arguments
        ]

    def compare(self, arguments: Sequence[Any], before: list[dict[str, np.ndarray]]) -> None:
        """Compare arguments with their copies, after a call."""
        if self.is_over:
            return
        for name, argument, old in zip(self.arguments, arguments, before, strict=False):
            now = _arrays(argument)
            if now.keys() != old.keys() or any(
                now[part].tobytes() != old[part].tobytes() for part in old
            ):
                raise ValueError(
                    f"{self.method} must not change its arguments, but has changed `{name}`: work "
                    "on a copy."
                )
        self._calls += 1
        shown = all(np.any(part) for old in before for part in old.values())
        self.is_over = self.is_over or shown or self._calls >= MOST_WATCHED


def watches(problem: Problem) -> dict[str, Watch]:
    """Return watches of the methods that are called by name, by these names."""
    stepper, adjoint, objective = problem.stepper, problem.adjoint, problem.objective
    of_cost = ("s", "y0", "y1", "u", "theta")
    return {
        name: Watch(f"`{type(owner).__name__}.{name}`", arguments)
        for owner, name, arguments in (
            (stepper, "initial", ("theta",)),
            (adjoint, "initial_vjp", ("theta", "lam0")),
            (objective, "step_cost", of_cost),
            (objective, "step_cost_derivative", of_cost),
            (objective, "terminal", ("y", "theta")),
            (objective, "terminal_derivative", ("y", "theta")),
        )
    }


def _arrays(argument: Any) -> dict[str, np.ndarray]:
    """Return the arrays of an argument by name."""
    parts = argument if isinstance(argument, Mapping) else {"": argument}
    return {name: part for name, part in parts.items() if isinstance(part, np.ndarray)}


def add(into: Views, du: Fields, dtheta: Fields, owner: object, scale: float = 1.0) -> None:
    """Add a user's derivatives, times `scale`, to views of a control, in place."""
    if du:
        add_fields(into[0], du, KINDS[0], owner, scale)
    if dtheta:
        add_fields(into[1], dtheta, KINDS[1], owner, scale)


def require_mapping(values: Any, kind: str, owner: object) -> None:
    """Raise TypeError unless a user's derivatives are by name."""
    if not isinstance(values, Mapping):
        raise TypeError(
            f"`{type(owner).__name__}` must return the derivatives by {kind} field as a mapping, "
            f"got {shown(values)}."
        )


def add_fields(
    views: Mapping[str, Any], values: Fields, kind: str, owner: object, scale: float = 1.0
) -> None:
    """Add derivatives, times `scale`, to views by field name, in place; check names and shapes."""
    if type(values) is not dict:
        require_mapping(values, kind, owner)
    for name, value in values.items():
        if name not in views:
            raise ValueError(
                f"`{type(owner).__name__}` returned a derivative for `{name}`, which is no {kind} "
                f"field; these are {list(views)}."
            )
        place = views[name]
        plain = type(value) is np.ndarray and value.dtype is place.dtype
        if not plain or value.shape != place.shape:
            checked(value, place, owner, f"derivative[{name!r}]")
        place += value if scale == 1.0 else scale * value


def spoil(views: Views | None) -> None:
    """Fill views of a derivative with NaN, in place."""
    for places in views or ():
        for place in places.values():
            place[...] = math.nan


def at_rows(control: Control | Lifted, rows: Any) -> Views:
    """Return the views of a control at the steps of some rows, and of its shared fields."""
    # With an ellipsis a block that is one number is a view, too.
    places = rows if rows is ... else (rows, ...)
    return {name: values[places] for name, values in control.time.items()}, control.shared


def singly(kept: Any, backward: bool = False) -> Any:
    """Return what steps keep, one by one, as blocks of one row."""
    if kept is None or isinstance(kept, list):
        return kept[::-1] if backward and kept is not None else kept
    return one_by_one(kept, backward)


def blocks_of(fields: Mapping[str, Any], batched: bool, backward: bool = False) -> Iterable[Any]:
    """Return the tuples of the fields' blocks, one by one, as batches of one if `batched`."""
    if not fields:
        return repeat(())
    rows: list[Iterable[Any]]
    if batched:
        rows = [one_by_one(values, backward) for values in fields.values()]
    else:
        rows = [_views(values, backward) for values in fields.values()]
    return zip(*rows, strict=True)


def _views(values: Any, backward: bool) -> Iterable[Any]:
    """Return the rows of an array one by one, as views even where they are single numbers."""
    if not isinstance(values, np.ndarray):  # other arrays may know no negative strides
        rows = range(len(values))
        return (values[row, ...] for row in (reversed(rows) if backward else rows))
    values = values[::-1] if backward else values
    return values if values.ndim > 1 else (values[row, ...] for row in range(len(values)))


def moved(
    matrices: np.ndarray, states: Iterable[Any], sources: Iterable[Any]
) -> Iterator[np.ndarray]:
    """Yield for each step its matrix times the state where it begins, plus a source or None.

    Each state is read when its step is about to be made: it may be the result of the step before.
    """
    for matrix, state, source in zip(matrices, states, sources, strict=False):
        product: np.ndarray = (matrix @ state.reshape(-1)).reshape(state.shape)
        yield product if source is None else product + source
