"""What an optimisation reports: a row for each iterate, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from pint.comm import agreeing
from pint.controls import Control
from pint.equations import State
from pint.errors import integer
from pint.grid import TimeGrid
from pint.io import Mesh, Series, write_csv, write_npz, write_series
from pint.io.meshes import at_points
from pint.reduced_functional import ReducedFunctional


class Status(Enum):
    """How an optimisation ended; the value is a sentence that says what to do.

    `Result.message` has the cause, too, where one is known.
    """

    CONVERGED = "The gradient norm is below the tolerance."
    ITERATION_LIMIT = "All iterations are made; increase `iterations` (or `epochs`) to continue."
    TIME_LIMIT = "Time limit reached; increase `time_limit` to continue."
    EVALUATION_LIMIT = "Limit of evaluations reached; increase `evaluations` to continue."
    STOPPED = "The callback stopped the run."
    OPTIONS_MET = "The optimiser of the other package ended by its own `options`."
    LINE_SEARCH_FAILED = (
        "No step along the search direction decreases the objective: use more cycles or a "
        "smaller tolerance of the solves, or check the gradient with `pint.verify.taylor_test`."
    )
    DIVERGING = (
        "Objective and gradient grow from update to update: use a smaller step or a line search."
    )
    NOT_FINITE = (
        "Objective or gradient became NaN or infinite: use a smaller step or a line search, or "
        "mend the cause."
    )
    INFEASIBLE = (
        "The constraints cannot be met: their violation does not decrease however large its "
        "penalty; relax them, or try another start."
    )
    OUTER_LIMIT = "Limit of outer iterations reached; increase `outer_iterations` to continue."
    EARLY_STOPPED = (
        "The validation has not improved for `patience` epochs: the result is the best control."
    )
    INTERRUPTED = "A signal ended the run: resume it from its checkpoint."


@dataclass(frozen=True)
class Iterate:
    """One row of the history: the control before update `iteration`.

    Attributes
    ----------
    iteration : int
    objective, cost : float
        J, and its part F(...) without the regularisers.
    regularisers : tuple of float
        The other parts of J, in the order of ``Problem.regularisers``.
    gradient_norm : float
        Norm of the gradient in the control's metric, without the variables that are at a bound
        towards which ``-g`` points.
    objective_error, gradient_error : float
        Estimated errors of J and of the gradient, in norm, by inexact solves; zero for exact
        ones, NaN where nothing was estimated: with a fixed number of cycles.
    state_residual, adjoint_residual : float
        Of the last cycle; zero for sequential stepping.
    step : float
        Step length of the update that led here; the first trial step in row 0.
    line_search_trials : int
        Trials of that update besides the one that it ended with.
    state_cycles, adjoint_cycles : int
        MGRIT cycles so far.
    state_steps, adjoint_steps : int
        Level-0 steps evaluated so far by the rank that evaluated most.
    steps_by_level : tuple of int
        State and adjoint steps so far by level, of the rank that evaluated most.
    solves, converged_solves : int
        Solves to a tolerance so far, and those that have met it.
    phases : dict of str to float
        Seconds so far in each of `pint.report.timing.PHASES`, of the rank that spent most.
    seconds : float
        Wall time since the start.
    violations : tuple of float
        The largest violation of each constraint, of `AugmentedLagrangian`; no column otherwise.
    sweeps : dict of str to float
        Solves of the state, the adjoint and the tangent equation so far, of `NewtonCG`; those on
        coarser time grids count by their part of the steps. No columns otherwise.
    """

    iteration: int
    objective: float
    cost: float
    regularisers: tuple[float, ...]
    gradient_norm: float
    objective_error: float
    gradient_error: float
    state_residual: float
    adjoint_residual: float
    step: float
    line_search_trials: int
    state_cycles: int
    adjoint_cycles: int
    state_steps: int
    adjoint_steps: int
    steps_by_level: tuple[int, ...]
    solves: int
    converged_solves: int
    phases: dict[str, float]
    seconds: float
    violations: tuple[float, ...] = ()
    sweeps: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Constrained:
    """What `AugmentedLagrangian` knows of its constraints, in their order.

    Attributes
    ----------
    multipliers : tuple of ndarray
        Of a path constraint of this rank's steps, shape (N, k), as densities in time; of others
        shape (k,). They are positive where an inequality presses.
    violations : tuple of float
        The largest size of each.
    penalties : tuple of float
        The last ones.
    outer : tuple of tuples of float
        The violations after each outer iteration.
    """

    multipliers: tuple[np.ndarray, ...]
    violations: tuple[float, ...]
    penalties: tuple[float, ...]
    outer: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, eq=False)
class AllAtOnce:
    """What Gauss-Newton knows of its last iterate, besides the control; each rank has its steps.

    Attributes
    ----------
    kkt : float
        The KKT residual: the largest of the projected gradient of the Lagrangian, its derivative
        in the states, and the defects, as norms of densities in time.
    fallback : bool
        Whether L-BFGS has gone on from there.
    gains : ndarray of shape (N, m, n) or None
        Feedback of the last linear-quadratic problem: the best change of the control for a change
        of the state; None without an iteration.
    multipliers : ndarray of shape (N, n)
        Of the steps: the derivative of J with respect to the states where they end.
    active : Control
        -1 where a control is at its lower bound, 1 at its upper bound, else 0.
    minimum : bool or None
        For a run that has converged: whether the second derivatives show a strict minimum. It may
        be a saddle point otherwise, or flat. None for other runs.
    """

    kkt: float
    fallback: bool
    gains: np.ndarray | None
    multipliers: np.ndarray
    active: Control
    minimum: bool | None = None


@dataclass(frozen=True, eq=False)
class Stage:
    """What is left of a run that was part of another one: its numbers, no states.

    Attributes
    ----------
    control : Control
    objective, cost, gradient_norm : float
    status : Status
    iterations : int
    history : tuple of Iterate
    solves, converged_solves : int
    seconds : float
    message : str
    stages : tuple of Stage
    constrained : Constrained or None
        All as those of the `Result` that the run had.
    """

    control: Control
    objective: float
    cost: float
    gradient_norm: float
    status: Status
    iterations: int
    history: tuple[Iterate, ...]
    solves: int
    converged_solves: int
    seconds: float
    message: str
    stages: tuple[Stage, ...]
    constrained: Constrained | None

    @property
    def grid(self) -> TimeGrid:
        """The time grid of the run."""
        return self.control.space.grid


@dataclass(frozen=True)
class Result:
    """Where an optimisation ended.

    Attributes
    ----------
    control : Control
    objective, cost, gradient_norm : float
        At `control`, with state and adjoint solved exactly whatever accuracy was used before;
        always finite.
    status : Status
    iterations : int
        Number of updates done.
    history : tuple of Iterate
    state : State
        The exact state at `control`.
    peak_memory : tuple of int
        The largest resident memory so far of each rank's process, bytes; 0 if the operating
        system does not report it. See `pint.report.memory`.
    solves, converged_solves : int
        MGRIT solves of the run that were to meet a tolerance, and those that have met it: if they
        are fewer, the iterates were computed with other states and adjoints than their own. Both
        are zero on one level, and for methods of a few cycles without a tolerance.
    seconds : float
        Wall time of the run: what came before the first row and after the last one, the coarse
        grids of `Nested`, and, of a resumed run, earlier processes up to their last rows included.
    functional : ReducedFunctional
        What was minimised.
    stages : tuple of Stage
        The runs on the coarse grids of `Nested`, or all runs of `MultiStart`, in order; empty for
        other methods. Their states are freed.
    all_at_once : AllAtOnce or None
        What `GaussNewton` knows besides; None for other methods.
    constrained : Constrained or None
        What `AugmentedLagrangian` knows besides; None for other methods.
    cause : str
        With NOT_FINITE why: the NumericalError that a method of the problem has raised, or where
        the first NaN or infinity is; with DIVERGING of `Stochastic` by how much. Empty otherwise.
    note : str
        What `Stochastic` has found of its cycles, if they were too few; empty otherwise.
    """

    control: Control
    objective: float
    cost: float
    gradient_norm: float
    status: Status
    iterations: int
    history: tuple[Iterate, ...]
    state: State
    peak_memory: tuple[int, ...]
    solves: int
    converged_solves: int
    seconds: float
    functional: ReducedFunctional = field(repr=False)
    stages: tuple[Stage, ...] = ()
    all_at_once: AllAtOnce | None = None
    constrained: Constrained | None = None
    cause: str = ""
    note: str = ""

    @property
    def message(self) -> str:
        """How the run ended, what to do, and what is known to be wrong. Not collective."""
        text = f"{self.status.value} Cause: {self.cause}" if self.cause else self.status.value
        text = f"{text} {self.note}" if self.note else text
        missed = self.solves - self.converged_solves
        if not missed:
            return text
        worst = self.functional.solves.worst
        return (
            f"{text} {missed} of {self.solves} MGRIT solves did not meet their tolerance"
            f"{f' (the worst: {worst})' if worst else ''}; `pint.diagnose` measures what helps."
        )

    def stage(self) -> Stage:
        """Return what is left of the run without its states. Not collective."""
        return Stage(**{one.name: getattr(self, one.name) for one in fields(Stage)})

    def states(self) -> np.ndarray | None:
        """Return the states at all N + 1 points on the first rank, None on the others. Collective.

        The array has shape (N + 1, ...); ranks in space are gathered, too.
        """
        return self.functional.gather_states(self.state)

    def write_vtk(
        self,
        folder: str | Path,
        mesh: Mesh,
        *,
        name: str = "state",
        fields: Mapping[str, Callable[[np.ndarray], Any]] | None = None,
        controls: Sequence[str] = (),
        every: int = 1,
    ) -> Path:
        """Write the states as files for ParaView; return the path of the .pvd file. Collective.

        Each rank writes the points in time that it has, one file for each of them, and with
        ranks in space one for each of these: see `pint.io.write_series`.

        Parameters
        ----------
        folder : str or Path
            It is made if it is not there.
        mesh : pint.io.Mesh
            From `pint.io.grid`, `pint.io.scikit_fem` or `pint.io.dmda`.
        name : str
            Of the series.
        fields : mapping of str to callable, optional
            From this rank's part of a state, an array, to numbers at its points, shape (n,) or
            (n, k). By default ``y``, the numbers of the state themselves, k for each point.
        controls : sequence of str
            Time-dependent controls with numbers at the points, to be written, too: at each point
            in time the block of the step that ends there, at the first one that of the first step.
        every : int
            Write every so many points in time, and the last one.

        Raises
        ------
        TypeError, ValueError
            If an argument is wrong, or mesh and state do not fit; the same on all ranks.
        OSError
            If a file cannot be written.
        """
        functional, space = self.functional, self.control.space
        grid = functional.grid
        points = functional.states(self.state)[0 if grid.comm.rank == 0 else 1 :]
        rows = functional.space.as_array(points)
        series = Series(
            np.asarray(grid.t), grid.first + (grid.comm.rank > 0), grid.comm, functional.space.comm
        )
        values: dict[str, Sequence[Any]] = {}
        with agreeing(grid.comm, "write_vtk", functional.space.comm) as ranks:
            ranks.same = {"controls": list(controls)}
            if fields is None:
                values["y"] = [at_points(row, mesh) for row in rows]
            else:
                for key, function in fields.items():
                    values[key] = [np.asarray(function(row)) for row in rows]
            for key in controls:
                if key not in space.time_fields or getattr(space.fields[key], "every", 1) > 1:
                    raise ValueError(
                        f"`write_vtk(controls=...)` names `{key}`, which is no control with a "
                        "value for each step."
                    )
                blocks = self.control[key]
                before = blocks[:1] if grid.comm.rank == 0 else blocks[:0]
                whole = np.concatenate([before, blocks])
                values[key] = [at_points(block, mesh) for block in whole]
        return write_series(folder, mesh, series, values, name, every)

    def write_npz(self, path: str | Path, x: Any = None) -> None:
        """Write times, states and controls to a file that `numpy.load` reads. Collective.

        Its arrays are ``t``, ``states``, ``x`` if it is given, and ``control.name`` for each field.
        """
        states, control = self.states(), self.control.gather()
        arrays = {f"control.{name}": values for name, values in control.items()}
        arrays |= {} if x is None else {"x": np.asarray(x)}
        grid, space = self.functional.grid, self.functional.space
        with agreeing(grid.comm, "write_npz", space.comm):
            if states is not None:
                write_npz(path, {"t": np.asarray(grid.t), "states": states, **arrays})

    def write_csv(self, path: str | Path, x: Any = None) -> None:
        """Write a row for each point in time: t, then the numbers of the state. Collective.

        Parameters
        ----------
        path : str or Path
        x : array, optional
            The coordinates of the numbers, for the names of the columns.
        """
        states, grid = self.states(), self.functional.grid
        with agreeing(grid.comm, "write_csv", self.functional.space.comm):
            if states is not None:
                write_csv(path, np.asarray(grid.t), states, x)

    def shift(self, steps: int = 1) -> tuple[Control, np.ndarray]:
        """Return control and states that begin some steps later, for the next horizon. Collective.

        The last block and the last state are repeated; shared fields stay. Both are a warm start:
        ``minimize(functional, control, GaussNewton(start_states=states))``, on every rank.

        Parameters
        ----------
        steps : int
            From 0 to the number of time steps.

        Raises
        ------
        ValueError
            If `steps` is out of range.
        """
        space, count = self.control.space, self.control.space.grid.steps
        if not 0 <= integer("Result.shift", "steps", steps, 0) <= count:
            raise ValueError(f"`Result.shift(steps=...)` must be at most {count}, got {steps}.")
        fields = self.control.gather()
        later = np.minimum(np.arange(count) + steps, count - 1)
        moved = {
            name: values[later] if name in space.time_fields else values
            for name, values in fields.items()
        }
        states = self.functional.comm.bcast(self.states())
        return space.control(**moved), states[np.minimum(np.arange(count + 1) + steps, count)]
