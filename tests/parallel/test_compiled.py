"""Steps in machine code on many ranks: the numbers of numpy's steps on one rank."""

from functools import cache

import numpy as np
import pytest
import registry
from ode_cases import compiled_symbolic, forced_symbolic

import pint
from pint.comm import on_root

pytest.importorskip("numba")


compiled = cache(compiled_symbolic)
expressions = cache(forced_symbolic)


def numbers(problem, steps, levels, comm=None, **options):
    grid = pint.TimeGrid.uniform(2.0, steps, coarsening=3, levels=levels, comm=comm)
    functional = pint.ReducedFunctional(problem, grid, **options)
    control = registry.random_control(functional.controls)
    derivative = functional.derivative(control).gather()
    return functional.value(control), derivative["u"], derivative["theta"]


@pytest.mark.layout
@pytest.mark.parametrize("scheme", ["rk4", "midpoint"])
@pytest.mark.parametrize(("steps", "levels"), [(48, 2), (53, 3), (2, 1)])
@pytest.mark.parametrize("relaxation", ["F", "FCF"])
def test_numbers(world, scheme, steps, levels, relaxation):
    levels = min(levels, 1 + steps // 3)
    options = {"relaxation": relaxation if levels > 1 else "F"}
    found = numbers(compiled(scheme), steps, levels, world, **options)
    expected = on_root(
        world, lambda: numbers(expressions().problem(scheme), steps, levels, **options)
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-11 * np.abs(other).max())


def test_lagged_updates(world):
    def objective(problem, comm=None):
        grid = pint.TimeGrid.uniform(2.0, 48, coarsening=4, levels=2, comm=comm)
        functional = pint.ReducedFunctional(problem, grid)
        return pint.minimize(functional, None, pint.Lagged(iterations=4)).objective

    expected = on_root(world, lambda: objective(expressions().problem("rk4")))
    assert objective(compiled("rk4"), world) == pytest.approx(expected, rel=1e-10)


@pytest.mark.pair
def test_all_ranks_compile_at_once(world, tmp_path_factory, monkeypatch):
    """In one folder, which is then whole."""
    folder = on_root(world, lambda: tmp_path_factory.mktemp("cache"))
    monkeypatch.setenv("PINT_CACHE", str(folder))
    world.Barrier()
    problem = compiled_symbolic("forward-euler")
    world.Barrier()
    # As another process, which has nothing in memory.
    monkeypatch.setattr("pint.steppers.compiled.machine._LOADED", {})
    again = compiled_symbolic("forward-euler")
    assert on_root(world, lambda: len(list(folder.iterdir()))) == 1
    assert problem.stepper.machine.text == again.stepper.machine.text
    hits = [sum(one.stats.cache_hits.values()) for one in again.stepper.machine.kernels.values()]
    assert hits == [1, 1, 1, 1]
