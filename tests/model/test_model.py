"""The performance model: hand-counted schedules, the engine's own clocks and counts, choices."""

import math
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry import PROBLEMS, random_control

import pint
from pint.mgrit import Propagator
from pint.mgrit.cycle import Smoother, cycle
from pint.mgrit.hierarchy import CHUNK_BYTES, Level
from pint.mgrit.relaxation import f_relaxation
from pint.model import (
    SEQUENTIAL,
    CallCost,
    Configuration,
    Costs,
    cycle_time,
    measure,
    predict,
    sequential_time,
    solve_time,
    strong_scaling,
    suggest,
    update_time,
    weak_scaling,
)

ONE = CallCost.linear(0.0, 1.0)
UNIT = Costs([ONE], [ONE], latency=0.0, bandwidth=math.inf, reduction_stage=0.0)
SHAPES = [
    (64, 2, 4),
    (64, 4, 2),
    (67, 4, 2),
    (67, 2, 5),
    (50, 3, 3),
    (5, 5, 2),
    (7, 5, 2),
    (59, (5, 2, 3), 4),
]


# Exact numbers


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize(("steps", "m", "ranks"), [(64, 4, 1), (64, 4, 4), (1024, 32, 8)])
def test_two_level_f_cycle_is_the_steps_on_the_critical_path(steps, m, ranks, adjoint):
    """Relaxation and residual N/P, right-hand side N/(mP), march N/m."""
    configuration = Configuration(2, m, "F")
    expected = steps // ranks + steps // (m * ranks) + steps // m
    assert cycle_time(UNIT, steps, ranks, configuration, adjoint) == expected
    # a solve ends with N/P - N/(mP) steps of F-relaxation
    expected += steps // ranks - steps // (m * ranks)
    assert solve_time(UNIT, steps, ranks, configuration, adjoint) == expected


@pytest.mark.parametrize(("steps", "m", "ranks"), [(64, 4, 1), (64, 4, 4), (1024, 32, 8)])
def test_lagged_sweep_is_n_over_p_plus_n_over_m(steps, m, ranks):
    lagged = Configuration(2, m, lagged=True)
    assert solve_time(UNIT, steps, ranks, lagged) == steps // ranks + steps // m


def test_lagged_sweep_on_three_levels():
    """64 -> 16 -> 4 on 4 ranks: a cycle on 16 points with its F-relaxation, 16 + 4 fine steps
    are 12 + 4, and 4 for the new right-hand side.
    """
    below = 3 + 1 + 1 + 4 + 3  # relaxation, residual, right-hand side, march, relaxation
    assert solve_time(UNIT, 64, 4, Configuration(3, 4, "F", lagged=True)) == below + 16 + 4


def test_more_ranks_than_intervals():
    """16 ranks, 2 intervals of 8: 7 steps one rank after the other, residual, rhs, march."""
    assert cycle_time(UNIT, 16, 16, Configuration(2, 8)) == 7 + 1 + 1 + 2
    slow = replace(UNIT, latency=10.0)
    # Rank 7 sends the C-point at once; 8 messages and 7 steps later rank 15 does the residual. The
    # right-hand side waits for one message, and so does rank 15 in the march, for rank 7.
    assert cycle_time(slow, 16, 16, Configuration(2, 8)) == (80 + 7) + 1 + (10 + 1) + (1 + 10 + 1)


def test_a_march_over_ranks_adds_a_message_each():
    costs = replace(UNIT, latency=0.5, bandwidth=16.0)  # 8 bytes: half a second more
    assert solve_time(costs, 12, 1, SEQUENTIAL) == 12
    assert solve_time(costs, 12, 4, SEQUENTIAL) == 12 + 3


def test_reductions_grow_with_the_logarithm_of_the_ranks():
    costs = replace(UNIT, reduction_call=1.0, reduction_stage=0.25)
    assert [costs.reduction(ranks) for ranks in (1, 2, 5, 1024)] == [1.0, 1.25, 1.75, 3.5]
    with_it = cycle_time(costs, 64, 4, Configuration(2, 4))
    assert with_it == cycle_time(UNIT, 64, 4, Configuration(2, 4)) + 1.5


def test_sequential_update_counts_every_part_once():
    costs = replace(
        UNIT,
        derivative=CallCost.linear(0.0, 0.5),
        objective=CallCost.linear(0.0, 0.25),
        linearise=CallCost.linear(0.0, 0.125),
        terminal=3.0,
        terminal_derivative=5.0,
        initial=7.0,
        initial_derivative=11.0,
        vector=CallCost.linear(0.0, 1e-3),
    )
    by_step = 1 + 0.25 + 1 + 0.125 + 0.5
    expected = 64 * by_step + 3 + 5 + 7 + 11 + (2 * 4 + 10) * 64e-3
    assert sequential_time(costs, 64, memory=4) == pytest.approx(expected, rel=1e-14)
    twice = sequential_time(costs, 64, memory=4, trials=2.0)
    assert twice == pytest.approx(expected + 64 * 1.25 + 3 + 7, rel=1e-14)


def test_lagged_update_forms_the_derivative_along_with_the_adjoint():
    costs = replace(UNIT, derivative=CallCost.linear(0.0, 0.5))
    lagged = predict(costs, 1024, 8, Configuration(2, 32, lagged=True), memory=0)
    assert (lagged.state, lagged.adjoint) == (128 + 32, 1.5 * 128 + 32)
    assert lagged.sequential == 1024 * 2.5
    assert lagged.gain == 2560 / (160 + 224)
    assert lagged.efficiency == lagged.gain / 8


# The engine itself


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("relaxation", ["F", "FCF", "FCFCF"])
@pytest.mark.parametrize("kind", ["V", "F"])
@pytest.mark.parametrize("adjoint", [False, True])
def test_counts_of_the_engine_on_one_rank(shape, relaxation, kind, adjoint):
    steps, m, levels = shape
    configuration = Configuration(levels, m, relaxation, kind)
    schedule = configuration.schedule(UNIT, configuration.grid(steps, 1), adjoint)
    schedule.solve(2)

    grid = pint.TimeGrid.uniform(1.0, steps, m, levels)
    solver = pint.MGRIT(
        grid, pint.ArraySpace(1), reverse=adjoint, relaxation=relaxation, cycle=kind
    )
    solver.solve(Doubling(), solver.allocate(), pint.Accuracy(2))
    assert tuple(schedule.steps_evaluated[:, 0]) == solver.steps_evaluated
    assert schedule.clock[0] == sum(solver.steps_evaluated)


class Doubling(Propagator):
    def apply(self, level, steps, states, out):
        out[...] = 2.0 * states


@dataclass
class Message:
    """A posted receive that is completed by looking up when it was sent."""

    comm: object
    key: tuple

    def Test(self):  # noqa: N802
        return True

    def Wait(self):  # noqa: N802
        if self.key is not None:
            comm, sent = self.comm, self.comm.sent[self.key].pop(0)
            comm.clock = max(comm.clock, sent + comm.latency)


@dataclass
class VirtualRank:
    """Communicator and clock of one rank; ranks run one after the other along the sweep."""

    rank: int
    size: int
    latency: float
    sent: dict
    clock: float = 0.0

    def Irecv(self, state, source, tag):  # noqa: N802
        return Message(self, (source, self.rank, tag))

    def Isend(self, state, dest, tag):  # noqa: N802
        self.sent.setdefault((self.rank, dest, tag), []).append(self.clock)
        return Message(self, None)


@dataclass
class Timed(Propagator):
    """A propagator that takes its time."""

    comm: VirtualRank
    costs: Costs
    adjoint: bool

    def apply(self, level, steps, states, out):
        self.comm.clock += float(self.costs.step(level, self.adjoint)(len(steps)))
        out[...] = states


@st.composite
def runs(draw):
    steps, size = draw(st.integers(1, 60)), draw(st.integers(1, 9))
    factors, remaining = [], steps
    for factor in draw(st.lists(st.integers(2, 7), min_size=1, max_size=3)):
        if factor <= remaining:
            factors.append(factor)
            remaining //= factor
    return steps, size, tuple(factors)


@settings(deadline=None, max_examples=50)
@given(
    runs(), st.booleans(), st.integers(0, 2), st.booleans(), st.sampled_from([1, 3]),
    st.sampled_from([0.0, 0.3, 20.0]),
)  # fmt: skip
def test_clocks_are_those_of_the_engine(run, adjoint, nu, f_cycle, batch, latency):
    """All messages go from left to right, so the engine's code runs rank after rank."""
    steps, size, factors = run
    if not factors:
        return
    levels = len(factors) + 1
    kinds = [CallCost.linear(1.0 + level, 1.0 / (1 + level)) for level in range(levels)]
    space = pint.ArraySpace(CHUNK_BYTES // 8 // batch)
    costs = Costs(
        kinds, kinds[::-1], latency=latency, bandwidth=math.inf, state_bytes=space.state_bytes
    )
    assert costs.batch == batch
    relaxation = "F" + "CF" * nu
    configuration = Configuration(levels, factors, relaxation, "F" if f_cycle else "V")
    schedule = configuration.schedule(costs, configuration.grid(steps, size), adjoint)
    schedule.reduce = lambda: None  # the virtual ranks have no sums
    schedule.solve(1)

    sent, clocks, counts = {}, [], []
    for rank in range(size)[:: -1 if adjoint else 1]:
        comm = VirtualRank(rank, size, latency, sent)
        grid = pint.TimeGrid.uniform(1.0, steps, factors, levels, comm)
        parts = [Level(layout, space, comm, pint.Phases()) for layout in grid.layouts(adjoint)]
        parts[0].trajectory = space.allocate(parts[0].layout.local_steps + 1)
        for part in parts:
            part.propagator = Timed(comm, costs, adjoint)
        cycle(parts, Smoother((nu,) * (levels - 1)), f_cycle)
        f_relaxation(parts[0])
        clocks.append(comm.clock)
        counts.append([part.steps_evaluated for part in parts])
    np.testing.assert_allclose(schedule.clock, clocks, rtol=1e-12)
    np.testing.assert_array_equal(schedule.steps_evaluated.T, counts)


# Behaviour

COSTS = Costs(
    [CallCost.linear(1e-5, 1e-4)],
    [CallCost.linear(1e-5, 1e-4)],
    derivative=CallCost.linear(1e-5, 1e-4),
    vector=CallCost.linear(5e-6, 1e-7),
    state_bytes=320000,
    copy=1e-5,
    norm=1e-5,
)


@pytest.mark.parametrize("lagged", [False, True])
@pytest.mark.parametrize("ranks", [1, 4, 100])
@pytest.mark.parametrize("levels", [2, 3])
def test_dearer_parts_never_make_an_update_faster(ranks, lagged, levels):
    configuration = Configuration(levels, 8, "F", lagged=lagged)
    time = update_time(COSTS, 500, ranks, configuration)
    for name in ("latency", "reduction_call", "reduction_stage", "copy", "norm", "terminal"):
        dearer = replace(COSTS, **{name: 2 * getattr(COSTS, name) + 1e-6})
        assert update_time(dearer, 500, ranks, configuration) >= time
    for name in ("state", "adjoint"):
        dearer = replace(COSTS, **{name: [CallCost.linear(1e-5, 2e-4)]})
        assert update_time(dearer, 500, ranks, configuration) > time
    assert update_time(replace(COSTS, bandwidth=1e8), 500, ranks, configuration) >= time
    assert update_time(COSTS, 500, ranks, configuration, trials=1.5) > time
    assert update_time(COSTS, 500, ranks, configuration, memory=30) > time


def test_more_work_takes_longer():
    by_cycles = [update_time(COSTS, 500, 4, Configuration(2, 8, cycles=k)) for k in (1, 2, 3)]
    assert by_cycles == sorted(by_cycles)
    by_relaxation = [cycle_time(COSTS, 500, 4, Configuration(2, 8, r)) for r in ("F", "FCF")]
    assert by_relaxation[0] < by_relaxation[1]
    lagged = update_time(COSTS, 500, 4, Configuration(2, 8, lagged=True))
    assert lagged < by_cycles[0]


def test_strong_and_weak_scaling():
    fixed = Configuration(2, 32, lagged=True)
    strong = strong_scaling(COSTS, 1024, [1, 4, 16], fixed)
    assert [p.ranks for p in strong] == [1, 4, 16]
    assert strong[0].seconds > strong[1].seconds > strong[2].seconds
    assert len({p.sequential for p in strong}) == 1
    weak = weak_scaling(COSTS, 64, [1, 4, 16], fixed)
    assert [p.steps for p in weak] == [64, 256, 1024]
    best = strong_scaling(COSTS, 1024, [16])[0]
    assert best == suggest(COSTS, 1024, 16).best
    assert best.seconds <= strong[2].seconds


@pytest.mark.parametrize("cycles", [None, 1, 2])
@pytest.mark.parametrize(("steps", "ranks"), [(1, 1), (3, 2), (100, 7), (1024, 256)])
def test_suggestion_is_the_best_of_what_it_considered(steps, ranks, cycles):
    suggestion = suggest(COSTS, steps, ranks, cycles=cycles)
    assert suggestion.best is suggestion.considered[0]
    assert suggestion.best.seconds == min(p.seconds for p in suggestion.considered)
    assert suggestion.best.gain >= 1.0
    sequential = [p for p in suggestion.considered if p.configuration == SEQUENTIAL]
    assert [p.seconds for p in sequential] == [sequential_time(COSTS, steps)]
    assert len({p.configuration for p in suggestion.considered}) == len(suggestion.considered)
    parallel = [p.configuration for p in suggestion.considered if p not in sequential]
    assert all(configuration.lagged is (cycles is None) for configuration in parallel)


def test_suggestion_says_what_it_assumes_and_when_not_to_be_parallel():
    text = str(suggest(COSTS, 1024, 256))
    assert "lagged sweeps" in text and "same number of updates" in text and "gain" in text
    alone = suggest(replace(COSTS, latency=1.0, reduction_stage=1.0), 1024, 256)
    assert alone.best.configuration == SEQUENTIAL
    assert "no configuration parallel in time is faster" in str(alone)
    assert suggest(COSTS, 1024, 1).best.configuration == SEQUENTIAL


def test_suggestion_weighs_the_number_of_updates():
    assert suggest(COSTS, 256, 16, cycles=2).best.configuration.relaxation == "F"

    def updates(configuration):
        return 3.0 if configuration.relaxation == "F" and configuration.levels > 1 else 1.0

    weighed = suggest(COSTS, 256, 16, cycles=2, updates=updates)
    assert weighed.best.configuration.relaxation == "FCF"


def test_suggestion_keeps_to_the_largest_stride():
    for prediction in suggest(COSTS, 1024, 64, largest_stride=16).considered:
        factors = np.atleast_1d(prediction.configuration.coarsening)
        assert prediction.configuration == SEQUENTIAL or np.prod(factors) <= 16


def test_cost_of_a_call():
    cost = CallCost((1, 4, 16), (1.0, 2.5, 4.5))
    assert [float(cost(size)) for size in (0, 1, 2, 4, 10, 28)] == [0, 1, 1.5, 2.5, 3.5, 6.5]
    assert float(CallCost((10,), (5.0,))(4)) == 2.0
    np.testing.assert_allclose(CallCost.linear(1.0, 2.0)([0, 1, 5]), [0, 3, 11])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: CallCost((), ()), "sizes"),
        (lambda: CallCost((2, 1), (0.0, 0.0)), "sizes"),
        (lambda: CallCost((1,), (-1.0,)), "seconds"),
        (lambda: CallCost((1, 2), (1.0,)), "seconds"),
        (lambda: replace(UNIT, latency=-1.0), "latency"),
        (lambda: replace(UNIT, bandwidth=0.0), "bandwidth"),
        (lambda: replace(UNIT, copy=math.nan), "copy"),
        (lambda: replace(UNIT, state_bytes=0), "state_bytes"),
        (lambda: replace(UNIT, state=[]), "state"),
        (lambda: Configuration(cycles=0), "cycles"),
        (lambda: Configuration(cycle="W"), "cycle"),
        (lambda: Configuration(relaxation="CF"), "relaxation"),
        (lambda: Configuration(levels=1, lagged=True), "lagged"),
        (lambda: cycle_time(UNIT, 8, 1, SEQUENTIAL), "configuration"),
        (lambda: solve_time(UNIT, 8, 0, SEQUENTIAL), "ranks"),
        (lambda: solve_time(UNIT, 0, 1, SEQUENTIAL), "steps"),
        (lambda: solve_time(UNIT, 8, 1, Configuration(2, 16)), "coarsening"),
        (lambda: predict(UNIT, 8, 1, SEQUENTIAL, trials=0.5), "trials"),
        (lambda: predict(UNIT, 8, 1, SEQUENTIAL, memory=-1), "memory"),
        (lambda: weak_scaling(UNIT, 0, [1]), "steps_per_rank"),
        (lambda: suggest(UNIT, 8, 2, most_levels=0), "most_levels"),
        (lambda: suggest(UNIT, 8, 2, largest_stride=0), "largest_stride"),
        (lambda: suggest(UNIT, 8, 2, updates=lambda configuration: 0.0), "updates"),
    ],
)
def test_errors_name_the_argument(make, match):
    with pytest.raises(ValueError, match=f"`[^`]*{match}"):
        make()


# Measuring


@pytest.mark.parametrize("name", PROBLEMS)
def test_costs_of_every_problem(name):
    problem = PROBLEMS[name](pint.TimeGrid.uniform(1.0, 12, 2, 3))
    costs = measure(problem, random_control(problem.controls), seconds=1e-4)
    assert len(costs.state) == len(costs.adjoint) == 3
    for level in range(3):
        assert costs.step(level, False)(1) > 0 and costs.step(level, True)(1) > 0
    assert costs.derivative(12) >= 0 and costs.bind(12) > 0 and costs.vector(12) > 0
    assert costs.state_bytes == problem.space.state_bytes
    assert (costs.latency, costs.bandwidth) == (2e-6, 1e10)
    assert update_time(costs, 1024, 8, Configuration(3, 4)) > 0


def test_measuring_a_grid_of_one_level_and_one_step():
    problem = PROBLEMS["pendulum-terminal"](pint.TimeGrid.uniform(1.0, 1))
    costs = measure(problem, problem.controls.zeros(), seconds=1e-4)
    assert sequential_time(costs, 1) > 0
    with pytest.raises(ValueError, match="`measure\\(seconds"):
        measure(problem, problem.controls.zeros(), seconds=0.0)


def test_a_call_costs_what_the_step_takes(monkeypatch):
    """On a clock that the steps alone advance, the costs are exact."""
    problem = PROBLEMS["pendulum-terminal"](pint.TimeGrid.uniform(1.0, 64, 4, 2))
    now, step = [0.0], type(problem.stepper).step

    def slow(self, s, y, u, theta, *, guess=None):
        now[0] += 2.0**-10 * (1 + 2 * len(y))
        return step(self, s, y, u, theta)

    monkeypatch.setattr(type(problem.stepper), "step", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    costs = measure(problem, problem.controls.zeros(), seconds=0.5)
    assert [cost.sizes for cost in costs.state] == [(1, 4, 16), (1, 4, 16)]
    for cost in costs.state:
        np.testing.assert_array_equal(cost.seconds, [2.0**-10 * n for n in (3, 9, 33)])
    assert costs.adjoint[0](64) == costs.copy == costs.terminal == 0.0
