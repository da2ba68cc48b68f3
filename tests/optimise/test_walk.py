"""The way from `minimize` to the user's step: short, and never back up."""

import sys

import numpy as np
import pytest

import pint


class Euler(pint.TimeStepper):
    batched, initial_state = True, np.ones(1)

    def __init__(self):
        self.walks = {}

    def step(self, s, y, u, theta):
        codes, frame = [], sys._getframe()
        while not codes or codes[-1].co_name != "minimize":
            codes.append(frame.f_code)
            frame = frame.f_back
        files = [code.co_filename.rpartition("pint/")[2] for code in reversed(codes)]
        self.walks.setdefault(s.level, set()).add(tuple(files))
        return y + s.dt * (u["u"] - y)


class EulerAdjoint(pint.Adjoint):
    def vjp(self, s, y, u, theta, lam):
        return lam - s.dt * lam, {"u": s.dt * lam}, {}


class Target(pint.Objective):
    def terminal(self, y, theta):
        return 50.0 * ((y - 1.0) ** 2).sum()

    def terminal_derivative(self, y, theta):
        return 100.0 * (y - 1.0), {}


@pytest.mark.parametrize("method", [pint.OneShot, pint.Lagged, pint.ReducedSpace])
def test_an_update_reaches_the_step_in_sixteen_frames(method):
    stepper = Euler()
    problem = pint.Problem(stepper, EulerAdjoint(), Target(), {"u": pint.TimeControl(1)})
    grid = pint.TimeGrid.uniform(1.0, 16, 4, 2)
    functional = pint.ReducedFunctional(problem, grid)
    # Calls with zeros go through one frame more, which looks for changed arguments.
    pint.minimize(functional, functional.control(u=0.1), method(iterations=2))
    assert set(stepper.walks) == {0, 1}
    for walks in stepper.walks.values():
        assert max(map(len, walks)) <= 16
        for files in walks:
            rooms = [file.partition("/")[0] for file in files[:-1]]
            order = [room for i, room in enumerate(rooms) if room not in rooms[:i]]
            assert order == ["optimise", "equations", "mgrit"]  # and through the door at the end
            assert rooms[-1] == "equations"
            # No room is entered from one below it, but for the door.
            assert "optimise" not in rooms[rooms.index("equations") :]
