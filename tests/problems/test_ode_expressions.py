"""The problems of the catalogue as expressions are those by hand."""

import importlib.util

import numpy as np
import pytest
import registry

import pint
from problems import ode_expressions
from problems.ode import PROBLEMS


def results(problem, final_time):
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(final_time, 64))
    control = registry.random_control(functional.controls)
    return functional.value(control), functional.derivative(control).vector


@pytest.mark.parametrize("name", PROBLEMS)
def test_expressions_are_those_by_hand(name):
    definition = PROBLEMS[name]()
    for scheme in definition.schemes:
        by_hand = definition.problem(scheme)
        expressions = ode_expressions.problem(definition, scheme, backend="numpy")
        found, expected = (results(one, definition.T) for one in (expressions, by_hand))
        assert found[0] == pytest.approx(expected[0], rel=1e-13)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-11, atol=1e-13)


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="needs the extra `compiled`")
def test_a_program_in_machine_code():
    import ode_control

    arguments = ["--problem", "van-der-pol", "--steps", "64"]
    summaries = [
        ode_control.main([*arguments, "--backend", name]) for name in ("numpy", "compiled")
    ]
    assert summaries[1]["objective"] == pytest.approx(2.87980918252074, rel=1e-9)
    assert summaries[0]["objective"] == pytest.approx(summaries[1]["objective"], rel=1e-12)
