"""The content of a checkpoint: a run as arrays of all ranks, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pint.comm import fingerprint, gather_rows, reduce
from pint.controls import Control, ControlSpace
from pint.equations import Relax
from pint.optimise.history_table import HistoryTable
from pint.optimise.identity import signature
from pint.optimise.lbfgs import InverseHessian
from pint.optimise.result import Iterate
from pint.optimise.run import Run
from pint.reduced_functional import ReducedFunctional

FORMAT = "pint checkpoint 4"


@dataclass(frozen=True)
class SavedRun:
    """What a file says of a run, on every rank.

    Attributes
    ----------
    arrays : dict of str to ndarray
        Control, pairs and what solves start from, the rows of all ranks.
    history : list of Iterate
    numbers : dict
        What `Run.state_dict` returned.
    scaling : float
        Of the inverse Hessian.
    random : dict or None
        The state of the caller's random generator.
    """

    arrays: dict[str, np.ndarray]
    history: list[Iterate]
    numbers: dict[str, Any]
    scaling: float
    random: dict[str, Any] | None

    def restore(self, run: Run) -> None:
        """Make `run`, in place, the saved one. Collective.

        Raises
        ------
        ValueError
            On every rank, if an inner product is not that of the pairs.
        """
        functional, point, space = run.point.functional, run.point, run.point.functional.controls
        count = len(self.arrays["products"][0])
        pairs = zip(*(_controls(space, name, self.arrays, count) for name in "sy"), strict=True)
        run.hessian = replace(
            run.hessian,
            pairs=tuple(pairs),
            products=self.arrays["products"],
            scaling=self.scaling,
        )
        _check_products(run.hessian)
        run.history = self.history
        for name, block in c_points(run).items():
            block[...] = _own_rows(functional, self.arrays[name], len(block))
        # With their C-points in place, the trajectories count as solved before.
        (point.state.control,) = _controls(space, "control", self.arrays, 1)
        functional.state.solve(point.state, point.state.control, Relax())
        if run.strategy.inner.lagged:
            functional.state.correct(point.state)
        point.adjoint.solution = point.state.solution
        functional.adjoint.solve(point.adjoint, point.state, Relax())
        run.load_state_dict(self.numbers)  # last, because the solves have set some of them
        point.form_gradient()
        point.evaluate()


def arrays_of(
    run: Run, content: Mapping[str, int], table: HistoryTable, random: Mapping[str, Any] | None
) -> dict[str, np.ndarray]:
    """Return all that is saved of a run; complete on the first rank. Collective.

    Parameters
    ----------
    run : Run
    content : mapping of str to int
        Of the problem, as the run found it: `identity.content_of`.
    table : HistoryTable
        Receives the rows of the history that it has not yet.
    random : mapping or None
        The state of the caller's random generator.
    """
    functional, hessian = run.point.functional, run.hessian
    table.extend(run.history)
    arrays: dict[str, np.ndarray] = {
        "format": np.array(FORMAT),
        **signature(run),
        "problem": _text(content),
        # As text, numbers are restored to the last bit, and nothing has to be unpickled.
        "run": _text({"numbers": run.state_dict(), "scaling": hessian.scaling, "random": random}),
        "history": table.values,
        "history_columns": np.array(table.names),
        # Saved, because sums of another order would differ in the last bits.
        "products": hessian.products,
        "trajectory": trajectory_norm(run),
    }
    arrays.update(_gathered("control", [run.point.control]))
    arrays.update(_gathered("s", [s for s, _ in hessian.pairs]))
    arrays.update(_gathered("y", [y for _, y in hessian.pairs]))
    for name, block in c_points(run).items():
        arrays[name] = _gather_rows(functional, block)
    return arrays


def sealed(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the arrays with another one, which has the fingerprint of each. Not collective."""
    digests = {name: fingerprint(np.asarray(array)) for name, array in arrays.items()}
    return {**arrays, "digests": _text(digests)}


def trajectory_norm(run: Run) -> np.ndarray:
    """Return the norm of the states at all points, an array of shape (1,). Collective.

    F-points are one step, or a few, from the C-points, so that the norm tells the steps of one
    problem from those of another. Where only C-points are stored the shape is (0,).
    """
    functional, points = run.point.functional, run.point.state.points
    if functional.state.intervals is not None:
        return np.empty(0)
    space, comm = functional.space, functional.comm
    squared = reduce(comm, space.squared_norm(points[0 if comm.rank == 0 else 1 :]))
    return np.sqrt(reduce(space.comm, squared))


def c_points(run: Run) -> dict[str, Any]:
    """Return views of what solves start from, by C-point of this rank; nothing with one level."""
    functional, known = run.point.functional, {}
    if functional.grid.levels == 1:
        return {}
    for name in ("state", "adjoint"):
        equation, solution = getattr(functional, name), getattr(run.point, name)
        known[name] = equation.solver.c_points(solution.points)
        # Lagged solves start from these, too.
        if run.strategy.inner.lagged:
            level = equation.solver.levels[1]
            own = level.place(range(1, level.layout.local_steps + 1))
            known[f"{name}_tau"] = equation.tau_of(solution)[own]
    return known


def _check_products(hessian: InverseHessian) -> None:
    """Raise ValueError unless the inner products are those of the pairs. Collective."""
    if not hessian.pairs:
        return
    found, s_squared = hessian.measured(hessian.pairs[0][0].space.counted_weights)
    norms = np.sqrt([s_squared, found[1].diagonal()])
    wrong = ~(abs(hessian.products - found) <= 1e-8 * norms[:, :, None] * norms[1])
    if wrong.any():
        where = tuple(np.argwhere(wrong)[0])
        raise ValueError(
            f"`products` has {hessian.products[where]:.10g} for a pair with "
            f"({'sy'[where[0]]}, y) = {found[where]:.10g}"
        )


def _gathered(name: str, controls: list[Control]) -> dict[str, np.ndarray]:
    """Return the blocks of all steps of some controls, by field. Collective."""
    gathered: dict[str, list[np.ndarray]] = {}
    for control in controls:
        for field, values in control.gather().items():
            gathered.setdefault(field, []).append(values)
    return {f"{name}.{field}": np.array(values) for field, values in gathered.items()}


def _controls(
    space: ControlSpace, name: str, arrays: Mapping[str, np.ndarray], count: int
) -> list[Control]:
    """Return the controls that `_gathered` made arrays of."""
    return [
        space.scatter({field: arrays[f"{name}.{field}"][number] for field in space.fields})
        for number in range(count)
    ]


def _gather_rows(functional: ReducedFunctional, block: Any) -> np.ndarray:
    """Return the C-points of all ranks, ascending in time. Collective."""
    space = functional.space
    own = space.as_array(block)
    if space.comm.size > 1:
        own = gather_rows(space.comm, own, 1 + space.axis)
    return gather_rows(functional.comm, own)


def _own_rows(functional: ReducedFunctional, rows: np.ndarray, count: int) -> np.ndarray:
    """Return this rank's `count` rows of what `_gather_rows` returned. Collective."""
    space, counts = functional.space, functional.comm.allgather(count)
    before = sum(counts[: functional.comm.rank])
    own = rows[before : before + count]
    if space.comm.size > 1:
        lengths = space.comm.allgather(space.shape[space.axis])
        start = sum(lengths[: space.comm.rank])
        part = slice(start, start + lengths[space.comm.rank])
        own = own[(slice(None),) * (1 + space.axis) + (part,)]
    return own


def _text(values: Any) -> np.ndarray:
    """Return JSON; the states of some random generators contain arrays."""
    return np.array(json.dumps(values, default=lambda value: value.tolist()))
