"""Predicted updates: every part is counted, dearer parts take longer; choices and errors."""

import math
from dataclasses import replace

import numpy as np
import pytest

from pint.model import (
    SEQUENTIAL,
    CallCost,
    Configuration,
    Costs,
    predict,
    solve_time,
    strong_scaling,
    suggest,
    weak_scaling,
)

ONE = CallCost.linear(0.0, 1.0)
UNIT = Costs([ONE], [ONE], latency=0.0, bandwidth=math.inf, reduction_stage=0.0)


def update_time(costs, steps, ranks, configuration, **options):
    return predict(costs, steps, ranks, configuration, **options).seconds


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
    assert update_time(costs, 64, 1, SEQUENTIAL, memory=4) == pytest.approx(expected, rel=1e-14)
    twice = update_time(costs, 64, 1, SEQUENTIAL, memory=4, trials=2.0)
    assert twice == pytest.approx(expected + 64 * 1.25 + 3 + 7, rel=1e-14)


def test_the_ends_of_time_are_on_the_first_and_on_the_last_rank():
    """Marches over two ranks: their ends before and after, of which nothing overlaps."""
    ends = {"terminal": 3.0, "terminal_derivative": 5.0, "initial": 7.0, "initial_derivative": 11.0}
    costs = replace(UNIT, latency=0.5, bandwidth=math.inf, **ends)
    prediction = predict(costs, 4, 2, SEQUENTIAL)
    assert prediction.state == 7 + 2 + 0.5 + 2 + 3
    assert prediction.adjoint == 5 + 2 + 0.5 + 2 + 11


def test_a_trial_begins_with_a_copy_of_the_c_points():
    costs, configuration = replace(UNIT, copy=0.125), Configuration(2, 4)
    solve = solve_time(costs, 64, 1, configuration)
    assert predict(costs, 64, 1, configuration).state == solve + 16 * 0.125


def test_a_march_leaves_the_derivative_to_batches_where_these_are_cheaper():
    along = CallCost.linear(1.0, 0.5)
    for apart, expected in ((CallCost.linear(2.0, 0.25), 2 + 16), (CallCost.linear(2.0, 3.0), 96)):
        costs = replace(UNIT, derivative=along, derivative_apart=apart)
        assert predict(costs, 64, 1, SEQUENTIAL).adjoint == 64 + expected
    # A cycle's last pass forms it, but for the steps to the 16 C-points.
    configuration = Configuration(2, 4)
    more = (
        predict(costs, 64, 1, configuration).adjoint - predict(UNIT, 64, 1, configuration).adjoint
    )
    assert more == 3 * (1 + 8) + (2 + 48)


def test_lagged_update_forms_the_derivative_along_with_the_adjoint():
    costs = replace(UNIT, derivative=CallCost.linear(0.0, 0.5))
    lagged = predict(costs, 1024, 8, Configuration(2, 32, lagged=True), memory=0)
    assert (lagged.state, lagged.adjoint) == (128 + 32, 1.5 * 128 + 32)
    assert lagged.sequential == 1024 * 2.5
    assert lagged.gain == 2560 / (160 + 224)
    assert lagged.efficiency == lagged.gain / 8


@pytest.mark.parametrize("kind", [{}, {"lagged": True}, {"relaxation": "FCF", "cycle": "F"}])
@pytest.mark.parametrize("cycles", [1, 2])
def test_the_derivative_of_each_step_is_formed_once(cycles, kind):
    configuration = Configuration(3, 4, cycles=cycles, **kind)
    costs = replace(UNIT, derivative=CallCost.linear(0.0, 0.5))
    more = (
        predict(costs, 64, 1, configuration).adjoint - predict(UNIT, 64, 1, configuration).adjoint
    )
    assert more == 64 * 0.5


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
@pytest.mark.parametrize("ranks", [1, 30])
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
    by_relaxation = [solve_time(COSTS, 500, 4, Configuration(2, 8, r)) for r in ("F", "FCF")]
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
    best = strong_scaling(COSTS, 64, [8])[0]
    assert best == suggest(COSTS, 64, 8).best
    assert best.seconds <= strong_scaling(COSTS, 64, [8], fixed)[0].seconds


@pytest.mark.parametrize("cycles", [None, 1, 2])
@pytest.mark.parametrize(("steps", "ranks"), [(1, 1), (3, 2), (40, 7), (64, 32)])
def test_suggestion_is_the_best_of_what_it_considered(steps, ranks, cycles):
    suggestion = suggest(COSTS, steps, ranks, cycles=cycles)
    assert suggestion.best is suggestion.considered[0]
    assert suggestion.best.seconds == min(p.seconds for p in suggestion.considered)
    assert suggestion.best.gain >= 1.0
    sequential = [p for p in suggestion.considered if p.configuration == SEQUENTIAL]
    assert [p.seconds for p in sequential] == [update_time(COSTS, steps, 1, SEQUENTIAL)]
    assert len({p.configuration for p in suggestion.considered}) == len(suggestion.considered)
    parallel = [p.configuration for p in suggestion.considered if p not in sequential]
    assert all(configuration.lagged is (cycles is None) for configuration in parallel)


def test_suggestion_says_what_it_assumes_and_when_not_to_be_parallel():
    text = str(suggest(COSTS, 64, 16))
    assert "lagged cycles" in text and "same number of updates" in text and "gain" in text
    assert "over the fastest on one rank" in text
    alone = suggest(replace(COSTS, latency=1.0, reduction_stage=1.0), 32, 8)
    assert alone.best.configuration == SEQUENTIAL
    assert "no configuration parallel in time is faster" in str(alone)
    assert suggest(COSTS, 64, 1).best.configuration == SEQUENTIAL


def test_what_ranks_gain_is_told_from_what_cycles_gain_alone():
    """Steps in one call that cost as much as one: most of the gain needs no ranks."""
    call = CallCost.linear(1e-3, 1e-9)
    batched = replace(COSTS, state=[call], adjoint=[call], state_bytes=8)
    found = suggest(batched, 1024, 16)
    assert found.alone == suggest(batched, 1024, 1).best
    assert found.alone.configuration.levels > 1
    assert found.gain_of_ranks == pytest.approx(found.best.gain / found.alone.gain)
    assert found.gain_of_ranks < 0.5 * found.best.gain
    weighed = suggest(batched, 1024, 16, updates=lambda one: 1 + 99 * (one.levels > 1))
    assert weighed.alone.configuration == weighed.best.configuration == SEQUENTIAL
    assert weighed.gain_of_ranks == 1


def test_suggestion_weighs_the_number_of_updates():
    assert suggest(COSTS, 64, 8, cycles=2).best.configuration.relaxation == "F"

    def updates(configuration):
        return 3.0 if configuration.relaxation == "F" and configuration.levels > 1 else 1.0

    weighed = suggest(COSTS, 64, 8, cycles=2, updates=updates)
    assert weighed.best.configuration.relaxation == "FCF"


def test_lagged_candidates_relax_level_0_once():
    found = {p.configuration.relaxation for p in suggest(COSTS, 32, 4).considered}
    assert found == {"F", ("F", "FCF"), ("F", "FCF", "FCF"), ("F", "FCF", "FCF", "FCF")}
    found = {p.configuration.relaxation for p in suggest(COSTS, 32, 4, cycles=1).considered}
    assert found == {"F", "FCF"}


def test_suggestion_keeps_to_the_largest_stride():
    for prediction in suggest(COSTS, 64, 16, largest_stride=16).considered:
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
