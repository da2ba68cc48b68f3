"""Clocks: one runs at a time, and the solver's work is put down to the right one."""

import time

import numpy as np
import pytest
from recursions import Recursion

import pint
from pint.report.timing import PHASES


@pytest.fixture
def clock(monkeypatch):
    """Return a function that lets time pass on a clock that otherwise stands still."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def spent(phases):
    return {phase: seconds for phase, seconds in phases.seconds.items() if seconds}


def test_an_inner_phase_stops_the_outer_one(clock):
    phases = pint.Phases()
    clock(64)
    with phases("relaxation"):
        clock(1)
        with phases("communication"):
            clock(2)
            with phases("relaxation"):
                clock(4)
            clock(8)
        clock(16)
    clock(32)
    assert spent(phases) == {"relaxation": 21, "communication": 10}


def test_a_phase_inside_itself_counts_once(clock):
    phases = pint.Phases()
    for _ in range(2):
        with phases("coarse"):
            clock(1)
            with phases("coarse"):
                clock(2)
            clock(4)
    assert spent(phases) == {"coarse": 14}


def test_an_exception_stops_the_clock(clock):
    phases = pint.Phases()
    with pytest.raises(OSError, match="inside"), phases("gradient"), phases("update"):
        clock(1)
        raise OSError("inside")
    clock(2)
    with phases("coarse"):
        clock(4)
    assert spent(phases) == {"update": 1, "coarse": 4}


def test_the_maxima_of_one_rank_are_its_seconds(clock):
    phases = pint.Phases()
    with phases("update"):
        clock(3)
    assert phases.maxima(pint.SerialComm()) == phases.seconds
    assert tuple(phases.seconds) == PHASES


def test_unknown_phase():
    with pytest.raises(ValueError, match="phase"):
        pint.Phases()("lunch")


class Costly(Recursion):
    """A step takes one second on level 0, an eighth of one on coarser levels."""

    def __init__(self, factors, wait):
        super().__init__(factors)
        self.wait = wait

    def apply(self, level, steps, states, out, guess=None):
        self.wait(len(steps) * (1.0 if level == 0 else 0.125))
        super().apply(level, steps, states, out)


@pytest.mark.parametrize("guess", ["zero", "constant", "coarse", "nested"])
@pytest.mark.parametrize("cycle", ["V", "F"])
def test_steps_are_put_down_to_their_level(clock, guess, cycle):
    grid = pint.TimeGrid.uniform(1.0, 64, 4, 3)
    solver = pint.MGRIT(grid, pint.ArraySpace(1), cycle=cycle)
    recursion = Costly([np.ones(64), np.ones(16), np.ones(4)], clock)
    y = solver.allocate()
    y[0] = 1.0
    solver.set_guess(recursion, y, guess)
    solver.solve(recursion, y, pint.Accuracy(2))
    fine, *coarse = solver.steps_evaluated
    assert spent(solver.phases) == {"relaxation": fine, "coarse": 0.125 * sum(coarse)}


@pytest.mark.parametrize("levels", [1, 2])
def test_sequential_stepping_is_work_on_level_0(clock, levels):
    grid = pint.TimeGrid.uniform(1.0, 64, 4, levels)
    solver = pint.MGRIT(grid, pint.ArraySpace(1))
    solver.march(Costly([np.ones(64), np.ones(16)], clock), solver.allocate())
    assert spent(solver.phases) == {"relaxation": 64}


def test_cycles_are_counted_over_all_solves():
    grid = pint.TimeGrid.uniform(1.0, 64, 4, 3)
    solver = pint.MGRIT(grid, pint.ArraySpace(1), cycle="F")
    recursion = Recursion([np.full(64, 0.9), np.full(16, 0.6), np.full(4, 0.1)])
    y = solver.allocate()
    y[0] = 1.0
    assert solver.cycles_done == 0
    solver.set_guess(recursion, y, "nested")
    done = 0
    for accuracy in (pint.Accuracy(2), pint.Accuracy(30, relative=1e-10), pint.Accuracy(1)):
        done += len(solver.solve(recursion, y, accuracy).residuals)
        assert solver.cycles_done == done
    solver.march(recursion, y)
    assert solver.cycles_done == done > 4


def test_solvers_share_the_clocks_that_they_are_given(clock):
    grid, phases = pint.TimeGrid.uniform(1.0, 8, 2, 2), pint.Phases()
    for reverse in (False, True):
        solver = pint.MGRIT(grid, pint.ArraySpace(1), reverse=reverse, phases=phases)
        solver.march(Costly([np.ones(8), np.ones(4)], clock), solver.allocate())
    assert spent(phases) == {"relaxation": 16}


def test_the_phases_of_an_optimisation_add_up_to_no_more_than_the_wall_time():
    grid = pint.TimeGrid.uniform(1.0, 64, 4, 2)
    started = time.perf_counter()
    functional = pint.ReducedFunctional(linear_problem(), grid)
    functional.gradient(functional.controls.zeros())
    wall = time.perf_counter() - started
    seconds = functional.phases.seconds
    solvers = functional.state.solver, functional.adjoint.solver
    assert all(solver.phases is functional.phases for solver in solvers)
    for phase in ("relaxation", "coarse", "communication", "gradient"):
        assert seconds[phase] > 0
    assert seconds["update"] == 0
    assert sum(seconds.values()) <= wall


class Relax(pint.TimeStepper):
    batched = True
    initial_state = np.ones(1)

    def step(self, s, y, u, theta):
        return y + s.dt * (u["u"] - y)


class RelaxAdjoint(pint.Adjoint):
    def vjp(self, s, y, u, theta, lam):
        return (1 - s.dt) * lam, {"u": s.dt * lam}, {}


class AtEnd(pint.Objective):
    def terminal(self, y, theta):
        return 0.5 * float(y @ y)

    def terminal_derivative(self, y, theta):
        return y, {}


def linear_problem():
    fields, effort = {"u": pint.TimeControl(1)}, pint.Tikhonov(0.1, ["u"])
    return pint.Problem(Relax(), RelaxAdjoint(), AtEnd(), fields, [effort])
