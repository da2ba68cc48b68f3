"""Measures how MGRIT converges for a problem, and tries what could make it converge faster."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pint.comm import agreeing, alike, reduce
from pint.controls import Control, prolong
from pint.diagnosis.factors import (
    Equation,
    Equations,
    Factor,
    forecast,
    two_level_ratios,
    worst,
)
from pint.diagnosis.recommend import is_small, recommended
from pint.diagnosis.report import Diagnosis
from pint.diagnosis.setup import Setup, with_coarse_step
from pint.diagnosis.slow import SlowPart, slow_part
from pint.diagnosis.theory import eigenvalues, matrices
from pint.diagnosis.trials import Trial, candidates, tried
from pint.equations import March
from pint.errors import NotFiniteError, check_kind, integer, number
from pint.mgrit import Accuracy, Corrected, Propagator
from pint.mgrit.solver import relaxation_counts
from pint.reduced_functional import ReducedFunctional

COARSE = ("implicit-euler", "sdirk2")
"""Steps to try on coarse levels."""

BOTH: tuple[Equation, Equation] = ("state", "adjoint")


def diagnose(
    functional: ReducedFunctional,
    control: Control | None = None,
    *,
    tolerance: float | None = None,
    relaxations: str | Sequence[str] = ("F", "FCF"),
    cycles: int = 12,
    ranks: int | None = None,
    budget: float = 1000.0,
) -> Diagnosis:
    """Measure how the cycles of a functional converge, say what is slow, and what to change.

    The state equation is linearised at the exact state of `control`. On each level, errors of the
    C-points that begin random go through two-level cycles, whose largest factor is that of
    `Factor.value`; where steps are linear and all alike, their eigenvalues predict it [1]_.
    Then the residuals of a solve from the functional's first guess are predicted, and state and
    adjoint are solved with the set-up in use and with others: more or less relaxation, fewer
    levels, other coarsening factors. Collective; all ranks get the same.

    Parameters
    ----------
    functional : ReducedFunctional
        On at least two levels. It stays as it is.
    control : Control, optional
        By default zero, within the bounds.
    tolerance : float, optional
        Relative residual norm that counts as converged; by default that of the functional's
        accuracy, or 1e-10 without one.
    relaxations : str or sequence of str
        Whose two-level factors are measured, besides the relaxation in use.
    cycles : int
        Most cycles of a measurement; what is slower is extrapolated.
    ranks : int, optional
        The ranks in time to recommend for, by the steps that follow each other on one of them.
        By default it is the set-up with fewest steps in all, of those that are faster than
        sequential steps on some number of ranks.
    budget : float
        No further set-up is tried once the diagnosis has taken so many times the steps of a
        sequential solve.

    Returns
    -------
    Diagnosis

    Raises
    ------
    ValueError
        If the grid has one level, or an argument is out of range.
    NotFiniteError
        If the exact state or adjoint is NaN or infinite: then no cycles can converge to it.

    References
    ----------
    .. [1] Dobrev et al., SIAM J. Sci. Comput. 39 (2017), S501, doi:10.1137/16M1074096.
    """
    check_kind("diagnose", "functional", functional, ReducedFunctional, "a ReducedFunctional")
    with agreeing(functional.comm, "diagnose", functional.space.comm) as arguments:
        cycles = integer("diagnose", "cycles", cycles, 3)
        if budget != math.inf:
            budget = number("diagnose", "budget", budget, positive=True)
        ranks = None if ranks is None else integer("diagnose", "ranks", ranks, 1)
        words = _words(relaxations)
        if functional.grid.levels == 1:
            raise ValueError(
                "`diagnose(functional=...)` has a grid of one level, on which sequential steps "
                "are exact: give one of two levels, `pint.TimeGrid(..., coarsening=4, levels=2)`, "
                "to learn whether cycles on it, or on others, converge."
            )
        accuracy = _accuracy(functional, tolerance)
        arguments.same = {"cycles": cycles, "budget": budget, "ranks": ranks}
        arguments.same |= {"relaxations": words, "tolerance": accuracy.relative}
    if control is None:
        control = functional.controls.project(functional.controls.zeros())
    run = _Run(functional, control, accuracy, cycles, budget)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # steps that fail in a trial are what it is for
        equations = run.equations()
        factors, slow = run.factors(equations, words)
        state, adjoint = (
            forecast(equations, equation, control, accuracy, cycles) for equation in BOTH
        )
        run.count(equations.functional)
        trials, left_out = run.trials(equations.functional, ranks or 1, slow)
    steps = functional.grid.steps
    return Diagnosis(
        run.setup,
        steps,
        accuracy.relative or 0.0,
        factors,
        state,
        adjoint,
        slow,
        trials,
        recommended(trials, slow, steps, functional.space, ranks),
        run.spent / steps,
        left_out,
    )


class _Run:
    """One diagnosis: what it works on, and the steps that it has taken."""

    def __init__(
        self,
        functional: ReducedFunctional,
        control: Control,
        accuracy: Accuracy,
        cycles: int,
        budget: float,
    ) -> None:
        self.original, self.control, self.accuracy = functional, control, accuracy
        self.cycles, self.setup, self.spent = cycles, Setup.of(functional), 0.0
        self.most = budget * functional.grid.steps

    def count(self, functional: ReducedFunctional) -> None:
        """Count the steps that a functional has taken. Collective."""
        solvers = functional.state.solver, functional.adjoint.solver
        own = sum(sum(solver.steps_evaluated) for solver in solvers)
        self.spent += float(reduce(functional.comm, own)[0])

    def equations(self) -> Equations:
        """Return a functional of the same kind, solved exactly. Collective.

        Raises
        ------
        NotFiniteError
            If state or adjoint are not finite.
        """
        own = self._like(self.setup)
        state, adjoint = own.state.new(), own.adjoint.new()
        own.state.solve(state, self.control, March())
        own.require_finite(own.objective(state))
        own.adjoint.solve(adjoint, state, March())
        own_part = own.space.squared_norm(adjoint.points)
        if not np.isfinite(reduce(own.space.comm, reduce(own.comm, own_part))[0]):
            raise alike(
                NotFiniteError(
                    "the adjoint is NaN or infinite although J is finite: check "
                    f"`{type(own.problem.adjoint).__name__}.vjp` and the derivatives of "
                    f"`{type(own.problem.objective).__name__}` with `pint.verify.check_problem`."
                )
            )
        steps: dict[str, Propagator] = {
            "state": own.state.propagator(self.control),
            "adjoint": own.adjoint.propagator(state),
        }
        if (rank := own.state.rank) is not None:
            forward, backward = own.state.solver, own.adjoint.solver
            steps["state"] = Corrected(steps["state"], forward, rank)
            steps["adjoint"] = Corrected(steps["adjoint"], backward, rank, linear=True)
        return Equations(own, state, adjoint, steps)

    def factors(
        self, equations: Equations, relaxations: tuple[str, ...]
    ) -> tuple[tuple[Factor, ...], SlowPart]:
        """Return the factors of all levels, and the slow part of the worst in use. Collective."""
        grid, found, errors = equations.functional.grid, [], {}
        steps = matrices(equations)
        for level, factor in enumerate(grid.coarsening):
            words = dict.fromkeys((*relaxations, self.setup.relaxation[level]))
            for equation in BOTH:
                near = equations.perturbation(equation, level)
                for word in words:
                    ratios, error = two_level_ratios(near, word, self.cycles)
                    one = Factor(level, factor, word, equation, ratios)
                    found.append(_with_theory(one, equations, steps, self.cycles))
                    errors[level, word, equation] = error
        slowest = worst(found, self.setup.relaxation)
        assert slowest is not None
        near = equations.perturbation(slowest.equation, slowest.level)
        error = errors[slowest.level, slowest.relaxation, slowest.equation]
        times = grid.t
        dt = float(times[-1] - times[0]) / grid.steps * grid.strides[slowest.level + 1]
        ode = getattr(self.original.problem.stepper, "ode", None)
        names = list(getattr(ode, "state_names", ()))
        return tuple(found), slow_part(near, error, slowest, names, dt)

    def trials(
        self, functional: ReducedFunctional, ranks: int, slow: SlowPart
    ) -> tuple[tuple[Trial, ...], int]:
        """Return the trials, that of the set-up in use first, and how many are left out."""
        coarse: tuple[str, ...] = ()
        if slow.cause != "none" and with_coarse_step(self.original.problem, COARSE[0]):
            coarse = COARSE
        corrects = slow.cause != "none" and is_small(functional.space)
        own = self._tried(self.setup, functional, math.inf)
        found, left_out = [own], 0
        limit = math.inf if own.steps is None else own.steps
        for setup in candidates(self.setup, functional.grid.steps, ranks, coarse, corrects):
            if self.spent > self.most:
                left_out += 1
                continue
            try:
                other = self._like(setup)
            except ValueError:  # it does not fit ``storage="C"``, or the states
                continue
            # A bit more than the best one so far: fewer steps are not all that counts.
            trial = self._tried(setup, other, 1.5 * limit)
            found.append(trial)
            if trial.steps is not None and trial.pays:
                limit = min(limit, trial.steps)
        return tuple(found), left_out

    def _tried(self, setup: Setup, functional: ReducedFunctional, limit: float) -> Trial:
        control = prolong(self.control, functional.controls)  # it knows its levels
        trial, steps = tried(setup, functional, control, self.accuracy, self.cycles, limit)
        self.spent += steps
        return trial

    def _like(self, setup: Setup) -> ReducedFunctional:
        """Return a functional of the same problem, and of the same examples. Collective."""
        other, indices = setup.functional(self.original), self.original.state.selection.indices
        if indices is not None:
            other.select(indices)
        return other


def _accuracy(functional: ReducedFunctional, tolerance: float | None) -> Accuracy:
    """Return an accuracy with a relative tolerance, that of the functional by default."""
    if tolerance is None:
        relative = functional.accuracy.relative
        tolerance = 1e-10 if not relative else relative
    tolerance = number("diagnose", "tolerance", tolerance, positive=True)
    if not tolerance < 1:
        raise ValueError(f"`diagnose(tolerance=...)` must be below 1, got {tolerance:g}.")
    accuracy = Accuracy(functional.accuracy.cycles, relative=tolerance)
    accuracy.require_reachable("diagnose(tolerance=...)", functional.space.precision)
    return accuracy


def _words(relaxations: Any) -> tuple[str, ...]:
    """Return words of relaxations, or raise an error."""
    several = isinstance(relaxations, Iterable) and not isinstance(relaxations, str)
    words = tuple(relaxations) if several else (relaxations,)
    for word in words:
        try:
            relaxation_counts((word,), 2)
        except ValueError as error:
            raise ValueError(f"`diagnose(relaxations=...)`: {error}") from None
    return words


def _with_theory(factor: Factor, equations: Equations, steps: Any, cycles: int) -> Factor:
    """Return a factor with what the eigenvalues say of it, if the steps are linear and alike."""
    if steps is None:
        return factor
    matrix = steps if factor.equation == "state" else [one.T for one in steps]
    found = eigenvalues(equations, factor.level, matrix)
    if found is None:
        return factor
    m, count = factor.coarsening, factor.relaxation.count("C")
    ratios = found.ratios(m, count, cycles, equations.functional.grid.strides[factor.level])
    return replace(
        factor, theory=max(ratios, default=0.0), bound=float(found.bounds(m, count).max())
    )
