"""check_problem on several ranks: one report, the same places as on one."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from registry import Pendulum, PendulumAdjoint, RunningCost, Swift, SwiftAdjoint

import pint
from pint.comm import reduce
from problems.heat import Heat, manufactured, zero_target


class WrongSign(PendulumAdjoint):
    def vjp(self, s, y, u, theta, lam):
        dy, *rest = super().vjp(s, y, u, theta, lam)
        return 2 * lam - dy, *rest


class WrongAlone(SwiftAdjoint):
    def step(self, s, y, u, theta, lam, out=None):
        return np.add(super().step(s, y, u, theta, lam), 1e-9 * lam, out=out)


class NaNLate(Pendulum):
    def step(self, s, y, u, theta):
        return np.where(s.t1 > 0.9, np.nan, super().step(s, y, u, theta))


@pytest.mark.parametrize(
    ("stepper", "adjoint"),
    [
        (Pendulum, PendulumAdjoint),
        (Pendulum, WrongSign),
        (NaNLate, PendulumAdjoint),
        (Swift, SwiftAdjoint),
        (Swift, WrongAlone),
    ],
)
def test_report_is_the_same_on_all_ranks_and_names_the_same_places(world, stepper, adjoint):
    def report(comm):
        grid = pint.TimeGrid(np.linspace(0, 1, 10) ** 1.2, coarsening=2, levels=2, comm=comm)
        step = stepper()
        fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)}
        problem = pint.Problem(step, adjoint(step), RunningCost(), fields)
        return pint.verify.check_problem(problem, grid)

    def places(report):
        return {(check.method, check.level, check.field, check.claim) for check in report.failures}

    ours, serial = report(world), report(None)
    assert set(world.allgather(str(ours))) == {str(ours)}
    assert places(ours) == places(serial)
    assert ours.passed is serial.passed


@pytest.mark.petsc
@pytest.mark.parametrize("wrong", [False, True])
def test_states_that_are_petsc_vectors(world, wrong):
    from pint.petsc import ImplicitAdjoint
    from problems.heat_petsc import petsc_problem

    class Doubled(ImplicitAdjoint):
        def vjp(self, s, y, u, theta, lam):
            dy, du, dtheta = super().vjp(s, y, u, theta, lam)
            return dy, {"u": 2 * du["u"]}, dtheta

    time, space = pint.split(world, 1)
    heat = Heat("distributed", 4, 2, "crank-nicolson")
    problem, _ = petsc_problem(heat, space, partial(manufactured, heat, 1.0))
    if wrong:
        problem = replace(problem, adjoint=Doubled(problem.stepper))
    grid = pint.TimeGrid(np.linspace(0, 1, 8) ** 1.2, coarsening=2, levels=2, comm=time)
    report = pint.verify.check_problem(problem, grid)
    named = {(check.method, check.field) for check in report.failures}
    assert named == ({("Doubled.vjp", "u['u']"), ("taylor_test", "u['u']")} if wrong else set())
    assert not report.not_run


# States distributed over ranks in space


class Decay(pint.TimeStepper):
    def __init__(self, comm):
        self.space_of_states = pint.ArraySpace(2, comm=comm)
        self.initial_state = np.arange(2.0) + comm.rank

    @property
    def space(self):
        return self.space_of_states

    def step(self, s, y, u, theta):
        return y + s.dt * (u["u"] - y)


class DecayAdjoint(pint.Adjoint):
    def vjp(self, s, y, u, theta, lam):
        return lam - s.dt * lam, {"u": s.dt * lam}, {}


class Energy(pint.Objective):
    """Summed over the ranks in space, as far as it is not said otherwise."""

    def __init__(self, comm, unsummed=()):
        self.comm, self.unsummed = comm, unsummed

    def total(self, name, value):
        return value if name in self.unsummed else reduce(self.comm, value)[0]

    def step_cost(self, s, y0, y1, u, theta):
        return self.total("step_cost", s.dt * (y1 @ y1))

    def step_cost_derivative(self, s, y0, y1, u, theta):
        return 0.0, 2 * s.dt * y1, {}, {}

    def terminal(self, y, theta):
        return self.total("terminal", y @ y)

    def terminal_derivative(self, y, theta):
        return 2 * y, {}


class Unsummed(pint.Tikhonov):
    def value(self, control):
        return 0.5 * self.gamma * float(control["u"].ravel() @ control["u"].ravel())

    def derivative(self, control):
        result = control.space.zeros()
        result["u"][...] = self.gamma * control["u"]
        return result


@pytest.mark.parametrize("unsummed", ["", "terminal", "step_cost", "regulariser"])
def test_costs_that_are_not_summed_over_the_ranks_in_space(world, unsummed):
    time, space = pint.split(world, world.size)
    terms = [Unsummed(0.1, ["u"])] if unsummed == "regulariser" else []
    fields = {"u": pint.TimeControl(2, comm=space)}
    parts = Decay(space), DecayAdjoint(), Energy(space, [unsummed])
    problem = pint.Problem(*parts, fields, terms)
    grid = pint.TimeGrid.uniform(1.0, 12, 3, 2, comm=time)
    report = pint.verify.check_problem(problem, grid)
    assert set(world.allgather(str(report))) == {str(report)}
    if world.size == 1 or not unsummed:
        assert report.passed or world.size == 1, str(report)
        return
    name = "Unsummed.value" if terms else f"Energy.{unsummed}"
    assert [check.method for check in report.failures] == [name]
    assert "sum it over the ranks in space" in str(report)
    assert [check.method for check in report.not_run] == ["taylor_test"]


class DoubledControl(DecayAdjoint):
    def vjp(self, s, y, u, theta, lam):
        dy, du, dtheta = super().vjp(s, y, u, theta, lam)
        return dy, {"u": 2 * du["u"]}, dtheta


class WrongOnCoarseLevels(DecayAdjoint):
    def vjp(self, s, y, u, theta, lam):
        return lam - (s.dt if s.level == 0 else 0.1) * lam, {"u": s.dt * lam}, {}


@pytest.mark.parametrize(
    ("adjoint", "places"),
    [
        (DecayAdjoint, set()),
        (DoubledControl, {(0, "u['u']"), (1, "u['u']")}),
        (WrongOnCoarseLevels, {(1, "y")}),
    ],
)
def test_transposes_of_states_that_are_distributed(world, adjoint, places):
    time, space = pint.split(world, world.size)
    fields = {"u": pint.TimeControl(2, comm=space)}
    problem = pint.Problem(Decay(space), adjoint(), Energy(space), fields)
    report = pint.verify.check_problem(problem, pint.TimeGrid.uniform(1.0, 12, 3, 2, comm=time))
    found = {(one.level, one.field) for one in report.failures if one.method != "taylor_test"}
    assert found == places or (world.size == 1 and places <= found), str(report)
    named = {one.method for one in report.failures} - {"taylor_test"}
    assert named == ({f"{adjoint.__name__}.vjp"} if places else set()), str(report)


@pytest.mark.petsc
@pytest.mark.parametrize("unsummed", [False, True])
def test_petsc_costs_that_are_not_summed_over_the_ranks_in_space(world, unsummed):
    from problems.heat_petsc import PetscHeatTerminal, petsc_problem

    class Local(PetscHeatTerminal):
        def terminal(self, y, theta):
            off = y.array_r - self.data.target(0.0)
            return 0.5 * self.heat.volume * (off @ off + self.heat.alpha * theta["u"] @ theta["u"])

    time, space = pint.split(world, world.size)
    heat = Heat("initial", 12, 1)
    problem, _ = petsc_problem(heat, space, partial(zero_target, heat))
    if unsummed:
        objective = Local(problem.objective.mesh, problem.objective.data)
        problem = replace(problem, objective=objective)
    report = pint.verify.check_problem(problem, pint.TimeGrid.uniform(1.0, 6, 2, 2, comm=time))
    failures = [check.method for check in report.failures]
    assert failures == (["Local.terminal"] if unsummed and world.size > 1 else []), str(report)
