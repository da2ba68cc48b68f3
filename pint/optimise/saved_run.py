"""The content of a checkpoint: a run as arrays of all ranks, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from pint.controls import Control, ControlSpace
from pint.equations import Relax
from pint.optimise.lbfgs import InverseHessian
from pint.optimise.result import Iterate
from pint.optimise.run import Run
from pint.reduced_functional import ReducedFunctional

FORMAT = "pint checkpoint 2"


@dataclass(frozen=True)
class SavedRun:
    """What a file says of a run, on every rank.

    Attributes
    ----------
    control : Control
    hessian : InverseHessian
    history : list of Iterate
    numbers : dict
        What `Run.state_dict` returned.
    c_points : dict of str to ndarray
        What solves start from, the rows of all ranks.
    random : dict or None
        The state of the caller's random generator.
    """

    control: Control
    hessian: InverseHessian
    history: list[Iterate]
    numbers: dict[str, Any]
    c_points: dict[str, np.ndarray]
    random: dict[str, Any] | None

    @classmethod
    def read(cls, arrays: dict[str, np.ndarray], run: Run) -> SavedRun:
        """Return what the arrays say; any error means that they are damaged. Not collective.

        The numbers are loaded into `run`, in place. Every rank checks everything before the
        first message, so that all find the same errors.
        """
        saved, space = json.loads(str(arrays["run"])), run.point.functional.controls
        history = [_iterate(row) for row in json.loads(str(arrays["history"]))]
        if not history:
            raise ValueError("no history")
        run.load_state_dict(saved["numbers"])
        (control,) = _controls(space, "control", arrays, 1)
        curvatures = arrays["curvatures"]
        pairs = zip(
            _controls(space, "s", arrays, len(curvatures)),
            _controls(space, "y", arrays, len(curvatures)),
            (float(curvature) for curvature in curvatures),
            strict=True,
        )
        return cls(
            control=control,
            hessian=replace(run.hessian, pairs=tuple(pairs), scaling=float(saved["scaling"])),
            history=history,
            numbers=saved["numbers"],
            c_points=_checked_c_points(arrays, run),
            random=saved["random"],
        )

    def restore(self, run: Run) -> None:
        """Make `run`, in place, the saved one. Collective."""
        functional, point = run.point.functional, run.point
        run.hessian, run.history = self.hessian, self.history
        for name, block in _c_points(run).items():
            block[...] = _own_rows(functional, self.c_points[name], len(block))
        # With their C-points in place, the trajectories count as solved before.
        point.state.control = self.control
        functional.state.solve(point.state, self.control, Relax())
        point.adjoint.solution = point.state.solution
        functional.adjoint.solve(point.adjoint, point.state, Relax())
        run.load_state_dict(self.numbers)  # again, because the solves have set some of them
        point.form_gradient()
        point.evaluate()


def signature(run: Run) -> dict[str, Any]:
    """Return what a checkpoint has in common with every run that can resume it. Collective."""
    functional = run.point.functional
    grid, space = functional.grid, functional.controls
    bounds = [np.zeros(0)]
    for control_field in space.fields.values():
        own = np.concatenate([control_field.lower.ravel(), control_field.upper.ravel()])
        bounds += control_field.comm.allgather(own)
    return {
        # First, because the shapes of other entries depend on it.
        "space_ranks": np.array(functional.space.comm.size),
        "times": grid.t,
        "coarsening": np.array(grid.coarsening, dtype=int),
        "fields": np.array([_description(space, name) for name in space.fields], dtype=str),
        "bounds": np.concatenate(bounds),
        "state_shape": np.array(_whole_shape(functional)),
        "solves": np.array(type(run.strategy).__name__),
        "hessian": np.array(f"memory {run.hessian.memory}, rescaled {run.hessian.rescaled}"),
    }


def arrays_of(run: Run, random: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return all that is saved of a run; complete on the first rank. Collective.

    `random` is the state of the caller's random generator.
    """
    functional, hessian = run.point.functional, run.hessian
    arrays: dict[str, Any] = {"format": FORMAT, **signature(run)}
    # As text, numbers are restored to the last bit, and nothing has to be unpickled.
    arrays["run"] = _text(
        {"numbers": run.state_dict(), "scaling": hessian.scaling, "random": random}
    )
    arrays["history"] = _text([asdict(row) for row in run.history])
    arrays["curvatures"] = np.array([curvature for *_, curvature in hessian.pairs])
    arrays.update(_gathered("control", [run.point.control]))
    arrays.update(_gathered("s", [s for s, _, _ in hessian.pairs]))
    arrays.update(_gathered("y", [y for _, y, _ in hessian.pairs]))
    for name, block in _c_points(run).items():
        arrays[name] = _gather_rows(functional, block)
    return arrays


def difference(arrays: dict[str, np.ndarray], run: Run) -> str | None:
    """Return what tells the saved run from `run`, if anything does. Collective."""
    for name, expected in signature(run).items():
        if not np.array_equal(arrays[name], expected):
            return (
                f"belongs to another problem or another solver: its `{name}` is "
                f"{_short(arrays[name])}, here it is {_short(expected)}"
                + (" (use the same method again)" if name == "solves" else "")
            )
    return None


def random_difference(
    arrays: dict[str, np.ndarray], random: np.random.Generator | None
) -> str | None:
    """Return what tells the saved random generator from `random`, if anything does."""
    if random is None:
        return None
    found = (json.loads(str(arrays["run"]))["random"] or {}).get("bit_generator")
    expected = random.bit_generator.state["bit_generator"]
    if found == expected:
        return None
    return f"was saved with `Checkpoint(random=...)` of the kind {found}, not {expected}"


def _description(space: ControlSpace, name: str) -> str:
    text = f"{name}{list(space.block_shape(name))}"
    if name not in space.time_fields:
        return f"{text} shared"
    field = space.time_fields[name]
    return f"{text} {field.metric} {field.interpolate} every {field.every}"


def _whole_shape(functional: ReducedFunctional) -> tuple[int, ...]:
    space = functional.space
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
    functional, known = run.point.functional, {}
    if functional.grid.levels == 1:
        return {}
    for name in ("state", "adjoint"):
        equation, solution = getattr(functional, name), getattr(run.point, name)
        known[name] = equation.solver.c_points(solution.points)
        # Lagged solves start from these, too.
        if run.strategy.lagged:
            level = equation.solver.levels[1]
            own = level.place(range(1, level.layout.local_steps + 1))
            known[f"{name}_tau"] = equation.tau_of(solution)[own]
    return known


def _checked_c_points(arrays: dict[str, np.ndarray], run: Run) -> dict[str, np.ndarray]:
    grid = run.point.functional.grid
    c_points = {name: arrays[name] for name in _c_points(run)}
    for name, rows in c_points.items():
        expected = (grid.steps // grid.coarsening[0], *arrays["state_shape"])
        if rows.shape != expected or rows.dtype.kind not in "fc":
            raise ValueError(f"`{name}` has shape {rows.shape}, not {expected}")
    return c_points


def _gather_rows(functional: ReducedFunctional, block: Any) -> np.ndarray:
    """Return the C-points of all ranks, ascending in time. Collective."""
    space = functional.space
    own = space.as_array(block)
    if space.comm.size > 1:
        own = np.concatenate(space.comm.allgather(own), axis=1 + space.axis)
    return np.concatenate(functional.comm.allgather(own))


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
