"""Wall time by phase on many ranks: every rank learns the maxima."""

import time

import numpy as np
import pytest
from recursions import Recursion

import pint
from pint.comm import reduce


def test_every_rank_knows_the_maxima(world, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    phases = pint.Phases()
    with phases("relaxation"):
        now[0] += 1.0 + world.rank
        with phases("communication"):
            now[0] += 2.0 * (world.size - world.rank)
    expected = dict.fromkeys(phases.seconds, 0.0)
    expected.update(relaxation=float(world.size), communication=2.0 * world.size)
    assert phases.maxima(world) == expected
    own = {"relaxation": 1.0 + world.rank, "communication": 2.0 * (world.size - world.rank)}
    assert {phase: value for phase, value in phases.seconds.items() if value} == own


class SlowOnFirstRank(Recursion):
    """Steps that the first rank takes a while for, so that the others wait."""

    def __init__(self, factors, seconds):
        super().__init__(factors)
        self.seconds = seconds

    def apply(self, level, steps, states, out, guess=None):
        time.sleep(self.seconds)
        super().apply(level, steps, states, out)


def test_ranks_that_wait_communicate(world):
    grid = pint.TimeGrid.uniform(1.0, 60, 4, 2, world)
    solver = pint.MGRIT(grid, pint.ArraySpace(1))
    recursion = SlowOnFirstRank([np.ones(60), np.ones(15)], 0.02 * (world.rank == 0))
    y = solver.allocate()
    started = time.perf_counter()
    solver.solve(recursion, y, pint.Accuracy(1))
    wall = time.perf_counter() - started
    every = world.allgather(dict(solver.phases.seconds))
    most = solver.phases.maxima(world)
    assert most == {phase: max(seconds[phase] for seconds in every) for phase in most}
    assert world.allgather(most) == [most] * world.size
    assert sum(solver.phases.seconds.values()) <= wall
    if world.rank > 0:
        assert solver.phases.seconds["communication"] > 0.05


def test_sums_over_ranks_are_told_from_messages(world):
    phases, late = pint.Phases(), 0.1
    with phases("update"):
        time.sleep(late if world.rank == 0 else 0.0)
        reduce(world, 1.0)
    with phases("communication"):
        time.sleep(late)
    reduce(world, 1.0)  # in no phase
    assert sum(phases.parts.values()) == pytest.approx(sum(phases.seconds.values()))
    assert phases.seconds["communication"] == phases.parts["wait"] + phases.parts["reduce"]
    assert late <= phases.parts["wait"] < 2 * late
    if world.rank > 0:
        assert phases.parts["reduce"] > late / 2 > phases.parts["compute"]
    tables = world.allgather(phases.report(world))
    assert tables == tables[:1] * world.size
    lines = tables[0].splitlines()
    assert lines[0].split() == ["rank", "compute", "wait", "reduce"]
    assert lines[1 + world.rank].split()[0] == str(world.rank)
    assert len(lines) == 1 + world.size
