"""check_problem on several ranks: one report, the same places as on one."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from registry import Pendulum, PendulumAdjoint, RunningCost, Swift, SwiftAdjoint

import pint
from problems.heat import Heat, manufactured


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
    from problems.heat_petsc import PetscHeatAdjoint, petsc_problem

    class Doubled(PetscHeatAdjoint):
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
    assert any(check.claim.startswith("changes with `s.guess`") for check in report.checks)
