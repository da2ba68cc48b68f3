"""Diagnoses of PETSc states on every split of the ranks, against numpy states on one rank."""

import pytest
from parallel.cases import each_split
from parallel.test_petsc import numpy_functional, petsc_functional

import pint
from pint.comm import split
from problems.heat import Heat

pytestmark = pytest.mark.petsc


@each_split
def test_states_distributed_in_space(space_size, world):
    heat, comms = Heat("distributed", 7), split(world, space_size)
    options = {"accuracy": pint.Accuracy(relative=1e-8), "coarsening": 4}
    ours = petsc_functional(heat, comms, 24, 2, **options)
    found = pint.diagnose(ours, ours.controls.zeros(), budget=1e-3)
    serial = numpy_functional(heat, 24, 2, **options)
    expected = pint.diagnose(serial, serial.controls.zeros(), budget=1e-3)
    for one, other in ((found.state, expected.state), (found.adjoint, expected.adjoint)):
        assert one.norms == pytest.approx(other.norms, rel=1e-3, abs=1e-12)
    assert found.trials[0].steps == expected.trials[0].steps
    for one, other in zip(found.factors, expected.factors, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-3)
    for name in ("component", "share", "frequency", "late", "fine_growth"):
        value = getattr(found.slow, name)
        assert value == pytest.approx(getattr(expected.slow, name), rel=1e-3, abs=1e-6)
    assert found.recommendation.setup == expected.recommendation.setup
    texts = world.allgather(str(found))
    assert texts == [texts[0]] * world.size
