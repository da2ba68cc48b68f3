"""The outer loop: minimise the augmented Lagrangian, then improve its multipliers."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from pint.comm import alike
from pint.controls import Control, SharedControl
from pint.equations import March, State
from pint.errors import NotFiniteError, check_choice, check_kind, integer, number, real_array, shown
from pint.grid import TimeGrid
from pint.interface import Problem
from pint.optimise.checkpoint import Checkpoint
from pint.optimise.constrained.integrals import (
    ExtendedAdjoint,
    ExtendedObjective,
    ExtendedStepper,
    Layout,
)
from pint.optimise.constrained.measured import Measured, measured
from pint.optimise.constrained.penalty import Augmented, Term
from pint.optimise.constrained.probe import Nothing, curvature, solved
from pint.optimise.ending import remaining
from pint.optimise.gauss_newton import GaussNewton
from pint.optimise.method import Callback, Method
from pint.optimise.result import Constrained, Iterate, Result, Status
from pint.reduced_functional import ReducedFunctional
from pint.states import ArraySpace
from pint.steppers.constraints import (
    KINDS,
    Constraint,
    IntegralConstraint,
    PathConstraint,
    TerminalConstraint,
)
from pint.steppers.running_cost import NODES

LESS = 0.25
"""A penalty stays where the violation has become less by this factor."""

GROWTH, MOST = 10.0, 1e6
"""Factor of penalties, and the largest first one that follows from the objective's size."""

STALLED = 6
"""Runs without a tenth less violation after which constraints count as infeasible."""

LOOSE = 4
"""The first run has a gradient tolerance that is larger by 10 to this power."""

ENDS = (Status.STOPPED, Status.TIME_LIMIT, Status.EVALUATION_LIMIT, Status.INTERRUPTED)
"""How runs end after which there is no other."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AugmentedLagrangian(Method):
    r"""Minimise subject to constraints, by a method for problems without.

    Each outer iteration minimises the augmented Lagrangian of Powell, Hestenes and Rockafellar by
    `method`, from the control before, then takes its slopes as multipliers; a penalty grows
    tenfold where a violation has not become a quarter [1]_. The history has the rows of all runs,
    with the objective without penalties and a column for the violation of each constraint.

    Parameters
    ----------
    method : Method
        `GaussNewton()`, `ReducedSpace()`, `Adaptive()`, ... Its options are those of each run,
        its `gradient_tolerance` that of the last ones, `time_limit` and `evaluations` are for all
        runs together.
    constraints : sequence of Constraint
        `TerminalConstraint`, `PathConstraint`, `IntegralConstraint`; path and integral ones need
        states that are numpy arrays.
    tolerance : float
        Largest violation at the end, in the units of the constraints, and for inequalities
        largest ``min(-c, λ/ρ)``.
    outer_iterations : int
        Largest number of runs.
    penalty : float, optional
        The first penalty of all constraints; by default ten times the second derivative of the
        objective in the direction that reduces the violation, over the squared slope of each
        number of a constraint there: no units matter.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown or out of range. `minimize` raises ValueError if the problem does
        not suit the method, or a constraint returns another shape than it says.

    References
    ----------
    .. [1] E. G. Birgin, J. M. Martínez, Practical Augmented Lagrangian Methods for Constrained
       Optimization, SIAM, 2014, algorithm 4.1.
    """

    method: Method
    constraints: Sequence[Constraint]
    tolerance: float = 1e-8
    outer_iterations: int = 50
    penalty: float | None = None

    def __post_init__(self) -> None:
        owner = "AugmentedLagrangian"
        check_kind(owner, "method", self.method, Method, "a method, `pint.GaussNewton()`")
        given: Any = self.constraints
        one = isinstance(given, Constraint)
        object.__setattr__(self, "constraints", (given,) if one else tuple(given))
        if not self.constraints:
            raise ValueError("`AugmentedLagrangian(constraints=...)` needs at least one.")
        for constraint in self.constraints:
            if sum(isinstance(constraint, kind) for kind in KINDS) != 1:
                raise TypeError(
                    "`AugmentedLagrangian(constraints=...)` must consist of TerminalConstraint, "
                    f"PathConstraint or IntegralConstraint, got {type(constraint).__name__}."
                )
            _check_options(constraint)
        number(owner, "tolerance", self.tolerance, positive=True)
        integer(owner, "outer_iterations", self.outer_iterations, 1)
        if self.penalty is not None:
            number(owner, "penalty", self.penalty, positive=True)

    def check(self, problem: Problem, grid: TimeGrid) -> None:
        if self.method.takes_any_grid or isinstance(self.method, AugmentedLagrangian):
            raise ValueError(
                f"`AugmentedLagrangian(method=...)` cannot be {type(self.method).__name__}: "
                "multipliers belong to one grid and one method."
            )
        if problem.objective.has_outer:
            raise ValueError(
                "`AugmentedLagrangian` needs a cost without `outer`: make it a terminal cost of "
                "a state that holds the integral."
            )
        if not problem.space.on_host:
            raise ValueError(
                "`AugmentedLagrangian` needs states that are numpy arrays or PETSc vectors, got a "
                f"{type(problem.space).__name__}: `pint.torch.on_host` makes arrays of tensors."
            )
        along = [c for c in self.constraints if not isinstance(c, TerminalConstraint)]
        if along and (not isinstance(problem.space, ArraySpace) or problem.space.comm.size > 1):
            raise ValueError(
                f"`{type(along[0]).__name__}` needs states that are whole numpy arrays: use "
                "terminal constraints alone."
            )
        for constraint in self.constraints:
            _check_shape(constraint, problem, grid)
        parts = _Parts(self.constraints, problem, grid)
        _extended(self.method, parts.layout).check(parts.problem, grid)

    def run(
        self,
        functional: ReducedFunctional,
        start: Control,
        callback: Callback | None,
        checkpoint: Checkpoint | None,
    ) -> Result:
        return _Outer(self, functional, start, callback).result()


class _Parts:
    """The augmented problem and its terms."""

    def __init__(self, constraints: Sequence[Constraint], problem: Problem, grid: TimeGrid) -> None:
        self.terms = [Term(one, grid.local_steps) for one in constraints]
        batched, integrals = problem.stepper.batched, []
        shared = any(isinstance(one, SharedControl) for one in problem.controls.values())
        self.augmented = Augmented(problem.objective, self.terms, batched, grid.first, shared)
        self.layout: Layout | None = None
        self.problem = replace(problem, objective=self.augmented)
        integrals = [one for one in constraints if isinstance(one, IntegralConstraint)]
        if integrals:
            assert isinstance(problem.space, ArraySpace)
            self.layout = Layout(problem.space.shape, integrals, batched)
            stepper = ExtendedStepper(problem.stepper, self.layout)
            self.problem = replace(
                problem,
                stepper=stepper,
                adjoint=ExtendedAdjoint(problem.adjoint, stepper),
                objective=ExtendedObjective(self.augmented, self.layout),
            )


class _Outer:
    """All runs of one method. Methods are collective."""

    def __init__(
        self,
        options: AugmentedLagrangian,
        functional: ReducedFunctional,
        start: Control,
        callback: Callback | None,
    ) -> None:
        self.options, self.functional, self.callback = options, functional, callback
        self.start = functional.controls.project(start)
        self.parts = _Parts(options.constraints, functional.problem, functional.grid)
        self.augmented = functional.of(self.parts.problem)
        self.history: list[Iterate] = []
        self.outer: list[tuple[float, ...]] = []

    def result(self) -> Result:
        """Run the method until the constraints are met, or cannot be."""
        options, terms = self.options, self.parts.terms
        method: Method = _extended(options.method, self.parts.layout)
        control, best, stalled, solved = self.start, math.inf, 0, False
        if options.penalty is not None:
            for term in terms:
                term.penalty = np.full(term.constraint.count, float(options.penalty))
        else:
            self._set_penalties()
        before: Measured | None = None
        loose = LOOSE
        for _ in range(options.outer_iterations):
            found = self._run(method, control, loose)
            control, now = found.control, self._measured(found.state)
            slopes = tuple(term.slope(c) for term, c in zip(terms, now.numbers, strict=True))
            self.outer.append(now.violations)
            distance = max(now.distances)
            logger.info(
                "outer iteration %d: objective %.10g, violation %.3g, %d updates",
                len(self.outer), found.objective - now.penalty, max(now.violations),
                found.iterations,
            )  # fmt: skip
            status = found.status
            if status in ENDS:
                break
            if distance <= options.tolerance and loose == 0:
                break
            if max(now.violations) <= 0.9 * best:
                stalled, solved = 0, False
            else:
                # Runs that have not come near a minimum show nothing about the constraints.
                moved = status is Status.LINE_SEARCH_FAILED and found.iterations > 0
                stalled, solved = stalled + 1, solved or moved or status is Status.CONVERGED
            best = min(best, max(now.violations))
            if stalled >= STALLED and best > options.tolerance:
                status = Status.INFEASIBLE if solved else status
                break
            for i, term in enumerate(terms):
                term.multipliers = slopes[i]
                large = now.distances[i] > options.tolerance
                if before is not None and large and now.distances[i] > LESS * before.distances[i]:
                    term.penalty = term.penalty * GROWTH
            before, loose = now, 0 if distance <= options.tolerance else max(loose - 1, 0)
            method = remaining(self._warm(method), found)
        else:
            status = Status.OUTER_LIMIT
        return self._evaluated(found, now, slopes, status)

    def _run(self, method: Any, control: Control, loose: int) -> Result:
        """Return the result of one run; its rows follow those so far."""
        names = {field.name for field in fields(method)}
        if loose and "gradient_tolerance" in names:
            tolerance = method.gradient_tolerance * 10.0**loose
            method = replace(method, gradient_tolerance=tolerance)
        last: Iterate | None = None

        def record(row: Iterate, at: Control, state: State) -> Any:
            nonlocal last
            if row.iteration == 0 and self.history:  # the last row of the run before
                last = self.history[-1]
                return None
            if last is not None:
                row = replace(
                    row,
                    iteration=last.iteration + row.iteration,
                    seconds=last.seconds + row.seconds,
                    solves=last.solves + row.solves,
                    converged_solves=last.converged_solves + row.converged_solves,
                )
            now = self._measured(state)
            row = replace(
                row,
                objective=row.objective - now.penalty,
                cost=row.cost - now.penalty,
                violations=now.violations,
            )
            self.history.append(row)
            return None if self.callback is None else self.callback(row, at, state)

        try:
            return method.run(self.augmented, control, record, None)
        except NotFiniteError as error:
            raise self._named(error) from None

    def _set_penalties(self) -> None:
        """Set the first penalties, from objective and constraints at the start, in place."""
        functional, start = self.functional, self.start
        problem = replace(functional.problem, objective=Nothing(), regularisers=())
        alone = _Parts(self.options.constraints, problem, functional.grid)
        penalties = functional.of(alone.problem)
        with np.errstate(all="ignore"):
            state = solved(penalties, start)
            now = measured(penalties, alone.augmented, alone.layout, alone.terms, state)
            weights = [size**-2.0 for size in now.sizes(functional.comm)]
            for term, weight in zip(alone.terms, weights, strict=True):
                term.penalty = weight
            change = 20.0 * curvature(functional, penalties, state, start)
            most = math.inf
            if change == 0.0:  # as where J is linear, or no constraint is violated
                value = functional.objective(solved(functional, start)).objective
                change, most = 2.0 * abs(value), MOST
        usual = not 0 < change < math.inf
        for term, weight in zip(self.parts.terms, weights, strict=True):
            term.penalty = 10.0 * weight if usual else np.minimum(change * weight, most)

    def _named(self, error: NotFiniteError) -> NotFiniteError:
        """Return an error that names the constraint which is not finite at the start, if one is."""
        if self.outer:
            return error
        with np.errstate(all="ignore"):
            state = solved(self.functional, self.start)
            if not math.isfinite(self.functional.objective(state).objective):
                return error
            now = self._measured(solved(self.augmented, self.start))
        wrong = [i for i, size in enumerate(now.violations) if not math.isfinite(size)]
        if not wrong:
            return error
        kind = type(self.parts.terms[wrong[0]].constraint).__name__
        text = f"`{kind}.value` is NaN or infinite at the first control: begin at another one."
        return alike(NotFiniteError(text))

    def _measured(self, state: State) -> Measured:
        parts = self.parts
        return measured(self.augmented, parts.augmented, parts.layout, parts.terms, state)

    @staticmethod
    def _warm(method: Method) -> Method:
        """Return the method for a start that is near the optimum."""
        if isinstance(method, GaussNewton):
            return replace(method, start_states="rollout")
        return method

    def _evaluated(
        self, found: Result, now: Measured, multipliers: tuple[np.ndarray, ...], status: Status
    ) -> Result:
        """Return the result for the user's own problem, with its exact state."""
        functional, terms = self.functional, self.parts.terms
        state = functional.state.new()
        control = Control(functional.controls, found.control.vector)
        functional.state.solve(state, control, March())
        value = functional.objective(state)
        functional.require_finite(value)
        details = Constrained(
            multipliers=multipliers,
            violations=now.violations,
            penalties=tuple(float(np.max(term.penalty)) for term in terms),
            outer=tuple(self.outer),
        )
        last, layout, details_of = self.history[-1], self.parts.layout, found.all_at_once
        if layout is not None and details_of is not None:
            details_of = layout.without_integrals(details_of)
        return replace(
            found,
            control=control,
            all_at_once=details_of,
            objective=value.objective,
            cost=value.cost,
            status=status,
            iterations=last.iteration,
            history=tuple(self.history),
            state=state,
            solves=last.solves,
            converged_solves=last.converged_solves,
            functional=functional,
            constrained=details,
        )


def _extended(method: Method, layout: Layout | None) -> Any:
    """Return a method whose first states, if they are given, have integrals, too."""
    if layout is None or not isinstance(method, GaussNewton):
        return method
    states = method.start_states
    if isinstance(states, str) or np.shape(states)[1:] != layout.shape:
        return method
    zeros = np.zeros((len(states), layout.size - layout.count))
    return replace(method, start_states=layout.joined(states, zeros))


def _check_options(constraint: Any) -> None:
    """Raise ValueError or TypeError unless the attributes of a constraint are right."""
    owner = type(constraint).__name__
    integer(owner, "count", constraint.count, 1)
    if isinstance(constraint, PathConstraint):
        check_choice(owner, "at", constraint.at, ["begin", "end"])
    elif isinstance(constraint, IntegralConstraint):
        check_choice(owner, "quadrature", constraint.quadrature, list(NODES))
        bound = real_array(f"{owner}(bound=...)", constraint.bound)
        if bound.shape not in ((), (constraint.count,)) or not np.isfinite(bound).all():
            raise ValueError(
                f"`{owner}(bound=...)` must be a finite number, or {constraint.count} of them, "
                f"got {shown(constraint.bound)}."
            )


def _check_shape(constraint: Constraint, problem: Problem, grid: TimeGrid) -> None:
    """Raise ValueError unless a constraint returns as many numbers as it says."""
    space = problem.control_space(grid)
    controls = space.project(space.zeros())
    y, theta = problem.stepper.initial(controls.shared), controls.shared
    shape: tuple[int, ...]
    expected: tuple[int, ...]
    with np.errstate(all="ignore"):
        if isinstance(constraint, TerminalConstraint):
            shape, expected = np.shape(constraint.value(y, theta)), (constraint.count,)
        else:
            assert isinstance(constraint, (PathConstraint, IntegralConstraint))
            assert isinstance(problem.space, ArraySpace)
            y = np.broadcast_to(y, problem.space.shape)[None]
            u = {n: np.zeros((1, *f.shape)) for n, f in controls.space.time_fields.items()}
            t = np.array([float(grid.t[0])])
            shape, expected = np.shape(constraint.value(t, y, u, theta)), (1, constraint.count)
    if shape != expected:
        raise ValueError(
            f"`{type(constraint).__name__}.value` must return an array of shape {expected} "
            f"(`count` is {constraint.count}), got {shape}."
        )
