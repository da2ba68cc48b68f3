"""States that are tensors through every kind of solve, without numpy: the numbers of arrays."""

import pytest

torch = pytest.importorskip("torch")

import registry
from pairwise import pairwise
from solves import SOLVES, assert_same_numbers, numbers
from tensor_space import (
    ACCURACY,
    CASES,
    every_solve,
    on_a_device,
    pair,
    tensor_predators,
    without_numbers,
)

import pint

GRIDS = {
    "2-levels-open": (13, 3, 2),
    "3-levels": (24, [3, 2], 3),
    "3-levels-open": (20, [3, 2], 3),
}
OPTIONS = {
    "F": {"relaxation": "F", "guess": "coarse"},
    "FCF-weight": {"c_weight": 0.8, "guess": "constant"},
    "F-cycle-single": {"cycle": "F", "chunk_bytes": 1},
    "nothing-kept": {"kept_bytes": 0, "guess": "zero", "relaxation": "F"},
    "C": {"storage": "C"},
}
RUNS = [
    case
    for case in pairwise(list(SOLVES), list(GRIDS), list(OPTIONS), list(CASES))
    if not (case[2] == "C" and ("open" in case[1] or case[0] in ("relaxed", "marched")))
    and case[0] not in ("marched", "corrected")
]


def functional(problem, grid, **options):
    return pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, *grid), **options)


def control_of(rf):
    return registry.random_control(rf.controls, seed=1, deviation=0.3)


def found_by(problem, grid, solve, options):
    rf = functional(problem, grid, **options)
    return numbers(rf, solve, control_of(rf))


@pytest.mark.parametrize(("solve", "grid", "option", "case"), RUNS)
def test_numbers_are_those_of_numpy_arrays(solve, grid, option, case):
    tensors, arrays = pair(case)
    with on_a_device():
        found = found_by(tensors, GRIDS[grid], solve, OPTIONS[option])
    expected = found_by(arrays, GRIDS[grid], solve, OPTIONS[option])
    assert_same_numbers(found, expected, ACCURACY[CASES[case][2]])


@pytest.mark.parametrize("case", CASES)
def test_sequential_steps_and_v_cycles_agree(case):
    tensors, arrays = pair(case)
    accuracy = ACCURACY[CASES[case][2]]
    with on_a_device():
        march = found_by(tensors, (24, 3, 1), "marched", {})
        cycles = found_by(tensors, (24, 3, 3), "to_tolerance", {})
    expected = found_by(arrays, (24, 3, 1), "marched", {})
    for found in (march, cycles):
        assert_same_numbers(found, expected, 2 * accuracy)


def test_without_numbers_is_as_on_a_device():
    tensor = torch.ones((2, 2), device="meta")
    with without_numbers():
        for refused in (lambda: tensor + torch.ones(2), lambda: tensor @ torch.ones(2)):
            with pytest.raises(RuntimeError, match="has tensors of the devices"):
                refused()
        with pytest.raises(NotImplementedError):
            tensor.numpy(force=True)


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("float32-in-place", {"relaxation": "F"}),
        ("float64", {"storage": "C", "relaxation": "F"}),
        ("float32-loop", {"relaxation": "F"}),
    ],
)
def test_nothing_but_norms_and_values_leaves_the_device(case, options):
    problem = pair(case, device="meta")[0]
    rf = functional(problem, (6, 3, 2), **options)
    with without_numbers():
        assert every_solve(rf, rf.control()) == 2 * 6 + 1


@pytest.mark.parametrize(("dtype", "accuracy"), [("float32", 1e-5), ("bfloat16", 0.1)])
def test_sums_of_float32(dtype, accuracy):
    """As on devices without float64."""
    tensors = tensor_predators(dtype=dtype, accumulate="float32")
    rf, exact = (functional(one, (24, 3, 1)) for one in (tensors, pair("float64")[1]))
    with on_a_device():
        found = rf.derivative(control_of(rf)).vector
    expected = exact.derivative(control_of(exact)).vector
    assert abs(found - expected).max() < accuracy * abs(expected).max()
