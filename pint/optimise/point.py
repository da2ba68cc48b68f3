"""The iterate of an optimisation, and the candidates for the next one."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from pint.controls import Control, clipped_gradient, projected_gradient
from pint.equations import Cycles, March, Value
from pint.mgrit import Accuracy, Convergence
from pint.optimise.line_search import Trial
from pint.reduced_functional import ReducedFunctional

ROUNDING = 10 * float(np.finfo(float).eps)
"""Of the difference of two objectives, relative to them."""


class Point:
    """The iterate: a control with its state, objective, adjoint and gradient. Changes in place.

    Attributes
    ----------
    state, adjoint
        Of `control`.
    value : Value
        The objective.
    gradient : Control
        In the control's metric.
    objective_error, gradient_error : float
        Estimates of the errors of objective and gradient (in norm) by inexact solves; zero for
        exact solves, NaN where nothing has been estimated.
    nears_bounds : bool
        Whether the method's controls approach bounds without reaching them: ``c - P[c - g]`` then
        serves as projected gradient if it is less.
    """

    def __init__(self, functional: ReducedFunctional) -> None:
        functional.require_differentiable()
        self.functional = functional
        self.state = functional.state.new()
        self.adjoint = functional.adjoint.new(all_points=False)
        self.value: Value
        self.gradient: Control
        self.objective_error = self.gradient_error = 0.0
        self.nears_bounds = False

    @property
    def control(self) -> Control:
        """The control that the state belongs to."""
        return self.state.solved_control

    def gradient_norm(self) -> float:
        """Return the norm of the projected gradient. Collective."""
        control, gradient = self.control, self.gradient
        norm = control.space.norm(projected_gradient(control, gradient))
        if self.nears_bounds and control.space.bounded:
            return min(norm, control.space.norm(clipped_gradient(control, gradient)))
        return norm

    def cause(self) -> str:
        """Return why objective or gradient is not finite, as the last solves show. Collective."""
        return self.functional.cause_of(self.value, self.gradient)

    def forget(self) -> None:
        """Let the next solves begin with the first guess, in place."""
        self.state.forget()
        self.adjoint.forget()

    def solve_state(self, control: Control, accuracy: Accuracy) -> None:
        """Move to `control`, in place: state sweep and objective. Collective."""
        self.functional.state.solve(self.state, control, Cycles(accuracy))
        self.evaluate()

    def solve_adjoint(self, accuracy: Accuracy) -> None:
        """Do the adjoint sweep and form the gradient, in place. Collective."""
        self.functional.adjoint.solve(self.adjoint, self.state, Cycles(accuracy))
        self.form_gradient()

    def solve_exactly(self, control: Control | None = None) -> None:
        """Set all by sequential stepping, at `control` or the current one, in place. Collective."""
        control = self.control if control is None else control
        self.functional.state.solve(self.state, control, March())
        self.evaluate()
        self.objective_error = 0.0
        self.solve_adjoint_exactly()

    def solve_adjoint_exactly(self) -> None:
        """Set adjoint and gradient of the current state by sequential stepping. Collective."""
        self.functional.adjoint.solve(self.adjoint, self.state, March())
        self.form_gradient()
        self.gradient_error = 0.0

    def evaluate(self) -> None:
        """Evaluate the objective, with the state's correction, in place. Collective."""
        self.value = self.functional.objective(self.state).corrected(self.state.correction)

    def form_gradient(self) -> None:
        """Form the gradient of the current state and adjoint, in place. Collective."""
        derivative = self.functional.derivative_of(self.state, self.adjoint)
        self.gradient = derivative.space.riesz(derivative)

    def note_exactness(self) -> None:
        """Set the errors, in place: zero where tolerances were met, else NaN, not estimated."""
        state, adjoint = self.state.convergence, self.adjoint.convergence
        exact = state is not None and state.converged
        self.objective_error = 0.0 if exact else math.nan
        exact = exact and adjoint is not None and adjoint.converged
        self.gradient_error = 0.0 if exact else math.nan

    def comparison_error(self, tolerance: float) -> float:
        """Return the error to expect where objectives are compared with that of the point.

        It is the estimated error, that of rounding, and that of states that have met a relative
        `tolerance`: ten times the tolerance, because an error is larger than the residual that it
        leaves. The error of states that have not met their tolerance is not in it.
        """
        # Without estimates, as of fixed cycles, the error is unknown and counts as zero here.
        relative, convergence = ROUNDING, self.state.convergence
        if convergence is not None and convergence.converged and convergence.residual > 0:
            relative += 10 * tolerance
        estimated = 0.0 if math.isnan(self.objective_error) else self.objective_error
        return estimated + relative * abs(self.value.objective)

    def accept(self, candidate: Candidate) -> None:
        """Take over control, state and objective of a candidate, in place; no copy is made."""
        # They change places: the next candidate is solved on the old trajectory.
        self.state, candidate.state = candidate.state, self.state
        self.value, self.objective_error = candidate.value, candidate.objective_error

    # Restarts

    def state_dict(self) -> dict[str, Any]:
        """Return the numbers that a restart cannot compute from control, state and adjoint."""
        return {
            "errors": [self.objective_error, self.gradient_error],
            "correction": self.state.correction,
            "convergence": [
                asdict(solved.convergence) if solved.convergence else None
                for solved in (self.state, self.adjoint)
            ],
        }

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, in place, after state and adjoint are solved."""
        objective_error, gradient_error = values["errors"]
        self.objective_error, self.gradient_error = float(objective_error), float(gradient_error)
        self.state.correction = float(values["correction"])
        of_state, of_adjoint = values["convergence"]
        self.state.convergence = _convergence(of_state)
        self.adjoint.convergence = _convergence(of_adjoint)


def _convergence(saved: dict[str, Any] | None) -> Convergence | None:
    if not saved:
        return None
    return Convergence(tuple(saved["residuals"]), saved["converged"], float(saved["bound"]))


class Candidate:
    """A control that may become the next iterate, on a trajectory of its own.

    The trajectory of the iterate stays as it is. Changes in place.

    Attributes
    ----------
    state, value
        Of the candidate.
    objective_error : float
        Estimated error of the objective, NaN where nothing has been estimated.
    refinable : bool
        Whether more accurate solves could change the objective.
    """

    def __init__(self, functional: ReducedFunctional) -> None:
        self.functional = functional
        self.state = functional.state.new()
        self.value: Value
        self.objective_error = 0.0
        self.refinable = False

    def evaluate(self) -> None:
        """Evaluate the objective, with the state's correction, in place. Collective."""
        self.value = self.functional.objective(self.state).corrected(self.state.correction)

    def solve_exactly(self, control: Control) -> None:
        """Set state and objective at `control` by sequential stepping, in place. Collective."""
        self.functional.state.solve(self.state, control, March())
        self.evaluate()
        self.objective_error, self.refinable = 0.0, False

    @property
    def is_inexact(self) -> bool:
        """Whether the state is that of cycles, not of sequential steps."""
        return bool(self.state.convergence and self.state.convergence.residuals)

    def note_exactness(self, refinable: bool) -> None:
        """Set error and `refinable`, in place: neither where the state met its tolerance."""
        convergence = self.state.convergence
        inexact = convergence is not None and not convergence.converged
        self.objective_error = math.nan if inexact else 0.0
        self.refinable = inexact and refinable

    def trial(self, point: Point) -> Trial:
        """Return what a line search from `point` judges. Collective."""
        control = self.state.solved_control
        predicted = control.space.inner(point.gradient, control - point.control)
        # Where nothing has been estimated, the objective is taken as it is.
        error = self.objective_error if math.isfinite(self.objective_error) else 0.0
        return Trial(self.value.objective, predicted, self.refinable, error)
