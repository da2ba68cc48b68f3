"""Checkpoints: one file from which a run goes on, on any number of ranks in time."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from pint.comm import on_root
from pint.controls import Control, ControlSpace
from pint.files import check_writable, load_arrays, write_atomically
from pint.mgrit import Convergence
from pint.optimise.result import Iterate
from pint.optimise.run import Run
from pint.optimise.solves import Extrapolation
from pint.reduced_functional import ReducedFunctional

FORMAT = "pint checkpoint 1"


@dataclass
class Checkpoint:
    """Saves a run, and goes on with a saved one.

    The file is an `.npz` archive with control, L-BFGS pairs, the C-points of state and adjoint,
    the state of a random generator, and the history. It is replaced as a whole, so that a process
    that is killed at any moment leaves the last one intact. A resumed run continues with the
    iterates of an uninterrupted one, on any number of ranks in time; states distributed in space
    need as many ranks in space. With a checkpoint, SIGTERM and SIGINT save the run after the
    update at hand and end it, with the status INTERRUPTED.

    Parameters
    ----------
    path : str or Path
        Of the `.npz` file.
    interval : float
        Least time between two files, seconds; 0 for one after every update.
    resume : bool
        Go on with the run in the file. Otherwise there must be no file at `path` yet.
    random : numpy.random.Generator, optional
        The caller's generator, restored in place.

    Raises
    ------
    ValueError
        If `interval` is negative or NaN.
    """

    path: str | Path
    interval: float = 60.0
    resume: bool = False
    random: np.random.Generator | None = None

    def __post_init__(self) -> None:
        if not self.interval >= 0:
            raise ValueError(f"`Checkpoint(interval=...)` must be >= 0, got {self.interval}.")
        self._saved = time.monotonic()

    def begin(self, run: Run) -> bool:
        """Restore `run` in place, and return True, if a run is to be resumed. Collective.

        Raises
        ------
        OSError
            If the file cannot be read, or cannot be written later.
        ValueError
            If there is a file although no run is to be resumed, or it is no checkpoint, or not
            one of this problem. The file stays as it is.
        """
        functional = run.point.functional
        self._saved = time.monotonic()
        if not self.resume:
            _on_root(functional, self._check_free)
            return False
        arrays = _on_root(functional, self._load)
        try:
            self._check_problem(arrays, run)
            self._restore(arrays, run)
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"{self.path} is a damaged checkpoint ({error!r}).") from None
        return True

    def save_if_due(self, run: Run) -> None:
        """Save unless the last file is younger than the interval. Collective."""
        due = _on_root(
            run.point.functional, lambda: time.monotonic() - self._saved >= self.interval
        )
        if due:
            self.save(run)

    def save(self, run: Run) -> None:
        """Write the file. Collective.

        Raises
        ------
        OSError
            On every rank, if it cannot be written; the last file is then intact.
        """
        arrays = self._arrays(run)

        def write() -> None:
            try:
                write_atomically(self.path, lambda file: np.savez(file, **arrays))
            except OSError as error:
                reason = error.strerror or error
                raise OSError(
                    f"cannot write the checkpoint {self.path}: {reason}. What was saved there "
                    "before is intact."
                ) from None

        _on_root(run.point.functional, write)
        self._saved = time.monotonic()

    def _check_free(self) -> None:
        if Path(self.path).exists():
            raise ValueError(
                f"`Checkpoint(path=...)`: {self.path} exists. Go on with it by `resume=True`, or "
                "remove it."
            )
        check_writable(self.path)

    def _load(self) -> dict[str, np.ndarray]:
        check_writable(self.path)
        arrays = load_arrays(self.path)
        if str(arrays.get("format")) != FORMAT:
            raise ValueError(f"{self.path} is no checkpoint of this version of pint.")
        return arrays

    def _arrays(self, run: Run) -> dict[str, Any]:
        """Return all that is saved; complete on rank 0. Collective."""
        point, hessian = run.point, run.hessian
        arrays: dict[str, Any] = {"format": FORMAT, **_signature(point.functional)}
        arrays["run"] = json.dumps(
            {
                "step": run.step,
                "rejected": run.rejected,
                "solves": [type(run.solves).__name__, asdict(run.solves)],  # type: ignore[call-overload]
                "errors": [point.objective_error, point.gradient_error],
                "convergence": [
                    asdict(solution.convergence) if solution.convergence else None
                    for solution in (point.state, point.adjoint)
                ],
                "hessian": [hessian.memory, hessian.rescaled, hessian.scaling],
                "random": None if self.random is None else self.random.bit_generator.state,
            }
        )
        arrays["history"] = json.dumps([asdict(row) for row in run.history])
        arrays["curvatures"] = np.array([curvature for *_, curvature in hessian.pairs])
        arrays.update(_gathered("control", [point.control]))
        arrays.update(_gathered("s", [s for s, _, _ in hessian.pairs]))
        arrays.update(_gathered("y", [y for _, y, _ in hessian.pairs]))
        for name, block in _c_points(run).items():
            arrays[name] = _gather_rows(run.point.functional, block, reverse=name == "adjoint")
        return arrays

    def _check_problem(self, arrays: dict[str, np.ndarray], run: Run) -> None:
        for name, expected in _signature(run.point.functional).items():
            found = arrays[name]
            if found.shape != np.shape(expected) or not (found == expected).all():
                raise ValueError(
                    f"{self.path} belongs to another problem or another solver: its `{name}` is "
                    f"{_short(found)}, here it is {_short(expected)}."
                )

    def _restore(self, arrays: dict[str, np.ndarray], run: Run) -> None:
        functional, point = run.point.functional, run.point
        space = functional.problem.controls
        saved = json.loads(str(arrays["run"]))
        kind, values = saved["solves"]
        if kind != type(run.solves).__name__:
            raise ValueError(
                f"{self.path} was saved with solves of the kind {kind}, not "
                f"{type(run.solves).__name__}: use the same `cycles`."
            )
        for name in EVOLVING & set(values):
            value = values[name]
            setattr(run.solves, name, Extrapolation(**value) if isinstance(value, dict) else value)
        rows = json.loads(str(arrays["history"]))
        run.history = [_iterate(row) for row in rows]
        run.step, run.rejected = saved["step"], saved["rejected"]

        (control,) = _controls(space, "control", arrays, 1)
        count = len(arrays["curvatures"])
        pairs = zip(
            _controls(space, "s", arrays, count),
            _controls(space, "y", arrays, count),
            (float(curvature) for curvature in arrays["curvatures"]),
            strict=True,
        )
        memory, rescaled, scaling = saved["hessian"]
        run.hessian = type(run.hessian)(memory, rescaled, tuple(pairs), scaling)

        for name, block in _c_points(run).items():
            block[...] = _own_rows(functional, arrays[name], reverse=name == "adjoint")
        functional.relax_state(point.state, control)
        functional.relax_adjoint(point.adjoint, point.state)
        point.set_gradient()
        run.solves.evaluate(point)
        point.objective_error, point.gradient_error = saved["errors"]
        of_state, of_adjoint = saved["convergence"]
        point.state.convergence = _convergence(of_state)
        point.adjoint.convergence = _convergence(of_adjoint)
        if self.random is not None and saved["random"] is not None:
            self.random.bit_generator.state = saved["random"]


EVOLVING = {
    "eta",
    "sensitivity",
    "first_residual",
    "state_error",
    "of_objective",
    "of_gradient",
    "of_state",
    "failures",
    "growth",
    "moved",
}
"""What changes in `Solves` from update to update; the rest is the caller's choice."""


def _on_root(functional: ReducedFunctional, function: Any) -> Any:
    """Call `function` on the first rank in time and space, for all ranks. Collective."""
    space_comm = functional.problem.space.comm
    return on_root(space_comm, lambda: on_root(functional.comm, function))


def _signature(functional: ReducedFunctional) -> dict[str, Any]:
    """Return what a checkpoint has in common with every run that can resume it."""
    problem = functional.problem
    grid, space = problem.grid, problem.controls
    names = [f"{name}{list(space.block_shape(name))}" for name in space.fields]
    return {
        "times": grid.t,
        "coarsening": np.array(grid.coarsening[:1], dtype=int),
        "fields": np.array(names),
        "space_ranks": np.array(problem.space.comm.size),
        "state_shape": np.array(_whole_shape(functional)),
    }


def _whole_shape(functional: ReducedFunctional) -> tuple[int, ...]:
    space = functional.problem.space
    if space.comm.size == 1:
        return tuple(space.shape)
    return (sum(space.comm.allgather(space.shape[0])), *space.shape[1:])


def _gathered(name: str, controls: list[Control]) -> dict[str, np.ndarray]:
    """Return the blocks of all steps of some controls, by field. Collective."""
    gathered: dict[str, list[np.ndarray]] = {}
    for control in controls:
        for field, values in control.gather().items():
            gathered.setdefault(field, []).append(values)
    return {f"{name}.{field}": np.array(values) for field, values in gathered.items()}


def _controls(
    space: ControlSpace, name: str, arrays: dict[str, np.ndarray], count: int
) -> list[Control]:
    """Return the controls that `_gathered` made arrays of."""
    return [
        space.control(**{field: arrays[f"{name}.{field}"][number] for field in space.fields})
        for number in range(count)
    ]


def _c_points(run: Run) -> dict[str, Any]:
    """Return views of this rank's C-points of state and adjoint; none on a grid of one level."""
    functional, point = run.point.functional, run.point
    if functional.problem.grid.levels == 1:
        return {}
    return {
        "state": functional.state_solver.c_points(point.state.trajectory),
        "adjoint": functional.adjoint_solver.c_points(point.adjoint.trajectory),
    }


def _gather_rows(functional: ReducedFunctional, block: Any, reverse: bool) -> np.ndarray:
    """Return the C-points of all ranks in the direction of the sweep. Collective."""
    space_comm = functional.problem.space.comm
    if space_comm.size > 1:
        block = np.concatenate(space_comm.allgather(np.asarray(block)), axis=1)
    rows = functional.comm.allgather(np.array(block))
    return np.concatenate(rows[::-1] if reverse else rows)


def _own_rows(functional: ReducedFunctional, rows: np.ndarray, reverse: bool) -> np.ndarray:
    """Return this rank's part of what `_gather_rows` returned. Collective."""
    grid, space = functional.problem.grid, functional.problem.space
    factor = grid.coarsening[0]
    layout = grid.layouts(reverse)[0]
    own = rows[layout.first // factor : layout.last // factor]
    if space.comm.size > 1:
        lengths = space.comm.allgather(space.shape[0])
        start = sum(lengths[: space.comm.rank])
        own = own[:, start : start + lengths[space.comm.rank]]
    return own


def _convergence(saved: dict[str, Any] | None) -> Convergence | None:
    return Convergence(tuple(saved["residuals"]), saved["converged"]) if saved else None


def _iterate(row: dict[str, Any]) -> Iterate:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
    }
    return Iterate(**{field.name: values[field.name] for field in fields(Iterate)})


def _short(value: Any) -> str:
    return np.array2string(np.asarray(value), threshold=6, edgeitems=2)
