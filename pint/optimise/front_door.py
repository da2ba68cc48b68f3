"""The one verb of the package: minimise a functional by a method."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from pint.comm import agreeing, ending_all_ranks
from pint.controls import Control
from pint.interface import Problem
from pint.optimise.checkpoint import Checkpoint
from pint.optimise.method import Callback, Method
from pint.optimise.reduced_space import ReducedSpace
from pint.optimise.result import Result
from pint.reduced_functional import ReducedFunctional

VALUES = {
    "lbfgs": "pint.ReducedSpace()",
    "reduced": "pint.ReducedSpace()",
    "one-shot": "pint.OneShot()",
    "lagged": "pint.Lagged()",
    "adaptive": "pint.Adaptive()",
    "gauss-newton": "pint.GaussNewton()",
}
"""What a name that is given as a method stands for."""


def minimize(
    functional: ReducedFunctional,
    start: Control | None = None,
    method: Method = ReducedSpace(),  # noqa: B008  (a frozen value)
    *,
    callback: Callback | None = None,
    checkpoint: Checkpoint | None = None,
    **unknown: Any,
) -> Result:
    """Minimise ``J(u, theta)`` by a method. Collective.

    Parameters
    ----------
    functional : ReducedFunctional
        J: a problem on a time grid.
    start : Control, optional
        Where to start; projected to the bounds. By default zero.
    method : Method
        `ReducedSpace`, `OneShot`, `Lagged`, `Adaptive`, `GaussNewton`, `Stochastic`, `External`,
        `Nested` or `MultiStart`, with its options.
    callback : callable, optional
        Receives each `Iterate`, its control and its state, which it cannot change. The run ends
        with the status STOPPED if it returns True or raises StopIteration; other results are
        ignored.
    checkpoint : Checkpoint, optional
        Where to save the run, and whether to resume a saved one; for `ReducedSpace`, `OneShot`,
        `Lagged`, `Adaptive`, `GaussNewton` and `Stochastic`.

    Returns
    -------
    Result
        Evaluated with exact state and adjoint, whatever accuracy was used before.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, `start` is no control of the problem on this grid, or
        the method does not suit the problem or the grid.
    NotFiniteError
        If the objective at the first control is NaN or infinite.
    CheckpointError
        If the run cannot begin with the checkpoint; an OSError and a ValueError.
    OSError
        If the checkpoint cannot be written later.
    """
    _check_functional(functional)
    comm, space = functional.comm, functional.space.comm
    with agreeing(comm, "minimize", space) as ranks:
        _check_unknown(unknown, method)
        start = _checked_start(functional, start, method)
        _check_options(method, callback, checkpoint)
        method.check(functional.problem, functional.grid)
        ranks.same = {
            "method": method,
            "checkpoint": _compared(checkpoint),
            "callback": "none" if callback is None else "a function",
        }
        start.space.require_agreement(ranks, start, "start")
    with ending_all_ranks(functional.ranks_to_end):
        return method.run(functional, start, callback, checkpoint)


def _compared(checkpoint: Checkpoint | None) -> Checkpoint | None:
    """Return what all ranks must have alike of a checkpoint."""
    if checkpoint is None:
        return None
    # Rank 0 decides whether a run is resumed; the file then restores the random generator.
    return replace(
        checkpoint, resume=False, random=None if checkpoint.resume else checkpoint.random
    )


def _check_unknown(unknown: dict[str, Any], method: Any) -> None:
    """Raise TypeError if there are options that `minimize` does not have, or no method."""
    _check_method(method)
    for name in unknown:
        own = [field.name for field in fields(method)]
        hint = "it has `functional`, `start`, `method`, `callback`, `checkpoint`"
        if name in own:
            hint = f"it belongs to the method: `pint.{type(method).__name__}({name}=...)`"
        raise TypeError(f"`minimize` has no option `{name}`; {hint}.")


def _check_functional(functional: Any) -> None:
    if isinstance(functional, Problem):
        raise TypeError(
            "`minimize(functional=...)` must be a ReducedFunctional, got Problem: give it a time "
            "grid by `pint.ReducedFunctional(problem, grid)`."
        )
    if not isinstance(functional, ReducedFunctional):
        raise TypeError(
            "`minimize(functional=...)` must be a ReducedFunctional, got "
            f"{type(functional).__name__}."
        )


def _check_method(method: Any) -> None:
    if isinstance(method, Method):
        return
    if isinstance(method, type) and issubclass(method, Method):
        raise TypeError(
            f"`minimize(method=...)` must be a value, got the class {method.__name__}: write "
            f"`pint.{method.__name__}(...)`, with its options in the brackets."
        )
    found, value = type(method).__name__, "pint.OneShot(cycles=2)"
    if isinstance(method, str):
        found, value = f"the string {method!r}", VALUES.get(method, value)
        if method.partition(":")[0] in ("scipy", "tao"):
            value = f'pint.External("{method}")'
    raise TypeError(f"`minimize(method=...)` must be a value such as `{value}`, got {found}.")


def _checked_start(functional: ReducedFunctional, start: Any, method: Method) -> Control:
    if start is None:
        return functional.controls.zeros()
    if isinstance(start, Method):  # `minimize(functional, pint.OneShot())`, an easy slip
        raise TypeError(
            f"`minimize(start=...)` must be a control, got {type(start).__name__}: write "
            f"`minimize(functional, method=pint.{type(start).__name__}(...))`."
        )
    # `Nested` prolongs a start from another grid.
    if not (method.takes_any_grid and isinstance(start, Control)):
        functional.controls.require_fitting(start)
    return start


def _check_options(method: Method, callback: Any, checkpoint: Any) -> None:
    if callback is not None and not callable(callback):
        raise TypeError(
            "`minimize(callback=...)` must be a function of iterate, control and state, got "
            f"{type(callback).__name__}."
        )
    if checkpoint is None:
        return
    if not isinstance(checkpoint, Checkpoint):
        raise TypeError(
            "`minimize(checkpoint=...)` must be a Checkpoint, got "
            f"{type(checkpoint).__name__}: write `pint.Checkpoint(path)`."
        )
    if not method.takes_checkpoint:
        raise ValueError(
            f"`minimize(checkpoint=...)`: a run of `{type(method).__name__}` cannot be resumed; "
            "`ReducedSpace`, `OneShot`, `Lagged`, `Adaptive`, `GaussNewton` and `Stochastic` take "
            "checkpoints."
        )
