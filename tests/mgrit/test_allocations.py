"""A cycle works in the blocks that it is given: what it allocates beyond a chunk of states."""

import tracemalloc

import numpy as np
import pytest
from recursions import RELAXATIONS

import pint
from pint.equations import Cycles
from pint.mgrit import Propagator
from problems.resnet import DenseNetwork

STATE = 4096  # numbers of one state: far more than Python's own objects need


class Decay(Propagator):
    """``y / 2``, without a temporary array."""

    def apply(self, level, steps, states, out, guess=None):
        np.multiply(states, 0.5, out=out)


def peak_of(function):
    """Return the most memory that a call has allocated at one time, in bytes."""
    function()  # what is made once
    tracemalloc.start()
    function()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("shape", [(64, 4, 2), (67, 4, 3), (64, 2, 5)])
@pytest.mark.parametrize("nu", [0, 1])
@pytest.mark.parametrize("chunk", [1, 4])
@pytest.mark.parametrize("lagged", [False, True])
def test_a_cycle_allocates_less_than_two_states_a_level_beyond_its_chunk(shape, nu, chunk, lagged):
    grid = pint.TimeGrid.uniform(1.0, *shape)
    space = pint.ArraySpace(STATE)
    solver = pint.MGRIT(
        grid, space, relaxation=RELAXATIONS[nu], chunk_bytes=chunk * space.state_bytes
    )
    y, tau = solver.allocate(), solver.allocate_tau()

    def cycle():
        if lagged:
            solver.lagged_solve(Decay(), y, tau, 1)
        else:
            solver.solve(Decay(), y, pint.Accuracy(1))

    assert peak_of(cycle) < (chunk + 2 * grid.levels) * space.state_bytes


@pytest.mark.parametrize("kept_bytes", [0, 2**30])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_an_update_of_a_network_allocates_no_trajectory(levels, kept_bytes):
    """State, adjoint and derivative: chunks, two states a level, and the size of the control."""
    network = DenseNetwork(features=2, width=8, classes=3)
    grid = pint.TimeGrid.uniform(5.0, 64, 4, levels)
    x, labels = np.ones((500, 2)), np.eye(3)[np.zeros(500, dtype=int)]
    problem = network.problem(x, labels)
    size = problem.space.state_bytes
    functional = pint.ReducedFunctional(problem, grid, kept_bytes=kept_bytes, chunk_bytes=size)
    control = network.random_control(functional.controls, seed=0)
    state, adjoint = functional.state.new(), functional.adjoint.new()
    how = Cycles(pint.Accuracy(1))

    def update():
        functional.state.solve(state, control, how)
        functional.adjoint.solve(adjoint, state, how)
        functional.derivative_of(state, adjoint)

    # A few copies of the control, and of its restrictions to coarser levels.
    assert peak_of(update) < (1 + 2 * levels + 2) * size + 6 * control.vector.nbytes
