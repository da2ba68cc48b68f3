"""The iterate of an optimisation, and trials: trajectories, objective, gradient, their errors."""

from __future__ import annotations

import numpy as np

from pint.controls import Control
from pint.equations.trajectory import Value
from pint.mgrit import Accuracy
from pint.reduced_functional import ReducedFunctional


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
    """

    def __init__(self, functional: ReducedFunctional) -> None:
        self.functional = functional
        self.state = functional.new_state()
        self.adjoint = functional.new_adjoint(all_points=False)
        self.value: Value
        self.gradient: Control
        self.objective_error = self.gradient_error = 0.0

    @property
    def control(self) -> Control:
        """The control that the state belongs to."""
        return self.state.solved_control

    @property
    def gradient_norm(self) -> float:
        """Norm of the projected gradient ``c - P[c - g]``, of the gradient without bounds."""
        space, control = self.control.space, self.control
        return space.norm(control - space.project(control - self.gradient))

    def forget(self) -> None:
        """Let the next solves begin with the first guess, in place."""
        self.state.forget()
        self.adjoint.forget()

    def solve_state(self, control: Control, accuracy: Accuracy) -> None:
        """Move to `control`: state sweep and objective. Collective."""
        self.functional.state_cycles(self.state, control, accuracy)
        self.value = self.functional.objective(self.state)

    def solve_adjoint(self, accuracy: Accuracy) -> None:
        """Adjoint sweep and gradient. Collective."""
        self.functional.adjoint_cycles(self.adjoint, self.state, accuracy)
        self.set_gradient()

    def solve_exactly(self, control: Control | None = None) -> None:
        """State, objective, adjoint and gradient by sequential stepping. Collective.

        At `control`, by default that of the state.
        """
        self.functional.propagate(self.state, self.control if control is None else control)
        self.value = self.functional.objective(self.state)
        self.functional.propagate_adjoint(self.adjoint, self.state)
        self.set_gradient()
        self.objective_error = self.gradient_error = 0.0

    def set_gradient(self) -> None:
        """Form the gradient of the state and the adjoint at hand. Collective."""
        derivative = self.functional.derivative_of(self.state, self.adjoint)
        self.gradient = derivative.space.riesz(derivative)

    def accept(self, trials: Trials) -> None:
        """Take over control, state and objective of the last trial; no copy is made."""
        self.state, trials.state = trials.state, self.state
        self.value, self.objective_error = trials.value, trials.objective_error


class Trials:
    """Trial states on a trajectory of their own: that of the iterate stays as it is.

    Attributes
    ----------
    state, value, objective_error
        Of the last trial.
    """

    def __init__(self, functional: ReducedFunctional) -> None:
        self.functional = functional
        self.state = functional.new_state()
        self.value: Value
        self.objective_error = 0.0

    @property
    def inexact(self) -> bool:
        """Whether more cycles would change the last trial's state."""
        return self.state.convergence is not None and not self.state.convergence.converged


ROUNDING = 10 * float(np.finfo(float).eps)
"""Of the difference of two objectives, relative to them."""
