"""Any problem in other units of objective, control, state and time."""

from dataclasses import dataclass

import pint
from pint.interface import Adjoint, Objective, TimeStepper


@dataclass(frozen=True)
class Units:
    """Factors of the numbers for objective, control, state and time."""

    objective: float = 1.0
    control: float = 1.0
    state: float = 1.0
    time: float = 1.0

    @property
    def gradient(self):
        """The factor of the gradient's norm in the metric of time."""
        return self.objective / (self.control * self.time**0.5)

    def functional(self, problem, final_time, steps, levels):
        """Return the functional of a problem, one time-dependent field u, on a uniform grid."""
        bounds = problem.controls["u"]
        u = pint.TimeControl(bounds.shape, bounds.lower * self.control, bounds.upper * self.control)
        parts = [Stepper(self, problem), Transpose(self, problem), Cost(self, problem)]
        grid = pint.TimeGrid.uniform(self.time * final_time, steps, 4, levels)
        return pint.ReducedFunctional(pint.Problem(*parts, {"u": u}), grid)

    def steps(self, s):
        return s._replace(t0=s.t0 / self.time, t1=s.t1 / self.time)

    def controls(self, u):
        return {"u": u["u"] / self.control}


class Part:
    def __init__(self, units, problem):
        self.units, self.problem = units, problem
        self.inner = getattr(problem, self.name)


class Stepper(Part, TimeStepper):
    name = "stepper"

    @property
    def batched(self):
        return self.problem.stepper.batched

    @property
    def initial_state(self):
        return self.units.state * self.problem.stepper.initial({})

    def step(self, s, y, u, theta):
        of = self.units
        return of.state * self.inner.step(of.steps(s), y / of.state, of.controls(u), theta)


class Transpose(Part, Adjoint):
    name = "adjoint"

    def vjp(self, s, y, u, theta, lam):
        of = self.units
        dy, du, _ = self.inner.vjp(of.steps(s), y / of.state, of.controls(u), theta, lam)
        return dy, {"u": du["u"] * (of.state / of.control)}, {}


class Cost(Part, Objective):
    name = "objective"

    def step_cost(self, s, y0, y1, u, theta):
        of = self.units
        arguments = of.steps(s), y0 / of.state, y1 / of.state, of.controls(u), theta
        return of.objective * self.inner.step_cost(*arguments)

    def step_cost_derivative(self, s, y0, y1, u, theta):
        of = self.units
        arguments = of.steps(s), y0 / of.state, y1 / of.state, of.controls(u), theta
        dy0, dy1, du, _ = self.inner.step_cost_derivative(*arguments)
        factor = of.objective / of.state
        return dy0 * factor, dy1 * factor, {"u": du["u"] * (of.objective / of.control)}, {}

    def terminal(self, y, theta):
        return self.units.objective * self.inner.terminal(y / self.units.state, theta)

    def terminal_derivative(self, y, theta):
        dy, _ = self.inner.terminal_derivative(y / self.units.state, theta)
        return dy * (self.units.objective / self.units.state), {}
