"""Checkpoints: one file from which a run goes on, on any number of ranks in time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from pint.comm import ending_all_ranks, on_root
from pint.controls import Control, ControlSpace
from pint.mgrit import Convergence
from pint.optimise.lbfgs import InverseHessian
from pint.optimise.result import Iterate
from pint.optimise.run import Run
from pint.optimise.solves import Extrapolation
from pint.reduced_functional import ReducedFunctional
from pint.report.files import check_writable, load_arrays, remove_leftovers, write_atomically

FORMAT = "pint checkpoint 1"


@dataclass
class Checkpoint:
    """Saves a run, and goes on with a saved one.

    The file is an `.npz` archive with control, L-BFGS pairs, the C-points of state and adjoint
    (of lagged solves their right-hand sides of level 1, too), the state of a random generator, and
    the history. It is replaced as a whole, so that a process that is killed at any moment leaves
    the last one intact. A resumed run continues with the iterates of an uninterrupted one, on any
    number of ranks in time; states distributed in space need as many ranks in space. It is also
    written when the run has converged or reached its iteration limit. With a checkpoint, SIGTERM
    and SIGINT save the run after the update at hand and end it, with the status INTERRUPTED.

    Parameters
    ----------
    path : str or Path
        Of the `.npz` file.
    interval : float
        Least time between two files, seconds; 0 for one after every update.
    resume : bool
        Go on with the run in the file. Otherwise there must be no file at `path` yet.
    random : numpy.random.Generator, optional
        The caller's generator, the same on every rank, restored in place.

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

        Errors are raised alike on every rank, and the file stays as it is.

        Raises
        ------
        OSError
            If the file cannot be read, or cannot be written later.
        ValueError
            If there is a file although no run is to be resumed, or it is no checkpoint, or not
            one of this problem.
        """
        functional = run.point.functional
        self._saved = time.monotonic()
        arrays = _on_root(functional, self._open)
        if arrays is not None:
            with self._naming_damage():
                difference = self._difference(arrays, run)
                saved = None if difference else _read(arrays, run)
            if saved is None:
                raise ValueError(f"{self.path} {difference}.")
            with ending_all_ranks(functional.ranks_to_end):
                _restore(saved, run)
            self._check_objective(run)
            if self.random is not None and saved.random is not None:
                self.random.bit_generator.state = saved.random
        _on_root(functional, lambda: remove_leftovers(self.path))
        return arrays is not None

    def save_if_due(self, run: Run, at_once: bool = False) -> None:
        """Save `at_once`, or if the last file is older than the interval. Collective."""
        due = _on_root(
            run.point.functional, lambda: time.monotonic() - self._saved >= self.interval
        )
        if due or at_once:
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
            with self._naming_file("What was saved there before is intact."):
                write_atomically(self.path, lambda file: np.savez(file, **arrays))

        _on_root(run.point.functional, write)
        self._saved = time.monotonic()

    def _open(self) -> dict[str, np.ndarray] | None:
        """Return what is in the file, None if no run is to be resumed. On one rank."""
        path = Path(self.path)
        if path.is_dir():
            raise IsADirectoryError(f"`Checkpoint(path=...)`: {path} is a folder.")
        if not self.resume and path.exists():
            raise ValueError(
                f"`Checkpoint(path=...)`: {path} exists. Go on with it by `resume=True`, or "
                "remove it."
            )
        if self.resume and not path.exists():
            raise FileNotFoundError(
                f"`Checkpoint(resume=True)`: there is no file {path}; begin without `resume`."
            )
        arrays = load_arrays(path) if self.resume else None
        if arrays is not None and str(arrays.get("format")) != FORMAT:
            raise ValueError(f"{path} is no checkpoint of this version of pint.")
        with self._naming_file("Choose another `Checkpoint(path=...)`."):
            check_writable(path)
        return arrays

    @contextmanager
    def _naming_file(self, advice: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise OSError(f"cannot write the checkpoint {self.path}: {reason}. {advice}") from None

    @contextmanager
    def _naming_damage(self) -> Iterator[None]:
        """Name the file in errors of its content."""
        try:
            yield
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            raise ValueError(
                f"{self.path} is damaged, or a checkpoint of another version of pint ({error!r})."
            ) from None

    def _arrays(self, run: Run) -> dict[str, Any]:
        """Return all that is saved; complete on rank 0. Collective."""
        point, hessian = run.point, run.hessian
        arrays: dict[str, Any] = {"format": FORMAT, **_signature(run)}
        arrays["run"] = _text(
            {
                "step": run.step,
                "rejected": run.rejected,
                "solves": asdict(run.solves),  # type: ignore[call-overload]
                "errors": [point.objective_error, point.gradient_error],
                "correction": _correction(run),
                "convergence": [
                    asdict(solution.convergence) if solution.convergence else None
                    for solution in (point.state, point.adjoint)
                ],
                "scaling": hessian.scaling,
                "random": None if self.random is None else self.random.bit_generator.state,
            }
        )
        arrays["history"] = _text([asdict(row) for row in run.history])
        arrays["curvatures"] = np.array([curvature for *_, curvature in hessian.pairs])
        arrays.update(_gathered("control", [point.control]))
        arrays.update(_gathered("s", [s for s, _, _ in hessian.pairs]))
        arrays.update(_gathered("y", [y for _, y, _ in hessian.pairs]))
        for name, block in _c_points(run).items():
            arrays[name] = _gather_rows(run.point.functional, block, reverse="adjoint" in name)
        return arrays

    def _difference(self, arrays: dict[str, np.ndarray], run: Run) -> str | None:
        """Return what tells the saved run from `run`, if anything does. Collective."""
        for name, expected in _signature(run).items():
            if not np.array_equal(arrays[name], expected):
                return (
                    f"belongs to another problem or another solver: its `{name}` is "
                    f"{_short(arrays[name])}, here it is {_short(expected)}"
                    + (" (use the same `cycles` again)" if name == "solves" else "")
                )
        if self.random is not None:
            found = (json.loads(str(arrays["run"]))["random"] or {}).get("bit_generator")
            expected = self.random.bit_generator.state["bit_generator"]
            if found != expected:
                return (
                    f"was saved with `Checkpoint(random=...)` of the kind {found}, not {expected}"
                )
        return None

    def _check_objective(self, run: Run) -> None:
        """Refuse the run of a problem that differs in its equation or its cost. Collective."""
        found, saved = run.point.value.objective, run.history[-1].objective
        # Sums of other ranks and inner solvers of the steps leave differences, far smaller ones.
        largest = max(abs(row.objective) for row in run.history)
        if not abs(found - saved) <= 1e-3 * abs(saved) + 1e-6 * largest:
            raise ValueError(
                f"{self.path} belongs to another problem: its objective is {saved:.10g}, here the "
                f"same control and state have {found:.10g}."
            )


@dataclass(frozen=True)
class Saved:
    """The content of a file, on every rank."""

    control: Control
    hessian: InverseHessian
    solves: dict[str, Any]
    history: list[Iterate]
    step: float
    rejected: int
    errors: tuple[float, float]
    correction: float
    convergence: tuple[Convergence | None, Convergence | None]
    c_points: dict[str, np.ndarray]
    random: dict[str, Any] | None


def _read(arrays: dict[str, np.ndarray], run: Run) -> Saved:
    """Return what the arrays say; any error means that they are damaged. Not collective.

    Everything is looked at on every rank before the first message, so that all find the same.
    """
    functional = run.point.functional
    saved = json.loads(str(arrays["run"]))
    history = [_iterate(row) for row in json.loads(str(arrays["history"]))]
    if not history:
        raise ValueError("no history")
    (control,) = _controls(functional.problem.controls, "control", arrays, 1)
    count = len(arrays["curvatures"])
    pairs = zip(
        _controls(functional.problem.controls, "s", arrays, count),
        _controls(functional.problem.controls, "y", arrays, count),
        (float(curvature) for curvature in arrays["curvatures"]),
        strict=True,
    )
    solves = {
        name: Extrapolation(**value) if isinstance(value, dict) else value
        for name, value in saved["solves"].items()
        if name in EVOLVING
    }
    c_points = {name: arrays[name] for name in _c_points(run)}
    grid = functional.problem.grid
    for name, rows in c_points.items():
        expected = (grid.steps // grid.coarsening[0], *arrays["state_shape"])
        if rows.shape != expected or rows.dtype.kind not in "fc":
            raise ValueError(f"`{name}` has shape {rows.shape}, not {expected}")
    objective_error, gradient_error = saved["errors"]
    of_state, of_adjoint = saved["convergence"]
    return Saved(
        control=control,
        hessian=replace(run.hessian, pairs=tuple(pairs), scaling=float(saved["scaling"])),
        solves=solves,
        history=history,
        step=float(saved["step"]),
        rejected=int(saved["rejected"]),
        errors=(float(objective_error), float(gradient_error)),
        correction=float(saved["correction"]),
        convergence=(_convergence(of_state), _convergence(of_adjoint)),
        c_points=c_points,
        random=saved["random"],
    )


def _restore(saved: Saved, run: Run) -> None:
    """Make `run`, in place, the saved one. Collective."""
    functional, point = run.point.functional, run.point
    for name, value in saved.solves.items():
        setattr(run.solves, name, value)
    run.hessian, run.history = saved.hessian, saved.history
    run.step, run.rejected = saved.step, saved.rejected
    for name, block in _c_points(run).items():
        block[...] = _own_rows(functional, saved.c_points[name], reverse="adjoint" in name)
    functional.relax_state(point.state, saved.control)
    functional.relax_adjoint(point.adjoint, point.state)
    point.set_gradient()
    run.solves.evaluate(point)
    point.value = point.value.corrected(saved.correction)
    point.objective_error, point.gradient_error = saved.errors
    point.state.convergence, point.adjoint.convergence = saved.convergence


def _correction(run: Run) -> float:
    """Return what a lagged solve added to the objective of its state. Collective."""
    if not run.solves.lagged:
        return 0.0
    return run.point.value.objective - run.point.functional.objective(run.point.state).objective


EVOLVING = {
    "effort",
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


def _signature(run: Run) -> dict[str, Any]:
    """Return what a checkpoint has in common with every run that can resume it. Collective."""
    functional = run.point.functional
    grid, space = functional.problem.grid, functional.problem.controls
    bounds = [np.zeros(0)]
    for control_field in space.fields.values():
        own = np.concatenate([control_field.lower.ravel(), control_field.upper.ravel()])
        bounds += control_field.comm.allgather(own)
    return {
        # First, for the shapes of other entries depend on it.
        "space_ranks": np.array(functional.problem.space.comm.size),
        "times": grid.t,
        "coarsening": np.array(grid.coarsening, dtype=int),
        "fields": np.array([_description(space, name) for name in space.fields], dtype=str),
        "bounds": np.concatenate(bounds),
        "state_shape": np.array(_whole_shape(functional)),
        "solves": np.array(type(run.solves).__name__ + " lagged" * run.solves.lagged),
        "hessian": np.array(f"memory {run.hessian.memory}, rescaled {run.hessian.rescaled}"),
    }


def _description(space: ControlSpace, name: str) -> str:
    text = f"{name}{list(space.block_shape(name))}"
    if name not in space.time_fields:
        return f"{text} shared"
    field = space.time_fields[name]
    return f"{text} {field.metric} {field.interpolate} every {field.every}"


def _whole_shape(functional: ReducedFunctional) -> tuple[int, ...]:
    space = functional.problem.space
    if space.comm.size == 1:
        return tuple(space.shape)
    shape = list(space.shape)
    shape[space.axis] = sum(space.comm.allgather(shape[space.axis]))
    return tuple(shape)


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
    for field in space.fields if count else ():
        steps = (space.grid.steps,) if field in space.time_fields else ()
        expected, found = (count, *steps, *space.block_shape(field)), arrays[f"{name}.{field}"]
        if found.shape != expected:
            raise ValueError(f"`{name}.{field}` has shape {found.shape}, not {expected}")
    return [
        space.scatter({field: arrays[f"{name}.{field}"][number] for field in space.fields})
        for number in range(count)
    ]


def _c_points(run: Run) -> dict[str, Any]:
    """Return views of what solves start from, by C-point of this rank; nothing with one level."""
    functional, point = run.point.functional, run.point
    if functional.problem.grid.levels == 1:
        return {}
    known = {
        "state": functional.state_solver.c_points(point.state.trajectory),
        "adjoint": functional.adjoint_solver.c_points(point.adjoint.trajectory),
    }
    if run.solves.lagged:
        for name, solution in (("state", point.state), ("adjoint", point.adjoint)):
            known[f"{name}_tau"] = functional.tau_of(solution)[1:]
    return known


def _gather_rows(functional: ReducedFunctional, block: Any, reverse: bool) -> np.ndarray:
    """Return the C-points of all ranks in the direction of the sweep. Collective."""
    space = functional.problem.space
    if space.comm.size > 1:
        block = np.concatenate(space.comm.allgather(np.asarray(block)), axis=1 + space.axis)
    rows = functional.comm.allgather(np.array(block))
    return np.concatenate(rows[::-1] if reverse else rows)


def _own_rows(functional: ReducedFunctional, rows: np.ndarray, reverse: bool) -> np.ndarray:
    """Return this rank's part of what `_gather_rows` returned. Collective."""
    grid, space = functional.problem.grid, functional.problem.space
    factor = grid.coarsening[0]
    layout = grid.layouts(reverse)[0]
    own = rows[layout.first // factor : layout.last // factor]
    if space.comm.size > 1:
        lengths = space.comm.allgather(space.shape[space.axis])
        start = sum(lengths[: space.comm.rank])
        part = slice(start, start + lengths[space.comm.rank])
        own = own[(slice(None),) * (1 + space.axis) + (part,)]
    return own


def _convergence(saved: dict[str, Any] | None) -> Convergence | None:
    return Convergence(tuple(saved["residuals"]), saved["converged"]) if saved else None


def _iterate(row: dict[str, Any]) -> Iterate:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
    }
    return Iterate(**{field.name: values[field.name] for field in fields(Iterate)})


def _text(values: Any) -> str:
    """Return JSON; the states of some random generators contain arrays."""
    return json.dumps(values, default=lambda value: value.tolist())


def _short(value: Any) -> str:
    return np.array2string(np.asarray(value), threshold=6, edgeitems=2)
