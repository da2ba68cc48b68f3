"""Relaxation: every F-point and every C-point is stepped to once, whatever the distribution."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import pint
from pint.mgrit.hierarchy import Level, Propagator
from pint.mgrit.relaxation import c_relaxation, f_relaxation
from pint.report.timing import Phases


class DeadLetter:
    def Test(self):  # noqa: N802
        return True

    def Wait(self):  # noqa: N802
        pass


@dataclass
class FakeRank:
    """A communicator that drops what is sent."""

    rank: int
    size: int

    def Isend(self, state, dest, tag):  # noqa: N802
        return DeadLetter()

    def Irecv(self, state, source, tag):  # noqa: N802
        return DeadLetter()


class Recorder(Propagator):
    """The identity, noting to which points it was asked to step."""

    def __init__(self):
        self.points = []

    def apply(self, level, steps, states, out, guess=None):
        assert len(steps) == len(states) == len(out)
        self.points += [step + 1 for step in steps]
        out[...] = states


@given(st.integers(2, 50), st.integers(1, 8), st.data(), st.booleans())
def test_c_and_f_points_are_disjoint_and_complete(steps, size, data, reverse):
    factor = data.draw(st.integers(2, min(7, steps)))
    f_points, c_points, owned_c_points = [], [], []
    for rank in range(size):
        comm = FakeRank(rank, size)
        layout, _ = pint.TimeGrid(range(steps + 1), factor, 2, comm).layouts(reverse)
        level = Level(layout, pint.ArraySpace(1), comm, Phases(), chunk=1000)
        level.trajectory = np.zeros((layout.local_steps + 1, 1))
        level.propagator = recorder = Recorder()
        f_relaxation(level)
        f_points += recorder.points
        assert level.steps_evaluated == len(recorder.points)
        level.propagator = recorder = Recorder()
        c_relaxation(level, 1.0)
        c_points += recorder.points
        owned_c_points += [layout.first + row for row in layout.c_rows]
    assert sorted(f_points) == [point for point in range(1, steps + 1) if point % factor]
    assert sorted(c_points) == list(range(factor, steps + 1, factor)) == sorted(owned_c_points)
