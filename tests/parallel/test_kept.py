"""What steps keep on many ranks: the gradient of one rank that keeps nothing."""

import pytest
from parallel.cases import SMALL, assert_same_control, random_case
from test_tape import PROBLEMS, SOLVES, gradient


@pytest.mark.parametrize("solve", ["1-cycle", "2-cycles", "propagated", "another-state-between"])
@pytest.mark.parametrize("case", [*SMALL[1:], random_case(203), random_case(207)], ids=str)
@pytest.mark.parametrize("name", ["network", "convolution", "rk4"])
def test_gradient(world, name, case, solve):
    make = PROBLEMS[name]
    expected, _ = gradient(make(case.grid()), SOLVES[solve], kept_bytes=0)
    for kept_bytes in (500, 2**31):
        derivative, _ = gradient(make(case.grid(world)), SOLVES[solve], kept_bytes=kept_bytes)
        assert_same_control(derivative, expected)
