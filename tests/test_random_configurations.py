"""MGRIT at convergence is sequential stepping: a sample, or ``PINT_CONFIGURATIONS=500`` of them."""

from hypothesis import given
from random_configurations import check, configurations, sampled


@sampled(15)
@given(configurations())
def test_mgrit_at_convergence_is_the_march(case):
    check(case)
