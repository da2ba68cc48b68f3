"""MGRIT on several ranks is sequential stepping on one: a sample, or as many as asked for."""

import pytest
from hypothesis import given
from random_configurations import check, configurations, sampled

import pint

WORLD = pint.world()


@pytest.mark.layout
@sampled(10, parallel=True)
@given(configurations(WORLD.size))
def test_mgrit_at_convergence_is_the_march(case):
    # All ranks fail together: hypothesis tries again what has failed.
    try:
        check(case, WORLD)
        mine = ""
    except AssertionError as error:
        mine = str(error)
    failed = [text for text in WORLD.allgather(mine) if text]
    assert not failed, failed[0]
