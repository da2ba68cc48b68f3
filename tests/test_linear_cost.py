"""What set-up and cycles cost in N: memory by tracemalloc, loops by counting, no wall time."""

import argparse
import importlib.util
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import pint
from pint.controls.halo import coarse_halo, neighbour_halo
from problems.heat import Heat, zero_target

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "linear_cost.py"


class Rank(pint.SerialComm):
    """One rank of many, for what needs no message."""

    def __init__(self, rank=0, size=1):
        self.rank, self.size = rank, size


def set_up(steps, comm, t=None):
    """Make grid, controls of every kind, and functional."""
    if t is None:
        grid = pint.TimeGrid.uniform(1.0, steps, 4, 5, comm)
    else:
        grid = pint.TimeGrid(t, 4, 5, comm)
    heat = Heat("neumann", points=2)
    base = heat.problem(zero_target(heat))
    controls = dict(
        u=pint.TimeControl(1, lower=-1.0),
        mean=pint.TimeControl(1, restrict="mean"),
        pieces=pint.TimeControl(1, every=6),
        hats=pint.TimeControl(1, every=3, interpolate="linear"),
        shared=pint.SharedControl(3),
    )
    problem = pint.Problem(base.stepper, base.adjoint, base.objective, controls)
    return pint.ReducedFunctional(problem, grid)


def peak_of(function, *arguments):
    tracemalloc.start()
    kept = function(*arguments)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del kept
    return peak


@pytest.mark.parametrize("times", ["uniform", "given"])
def test_memory_of_the_set_up_falls_like_one_over_the_ranks(times):
    steps = 1_000_000
    t = np.linspace(0.0, 1.0, steps + 1) ** 1.1 if times == "given" else None
    if t is not None:
        t.flags.writeable = False  # or each rank makes a copy
    set_up(1000, Rank(), None)  # what is made once
    one = peak_of(set_up, steps, Rank(), t)
    for size in (10, 100):
        for rank in (0, size // 3, size - 1):
            assert peak_of(set_up, steps, Rank(rank, size), t) < 1.1 * one / size
    # An array of N numbers, or of N bits, would be more than this.
    assert peak_of(set_up, steps, Rank(500, 1000), t) < 3 * one / 1000 + 2**19 * (t is not None)


def count_lines(function, *arguments):
    """Return how many lines of Python `function` runs through."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*arguments)
    finally:
        sys.settrace(before)
    return count


def test_set_up_has_no_loop_over_steps():
    set_up(1000, Rank())
    few, many = count_lines(set_up, 2_000, Rank()), count_lines(set_up, 200_000, Rank())
    assert many < few + 100


def test_ownership_and_exchanges_have_no_loop_over_ranks():
    def make(size):
        grid = pint.TimeGrid.uniform(1.0, 10**9, 4, 5, Rank(size // 2, size))
        pint.ControlSpace(grid, u=pint.TimeControl(1), mean=pint.TimeControl(1, restrict="mean"))

    make(1000)
    assert abs(count_lines(make, 1000) - count_lines(make, 10**6)) < 100


@pytest.mark.parametrize("size", [7, 1000, 10**6])
def test_ranks_exchange_blocks_with_few(size):
    for rank in {0, 1, size // 2, size - 1}:
        grid = pint.TimeGrid.uniform(1.0, 4 * 10**6 + 3, 4, 6, Rank(rank, size))
        halos = [neighbour_halo(grid)]
        halos += [coarse_halo(grid, False, reverse) for reverse in (False, True)]
        for halo in halos:
            assert len(halo.receives) + len(halo.sends) <= 2 * grid.levels


@pytest.fixture(scope="module")
def program():
    """Return the program that measures it, as a module."""
    spec = importlib.util.spec_from_file_location(PROGRAM.stem, PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("levels", [None, 4])
def test_memory_of_a_cycle_is_linear(program, levels):
    def all_of_it(steps):
        cycle = program.Cycle(steps, 63, 4, levels)
        cycle.all()
        return cycle

    all_of_it(256)
    steps = np.array([8192, 32768])
    memory = np.array([peak_of(all_of_it, int(n)) for n in steps])
    assert program.slope(steps, memory) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("part", ["state", "adjoint", "derivative"])
def test_a_cycle_loops_over_chunks_only(program, part):
    """Four times the steps add a level, and the lines that a level takes."""
    counts = []
    for steps in (2**13, 2**15):
        cycle = program.Cycle(steps, 1, 4, None)
        cycle.all()
        counts.append(count_lines(getattr(cycle, part)))
    assert counts[1] < 1.5 * counts[0]


def test_the_program(program, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", "linear_cost.py --least 64 --most 128 --points 3".split())
    program.main()
    lines = capsys.readouterr().out.splitlines()
    assert [int(line.split()[0]) for line in lines[1:3]] == [64, 128]
    assert sum(line.startswith("slope of the") for line in lines) == 5
    arguments = argparse.Namespace(points=3, coarsening=4, levels=2, repeats=1)
    assert program.measure(arguments, 64)[:2] == [64, 2]
