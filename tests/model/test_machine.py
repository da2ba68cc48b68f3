"""Clocks of the engine on ranks that do not exist: worked out by hand, and independent of order."""

import math
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import pint
from pint.mgrit import Propagator
from pint.mgrit.hierarchy import CHUNK_BYTES
from pint.model import SEQUENTIAL, CallCost, Configuration, Costs, solve_time
from pint.model.machine import Rank, Sweep, parts, play
from pint.model.prediction import prices
from pint.model.recording import Event, record

ONE = CallCost.linear(0.0, 1.0)
UNIT = Costs([ONE], [ONE], latency=0.0, bandwidth=math.inf, reduction_stage=0.0)


def clocks(costs, steps, ranks, configuration, adjoint=False, guess=None):
    how = configuration.solve(costs, adjoint=adjoint, guess=guess)
    sweep = Sweep(configuration.grid(steps, ranks), how, reverse=adjoint)
    return sweep.clocks(prices(costs, adjoint), costs, np.zeros(ranks)).tolist()


# Two ranks, four steps, two levels: each rank has one interval of two steps


HAND = replace(
    UNIT,
    state=[ONE, CallCost.linear(0.0, 10.0)],
    adjoint=[CallCost.linear(0.0, 3.0)],
    latency=0.125,
    state_bytes=8,
    bandwidth=64.0,
    reduction_call=0.25,
    reduction_stage=0.25,
)
MESSAGE, SUM = 0.125 + 8 / 64, 0.5


def test_a_cycle_by_hand():
    """Both relax one step, the second one after a message, and do the residual's step."""
    after_sum = MESSAGE + 1 + 1 + SUM
    # Right-hand side: the second rank's only coarse step waits for a message.
    first, second = after_sum + 10, after_sum + MESSAGE + 10
    # March: it begins when the first rank has ended.
    first = first + 10
    second = max(second, first + MESSAGE) + 10
    # Last F-relaxation: the C-point of the first rank is known at once.
    assert clocks(HAND, 4, 2, Configuration(2, 2)) == [first + 1, second + 1]


def test_a_lagged_cycle_by_hand():
    """March, correction, relaxation, residual, and tau from the residual: no step more."""
    first, second = 10.0, 10 + MESSAGE + 10
    first, second = first + 1 + 1, second + 1 + 1
    expected = second + SUM
    assert clocks(HAND, 4, 2, Configuration(2, 2, lagged=True)) == [expected, expected]
    # Adjoint steps cost 3 on each level.
    second = 3 + MESSAGE + 3 + 3 + 3
    lagged = Configuration(2, 2, lagged=True)
    assert clocks(HAND, 4, 2, lagged, adjoint=True) == [second + SUM] * 2


def test_fcf_relaxation_by_hand():
    """Between the first relaxation and the residual: a step to the C-point, and one more."""
    f = [1.0, MESSAGE + 1.0]
    c = [f[0] + 1, f[1] + 1]
    f = [c[0] + 1, max(c[1], c[0] + MESSAGE) + 1]
    after_sum = f[1] + 1 + SUM
    first = after_sum + 10 + 10
    second = max(after_sum + MESSAGE + 10, first + MESSAGE) + 10
    assert clocks(HAND, 4, 2, Configuration(2, 2, "FCF")) == [first + 1, second + 1]


def test_a_march_by_hand():
    assert clocks(HAND, 4, 2, SEQUENTIAL) == [2.0, 2 + MESSAGE + 2]
    assert clocks(HAND, 4, 2, SEQUENTIAL, adjoint=True) == [6.0, 6 + MESSAGE + 6]


def test_a_first_guess_comes_before_the_solve():
    """A coarse march first; its end is where the cycle of each rank begins."""
    first, second = 10.0, 10 + MESSAGE + 10
    # Relaxation: the first rank's message has arrived long ago.
    after_sum = second + 1 + 1 + SUM
    first = after_sum + 10 + 10
    second = max(after_sum + MESSAGE + 10, first + MESSAGE) + 10
    for guess in ("coarse", "nested"):  # no level between the two
        assert clocks(HAND, 4, 2, Configuration(2, 2), guess=guess) == [first + 1, second + 1]
    plain = clocks(HAND, 4, 2, Configuration(2, 2))
    constant = clocks(HAND, 4, 2, Configuration(2, 2), guess="constant")
    np.testing.assert_allclose(constant, np.add(plain, SUM))
    assert clocks(HAND, 4, 2, SEQUENTIAL, guess="nested") == clocks(HAND, 4, 2, SEQUENTIAL)


def test_copies_and_norms_of_a_solve():
    """Two relaxations store 48 F-points, in batches of steps. At each of 16 C-points: difference
    and norm of the residual, copy and norm of the state, right-hand side, correction; point 0.
    """
    copies = solve_time(replace(UNIT, copy=2.0**-10), 64, 1, Configuration(2, 4)) % 1
    assert copies * 2**10 == 2 * 48 + 5 * 16 + 1
    costs = replace(UNIT, norm=2.0**-10)
    assert solve_time(costs, 64, 1, Configuration(2, 4)) % 1 * 2**10 == 2 * 16
    # Lagged: the norm of the residual, and the product of a state's residual with the adjoint.
    lagged = Configuration(2, 4, lagged=True)
    assert solve_time(costs, 64, 1, lagged) % 1 * 2**10 == 2 * 16
    assert solve_time(costs, 64, 1, lagged, adjoint=True) % 1 * 2**10 == 16


def test_calls_of_a_solve():
    """16 intervals of 4 steps in one batch; marches make steps one by one."""
    calls = replace(UNIT, state=[CallCost.linear(1.0, 0.0)])
    # Relaxation, residual, right-hand side, march, relaxation
    assert solve_time(calls, 64, 1, Configuration(2, 4)) == 3 + 1 + 1 + 16 + 3
    assert solve_time(calls, 64, 1, SEQUENTIAL) == 64
    one_by_one = replace(calls, state_bytes=2**40)
    assert solve_time(one_by_one, 64, 1, Configuration(2, 4)) == 48 + 16 + 16 + 16 + 48
    # Runs of steps: each step of a relaxation as in a march, residual and right-hand side as above
    runs = replace(calls, runs=True)
    assert solve_time(runs, 64, 1, Configuration(2, 4)) == 48 + 1 + 1 + 16 + 48


def test_an_adjoint_begins_on_the_last_rank():
    """Five steps on two ranks: the last one has three of them."""
    for configuration in (SEQUENTIAL, Configuration(2, 2)):
        costs = replace(HAND, adjoint=HAND.state, latency=5.0)
        forward = max(clocks(costs, 5, 2, configuration))
        backward = max(clocks(costs, 5, 2, configuration, adjoint=True))
        assert solve_time(costs, 5, 2, configuration) == forward
        assert solve_time(costs, 5, 2, configuration, adjoint=True) == backward
        assert (forward == backward) == (configuration == SEQUENTIAL)
    assert clocks(HAND, 5, 2, SEQUENTIAL) == [2.0, 2 + MESSAGE + 3]
    assert clocks(HAND, 5, 2, SEQUENTIAL, adjoint=True) == [9.0, 9 + MESSAGE + 6]


# Steps on the critical path


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize(("steps", "m", "ranks"), [(64, 4, 1), (64, 4, 4), (1024, 32, 8)])
def test_two_level_solves(steps, m, ranks, adjoint):
    """Relaxation and residual N/P, right-hand side N/(mP), march N/m; at the end F-points."""
    cycle = steps // ranks + steps // (m * ranks) + steps // m
    end = steps // ranks - steps // (m * ranks)
    for cycles in (1, 2):
        found = solve_time(UNIT, steps, ranks, Configuration(2, m, cycles=cycles), adjoint=adjoint)
        assert found == cycles * cycle + end
        lagged = Configuration(2, m, cycles=cycles, lagged=True)
        found = solve_time(UNIT, steps, ranks, lagged, adjoint=adjoint)
        assert found == cycles * (steps // ranks + steps // m)


def test_lagged_cycle_on_three_levels():
    """64 -> 16 -> 4 on 4 ranks: a cycle on 16 points with its F-relaxation, 16 fine steps, and 4
    for the new right-hand side.
    """
    below = 3 + 1 + 1 + 4 + 3  # relaxation, residual, right-hand side, march, relaxation
    assert solve_time(UNIT, 64, 4, Configuration(3, 4, "F", lagged=True)) == below + 16 + 4


def test_more_ranks_than_intervals():
    """16 ranks, 2 intervals of 8: 7 steps one rank after the other, residual, rhs, march."""
    slow = replace(UNIT, latency=10.0)
    for costs, message in ((UNIT, 0), (slow, 10)):
        # Rank 7 sends the C-point at once; 8 messages and 7 steps later rank 15 does the residual.
        # The right-hand side waits for one message, and so does rank 15 in the march, for rank 7.
        cycle = (8 * message + 7) + 1 + (message + 1) + (1 + message + 1)
        # In the last relaxation rank 7 is a message and a step ahead of rank 15, and sends
        # the C-point over 7 ranks.
        sent = cycle - message - 1
        end = sent + 8 * message + 7
        assert solve_time(costs, 16, 16, Configuration(2, 8)) == end


def test_reductions_grow_with_the_logarithm_of_the_ranks():
    costs = replace(UNIT, reduction_call=1.0, reduction_stage=0.25)
    assert [costs.reduction(ranks) for ranks in (1, 2, 5, 1024)] == [1.0, 1.25, 1.75, 3.5]
    with_it = solve_time(costs, 64, 4, Configuration(2, 4))
    assert with_it == solve_time(UNIT, 64, 4, Configuration(2, 4)) + 1.5


# The engine itself


class Doubling(Propagator):
    def apply(self, level, steps, states, out, guess=None):
        out[...] = 2.0 * states


@pytest.mark.parametrize("shape", [(64, 2, 4), (67, 4, 2), (7, 5, 2), (59, (5, 2, 3), 4)])
@pytest.mark.parametrize("configured", [("F", "V"), ("FCF", "F"), ("FCFCF", "V")])
@pytest.mark.parametrize("adjoint", [False, True])
def test_steps_of_a_real_solve_on_one_rank(shape, configured, adjoint):
    steps, m, levels = shape
    relaxation, kind = configured
    grid = pint.TimeGrid.uniform(1.0, steps, m, levels)
    space = pint.ArraySpace(1)
    solver = pint.MGRIT(grid, space, reverse=adjoint, relaxation=relaxation, cycle=kind)
    propagator = Doubling()
    propagator.reverse = adjoint
    solver.solve(propagator, solver.allocate(), pint.Accuracy(2))
    configuration = Configuration(levels, m, relaxation, kind, cycles=2)
    assert solve_time(UNIT, steps, 1, configuration, adjoint=adjoint) == sum(solver.steps_evaluated)


@st.composite
def runs(draw):
    steps, size = draw(st.integers(1, 60)), draw(st.integers(1, 9))
    factors, remaining = [], steps
    for factor in draw(st.lists(st.integers(2, 7), min_size=0, max_size=3)):
        if factor <= remaining:
            factors.append(factor)
            remaining //= factor
    kind = draw(st.sampled_from(["V", "F"]))
    lagged = bool(factors) and draw(st.booleans())
    relaxation = draw(st.sampled_from(["F", "FCF", "FCFCF"]))
    cycles = draw(st.integers(1, 2))
    levels = len(factors) + 1
    configuration = Configuration(
        levels, tuple(factors) or 2, relaxation, kind, cycles=cycles, lagged=lagged
    )
    guess = draw(st.sampled_from([None, "nested", "coarse", "constant"]))
    return steps, size, configuration, guess, draw(st.booleans())


# Ranks of which only the places of the C-points differ; grids that only differ by their factors
PHASES = (56, 8, Configuration(3, (2, 4)), None, False)
FACTORS = [(28, 2, Configuration(3, factors), None, False) for factors in ((6, 3), (5, 3))]


@settings(deadline=None, max_examples=30)
@example(PHASES, 4, Random(0))
@example(FACTORS[0], 1, Random(0))
@example(FACTORS[1], 1, Random(0))
@given(runs(), st.sampled_from([1, 4, 6]), st.randoms(use_true_random=False))
def test_ranks_that_share_recordings_would_record_the_same(run, batch, random):
    """And they may be played in any order."""
    steps, size, configuration, guess, adjoint = run
    kinds = [CallCost.linear(1.0 + level, 1.0 / (1 + level)) for level in range(4)]
    costs = replace(UNIT, state=kinds, adjoint=kinds[::-1], latency=0.3, copy=0.01, norm=0.02)
    costs = replace(costs, state_bytes=CHUNK_BYTES // batch)
    grid = configuration.grid(steps, size)
    how = configuration.solve(costs, adjoint=adjoint, guess=guess)
    price = prices(costs, adjoint)
    expected = Sweep(grid, how, reverse=adjoint).clocks(price, costs, np.zeros(size))

    ranks = []
    for position, part in enumerate(parts(grid, adjoint)):
        alone = record.__wrapped__(part, how)
        ranks.append(Rank(position, 0.0, alone.events, alone.seconds(price)))
    shuffled = ranks.copy()
    random.shuffle(shuffled)
    play(shuffled, costs.message, costs.reduction(size))
    assert [rank.clock for rank in ranks] == expected.tolist()


def test_ranks_that_wait_for_each_other_are_an_error():
    waiting = [Rank(0, 0.0, (Event("receive", 1),), [0, 0]), Rank(1, 0.0, (), [0])]
    with pytest.raises(RuntimeError, match="waits for another"):
        play(waiting, 0.0, 0.0)
