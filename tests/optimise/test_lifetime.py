"""What a functional, a run or a result holds is freed with its last reference."""

import gc
from weakref import ref

import pytest
import registry

import pint

METHODS = {
    "reduced": pint.ReducedSpace(iterations=2),
    "one-shot": pint.OneShot(iterations=2, cycles=2),
    "lagged": pint.Lagged(iterations=2),
    "adaptive": pint.Adaptive(iterations=2),
    "scipy": pint.External("scipy:L-BFGS-B", iterations=2),
}


@pytest.mark.parametrize("storage", ["all", "C"])
@pytest.mark.parametrize("method", METHODS)
def test_nothing_waits_for_the_search_for_cycles(method, storage):
    gc.collect()
    gc.disable()
    try:
        problem = registry.PROBLEMS["swift-running"]()
        functional = pint.ReducedFunctional(
            problem, pint.TimeGrid.uniform(1.0, 8, 2, 2), storage=storage, unconverged="ignore"
        )
        control = functional.control(u=0.1)
        functional.gradient(control)
        result = pint.minimize(functional, control, METHODS[method])
        held = [problem.stepper, problem.adjoint, functional.calls, functional.state, result.state]
        held += [result.state.points, control.vector, result.control.vector]
        left = [ref(one) for one in held]
        del problem, functional, control, result, held
        assert [one() for one in left if one() is not None] == []
    finally:
        gc.enable()
