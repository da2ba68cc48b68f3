"""Strict states through every kind of solve: no numpy function, no negative and no zero step."""

import numpy as np
import pytest
import registry
from pairwise import pairwise
from solves import SOLVES, assert_same_numbers, numbers
from strict_space import strict

import pint

GRIDS = {
    "1-level": (12, 3, 1),
    "2-levels-open": (13, 3, 2),
    "3-levels": (24, [3, 2], 3),
    "3-levels-open": (20, [3, 2], 3),
}
OPTIONS = {
    "F": {"relaxation": "F", "guess": "coarse"},
    "FCF-weight": {"c_weight": 0.8, "guess": "constant"},
    "F-cycle-single": {"cycle": "F", "chunk_bytes": 1},
    "nothing-kept": {"kept_bytes": 0, "guess": "zero", "relaxation": "F"},
}
ON_LEVELS = [solve for solve in SOLVES if solve not in ("marched", "corrected")]
CASES = [
    *pairwise(ON_LEVELS, list(GRIDS)[1:], list(OPTIONS), list(registry.STRICT)),
    *(("marched", "1-level", "F-cycle-single", name) for name in registry.STRICT),
    *(("corrected", "3-levels", "F", name) for name in registry.STRICT),
]


def functional(name, grid, **options):
    return pint.ReducedFunctional(
        registry.PROBLEMS[name](), pint.TimeGrid.uniform(1.0, *GRIDS[grid]), **options
    )


def control_of(rf):
    return registry.random_control(rf.controls, seed=1, deviation=0.3)


@pytest.mark.parametrize(("solve", "grid", "option", "name"), CASES)
def test_numbers_are_those_of_numpy_arrays(solve, grid, option, name):
    found = []
    for one in (name, name.removeprefix("strict-")):
        rf = functional(one, grid, **OPTIONS[option])
        found.append(numbers(rf, solve, control_of(rf)))
    assert_same_numbers(*found, tolerance=1e-13)


@pytest.mark.parametrize(
    "method", [pint.External("scipy:L-BFGS-B", iterations=3), pint.OneShot(iterations=3)]
)
def test_all_states_of_a_result_are_a_numpy_array(method):
    rf = functional("strict-predators", "2-levels-open")
    result = pint.minimize(rf, control_of(rf), method)
    states = result.states()
    assert type(states) is np.ndarray and states.shape == (14, 2)


def test_what_a_strict_block_refuses():
    block = strict(np.ones((4, 2)))
    for function in (np.asarray, np.sin, np.copy, lambda b: np.add(b, 1.0), lambda b: b + b[::-1]):
        with pytest.raises((TypeError, ValueError)):
            function(block)
    with pytest.raises(TypeError):
        np.ones((4, 2)).__iadd__(block)
    for key in ([0, 1], np.array([0, 1]), slice(None, None, 0), slice(None, None, -1), True):
        with pytest.raises((TypeError, ValueError), match="strict block"):
            block[key]
    assert not hasattr(block, "strides")
