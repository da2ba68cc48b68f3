"""Files for ParaView by ranks in time and in space: together they hold the states of one rank."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from parallel.cases import each_split
from vtk_files import read_series

import pint
from pint.comm import SerialComm, split
from pint.io import Series, dmda, grid, write_series
from problems.heat import Heat, manufactured

HEAT = Heat("distributed", 5, 2)
AXIS = (np.arange(5) + 1) / 6


@pytest.fixture
def folder():
    world = pint.world()
    path = world.bcast(tempfile.mkdtemp() if world.rank == 0 else None)
    yield Path(path)
    world.Barrier()
    if world.rank == 0:
        shutil.rmtree(path)


def check_pieces(pieces, expected, shape):
    """Compare the values of all pieces at their points; all cells together fill the box."""
    places, volume = np.full(shape, np.nan), 0.0
    for points, cells, values in pieces:
        index = np.rint(points[:, :2] * 6 - 1).astype(int)
        np.testing.assert_allclose(AXIS[index], points[:, :2])
        places[tuple(index.T)] = values["y"]
        np.testing.assert_array_equal(values["y"], expected[tuple(index.T)])
        for corners in points[np.array(cells, dtype=int)] if len(cells[0]) else ():
            volume += np.cross(corners[1] - corners[0], corners[3] - corners[0])[2]
    np.testing.assert_array_equal(places, expected)
    assert volume == pytest.approx((AXIS[-1] - AXIS[0]) ** 2)


@pytest.mark.layout
def test_ranks_in_time(folder):
    def result(comm):
        problem = HEAT.problem(manufactured(HEAT, 1.0))
        functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 7, 3, 2, comm))
        return pint.minimize(functional, functional.control(u=0.3), pint.ReducedSpace(iterations=0))

    mine, alone = result(pint.world()), result(SerialComm())
    path = mine.write_vtk(folder, grid(AXIS, AXIS), controls=["u"])
    times, series = read_series(path)
    np.testing.assert_allclose(times, np.arange(8) / 7, rtol=1e-15)
    for state, (piece,) in zip(alone.states(), series, strict=True):
        np.testing.assert_allclose(piece[2]["y"], state, rtol=0, atol=1e-13)
        np.testing.assert_array_equal(piece[2]["u"], 0.3)


@each_split
def test_vectors_of_a_dmda(space_size, folder):
    pytest.importorskip("petsc4py")
    from problems.heat_petsc import petsc_problem

    time, space = split(pint.world(), space_size)
    problem, mesh = petsc_problem(HEAT, space, lambda at: manufactured(HEAT, 1.0, at))
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 5, 2, 2, time))
    result = pint.minimize(functional, functional.control(u=0.3), pint.ReducedSpace(iterations=0))
    path = result.write_vtk(folder, dmda(mesh.da, AXIS, AXIS))
    problem = HEAT.problem(manufactured(HEAT, 1.0))
    alone = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 5))
    start = alone.control(u=0.3)
    expected = pint.minimize(alone, start, pint.ReducedSpace(iterations=0)).states()
    gathered = result.states()  # in the order of PETSc
    assert (gathered is None) == (pint.world().rank > 0)
    _, series = read_series(path)
    assert {len(pieces) for pieces in series} == {min(space_size, 2) if space_size < 4 else 4}
    for state, pieces in zip(expected, series, strict=True):
        rounded = [(p, c, {"y": np.round(v["y"], 9)}) for p, c, v in pieces]
        check_pieces(rounded, np.round(state.reshape(5, 5), 9), (5, 5))


@pytest.mark.parametrize("axis", [0, 1])
@each_split
def test_arrays_distributed_along_an_axis(space_size, axis, folder):
    """Unequal parts, one of them empty if there are three ranks or more."""
    time, space = split(pint.world(), space_size)
    lengths = np.diff([0, *[2, 2, 4, 4, 5][: space_size - 1], 5])
    shape = [5, 5]
    shape[axis] = int(lengths[space.rank])
    states = np.random.default_rng(0).standard_normal((3, 5, 5))
    ends = np.cumsum(lengths)
    own = np.split(states, ends[:-1], axis=axis + 1)[space.rank]
    mesh = grid(AXIS, AXIS, space=pint.ArraySpace(shape, comm=space, axis=axis))
    rows = [row.reshape(-1) for row in own] if time.rank == 0 else []
    series = Series(np.arange(3.0), 0, time, space)
    path = write_series(folder / f"{axis}", mesh, series, {"y": rows})
    _, found = read_series(path)
    for state, pieces in zip(states, found, strict=True):
        check_pieces(pieces, state, (5, 5))


@pytest.mark.layout
def test_an_error_of_one_rank_is_one_of_all(folder):
    world = pint.world()
    series = Series(np.arange(world.size * 1.0), world.rank, world, SerialComm())
    blocked = folder / f"y_{world.size - 1:05d}.vtu"
    if world.rank == 0:
        blocked.mkdir()
    world.Barrier()
    with pytest.raises((OSError, RuntimeError), match=r"(?i)directory"):
        write_series(folder, grid(AXIS), series, {"y": [np.zeros(5)]}, name="y")
