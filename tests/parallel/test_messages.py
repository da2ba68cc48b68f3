"""Messages of the user's that are under way neither meet those of a solve nor get lost."""

from functools import cache

import numpy as np
import pytest
import registry

import pint

MPI = pytest.importorskip("mpi4py.MPI")
pytestmark = pytest.mark.pair


def functional_on(comm):
    stepper = registry.Pendulum()
    problem = pint.Problem(
        stepper,
        registry.PendulumAdjoint(stepper),
        registry.RunningCost(),
        {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)},
    )
    return pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 24, 2, 3, comm=comm))


def numbers(functional):
    control = functional.control(u=0.3, theta=0.5)
    result = pint.minimize(functional, control, pint.OneShot(iterations=3))
    gradient = functional.gradient(control).gather()
    return functional.value(control), result.objective, gradient["u"], gradient["theta"]


@cache
def numbers_alone():
    return numbers(functional_on(None))


@pytest.mark.parametrize("of_world", [True, False])
@pytest.mark.parametrize("posted", ["send", "receive", "both"])
@pytest.mark.parametrize("tag", [0, 1, 7])
def test_pending_messages(world, of_world, posted, tag):
    if world.size == 1:
        return
    comm = world if of_world else world.Dup()
    right, left = (world.rank + 1) % world.size, (world.rank - 1) % world.size
    sent = [np.full(n, 100.0 * world.rank + n) for n in (1, 3, 50)]
    received = [np.zeros_like(array) for array in sent]
    sends, receives = [], []
    if posted != "receive":
        sends = [comm.Isend(array, dest=right, tag=tag) for array in sent]
    if posted != "send":
        any_tag = MPI.ANY_TAG if tag == 1 else tag
        source = MPI.ANY_SOURCE if tag == 1 else left
        receives = [comm.Irecv(array, source=source, tag=any_tag) for array in received]
    found = numbers(functional_on(comm))
    sends = sends or [comm.Isend(array, dest=right, tag=tag) for array in sent]
    receives = receives or [comm.Irecv(array, source=left, tag=tag) for array in received]
    MPI.Request.Waitall(sends + receives)
    for array in received:
        np.testing.assert_array_equal(array, 100.0 * left + len(array))
    for value, expected in zip(found, numbers_alone(), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-12)
    if not of_world:
        comm.Free()


def test_communicators_do_not_run_out(world):
    comms = {id(functional_on(world).comm) for _ in range(3)}
    assert len(comms) == 1 or world.size == 1
    for _ in range(2000 if world.size > 1 else 1):
        pint.split(world, world.size)
        if world.size > 1:
            duplicate = world.Dup()
            pint.TimeGrid.uniform(1.0, 4, comm=duplicate)
            duplicate.Free()


def test_communicators_that_cannot_be_used():
    for comm, kind in (("x", TypeError), (3, TypeError), (MPI.COMM_NULL, ValueError)):
        with pytest.raises(kind, match=r"TimeGrid\(comm=...\)"):
            pint.TimeGrid.uniform(1.0, 4, comm=comm)
    freed = MPI.COMM_WORLD.Dup()
    freed.Free()
    with pytest.raises(ValueError, match=r"TimeGrid\(comm=...\).*freed"):
        pint.TimeGrid.uniform(1.0, 4, comm=freed)
